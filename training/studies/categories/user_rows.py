"""The report of steps on one user's own choices: means, paired differences with intervals, and what was chosen.

Axis convention: `U` users, `C` candidates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import log_softmax

from llmrec.metrics.bootstrap import resampled
from llmrec.metrics.report import Result
from studies.categories.controls import FROZEN_TEXT, Scores
from studies.categories.learning import JOINT, META, UNTRAINED
from studies.categories.shops import ndcg
from studies.categories.study import METRIC
from studies.categories.user_steps import HEAD, OTHER, OWN, STEPS, SUPPORT, Learned

LOSS, NAME, ALL, FEW = "log loss", "user-steps", "test", "test, the first users"


def log_loss(scores: np.ndarray, taken: np.ndarray, temperature: float) -> np.ndarray:
    """float64 (U,): minus the log probability, in nats, of the candidate that was taken, bool (U, C) with one in each row."""
    return -log_softmax(scores.astype(np.float64) / temperature, axis=1)[taken]


def rows(
    found: Mapping[str, np.ndarray], few: dict[str, np.ndarray], beside: Mapping[str, Scores], temperature: float, seed: int
) -> list[Result]:
    """NDCG@10 and log loss of all users, and of the first of them, on whom all arms were measured. found, few: scores (U, C) of
    either, with "taken"; few is empty where there are none. beside: scores of controls, which have no log loss."""
    made, settings = [], {ALL: dict(found)}
    if few:
        settings[FEW] = {arm: each[: len(few["taken"])] for arm, each in found.items()} | few
    for setting, scores in settings.items():
        hits = scores["taken"].astype(bool)
        ours = {arm: each for arm, each in scores.items() if arm != "taken"}
        texts = {arm: np.stack(each[: len(hits)]) for arm, each in beside.items()}
        values = {arm: ndcg(list(each), list(hits)) for arm, each in (ours | texts).items()}
        losses = {arm: log_loss(each, hits, temperature) for arm, each in ours.items()}
        made += rows_of(values, setting, METRIC, seed) + rows_of(losses, setting, LOSS, seed)
    return made


def extra(learned: Learned, by_rate: Mapping[str, np.ndarray], costs: Mapping[str, float], seed: int) -> dict[str, object]:
    """Fields of the report beside the rows."""
    return {
        "benchmark": NAME,
        "ours": OWN,
        "primary": {"setting": ALL, "metric": METRIC},
        "aims": [],
        "seeds": [seed],
        "support": SUPPORT,
        "steps": STEPS,
        "temperature": learned.temperature,
        "validation loss at zero steps and by rate": {arm: np.round(each, 4).tolist() for arm, each in by_rate.items()},
        "rates": {arm: init.log_rate.exp().mean(1).tolist() for arm, init in learned.adapting.items()},
        "training seconds": learned.seconds,
        "training tokens, all blocks and adapted blocks": learned.tokens,
        "milliseconds a user": dict(costs),
    }


def rows_of(found: Mapping[str, np.ndarray], setting: str, metric: str, seed: int) -> list[Result]:
    """Means, and paired differences, with intervals. found: arm -> values (U,). The primary gap is OWN's only one."""
    drawn = resampled(found, np.random.default_rng(seed), 2_000)
    own = {arm: f"{arm}, own choices" for arm in (JOINT, META)} | {UNTRAINED: f"{HEAD}, own choices"}
    pairs = [*((moved, arm) for arm, moved in own.items()), (OTHER, META), (OTHER, OWN), (META, JOINT), (JOINT, UNTRAINED)]
    pairs += [(own[JOINT], OWN), (FROZEN_TEXT, OWN), (FROZEN_TEXT, META)]

    def row(method: str, versus: str) -> Result:
        at = (drawn[method].minus(drawn[versus]) if versus else drawn[method]).interval()
        role = "ours" if method == OWN else "control"
        return Result(NAME, method, role, setting, metric, at.value, at.low, at.high, versus, at.n, seed, None)

    return [row(arm, "") for arm in drawn] + [row(*pair) for pair in pairs if drawn.keys() >= set(pair)]
