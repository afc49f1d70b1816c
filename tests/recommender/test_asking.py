"""What a call is asked with and what it leaves: ids, titles, copies, forks, what is shown."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec import LoraSettings, OuterSettings, Recommender, Settings, TrainSettings
from llmrec.data import tables
from llmrec.errors import DataError, ForkError, TrainedUsersWarning, UnknownItemError
from llmrec.index import forks
from llmrec.index.faiss_index import IndexSettings
from llmrec.recommender.answer import FALLBACK
from llmrec.recommender.settings import check_ranges

# ---------------------------------------------------------------------------------------- ids, k, titles


def test_ids_of_another_type_are_refused_and_unknown_ones_get_the_fallback(fitted, world):
    with pytest.raises(DataError, match="users are int such as 5, but the known ids are str such as 'u000', 'u001'; convert"):
        fitted.recommend([5])
    with pytest.raises(DataError, match="users is a DataFrame, expected a list of ids; .* as histories"):
        fitted.recommend(pd.DataFrame(world.events(world.users, world.ids)))
    with pytest.raises(DataError, match=r"users\[0\] is None"):
        fitted.recommend([None])
    for call in (fitted.similar_items, lambda items: fitted.recommend(["u000"], items_to_recommend=items)):
        with pytest.raises(UnknownItemError, match="they are str, not int; convert them"):
            call([7])
    assert set(fitted.recommend(["nobody"], k=2)["source"]) == {FALLBACK}


def test_numbers_of_a_call_are_whole(fitted, world, clicks):
    for k in (2.5, "3", None, True, 0):
        for call in (lambda k: fitted.recommend(["nobody"], k=k), lambda k: fitted.similar_items(world.ids[:1], k=k)):
            with pytest.raises(DataError, match="k is"):
                call(k)
    for bad in ({"known": 2.5}, {"seed": None}):
        with pytest.raises(DataError, match=f"{next(iter(bad))} is"):
            fitted.evaluate(clicks, **bad)


def test_titles_are_added_when_asked_for(fitted, world, clicks):
    title = dict(zip(*world.items(world.ids).values(), strict=True))
    for ask, item in (
        (lambda **more: fitted.recommend([*world.users[:2], "nobody"], k=12, **more), "item_id"),
        (lambda **more: fitted.recommend(histories=clicks, k=3, **more), "item_id"),
        (lambda **more: fitted.similar_items(world.ids[:3], k=4, **more), "similar_item_id"),
    ):
        plain, titled = ask(), ask(titles=True)
        assert titled["title"].tolist() == [title[one] for one in titled[item]]
        pd.testing.assert_frame_equal(titled.drop(columns="title"), plain)


def test_a_table_is_read_once(recommender, clicks, tmp_path, monkeypatch):
    pd.DataFrame(clicks).to_csv(tmp_path / "clicks.csv", index=False)
    read, files = tables.read_plain, []
    monkeypatch.setattr(tables, "read_plain", lambda path, *more: files.append(path) or read(path, *more))
    answer = recommender.recommend(histories=tmp_path / "clicks.csv", k=3)
    assert files == [tmp_path / "clicks.csv"]
    pd.testing.assert_frame_equal(answer, recommender.recommend(histories=clicks, k=3))


# ---------------------------------------------------------------------------------------- evaluating


def test_evaluating_on_those_who_were_trained_on_warns_with_how_many(recommender, world, clicks):
    events = world.events(world.users, world.ids)
    with pytest.warns(TrainedUsersWarning, match="evaluate: 24 of 24 users were training users") as caught:
        rows = recommender.evaluate(events)
    assert rows and caught[0].filename == __file__
    mixed = {name: [*clicks[name], *events[name]] for name in clicks}
    with pytest.warns(TrainedUsersWarning, match="evaluate: 24 of 29 users"):
        recommender.evaluate(mixed)
    recommender.observe(clicks)
    assert recommender.evaluate(clicks)  # known by now, but not trained on


def test_who_was_trained_on_is_known_after_loading_with_histories(recommender, world, clicks, tmp_path):
    recommender.observe(clicks)
    recommender.save_pretrained(tmp_path / "saved", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "saved")
    with pytest.warns(TrainedUsersWarning, match="24 of 24"):
        loaded.evaluate(world.events(world.users, world.ids))
    assert loaded.evaluate(clicks)


# ---------------------------------------------------------------------------------------- copies and forks


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
def test_a_copy_answers_alike_and_learns_alone(recommender, world, way):
    recommender.similar_items(world.ids[:1])  # an index that is made when it is first asked for is copied, too
    other = way(recommender)
    pd.testing.assert_frame_equal(other.recommend(world.users, k=8), recommender.recommend(world.users, k=8))
    pd.testing.assert_frame_equal(other.similar_items(world.ids), recommender.similar_items(world.ids))
    before = recommender.state
    other.observe({"user_id": ["nobody"], "item_id": [world.ids[0]], "timestamp": [1.7e9]})
    assert recommender.state is before and other.state.version == before.version + 1
    assert other._writing is not recommender._writing
    assert not any(type(value).__name__ == "lock" for value in recommender.__reduce_ex__(4)[2].values())


def in_a_fork(call) -> str:
    """What a forked child makes of a call: "answer", or the name of the error; "nothing" after 20 seconds without either."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        try:
            call()
            send.send("answer")
        except Exception as error:
            send.send(type(error).__name__)

    process = context.Process(target=child)
    process.start()
    process.join(20)
    if process.is_alive():
        process.kill()
        process.join()
    return receive.recv() if receive.poll() else "nothing"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_an_error_where_it_would_wait_for_ever(fitted, world, clicks, tmp_path):
    fitted.save_pretrained(tmp_path / "saved")
    fitted.recommend(["u000"], k=1)
    calls = {
        "recommend": lambda: fitted.recommend(["u000"], k=1),
        "similar_items": lambda: fitted.similar_items(world.ids[:1]),
        "evaluate": lambda: fitted.evaluate(clicks),
        "load": lambda: Recommender.from_pretrained(tmp_path / "saved"),
    }
    assert in_a_fork(calls["recommend"]) == "answer"  # one thread, see `exact`
    torch.set_num_threads(2)
    try:
        assert {name: in_a_fork(call) for name, call in calls.items()} == dict.fromkeys(calls, "ForkError")
        fitted.recommend(["u000"], k=1)  # the parent goes on
    finally:
        torch.set_num_threads(1)


