from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.tasks import first_baskets
from llmrec.errors import DataError
from llmrec.metrics.ranking import rank_targets
from llmrec.recommender.evaluate import evaluate

METHODS = ["llmrec", "zero_steps", "popularity", "most_frequent"]
METRICS = ["ndcg@10", "recall@10", "auc"]


def cells(rows) -> dict:
    return {(row.method, row.metric, row.versus): row for row in rows}


def test_every_method_has_its_mean_and_every_other_its_paired_difference(fitted, clicks):
    rows = fitted.evaluate(clicks, known=2)
    found = cells(rows)
    means = [(method, metric, "") for method in METHODS for metric in METRICS]
    assert set(found) == {*means, *(("llmrec", metric, method) for method in METHODS[1:] for metric in METRICS)}
    assert len(rows) == len(found)
    for row in rows:
        assert row.low <= row.value <= row.high
        assert row.setting == "known=2,all"
        assert row.n == 5  # every one of them has two baskets and three more
        if row.versus:
            gap = found["llmrec", row.metric, ""].value - found[row.versus, row.metric, ""].value
            assert row.value == pytest.approx(gap)


def test_popularity_is_what_a_plain_count_gives(fitted, clicks):
    state, known = fitted.state, fitted.evaluate(clicks, known=1)
    from llmrec.data.build import events_for

    held, _ = events_for(state.catalogue, clicks)
    tasks = first_baskets(held, np.arange(held.n_users), 1, state.settings.train.horizon)
    train = state.histories
    baskets = {(train.user[e], train.basket[e], train.item[e]) for e in range(train.n_events)}
    counts = np.bincount([item for *_, item in baskets], minlength=held.n_items)
    places = rank_targets(np.tile(counts.astype(np.float32), (len(tasks), 1)), tasks.relevant())
    assert cells(known)["popularity", "ndcg@10", ""].value == pytest.approx(float(np.nanmean(places.ndcg(10))))


def test_without_steps_adapting_makes_exactly_no_difference(fitted, clicks):
    from llmrec.data.build import events_for

    state = replace(fitted.state, init=replace(fitted.state.init, log_rate=fitted.state.init.log_rate[:0]))
    held, _ = events_for(state.catalogue, clicks)
    for row in evaluate(state, held, 1, np.random.default_rng(0)):
        if row.versus == "zero_steps":
            assert (row.value, row.low, row.high) == (0, 0, 0)


def test_the_same_seed_gives_the_same_rows(fitted, clicks):
    one, other = fitted.evaluate(clicks, seed=3), fitted.evaluate(clicks, seed=3)
    assert [replace(row, seconds=None) for row in one] == [replace(row, seconds=None) for row in other]


def test_histories_that_are_too_short_are_refused(fitted, clicks):
    with pytest.raises(DataError, match=r"no user has 50 \+ 3 baskets"):
        fitted.evaluate(clicks, known=50)
    with pytest.raises(DataError, match="known is 0; expected at least 1"):
        fitted.evaluate(clicks, known=0)
