"""Families of causal language models: where a model keeps its blocks, what LoRA may adapt, and which masks it takes.

A new family is one line in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

ATTENTION, FEED_FORWARD = "attention", "feed_forward"


@dataclass(frozen=True)
class Family:
    """What tells one family from another.

    model_type: its name in `config.json`. masks_by_layer: whether the model takes its masks as a dict, one for each kind of
        layer that `config.layer_types` names; otherwise it takes one mask for all layers. rotations_by_layer: whether kinds of
        layers turn positions by bases of their own.
    blocks: path of the list of blocks. attention, feed_forward: name of either part in a block.
    """

    model_type: str
    masks_by_layer: bool = False
    rotations_by_layer: bool = False
    blocks: str = "model.layers"
    attention: str = "self_attn"
    feed_forward: str = "mlp"

    def windows(self, config: Any) -> dict[str, int | None]:
        """Kind of layer -> how many of the last positions it attends to, its own among them; None for all.

        A family with one mask for all layers has one kind, "".
        """
        window = getattr(config, "sliding_window", None)
        if not self.masks_by_layer:
            return {"": window}
        return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(config.layer_types))}

    def kind(self, config: Any, place: int) -> str:
        """Kind of the layer at a place, as `windows` names it."""
        return config.layer_types[place] if self.masks_by_layer else ""


FAMILIES = (
    Family("llama"),  # SmolLM2 too
    Family("mistral"),
    Family("qwen2", masks_by_layer=True),
    Family("qwen3", masks_by_layer=True),
    Family("gemma3_text", masks_by_layer=True, rotations_by_layer=True),
)
MODEL_TYPES = tuple(family.model_type for family in FAMILIES)


def family_of(model: Any) -> Family:
    """The family of a loaded model, whose model type is one of MODEL_TYPES."""
    return next(family for family in FAMILIES if family.model_type == model.config.model_type)


def lora_targets(
    model: nn.Module, family: Family, n_blocks: int | None = None, parts: Collection[str] = (ATTENTION, FEED_FORWARD)
) -> dict[str, tuple[int, int]]:
    """Paths of the linear layers that LoRA may adapt -> (d_in, d_out), in the model's own names, as PEFT writes them.

    Chosen by the type of the module, `nn.Linear`, not by name. n_blocks: of the last so many blocks; None for all.
    parts: of ATTENTION, FEED_FORWARD or both.
    """
    blocks = model.get_submodule(family.blocks)
    assert isinstance(blocks, nn.ModuleList)
    first = 0 if n_blocks is None else max(0, len(blocks) - n_blocks)
    names = {ATTENTION: family.attention, FEED_FORWARD: family.feed_forward}
    return {
        f"{family.blocks}.{place}.{names[part]}.{path}": (module.in_features, module.out_features)
        for place in range(first, len(blocks))
        for part in (ATTENTION, FEED_FORWARD)
        if part in parts
        for path, module in blocks[place].get_submodule(names[part]).named_modules()
        if isinstance(module, nn.Linear)
    }
