"""LoRA on likes: a few steps find a planted taste, and what it learns from has not seen the users."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from llmrec.progress import Stages
from llmrec.signed.beliefs import Beliefs, described, posterior, predict
from llmrec.signed.labels import Labels, Scale
from llmrec.signed.learning import learn
from studies.ratings.melu import Episode
from studies.signed import lora_study
from studies.signed.lora_learning import Group, Learned, Plan, learned
from studies.signed.lora_tasks import CLOSED, NONE, PRIOR, Foretold, Told, foretold, left_out, side, told, turned
from studies.signed.protocol import World

FILMS, LEVELS, SCALE = 80, np.array([1.0, 2.0, 4.0, 5.0]), Scale((), (), True, 4.0, 4.7, 1.7)
TASTE = np.random.default_rng(0).permutation(FILMS) % 2  # which of two kinds a film is


def labels(user: int, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n films and what the user says of them: users of an even number like kind 0, others kind 1."""
    item = rng.permutation(FILMS)[:n]
    return item, np.where(TASTE[item] == user % 2, 5.0, 2.0) - (rng.random(n) < 0.3)


def tasks(users: range, rng: np.random.Generator, size: int = 8) -> list[Episode]:
    found = []
    for user in users:
        item, value = labels(user, rng, size + 30)
        found.append(Episode(user, item[:size], value[:size], item[size:], value[size:]))
    return found


def people(first: int, n: int, rng: np.random.Generator) -> list[Labels]:
    return [Labels(np.full(70, user), *labels(user, rng, 70)) for user in range(first, first + n)]


def together(each: list[Labels]) -> Labels:
    return Labels(*(np.concatenate([getattr(one, name) for one in each]) for name in ("user", "item", "value")))


NAMES = [one.name for one in fields(Foretold)]


@pytest.fixture(scope="module")
def beliefs() -> Beliefs:
    return learn(together(people(0, 60, np.random.default_rng(1))), SCALE, np.zeros((FILMS, 1)))


@pytest.fixture(scope="module")
def arm() -> Learned:
    """Learned where the kind of a film is one of six numbers, and nothing is known before the support."""
    rng = np.random.default_rng(2)
    table = np.column_stack([TASTE * 2.0 - 1, rng.normal(size=(FILMS, 5))]).astype(np.float32)
    nothing = [bare(some) for some in (tasks(range(64), rng) for _ in range(2))]
    plan = Plan(NONE, 3, hidden=8, rank=2, episodes=25, tasks=32, learning_rate=0.01)
    return learned(plan, [Group(table, *one) for one in nothing], Told(None, table), LEVELS)


def bare(some: list[Episode]) -> tuple[Foretold, Foretold]:
    """Tasks of which nothing is foretold."""

    def one_side(item: list, value: list) -> Foretold:
        items, values = np.stack(item), np.stack(value)
        level, zero = np.abs(values[..., None] - LEVELS).argmin(-1), np.zeros(items.shape)
        return Foretold(items, level, np.ones(items.shape, bool), zero, zero)

    return (
        one_side([one.item for one in some], [one.value for one in some]),
        one_side([one.asked for one in some], [one.answer for one in some]),
    )


def right(likely: list[np.ndarray], some: list[Episode]) -> float:
    """Share of the films on the right side of the user's median."""
    return float(np.mean([(p > np.median(p)) == (one.answer >= 4) for p, one in zip(likely, some, strict=True)]))


def test_a_few_steps_turn_the_order_to_the_users_taste_and_another_users_labels_turn_it_away(arm):
    some = tasks(range(40), np.random.default_rng(3))
    known, asked = bare(some)
    other = known.take(np.roll(np.arange(40), 1))  # of the other taste
    start, own, wrong = (right(arm.answers(one, asked, n), some) for one, n in ((known, 0), (known, 3), (other, 3)))
    assert own > 0.85 and wrong < 0.15 and 0.3 < start < 0.7


def test_without_a_step_a_film_is_the_same_to_all(arm):
    some = tasks(range(12), np.random.default_rng(4))
    known, _ = bare(some)
    everybody = Foretold(*(np.repeat(getattr(known, name)[:1], 12, 0) for name in NAMES))
    found = np.stack(arm.answers(known, everybody, 0))
    np.testing.assert_array_equal(found, np.repeat(found[:1], 12, 0))
    assert np.ptp(np.stack(arm.answers(known, everybody, 1)), axis=0).max() > 0.05


def test_padding_of_a_support_changes_nothing(arm):
    some = tasks(range(6), np.random.default_rng(5))
    known, asked = bare(some)
    longer = Foretold(*(np.pad(getattr(known, name), ((0, 0), (0, 3))) for name in NAMES))
    for one, other in zip(arm.answers(known, asked), arm.answers(longer, asked), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_label_of_the_support_is_foretold_from_the_others(beliefs):
    item, value = labels(0, np.random.default_rng(6), 9)
    beliefs = replace(beliefs, marks=beliefs.marks * 0)  # else which films were rated says something too
    found = left_out(beliefs, described(beliefs, item), value)
    for place in range(9):
        rest = np.arange(9) != place
        weights = posterior(beliefs, described(beliefs, item[rest]), value[rest])
        exact = predict(beliefs, weights, described(beliefs, item[[place]])).probability
        np.testing.assert_allclose(found[place], exact[0], atol=1e-8)


def test_turned_beliefs_say_the_same_and_lie_nearer(beliefs):
    rng = np.random.default_rng(7)
    some = tasks(range(8), rng)
    other = learn(together(people(100, 60, rng)), SCALE, np.zeros((FILMS, 1)))
    near = turned(other, beliefs, np.ones(FILMS))
    for one, same in zip(foretold(other, some, LEVELS), foretold(near, some, LEVELS), strict=True):
        np.testing.assert_allclose(one.prior, same.prior, atol=1e-4)
        np.testing.assert_allclose(one.closed, same.closed, atol=1e-4)
    gap = [np.linalg.norm(found.features - beliefs.features) for found in (near, other)]
    assert gap[0] < gap[1]
    table = told(near, np.eye(FILMS, 3), beliefs).table
    assert side(table, foretold(near, some, LEVELS)[0], CLOSED).x.shape[-1] == table.shape[1] + 2


@pytest.mark.slow
def test_the_report_has_every_arm_paired_with_its_start_and_the_closed_form():
    rng = np.random.default_rng(8)
    train = together(people(0, 60, rng))
    world = World(train, people(100, 20, rng), people(200, 20, rng), FILMS, np.zeros(FILMS, bool), SCALE)
    text = np.random.default_rng(1).normal(size=(FILMS, 4))
    plans = [Plan(PRIOR, 1, episodes=40), Plan(CLOSED, 1, episodes=40)]
    quiet = Stages(verbose=False)
    beliefs = learn(world.train, SCALE, text)
    found = lora_study.arms(world, text, beliefs, quiet, plans, 1)
    rows, _ = lora_study.measure(world, text, (0,), "test", quiet, beliefs, found, plans[1])
    cell = {(row.method, row.versus): row.value for row in rows if (row.setting, row.metric) == ("shuffled, 8", "auc")}
    for plan in plans:
        name = lora_study.name_of(plan)
        assert cell[name, ""] > 0.9 and (name, lora_study.name_of(plan, lora_study.ZERO)) in cell
        assert cell[name, "llmrec"] == pytest.approx(cell[name, ""] - cell["llmrec", ""])
    assert cell[lora_study.name_of(plans[1], lora_study.OTHER), ""] < 0.3
