"""An item that most users disliked is recommended to nobody for it, and never again to those who disliked it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmrec.metrics.ranking import rank_targets
from llmrec.signed import SignedFeedback

LATER = 1.7e9  # after everything else
SIGNS = ["type", "signed", "zero", "negative"]


def with_dislikes(world: Any, sign: str, users: list[str], item: str) -> tuple[dict[str, list[Any]], dict[str, float] | None]:
    """The shop's events without `item`, and a dislike of it by each of `users`, which is an event type of factor 0, one that
    the settings call negative, a weight of 0 or one below 0; and the factors."""
    events = world.events(world.users, world.ids)
    rows = [row for row in zip(*events.values(), strict=True) if row[1] != item]
    rows += [(user, item, LATER + number, f"dislike {number}", 5.0) for number, user in enumerate(users)]
    table = {name: [row[column] for row in rows] for column, name in enumerate(events)}
    disliked = [who == item for who in table["item_id"]]
    if sign in ("type", "signed"):
        types = {"event_type": ["dislike" if one else "buy" for one in disliked]}
        return table | types, {"dislike": 0.0} if sign == "type" else None
    return table | {"weight": [({"zero": 0.0, "negative": -2.0}[sign]) if one else 1.0 for one in disliked]}, None


@pytest.fixture(scope="module", params=SIGNS)
def disliked(request: pytest.FixtureRequest, fitting: Callable[..., Any], world: Any, tiny_settings: Any) -> Any:
    """A recommender of a shop whose item `i007` was disliked by 20 of 24 users and bought by nobody."""
    events, weights = with_dislikes(world, request.param, world.users[:20], "i007")
    signed = SignedFeedback(positive=("buy",), negative=("dislike",)) if request.param == "signed" else SignedFeedback()
    return fitting(events, world.items(world.ids), replace(tiny_settings, signed=signed), event_weights=weights)


def offered(answer: Any) -> dict[str, list[str]]:
    return {user: rows["item_id"].tolist() for user, rows in answer.groupby("user_id")}


def marked(recommender: Any, bad: list[bool]) -> dict[str, list[Any]]:
    """The column that tells a dislike from a purchase, as the recommender was fitted."""
    if "weight" in recommender.state.histories.attributes:
        return {"weight": [-1.0 if one else 1.0 for one in bad]}
    return {"event_type": ["dislike" if one else "buy" for one in bad]}


@pytest.mark.filterwarnings("ignore::llmrec.errors.ShortAnswerWarning")
def test_who_disliked_an_item_is_not_offered_it(disliked, world):
    found = offered(disliked.recommend(world.users, k=30))
    assert [user for user in world.users if "i007" in found[user]] == world.users[20:]


@pytest.mark.parametrize("filter_viewed", [True, False])
@pytest.mark.filterwarnings("ignore::llmrec.errors.ShortAnswerWarning")
def test_dislikes_bring_an_item_to_nobody(disliked, world, filter_viewed):
    answer = disliked.recommend([*world.users, "nobody"], k=30, filter_viewed=filter_viewed)
    rows = answer[answer["item_id"] == "i007"].to_dict("records")
    assert rows and all(row["rank"] > 1 for row in rows)
    for row in rows:
        assert not {"repeat", "co-occurrence", "popular"} & set(row["source"].split("+"))
    assert rows[-1]["source"].startswith("popular (no history)") and rows[-1]["rank"] == 30 and rows[-1]["score"] == 0


def test_dislikes_count_in_nothing_that_is_counted(disliked):
    counts, here = disliked.state.retrieval.counts, disliked.state.catalogue.ids.find(["i007"])[0]
    assert counts.popularity[here] == 0 and counts.popularity.sum() > 0
    for table in (counts.cooccurrence, counts.ease, counts.markov_short.follows, counts.markov_long.follows):
        assert not table[[here]].nnz and not table[:, [here]].nnz
    assert counts.markov_short.prior[here] == 0 and counts.position_popularity[:, here].max() < counts.position_popularity.max()
    assert counts.repurchase[here] == pytest.approx(counts.repurchase[counts.popularity.argmin()], abs=1e-5)


def test_an_item_that_was_only_disliked_is_the_least_popular_one_and_no_new_one(disliked):
    model, here = disliked.state.model, disliked.state.catalogue.ids.find(["i007"])[0]
    assert model.trained.all()
    assert model.bias.argmin() == here


@pytest.mark.filterwarnings("ignore::llmrec.errors.ShortAnswerWarning")
def test_a_user_who_only_disliked_is_answered_without_those_items(disliked, world):
    clicks = {"user_id": ["new", "new"], "item_id": ["i001", "i002"], "timestamp": [LATER, LATER + 1]}
    clicks |= marked(disliked, [True, True])
    found = offered(disliked.recommend(histories=clicks, k=30))
    assert set(found["new"]) == set(world.ids) - {"i001", "i002"}
    everything = disliked.recommend(histories=clicks, k=30, filter_viewed=False)
    sources = dict(zip(everything["item_id"], everything["source"], strict=True))
    assert len(sources) == 30 and not any("repeat" in source for source in sources.values())


def test_a_dislike_that_is_observed_takes_the_item_out(disliked, world):
    mine = copy.copy(disliked)
    first = offered(mine.recommend(["u003"], k=1))["u003"][0]
    mine.observe({"user_id": ["u003"], "item_id": [first], "timestamp": [LATER + 99], **marked(mine, [True])})
    assert first not in offered(mine.recommend(["u003"], k=10))["u003"]
    assert not mine.state.retrieval.observed.any()  # nor does it make the item popular


def test_a_dislike_is_neither_relevant_nor_a_purchase_to_the_controls(disliked):
    """One of the two known baskets is a purchase, and the last of the three after them, whose item was disliked first."""
    items = ["i001", "i003", "i007", "i008", "i003"]
    asked = {"user_id": ["new"] * 5, "item_id": items, "timestamp": [LATER + number for number in range(5)]}
    asked |= marked(disliked, [False, True, True, True, False])
    rows = disliked.evaluate(asked, known=2)
    counts = disliked.state.retrieval.counts.popularity
    share, had = counts / (counts.max() + 1), np.arange(30) == 1
    for method, scores in {"popularity": share, "most_frequent": share + had}.items():
        places = rank_targets(scores[None], [np.array([3])])
        expected = {"ndcg@10": places.ndcg(10), "recall@10": places.recall(10), "auc": places.auc()}
        found = {row.metric: row.value for row in rows if row.method == method and not row.versus}
        assert found == pytest.approx({name: float(value[0]) for name, value in expected.items()})
