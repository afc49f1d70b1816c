"""Supports left one out: who is asked what, from what, and what it may not tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.slots import query_readouts, slots
from studies.adaptation.leave_out import leave_one_out


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 4), 1, 30, np.random.default_rng(0))


def told(data: Dataset, events: Iterable[int]) -> list[str]:
    """What is told of events but their moments, as text (an unknown attribute is NaN), in no order."""
    return sorted(repr((data.item[e], *(data.attributes[name][e] for name in sorted(data.attributes)))) for e in events)


@pytest.mark.parametrize("permute", [True, False])
def test_each_question_holds_all_but_one_event_and_asks_for_that(random_shop, tasks, permute):
    left = leave_one_out(tasks, np.random.default_rng(1), most=3, permute=permute)
    data = left.tasks.dataset
    for question, (task, event) in enumerate(zip(left.owner, left.event, strict=True)):
        support = tasks.support(task)
        assert support.start <= event < support.stop
        others = [e for e in range(support.start, support.stop) if e != event]
        assert data.item[left.tasks.query(question)].tolist() == [random_shop.item[event]]
        inside = left.tasks.support(question)
        assert told(data, range(inside.start, inside.stop)) == told(random_shop, others)
        found = data.item[inside]
        if not permute:
            assert found.tolist() == random_shop.item[others].tolist()
        moments = random_shop.time[support]
        assert data.time[left.tasks.start[question] : left.tasks.stop[question]].tolist() == moments.tolist()


def test_how_many_are_asked(tasks):
    length = tasks.split - tasks.start
    for most in (1, 3, 100):
        left = leave_one_out(tasks, np.random.default_rng(1), most)
        assert np.array_equal(np.bincount(left.owner, minlength=len(tasks)), np.where(length > 1, np.minimum(length, most), 0))
        assert (np.diff(left.owner) >= 0).all()
        assert len(set(zip(left.owner.tolist(), left.event.tolist(), strict=True))) == len(left.owner)
    assert 1 in length  # of which nothing can be asked


def test_only_the_last_events_of_a_long_support(tasks):
    left = leave_one_out(tasks, np.random.default_rng(1), most=100, reach=3)
    assert (left.event >= tasks.split[left.owner] - 3).all()
    assert (left.tasks.split - left.tasks.start <= 2).all() and (left.event < tasks.split[left.owner]).all()


def test_the_one_left_out_is_alone_in_its_basket_and_cuts_fall_between_baskets(tasks):
    left = leave_one_out(tasks, np.random.default_rng(1))
    data = left.tasks.dataset
    edges = set(data.basket_start.tolist())
    assert edges.issuperset(left.tasks.split.tolist()) and edges.issuperset(left.tasks.stop.tolist())
    assert (left.tasks.stop - left.tasks.split == 1).all()
    reads = query_readouts(left.tasks, slots(left.tasks, 64))
    assert reads.target.tolist() == tasks.dataset.item[left.event].tolist()


def test_nothing_of_the_queries_is_used(random_shop, tasks):
    later, outside = random_shop.item.copy(), np.ones(random_shop.n_events, bool)
    for task in range(len(tasks)):
        outside[tasks.support(task)] = False
    later[outside] = (later[outside] + 1) % random_shop.n_items
    changed = replace(tasks, dataset=replace(random_shop, item=later))
    one, other = (leave_one_out(t, np.random.default_rng(1)) for t in (tasks, changed))
    assert outside.any() and np.array_equal(one.tasks.dataset.item, other.tasks.dataset.item)


def test_the_order_tells_nothing_of_what_is_left_out(shop):
    """One user, four things: over many draws each of the others is as often in each place, whichever is left out."""
    tasks = Tasks(data := shop([[[0], [1], [2], [3]]], 5), data.start[:1], data.start[1:], data.start[1:])
    rng, places = np.random.default_rng(0), np.zeros((4, 4, 3))
    for _ in range(1500):
        left = leave_one_out(tasks, rng, most=1)
        places[left.event[0], left.tasks.dataset.item[:3], np.arange(3)] += 1
    expected = 1500 / 4 / 3
    off = (places - expected)[~np.eye(4, dtype=bool)]
    assert (places[np.eye(4, dtype=bool)] == 0).all()
    assert np.abs(off).max() < 4.5 * expected**0.5


def test_no_question_at_all(shop):
    tasks = Tasks(data := shop([[[0]], [[1]]], 5), data.start[:2], data.start[1:], data.start[1:])
    left = leave_one_out(tasks, np.random.default_rng(0))
    assert len(left.tasks) == len(left.owner) == 0
