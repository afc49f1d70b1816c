"""Who attends to whom in packed prompts: every segment to the shared part and to itself, and to nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from llmrec.language.model import LanguageModel

SHARED, PADDING = -1, -2
"""Segments of tokens that all segments attend to, and of those that none does; other segments are numbered from 0."""

Masks = Tensor | dict[str, Tensor]


def packed_masks(language_model: LanguageModel, query: tuple[Tensor, Tensor], key: tuple[Tensor, Tensor]) -> Masks:
    """What is added to the logits of attention, (B, 1, Q, K): 0 where a token attends, as little as there is elsewhere; in the
    form that the family takes.

    query, key: positions and segments, int64 (B, Q) each and (B, K) each. Distances in a sliding window are those of positions.
    """
    family, dtype = language_model.family, language_model.dtype
    distance = query[0][:, :, None] - key[0][:, None]
    mine = query[1][:, :, None] == key[1][:, None]
    seen = (mine | (key[1] == SHARED)[:, None]) & (distance >= 0)
    masks = {}
    for kind, window in family.windows(language_model.model.config).items():
        allowed = seen if window is None else seen & (distance < window)
        hidden = torch.full(allowed.shape, torch.finfo(dtype).min, dtype=dtype, device=allowed.device)
        masks[kind] = hidden.masked_fill(allowed, 0)[:, None]
    return masks if family.masks_by_layer else masks[""]
