"""One model over another catalogue: all that it learned is shared; of an item that it does not know it has text and attributes.

Axis convention: `N` items of the other catalogue.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from llmrec.encoder.model import SlotModel
from llmrec.errors import DataError

SHARED_MODULES = ("project", "attributes", "dates", "event_type", "user_attributes", "context", "item_attributes")
# of which the last three may be None
SHARED_NUMBERS = ("slot_scale", "temperature", "repeat", "last_basket_bias")
OWN = ("id_embedding", "bias", "repeat_delta")


def over(model: SlotModel, text: Tensor, place: np.ndarray | None = None, item_blocks: np.ndarray | None = None) -> SlotModel:
    """The same model over the catalogue of N items whose text vectors are `text`, float32 (N, d_text), centred and of unit
    length: it shares the transformer and all that `model` learned but what belongs to single items, and what either of the two
    learns later.

    place: int64 (N,), which item of `model` each is, and -1 for a new one; what is an item's own (delta, bias, repeat_delta) is
        copied. None where all are new. A new item is its text and its attributes: what would be its own is there, but is not
        learned. item_blocks: float32 (N, W + B), attributes of the N items; None where nothing is known of any.
    Dates are told by the moments of `model`. Raises DataError where text vectors are not as wide as those that `model` was
    made for.
    """
    if text.ndim != 2 or text.shape[1] != model.text.shape[1]:
        raise DataError(
            f"text: expected vectors of width {model.text.shape[1]}, got shape {tuple(text.shape)}; encode it alike"
        )
    device, blocks = model.id_embedding.device, None
    if model.item_attributes is not None:
        nothing = torch.zeros(len(text), model.item_attributes.in_features)
        blocks = nothing if item_blocks is None else torch.from_numpy(item_blocks)
    with torch.random.fork_rng(devices=[]):  # what is drawn here is thrown away
        made = SlotModel(
            model.body,
            model.prefix_ids,
            text,
            torch.zeros(len(text)),
            model.time_quantiles,
            model.event_type.num_embeddings - 1,
            item_blocks=blocks,
        )
    made.to(device)
    for name in SHARED_MODULES + SHARED_NUMBERS:
        setattr(made, name, getattr(model, name))
    if place is not None:
        _copy_items(model, made, place)
    for name in OWN:
        getattr(made, name).requires_grad_(False)
    return made.train(model.training)


def _copy_items(model: SlotModel, made: SlotModel, place: np.ndarray) -> None:
    """What `model` has of single items, for those that it knows; the others get the bias that it gives to new items."""
    known = torch.from_numpy(np.flatnonzero(place >= 0)).to(model.id_embedding.device)
    source = torch.from_numpy(place[place >= 0]).to(known.device)
    with torch.no_grad():
        made.trained[known] = model.trained[source]
        made.cold_bias.copy_(model.cold_bias)
        for name in OWN:
            getattr(made, name)[known] = getattr(model, name)[source]
