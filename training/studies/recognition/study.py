"""Recognition of new scenes: windows of a scene that was never seen against held-out windows of those known.

What it declared before test was looked at: the primary cell with the score DIRECTED, the aims, and the folds in
`cases` on which constants (axes of text, ridge, clip, users a group, the direction itself) were chosen. OURS adds
surprise at items, and without a home scene it takes the distance among directions for the direction itself: that came after
DIRECTED was seen to fail seasons and households on test, and was chosen on folds tried (of months, July and August as well).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.data.features import slot_attributes
from llmrec.drift.conformal import scene_p_values
from llmrec.metrics.bootstrap import Interval, bootstrap_mean
from llmrec.metrics.report import Result
from llmrec.progress import bar
from studies.recognition.cases import Case, Fold
from studies.recognition.decide import decide
from studies.recognition.reference import deviations
from studies.recognition.scores import DIRECTED, LOSS, OURS, all_scores
from studies.recognition.streams import Watched, watch
from studies.recognition.windows import ASK, CALIBRATE, FIT, MOST, Laid, lay

NAME = "recognition"
SIZES = (30, 100, 300)
PRIMARY = ("country: not the home one, 100 events", "auroc")
AIMS = {"auroc": 0.90, "false alarms, shuffled": 5.0}
EXPLORATORY = 500  # users of the new scenes; below it a cell is marked
DRAWS = 500
ACTIONS = ("nothing", "reweight", "adapt", "open")


@dataclass(frozen=True)
class Asked:
    """One fold and seed. laid: of the windows asked about alone. strange: method -> float (W,), 1 - the p-value of "known".
    actions: (W,) what `decide` says. watched: streams of it. users: those of the new scene's windows."""

    laid: Laid
    strange: dict[str, np.ndarray]
    actions: np.ndarray
    watched: dict[str, Watched]
    users: np.ndarray


def ask(
    case: Case,
    fold: Fold,
    size: int,
    seed: int,
    text: np.ndarray,
    events: np.ndarray,
    most: int = MOST,
    river: bool = False,
) -> Asked:
    """Windows laid out, scored by every method, held against calibration windows, and watched as streams."""
    rng = np.random.default_rng(seed)
    laid = lay(case, fold, size, seed, most)
    scores = all_scores(case.dataset, text, events, laid, rng)
    p = {name: against(values, laid) for name, values in scores.items()}
    asked = np.flatnonzero(laid.part == ASK)
    shift = known_p(p[OURS], fold)
    # The loss that counts is that of the adapter in use: at home, or of the scene that the window is most like.
    using = np.zeros(len(shift), np.int64) if fold.home else p[OURS].argmax(1)
    loss = p[LOSS][np.arange(len(using)), using]
    actions = np.array([decide(float(a), float(b)).action for a, b in zip(shift[asked], loss[asked], strict=True)])
    at_once = standing(scores[OURS], laid)
    there = laid.take(asked)
    new = there.scene == laid.n_known
    streams = watch(at_once[laid.part == CALIBRATE], at_once[asked], new, there.windows.time, size, rng, river)
    users = np.unique(case.dataset.user[there.windows.rows[new]])
    return Asked(there, {name: 1 - known_p(value, fold)[asked] for name, value in p.items()}, actions, streams, users)


def against(scores: np.ndarray, laid: Laid) -> np.ndarray:
    """float64 (W, S): p-values against each known scene by its own calibration windows."""
    own = [scores[(laid.part == CALIBRATE) & (laid.scene == scene), scene] for scene in range(laid.n_known)]
    return scene_p_values(own, scores)


def known_p(p: np.ndarray, fold: Fold) -> np.ndarray:
    """float64 (W,): p-value of the home scene, or where none is the greatest."""
    return p[:, 0] if fold.home else p.max(1)


def standing(scores: np.ndarray, laid: Laid) -> np.ndarray:
    """float64 (W,): one score for a stream, against the home scene or the nearest known one, in the deviations of the windows
    learned from; calibration windows have had no part in it."""
    known = deviations(scores, laid.scene, laid.part == FIT)
    return known[:, 0] if laid.fold.home else known.min(1)


def measure(
    case: Case,
    text: np.ndarray,
    sizes: Sequence[int],
    seeds: Sequence[int],
    tried: bool = False,
    most: int = MOST,
    river: bool = False,
) -> tuple[list[Result], dict]:
    """Rows of a case, and what stands beside them: windows, users and whether a cell is exploratory, by setting.

    tried: the folds on which constants are chosen, instead of those that are reported.
    """
    events = slot_attributes(case.dataset)
    folds = case.tried if tried else case.tested
    rows, beside = [], {}
    with bar(total=len(folds) * len(sizes) * len(seeds), desc=case.name) as progress:
        for size in sizes:
            asked = []
            for fold in folds:
                for seed in seeds:
                    asked.append(ask(case, fold, size, seed, text, events, most, river))
                    progress.update()
            setting = f"{case.name}, {size} events"
            rows += report(setting, asked, np.random.default_rng(0))
            beside[setting] = _beside(asked)
    return rows, beside


