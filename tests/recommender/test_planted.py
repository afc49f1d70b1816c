"""Adapting and the gate of a fitted recommender, in two planted shops: users with tastes, and users who all draw from one law.

The base is trained for so few steps that it reads histories poorly: what a user likes is left for the steps on the support.
The ranker over counts stays untrained, for co-purchases would tell the tastes as well and hide what the steps do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from llmrec import LoraSettings, OuterSettings, Recommender, Settings, TrainSettings
from llmrec.data.tasks import first_baskets
from llmrec.index.candidates import Sources
from llmrec.metrics.ranking import rank_targets
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.given import events_of
from llmrec.recommender.settings import CoreSettings

pytestmark = pytest.mark.slow  # two recommenders are fitted

SEED, ITEMS, TASTES = 0, 40, 4
USERS, ASKED, KNOWN, LATER = 240, 120, 6, 4  # users who are fitted and who are asked, their known and their later events
CLEAR = 4.0  # standard errors of a paired mean difference
SETTINGS = Settings(
    adapter="lora",
    user_encoder="pretrained",
    layers=None,
    train=TrainSettings(12, 32, known=(2, 9), horizon=2, max_slots=12, learning_rate=3e-4, dropout=0.0, ema_decay=0.0),
    lora=LoraSettings(r=4, lora_alpha=8.0, inner_steps=3, inner_lr=30.0, meta_batch_size=32, b_std=0.4),
    outer=OuterSettings(episodes=6),
    counts_ranker=RankerSettings(hidden=1, max_steps=0),
    blend=RankerSettings(hidden=2, max_steps=100),
    blend_features=("purchased",),
    sources=Sources(text_k=ITEMS, knn_k=1, popular_k=ITEMS),
    meta_fraction=0.35,
    blend_fraction=0.4,
    ranking_tasks=200,
)
# A prompt of two events, and steps of LoRA too short to get anywhere.
SHORT = replace(
    SETTINGS,
    adapter="auto",
    train=replace(SETTINGS.train, max_slots=2, known=(1, 2)),
    lora=replace(SETTINGS.lora, inner_lr=0.01),
    core=CoreSettings(size=16, episodes=30),
)


def shop(users: list[str], structure: bool, seed: int, least: int = 6, most: int = 13) -> dict[str, list[Any]]:
    """Events of users who take no item twice. With structure, user u takes of every fourth item, from item u % 4 on, 19 times
    in 20; without, items are drawn from one law of popularity for all."""
    rng, rows, items = np.random.default_rng(seed), [], np.arange(ITEMS)
    for number, user in enumerate(users):
        chance = np.where(items % TASTES == number % TASTES, 0.95, 0.05 / (TASTES - 1)) if structure else (1.0 + items) ** -0.7
        count = int(rng.integers(least, most + 1))
        for day, item in enumerate(rng.choice(ITEMS, count, replace=False, p=chance / chance.sum())):
            rows.append((user, f"i{item:02}", 1.6e9 + 86_400.0 * day + 60.0 * number))
    return {name: [row[column] for row in rows] for column, name in enumerate(("user_id", "item_id", "timestamp"))}


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:03}" for number in range(count)]


@pytest.fixture(scope="module")
def fit_shop(fitting: Callable[..., Recommender]) -> Callable[..., Recommender]:
    """`fit_shop(structure, settings=SETTINGS)` -> Recommender. Titles of one taste share their first word."""

    def fit(structure: bool, settings: Settings = SETTINGS) -> Recommender:
        taste, kind = ("red", "blue", "green", "small"), ("mug", "lamp", "rope", "tent", "soap")
        titles = [f"{taste[item % TASTES]} {kind[item // TASTES % 5]}" for item in range(ITEMS)]
        items = {"item_id": [f"i{item:02}" for item in range(ITEMS)], "title": titles}
        return fitting(shop(names("u", USERS), structure, SEED), items, settings, SEED)

    return fit


@pytest.fixture(scope="module")
def with_tastes(fit_shop: Callable[..., Recommender]) -> Recommender:
    return fit_shop(True)


@pytest.fixture(scope="module")
def without(fit_shop: Callable[..., Recommender]) -> Recommender:
    return fit_shop(False)


def asked(structure: bool) -> tuple[dict[str, list[Any]], dict[str, set[str]]]:
    """The first KNOWN events of new users as a table, and the ids of each user's LATER items."""
    table = shop(names("new", ASKED), structure, SEED + 1000, KNOWN + LATER, KNOWN + LATER)
    later: dict[str, set[str]] = {}
    known = np.arange(len(table["user_id"])) % (KNOWN + LATER) < KNOWN
    for user, item, early in zip(table["user_id"], table["item_id"], known, strict=True):
        if not early:
            later.setdefault(user, set()).add(item)
    return {name: [value for value, early in zip(values, known, strict=True) if early] for name, values in table.items()}, later


