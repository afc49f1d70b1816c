"""Laws of `recommend_all`: in a file is what `recommend` answers, however many users are answered at a time."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from llmrec.errors import DataError, ShortAnswerWarning, UnknownItemError
from llmrec.recommender import everybody


def read(path) -> pd.DataFrame:
    return {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".jsonl": lambda file: pd.read_json(file, lines=True)}[
        path.suffix
    ](path)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal answers, their scores up to the rounding of batches of another shape."""
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 1024])
@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_file_of_everybody_is_the_answer_to_everybody(fitted, world, tmp_path, exact, batch_size, ending):
    path = tmp_path / f"lists.{ending}"
    rows = fitted.recommend_all(path, k=4, titles=True, batch_size=batch_size, verbose=False)
    found = read(path)
    assert rows == len(found) == 4 * len(world.users)
    same(found, fitted.recommend(world.users, k=4, titles=True))


def test_the_default_batches_give_the_same_bits(fitted, world, tmp_path):
    fitted.recommend_all(tmp_path / "lists.parquet", verbose=False)
    pd.testing.assert_frame_equal(read(tmp_path / "lists.parquet"), fitted.recommend(world.users))


def test_users_who_were_observed_follow_and_newer_events_count(recommender, world, tmp_path, exact):
    recommender.observe({"user_id": ["new", world.users[3]], "item_id": world.ids[:2], "timestamp": [1.7e9, 1.7e9]})
    recommender.recommend_all(tmp_path / "lists.parquet", batch_size=5, verbose=False)
    same(read(tmp_path / "lists.parquet"), recommender.recommend([*world.users, "new"]))


@pytest.mark.parametrize("options", [{}, {"filter_viewed": False}, {"steps": 0}, {"items_to_recommend": ["i003", "i020"]}])
def test_histories_are_answered_as_by_recommend(fitted, clicks, world, tmp_path, exact, options):
    asked = {
        name: [*values, value] for (name, values), value in zip(clicks.items(), ["u001", "i000", 1.7e9, "b", 1], strict=True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortAnswerWarning)
        fitted.recommend_all(tmp_path / "x.parquet", k=3, histories=asked, batch_size=2, verbose=False, **options)
        same(read(tmp_path / "x.parquet"), fitted.recommend(histories=asked, k=3, **options))


def test_who_gets_fewer_is_told_once_for_all_batches(fitted, world, tmp_path):
    with pytest.warns(ShortAnswerWarning, match=f"{len(world.users)} users get fewer than k = 10") as told:
        fitted.recommend_all(
            tmp_path / "x.csv", items_to_recommend=world.ids[:2], batch_size=3, filter_viewed=False, verbose=False
        )
    assert len(told) == 1 and told[0].filename == __file__


def test_no_more_users_than_a_batch_are_answered_at_a_time(fitted, tmp_path, monkeypatch):
    sizes, answer = [], everybody.answer_everybody
    monkeypatch.setattr(everybody, "answer_everybody", lambda *given: sizes.append(len(given[2])) or answer(*given))
    fitted.recommend_all(tmp_path / "x.csv", batch_size=10, verbose=False)
    assert sizes == [10, 10, 4]


def test_mistakes_are_named_before_anything_is_written(fitted, clicks, tmp_path):
    for options, error, words in (
        ({"k": 0}, DataError, "k is 0"),
        ({"batch_size": 0}, DataError, "batch_size is 0"),
        ({"steps": -1}, DataError, "steps is -1"),
        ({"path": tmp_path / "x.xlsx"}, DataError, "expected a name that ends in .parquet"),
        ({"items_to_recommend": ["gone"]}, UnknownItemError, "gone"),
    ):
        with pytest.raises(error, match=words):
            fitted.recommend_all(**{"path": tmp_path / "x.csv", "verbose": False} | options)
    assert not list(tmp_path.iterdir())


def test_a_model_that_knows_nobody_says_what_to_do(fitted, clicks, tmp_path):
    fitted.save_pretrained(tmp_path / "shop")
    loaded = type(fitted).from_pretrained(tmp_path / "shop")
    with pytest.raises(DataError, match=r"saved without histories: save it with histories=True, or pass histories=\.\.\."):
        loaded.recommend_all(tmp_path / "x.csv", verbose=False)
    assert loaded.recommend_all(tmp_path / "x.csv", k=2, histories=clicks, verbose=False) == 10


def test_the_rate_is_told(fitted, tmp_path, capsys):
    fitted.recommend_all(tmp_path / "x.csv")
    assert "24 users, " in (said := capsys.readouterr().err) and "a second, 240 rows in" in said
    fitted.recommend_all(tmp_path / "x.csv", verbose=False)
    assert capsys.readouterr().err == ""
