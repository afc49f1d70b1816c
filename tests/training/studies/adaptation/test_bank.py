"""Banks: lists of items, the model's own scores, and users taken alone as in company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.slots import query_readouts, slots
from studies.adaptation.bank import HIDDEN, Base, Readings, choices, events, joined, lists, read, scores
from studies.adaptation.regimes import Long, cold_bank, long_bank


@pytest.fixture
def base(slot_model) -> Base:
    with torch.no_grad():
        return Base(slot_model.requires_grad_(False), slot_model.items(), 12)


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (2, 5), 1, 6, np.random.default_rng(0))


def by_list(some) -> list[list[tuple[int, float]]]:
    return [
        sorted(zip(some.item[a:b].tolist(), some.value[a:b].tolist(), strict=True))
        for a, b in zip(some.start[:-1], some.start[1:], strict=True)
    ]


def test_lists_are_taken_and_joined_one_by_one():
    one = lists(np.array([2, 0, 2, 2]), np.array([5, 1, 3, 5]), 3, np.array([1.0, 2.0, 3.0, 4.0]))
    assert by_list(one) == [[(1, 2.0)], [], [(3, 3.0), (5, 1.0), (5, 4.0)]]
    rows = np.array([2, 1, 2, 0])
    assert by_list(one.take(rows)) == [by_list(one)[row] for row in rows]
    other = lists(np.array([1]), np.array([7]), 3)
    assert by_list(joined(one, other)) == [sorted(a + b) for a, b in zip(by_list(one), by_list(other), strict=True)]


def test_events_are_distinct_items_by_task(tasks):
    found = events(tasks, tasks.start, tasks.split)
    for task in range(len(tasks)):
        wanted = np.unique(tasks.dataset.item[tasks.support(task)])
        assert found.item[found.start[task] : found.start[task + 1]].tolist() == wanted.tolist()


def test_scores_are_the_models_own_with_repeats(base, tasks):
    vector, extra = read(base, tasks)
    found = scores(base.matrix, Readings(tasks, vector, extra, events(tasks, tasks.split, tasks.stop)))
    batch = slots(tasks, base.most)
    last = query_readouts(tasks, batch)
    with torch.no_grad():
        wanted = base.model.scores(
            base.model.body(base.model.prompt(base.items, batch)), base.items, batch, last.task, last.slot
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_long_bank_reads_the_prompt_and_asks_for_what_lies_before_and_after(base, tasks):
    """Support and query share no item, what was read is asked for in neither, and no known item is another's rival."""
    asked = Long(tasks, 3)
    bank = long_bank(base, asked)
    support, query = choices(bank)
    data = tasks.dataset
    for task in range(len(tasks)):
        begin, split, stop = (int(getattr(tasks, name)[task]) for name in ("start", "split", "stop"))
        edge = max(begin, split - 3)
        prompt, older, later = set(data.item[edge:split]), set(data.item[begin:edge]), set(data.item[split:stop])
        assert set(support.target[support.owner == task].tolist()) == older - prompt
        assert set(query.target[query.owner == task].tolist()) == later - prompt - older
        assert set(torch.nonzero(support.base[task] < HIDDEN / 2)[:, 0].tolist()) == prompt | older
        assert set(torch.nonzero(query.base[task] < HIDDEN / 2)[:, 0].tolist()) == prompt | older


def test_a_cold_bank_asks_for_each_event_from_the_others(base, tasks):
    bank = cold_bank(base, tasks, False, 99, np.random.default_rng(0))
    known = tasks.split - np.maximum(tasks.start, tasks.split - base.most)
    assert np.diff(bank.first).tolist() == np.where(known > 1, known, 0).tolist()
    one = bank.support.tasks
    for user in range(len(tasks)):
        whole = sorted(tasks.dataset.item[tasks.split[user] - known[user] : tasks.split[user]].tolist())
        for row in range(bank.first[user], bank.first[user + 1]):
            left = one.dataset.item[one.support(row)].tolist()
            assert sorted([*left, *one.dataset.item[one.query(row)].tolist()]) == whole


@pytest.mark.parametrize("kind", ["long", "cold"])
def test_a_user_alone_is_the_user_in_company(base, tasks, kind):
    bank = long_bank(base, Long(tasks, 3)) if kind == "long" else cold_bank(base, tasks, True, 4, np.random.default_rng(0))
    whole = choices(bank)
    for user in range(len(tasks)):
        for all_of_it, part in zip(whole, choices(bank.take(np.array([user]))), strict=True):
            mine = (all_of_it.user == user).nonzero()[:, 0]
            torch.testing.assert_close(part.base, all_of_it.base[mine])
            for place, row in enumerate(mine.tolist()):
                wanted, found = (one.target[one.owner == at].tolist() for one, at in ((all_of_it, row), (part, place)))
                assert found == wanted


def test_nothing_of_the_query_reaches_the_support(base, tasks):
    """Another query, another support's target for nobody."""
    shorter = Tasks(tasks.dataset, tasks.start, tasks.split, tasks.split + 1)
    for make in (
        lambda some: long_bank(base, Long(some, 3)),
        lambda some: cold_bank(base, some, True, 4, np.random.default_rng(0)),
    ):
        one, other = choices(make(tasks))[0], choices(make(shorter))[0]
        assert torch.equal(one.base, other.base) and torch.equal(one.target, other.target)
