"""Laws of what is read, hidden and counted, on made ratings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.protocol import Benchmark, Setting, fingerprint, first_known
from benchmarks.signals import LIKED, OTHERS, liked_later, typed, with_ratings
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.errors import DataError

KNOWN = 3


@pytest.fixture
def films() -> Dataset:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(12), 9)
    table = {"user_id": user, "item_id": np.concatenate([rng.permutation(20)[:9] for _ in range(12)])}
    rating = rng.integers(1, 6, len(user)).astype(float)
    rating[user == 5] = 1.0  # who likes nothing
    return build(table | {"timestamp": np.tile(np.arange(9), 12), "rating": rating})[0]


@pytest.fixture
def benchmark(films) -> Benchmark:
    tasks = first_known(films, np.arange(12), KNOWN, 4, 2)
    setting = Setting("known=3", tasks.take(np.arange(6)), tasks.take(np.arange(6, 12)), "unseen")
    return Benchmark("films", films, np.arange(12), (setting,), ("known=3", "ndcg@10"))


def test_of_what_comes_later_only_what_was_liked_is_asked_and_all_that_is_known_stays(films):
    tasks = first_known(films, np.arange(12), KNOWN, 4, 2)
    liked = liked_later([tasks])[0]
    asked = {films.users[user]: row for row, user in enumerate(liked.user)}
    for row, user in enumerate(tasks.user):
        first = tasks.start[row]
        query = [films.item[k] for k in range(first + KNOWN, first + KNOWN + 4) if films.attributes["rating"][k] >= LIKED]
        if not query:
            assert films.users[user] not in asked
            continue
        mine = asked[films.users[user]]
        assert liked.dataset.item[liked.support(mine)].tolist() == films.item[first : first + KNOWN].tolist()
        assert liked.dataset.attributes["rating"][liked.support(mine)].tolist() == (
            films.attributes["rating"][first : first + KNOWN].tolist()
        )
        assert liked.dataset.item[liked.query(mine)].tolist() == query
    assert films.users[5] not in asked and len(asked) > 6


def test_several_settings_share_one_dataset_and_are_each_as_they_would_be_alone(films):
    asked = [first_known(films, np.arange(12), known, 4, 2) for known in (3, 1)]
    together = liked_later(asked)
    assert together[0].dataset is together[1].dataset
    for tasks, found in zip(asked, together, strict=True):
        assert fingerprint(found) == fingerprint(liked_later([tasks])[0])


def test_read_is_the_benchmark_itself(benchmark):
    assert with_ratings(benchmark, "read") is benchmark


@pytest.mark.parametrize("ratings", ["hidden", "counted"])
def test_what_is_asked_stays_the_same(benchmark, ratings):
    changed = with_ratings(benchmark, ratings)
    for part in ("validation", "test"):
        assert changed.settings[0].key(part) == benchmark.settings[0].key(part)
    assert changed.settings[0].validation.dataset is changed.settings[0].test.dataset is changed.train


def test_hidden_leaves_no_rating_anywhere(benchmark):
    changed = with_ratings(benchmark, "hidden")
    assert "rating" not in changed.train.attributes and "rating" not in changed.settings[0].test.dataset.attributes
    assert changed.train.sample_weight is None


def test_counted_events_count_by_whether_they_were_liked(films):
    dataset = typed(films)
    liked = films.attributes["rating"] >= LIKED
    assert dataset.sample_weight == pytest.approx(np.where(liked, 1.0, OTHERS))
    names = [dataset.event_types[int(code)] for code in dataset.attributes["event_type"]]
    assert names == ["liked" if one else "other" for one in liked]
    assert typed(films, 0.0).sample_weight.tolist() == liked.tolist()


def test_events_without_ratings_are_refused(benchmark):
    bare = replace(benchmark, train=replace(benchmark.train, attributes={}))
    with pytest.raises(DataError, match="films: expected events with ratings, got none"):
        with_ratings(bare, "hidden")
    with pytest.raises(DataError, match="films: expected one catalogue without a reference"):
        with_ratings(replace(benchmark, shops=benchmark.settings), "hidden")
