"""The twin: a base trained also on what came after the cut, of users outside a seeded half, and asked by that half alone.

It knows the young items by other users' purchases, past and future, so that its young items have vectors and biases of their
own. It is a mark of what a trained item is worth, not a control: a shop cannot have it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.item_cold import FOLDS_SEED, without_what_follows
from studies.new_items import study
from studies.new_items.moving import read, trained
from studies.new_items.replay import Replay, World

HALF = ", of users unknown to the twin"


def asked_half(here: World) -> np.ndarray:
    """bool (U,): the users who are asked; the same whatever the seed of training."""
    return np.random.default_rng(FOLDS_SEED).permutation(here.whole.n_users) % 2 == 0


def of_half(here: World, found: Replay) -> Replay:
    """The replay with nothing asked of the users outside the half."""
    return replace(found, asked=found.asked & asked_half(here)[found.user])


def told(here: World) -> World:
    """The world of the twin: what it is trained on are all events but those of the asked half after the cut."""
    return replace(here, train=without_what_follows(here.whole, here.cut, asked_half(here)))


def scores(here: World, found: Replay, seed: int, folder: Path) -> dict[str, np.ndarray]:
    """Arm -> float32 (Q, Y): of the twin, trained as the base is, before each purchase. Biases say what sold best in the end,
    which misleads about an item's first purchases; so the second arm leaves them out."""
    model, plan = trained(told(here), seed, folder)
    base = read(here, found, model, plan, seed)
    full = base.scores(found)
    return {study.TWIN: full, study.TWIN_UNBIASED: full - base.items.bias.numpy()[found.young]}
