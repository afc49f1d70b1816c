"""`llmrec predict`: the table of `Recommender.predict`, for known users and for those of a file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from llmrec import Recommender, Weights
from llmrec.cli import main

WORDS = ("red mug", "blue lamp", "green rope", "small tent", "large soap")


def run(*words: object, code: int = 0) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = CliRunner().invoke(main, ["predict", *map(str, words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def rows(*words: object) -> list[dict[str, Any]]:
    return json.loads(run(*words, "--json").stdout)


@pytest.fixture(scope="module")
def films(tiny_folders, tiny_settings, tmp_path_factory) -> Path:
    """A folder with a recommender, `films`, of 60 users who rated 8 of 12 items, even users mostly high where the item's number
    is even, odd users the others; and with `ratings.csv` of a new user who is like the even ones, in German dress."""
    folder, rng = tmp_path_factory.mktemp("predict"), np.random.default_rng(0)
    events = [
        (user, f"i{item:02}", 1_700_000_000 + 86_400 * day + user, 5 - 3 * ((user + item + (rng.random() < 0.15)) % 2))
        for user in range(60)
        for day, item in enumerate(rng.permutation(12)[:8])
    ]
    items = pd.DataFrame({"item_id": [f"i{item:02}" for item in range(12)], "title": [WORDS[item % 5] for item in range(12)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder / "cache"))
        recommender = Recommender(Weights.folder(tiny_folders["bert"]), tiny_settings)
        table = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp", "rating"])
        recommender.fit(table, items, verbose=False).save_pretrained(folder / "films", histories=True)
    given = [f"900;i{item:02};{13 + item}.02.2026;{5 - 3 * (item % 2)}" for item in range(6)]
    given = ["Kundennr;Artikelnr;Datum;Bewertung", *given]
    (folder / "ratings.csv").write_text("\n".join(given), encoding="utf-8")
    return folder


def test_the_table_is_that_of_the_library(films):
    shop = Recommender.from_pretrained(films / "films")
    expected = shop.predict([3, 4], ["i06", "i07"], level=0.8).to_dict("records")
    found = rows(films / "films", "--users", "3,4", "--items", "i06,i07", "--level", 0.8)
    assert [row["user_id"] for row in found] == [3, 3, 4, 4] and [row["item_id"] for row in found] == ["i06", "i07"] * 2
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)
    assert len(rows(films / "films", "--users", 3)) == 12
    titled = rows(films / "films", "--users", "3,4", "--items", "i07,i06", "--titles")
    assert [row["title"] for row in titled] == [WORDS[2], WORDS[1]] * 2
    shown = run(films / "films", "--users", "3", "--items", "i06").stdout.splitlines()
    assert shown[0].split() == ["user_id", "item_id", "probability", "expected", "low", "high", "labels"] and len(shown) == 2


def test_the_ratings_of_a_file_move_a_new_user(films, tmp_path):
    how = ("--columns", "Bewertung=rating", "--items", "i08,i09,i10,i11", "--quiet")
    run(films / "films", "--histories", films / "ratings.csv", *how, "--out", tmp_path / "likes.csv")
    found = pd.read_csv(tmp_path / "likes.csv")
    assert found.user_id.tolist() == [900] * 4 and found.labels.tolist() == [6] * 4
    nobody = pd.DataFrame(rows(films / "films", "--users", 901, *how[2:]))
    even, odd = found.probability[::2].mean(), found.probability[1::2].mean()
    assert even - odd > nobody.probability[::2].mean() - nobody.probability[1::2].mean() + 0.1


def test_mistakes_are_told(films):
    told = run(films / "films", "--users", "3,999", "--items", "i01").stderr
    assert told.startswith("Warning: 1 of 2 users are not known (999) and get the prediction for an average user")
    assert "give either --users" in run(films / "films", "--users", 1, "--histories", films / "ratings.csv", code=2).stderr
    assert "['i99'] are not in the catalogue" in run(films / "films", "--users", 1, "--items", "i99", code=2).stderr
    assert (
        "level is 1.5; expected a number above 0, below 1" in run(films / "films", "--users", 1, "--level", 1.5, code=2).stderr
    )
