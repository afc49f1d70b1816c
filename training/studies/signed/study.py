"""The signed study: all methods, their ablations, and the rows of the report.

Axis convention: `S` shuffles, `T` users, `Q` labels of a query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from llmrec.signed.beliefs import Beliefs, described, posterior, predict
from llmrec.signed.labels import Labels, Scale, as_likes
from llmrec.signed.learning import learn
from studies.ratings.melu import Episode
from studies.signed import controls, steps
from studies.signed.protocol import (
    COLD,
    LIKED,
    METRICS,
    NAME,
    ORDERS,
    PRIMARY,
    SIZES,
    World,
    cold_episodes,
    episodes,
    log_loss,
    measures,
    pooled_auc,
    swapped,
)

OURS, ZERO, SWAPPED = "llmrec", "llmrec, zero steps", "llmrec, swapped support"
LIKES, NO_MARKS, NO_TEXT = "llmrec, likes alone", "llmrec, without what was rated", "llmrec, without text"
NEWTON, DESCENT = "llmrec, one Newton step", "llmrec, gradient steps: "
TEXT, NO_STATES = "llmrec, text alone", "llmrec, text and attributes"  # variants of what is told of the films
RIDGES, SHRINKS, LIKENESS = (1.0, 3.0, 10.0, 30.0, 100.0), (0.3, 1.0, 3.0), (20.0, 100.0)
FACTORISED = ((8, 10.0), (16, 20.0))  # factors and ridge of matrix factorisation; 32 factors were no better on validation
WANTED = {"zero": 0.015, "control": 0.005, COLD: 0.01}
DRAWS = 2000
STEP_USERS = 1000  # that rates and cut points are learned from
Answer = Callable[[Sequence[Episode]], list[np.ndarray]]


@dataclass(frozen=True)
class Method:
    """candidates: scores, of which validation users choose one for each cell. fitted: whether a score is a probability already;
    else a logistic curve over validation users makes one of it."""

    name: str
    role: str
    candidates: Mapping[str, Answer]
    fitted: bool = False


def ours(beliefs: Beliefs) -> Answer:
    """Probabilities of a like after the support."""

    def answer(asked: Sequence[Episode]) -> list[np.ndarray]:
        found = []
        for one in asked:
            weights = posterior(beliefs, described(beliefs, one.item), one.value, one.time, one.now)
            found.append(predict(beliefs, weights, described(beliefs, one.asked)).probability)
        return found

    return answer


def methods(
    train: Labels,
    scale: Scale,
    told: Mapping[str, np.ndarray],
    learned_from: Sequence[Episode],
    stages: Stages,
    ablations: bool = True,
) -> list[Method]:
    """All methods, fitted on the users trained on.

    told: descriptions (N, d) of the films; the first are those of ours, others are variants by name. learned_from:
        by the regression on counts.
    """
    text, *_ = told.values()
    n = len(text)
    with stages("ours"):
        beliefs, *others = (learn(train, scale, each) for each in told.values())
    with stages("controls"):
        plain = plain_methods(train, beliefs, learned_from)
    result = [*plain, *(Method(name, "ours", {"": ours(one)}, True) for name, one in zip(list(told)[1:], others, strict=True))]
    if not ablations:
        return result
    with stages("ablations"):
        likes = learn(as_likes(train, scale), Scale((), (), False, 0.5, 1.0, 0.0), text)
        unmarked = learn(train, scale, text, marks=0)
        untold = learn(train, scale, np.zeros((n, 1)))
    return [
        *result,
        Method(
            LIKES,
            "ours",
            {"": lambda asked: ours(likes)([replace(one, value=(one.value >= LIKED) * 1.0) for one in asked])},
            True,
        ),
        Method(NO_MARKS, "ours", {"": ours(unmarked)}, True),
        Method(NO_TEXT, "ours", {"": ours(untold)}, True),
        *_other_steps(beliefs, train),
    ]


def plain_methods(train: Labels, beliefs: Beliefs, learned_from: Sequence[Episode]) -> list[Method]:
    """The controls, and the closed form of `beliefs` with its own support, with none and with another user's."""
    n = len(beliefs.mean)
    found = controls.effects(train, n)
    base = beliefs.centre + beliefs.spread * np.asarray(beliefs.mean, np.float64)
    features = np.asarray(beliefs.features, np.float64)[:, :-1]
    alike = features / features.std(0) / np.sqrt(features.shape[1])
    knn = {f"{shrink:g}": controls.item_likeness(found, n, shrink) for shrink in LIKENESS}
    films = {f"{k}": controls.alternating_least_squares(found, n, k, strength) for k, strength in FACTORISED}
    counts = controls.counts_regression(found, learned_from)
    return [
        Method("item mean", "control", {"": _each(controls.item_mean(found))}),
        Method("user mean and item mean", "control", {"": _each(controls.user_and_item_mean(found))}),
        Method("nine counts, logistic regression", "control", {"": _each(counts)}),
        Method(
            "ridge on the same features",
            "control",
            {
                f"{name}, {strength:g}": _each(controls.ridge(mean, alike, strength))
                for name, mean in (("means", found.base), ("mean foretold", base))
                for strength in RIDGES
            },
        ),
        Method(
            "item kNN on signed history",
            "control",
            {
                f"{name}, {shrink:g}": _each(controls.item_knn(found.base, likeness, shrink))
                for name, likeness in knn.items()
                for shrink in SHRINKS
            },
        ),
        Method(
            "matrix factorisation",
            "control",
            {
                f"{k}, {strength:g}": _each(controls.ridge(found.base, film, strength))
                for k, film in films.items()
                for strength in RIDGES
            },
        ),
        Method(OURS, "ours", {"": ours(beliefs)}, True),
        Method(ZERO, "control", {"": lambda asked: ours(beliefs)([_without(one) for one in asked])}, True),
        Method(SWAPPED, "control", {"": lambda asked: ours(beliefs)(swapped(asked))}, True),
    ]


