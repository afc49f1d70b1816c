"""Is a window of behaviour still of a known scene, and what is to be done if not: signature, surprise and loss together.

Axis convention: `W` windows of `n` events, `S` known scenes, `E` events, `N` items.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import ceil

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.features import slot_attributes
from llmrec.drift.conformal import p_values, scene_p_values
from llmrec.drift.signature import Space, fit_space, signatures
from llmrec.drift.surprise import divergence, scene_shares
from llmrec.drift.windows import Windows
from llmrec.errors import DataError, FewWindowsWarning
from studies.recognition.decide import LEVEL, Verdict, decide
from studies.recognition.reference import References, fit_references, together


@dataclass(frozen=True)
class Guard:
    """What known scenes look like.

    space, references, shares: by which a window is scored. centre, spread: float64 (2, S), of the two scores on the windows
    that were learned from. calibration: S arrays, the score of each scene's windows that were kept back, against itself. usual:
    float64 (M,), mean loss of kept-back windows under the model in use; empty where none is known.
    """

    space: Space
    references: References
    shares: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    calibration: tuple[np.ndarray, ...]
    usual: np.ndarray

    def scores(self, dataset: Dataset, windows: Windows) -> np.ndarray:
        """float64 (W, S), high where a window is unlike a scene."""
        parts = _two(self.space, self.references, self.shares, dataset, windows)
        directed, surprise = ((part - c) / s for part, c, s in zip(parts, self.centre, self.spread, strict=True))
        return together(directed, surprise)


def learn_guard(
    dataset: Dataset, text: np.ndarray, windows: Windows, scene: np.ndarray, kept: np.ndarray, usual: np.ndarray | None = None
) -> Guard:
    """A guard of known scenes.

    text: float32 (N, d), centred. windows: of known scenes, `scene` int (W,) from 0. kept: bool (W,), those that calibrate and
    are not learned from; they must be of other users. usual: as of `Guard`. Raises DataError where a scene has no window of
    either kind.
    """
    scenes = int(scene.max(initial=-1)) + 1
    for one in range(scenes):
        if not (kept & (scene == one)).any() or (~kept & (scene == one)).sum() < 2:
            raise DataError(f"scene {one}: expected two windows to learn from and one kept back; take shorter windows")
    fit = ~kept
    space = fit_space(dataset, text, windows.rows[fit].ravel())
    found = signatures(space, dataset, slot_attributes(dataset), windows)
    references = fit_references(found[fit], scene[fit], scenes)
    shares = scene_shares(dataset.item[windows.rows[fit]], scene[fit], scenes, dataset.n_items)
    parts = np.stack([references.directed(found), divergence(dataset.item[windows.rows], shares)])
    own = [parts[:, fit & (scene == one), one] for one in range(scenes)]
    centre = np.stack([values.mean(1) for values in own], axis=1)
    spread = np.maximum(np.stack([values.std(1) for values in own], axis=1), 1e-9)
    score = together(*((part - c) / s for part, c, s in zip(parts, centre, spread, strict=True)))
    calibration = tuple(score[kept & (scene == one), one] for one in range(scenes))
    return Guard(space, references, shares, centre, spread, calibration, np.zeros(0) if usual is None else usual)


def detect(
    guard: Guard, dataset: Dataset, windows: Windows, losses: np.ndarray, home: int | None = None, level: float = LEVEL
) -> list[Verdict]:
    """What each window says: nothing, `reweight`, `adapt` the scene's adapter, or `open` a new scene.

    losses: float (W,), mean loss of the model in use over each window. home: the scene that its adapter serves; None where any
    known one will do. A guard without a usual loss has no second witness, and every window's p-value of it is 1.
    Warns with FewWindowsWarning where a scene that has to be told apart has fewer than 1 / level - 1 calibration windows: no
    p-value can then be as small as `level`, and no new scene will be noticed.
    """
    losses = np.asarray(losses, np.float64)
    if losses.shape != (len(windows),):
        raise DataError(f"losses: expected one a window, shape ({len(windows)},), got {losses.shape}")
    few = [scene for scene in (range(len(guard.calibration)) if home is None else [home]) if _too_few(guard, scene, level)]
    if few:
        warnings.warn(
            f"scene {few[0]} has {len(guard.calibration[few[0]])} calibration windows, and at level {level:g} nothing can be "
            f"told from it with fewer than {_needed(level)}: keep back more, take shorter windows, or raise the level",
            FewWindowsWarning,
            stacklevel=2,
        )
    p = scene_p_values(guard.calibration, guard.scores(dataset, windows))
    shift = p.max(1) if home is None else p[:, home]
    return [decide(float(a), float(b), level) for a, b in zip(shift, p_values(guard.usual, losses), strict=True)]


def _needed(level: float) -> int:
    """How many calibration windows it takes for a p-value, 1 / (M + 1) at the least, to be as small as the level."""
    return ceil(round(1 / level, 9)) - 1


def _too_few(guard: Guard, scene: int, level: float) -> bool:
    return len(guard.calibration[scene]) < _needed(level)


def _two(
    space: Space, references: References, shares: np.ndarray, dataset: Dataset, windows: Windows
) -> tuple[np.ndarray, np.ndarray]:
    found = signatures(space, dataset, slot_attributes(dataset), windows)
    return references.directed(found), divergence(dataset.item[windows.rows], shares)
