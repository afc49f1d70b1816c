"""A ranker of one's own in place of the fitted ones, and the page that shows how to write one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ranker_contract import RankerContract

from llmrec.errors import DataError
from llmrec.recommender.answer import BACKFILL, FALLBACK

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "write_your_own_ranker.md").read_text(encoding="utf-8")
MINE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]


class LastFirst:
    """Prefers items that come late in the catalogue. asked: how many tasks each call had."""

    def __init__(self):
        self.asked = []

    def score(self, tasks, candidates):
        self.asked.append(len(tasks))
        return candidates.item.astype(np.float32)


@pytest.fixture(scope="module")
def departments(fitting, world):
    """A recommender over items with a category each."""
    table = world.items(world.ids)
    return fitting(world.events(world.users, world.ids), table | {"category": [f"c{i % 6}" for i in range(len(world.ids))]})


def test_its_scores_decide_the_order_of_the_candidates(fitted, clicks, world):
    ours, mine = fitted.recommend(histories=clicks, k=5), LastFirst()
    theirs = fitted.recommend(histories=clicks, k=5, ranker=mine)
    assert mine.asked == [5]
    place = {item: i for i, item in enumerate(world.ids)}
    for user in dict.fromkeys(theirs["user_id"]):
        rows = [i for i, other in enumerate(theirs["user_id"]) if other == user]
        items = [place[theirs["item_id"][i]] for i in rows]
        assert items == sorted(items, reverse=True) and [theirs["score"][i] for i in rows] == items
    assert list(theirs["item_id"]) != list(ours["item_id"]) and list(theirs["steps"]) == list(ours["steps"])


def test_the_rest_of_the_catalogue_comes_behind_whatever_it_scores(fitted, clicks, world):
    answer = fitted.recommend(histories=clicks, k=len(world.ids), filter_viewed=False, ranker=LastFirst())
    source = np.array(answer["source"]).reshape(5, -1)
    score = np.array(answer["score"]).reshape(5, -1)
    assert (source == BACKFILL).any(1).all() and (source != BACKFILL).any(1).all()
    assert (np.diff(score) <= 0).all()
    for user in range(5):
        assert source[user].tolist() == sorted(source[user].tolist(), key=lambda name: name == BACKFILL)
        assert len(set(answer["item_id"][user * len(world.ids) : (user + 1) * len(world.ids)])) == len(world.ids)


def test_the_fitted_ranker_given_as_one_answers_as_before(fitted, clicks):
    state = fitted.state
    read = state.adapting.reader()
    ours = fitted.recommend(histories=clicks)
    theirs = fitted.recommend(histories=clicks, ranker=state.rankers_for(True).over(state.retrieval.counts, read))
    assert all(list(theirs[name]) == list(ours[name]) for name in ("item_id", "source", "steps"))
    np.testing.assert_allclose(theirs["score"], ours["score"], atol=1e-5)


def test_users_without_history_are_not_ranked(fitted):
    mine = LastFirst()
    assert set(fitted.recommend(["nobody"], ranker=mine)["source"]) == {FALLBACK} and mine.asked == []


class Short:
    def score(self, tasks, candidates):
        return np.zeros(2)


@pytest.mark.parametrize(
    ("ranker", "said"),
    [
        (Short(), r"ranker Short: expected float32 \(\d+,\), a score for each candidate, got float64 \(2,\)"),
        (3, r"ranker is 3; expected an object with score\(tasks, candidates\), see docs/write_your_own_ranker.md"),
    ],
)
def test_a_ranker_that_is_none_is_refused(fitted, clicks, ranker, said):
    with pytest.raises(DataError, match=said):
        fitted.recommend(histories=clicks, ranker=ranker)


def test_the_code_of_the_page_runs_and_ranks_by_margin_and_category(departments, clicks, world):
    assert len(MINE.strip().splitlines()) <= 30
    names = {"recommender": departments, "clicks": clicks}
    code = MINE.replace('{"mug": 1.2, "tent": 31.0, "lamp": 6.5}', repr({item: 1.0 + i for i, item in enumerate(world.ids)}))
    assert code != MINE
    exec(code, names)
    answer = names["answer"]
    assert len(answer["item_id"]) == 3 * 5
    for i, (user, item) in enumerate(zip(answer["user_id"], answer["item_id"], strict=True)):
        bought = {
            world.ids.index(had) % 6 for who, had in zip(clicks["user_id"], clicks["item_id"], strict=True) if who == user
        }
        place = world.ids.index(item)
        assert answer["score"][i] == (1.0 + place) * (4 if place % 6 in bought else 1)


class TestOfThePage(RankerContract):
    @pytest.fixture
    def ranker(self, random_shop):
        """Over another catalogue, which the contract asks about: two categories, and margins by item."""
        names: dict = {}
        exec(MINE.split("\n\nmargin = ")[0], names)
        made = names["MarginRanker"].__new__(names["MarginRanker"])
        made.margin, made.category = np.arange(random_shop.n_items) + 1.0, np.arange(random_shop.n_items) % 2
        return made


def test_a_class_ragged_scores_and_changed_candidates_are_refused(fitted, clicks):
    class Ragged:
        def score(self, tasks, candidates):
            return [[1.0], [1.0, 2.0]]

    class Writes:
        def score(self, tasks, candidates):
            candidates.item[:] = 0

    with pytest.raises(DataError, match="expected an object with score"):
        fitted.recommend(histories=clicks, ranker=LastFirst)
    with pytest.raises(DataError, match="ranker Ragged: expected float32 .* NumPy cannot read"):
        fitted.recommend(histories=clicks, ranker=Ragged())
    with pytest.raises(ValueError, match="read-only"):
        fitted.recommend(histories=clicks, ranker=Writes())
