"""Users who are forgotten: nothing of theirs is stored, here and in saved folders, and others are answered as before."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender
from llmrec.data.build import events_for
from llmrec.errors import DataError, IgnoredInputWarning
from llmrec.recommender.answer import FALLBACK

LATER = {
    "user_id": ["u003", "u003", "u003", "ann-of-elsewhere", "u005"],
    "item_id": ["i001", "i002", "i001", "i001", "i002"],
    "timestamp": [1.8e9, 1.8e9, 1.9e9, 1.8e9, 1.8e9],
}
GONE = ["u003", "ann-of-elsewhere"]


def held(folder: Path, text: str) -> list[str]:
    """Files of a folder that hold a text, as letters or as UTF-16."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(text.encode(code) in path.read_bytes() for code in ("utf-8", "utf-16-le"))]


def test_a_forgotten_user_is_unknown_here_and_in_what_is_saved(recommender, fitted, world, tmp_path):
    """Others are answered as if nothing of the user had been observed."""
    without = copy.copy(fitted)
    without.observe({name: values[4:] for name, values in LATER.items()})
    recommender.observe(LATER)
    recommender.save_pretrained(tmp_path / "before", histories=True)
    assert all(held(tmp_path / "before", user) == ["users.json"] for user in GONE)  # the probe sees
    known, kept = recommender.state.histories, [user for user in world.users if user not in GONE]
    others = without.recommend(kept, k=5)
    recommender.recommend(GONE, k=5)
    recommender.forget(GONE)
    assert not recommender.state.remembered.known and recommender.state.trained == len(world.users) - 1
    recommender.save_pretrained(tmp_path / "after", histories=True)
    assert not held(tmp_path / "after", "u003") and not held(tmp_path / "after", "ann-of-elsewhere")
    assert held(tmp_path / "after", "u004")
    for rec in (recommender, Recommender.from_pretrained(tmp_path / "after")):
        answer = rec.recommend(GONE, k=5)
        assert set(answer["source"]) == {FALLBACK}
        histories, place = rec.state.histories, known.users.find(kept)
        assert histories.users.values == kept
        for name in ("item", "time", "basket"):
            np.testing.assert_array_equal(getattr(histories, name), getattr(known.take(place), name))
        pd.testing.assert_frame_equal(rec.recommend(kept, k=5), others, atol=1e-4)


def test_what_observe_counted_of_a_user_is_taken_off(recommender, fitted, tmp_path):
    """So that the popularity is that of the others' events; what `fit` counted stays."""
    recommender.observe(LATER)
    recommender.save_pretrained(tmp_path, histories=True)
    for rec in (recommender, Recommender.from_pretrained(tmp_path)):
        assert rec.state.retrieval.observed.sum() == 5
        rec.forget(GONE)
        observed = rec.state.retrieval.observed
        assert observed.nonzero()[0].tolist() == [2] and observed[2] == 1  # of u005
        assert (rec.state.retrieval.counts.popularity == fitted.state.retrieval.counts.popularity).all()
        rec.forget(["u005"])
        pd.testing.assert_frame_equal(rec.recommend(["nobody"], k=30), fitted.recommend(["nobody"], k=30))


def test_a_forgotten_user_may_come_back_as_a_stranger(recommender, world, clicks):
    recommender.forget(["u000", "u001"])
    table = {**clicks, "user_id": ["u000" if user == "new1" else user for user in clicks["user_id"]]}
    answer, stranger = (recommender.recommend(histories=one, k=5) for one in (table, clicks))
    pd.testing.assert_frame_equal(answer.replace("u000", "new1"), stranger)
    recommender.observe(table)
    assert recommender.state.known.of(recommender.state.known.first.users).n_users == len(world.users) - 2
    assert "u000" in recommender.state.histories.users.values


def test_layers_of_observed_events_are_forgotten_too(recommender, world):
    """Users who are in several layers, and one layer that is left empty."""
    for user in ("u003", "q", "u003"):
        recommender.observe(
            {"user_id": [user], "item_id": ["i001"], "timestamp": [1.8e9 + len(recommender.state.known.layers)]}
        )
    assert len(recommender.state.known.layers) > 1
    recommender.forget(["u003", "q"])
    assert not recommender.state.known.knows(recommender.state.known.first.users.extended(["u003", "q"]))[-2:].any()
    assert recommender.state.histories.n_users == len(world.users) - 1


def test_everybody_can_be_forgotten(recommender, world, tmp_path):
    recommender.forget(world.users)
    assert recommender.state.histories.n_users == recommender.state.trained == 0
    recommender.save_pretrained(tmp_path, histories=True)
    assert set(Recommender.from_pretrained(tmp_path).recommend(["u000"], k=3)["source"]) == {FALLBACK}


def test_held_out_users_are_forgotten_too(recommender, world):
    table = world.events(["v0", "v1"], world.ids, seed=4)
    recommender.held_out = events_for(recommender.state.catalogue, table)[0]
    other = copy.copy(recommender)
    recommender.forget(["v0", "u000"])  # without a warning: both were there
    assert recommender.held_out.users.values == ["v1"] and other.held_out.users.values == ["v0", "v1"]
    recommender.forget(["v1"])
    assert recommender.held_out is None


def test_who_is_not_known_is_named(recommender):
    with pytest.warns(IgnoredInputWarning, match="2 of 3, such as 'who', are not known"):
        recommender.forget(["who", "u000", "else"])
    assert "u000" not in recommender.state.histories.users.values
    with pytest.raises(DataError, match="users are int"):
        recommender.forget([5])
    with pytest.raises(DataError, match="is the text"):
        recommender.forget("u001")
