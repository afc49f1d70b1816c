"""Explanations against what `recommend` says of the same histories without an item."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.errors import DataError, ShortAnswerWarning, TemplateError, UnknownItemError
from llmrec.ranking.signals import NAMES
from llmrec.recommender import explaining
from llmrec.recommender.sentences import KINDS, load_sentences, sentence

SCORES = ["user_id", "item_id", "score", "rank"]
K = 4


def history(world: Any, clicks: Any, user: str, seed: int = 0) -> pd.DataFrame:
    """Events of one new person in which the first item is there three times."""
    table = pd.DataFrame(clicks).query("user_id == @user").drop(columns="basket_id")
    first = table.iloc[[0, 0]].assign(timestamp=[table.timestamp.max() + 9, table.timestamp.max() + 99])
    return pd.concat([table, first], ignore_index=True)


def brute_force(fitted: Any, table: pd.DataFrame, items: list[str]) -> pd.DataFrame:
    """By how much the score of each item falls without each past item: rows past items, columns items."""
    past = table.item_id.unique().tolist()
    ask = {"items_to_recommend": items, "k": len(items)}
    scores = [fitted.recommend(histories=table[table.item_id != one], **ask) for one in past]
    whole = fitted.recommend(histories=table, **ask).set_index("item_id").score
    return pd.DataFrame([whole - one.set_index("item_id").score for one in scores], index=past)[items]


@pytest.fixture(scope="module")
def people(world, clicks):
    return {user: history(world, clicks, user) for user in ("new0", "new1", "new2")}


@pytest.fixture(scope="module")
def drops(fitted, people):
    """For each person the items explained and the drops by brute force."""
    found = {}
    for user, table in people.items():
        items = fitted.recommend(histories=table, k=K).item_id.tolist()
        found[user] = brute_force(fitted, table, items)
    return found


# ---------------------------------------------------------------------------------------- what is explained


def test_the_rows_and_scores_are_those_of_recommend(fitted, world, clicks):
    asked = [*world.users[:2], "nobody", world.users[0]]
    for call in ({"users": asked}, {"histories": clicks}):
        told, plain = fitted.explain(**call, k=6), fitted.recommend(**call, k=6)
        pd.testing.assert_frame_equal(told[SCORES], plain[SCORES])
    items = world.ids[::7]
    with warnings.catch_warnings(action="ignore", category=ShortAnswerWarning):
        told = fitted.explain(asked, [*items, items[0]])
        plain = fitted.recommend(asked, len(items), items_to_recommend=items)
    pd.testing.assert_frame_equal(told[SCORES], plain[SCORES])
    empty = fitted.explain([], signals=True)
    assert not len(empty) and list(empty.columns) == list(fitted.explain(["nobody"], k=1, signals=True).columns)


def test_what_is_asked_for_is_checked(fitted, world):
    for wrong in ({"k": 0}, {"events": 0}, {"events": 1.5}, {"items": "i001"}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            fitted.explain(world.users[:1], **wrong)
    with pytest.raises(UnknownItemError):
        fitted.explain(world.users[:1], ["i999"])
    with pytest.raises(DataError, match="explain needs either users"):
        fitted.explain()


# ---------------------------------------------------------------------------------------- past items


def test_the_past_item_named_first_is_the_one_whose_absence_lowers_the_score_most(fitted, people, drops):
    for user, table in people.items():
        expected = drops[user]
        told = fitted.explain(histories=table, items=expected.columns, events=3)
        assert set(told.item_id) == set(expected.columns)
        for item, rows in told.groupby("item_id"):
            fall = expected[item].sort_values(ascending=False)
            fall = fall[fall > 2 * explaining.LEAST][:3]
            assert rows.because_item_id.tolist()[: len(fall)] == fall.index.tolist()
            np.testing.assert_allclose(rows.contribution[: len(fall)], fall, atol=1e-4)


def test_without_the_item_named_first_the_first_item_falls_twice_as_far_as_without_a_random_one(fitted, people, drops):
    named, random = [], []
    for user, table in people.items():
        first = fitted.explain(histories=table, k=1).iloc[0]
        fall = drops[user][first.item_id]
        named.append(fall[first.because_item_id])
        random.append(fall.mean())
    assert np.mean(named) >= 2 * np.mean(random) and np.mean(named) > 0


def test_known_users_are_explained_as_their_histories_are(fitted, world):
    table = pd.DataFrame(world.events(world.users, world.ids))
    mine = table[table.user_id == world.users[3]]
    by_id = fitted.explain([world.users[3]], k=3)
    by_table = fitted.explain(histories=mine.assign(user_id="stranger"), k=3)
    pd.testing.assert_frame_equal(by_id.drop(columns="user_id"), by_table.drop(columns="user_id"))


def test_only_the_latest_of_many_past_items_are_left_out(fitted, people, monkeypatch):
    table = people["new0"]
    latest = table.sort_values("timestamp").item_id.drop_duplicates(keep="last").tolist()[-2:]
    assert table.item_id.iloc[0] in latest  # which was there first and last
    monkeypatch.setattr(explaining, "MOST", 2)
    told = fitted.explain(histories=table, k=8, events=9)
    assert set(told.because_item_id.dropna()) <= set(latest)


def test_an_item_that_is_in_the_history_is_explained_when_it_may_be_recommended(fitted, people):
    table = people["new1"]
    had = table.item_id.iloc[0]
    with pytest.warns(
        ShortAnswerWarning, match="fewer than the 1 items asked for, such as 'new1' of 0.*filter_viewed=False"
    ) as seen:
        assert not len(fitted.explain(histories=table, items=[had]))
    assert seen[0].filename == __file__
    told = fitted.explain(histories=table, items=[had], filter_viewed=False, events=20)
    mine = told[told.because_item_id == had]
    assert mine.sentence.tolist() == [f"{title(fitted, had)} is in your history already."] * len(mine)


def title(fitted: Any, item: str) -> str:
    return fitted.state.catalogue.column("title")[fitted.state.catalogue.ids.values.index(item)]


# ---------------------------------------------------------------------------------------- signals


def test_shares_of_signals_add_up_to_the_contribution_and_the_largest_is_named(fitted, people):
    told = fitted.explain(histories=people["new2"], k=8, events=2, signals=True)
    named = told[told.because_item_id.notna()]
    assert len(named)
    np.testing.assert_allclose(named[list(NAMES)].sum(axis=1), named.contribution, atol=1e-4)
    assert named[list(NAMES)].idxmax(axis=1).tolist() == named.signal.tolist()
    rest = told[told.because_item_id.isna()]
    assert (rest.contribution == 0).all()
    ahead = rest[list(NAMES)].sum(axis=1) > explaining.LEAST
    assert rest.signal.notna().tolist() == ahead.tolist()


def test_one_past_item_is_told_by_what_the_signals_of_the_history_add(fitted, people):
    """Without it nothing is left to score; that it is there several times changes nothing."""
    table = people["new0"]
    for only in (table.iloc[:1], table[table.item_id == table.item_id.iloc[0]]):
        told = fitted.explain(histories=only, k=6, signals=True)
        named = told[told.because_item_id.notna()]
        assert len(named) and set(named.because_item_id) == {table.item_id.iloc[0]}
        assert (named.contribution > explaining.LEAST).all()
        np.testing.assert_allclose(
            named[["repeat", "co-occurrence", "text", "sequence"]].sum(axis=1), named.contribution, atol=1e-4
        )
        assert (named[["popular", "price", "length", "group"]] == 0).all(axis=None)


def test_who_has_no_history_is_told_what_is_popular(fitted, world):
    told = fitted.explain(["nobody"], k=3, signals=True)
    assert told.signal.tolist() == ["popular"] * 3 and told.because_item_id.isna().all() and (told.contribution == 0).all()
    assert told.sentence.tolist() == [f"{title(fitted, item)} is popular." for item in told.item_id]
    assert told.popular.tolist() == told.score.tolist()


# ---------------------------------------------------------------------------------------- sentences


def test_what_is_said_of_co_occurrence_is_in_the_counts(fitted, people):
    ids, counts = fitted.state.catalogue.ids, fitted.state.retrieval.counts
    told = pd.concat([fitted.explain(histories=table, k=9, events=5) for table in people.values()])
    said = told[told.sentence.str.contains("people who chose it")]
    for past, item in zip(ids.find(said.because_item_id.tolist()), ids.find(said.item_id.tolist()), strict=True):
        assert explaining._go_together(counts, past, item)
    shared = told[told.sentence.str.contains("shares words")]
    for past, item in zip(shared.because_item_id, shared.item_id, strict=True):
        assert set(title(fitted, past).split()) & set(title(fitted, item).split())


def test_sentences_of_ones_own(fitted, people, tmp_path):
    own = tmp_path / "satz.jinja"
    head = "---\nname: satz\nversion: 1\nlanguage: de\ntask: explanation\nvariables: "
    body = "\n".join(f"{{% if {kind} %}}{kind}: {{{{ {kind} }}}} / {{{{ item }}}}{{% endif %}}" for kind in KINDS)
    kinds = ", ".join(KINDS)
    own.write_text(f"{head}[item, {kinds}]\noptional: [{kinds}]\n---\n{body}", encoding="utf-8")
    told = fitted.explain(histories=people["new0"], k=5, template=own)
    for row in told.itertuples():
        kind, _, names = row.sentence.partition(": ")
        past = row.item_id if pd.isna(row.because_item_id) else row.because_item_id
        assert kind in KINDS and names == f"{title(fitted, past)} / {title(fitted, row.item_id)}"
    for name, message in (("colour", "got colour"), ("popular", "write popular under `optional`")):
        own.write_text(f"{head}[{name}]\n---\n{{{{ {name} }}}}", encoding="utf-8")
        with pytest.raises(TemplateError, match=message):
            fitted.explain(["nobody"], template=own)


def test_the_packaged_template_has_a_sentence_for_each_kind(fitted):
    words, catalogue = load_sentences("explanation"), fitted.state.catalogue
    said = [sentence(words, catalogue, kind, 0, 1) for kind in KINDS]
    assert len(set(said)) == len(KINDS) and all(one.endswith(".") and "\n" not in one for one in said)


def test_an_id_stands_for_a_title_that_is_missing_and_long_titles_are_cut():
    words, titles = load_sentences("explanation"), pa.table({"title": ["", None, "a" * 200]})
    catalogue = Catalogue(Ids([7, 8, 9]), titles)
    said = [sentence(words, catalogue, "popular", item, -1) for item in range(3)]
    assert said == ["7 is popular.", "8 is popular.", f"{'a' * 79}… is popular."]
