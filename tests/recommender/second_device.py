"""Run by test_devices.py as a script: the whole flow on a second device, on a machine that has none.

Tensors on "card" hold CPU numbers and say that they are elsewhere; an operation over both kinds is refused, as CUDA does (which
lets indices, and numbers without dimensions, stay on the CPU). So nothing is faster, but every tensor that was made or left in
the wrong place is found. In a process of its own: torch learns of a device once, before its first backward pass.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from llmrec import OuterSettings, Recommender, Weights
from llmrec.encoder import precision
from llmrec.ranking.ranker import RankerSettings

aten = torch.ops.aten
INDEXED = (aten.index, aten.index_put, aten.index_put_)  # their second argument is the indices
MOVES = (aten._to_copy, aten.copy_)


class Generators(backend_registration._DummyBackendModule):
    """What torch asks of a device when it sets its random numbers aside; "card" has none of its own."""

    def get_rng_state(self, device: Any) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any) -> None: ...


class Held(torch.Tensor):
    """A tensor on "card"; `raw` has its numbers."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Held:
        layout = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype, "device": "card:0"}
        made = torch.Tensor._make_wrapper_subclass(cls, raw.shape, **layout)
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def tolist(self) -> Any:  # which torch refuses to subclasses
        return self.raw.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl


class Card(TorchDispatchMode):
    """While it is on, tensors can be made on "card" and moved there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation of torch, on the CPU or as if elsewhere."""
    held, device = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Held)], kwargs.get("device")
    there = bool(held) if device is None else torch.device(device).type == "card"
    if func.overloadpacket is aten.copy_:
        there = isinstance(args[0], Held)
    elif func.overloadpacket not in MOVES:
        checked = [args[0], *args[2:]] if func.overloadpacket in INDEXED else [args, kwargs]
        if len({isinstance(t, Held) for t in tree_leaves(checked) if isinstance(t, torch.Tensor) and t.dim()}) > 1:
            raise RuntimeError(f"{func}: tensors on two devices")
    same = {id(t.raw): t for t in held}
    args, kwargs = tree_map_only(Held, lambda t: t.raw, (args, kwargs))
    found = func(*args, **(kwargs | ({} if device is None else {"device": torch.device("cpu")})))
    return tree_map_only(torch.Tensor, lambda t: same[id(t)] if id(t) in same else Held(t), found) if there else found


def refuses() -> bool:
    """The probe sees: each of these is an error with CUDA, and has to be one here."""
    x, caught = torch.ones(2, 3, device="card"), 0
    for wrong in (lambda: x + torch.ones(2, 3), lambda: x.numpy(), lambda: x.index_put_([torch.tensor([0])], torch.ones(1, 3))):
        try:
            wrong()
        except RuntimeError:
            caught += 1
    return caught == 3 and bool((x[torch.tensor([0])] + torch.tensor(1.0)).cpu().sum() == 6)


def answers(world: dict[str, Any], saved: str, weights: str, device: str) -> Iterator[np.ndarray]:
    """Every number that the flow ends in."""
    loaded = Recommender.from_pretrained(saved, device=device)
    few = replace(loaded.settings.train, max_steps=2, batch_size=8)
    settings = replace(loaded.settings, train=few, outer=OuterSettings(episodes=1), ranking_tasks=10)
    settings = replace(
        settings, counts_ranker=RankerSettings(hidden=2, max_steps=1), blend=RankerSettings(hidden=2, max_steps=1)
    )
    fitted = Recommender(Weights.folder(weights), settings).fit(world["events"], world["items"])
    for recommender in (loaded, fitted):
        expect(str(recommender.state.model.id_embedding.device).startswith(device))
        expect(all(str(t.device).startswith(device) for t in recommender.state.init.adapter.leaves()))
        yield recommender.recommend(histories=world["clicks"], k=12)["score"].to_numpy()
    yield np.array([row.value for row in fitted.evaluate(world["clicks"])])


def expect(true: bool) -> None:
    if not true:
        raise SystemExit("not as expected")


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend("card", Generators())
    precision._product = lambda dtype, device: 0.0  # a draw, which float32 wins
    torch.set_num_threads(1)
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    here = list(answers(given, *sys.argv[2:], "cpu"))
    with Card():
        expect(refuses())
        there = list(answers(given, *sys.argv[2:], "card"))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    print(len(here))
