"""A ranker: a small network over the features of each candidate, fitted by softmax over the candidates of a task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from llmrec.encoder.loss import multi_target


@dataclass(frozen=True)
class Ranker:
    """Weights of a ranker over `F` numbers a candidate.

    mean, spread: float32 (F,), what inputs are normalised by. weights: the network's tensors by name.
    """

    mean: np.ndarray
    spread: np.ndarray
    weights: dict[str, np.ndarray]


@dataclass(frozen=True)
class RankerSettings:
    """How a ranker is fitted.

    hidden: units of the hidden layer, in addition to a linear term. max_steps, learning_rate: of AdamW. weight_decay: keeps a
    ranker that learns from few users from overfitting. batch_size: tasks in a step.
    """

    hidden: int = 16
    max_steps: int = 150
    learning_rate: float = 2e-2
    weight_decay: float = 1e-2
    batch_size: int = 128


@dataclass(frozen=True)
class Ranking:
    """One batch of tasks to learn from, padded to `C` candidates.

    inputs: float32 (T, C, F). filled: bool (T, C).
    target: int64 (P,), column of a right candidate; owner: int64 (P,), its task, ascending.
    """

    inputs: np.ndarray
    filled: np.ndarray
    target: np.ndarray
    owner: np.ndarray


def fit_ranker(ranking: Ranking, settings: RankerSettings, seed: int) -> Ranker:
    """Fit by softmax over each task's candidates; tasks whose right items are no candidates teach nothing."""
    flat = ranking.inputs[ranking.filled]
    if not len(flat):  # no task has a candidate
        flat = np.zeros((1, flat.shape[1]), np.float32)
    mean, spread = flat.mean(0), np.maximum(flat.std(0), 1e-3)
    del flat  # as large as all inputs
    draw = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):  # made on the CPU: no GPU's generator is touched
        torch.default_generator.manual_seed(seed)
        network = _network(len(mean), settings.hidden)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    slope = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: 1.0 - i / max(settings.max_steps, 1))
    first = np.searchsorted(ranking.owner, np.arange(len(ranking.filled) + 1))  # owners ascend
    for _ in range(settings.max_steps):
        tasks = draw.permutation(len(ranking.filled))[: settings.batch_size]
        inputs = torch.from_numpy(((ranking.inputs[tasks] - mean) / spread).astype(np.float32))
        logits = _forward(network, inputs).masked_fill(torch.from_numpy(~ranking.filled[tasks]), -1e9)
        count = first[tasks + 1] - first[tasks]
        row = np.repeat(first[tasks] - np.cumsum(count) + count, count) + np.arange(count.sum())
        owner = torch.from_numpy(np.repeat(np.arange(len(tasks)), count))
        loss = multi_target(logits, torch.from_numpy(ranking.target[row]), owner).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slope.step()
    return Ranker(mean, spread, {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()})


def rank(ranker: Ranker, inputs: np.ndarray) -> np.ndarray:
    """Scores float32 (C,) of candidates from inputs (C, F); no candidate's score depends on another's."""
    network = {name: torch.from_numpy(values) for name, values in ranker.weights.items()}

    def layer(name: str, values: Tensor) -> Tensor:
        return linear(values, network[f"{name}.weight"], network[f"{name}.bias"])

    with torch.no_grad():
        given = torch.from_numpy(((inputs - ranker.mean) / ranker.spread).astype(np.float32))
        return (layer("line", given) + layer("out", torch.tanh(layer("in", given)))).squeeze(-1).numpy()


def _network(width: int, hidden: int) -> nn.ModuleDict:
    line, inner, out = nn.Linear(width, 1), nn.Linear(width, hidden), nn.Linear(hidden, 1)
    with torch.no_grad():  # begins as the order of the first input
        for layer in (line, out):
            layer.weight.zero_()
            layer.bias.zero_()
        line.weight[0, 0] = 1.0
    return nn.ModuleDict({"line": line, "in": inner, "out": out})


def _forward(network: nn.ModuleDict, inputs: Tensor) -> Tensor:
    return (network["line"](inputs) + network["out"](torch.tanh(network["in"](inputs)))).squeeze(-1)
