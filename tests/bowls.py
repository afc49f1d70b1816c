"""A problem that can be worked out by hand: adapters as plain vectors, users' losses as quadratic forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import Adapter

SHAPES = ((2, 3), (4, 2))  # of A and B of the only layer: 6 and 8 numbers
SIZES = tuple(rows * columns for rows, columns in SHAPES)


@dataclass(frozen=True)
class Bowls:
    """Loss of user u: (x - centre_u)^T form_u (x - centre_u) / 2, where x is all of the user's numbers, A then B.

    form: float64 (U, D, D), symmetric and positive. centre: float64 (U, D).
    """

    form: np.ndarray
    centre: np.ndarray

    def loss(self, adapter: Adapter) -> torch.Tensor:
        gap = torch.cat([leaf.flatten(1) for leaf in adapter.leaves()], 1) - torch.from_numpy(self.centre)
        return torch.einsum("ui,uij,uj->u", gap, torch.from_numpy(self.form), gap) / 2

    def take(self, users: list[int]) -> Bowls:
        return Bowls(self.form[users], self.centre[users])

    def slope(self, user: int, x: np.ndarray) -> np.ndarray:
        return self.form[user] @ (x - self.centre[user])


@pytest.fixture(scope="session")
def bowls() -> Callable[[int, int], Bowls]:
    """`bowls(users, seed)`"""

    def make(users: int, seed: int) -> Bowls:
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(users, sum(SIZES), sum(SIZES))) / 4
        return Bowls(root @ root.transpose(0, 2, 1), rng.normal(size=(users, sum(SIZES))))

    return make


@pytest.fixture
def start(exact: None) -> Adapter:
    """float64, U = 1."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES)
    return Adapter({"layer": a}, {"layer": b}, 1.0)


def flat(adapter: Adapter) -> np.ndarray:
    """(U, D): all numbers of each user."""
    return torch.cat([leaf.detach().flatten(1) for leaf in adapter.leaves()], 1).numpy()


@pytest.fixture(scope="session")
def numbers() -> Callable[[Adapter], np.ndarray]:
    return flat


@pytest.fixture(scope="session")
def walk() -> Callable[..., list[np.ndarray]]:
    """One user's inner loop, written down as the paper has it: `walk(home, slope, rates, pull, clip)` -> the point after 0, 1,
    ... steps, where rates is (steps, 2): one for A's numbers, one for B's."""

    def run(
        home: np.ndarray, slope: Callable[[np.ndarray], np.ndarray], rates: np.ndarray, pull: float, clip: float
    ) -> list[np.ndarray]:
        points = [home]
        for of_a, of_b in rates:
            gradient = slope(points[-1])
            gradient = gradient * min(1.0, clip / np.linalg.norm(gradient))
            rate = np.repeat([of_a, of_b], SIZES)
            points.append(points[-1] - rate * (gradient + pull * (points[-1] - home)))
        return points

    return run
