"""The attack study: the target is written as each attack and nothing else changes; places are counted by hand."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.build import build
from llmrec.data.splits import leave_last_out
from llmrec.index.candidates import Candidates
from llmrec.index.drawn import drawn_candidates
from llmrec.prompts import attacks
from llmrec.prompts.attacks import KINDS

STUDY = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "attack_study.py"))


@pytest.fixture(scope="module")
def asked():
    rng = np.random.default_rng(0)
    user, item = np.repeat(np.arange(6), 5), np.concatenate([rng.permutation(30)[:5] for _ in range(6)])
    events = pa.table({"user_id": user, "item_id": item, "timestamp": 86_400.0 * np.arange(30)})
    items = pa.table({"item_id": np.arange(30), "title": [f"mug {number}" for number in range(30)]})
    tasks = leave_last_out(build(events, items)[0]).test
    return tasks, drawn_candidates(tasks, np.ones(tasks.dataset.n_items), 4, rng)


def test_each_user_has_one_target_that_was_not_taken_and_its_ten_attacks(asked):
    tasks, found = asked
    more, every, target = STUDY["attacked"](tasks, found, np.random.default_rng(1))
    title = more.dataset.catalogue.table.column("title").to_pylist()
    for task, relevant in enumerate(tasks.relevant()):
        mine, place = every.of(task), target[task]
        assert mine[:5].tolist() == found.of(task).tolist() and mine[place] not in relevant
        assert tuple(title[item] for item in mine[5:]) == attacks(title[mine[place]])


def test_places_gained_are_those_by_hand():
    attack = [0.0] * (len(KINDS) - 2)
    scores = np.array([3.0, 2.0, 1.0, 9.0, 2.0, *attack], np.float32)  # the target has 1, behind both others
    found = Candidates(np.array([0, len(scores)]), np.arange(len(scores), dtype=np.int32), np.zeros(len(scores), np.uint8))
    gained = STUDY["gained"](scores, found, np.array([2]))
    places = [float(gained[kind][0]) for kind in KINDS]
    assert places == [2.0, 0.5, *[0.0] * (len(KINDS) - 2)]  # first; level with one and behind one; last as before


def test_the_users_one_by_one_have_their_own_candidates(asked):
    tasks, found = asked
    for task, (one, mine) in enumerate(STUDY["each"](tasks, found)):
        assert one.user.tolist() == [tasks.user[task]] and mine.item.tolist() == found.of(task).tolist()
