"""The studies of rows: all methods after training on some rows, and the rows of the report.

Axis convention: `T` users that are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.ranking import auc
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from llmrec.signed.labels import Labels
from studies.ratings.melu import Episode
from studies.signed.protocol import LIKED, log_loss, pooled_auc
from studies.signed.rows import HISTORY, PRIMARY, PUBLISHED, SCALE, TRAIN, WANTED, Parts, Rows, each_with_earlier
from studies.signed.study import DRAWS, OURS, Method, methods, probabilities, results

RELLA, COLLM = "rella", "collm"
UNTIMED, AT_ONCE = "llmrec, times unread", "llmrec, the row's time unread"
CHOOSING = 10_000  # validation rows that constants are chosen on
Likely = Mapping[str, Sequence[np.ndarray]]
Measure = Callable[[np.ndarray, np.ndarray], float]


def fitted(shown: Labels, told: np.ndarray, learned_from: Sequence[Episode], stages: Stages) -> list[Method]:
    """All methods on the ratings shown, and two variants of ours: without the times of a support, and without the time of the
    row, which is then that of the newest rating shown, or of the user's own newest one if that is later. So counts
    `Recommender.predict` in a shop that observes nobody since `fit`; where all events are observed, it knows the row's time.

    told: (N, d), descriptions of the films.
    """
    whole = methods(shown, SCALE, {OURS: told}, learned_from, stages, False)
    (mine,) = [one.candidates[""] for one in whole if one.name == OURS]

    def untimed(asked: Sequence[Episode]) -> list[np.ndarray]:
        return mine([replace(one, time=None) for one in asked])

    def at_once(asked: Sequence[Episode]) -> list[np.ndarray]:
        return mine([replace(one, now=None) for one in asked])

    return [*whole, *(Method(name, "control", {"": one}, True) for name, one in ((UNTIMED, untimed), (AT_ONCE, at_once)))]


def rella(
    rows: Rows, told: np.ndarray, sizes: Sequence[int], seeds: Sequence[int], part: str, stages: Stages
) -> tuple[list[Result], dict]:
    """Rows of the report, and what was chosen. part: "validation" or "test", whose rows are asked; validation asks those that
    constants are not chosen on. seeds: of the rows that are trained on."""
    mixed = np.random.default_rng(0).permutation(rows.validation)
    valid = [rows.episode(row) for row in mixed[:CHOOSING]]
    asked = [rows.episode(row) for row in np.sort(rows.test if part == "test" else mixed[CHOOSING:])]
    found, chosen = [], {}
    for size in sizes:
        setting, likely = f"{size:,} rows", []
        for seed in seeds:
            some = np.random.default_rng(seed).permutation(rows.train)[:size]
            each = fitted(rows.shown(some), told, [rows.episode(row) for row in some], stages)
            with stages(f"{setting}, seed {seed}", f"{len(asked):,} rows"):
                names, mine = _answers(each, valid, asked)
            chosen[f"{setting}, seed {seed}"] = names
            likely.append(mine)
        found += _rows(RELLA, setting, likely, asked, seeds)
    return found, chosen


def collm(parts: Parts, told: np.ndarray, part: str, stages: Stages) -> tuple[list[Result], dict]:
    """The same for CoLLM's parts. Validation asks half of the validation users, with the training rows as support; constants
    are then chosen on the others."""
    each = fitted(parts.train, told, each_with_earlier(parts.train), stages)
    valid = parts.episodes(parts.validation, [parts.train])
    if part == "test":
        asked = {
            TRAIN: parts.episodes(parts.test, [parts.train]),
            HISTORY: parts.episodes(parts.test, [parts.train, parts.validation]),
        }
    else:
        half = set(np.random.default_rng(0).permutation(np.unique(parts.validation.user))[::2].tolist())
        asked = {TRAIN: [one for one in valid if one.user in half]}
        valid = [one for one in valid if one.user not in half]
    found, chosen = [], {}
    for setting, some in asked.items():
        with stages(setting, f"{len(some):,} rows"):
            chosen[setting], likely = _answers(each, valid, some)
        found += _rows(COLLM, setting, [likely], some, (0,))
    return found, chosen


def _answers(each: Sequence[Method], valid: Sequence[Episode], asked: Sequence[Episode]) -> tuple[dict[str, str], Likely]:
    names, likely = {}, {}
    for method in each:
        names[method.name], (likely[method.name],) = probabilities(method, valid, [asked], pooled=True)
    return {name: value for name, value in names.items() if value}, likely


def _rows(name: str, setting: str, likely: Sequence[Likely], asked: Sequence[Episode], seeds: Sequence[int]) -> list[Result]:
    """AUC over all rows, and means over users of their AUC, where they have both labels, and of their log loss. Means over
    seeds; intervals over users, for these seeds."""
    tables = {
        "auc": _mean([pooled_auc(one, asked, DRAWS, 0) for one in likely]),
        "user auc": resampled(_by_user(likely, asked, _auc), np.random.default_rng(0), DRAWS),
        "user log loss": resampled(_by_user(likely, asked, _loss), np.random.default_rng(0), DRAWS),
    }
    role = {method: "ours" if method == OURS else "control" for method in likely[0]}
    return results(name, setting, tables, role, seeds[0] if len(seeds) == 1 else None)


def _mean(each: Sequence[Mapping[str, Resampled]]) -> dict[str, Resampled]:
    """Means over seeds; every seed met the same users in every draw."""
    return {
        name: Resampled(
            float(np.mean([one[name].value for one in each])), np.mean([one[name].draws for one in each], 0), each[0][name].n
        )
        for name in each[0]
    }


def _by_user(likely: Sequence[Likely], asked: Sequence[Episode], measure: Measure) -> dict[str, np.ndarray]:
    """Method -> float64 (T,), of all rows of each user together, means over seeds; NaN where there is none."""
    _, of = np.unique([one.user for one in asked], return_inverse=True)
    order = np.argsort(of, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(of[order])) + 1)
    liked = [np.concatenate([asked[row].answer for row in rows]) >= LIKED for rows in groups]

    def each(values: Sequence[np.ndarray]) -> list[float]:
        return [measure(np.concatenate([values[row] for row in rows]), y) for rows, y in zip(groups, liked, strict=True)]

    return {name: np.mean([each(one[name]) for one in likely], 0) for name in likely[0]}


def _auc(scores: np.ndarray, liked: np.ndarray) -> float:
    return float(auc(scores[None], [np.flatnonzero(liked)])[0])


def _loss(likely: np.ndarray, liked: np.ndarray) -> float:
    return float(log_loss(likely, liked).mean())


def aims(found: Sequence[Result], name: str) -> dict:
    """The primary cell, the AUC that was wanted in each setting and that came, and that published of language models."""
    cells = {row.setting: row.value for row in found if (row.method, row.metric, row.versus) == (OURS, "auc", "")}
    each = [
        {"setting": setting, "wanted": WANTED[setting], "value": value, "reached": value >= WANTED[setting]}
        for setting, value in cells.items()
        if setting in WANTED
    ]
    setting, metric = PRIMARY if name == RELLA else (TRAIN, "auc")
    return {
        "benchmark": name,
        "primary": {"setting": setting, "metric": metric},
        "aims": each,
        "published": {setting: PUBLISHED[setting] for setting in cells if setting in PUBLISHED},
    }
