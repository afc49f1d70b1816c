"""Attributes of users from `fit` to an answer, in a planted shop: the country decides what a user takes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ranker_contract import RankerContract, some_candidates

from llmrec import Recommender
from llmrec.data.context import request_context
from llmrec.data.ids import Ids
from llmrec.data.tasks import Tasks, without_history
from llmrec.errors import DataError, IgnoredInputWarning, MissingHistoriesWarning, SchemaError
from llmrec.index.candidates import Candidates, Sources
from llmrec.ranking.ranker import RankerSettings
from llmrec.ranking.rankers import AttributeRanker, CandidateRanker, TransformerRanker
from llmrec.recommender.answer import BACKFILL, BY_ATTRIBUTES, FALLBACK
from llmrec.recommender.catalogues import as_new
from llmrec.recommender.saving import load_state, save_state

USERS, ITEMS = 120, 30
ASKED = pd.DataFrame({"user_id": ["n", "s", "none"], "country": ["north", "south", None], "age": [None, 40.0, None]})


def shop(prefix: str, count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events and attributes: even users are of the north and take items 0 to 14 nine times in ten, the others 15 to 29. Age
    says nothing."""
    rng, rows, people = np.random.default_rng(seed), [], []
    for number in range(count):
        user = f"{prefix}{number:03}"
        chance = np.where(np.arange(ITEMS) // 15 == number % 2, 0.9, 0.1) / (1 + np.arange(ITEMS) % 15)
        for day, item in enumerate(rng.choice(ITEMS, 7, replace=False, p=chance / chance.sum())):
            rows.append((user, f"i{item:03}", 1.6e9 + 86_400.0 * day + number))
        people.append((user, ("north", "south")[number % 2], float(rng.normal(40, 9))))
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return events, pd.DataFrame(people, columns=["user_id", "country", "age"])


EVENTS, PEOPLE = shop("u", USERS, 0)


@pytest.fixture(scope="module")
def plan(tiny_settings: Any) -> Any:
    return replace(tiny_settings, blend=RankerSettings(hidden=2, max_steps=60), sources=Sources(8, 4, 8))


@pytest.fixture(scope="module")
def told(fitting: Any, world: Any, plan: Any) -> Recommender:
    ids = [f"i{number:03}" for number in range(ITEMS)]
    strangers = pd.DataFrame({"user_id": ["visitor"], "country": ["south"], "age": [30.0]})  # known by attributes alone
    return fitting(EVENTS, world.items(ids), plan, users=pd.concat([PEOPLE, strangers]))


class TestAttributeRanker(RankerContract):
    """The ranker of users without events, for eight users of the table."""

    @pytest.fixture
    def given(self, told: Recommender) -> tuple[CandidateRanker, Tasks, Candidates]:
        state, people = told.state, Ids([f"u{number:03}" for number in range(8)])
        assert state.by_attributes is not None and state.people is not None and state.retrieval.counts.groups is not None
        tasks = without_history(state.histories, state.people.of(people))
        transformer = TransformerRanker(state.adapting.reader(0))
        ranker = AttributeRanker(state.by_attributes, state.retrieval.counts.groups, transformer)
        return ranker, tasks, some_candidates(8, ITEMS)


@pytest.fixture
def mine(told: Recommender) -> Recommender:
    return copy.copy(told)


def half(answer: pd.DataFrame, user: str, k: int = 6) -> float:
    """Share of the first k items that are the south's."""
    return float((answer[answer.user_id == user].item_id.str[1:].astype(int) >= 15)[:k].mean())


def test_a_user_without_events_gets_the_items_of_the_group(told):
    answer = told.recommend(users=ASKED, k=8)
    assert half(answer, "n") < 0.2 and half(answer, "s") > 0.8
    assert set(answer[answer.user_id != "none"].source) == {BY_ATTRIBUTES}
    swapped = told.recommend(users=ASKED.assign(country=["south", "north", None]), k=8)
    assert half(swapped, "n") > 0.8 and half(swapped, "s") < 0.2
    visitor = told.recommend(["visitor"], k=8)  # the table that was fitted tells
    assert half(visitor, "visitor") > 0.8 and set(visitor.source) == {BY_ATTRIBUTES}


def test_a_user_without_events_is_told_that_the_group_takes_an_item(told):
    why = told.explain(users=ASKED, k=4, signals=True)
    pd.testing.assert_frame_equal(why[["item_id", "score"]], told.recommend(users=ASKED, k=4)[["item_id", "score"]])
    assert why.because_item_id.isna().all() and set(why[why.user_id == "none"].signal) == {"popular"}
    of_group = why[why.signal == "group"]
    assert set(of_group.user_id) == {"n", "s"} and of_group.sentence.str.endswith("is popular among people like you.").all()
    assert (why[["repeat", "co-occurrence", "text", "sequence", "price", "length"]] == 0).all(axis=None)
    other = told.explain(users=ASKED.assign(country=["south", "north", None]), items=of_group.item_id[:1], signals=True)
    mine = why[why.item_id == of_group.item_id.iloc[0]].set_index("user_id").group
    assert other.set_index("user_id").group[mine.index[0]] < mine.iloc[0]


def test_new_users_of_a_table_may_have_ids_of_any_kind(told):
    answer = told.recommend(users=ASKED, k=8)
    numbered = told.recommend(users=ASKED.assign(user_id=range(len(ASKED))), k=8)
    assert numbered.item_id.tolist() == answer.item_id.tolist() and numbered.score.tolist() == answer.score.tolist()


def test_who_has_no_attribute_that_is_known_gets_what_is_popular(told):
    nothing = pd.DataFrame({"user_id": ["none", "far"], "country": [None, "nowhere"], "age": [np.nan, np.inf]})
    found, plain = told.recommend(users=nothing, k=5), told.recommend(["none", "far"], k=5)
    pd.testing.assert_frame_equal(found, plain)
    assert set(found.source) == {FALLBACK}


def test_each_is_answered_as_if_alone_and_in_the_order_of_the_table(told):
    together = told.recommend(users=ASKED, k=ITEMS)
    assert together.user_id.unique().tolist() == ["n", "s", "none"]
    assert set(together[together.user_id == "n"].source) == {BY_ATTRIBUTES, BACKFILL}
    for user in ("n", "s"):
        alone = told.recommend(users=ASKED[ASKED.user_id == user], k=ITEMS)
        both = together[together.user_id == user].reset_index(drop=True)
        assert alone.item_id.tolist() == both.item_id.tolist() and sorted(alone.item_id) == sorted(
            f"i{i:03}" for i in range(ITEMS)
        )
        assert np.allclose(alone.score, both.score, atol=1e-4) and (np.diff(alone.score) <= 1e-6).all()
        assert told.recommend(users=ASKED, k=3)[lambda a, u=user: a.user_id == u].item_id.tolist() == both.item_id[:3].tolist()
    few = told.recommend(users=ASKED.head(1), k=2, items_to_recommend=["i029", "i000", "i001"])
    assert set(few.item_id) <= {"i029", "i000", "i001"} and few.item_id[0] != "i029"


def test_histories_come_first_and_a_table_beside_them_says_what_else_is_known(told):
    clicks, people = shop("x", 4, 5)
    answer = told.recommend(histories=clicks, users=people, k=5)
    assert not {BY_ATTRIBUTES, FALLBACK} & set(answer.source) and set(answer.user_id) == set(clicks.user_id)
    bare = told.recommend(histories=clicks, k=5)
    empty = told.recommend(histories=clicks, users=people.assign(country=None, age=None), k=5)
    pd.testing.assert_frame_equal(bare, empty)
    assert not np.allclose(bare.score, answer.score)
    known = told.recommend(["u000"], k=5)
    pd.testing.assert_frame_equal(told.recommend(users=PEOPLE.head(1), k=5), known)  # the same attributes as stored
    assert BY_ATTRIBUTES not in set(known.source)


def test_new_events_turn_an_answer_by_attributes_into_one_by_history(mine):
    mine.observe({"user_id": ["visitor"], "item_id": ["i003"], "timestamp": [1.7e9]})
    assert not {BY_ATTRIBUTES, FALLBACK} & set(mine.recommend(["visitor"], k=3).source)


def test_what_is_saved_answers_with_the_very_same_scores(told, tmp_path):
    told.save_pretrained(tmp_path / "with", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "with")
    asked = [*PEOPLE.user_id[:3], "visitor", "nobody"]
    pd.testing.assert_frame_equal(loaded.recommend(asked, k=12), told.recommend(asked, k=12))
    pd.testing.assert_frame_equal(loaded.recommend(users=ASKED, k=12), told.recommend(users=ASKED, k=12))
    told.save_pretrained(tmp_path / "without")
    bare = Recommender.from_pretrained(tmp_path / "without")
    pd.testing.assert_frame_equal(bare.recommend(users=ASKED[:2], k=12), told.recommend(users=ASKED[:2], k=12))
    with pytest.warns(MissingHistoriesWarning, match="user 'visitor' is not known"):
        assert set(bare.recommend(["visitor"], k=2).source) == {FALLBACK}
    saved = [file.read_bytes() for file in (tmp_path / "without").rglob("*") if file.is_file()]
    assert not any(b"visitor" in text or b"u000" in text for text in saved)
    bare.save_pretrained(tmp_path / "again", histories=True)
    Recommender.from_pretrained(tmp_path / "again").recommend(users=ASKED[:2], k=2)


def test_over_another_catalogue_it_is_saved_and_reads_attributes_as_before(told, tmp_path):
    """One item is new there; how attributes are read does not belong to items."""
    state = as_new(told.state, np.arange(ITEMS) == 3)
    save_state(tmp_path / "over", state, histories=False)
    loaded = load_state(tmp_path / "over", "cpu")
    for name, values in told.state.model.user_attributes.state_dict().items():
        for other in (state, loaded):
            assert np.array_equal(other.model.user_attributes.state_dict()[name], values)
    assert np.array_equal(loaded.items.vectors, state.items.vectors)


@pytest.mark.slow
def test_training_reads_no_attribute_of_a_user_without_events_and_no_order_of_rows(fitting, world, plan, told):
    """Rows of test users, and any order of rows and columns, leave every weight as it is."""
    ids = [f"i{number:03}" for number in range(ITEMS)]
    _, others = shop("test", 40, 9)
    table = pd.concat([others.assign(country="elsewhere"), PEOPLE]).sample(frac=1, random_state=2)[
        ["age", "user_id", "country"]
    ]
    other = fitting(EVENTS, world.items(ids), plan, users=table)
    assert other.state.people.encoding == told.state.people.encoding
    pd.testing.assert_frame_equal(other.recommend(users=ASKED, k=12), told.recommend(users=ASKED, k=12))
    pd.testing.assert_frame_equal(other.recommend(["u000", "u001"], k=12), told.recommend(["u000", "u001"], k=12))


def test_evaluation_with_nothing_known_but_attributes(told, fitted, clicks):
    events, people = shop("t", 60, 7)
    rows = {(row.method, row.versus): row for row in told.evaluate(events, known=0, users=people) if row.metric == "ndcg@10"}
    assert set(rows) == {("llmrec", ""), ("popularity", ""), ("llmrec", "popularity")}
    assert rows["llmrec", "popularity"].low > 0 and rows["llmrec", ""].n == 60
    swapped = people.assign(country=np.roll(people.country, 1))
    worse = next(row for row in told.evaluate(events, known=0, users=swapped) if row.metric == "ndcg@10" and not row.versus)
    assert worse.value < rows["popularity", ""].value
    with pytest.raises(DataError, match="known is 0; expected at least 1 basket: without user attributes, see fit"):
        fitted.evaluate(clicks, known=0)
    with pytest.raises(DataError, match="none of 60 users has attributes; pass users=table"):
        told.evaluate(events, known=0)
    with pytest.raises(DataError, match="no user has 0"):
        told.evaluate(events.head(1), known=0, users=people)


def test_a_table_that_says_nothing_of_the_users_asked_for_is_not_ignored_without_a_word(told):
    clicks, people = shop("x", 4, 5)
    for call in (lambda **more: told.recommend(histories=clicks, k=5, **more), lambda **more: told.evaluate(clicks, **more)):
        with pytest.raises(DataError, match="users are int such as 0, but the ids asked for are str such as 'x000'"):
            call(users=people.assign(user_id=range(4)))
        with pytest.warns(IgnoredInputWarning, match="4 users, such as 'yx000', has none of the 4 users asked for") as seen:
            call(users=people.assign(user_id="y" + people.user_id))
        assert [warning.filename for warning in seen] == [__file__]
        call(users=people.head(1))  # some of them are enough


def test_the_path_of_a_table_is_a_table_as_text_too(told, tmp_path):
    file = tmp_path / "people.csv"
    ASKED.to_csv(file, index=False)
    pd.testing.assert_frame_equal(told.recommend(users=str(file), k=8), told.recommend(users=file, k=8))
    with pytest.raises(DataError, match="there is no file"):
        told.recommend(users=str(tmp_path / "nobody.csv"))
    with pytest.raises(DataError, match="users is the text 'u000'"):
        told.recommend(users="u000")


def test_what_cannot_be_asked_is_said(told, fitted, clicks):
    with pytest.raises(DataError, match="users is a DataFrame, expected a list of ids; .* fitted with some: fit.*users=table"):
        fitted.recommend(users=ASKED)
    with pytest.raises(DataError, match="with histories, users is a table of their attributes"):
        told.recommend(["u000"], histories=clicks)
    with pytest.raises(DataError, match="no column is an attribute that was fitted, expected one of 'age', 'country', got"):
        told.recommend(users=EVENTS)
    with pytest.raises(SchemaError, match="users has no column 'user_id'"):
        told.recommend(users=ASKED.drop(columns="user_id"))
    with pytest.raises(DataError, match="recommend needs either users"):
        told.recommend()


def test_over_another_catalogue_attributes_and_context_are_still_read(fitting, world, plan, tmp_path):
    """As scenes put it there; saved and loaded, too."""
    events = EVENTS.assign(device=np.where(np.arange(len(EVENTS)) % 3, "phone", "desk"))
    ids = [f"i{number:03}" for number in range(ITEMS)]
    state = fitting(events, world.items(ids), plan, users=PEOPLE, context=["device"]).state
    moved = as_new(state, np.zeros(ITEMS, bool))
    save_state(tmp_path / "moved", moved, histories=False)
    attributes, context = state.people.of(Ids(["u000", "u001"])), request_context(state.known.first.context, {"device": "desk"})
    tasks = replace(without_history(moved.known.first, attributes), context=context[0].take(np.zeros(2, np.int64)))
    expected = state.adapting.base.read(tasks).vectors
    bare = state.adapting.base.read(replace(tasks, user_attributes=None, context=None)).vectors
    assert not np.allclose(expected, bare, atol=1e-6) and not len(moved.people.users)
    for other in (moved, load_state(tmp_path / "moved", "cpu")):
        np.testing.assert_array_equal(other.adapting.base.read(tasks).vectors, expected)


def test_everybody_includes_those_of_whom_attributes_alone_are_known(told, tmp_path):
    told.recommend_all(tmp_path / "lists.parquet", k=3, batch_size=50, verbose=False)
    found = pd.read_parquet(tmp_path / "lists.parquet")
    assert list(found["user_id"].unique()) == [*told.state.histories.users.values, "visitor"]
    assert set(found["source"][-3:]) == {BY_ATTRIBUTES}


def test_who_is_answered_by_attributes_gets_no_hidden_item_and_attributes_are_forgotten(mine, tmp_path):
    gone = mine.recommend(["visitor"], k=3)["item_id"].tolist()
    mine.hide_items(gone)
    answer = mine.recommend(["visitor"], k=ITEMS - 3)
    assert BY_ATTRIBUTES in set(answer.source) and not set(gone) & set(answer.item_id)
    mine.forget(["visitor", "u000"])
    mine.save_pretrained(tmp_path, histories=True)
    saved = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"u001" in saved and b"u000" not in saved and b"visitor" not in saved
    for rec in (mine, Recommender.from_pretrained(tmp_path)):
        assert set(rec.recommend(["visitor", "u000"], k=3).source) == {FALLBACK}
        people = rec.state.people
        assert len(people.users) == len(people.attributes) == USERS - 1
