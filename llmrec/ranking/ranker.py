"""The ranker: a small network over a candidate's features and the transformer's score, fitted on users the base never saw.

It is fitted on other users than the base because the base's scores are better on its own training users than they will be on new
ones, and a ranker fitted there would trust them too much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from llmrec.encoder.loss import multi_target

HIDDEN = 16


@dataclass(frozen=True)
class Ranker:
    """Weights of the ranker; `F` features beside the model's score, which comes first.

    mean, spread: float32 (F + 1,), what inputs are normalised by. weights: the network's tensors by name.
    """

    mean: np.ndarray
    spread: np.ndarray
    weights: dict[str, np.ndarray]


@dataclass(frozen=True)
class RankerSettings:
    """steps: full-batch steps of Adam. rate: its step size. decay: weight decay, which keeps few users from being learned by heart."""

    steps: int = 150
    rate: float = 2e-2
    decay: float = 1e-3


@dataclass(frozen=True)
class Ranking:
    """One batch of tasks to learn from, padded to `C` candidates.

    inputs: float32 (T, C, F + 1). filled: bool (T, C). target: int64 (P,), column of a right candidate; owner: int64 (P,), its task.
    """

    inputs: np.ndarray
    filled: np.ndarray
    target: np.ndarray
    owner: np.ndarray


def fit_ranker(ranking: Ranking, settings: RankerSettings, seed: int) -> Ranker:
    """Fit by softmax over each task's candidates; tasks whose right items are no candidates teach nothing."""
    flat = ranking.inputs[ranking.filled]
    mean, spread = flat.mean(0), np.maximum(flat.std(0), 1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _network(len(mean))
    inputs = torch.from_numpy(((ranking.inputs - mean) / spread).astype(np.float32))
    empty = torch.from_numpy(~ranking.filled)
    target, owner = torch.from_numpy(ranking.target), torch.from_numpy(ranking.owner)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay)
    slope = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: 1.0 - i / settings.steps)
    for _ in range(settings.steps):
        loss = multi_target(_forward(network, inputs).masked_fill(empty, -1e9), target, owner).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slope.step()
    return Ranker(mean, spread, {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()})


def rank(ranker: Ranker, inputs: np.ndarray) -> np.ndarray:
    """Scores float32 (C,) of candidates from inputs (C, F + 1); no candidate's score depends on another's."""
    network = _network(len(ranker.mean))
    network.load_state_dict({name: torch.from_numpy(values) for name, values in ranker.weights.items()})
    with torch.no_grad():
        return _forward(network, torch.from_numpy(((inputs - ranker.mean) / ranker.spread).astype(np.float32))).numpy()


def _network(width: int) -> nn.ModuleDict:
    network = nn.ModuleDict({"line": nn.Linear(width, 1), "in": nn.Linear(width, HIDDEN), "out": nn.Linear(HIDDEN, 1)})
    with torch.no_grad():  # begins as the transformer's own order
        for name in ("line", "out"):
            network[name].weight.zero_()
            network[name].bias.zero_()
        network["line"].weight[0, 0] = 1.0
    return network


def _forward(network: nn.ModuleDict, inputs: Tensor) -> Tensor:
    return (network["line"](inputs) + network["out"](torch.tanh(network["in"](inputs)))).squeeze(-1)
