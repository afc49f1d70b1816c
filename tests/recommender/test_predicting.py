"""A new user's ratings move what is predicted of items, and the order of an answer where it is asked for."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender
from llmrec.errors import ArtefactError, DataError, IgnoredInputWarning, MissingHistoriesWarning, UnknownItemError
from llmrec.recommender.predicting import LEAST
from llmrec.signed import SignedFeedback
from llmrec.signed.serial import DAY, Serial

PREDICTED = ["user_id", "item_id", "probability", "expected", "low", "high", "labels"]


def likes(user: str, item: str) -> bool:
    """What is planted: two of four users like every second item, the other two the rest."""
    return int(user.removeprefix("new").removeprefix("u")) // 2 % 2 == int(item[1:]) % 2


def rated(world: Any, users: list[str], seed: int = 1) -> pd.DataFrame:
    table = pd.DataFrame(world.events(users, world.ids, seed)).drop(columns="price")
    wide = np.random.default_rng(0).integers(0, 5, len(table)) / 4  # ratings of 4 to 5 and of 1 to 2
    table["rating"] = [
        wide[row] + (4.0 if likes(*pair) else 1.0) for row, pair in enumerate(zip(table.user_id, table.item_id, strict=True))
    ]
    return table


@pytest.fixture(scope="module")
def with_ratings(fitting, world) -> Recommender:
    return fitting(rated(world, world.users), pd.DataFrame(world.items(world.ids)))


def history(user: str, items: list[str], **more: Any) -> pd.DataFrame:
    times = [1.8e9 + place for place in range(len(items))]
    return pd.DataFrame({"user_id": user, "item_id": items, "timestamp": times, **more})


def of_likes(table: pd.DataFrame, user: str) -> tuple[float, float]:
    """Mean probability of what the user likes, and of the rest."""
    mine = table[table.user_id == user]
    good = np.array([likes(user, item) for item in mine.item_id])
    return mine.probability[good].mean(), mine.probability[~good].mean()


def test_the_answer_is_a_frame_of_every_pair(with_ratings, world):
    found = with_ratings.predict(["u000", "u001", "nobody"], world.ids[:3])
    assert list(found.columns) == PREDICTED
    assert found.user_id.tolist() == ["u000"] * 3 + ["u001"] * 3 + ["nobody"] * 3
    assert found.item_id.tolist() == world.ids[:3] * 3
    assert (found.low <= found.expected).all() and (found.expected <= found.high).all() and (found.low < found.high).all()
    assert found.low.min() >= 1 and found.high.max() <= 5
    assert found.probability.between(0, 1).all()
    n = with_ratings.state.histories
    assert found.labels.tolist()[::3] == [len(np.unique(n.item[n.start[u] : n.start[u + 1]])) for u in (0, 1)] + [0]
    wide = with_ratings.predict(["u000"], world.ids[:3], level=0.99)
    assert (wide.high - wide.low > found.high[:3] - found.low[:3]).all()
    assert len(with_ratings.predict(["u000"])) == len(world.ids)


def test_a_new_users_ratings_tell_what_else_is_liked(with_ratings, world):
    seen = world.ids[:6]
    own = history("new0", seen, rating=[5.0 if likes("new0", item) else 1.0 for item in seen])
    good, bad = of_likes(with_ratings.predict(histories=own, items=world.ids[6:15]), "new0")
    other = own.assign(rating=6.0 - own.rating)
    good_swapped, bad_swapped = of_likes(with_ratings.predict(histories=other, items=world.ids[6:15]), "new0")
    assert good - bad > 0.1 and bad_swapped - good_swapped > 0.1


def test_who_has_no_label_gets_the_prior(with_ratings, world):
    unrated = history("new0", world.ids[:4], rating=[None] * 4)
    columns = ["probability", "expected", "low", "high", "labels"]
    found = with_ratings.predict(histories=unrated, items=world.ids)[columns]
    pd.testing.assert_frame_equal(found, with_ratings.predict(["nobody"], world.ids)[columns])


def test_what_is_observed_counts_in_the_next_prediction(with_ratings, world):
    rec = copy.copy(with_ratings)
    later = history("u000", [world.ids[0]], rating=[1.0])
    before = rec.predict(["u000"], [world.ids[0]])
    rec.observe(later)
    after = rec.predict(["u000"], [world.ids[0]])
    assert after.expected[0] < before.expected[0] and after.labels[0] >= before.labels[0]


def test_ratings_on_another_scale_count_as_the_nearest_of_fit_and_it_is_said_once_a_call(with_ratings, world):
    """Ratings in fit are between 1 and 5."""
    seen, rec = world.ids[:4], copy.copy(with_ratings)
    far, near = (history("new0", seen, rating=[*ends, 4.5, 1.5]) for ends in ([100.0, -3.0], [5.0, 1.0]))
    wanted = with_ratings.predict(histories=near)
    said = ": expected ratings between 1 and 5, as in fit, got 2 of 4 outside, such as 100, which counts as 5; give them on"
    with pytest.warns(IgnoredInputWarning, match=f"predict{said}") as caught:
        found = rec.predict(histories=far)
    assert len(caught) == 1 and caught[0].filename == __file__
    pd.testing.assert_frame_equal(found, wanted)
    with pytest.warns(IgnoredInputWarning, match=f"recommend{said}") as caught:
        rec.recommend(histories=far, k=3, avoid_disliked=True)
    assert len(caught) == 1 and caught[0].filename == __file__
    rec.recommend(histories=far, k=3)  # reads no ratings
    with pytest.warns(IgnoredInputWarning, match=f"observe{said}") as caught:
        rec.observe(far)
    assert len(caught) == 1 and caught[0].filename == __file__
    stored = rec.predict(["new0"])
    np.testing.assert_allclose(stored.expected, wanted.expected)
    for name in ("expected", "low", "high"):
        assert wanted[name].between(1, 5).all()


@pytest.fixture()
def moody(with_ratings) -> Recommender:
    """Half of the noise is what labels that follow each other have in common."""
    rec, signed = copy.copy(with_ratings), with_ratings.state.signed
    serial = Serial(0.5 * signed.noise, 0.9)
    rec._state = replace(rec.state, signed=replace(signed, noise=signed.noise - serial.variance, serial=serial))
    return rec


def test_labels_of_now_tell_more_than_labels_of_long_ago(moody, world):
    """Three low ratings of items that the user likes, before and after the newest rating of `fit`."""
    liked = [item for item in world.ids if likes("new0", item)]
    low = history("new0", liked[:3], rating=[1.0] * 3)
    now, until = moody.predict(histories=low, items=liked[3:]), moody.state.signed.until
    ago = moody.predict(histories=low.assign(timestamp=low.timestamp - 1.8e9 + until - 365 * DAY), items=liked[3:])
    assert low.timestamp.min() > until and (now.probability < ago.probability).all() and (now.expected <= ago.expected).all()
    moody.observe(history("u001", liked[:1], rating=[5.0]).assign(timestamp=1.8e9 + 365 * DAY))
    later = moody.predict(histories=low, items=liked[3:])
    np.testing.assert_allclose(later.expected, ago.expected, atol=1e-9)


def test_who_else_is_asked_for_and_what_was_saved_change_no_prediction(moody, world, tmp_path):
    low = history("new0", world.ids[:3], rating=[1.0] * 3)
    later = history("new1", world.ids[:1], rating=[5.0]).assign(timestamp=1.8e9 + 365 * DAY)
    alone = moody.predict(histories=low)
    both = moody.predict(histories=pd.concat([low, later]))
    pd.testing.assert_frame_equal(both[both.user_id == "new0"].reset_index(drop=True), alone)
    moody.save_pretrained(tmp_path / "shop")
    pd.testing.assert_frame_equal(Recommender.from_pretrained(tmp_path / "shop").predict(histories=low), alone)


def test_avoid_disliked_multiplies_the_odds_by_the_probability_of_a_like(moody, world):
    plain = moody.recommend(["u002", "u003"], k=6)
    found = moody.recommend(["u002", "u003"], k=6, avoid_disliked=True)
    assert not found.item_id.equals(plain.item_id)
    likely = moody.predict(["u002", "u003"]).set_index(["user_id", "item_id"]).probability
    both = found.merge(plain, on=["user_id", "item_id"]).query("source_x != 'rest of the catalogue'")
    both = both.query("source_y != 'rest of the catalogue'")
    assert len(both)
    wanted = [row.score_y + np.log(max(likely[row.user_id, row.item_id], LEAST)) for row in both.itertuples()]
    np.testing.assert_allclose(both.score_x, wanted, atol=1e-4)
    share = {
        name: np.mean([likely[pair] for pair in zip(t.user_id, t.item_id, strict=True)])
        for name, t in (("a", found), ("p", plain))
    }
    assert share["a"] > share["p"]


def test_ratings_change_no_answer_that_does_not_ask_for_them(with_ratings, world):
    """Without the beliefs the same state gives the same answer."""
    bare = copy.copy(with_ratings)
    bare._state = replace(with_ratings.state, signed=None)
    pd.testing.assert_frame_equal(bare.recommend(world.users, k=8), with_ratings.recommend(world.users, k=8))


def test_a_saved_recommender_predicts_alike_and_a_changed_byte_is_noticed(with_ratings, world, tmp_path):
    with_ratings.save_pretrained(tmp_path / "bare")
    with pytest.warns(MissingHistoriesWarning, match="'u000' is not known here and gets the average prediction: "):
        Recommender.from_pretrained(tmp_path / "bare").predict(["u000"], world.ids[:1])
    with_ratings.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    pd.testing.assert_frame_equal(loaded.predict(["u000", "nobody"]), with_ratings.predict(["u000", "nobody"]))
    meta = tmp_path / "shop" / "manifest.json"
    text = meta.read_text(encoding="utf-8")
    assert json.loads(text)
    noise = repr(with_ratings.state.signed.noise)
    assert noise in text
    meta.write_text(text.replace(noise, "9.0"), encoding="utf-8")
    with pytest.raises(ArtefactError):
        Recommender.from_pretrained(tmp_path / "shop")


def test_what_is_missing_is_said(fitted, with_ratings, world):
    missing = "events have no ratings, and no event type was named as negative.*give events a column rating"
    for call in (lambda: fitted.predict(["u000"]), lambda: fitted.recommend(["u000"], avoid_disliked=True)):
        with pytest.raises(DataError, match=missing):
            call()
    with pytest.raises(UnknownItemError):
        with_ratings.predict(["u000"], ["i999"])
    with pytest.raises(DataError, match="predict needs either users"):
        with_ratings.predict(items=world.ids)
    with pytest.raises(DataError, match="level is 1.5"):
        with_ratings.predict(["u000"], world.ids, level=1.5)


def test_who_is_forgotten_gets_the_prior_and_what_is_removed_is_not_predicted(with_ratings, world):
    rec, columns = copy.copy(with_ratings), ["probability", "expected", "low", "high", "labels"]
    rec.forget(["u000"])
    found = rec.predict(["u000"], world.ids[:3])[columns]
    pd.testing.assert_frame_equal(found, with_ratings.predict(["nobody"], world.ids[:3])[columns])
    rec.remove_items([world.ids[0]])
    assert rec.predict(["u001"]).item_id.tolist() == world.ids[1:]
    with pytest.raises(UnknownItemError):
        rec.predict(["u001"], [world.ids[0]])
    before, after = (one.predict(["u001"], world.ids[1:]) for one in (with_ratings, rec))
    pd.testing.assert_frame_equal(before, after)  # the rating of a removed item still tells of its user


@pytest.mark.slow
def test_event_types_that_are_named_are_learned_from(fitting, world, tiny_settings):
    events = rated(world, world.users)
    events["event_type"] = np.where(events.rating > 3, "like", "skip")
    settings = replace(tiny_settings, signed=SignedFeedback(positive=("like",), negative=("skip",)))
    rec = fitting(events.drop(columns="rating"), pd.DataFrame(world.items(world.ids)), settings)
    seen = world.ids[:6]
    own = history("new1", seen, event_type=["like" if likes("new1", item) else "skip" for item in seen])
    found = rec.predict(histories=own, items=world.ids[6:15])
    good, bad = of_likes(found, "new1")
    assert good > bad and found.expected.between(-0.5, 1.5).all()


def test_an_event_type_that_no_event_has_is_said_before_training(fitting, world, tiny_settings, monkeypatch):
    monkeypatch.setattr("llmrec.recommender.fit.new_base", lambda *_: pytest.fail("it began to train"))
    events = rated(world, world.users).assign(event_type="purchase")
    settings = replace(tiny_settings, signed=SignedFeedback(negative=("skip",)))
    with pytest.raises(DataError, match="event type 'skip' is not in the events"):
        fitting(events, pd.DataFrame(world.items(world.ids)), settings)


def test_an_item_that_came_later_is_predicted_by_its_text(with_ratings, world):
    rec = copy.copy(with_ratings)
    rec.add_items({"item_id": ["late"], "title": ["red mug"]})
    found = rec.predict(["u000"], ["late", world.ids[0]])
    assert found.high[0] - found.low[0] > found.high[1] - found.low[1]
    rec.recommend(["u000"], k=5, avoid_disliked=True)


def test_new_items_are_predicted_by_what_the_attributes_say_where_the_titles_say_nothing(fitting, world):
    """The new titles are alike; a word of a list says whether the first users like an item, a vector says nothing."""
    rng, told = np.random.default_rng(0), [["odd", "thing"] if int(item[1:]) % 2 else ["even"] for item in world.ids]
    items = pd.DataFrame({**world.items(world.ids), "tags": told, "vector": rng.normal(size=(30, 4)).tolist()})
    seen = world.ids[:8]
    own = history("new0", seen, rating=[5.0 if likes("new0", item) else 1.0 for item in seen])
    new = {"item_id": ["n0", "n1", "bare"], "title": ["red mug"] * 3, "tags": [["even"], ["odd", "thing"], None]}
    new["vector"] = [items.vector[0], items.vector[0], None]

    def difference(names: list[str]) -> tuple[float, Recommender]:
        rec = fitting(rated(world, world.users), items, item_attributes=names)
        rec.add_items(new)
        found = rec.predict(histories=own, items=["n0", "n1", "bare"]).probability
        return float(found[0] - found[1]), rec

    told_by_tags, rec = difference(["tags", "vector"])
    assert told_by_tags > 0.2
    assert difference(["vector"])[0] == 0
    rec.update_items({"item_id": ["n0", "n1"], "tags": [["odd", "thing"], ["even"]]})
    found = rec.predict(histories=own, items=["n0", "n1"]).probability
    assert found[0] - found[1] == pytest.approx(-told_by_tags, abs=1e-6)


def test_a_saved_recommender_predicts_new_items_by_attributes_alike(fitting, world, tmp_path):
    """A vector says who likes an item, and titles do not."""
    rng, side = np.random.default_rng(0), np.array([int(one[1:]) % 2 for one in world.ids])
    vectors = rng.normal(size=(30, 3)) + np.outer(2 * side - 1, [3, 0, 0])
    items = pd.DataFrame({**world.items(world.ids), "vector": vectors.tolist()})
    rec = fitting(rated(world, world.users), items, item_attributes=["vector"])
    rec.add_items({"item_id": ["late", "last"], "title": ["red mug"] * 2, "vector": [[3.0, 0, 0], [-3.0, 0, 0]]})
    seen = world.ids[:8]
    own = history("new2", seen, rating=[5.0 if likes("new2", item) else 1.0 for item in seen])
    found = rec.predict(histories=own, items=["late", "last"]).probability
    assert found[0] > found[1] + 0.2
    rec.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    pd.testing.assert_frame_equal(loaded.predict(["u000"]), rec.predict(["u000"]))
    older = replace(rec.state.signed, text=rec.state.signed.text[: 1 + rec.state.model.text.shape[1]])
    loaded._state = replace(loaded.state, signed=older)  # as it was saved before predictions read attributes
    assert len(loaded.predict(["u000"], ["late"])) == 1


def test_fit_says_why_nothing_is_learned_of_ratings_that_are_all_alike(fitting, world, capsys):
    events = {**world.events(world.users, world.ids)}
    events["rating"] = [5.0] * len(events["user_id"])
    assert fitting(events, world.items(world.ids)).state.signed is None
    assert "likes and dislikes: nothing is learned from them: every rating is " in capsys.readouterr().err