def test_a_fork_before_anything_was_computed_may_compute(monkeypatch):
    monkeypatch.setattr(forks, "threads", lambda: 4)
    with monkeypatch.context() as patch:
        patch.setattr(forks, "_first_process", lambda: os.getpid())
        forks.check_process()
        patch.setattr(forks, "_first_process", lambda: os.getppid())
        with pytest.raises(
            ForkError, match=r"was forked from process .* Load the model after the fork .*spawn.*OMP_NUM_THREADS=1"
        ):
            forks.check_process()


# ---------------------------------------------------------------------------------------- what is shown


def test_what_it_is_stands_in_its_repr(recommender, world):
    assert repr(Recommender()) == "Recommender(not fitted)"
    n = recommender.state.histories.n_events
    assert repr(recommender) == f"Recommender(24 known users, {n} events, 30 items)"
    recommender.observe({"user_id": ["nobody"], "item_id": [world.ids[0]], "timestamp": [1.7e9]})
    assert repr(recommender) == f"Recommender(25 known users, {n + 1} events, 30 items, version 1)"


def test_fitting_shows_stages_and_notes_unless_told_otherwise(fitting, world, capfd, caplog, tiny_settings, tmp_path):
    """Nothing else is written, neither by fitting nor by any other call; a program that listens to the logger hears all."""
    caplog.set_level(logging.WARNING)
    events = {"who" if name == "user_id" else name: values for name, values in world.events(world.users, world.ids).items()}
    events, items = {**events, "customer_id": events.pop("who")}, world.items(world.ids)
    fitted = fitting(events, items)
    out, err = capfd.readouterr()
    assert out == "" and "customer_id" in err
    assert {line.split(":")[0] for line in err.splitlines() if line.endswith(" ...")} >= {
        "clean ...",
        "encode",
        "base",
        "blend",
    }
    fitted = Recommender(fitted.weights, tiny_settings)
    with caplog.at_level(logging.INFO, "llmrec"):
        fitted.fit(events, items, verbose=False)
    assert any("customer_id" in line for line in caplog.messages) and any(line.startswith("blend") for line in caplog.messages)
    fitted.recommend(world.users)
    fitted.similar_items(world.ids[:1])
    fitted.observe({"user_id": ["nobody"], "item_id": [world.ids[0]], "timestamp": [1.7e9]})
    fitted.save_pretrained(tmp_path / "saved")
    Recommender.from_pretrained(tmp_path / "saved")
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------- settings


