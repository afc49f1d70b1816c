"""One block of BERT, computed from the weights of transformers' module: the same operations in the same order, to the bit.

A block has 43 modules' worth of Python around some 25 operations, which for the prompt of one user takes longer than they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LoraHook = Callable[[str, Tensor], "Tensor | None"]
"""Given a linear layer's path and its input (T, L, d_in): what to add to its output (T, L, d_out), or None for nothing."""


def block_states(block: Any, hidden: Tensor, mask: Tensor, path: str, delta: LoraHook | None = None) -> Tensor:
    """States (T, L, d) above a `BertLayer` from those below it, with eager attention and without dropout.

    mask: float32 (1, 1, L, L), added to the attention's logits. path: of the block, before the paths that `delta` is given.
    """

    def linear(name: str, layer: Any, x: Tensor) -> Tensor:
        found = functional.linear(x, layer.weight, layer.bias)
        extra = None if delta is None else delta(f"{path}.{name}", x)
        return found if extra is None else found + extra

    def normal(layer: Any, x: Tensor) -> Tensor:
        return functional.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)

    attention, shape = block.attention.self, hidden.shape
    heads = (shape[0], shape[1], -1, attention.attention_head_size)
    query, key, value = (
        linear(f"attention.self.{name}", layer, hidden).view(heads).transpose(1, 2)
        for name, layer in (("query", attention.query), ("key", attention.key), ("value", attention.value))
    )
    weights = torch.softmax(torch.matmul(query, key.transpose(2, 3)) * attention.scaling + mask, dim=-1)
    mixed = torch.matmul(weights, value).transpose(1, 2).reshape(shape)
    output = block.attention.output
    hidden = normal(output.LayerNorm, linear("attention.output.dense", output.dense, mixed) + hidden)
    between = block.intermediate
    wide = between.intermediate_act_fn(linear("intermediate.dense", between.dense, hidden))
    return normal(block.output.LayerNorm, linear("output.dense", block.output.dense, wide) + hidden)
