"""Parts share no users, groups no scenes, and what a fold may learn from is what it may."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.errors import DataError
from studies.recognition.cases import Case, Fold
from studies.recognition.windows import ASK, CALIBRATE, FIT, lay, user_groups

SCENES = ("a", "b", "c")


def world(of_users: bool) -> Case:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(90), 30)
    scene = user % 3 if of_users else np.tile(np.repeat(np.arange(3), 10), 90)
    table = {"user_id": user, "item_id": rng.integers(0, 20, len(user)), "timestamp": 1e9 + np.arange(len(user)) % 30}
    dataset = build({**{name: values.tolist() for name, values in table.items()}, "scene": [SCENES[s] for s in scene]})[0]
    assert dataset.scene is not None
    return Case("made", dataset, dataset.scene, SCENES, of_users, 4, (), ())


@pytest.mark.parametrize("of_users", [True, False])
@pytest.mark.parametrize("home", ["", "a"])
def test_no_user_is_in_two_parts(of_users, home):
    case = world(of_users)
    laid = lay(case, Fold(("a", "b"), "c", home), 15, 0)
    user = case.dataset.user[laid.windows.rows]
    parts = [set(user[laid.part == part].ravel().tolist()) for part in (FIT, CALIBRATE, ASK)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert set(laid.part[laid.scene == 2]) == {ASK}
    assert set(laid.part[laid.scene == 0]) == {FIT, CALIBRATE, ASK}
    assert set(laid.part[laid.scene == 1]) == ({FIT} if home and of_users else {FIT, CALIBRATE, ASK})


@pytest.mark.parametrize("of_users", [True, False])
def test_windows_are_of_one_scene_and_one_group(of_users):
    case = world(of_users)
    groups = user_groups(case)
    laid = lay(case, Fold(("a", "b"), "c"), 15, 1)
    rows = laid.windows.rows
    assert (case.label[rows] == laid.scene[:, None]).all()
    assert (groups[case.dataset.user[rows]] == laid.unit[:, None]).all()
    assert np.bincount(groups).max() == case.group


def test_a_customer_with_a_few_events_elsewhere_counts_where_most_are():
    case = world(True)
    label = case.label.copy()
    label[np.flatnonzero(label == 0)[::40]] = 1
    mixed = Case("mixed", case.dataset, label, SCENES, True, 4, (), ())
    for seed in range(3):
        laid = lay(mixed, Fold(("a", "b"), "c"), 15, seed)
        assert (label[laid.windows.rows] == laid.scene[:, None]).all()
        assert set(laid.part[laid.scene == 1]) == {FIT, CALIBRATE, ASK}


def test_a_group_is_the_same_with_every_seed_and_its_part_is_not():
    case, fold = world(True), Fold(("a", "b"), "c")
    first, second = lay(case, fold, 15, 0), lay(case, fold, 15, 1)
    assert np.array_equal(np.unique(first.unit), np.unique(second.unit))
    part = [dict(zip(one.unit.tolist(), one.part.tolist(), strict=True)) for one in (first, second)]
    assert part[0] != part[1]
    assert np.array_equal(lay(case, fold, 15, 0).windows.rows, first.windows.rows)


def test_no_more_windows_than_asked_for():
    case = world(True)
    laid = lay(case, Fold(("a", "b"), "c"), 15, 0, most=3)
    assert max(np.sum((laid.scene == s) & (laid.part == p)) for s in range(3) for p in range(3)) == 3
    assert np.bincount(lay(case, Fold(("a", "b"), "c", "a"), 15, 0, most=3).scene)[0] > 3 * 3


def test_a_scene_that_is_too_small_is_named():
    with pytest.raises(DataError, match="'a' has no window of 5000 events"):
        lay(world(True), Fold(("a", "b"), "c"), 5000, 0)