def test_what_a_recommender_is_made_of_is_checked_at_once():
    for arguments, message in (
        ({"weights": "all-MiniLM-L6-v2"}, "weights is 'all-MiniLM-L6-v2', expected a Weights; say Weights.folder"),
        ({"settings": {}}, r"settings is \{\}, expected a Settings"),
        ({"seed": None}, "seed is None; expected a whole number"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(DataError, match=message):
            Recommender(**arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(train=TrainSettings(max_steps=0)), "TrainSettings.max_steps is 0; expected at least 1"),
        (Settings(train=TrainSettings(max_steps=-5)), "TrainSettings.max_steps is -5"),
        (Settings(train=TrainSettings(batch_size=0)), "TrainSettings.batch_size is 0"),
        (Settings(train=TrainSettings(known=(3, 2))), r"TrainSettings.known\[1\] is 2; expected at least 3"),
        (Settings(train=TrainSettings(known=3)), "TrainSettings.known is 3; expected the shortest and the longest"),
        (Settings(train=TrainSettings(dropout=1.0)), "TrainSettings.dropout is 1.0"),
        (
            Settings(train=TrainSettings(learning_rate=-1e-3)),
            "TrainSettings.learning_rate is -0.001; expected a number above 0",
        ),
        (Settings(lora=LoraSettings(r=0)), "LoraSettings.r is 0; expected at least 1"),
        (Settings(lora=LoraSettings(inner_steps=-1)), "LoraSettings.inner_steps is -1; expected at least 0"),
        (Settings(lora=LoraSettings(inner_lr=float("nan"))), "LoraSettings.inner_lr is nan"),
        (Settings(outer=OuterSettings(episodes=2.5)), "OuterSettings.episodes is 2.5; expected a whole number"),
        (Settings(layers=0), "Settings.layers is 0"),
        (Settings(index=IndexSettings(recall=0)), "IndexSettings.recall is 0; expected a number above 0, at most 1"),
        (Settings(index=IndexSettings(recall=1.5)), "IndexSettings.recall is 1.5"),
        (Settings(index=IndexSettings(probes=0)), "IndexSettings.probes is 0; expected at least 1"),
        (Settings(meta_fraction=0.6, blend_fraction=0.5), "Settings.meta_fraction is 0.6 and blend_fraction 0.5"),
    ],
)
def test_settings_that_nothing_can_be_trained_with_are_refused_before_tables_are_read(settings, message):
    with pytest.raises(DataError, match=message):
        Recommender(settings=settings).fit("no such file.csv")


def test_what_may_be_zero(tiny_settings):
    still = replace(tiny_settings, outer=OuterSettings(episodes=0), lora=replace(tiny_settings.lora, inner_steps=0))
    check_ranges(
        replace(still, train=replace(still.train, bias_learning_rate=0, text_only_rate=1.0), meta_fraction=0, blend_fraction=0)
    )
    check_ranges(
        replace(
            still, counts_ranker=replace(still.counts_ranker, max_steps=0), train=replace(still.train, batch_size=np.int64(4))
        )
    )


def test_training_that_diverges_is_an_error_with_the_remedy(fitting, world, tiny_settings):
    wild = replace(tiny_settings, train=replace(tiny_settings.train, learning_rate=1e30))
    with pytest.raises(
        DataError, match=r"base training diverged: .* lower the learning rates in TrainSettings, .* learning_rate=1e\+30"
    ):
        fitting(world.events(world.users, world.ids), world.items(world.ids), settings=wild)
