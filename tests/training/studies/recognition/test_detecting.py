"""Two witnesses, four answers, in a world where it is known which windows are of a known scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.drift.windows import cut
from llmrec.errors import DataError, FewWindowsWarning
from studies.recognition.detecting import detect, learn_guard

GROUPS = 60


@pytest.fixture(scope="module")
def world():
    """120 users: two known scenes that buy of the first items, and from user 80 on a new one that buys others."""
    rng = np.random.default_rng(0)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(120):
        first, stop = ((0, 24), (8, 32), (30, 40))[user // 40]
        for event in range(20):
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{rng.integers(first, stop):02d}")
            rows["timestamp"].append(1.3e9 + 1e5 * event + user)
    dataset = build(rows)[0]
    text = np.random.default_rng(1).normal(size=(dataset.n_items, 6)).astype(np.float32)
    windows = cut(dataset, dataset.user // 2, 20)
    return dataset, text, windows, windows.group // 20  # scene 0, 1, and 2 is new


def test_a_new_scene_is_opened_and_a_known_one_is_left_alone(world):
    dataset, text, windows, scene = world
    known = np.flatnonzero(scene < 2)
    kept = windows.group[known] % 2 == 0
    usual = np.random.default_rng(2).normal(3, 0.1, 200)
    guard = learn_guard(dataset, text, windows.take(known), scene[known], kept, usual)
    new = windows.take(np.flatnonzero(scene == 2))
    well, badly = np.full(len(new), 3.0), np.full(len(new), 5.0)
    assert {one.action for one in detect(guard, dataset, new, badly)} == {"open"}
    assert {one.action for one in detect(guard, dataset, new, well)} == {"reweight"}
    held = windows.take(known[kept])
    quiet = [one.action for one in detect(guard, dataset, held, np.full(len(held), 3.0))]
    assert quiet.count("nothing") >= 0.9 * len(quiet)
    worse = [one.action for one in detect(guard, dataset, held, np.full(len(held), 5.0))]
    assert worse.count("adapt") >= 0.9 * len(worse)


def test_at_home_another_known_scene_is_a_shift(world):
    dataset, text, windows, scene = world
    known = np.flatnonzero(scene < 2)
    kept = windows.group[known] % 2 == 0
    guard = learn_guard(dataset, text, windows.take(known), scene[known], kept)
    other = windows.take(np.flatnonzero(scene == 1))
    losses = np.full(len(other), 9.0)
    at_home = detect(guard, dataset, other, losses, home=0)
    assert np.mean([one.shift for one in at_home]) < np.mean([one.shift for one in detect(guard, dataset, other, losses)])
    assert {one.loss for one in at_home} == {1.0}  # no usual loss, no second witness


@pytest.mark.parametrize(("kept_back", "level"), [(18, 0.05), (8, 0.1)])
def test_with_too_few_windows_to_tell_anything_it_says_so_and_with_one_more_it_does_not(world, kept_back, level):
    dataset, text, windows, scene = world
    known = windows.take(np.flatnonzero(scene < 2))
    new = windows.take(np.flatnonzero(scene == 2))
    guard = learn_guard(dataset, text, known, scene[scene < 2], known.group % 2 == 0)
    scores = np.linspace(-2, 2, 30)
    few = replace(guard, calibration=(scores, scores[:kept_back]))
    with pytest.warns(FewWindowsWarning, match=f"scene 1 has {kept_back} calibration windows.*fewer than {kept_back + 1}"):
        told = detect(few, dataset, new, np.zeros(len(new)), level=level)
    assert {one.action for one in told} == {"nothing"}  # as unlike as can be, and yet no p-value is small enough
    detect(few, dataset, new, np.zeros(len(new)), home=0, level=level)
    enough = replace(guard, calibration=(scores, scores[: kept_back + 1]))
    assert {one.action for one in detect(enough, dataset, new, np.zeros(len(new)), level=level)} == {"reweight"}


def test_what_cannot_be_watched_is_refused(world):
    dataset, text, windows, scene = world
    known = windows.take(np.flatnonzero(scene < 2))
    with pytest.raises(DataError, match="scene 0: expected two windows"):
        learn_guard(dataset, text, known, scene[scene < 2], np.zeros(len(known), bool))
    guard = learn_guard(dataset, text, known, scene[scene < 2], known.group % 2 == 0)
    with pytest.raises(DataError, match="expected one a window"):
        detect(guard, dataset, known, np.zeros(3))
