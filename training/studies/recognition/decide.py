"""What to do about a window: two witnesses, the inputs and the loss, and four answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmrec.drift.conformal import p_values
from llmrec.errors import DataError

Action = Literal["nothing", "reweight", "adapt", "open"]
LEVEL = 0.05  # below it a witness speaks: one window in twenty where nothing changed


@dataclass(frozen=True)
class Verdict:
    """action: `nothing`; `reweight` what was learned (inputs shifted, the model copes); `adapt` the current adapter (as ever,
    but the model does worse); `open` a scene (both). shift, loss: the p-values it rests on."""

    action: Action
    shift: float
    loss: float


def decide(shift: float, loss: float, level: float = LEVEL) -> Verdict:
    """The verdict of two p-values: `shift` of the window's signature against the scene, `loss` of the model's loss in it.

    Raises DataError for what is no p-value.
    """
    for name, value in (("shift", shift), ("loss", loss)):
        if not 0 <= value <= 1:
            raise DataError(f"{name}: expected a p-value between 0 and 1, got {value!r}; see conformal.p_values")
    actions: dict[tuple[bool, bool], Action] = {
        (False, False): "nothing",
        (True, False): "reweight",
        (False, True): "adapt",
        (True, True): "open",
    }
    return Verdict(actions[shift <= level, loss <= level], float(shift), float(loss))


def loss_p_value(usual: np.ndarray, losses: np.ndarray) -> float:
    """p-value of a window's loss. usual: float (M,), mean loss of each calibration window, of as many events and of users whom
    the model was not trained on. losses: float (T,), the current model's loss at each event of this window."""
    losses = np.asarray(losses, np.float64)
    if losses.ndim != 1 or not len(losses):
        raise DataError(f"losses: expected shape (events,) with at least one, got {losses.shape}")
    return float(p_values(usual, losses.mean()))
