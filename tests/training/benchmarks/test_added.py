"""A recommender whose new items come after training, on a made benchmark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import added
from benchmarks.protocol import Benchmark, ByPart, Setting, first_known
from llmrec.data.build import read_catalogue
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.recommender.catalogues import over_catalogue
from llmrec.recommender.evaluate import chain_scores

NEW = np.isin(np.arange(10), [3, 9])


@pytest.fixture
def benchmark(random_shop) -> Benchmark:
    asked = [first_known(random_shop, users, 2, 1, 1) for users in (np.arange(10, 15), np.arange(15, 20))]
    settings = (Setting("new", *asked, "unseen", ByPart(NEW, NEW)), Setting("all", *asked, "all"))
    return Benchmark("made", random_shop.keep(~NEW[random_shop.item]), np.arange(10), settings, ("new", "ndcg@10"))


def test_new_items_are_scored_by_text_in_the_order_of_the_benchmark(benchmark, settings):
    """As the same recommender scores them where it is put over the whole catalogue in that order."""
    method = added.fit(benchmark, settings, 0, "test")
    assert method.name == "Recommender, tiny, items added"
    grown = method.by_setting["all"].fitted.state
    ids = benchmark.train.catalogue.ids.values
    assert grown.catalogue.ids.values == [*np.array(ids)[~NEW], *np.array(ids)[NEW]]
    assert grown.model.trained.tolist() == [True] * 8 + [False] * 2
    whole = over_catalogue(grown, benchmark.train.catalogue, Weights.packaged(), None)
    tasks = benchmark.setting("new").test
    for name, only in (("new", NEW), ("all", None)):
        scores = method.by_setting[name].scores(tasks)
        expected = chain_scores(whole, tasks, None, name == "new", only)
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)


def test_without_new_items_there_is_nothing_to_measure(benchmark, settings, random_shop):
    with pytest.raises(DataError, match="expected new items"):
        added.fit(replace(benchmark, train=random_shop, users=np.arange(20)), settings, 0, "test")
    part = added.over_part(benchmark.train, ~NEW)
    assert part.n_items == 8 and part.catalogue.table.num_rows == 8
    same = [benchmark.train.catalogue.ids[item] for item in benchmark.train.item]
    assert [part.catalogue.ids[item] for item in part.item] == same
    assert read_catalogue(part.catalogue.table)[0].ids.values == part.catalogue.ids.values
