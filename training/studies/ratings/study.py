"""The ratings study on MeLU's split: all methods, their ablations, and the rows of the report.

Axis convention: `S` seeds (shuffles of the protocol), `T` users, `Q` ratings of a query.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.report import Result
from llmrec.progress import Stages, bar
from studies.ratings.films import film_kernels
from studies.ratings.floors import (
    METADATA,
    Predict,
    film_mean,
    global_mean,
    kernel_ridge,
    matrix_factorisation,
    user_mean,
)
from studies.ratings.melu import METRICS, NAME, PRIMARY, STATES, Episode, Ratings, World, answers, episodes, measures
from studies.ratings.ours import Belief, Beliefs, fit, histories

OURS = "llmrec"
HISTORY = ", own warm ratings"  # ending of the methods that also read what users of `item_cold` rated in the warm state
RIDGE = (0.03, 0.45)  # part of a film's effect and of a user's taste in the kernel; chosen on validation
AIM = 0.97  # of the best control's, on the states with new films
Made = TypeVar("Made")
Answer = Callable[[Sequence[Episode]], np.ndarray]


@dataclass(frozen=True)
class Rater:
    """A method. by_state: state -> what answers the users that are asked there. seconds: of fitting."""

    name: str
    role: str
    by_state: Mapping[str, Answer]
    seconds: float


def raters(
    world: World, texts: Mapping[str, np.ndarray], memory: Mapping[str, np.ndarray] | None, stages: Stages
) -> list[Rater]:
    """Controls and ours, with ablations, fitted on the warm state of a world.

    texts: name -> raw text vectors (N, d) of the films. memory: a language model's states, None where there is no such model.
    """
    older = histories(world.warm, 0)
    every = film_kernels(world.films, texts, memory)
    metadata = [kernel for kernel in film_kernels(world.films, {}) if kernel.name in METADATA]
    simple: dict[str, Callable[[World], Predict]] = {
        "global mean": global_mean,
        "user mean": user_mean,
        "film mean and user offset": film_mean,
        "matrix factorisation": matrix_factorisation,
    }
    found: list[Rater] = []
    for name, make in simple.items():
        predict, seconds = _timed(stages, name, partial(make, world))
        found.append(Rater(name, "control", dict.fromkeys(STATES, _each(predict)), seconds))
    ridge, seconds = _timed(stages, "metadata kernel ridge", lambda: kernel_ridge(world, metadata, *RIDGE))
    found.append(Rater("metadata kernel ridge", "control", dict.fromkeys(STATES, _each(ridge.predict)), seconds))
    found.append(Rater(f"metadata kernel ridge{HISTORY}", "control", {"item_cold": _with_older(ridge, older)}, seconds))
    whole, seconds = _timed(stages, OURS, lambda: fit(world, every))
    found.append(Rater(OURS, "ours", _regimes(whole, _adapted), seconds))
    found.append(Rater(f"{OURS}{HISTORY}", "ours", {"item_cold": _with_older(whole.new, older)}, seconds))
    found.append(Rater(f"{OURS}, zero steps", "control", _regimes(whole, lambda belief: partial(_prior, belief)), seconds))
    found.append(
        Rater(f"{OURS}, swapped support", "control", _regimes(whole, lambda belief: partial(_swapped, belief)), seconds)
    )
    parts = {f"{OURS}, few numbers alone": partial(fit, world, every, kernels_of_users=())}
    if memory is not None:
        parts[f"{OURS}, no language model"] = partial(fit, world, film_kernels(world.films, texts))
    if texts:
        parts[f"{OURS}, metadata alone"] = partial(fit, world, film_kernels(world.films, {}))
    for name, make_one in parts.items():
        beliefs, seconds = _timed(stages, name, make_one)
        found.append(Rater(name, "ours", _regimes(beliefs, _adapted), seconds))
    return found


def _timed(stages: Stages, name: str, make: Callable[[], Made]) -> tuple[Made, float]:
    began = time.perf_counter()
    with stages("ratings", name):
        return make(), time.perf_counter() - began


def measure(methods: Sequence[Rater], world: World, seeds: Sequence[int]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """State -> metric -> method -> float64 (S, T)."""
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for state in STATES:
        asked = [episodes(world.states[state], seed) for seed in seeds]
        found[state] = {metric: {} for metric in METRICS}
        for method in bar([one for one in methods if state in one.by_state], desc=state, unit="method"):
            values = [measures(method.by_state[state](some), answers(some)) for some in asked]
            for metric in METRICS:
                found[state][metric][method.name] = np.stack([value[metric] for value in values])
    return found


def rows(
    methods: Sequence[Rater],
    values: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    rng: np.random.Generator,
    draws: int = 2000,
) -> list[Result]:
    """Means with intervals over users and seeds, and `llmrec` less every other method; for errors below zero is better. Where a
    method reads warm ratings too, `llmrec` with them less that one is there as well."""
    found: list[Result] = []
    by_name = {method.name: method for method in methods}
    for state, metrics in values.items():
        for metric, tables in metrics.items():
            means = resampled(tables, rng, draws)
            found += [_row(by_name[name], state, metric, mean, "") for name, mean in means.items()]
            for mine in (OURS, OURS + HISTORY):
                for name in means if mine in means else ():
                    if name != mine and (mine == OURS or name.endswith(HISTORY) or name == OURS):
                        found.append(_row(by_name[mine], state, metric, means[mine].minus(means[name]), name))
    return found


def extra(found: Sequence[Result]) -> dict:
    """What stands beside the rows: the primary cell, and per state the best floor's error, ours, and whether the aim is
    reached."""
    aims = []
    for state in STATES:
        cells = {row.method: row for row in found if (row.setting, row.metric, row.versus) == (state, PRIMARY[1], "")}
        floors = [row for name, row in cells.items() if row.role == "control" and not name.startswith(OURS)]
        best = min((row for row in floors if not row.method.endswith(HISTORY)), key=lambda row: row.value)
        wanted = best.value * (AIM if state != "user_cold" else 1.0)
        mine = cells[OURS].value
        aims.append(
            {"setting": state, "best control": best.method, "wanted": wanted, "value": mine, "reached": bool(mine <= wanted)}
        )
    return {"benchmark": NAME, "primary": {"setting": PRIMARY[0], "metric": PRIMARY[1]}, "aims": aims}


def _row(method: Rater, state: str, metric: str, mean: Resampled, versus: str) -> Result:
    found = mean.interval()
    return Result(
        NAME, method.name, method.role, state, metric, found.value, found.low, found.high, versus, found.n, None, method.seconds
    )


def _each(predict: Predict) -> Answer:
    return lambda asked: np.stack([predict(one) for one in asked])


def _regimes(beliefs: Beliefs, answer: Callable[[Belief], Answer]) -> dict[str, Answer]:
    return {state: answer(beliefs.known if state == "user_cold" else beliefs.new) for state in STATES}


def _adapted(belief: Belief) -> Answer:
    return _each(belief.predict)


def _with_older(belief: Belief, older: Mapping[int, Ratings]) -> Answer:
    return lambda asked: np.stack([belief.predict(one, older.get(one.user)) for one in asked])


def _prior(belief: Belief, asked: Sequence[Episode]) -> np.ndarray:
    return np.stack([belief.mean[one.asked] for one in asked])


def _swapped(belief: Belief, asked: Sequence[Episode]) -> np.ndarray:
    """Each user with the next one's support, less the films that are asked for: another's rating of them would be no taste."""
    found = []
    for one, other in zip(asked, [*asked[1:], asked[0]], strict=True):
        keep = ~np.isin(other.item, one.asked)
        found.append(belief.predict(Episode(one.user, other.item[keep], other.value[keep], one.asked, one.answer)))
    return np.stack(found)