def ndcg(answer: Any, later: dict[str, set[str]]) -> np.ndarray:
    """NDCG@10 (ASKED,) of a frame of ten items a user."""
    hit = np.array([item in later[user] for user, item in zip(answer["user_id"], answer["item_id"], strict=True)])
    discount = 1 / np.log2(2 + np.arange(10))
    return hit.reshape(ASKED, 10) @ discount / discount[:LATER].sum()


def margin(better: np.ndarray, worse: np.ndarray) -> float:
    """By how many standard errors of the paired difference one mean is above the other."""
    gap = better - worse
    return float(gap.mean() / (gap.std(ddof=1) / len(gap) ** 0.5))


def test_where_users_have_tastes_the_gate_takes_steps_and_they_pay(with_tastes):
    known, later = asked(True)
    steps = with_tastes.recommend(histories=known, k=10)
    zero = with_tastes.recommend(histories=known, k=10, steps=0)
    assert set(steps["steps"]) == {3} and set(zero["steps"]) == {0}
    assert margin(ndcg(steps, later), ndcg(zero, later)) > CLEAR
    assert ndcg(steps, later).mean() > 1.3 * ndcg(zero, later).mean()


def test_steps_on_the_support_of_a_user_of_another_taste_do_harm(with_tastes):
    """Each user under the adapter of the next one, who is of another taste: worse than no step, by the transformer's scores."""
    state = with_tastes.state
    table = shop(names("new", ASKED), True, SEED + 1000, KNOWN + LATER, KNOWN + LATER)
    tasks = first_baskets(events_of(state, table, None)[0], np.arange(ASKED), KNOWN, LATER)

    def judged(steps: int | None, whose: torch.Tensor) -> np.ndarray:
        lora, base = state.adapting.lora, state.adapting.base
        adapter, made = lora.adapted(tasks, state.adapting.choices(tasks, steps))[0], base.prompts(tasks)
        scores = base.reading(made, lora.vectors(made, adapter.take(whose))).table()
        for task in range(len(tasks)):
            scores[task, tasks.dataset.item[tasks.support(task)]] = -np.inf
        return rank_targets(scores, tasks.relevant()).ndcg(10)

    mine = torch.arange(ASKED)
    own, zero, other = judged(None, mine), judged(0, mine), judged(None, mine.roll(1))
    assert margin(own, zero) > CLEAR
    assert margin(zero, other) > CLEAR


def test_where_all_users_draw_from_one_law_the_gate_takes_no_step(without):
    gate = without.state.gate
    assert gate is not None
    assert sum(b.users >= 20 for b in gate.bins) >= 2  # sizes at which it was measured
    assert [gate.choices[b.chosen].steps for b in gate.bins] == [0] * len(gate.bins)
    known, later = asked(False)
    gated, zero, forced = (without.recommend(histories=known, k=10, steps=steps) for steps in ("auto", 0, 3))
    assert set(gated["steps"]) == {0}
    assert list(gated["item_id"]) == list(zero["item_id"])
    assert margin(ndcg(forced, later), ndcg(zero, later)) < CLEAR  # and nothing was missed