def report(setting: str, asked: Sequence[Asked], rng: np.random.Generator) -> list[Result]:
    """Rows of one setting over its folds and seeds."""
    n = len(np.unique(np.concatenate([one.users for one in asked])))

    def row(method: str, metric: str, found: Interval, versus: str = "") -> Result:
        role = "ours" if method.startswith((OURS, DIRECTED)) else "control"
        return Result(NAME, method, role, setting, metric, found.value, found.low, found.high, versus, n, None, None)

    values = aurocs([one.laid for one in asked], [one.strange for one in asked], rng)
    rows = [row(name, "auroc", _interval(draws, n)) for name, draws in values.items()]
    controls = [name for name in values if name not in (OURS, DIRECTED, LOSS)]
    best = max(controls, key=lambda name: values[name][0])
    rows += [row(name, "auroc", _interval(values[name] - values[best], n), best) for name in (OURS, DIRECTED)]
    for name in asked[0].watched:
        method = f"{OURS}, {name}"
        watched = [one.watched[name] for one in asked]
        rates = {
            "false alarms, shuffled": np.concatenate([one.shuffled for one in watched]),
            "false alarms, in time": np.concatenate([one.in_time for one in watched]),
            "noticed": np.concatenate([np.isfinite(one.delay) for one in watched]).astype(np.float64),
        }
        rows += [row(method, metric, bootstrap_mean(found, rng)) for metric, found in rates.items()]
        delay = median(np.concatenate([one.delay for one in watched]), rng)
        if delay is not None:
            rows.append(row(method, "events until noticed", delay))
    for side, is_new in (("known", False), ("new", True)):
        there = [one.actions[(one.laid.scene == one.laid.n_known) == is_new] for one in asked]
        for action in ACTIONS:
            shares = np.array([float((one == action).mean()) for one in there])
            rows.append(row(OURS, f"verdict: {action}, {side} windows", bootstrap_mean(shares, rng)))
    return rows


def aurocs(
    laid: Sequence[Laid], strange: Sequence[dict[str, np.ndarray]], rng: np.random.Generator, draws: int = DRAWS
) -> dict[str, np.ndarray]:
    """Method -> float64 (1 + draws,): the AUROC, mean over folds and seeds, then that of bootstrap draws over groups of users
    (a group with all of its windows, the same one in every seed) and over seeds and folds. All methods meet the same draws."""
    n_units = max(int(one.unit.max()) for one in laid) + 1
    is_new = [one.scene == one.n_known for one in laid]
    only_new = np.zeros(n_units, bool)
    for one, new in zip(laid, is_new, strict=True):
        only_new[one.unit[new]] = True
    for one, new in zip(laid, is_new, strict=True):
        only_new[one.unit[~new]] = False
    times = np.zeros((1 + draws, n_units))
    times[0] = 1
    for side in (only_new, ~only_new):
        there = np.flatnonzero(side)
        if len(there):
            times[1:, there] = rng.multinomial(len(there), np.full(len(there), 1 / len(there)), draws)
    chosen = np.concatenate([np.ones((1, len(laid))), rng.multinomial(len(laid), np.full(len(laid), 1 / len(laid)), draws)])
    total = {name: np.zeros(1 + draws) for name in strange[0]}
    weight = np.zeros(1 + draws)
    for place, (one, new) in enumerate(zip(laid, is_new, strict=True)):
        up, down = times[:, one.unit[new]], times[:, one.unit[~new]]
        pairs = up.sum(1) * down.sum(1)
        there = chosen[:, place] * (pairs > 0)  # a draw without windows on one side says nothing about this fold
        weight += there
        for name, values in strange[place].items():
            total[name] += there * np.einsum("dn,dn->d", up @ _ahead(values[new], values[~new]), down) / np.maximum(pairs, 1)
    return {name: found / np.maximum(weight, 1) for name, found in total.items()}


def _ahead(new: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float64 (new, known): 1 where the new window is the stranger one, a half where they are level."""
    return (new[:, None] > known) + 0.5 * (new[:, None] == known)


def _interval(values: np.ndarray, n: int) -> Interval:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high), n)


def median(delay: np.ndarray, rng: np.random.Generator) -> Interval | None:
    """Median over streams of the events until noticed, infinite where it was not; None where the interval is not finite."""
    drawn = np.sort(rng.choice(delay, (DRAWS, len(delay))), axis=1)[:, (len(delay) - 1) // 2]
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    value = float(np.sort(delay)[(len(delay) - 1) // 2])
    return Interval(value, float(low), float(high), len(delay)) if np.isfinite([value, high]).all() else None


def _beside(asked: Sequence[Asked]) -> dict:
    users = len(np.unique(np.concatenate([one.users for one in asked])))
    new = [int((one.laid.scene == one.laid.n_known).sum()) for one in asked]
    return {
        "new": list(dict.fromkeys(one.laid.fold.new for one in asked)),
        "users of new scenes": users,
        "windows of new scenes a fold": float(np.mean(new)),
        "windows of known scenes a fold": float(np.mean([len(one.laid.scene) for one in asked]) - np.mean(new)),
        "exploratory": users < EXPLORATORY,
    }
