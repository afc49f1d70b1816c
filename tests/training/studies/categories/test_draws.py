"""The study of a new category: draws keep to their part, choices come back as they were, and ranks are those by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.build import build
from llmrec.language.rows import Row
from llmrec.meta.title_choices import TitleChoices
from llmrec.metrics.ranking import rank_targets
from studies.categories.kept import kept
from studies.categories.shops import AMONG, Category, asked, asked_within, hit, ndcg

SECOND = 1 / np.log2(3)


@pytest.fixture(scope="module")
def here() -> Category:
    """Forty users with six of sixty items each."""
    rng = np.random.default_rng(0)
    user, item = np.repeat(np.arange(40), 6), np.concatenate([rng.permutation(60)[:6] for _ in range(40)])
    events = pa.table({"user_id": user, "item_id": item, "timestamp": 86_400.0 * np.arange(240)})
    items = pa.table({"item_id": np.arange(60), "title": [f"mug {number}" for number in range(60)]})
    dataset, _ = build(events, items)
    users = np.arange(dataset.n_users)
    return Category("mugs", dataset, users[:5], users[5:8], users[8:])


def test_what_asked_users_took_does_not_count_in_popularity(here):
    others = here.dataset.take(here.teaching)
    assert here.popularity.tolist() == np.bincount(others.item, minlength=here.dataset.n_items).tolist()


def test_each_user_is_asked_for_the_last_event_among_items_never_had(here):
    tasks, found = asked(here, here.test, 3, seed=0)
    for task, mine in enumerate(np.split(found.item, found.start[1:-1])):
        events = here.dataset.item[tasks.start[task] : tasks.stop[task]]
        assert len(mine) == 4 and events[-1] in mine and not np.isin(mine[mine != events[-1]], events).any()


def test_within_a_part_of_the_catalogue_all_candidates_are_of_it(here):
    part = np.arange(here.dataset.n_items) % 2
    found = asked_within(here, here.teaching, part, 1, seed=0, most=5)
    assert found
    for tasks, candidates in found:
        assert len(tasks) <= 5
        assert len(np.unique(part[candidates.item])) == 1 and len(candidates.item) == 2 * len(tasks)


def test_choices_come_back_from_disk_as_they_were(tmp_path):
    rows = (Row([1, 2], [[3], [4, 5]]), Row([6], [[7, 8], [9], [1]]))
    taken, offset = (np.array([True, False]), np.array([False, False, True])), (np.zeros(2, np.float32), np.ones(3, np.float32))
    one = TitleChoices(rows, taken, offset, np.array([4, 7]))
    parts, made = [one, replace(one.take(np.array([1])), owner=np.array([0]))], []

    def make() -> list[TitleChoices]:
        made.append(1)
        return parts

    for _ in range(2):
        for there, wanted in zip(kept(tmp_path / "some.safetensors", make), parts, strict=True):
            assert there.rows == wanted.rows and there.owner.tolist() == wanted.owner.tolist()
            for name in ("taken", "offset"):
                assert [x.tolist() for x in getattr(there, name)] == [x.tolist() for x in getattr(wanted, name)]
    assert len(made) == 1


@pytest.mark.parametrize(
    ("scores", "wanted"), [([3, 1, 2], 1.0), ([1, 2, 0], SECOND), ([1, 1, 0], (1 + SECOND) / 2)], ids=["first", "second", "tie"]
)
def test_ndcg_is_that_by_hand(scores, wanted):
    assert ndcg([np.array(scores, float)], [np.array([True, False, False])])[0] == pytest.approx(wanted)


def test_hit_at_one_comes_back_out_of_ndcg_ties_too():
    above, tied = (each.ravel() for each in np.mgrid[0 : AMONG + 1, 1 : AMONG + 2])
    there = above + tied <= AMONG + 1
    place = np.arange(AMONG + 1)
    scores = np.where(place < above[there, None], 2.0, np.where(place < (above + tied)[there, None], 1.0, 0.0))
    found = rank_targets(scores, list(above[there, None]))
    np.testing.assert_allclose(hit(found.ndcg(10)), found.hit_rate(1))
    assert hit(found.ndcg(10)[None]).shape == (1, there.sum())