def _other_steps(beliefs: Beliefs, train: Labels) -> list[Method]:
    """The same beliefs, with weights that steps adapt. What they learn, for each size of a support, is from training users."""
    learned_from = {size: controls.examples(train, size)[:STEP_USERS] for size in SIZES}
    arms: dict[str, dict[int, steps.Adapt]] = {
        NEWTON: {size: steps.newton(beliefs, steps.learned_levels(beliefs, some)) for size, some in learned_from.items()}
    }
    for n in steps.STEPS:
        arms[f"{DESCENT}{n}"] = {
            size: steps.descent(beliefs, steps.learned_rate(beliefs, some, n), n) for size, some in learned_from.items()
        }
    return [Method(name, "ours", {"": steps.answers(beliefs, adapt)}, True) for name, adapt in arms.items()]


def _without(one: Episode) -> Episode:
    return replace(one, item=one.item[:0], value=one.value[:0], time=None)


def _each(score: controls.Score) -> Answer:
    return lambda asked: [score(one) for one in asked]


def probabilities(
    method: Method, validation: Sequence[Episode], asked: Sequence[Sequence[Episode]], pooled: bool
) -> tuple[str, list]:
    """The candidate that is best on validation users, and its probabilities for each shuffle of the users asked."""
    liked = np.concatenate([one.answer for one in validation]) >= LIKED
    best, name, scores = -np.inf, "", []
    if method.fitted and len(method.candidates) == 1:  # nothing is chosen
        ((name, answer),) = method.candidates.items()
        return name, [answer(some) for some in asked]
    for candidate, answer in method.candidates.items():
        values = answer(validation)
        worth = 0.0
        if len(method.candidates) > 1:
            worth = (
                pooled_auc({"": values}, validation, 1, 0)[""].value
                if pooled
                else float(np.nanmean(measures(values, validation)["auc"]))
            )
        if worth > best:
            best, name, scores = worth, candidate, values
    found = [method.candidates[name](some) for some in asked]
    if method.fitted:
        return name, found
    weights = controls.logistic(np.concatenate(scores)[:, None], liked)
    return name, [[1 / (1 + np.exp(-weights[0] - weights[1] * one)) for one in some] for some in found]