def histories_of(sizes: dict[str, int]) -> dict[str, list[Any]]:
    """For each name a history of so many events."""
    tables = [shop([user], True, seed, size, size) for seed, (user, size) in enumerate(sizes.items())]
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def test_answers_take_as_many_steps_as_the_gate_says_for_their_size(with_tastes):
    """Supports of 30 events were never measured in this shop, so they get no step."""
    state, sizes = with_tastes.state, {"short": 2, "middle": 6, "long": 30}
    assert state.gate is not None
    said = [state.gate.choices[number].steps for number in state.gate.choose(np.array(list(sizes.values())))]
    assert said[1] > 0 and said[2] == 0
    answer = with_tastes.recommend(histories=histories_of(sizes), k=3)
    assert dict(zip(answer["user_id"], answer["steps"], strict=True)) == dict(zip(sizes, said, strict=True))


def test_another_gate_in_the_state_makes_other_answers(with_tastes):
    state, known = with_tastes.state, histories_of({"middle": 6})
    answers = []
    for number in range(len(state.gate.choices)):
        bins = tuple(replace(b, chosen=number) for b in state.gate.bins)
        other = Recommender(settings=with_tastes.settings)
        other._state, other._frame = replace(state, gate=replace(state.gate, bins=bins)), with_tastes._frame
        answer = other.recommend(histories=known, k=10)
        assert set(answer["steps"]) == {number}
        answers.append(answer["score"].to_numpy())
    assert all(np.abs(one - answers[0]).max() > 1e-3 for one in answers[1:])


@pytest.fixture(scope="module")
def with_short_prompts(fit_shop: Callable[..., Recommender]) -> Recommender:
    return fit_shop(True, SHORT)


def test_where_the_prompt_is_too_short_for_a_taste_the_gate_takes_the_core_and_it_pays(with_short_prompts):
    known, later = asked(True)
    state = with_short_prompts.state
    taken = {state.gate.choices[b.chosen].adapter for b in state.gate.bins if state.gate.choices[b.chosen].steps}
    assert taken == {"core"}
    core = with_short_prompts.recommend(histories=known, k=10)
    zero = with_short_prompts.recommend(histories=known, k=10, steps=0)
    assert min(core["steps"]) >= 1
    assert margin(ndcg(core, later), ndcg(zero, later)) > CLEAR
    assert ndcg(core, later).mean() > 1.3 * ndcg(zero, later).mean()


def test_the_core_of_a_user_of_another_taste_does_harm(with_short_prompts):
    way = with_short_prompts.state.adapting
    table = shop(names("new", ASKED), True, SEED + 1000, KNOWN + LATER, KNOWN + LATER)
    tasks = first_baskets(events_of(with_short_prompts.state, table, None)[0], np.arange(ASKED), KNOWN, LATER)
    value, made = way.core.adapted(tasks, way.choices(tasks, 2))[0], way.base.prompts(tasks)

    def judged(z: torch.Tensor) -> np.ndarray:
        scores = way.base.reading(made, way.core.vectors(made, replace(value, z=z))).table()
        for task in range(len(tasks)):
            scores[task, tasks.dataset.item[tasks.support(task)]] = -np.inf
        return rank_targets(scores, tasks.relevant()).ndcg(10)

    own, zero, other = judged(value.z), judged(0 * value.z), judged(value.z.roll(1, 0))
    assert margin(own, zero) > CLEAR
    assert margin(zero, other) > CLEAR


def test_where_all_users_draw_from_one_law_the_gate_takes_neither_adapter(fit_shop):
    gate = fit_shop(False, SHORT).state.gate
    assert {choice.adapter for choice in gate.choices} == {"lora", "core"}
    assert sum(b.users >= 20 for b in gate.bins) >= 2
    assert [gate.choices[b.chosen].steps for b in gate.bins] == [0] * len(gate.bins)
