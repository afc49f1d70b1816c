"""What others took at this point of their history at about this time, against a loop over users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.contemporaries import fit_contemporaries
from benchmarks.protocol import first_known
from llmrec.data.dataset import EventWeights
from llmrec.errors import DataError


def test_against_a_loop_over_the_nearest_users(random_shop):
    rng = np.random.default_rng(0)
    begin = rng.permutation(20) * 1e6
    data = replace(random_shop, time=begin[random_shop.user] + 10.0 * random_shop.basket)
    tasks = first_known(data, np.arange(12, 20), 1, 2, 1)
    found = fit_contemporaries(data, np.arange(12), (1, 3), 5).scores(tasks)
    others = [user for user in range(12) if data.n_baskets[user] > 1]
    by_time = sorted(others, key=lambda user: begin[user])
    for row, user in enumerate(tasks.user):
        at = sum(begin[other] < begin[user] for other in others)
        first = min(max(at - 2, 0), len(others) - 5)
        expected = np.zeros(10)
        for other in by_time[first : first + 5]:
            expected[np.unique(data.item[(data.user == other) & (data.basket >= 1) & (data.basket < 3)])] += 1
        assert found[row].tolist() == expected.tolist()


def test_with_everybody_near_it_is_popularity_by_position(random_shop):
    tasks = first_known(random_shop, np.arange(12, 20), 2, 1, 1)
    found = fit_contemporaries(random_shop, np.arange(12), (2, 3), 1000).scores(tasks)
    here = random_shop.take(np.arange(12))
    expected = [len(np.unique(here.user[(here.item == item) & (here.basket == 2)])) for item in range(10)]
    assert found.tolist() == [expected] * len(tasks)


def test_events_of_weight_0_are_not_counted_and_all_others_are_counted_whole(random_shop):
    tasks, scores = first_known(random_shop, np.arange(12, 20), 2, 1, 1), {}
    for factor in (0.0, 0.1, 1.0):
        data = replace(random_shop, event_weights=EventWeights((factor, 1.0)))
        scores[factor] = fit_contemporaries(data, np.arange(12), (2, 3), 1000).scores(tasks)
    bare = data.keep(data.attributes["event_type"] != 0)
    assert scores[0.1].tolist() == scores[1.0].tolist()
    assert scores[0.0].tolist() == fit_contemporaries(bare, np.arange(12), (2, 3), 1000).scores(tasks).tolist()
    assert (scores[0.0] != scores[1.0]).any()


def test_nonsense_is_refused(random_shop):
    for position, near in (((0, 3), 5), ((1, 3), 0)):
        with pytest.raises(DataError, match="expected near >= 1 and position"):
            fit_contemporaries(random_shop, np.arange(5), position, near)
