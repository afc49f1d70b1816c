"""Headroom in a world of two tastes and in one without any: what the later events tell, one's own and another's."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.protocol import first_known
from studies.adaptation import arms, headroom
from studies.adaptation.cores import Place
from studies.adaptation.regimes import Long, long_bank

ITEMS = 24
TASTES = np.repeat(np.eye(2, dtype=np.float32), ITEMS // 2, axis=0) * 2**0.5


@pytest.fixture
def places(base_of, world):
    def make(structure: bool) -> Place:
        dataset = world(structure)
        return Place(long_bank(base_of(dataset), Long(first_known(dataset, np.arange(40), 8, 2, 1), 2)), 6)

    return make


def test_where_users_keep_to_a_half_their_own_events_tell_it_and_those_of_the_next_user_the_other_one(places):
    found = headroom.measured(TASTES, places(True))
    mean = {way: np.nanmean(values) for way, values in found.items()}
    assert mean[headroom.OTHER] < mean[headroom.ZERO] < mean[headroom.OWN]
    assert mean[headroom.ORACLE] > mean[headroom.ZERO]
    assert {len(values) for values in found.values()} == {40}


def test_without_a_taste_ones_own_events_tell_no_more_than_anothers(places):
    found = headroom.measured(TASTES, places(False))
    gap = found[headroom.OWN] - found[headroom.OTHER]
    assert abs(gap.mean()) < 3 * gap.std() / np.sqrt(len(gap))


def test_the_oracle_is_told_what_is_asked_and_the_place_stays_as_it_was(places):
    place = places(True)
    told = headroom.oracle(place.bank)
    assert told.support.target.item.tolist() == place.bank.query.target.item.tolist()
    assert np.diff(told.first).tolist() == [1] * len(place.bank)
    np.testing.assert_array_equal(arms.zero(Place(told)), arms.zero(place))
