"""How many multiplications learning takes, counted while it runs: what "the same compute" means in the study.

Matrix products alone are counted, as torch sees them, forward and backward; they are nearly all that is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from typing import TypeVar

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.protocol import Benchmark
from llmrec import TrainSettings
from studies.adaptation import arms
from studies.adaptation.arms import Effort
from studies.adaptation.bank import Base
from studies.adaptation.base import trained_on
from studies.adaptation.cores import Place

Made = TypeVar("Made")
SOME = 4  # steps of plain training that are counted, since their windows differ in length


def multiplied(work: Callable[[], Made]) -> tuple[Made, int]:
    """What the work makes, and how many multiplications that took."""
    with FlopCounterMode(display=False) as counter:
        made = work()
    return made, counter.get_total_flops() // 2  # an addition is counted with each


def of_lora(base: Base, places: Sequence[Place], effort: Effort, seed: int) -> float:
    """Of LoRA's meta-learning: the mean over places of one episode, times the episodes."""
    rng, one = np.random.default_rng(seed), replace(effort, lora=1)
    took = [multiplied(partial(arms.lora, base, [place], one, rng, seed))[1] for place in places]
    return effort.lora * float(np.mean(took))


def of_core(features: np.ndarray, places: Sequence[Place], effort: Effort, seed: int) -> float:
    """Of a core's, where every episode takes the same."""
    rng, one = np.random.default_rng(seed), replace(effort, core=1)
    return effort.core * float(multiplied(partial(arms.closed_form, features, places[:1], one, rng))[1])


def plain_steps(amount: float, base: Base, benchmark: Benchmark, users: np.ndarray, plan: TrainSettings, seed: int) -> int:
    """Steps of plain training that take at least so many multiplications."""
    one = multiplied(partial(trained_on, base, benchmark, users, plan, seed, SOME))[1] / SOME
    return ceil(amount / one)


def joint_alike(amount: float, base: Base, places: Sequence[Place], effort: Effort, seed: int) -> Effort:
    """The effort with so many episodes of LoRA that `arms.joint_lora` takes at least so many multiplications."""
    rng, one = np.random.default_rng(seed), replace(effort, lora=1)
    took = [multiplied(partial(arms.joint_lora, base, [place], one, rng, seed))[1] for place in places]
    return replace(effort, lora=ceil(amount / float(np.mean(took))))
