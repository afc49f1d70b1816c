"""Who learns, and what is asked: people apart, cells with older events, lists less other lists, supports of others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.protocol import first_known
from studies.adaptation.bank import lists
from studies.adaptation.regimes import Cell, Long, cells, kept_out, less, long_bank, practice, swapped

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12)


def of_pairs(pairs):
    owner, item = np.array(pairs, np.int64).reshape(-1, 2).T
    return lists(owner, item, 4)


def sets(some) -> list[list[int]]:
    return [sorted(some.item[a:b].tolist()) for a, b in zip(some.start[:-1], some.start[1:], strict=True)]


@given(PAIRS, PAIRS)
def test_less_is_a_difference_list_by_list(one, other):
    found = sets(less(of_pairs(one), of_pairs(other)))
    assert found == [[i for i in a if i not in b] for a, b in zip(sets(of_pairs(one)), sets(of_pairs(other)), strict=True)]


def test_people_are_apart_and_all_there():
    users = np.arange(100, 300)
    people = kept_out(users, 0.15, 4)
    assert len(people.meta) == 30
    assert sorted([*people.base, *people.meta]) == users.tolist()
    again, other = kept_out(users, 0.15, 4), kept_out(users, 0.15, 5)
    assert again.meta.tolist() == people.meta.tolist() != other.meta.tolist()
    assert kept_out(users, 0.0, 4).base.tolist() == users.tolist()


def test_every_cell_has_older_events():
    assert [(c.known, c.prompt, c.older) for c in cells((10, 50), (10, 20))] == [(50, 10, 40), (50, 20, 30)]


def test_practice_asks_for_a_cell_of_the_users_given(world):
    data = world(True)
    drawn = practice(data.take(np.arange(20, 40)), np.arange(20), Cell(7, 2), 30, 3, 1, np.random.default_rng(0))
    assert (drawn.tasks.split - drawn.tasks.start == 7).all() and (drawn.older.length == 5).all()
    assert ((drawn.tasks.stop - drawn.tasks.split >= 1) & (drawn.tasks.stop - drawn.tasks.split <= 3)).all()


def test_swapped_is_the_next_ones_and_nobodys_own():
    some = lists(np.arange(4), np.array([5, 6, 7, 8]), 4)
    assert sets(swapped(some)) == [[6], [7], [8], [5]]


def test_another_support_changes_the_support_alone(world, base_of):
    """What is asked of the query, and from which prompt, stays; nobody's prompt is in the support."""
    data = world(True)
    long = Long(first_known(data, np.arange(10), 8, 2, 1), 3)
    base = base_of(data)
    own, other = long_bank(base, long), long_bank(base, long, swapped(long.older))
    assert sets(own.query.target) == sets(other.query.target) and sets(own.query.extra) == sets(other.query.extra)
    wanted = [[i for i in a if i not in b] for a, b in zip(sets(swapped(long.older)), sets(long.in_prompt), strict=True)]
    assert sets(other.support.target) == wanted != sets(own.support.target)
