"""The gate: how many steps to adapt, possibly none, by the size of a user's support.

A gate is a plain value: for each range of support sizes one `Choice`, with the gain that was measured for it on users of
meta-validation, and zero steps wherever no gain was beyond noise. `fit_gate.py` learns it. The choice is a number that can be
reported with a recommendation; `choices[number]` says what it stands for.

Axis convention: `T` users, `C` choices (0 is zero steps), `B` bins of support sizes, ascending.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from llmrec.errors import DataError
from llmrec.meta.inner import Initialisation, SupportLoss, V, adapt

ADAPTERS = ("lora", "core")


@dataclass(frozen=True)
class Choice:
    """One way to adapt.

    steps: inner steps. rate: factor of the learned rates. keep: the share of the change that is kept: the result is
    initialisation + keep * (adapted - initialisation). adapter: what is adapted, one of ADAPTERS. The core goes
    by Newton's steps, which have no rates: there rate and keep are 1.
    """

    steps: int = 0
    rate: float = 1.0
    keep: float = 1.0
    adapter: str = "lora"


@dataclass(frozen=True)
class Bin:
    """The choice for supports of `least` events or more, up to the next bin.

    chosen: number of the choice. about: the choice whose gain is given: the chosen one or, if that is zero steps, the best
    rejected one. gain: over zero steps, paired over users; similar bins share information. low, high: its
    bounds, one-sided each, for all choices in all bins at once. users: how many it was measured on.
    """

    least: int
    chosen: int
    about: int
    gain: float
    low: float
    high: float
    users: int


@dataclass(frozen=True)
class Gate:
    """choices: C, the first of zero steps. bins: B."""

    choices: tuple[Choice, ...]
    bins: tuple[Bin, ...]

    def choose(self, sizes: np.ndarray) -> np.ndarray:
        """Number of the choice for each user, int64 (T,); zero steps for supports smaller than the first bin's.

        sizes: int (T,), events of each support.
        """
        sizes = np.asarray(sizes)
        place = np.searchsorted([b.least for b in self.bins], sizes, side="right")
        return np.array([0, *(b.chosen for b in self.bins)], np.int64)[place]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, as JSON holds them."""
        return asdict(self)


def adapt_by(init: Initialisation[V], support: SupportLoss[V], choices: Sequence[Choice]) -> V:
    """Values of U users, each adapted by its own choice; zero steps is the initialisation, exactly."""
    users, home, first = len(choices), init.adapter.leaves(), choices[0]
    if first.rate == first.keep == 1 and all(choice == first for choice in choices):
        return adapt(init, support, users, first.steps)
    steps, rate, keep = (home[0].new_tensor([getattr(c, name) for c in choices]) for name in ("steps", "rate", "keep"))
    share = rate * (torch.arange(int(steps.max()), device=steps.device)[:, None] < steps)
    theta = adapt(init, support, users, len(share), share)
    leaves = theta.leaves()
    for i in init.moving:
        part = keep.view(-1, *(1,) * (leaves[i].dim() - 1))
        leaves[i] = torch.where(part == 1, leaves[i], torch.lerp(home[i].detach().expand_as(leaves[i]), leaves[i], part))
    return theta.with_leaves(leaves)


def from_dict(saved: dict[str, Any]) -> Gate:
    """What `to_dict` gave, back from JSON. Raises DataError, naming the field, for anything that it would not give."""
    _keys(saved, "gate", {"choices", "bins"})
    choices = tuple(_choice(c, f"choices[{i}]") for i, c in enumerate(_list(saved["choices"], "choices")))
    bins = tuple(Bin(**_numbers(b, f"bins[{i}]", Bin)) for i, b in enumerate(_list(saved["bins"], "bins")))
    return checked(Gate(choices, bins))


def checked(gate: Gate) -> Gate:
    """The gate itself. Raises DataError where it contradicts itself."""
    if not gate.choices or gate.choices[0].steps != 0:
        raise DataError("choices: expected the first to be of zero steps; put Choice() first")
    for i, choice in enumerate(gate.choices):
        if choice.steps < 0 or choice.rate < 0 or not 0 <= choice.keep <= 1:
            raise DataError(f"choices[{i}]: expected steps >= 0, rate >= 0 and keep from 0 to 1, got {choice}; correct it")
        if choice.adapter not in ADAPTERS or (choice.adapter == "core" and not choice.rate == choice.keep == 1):
            raise DataError(f"choices[{i}]: expected lora or core as adapter, with rate and keep 1 for core, got {choice}")
    if any(one.least >= other.least for one, other in pairwise(gate.bins)):
        raise DataError(f"bins: expected ascending `least`, got {[b.least for b in gate.bins]}; sort them")
    for i, b in enumerate(gate.bins):
        if not (0 <= b.chosen < len(gate.choices) and 0 <= b.about < len(gate.choices)):
            raise DataError(f"bins[{i}]: expected choices from 0 to {len(gate.choices) - 1}, got {b.chosen} and {b.about}")
    return gate


def _choice(saved: Any, where: str) -> Choice:
    """A gate that was saved before there was a choice of adapters names none: it is LoRA's."""
    return Choice(**_numbers({"adapter": "lora", **saved} if isinstance(saved, dict) else saved, where, Choice))


def _numbers(saved: Any, where: str, kind: type) -> dict[str, Any]:
    """The fields of a dataclass of numbers and texts, each of the type that it is declared with."""
    names = {f.name: f.type for f in fields(kind)}
    _keys(saved, where, set(names))
    return {name: _number(saved[name], f"{where}.{name}", declared) for name, declared in names.items()}


def _number(value: Any, where: str, declared: Any) -> Any:
    if declared == "str":
        if not isinstance(value, str):
            raise DataError(f"{where}: expected text, got {value!r}; save the gate again")
        return value
    whole = declared == "int"
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not right:
        raise DataError(f"{where}: expected {'a whole' if whole else 'a finite'} number, got {value!r}; save the gate again")
    return value if whole else float(value)


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise DataError(f"{where}: expected a list, got {type(value).__name__}; save the gate again with to_dict")
    return value


def _keys(saved: Any, where: str, wanted: set[str]) -> None:
    there = set(saved) if isinstance(saved, dict) else set()
    if there != wanted:
        raise DataError(f"{where}: missing {sorted(wanted - there)}, unknown {sorted(there - wanted)}; save the gate again")
