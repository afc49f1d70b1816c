"""Gradient steps in made shops: every arm is asked the same users, forgetting is measured on those who taught nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.meta.outer import OuterSettings
from llmrec.progress import Stages
from studies.scenes import gradient, study
from studies.scenes.lora_steps import LoraSettings
from studies.scenes.teaching import TeachSettings

BRIEF = TeachSettings(steps=6, batch=16, items=30)
SETTINGS = gradient.GradientSettings(
    teach=BRIEF,
    lora=LoraSettings(
        2, 1.0, steps=2, batch=16, queries=16, items=30, parts=1, sizes=(10, 20), least=20, outer=OuterSettings(3, 1e-2)
    ),
    rates=(0.1, 1.0),
    marks=(1, 2),
    queries=20,
    joint=BRIEF,
    fine=replace(BRIEF, rate=3e-2, steps=20),
    whole=replace(BRIEF, rate=3e-2, steps=20),
)


@pytest.fixture(scope="module")
def known(shop):
    return gradient.learn({f"shop {seed}": shop(seed) for seed in range(3)}, "shop 1", SETTINGS, Stages())


@pytest.fixture(scope="module")
def found(known):
    return gradient.study(known, (16, 64, 1000), range(2), SETTINGS, Stages())


def test_what_is_left_out_has_taught_nothing_and_neither_have_those_who_say_what_is_forgotten(known):
    assert known.place.name == "shop 1"
    left = known.place.world.dataset
    assert all(one.room.world.dataset is not left for one in known.sources)
    for one, (room, asks) in zip(known.sources, known.old, strict=True):
        assert room.world is one.room.world and len(asks) > 0
        assert set(one.tasks.user.tolist()) <= set(range(50, 150))


def test_all_arms_are_asked_the_same(known, found):
    assert {len(one) for methods in found.values.values() for several in methods.values() for one in several} == {
        len(known.place.asked)
    }
    arms = {study.META, gradient.ZERO, gradient.RANDOM, gradient.JOINT, gradient.CONTINUED, gradient.FINE, gradient.LONGER}
    assert {size: set(methods) for size, methods in found.values.items()} == {
        0: {gradient.ZERO, gradient.LONGER, gradient.FINE_ALL},
        16: arms,
        64: arms,
    }
    assert all(len(several) == 2 for size in (16, 64) for several in found.values[size].values())


def test_the_bias_is_what_zero_steps_has_of_the_support(found):
    mean = {size: np.mean(found.values[size][gradient.ZERO]) for size in (0, 16, 64)}
    assert mean[64] > mean[16] > mean[0]


def test_an_adapter_kept_apart_forgets_nothing_and_all_weights_do(known, found):
    before = gradient.old_losses(known, known.reader)
    assert gradient.forgotten(before, gradient.old_losses(known, known.reader)) == 0
    assert gradient.forgotten(np.array([2.0, 4.0]), np.array([2.2, 4.2])) == pytest.approx(0.075)
    said = [line for line in found.chosen if "forgetting" in line]
    for size in (16, 64):
        names = {line["method"] for line in said if line["users"] == size}
        assert names - {f"{study.META}, left on"} == {gradient.CONTINUED, gradient.FINE}
    assert all(line["forgetting"] != 0 for line in said if line["method"] == gradient.CONTINUED)
    assert {line["users"] for line in found.chosen if line.get("method") == gradient.FINE_ALL} == {100}


def test_as_much_compute_is_as_many_products():
    lora, base = SETTINGS.lora, SETTINGS.teach
    steps = gradient.extra_steps(SETTINGS)
    spent = lora.outer.episodes * (lora.steps + 1) * (lora.batch + lora.queries) * lora.items
    assert abs(steps * base.batch * base.items - spent) <= base.batch * base.items / 2


def test_how_many_users_are_needed_is_read_off_between_two_sizes():
    assert gradient.users_needed((16, 64), (0.1, 0.3), 0.2) == 32
    assert gradient.users_needed((16, 64), (0.1, 0.3), 0.05) == 16
    assert gradient.users_needed((16, 64), (0.1, 0.3), 0.31) is None


def test_the_ratio_and_the_row_across_sizes_say_what_was_measured(found):
    values = {method: [np.full(20, value)] for method, value in ((study.META, 0.2), (gradient.JOINT, 0.3))}
    more = {method: [np.full(20, value)] for method, value in ((study.META, 0.4), (gradient.JOINT, 0.1))}
    made = study.Found({64: values, 256: more, 0: {gradient.FINE_ALL: [np.full(20, 0.3)], gradient.ZERO: [np.full(20, 0.2)]}})
    made.chosen.append({"users": 5000, "method": gradient.FINE_ALL})
    (row,) = gradient.across({"one": made}, np.random.default_rng(0), "scenes")
    assert (row.method, row.versus, row.setting) == (study.META, gradient.JOINT, "one, 64 users against 256")
    assert row.value == pytest.approx(0.1) and row.low == pytest.approx(0.1)
    (line,) = gradient.data_ratio({"one": made, "no gradients": study.Found()})
    assert line["needed"] == 128 and line["all users"] == 5000 and line["method"] == study.META
    assert (line["start"], line["goal"]) == (pytest.approx(0.2), pytest.approx(0.3))
    made.values[0][gradient.ZERO] = [np.full(20, 0.31)]  # training on all that made it worse is no mark to be reached
    (line,) = gradient.data_ratio({"one": made})
    assert line["needed"] is None and line["start"] > line["goal"]
    assert gradient.across({"small": found}, np.random.default_rng(0), "scenes") == []


def test_the_study_never_changes_the_reader(known):
    before = {name: weight.clone() for name, weight in known.reader.weights.items()}
    gradient.study(known, (16,), range(1), SETTINGS, Stages())
    assert all(torch.equal(before[name], weight) for name, weight in known.reader.weights.items())
