"""Laws of the protocol's nouns: who is asked, what is ranked, and when two runs are of the same thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.protocol import Benchmark, ByPart, Setting, everywhere, fingerprint, first_known
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.errors import DataError
from llmrec.models.popularity import fit_popularity


def test_the_query_is_up_to_the_horizon_and_at_least_so_long(shop):
    world = shop([[[0], [1, 2], [3]], [[0], [1], [2], [3], [4]], [[0], [1]]], 6)
    tasks = first_known(world, np.arange(3), known=1, horizon=3, least=2)
    assert tasks.user.tolist() == [0, 1]
    assert [set(world.item[tasks.support(i)]) for i in range(2)] == [{0}, {0}]
    assert [set(world.item[tasks.query(i)]) for i in range(2)] == [{1, 2, 3}, {1, 2, 3}]


def test_where_the_whole_horizon_is_needed_it_is_first_baskets(random_shop):
    users = np.array([5, 2, 11, 0])
    ours, theirs = first_known(random_shop, users, 2, 3, 3), first_baskets(random_shop, users, 2, 3)
    for name in ("start", "split", "stop"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert len(ours)


def test_unseen_means_that_the_support_is_neither_ranked_nor_relevant(random_shop):
    tasks = first_known(random_shop, np.arange(20), 2, 3, 1)
    setting = Setting("new", tasks, tasks, "unseen")
    allowed, relevant = setting.allowed(tasks), setting.relevant(tasks)
    assert allowed is not None
    for i in range(len(tasks)):
        support, query = set(random_shop.item[tasks.support(i)].tolist()), set(random_shop.item[tasks.query(i)].tolist())
        assert set(np.flatnonzero(~allowed[i]).tolist()) == support
        assert set(relevant[i].tolist()) == query - support
    part = tasks.take(np.array([3, 1]))
    chunk = setting.allowed(part)
    assert chunk is not None
    np.testing.assert_array_equal(chunk, allowed[[3, 1]])


def test_all_means_all(random_shop):
    tasks = first_known(random_shop, np.arange(20), 2, 3, 1)
    setting = Setting("all", tasks, tasks, "all")
    assert setting.allowed(tasks) is None
    assert [set(found.tolist()) for found in setting.relevant(tasks)] == [
        set(random_shop.item[tasks.query(i)].tolist()) for i in range(len(tasks))
    ]


def test_a_fingerprint_is_of_users_supports_and_queries(random_shop):
    tasks = first_known(random_shop, np.arange(20), 2, 3, 1)
    same = first_known(replace(random_shop), np.arange(20), 2, 3, 1)
    assert fingerprint(tasks) == fingerprint(same)
    others = [
        tasks.take(np.arange(len(tasks))[::-1]),
        first_known(random_shop, np.arange(20), 1, 3, 2),
        Tasks(tasks.dataset, tasks.start, tasks.split, np.minimum(tasks.stop, tasks.split + 1)),
        Tasks(replace(random_shop, item=(random_shop.item + 1) % 10), tasks.start, tasks.split, tasks.stop),
    ]
    assert len({fingerprint(tasks), *map(fingerprint, others)}) == 5


def test_the_key_names_the_part_and_the_rank(random_shop):
    first, second = (first_known(random_shop, users, 2, 3, 1) for users in (np.arange(10), np.arange(10, 20)))
    new, every = Setting("x", first, second, "unseen"), Setting("x", first, second, "all")
    assert len({new.key("validation"), new.key("test"), every.key("test")}) == 3
    assert new.asked("validation") is first
    assert new.asked("test") is second


def test_the_key_of_a_setting_without_a_limit_is_as_it_was_when_the_first_runs_were_kept(random_shop):
    tasks = first_known(random_shop, np.arange(20), 2, 3, 1)
    for rank in ("all", "unseen"):
        assert Setting("x", tasks, tasks, rank).key("test") == f"{rank} {fingerprint(tasks)}"
        assert Setting("x", tasks, tasks, rank, learn=tasks.take(np.arange(3))).key("test") == f"{rank} {fingerprint(tasks)}"


@pytest.mark.parametrize("rank", ["all", "unseen"])
def test_among_limits_what_is_ranked_and_relevant_part_by_part(random_shop, rank):
    tasks = first_known(random_shop, np.arange(20), 2, 3, 1)
    plain, among = Setting("x", tasks, tasks, rank), ByPart(np.arange(10) < 4, np.arange(10) >= 4)
    limited = replace(plain, among=among)
    for part in ("validation", "test"):
        only, before = among.of(part), plain.allowed(tasks)
        allowed = limited.allowed(tasks, part)
        assert allowed is not None and limited.only(part) is only
        np.testing.assert_array_equal(allowed, np.tile(only, (len(tasks), 1)) & (True if before is None else before))
        assert [items.tolist() for items in limited.relevant(tasks, part)] == [
            [item for item in items.tolist() if only[item]] for items in plain.relevant(tasks)
        ]
    assert len({limited.key("validation"), limited.key("test"), plain.key("test")}) == 3
    assert limited.key("test").startswith(plain.key("test"))


def test_final_is_the_later_fit_or_the_same_benchmark(random_shop):
    plain = Benchmark("b", random_shop, np.arange(3), (), ("x", "ndcg@10"))
    assert plain.final() is plain
    later = replace(plain, train_final=random_shop.take(np.arange(4)), users_final=np.arange(4)).final()
    assert (later.train.n_users, len(later.users)) == (4, 4)
    assert later.final() is later


def test_settings_by_name(random_shop):
    tasks = first_known(random_shop, np.arange(20), 2, 3, 1)
    settings = (Setting("a", tasks, tasks, "all"), Setting("b", tasks, tasks, "unseen"))
    benchmark = Benchmark("b", random_shop, np.arange(3), settings, ("a", "ndcg@10"))
    assert benchmark.setting("b") is settings[1]
    with pytest.raises(DataError, match="no setting 'c'; there are a, b"):
        benchmark.setting("c")
    method = everywhere(benchmark, fit_popularity(random_shop, np.arange(3)), "control", 1.0)
    assert set(method.by_setting) == {"a", "b"}