def measure(
    world: World,
    told: Mapping[str, np.ndarray],
    seeds: Sequence[int],
    part: str,
    stages: Stages,
    ablations: bool = True,
    warm: bool = True,
) -> tuple[list[Result], dict]:
    """Rows of the report, and what was chosen. told: as of `methods`. part: "validation" or "test", whose users are asked.
    warm: False asks for cold films alone."""
    users, rows, chosen = getattr(world, part), [], {}
    for cold in (False, True) if warm else (True,):
        here = world.without_cold if cold else world
        whole = methods(here.train, here.scale, told, (), stages, ablations and not cold)
        for size in SIZES:
            fitted = at_size(whole, here, size)  # only the regression on counts depends on the size
            for order in (COLD,) if cold else ORDERS:
                some = seeds if order != ORDERS[1] else seeds[:1]
                setting = f"{order}, {size}"
                if cold:
                    valid = cold_episodes(here.validation, here.cold, size, 0)
                    asked = [cold_episodes(users, here.cold, size, seed) for seed in some[:1]]
                else:
                    valid = episodes(here.validation, order, size, 0)
                    asked = [episodes(users, order, size, seed) for seed in some]
                with stages(setting, f"{len(asked[0]):,} users"):
                    likely, names = {}, {}
                    for method in fitted:
                        names[method.name], likely[method.name] = probabilities(method, valid, asked, cold)
                    chosen[setting] = {name: value for name, value in names.items() if value}
                    rows += _rows(fitted, setting, likely, asked, cold)
    return rows, chosen


def at_size(fitted: Sequence[Method], world: World, size: int) -> list[Method]:
    found = controls.effects(world.train, world.n_films)
    counts = _each(controls.counts_regression(found, controls.examples(world.train, size)))
    return [replace(one, candidates={"": counts}) if one.name.startswith("nine counts") else one for one in fitted]


def _rows(
    fitted: Sequence[Method], setting: str, likely: Mapping[str, list], asked: Sequence[Sequence[Episode]], cold: bool
) -> list[Result]:
    role = {method.name: method.role for method in fitted}
    tables: dict[str, Mapping[str, Resampled]] = {}
    if cold:
        tables["auc"] = pooled_auc({name: values[0] for name, values in likely.items()}, asked[0], DRAWS, 0)
        losses = {
            name: np.array([_loss(p, one) for p, one in zip(values[0], asked[0], strict=True)])
            for name, values in likely.items()
        }
        tables["log loss"] = resampled(losses, np.random.default_rng(0), DRAWS)
    else:
        each = {name: [measures(p, some) for p, some in zip(values, asked, strict=True)] for name, values in likely.items()}
        for metric in METRICS:
            # A user's mean over the shuffles, which are the same for all methods: differences are paired over them too.
            of_user = {name: np.mean([one[metric] for one in values], axis=0) for name, values in each.items()}
            tables[metric] = resampled(of_user, np.random.default_rng(0), DRAWS)
    return results(NAME, setting, tables, role, None)


def results(
    name: str, setting: str, tables: Mapping[str, Mapping[str, Resampled]], role: Mapping[str, str], seed: int | None
) -> list[Result]:
    """Rows of one setting of a study: means, ours less each other method, and swapped supports less zero steps.

    tables: metric -> method -> mean. role: of each method.
    """
    found = []
    for metric, means in tables.items():
        pairs = [*((OURS, other) for other in means if other != OURS), (SWAPPED, ZERO)]
        for method, mean, versus in [
            *((method, mean, "") for method, mean in means.items()),
            *((mine, means[mine].minus(means[other]), other) for mine, other in pairs),
        ]:
            at = mean.interval()
            found.append(
                Result(name, method, role[method], setting, metric, at.value, at.low, at.high, versus, at.n, seed, None)
            )
    return found


def _loss(likely: np.ndarray, one: Episode) -> float:
    return float(log_loss(likely, one.answer >= LIKED).mean())


def aims(rows: Sequence[Result]) -> dict:
    """The primary cell, and per setting what was wanted of `auc` and what came: over zero steps, and over the best control."""
    found = []
    for setting in dict.fromkeys(row.setting for row in rows):
        cells = {row.method: row.value for row in rows if (row.setting, row.metric, row.versus) == (setting, "auc", "")}
        simple = [
            row.method for row in rows if row.setting == setting and row.role == "control" and not row.method.startswith(OURS)
        ]
        best = max(dict.fromkeys(simple), key=lambda name: cells[name])
        for what, other in (("zero", ZERO), ("control", best)):
            row = next(
                one for one in rows if (one.setting, one.metric, one.method, one.versus) == (setting, "auc", OURS, other)
            )
            wanted = WANTED[COLD] if setting.startswith(COLD) and what == "control" else WANTED[what]
            reached = row.value >= wanted and (row.low or 0) > 0
            found.append(
                {
                    "setting": setting,
                    "over": other,
                    "wanted": wanted,
                    "value": row.value,
                    "low": row.low,
                    "high": row.high,
                    "reached": bool(reached),
                }
            )
    return {"benchmark": NAME, "primary": {"setting": PRIMARY[0], "metric": PRIMARY[1]}, "aims": found}
