"""Windows of a fold: users in groups, groups to learn from, to calibrate on and to ask about, cut into windows.

No user is in two parts. The groups are the same with every seed; which part a group belongs to is the seed's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.drift.windows import Windows, cut
from llmrec.errors import DataError
from studies.recognition.cases import Case, Fold

FIT, CALIBRATE, ASK = 0, 1, 2
GROUPS_SEED = 0
MOST = 200  # windows of one scene in one part, for speed; of the home scene, against which all are held, five times as many


@dataclass(frozen=True)
class Laid:
    """Windows of a fold.

    scene: int (W,), place in `fold.known`; of the new scene `len(fold.known)`.
    part: int (W,), FIT, CALIBRATE or ASK. unit: int (W,), the group of users; a window of another scene may be of the same.
    """

    windows: Windows
    scene: np.ndarray
    part: np.ndarray
    unit: np.ndarray
    fold: Fold

    def take(self, index: np.ndarray) -> Laid:
        """Some of the windows."""
        return Laid(self.windows.take(index), self.scene[index], self.part[index], self.unit[index], self.fold)

    @property
    def n_known(self) -> int:
        return len(self.fold.known)


def user_groups(case: Case) -> np.ndarray:
    """int64 (U,): the group of each user; where users belong to scenes, all of a group to one. -1 for users in no scene."""
    dataset, rng = case.dataset, np.random.default_rng(GROUPS_SEED)
    there = case.label >= 0
    stratum = np.full(dataset.n_users, -1)
    stratum[dataset.user[there]] = case.label[there] if case.of_users else 0
    group, first = np.full(dataset.n_users, -1), 0
    for one in range(int(stratum.max()) + 1):
        users = rng.permutation(np.flatnonzero(stratum == one))
        group[users] = first + np.arange(len(users)) // case.group
        first += -(-len(users) // case.group)
    return group


def lay(case: Case, fold: Fold, size: int, seed: int, most: int = MOST) -> Laid:
    """The windows of `size` events of a fold. A third of the groups of each scene is a part; of a home fold the other known
    scenes only teach, and where users belong to scenes all of the new one is asked about.

    Raises DataError where a part that is needed holds no window.
    """
    rng, dataset = np.random.default_rng(seed), case.dataset
    unit_of = user_groups(case)
    n_units = int(unit_of.max()) + 1
    order = {name: place for place, name in enumerate((*fold.known, fold.new))}
    scene_of = np.array([*(order.get(name, -1) for name in case.scenes), -1])[case.label]
    unit = unit_of[dataset.user]
    part_of = np.zeros((len(order), n_units), np.int64)
    shared = _thirds(np.arange(n_units), n_units, rng)
    inside = (scene_of >= 0) & (unit >= 0)
    if case.of_users:  # a group is of the scene of most of its events; a customer's few events elsewhere are left out
        counts = np.bincount(unit[inside] * len(order) + scene_of[inside], minlength=n_units * len(order))
        scene_of_unit = counts.reshape(n_units, len(order)).argmax(1)
        inside[inside] = scene_of_unit[unit[inside]] == scene_of[inside]
    for name, scene in order.items():
        if not case.of_users:
            part_of[scene] = np.where((scene < len(fold.known)) | (shared == ASK), shared, -1)
        elif name == fold.new:
            part_of[scene] = ASK
        elif fold.home in ("", name):
            part_of[scene] = _thirds(np.unique(unit[inside & (scene_of == scene)]), n_units, rng)
    inside[inside] = part_of[scene_of[inside], unit[inside]] >= 0
    windows = cut(dataset, np.where(inside, scene_of * n_units + unit, -1), size)
    scenes, units = windows.group // n_units, windows.group % n_units
    laid = Laid(windows, scenes, part_of[scenes, units], units, fold)
    return laid.take(_at_most(laid, most, rng))


def _thirds(units: np.ndarray, n_units: int, rng: np.random.Generator) -> np.ndarray:
    part = np.full(n_units, -1)
    part[rng.permutation(units)] = np.arange(len(units)) % 3
    return part


def _at_most(laid: Laid, most: int, rng: np.random.Generator) -> np.ndarray:
    """Places of the windows that are kept, ascending."""
    kept = []
    for scene in range(laid.n_known + 1):
        name = (*laid.fold.known, laid.fold.new)[scene]
        limit = 5 * most if name == laid.fold.home else most
        for part in (FIT, CALIBRATE, ASK):
            there = np.flatnonzero((laid.scene == scene) & (laid.part == part))
            if not len(there) and (part == FIT) == (scene < laid.n_known) and part != CALIBRATE:
                raise DataError(
                    f"{name!r} has no window of {laid.windows.rows.shape[1]} events, expected at least one; "
                    "take shorter windows or smaller groups"
                )
            kept.append(rng.permutation(there)[:limit])
    return np.sort(np.concatenate(kept))
