"""LoRA as a value: stacked tensors for U users at once.

    output += scale * (x @ A^T) @ B^T        A: (U, r, d_in), B: (U, d_out, r)

An adapter is never changed in place: every function returns a new one. One user is U = 1, and U = 1 broadcasts to any batch,
which is how an initialisation or a scene's adapter serves everybody. Source: Hu et al., LoRA, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.adapters.values import Value
from llmrec.encoder.backbone import LoraHook
from llmrec.errors import AdapterError


@dataclass(frozen=True)
class Adapter(Value):
    """Low-rank updates of some linear layers, for U users.

    a: path of the layer -> (U, r, d_in).
    b: the same paths -> (U, d_out, r).
    scale: what the product is multiplied by, `lora_alpha / r` in PEFT's terms.
    """

    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    scale: float

    def __len__(self) -> int:
        """Number of users U."""
        return len(next(iter(self.a.values())))

    @property
    def rank(self) -> int:
        return next(iter(self.a.values())).shape[1]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self.a)

    @property
    def n_params(self) -> int:
        """How many numbers one user has."""
        return sum(t[0].numel() for t in self.leaves())

    def leaves(self) -> list[Tensor]:
        """All tensors, A then B of each layer in order."""
        return [tensor for path in self.a for tensor in (self.a[path], self.b[path])]

    def with_leaves(self, leaves: list[Tensor]) -> Adapter:
        """The same layers with other tensors, in the order of `leaves()`."""
        pairs = zip(self.a, leaves[0::2], leaves[1::2], strict=True)
        return self._of({path: (a, b) for path, a, b in pairs})

    def _of(self, pairs: dict[str, tuple[Tensor, Tensor]]) -> Adapter:
        return Adapter({p: a for p, (a, _) in pairs.items()}, {p: b for p, (_, b) in pairs.items()}, self.scale)


def init_lora(
    layers: Mapping[str, tuple[int, int]], rank: int, scale: float, generator: torch.Generator, b_std: float = 0.0
) -> Adapter:
    """A start for U = 1: A is Gaussian with variance 1 / d_in, B has standard deviation `b_std`; 0, the usual, is the base.

    layers: path -> (d_in, d_out), as `Backbone.linear_paths` gives them.

    With B = 0 the first gradient reaches B alone; an initialisation that is to be meta-learned starts from a small B.
    """
    if not layers:
        raise AdapterError("no layers to adapt: expected at least one path of a linear layer of the body")
    a, b = {}, {}
    for path, (d_in, d_out) in layers.items():
        a[path] = torch.randn(1, rank, d_in, generator=generator) / d_in**0.5
        b[path] = torch.randn(1, d_out, rank, generator=generator) * b_std
    return Adapter(a, b, scale)


def lora_hook(adapter: Adapter) -> LoraHook:
    """What the adapter adds to the layers it names, for a batch of U prompts (or any batch when U = 1)."""

    def add(path: str, x: Tensor) -> Tensor | None:
        if path not in adapter.a:
            return None
        return adapter.scale * (x @ adapter.a[path].transpose(1, 2)) @ adapter.b[path].transpose(1, 2)

    return add


def distance(adapter: Adapter, other: Adapter) -> Tensor:
    """Euclidean distance (U,) between two adapters' numbers; 0 only where nothing was learned."""
    pairs = zip(adapter.leaves(), other.expand(len(adapter)).leaves(), strict=True)
    return torch.stack([(x - y).square().flatten(1).sum(1) for x, y in pairs]).sum(0).sqrt()
