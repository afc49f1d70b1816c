"""The weights of first buyers are learned where the buyers of a new item show a taste, and its title does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from new_items_shop import DAY, IDS, USERS, tables

from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.errors import IgnoredInputWarning
from llmrec.ranking.first_buyers import INPUTS
from llmrec.ranking.statistics import fit_statistics, read_texts
from llmrec.ranking.vector_prior import VectorPrior, fit_vector_prior
from llmrec.recommender.first_buyers import learn_among


def learned(dataset: Dataset) -> np.ndarray | None:
    counts = fit_statistics(dataset, np.arange(dataset.n_users), 1, read_texts(dataset), np.random.default_rng(0))
    return learn_among(dataset, counts, np.random.default_rng(0))


def test_common_buyers_count_where_they_share_a_taste_and_not_where_they_do_not():
    found = {taste: learned(build(*tables(taste))[0]) for taste in (True, False)}
    place = INPUTS.index("buyers_knn")
    assert found[True][place] > 1.0 > 4 * abs(found[False][place])


def test_nothing_is_learned_where_nothing_was_new():
    events, items = tables(True)
    old = [row for row, item in enumerate(events["item_id"]) if item.startswith("o")]
    dataset = build({name: [values[row] for row in old] for name, values in events.items()}, items)[0]
    assert learned(dataset) is None


def test_fit_learns_them_and_then_a_new_item_goes_to_those_like_its_buyers(fitting, tiny_settings):
    settings = replace(tiny_settings, cold_items=True, blend_fraction=0.5, meta_fraction=0.2)
    rec = fitting(*tables(True), settings=settings)
    assert rec.state.unseen_rankers.cold is not None
    rec.add_items({"item_id": ["for even", "for odd"], "title": ["red mug"] * 2})
    users = [f"u{user}" for user in range(USERS)]
    rec.observe({"user_id": users[:12], "item_id": ["for even", "for odd"] * 6, "timestamp": [DAY * 50] * 12})
    answer = rec.recommend(users[12:], items_to_recommend=["for even", "for odd"], k=1)
    mine = {user: ["for even", "for odd"][number % 2] for number, user in enumerate(users)}
    right = answer["item_id"] == answer["user_id"].map(mine)
    assert right.mean() > 0.9


def test_a_fit_that_cannot_learn_of_cold_items_says_so(fitting, tiny_settings):
    """Everything was sold from the first day on, so that nothing was ever new."""
    events, items = tables(True)
    old = [row for row, item in enumerate(events["item_id"]) if item.startswith("o")]
    events = {name: [values[row] for row in old] for name, values in events.items()}
    with pytest.warns(IgnoredInputWarning, match="cold_items: too few users bought newer items") as told:
        fitting(events, items, settings=replace(tiny_settings, cold_items=True))
    assert len(told) == 1


def test_fit_learns_from_its_newest_items_how_far_vectors_follow_buyers(fitting, tiny_settings, monkeypatch):
    """Their texts alone are held against what their buyers had."""
    learned = []

    def spy(*given):
        learned.append((given, VectorPrior(np.zeros(given[3].shape[1]), 1.0, 2.0)))
        assert fit_vector_prior(*given) is None  # a base of a few steps knows nothing of taste
        return learned[-1][1]

    monkeypatch.setattr("llmrec.recommender.fit.fit_vector_prior", spy)
    settings = replace(tiny_settings, cold_items=True, blend_fraction=0.5, meta_fraction=0.2)
    rec = fitting(*tables(True), settings=settings)
    (dataset, new, text, vectors, popularity), prior = learned[0]
    last = [place for place, item in enumerate(IDS) if item >= "x20"]  # of the last wave
    assert np.flatnonzero(new).tolist() == last and dataset.n_events == 1440 and (popularity > 0).all()
    assert (text[~new] == vectors[~new]).all() and (text[new] != vectors[new]).any(1).all()
    assert rec.state.vector_prior is prior
