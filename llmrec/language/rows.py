"""Choices as rows of a batch, differentiable: each row is a prompt's prefix and its candidates' segments side by side.

The same reading as `packed`, for many prompts at once and with gradients. A row belongs to one user or scene, whose LoRA and
virtual tokens it is read under. States below the last `n_blocks` blocks, where nothing adapts, are computed once.

Axis convention: `B` rows, `L` tokens of the longest, `C` candidates of all rows one after another, `n` virtual tokens, `d` the
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.encoder.backbone import adding
from llmrec.encoder.bert import LoraHook
from llmrec.language.head import log_probabilities, token_log_odds
from llmrec.language.masks import PADDING, SHARED, packed_masks
from llmrec.language.model import LanguageModel


@dataclass(frozen=True)
class Row:
    """Token ids of one prompt. prefix: at least one. segments: those of each candidate, at least one each."""

    prefix: Sequence[int]
    segments: Sequence[Sequence[int]]

    @property
    def tokens(self) -> int:
        """How many there are."""
        return len(self.prefix) + sum(len(one) for one in self.segments)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that were read up to the blocks that adapt.

    below: (B, L, d), states below the last `n_blocks` blocks, or input embeddings. position, segment: int64 (B, L).
    row: int64 (C,), the row of each candidate. end: int64 (C,), where in the B * L states its segment ends.
    token: int64 (n,), tokens of all segments; candidate: int64 (n,), whose; before: int64 (n,), the state that foretells it.
    """

    below: Tensor
    position: Tensor
    segment: Tensor
    n_blocks: int
    row: Tensor
    end: Tensor
    token: Tensor
    candidate: Tensor
    before: Tensor


def read_below(language_model: LanguageModel, rows: Sequence[Row], n_blocks: int | None) -> Rows:
    """Rows padded to the longest and read up to the last `n_blocks` blocks, without a graph; None for input embeddings."""
    total = language_model.n_blocks
    n_blocks = total if n_blocks is None else min(n_blocks, total)
    length, device = max(row.tokens for row in rows), language_model.device
    ids, position = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length, dtype=torch.long)
    segment = torch.full((len(rows), length), PADDING)
    of_row: list[int] = []
    end: list[int] = []
    token: list[int] = []
    candidate: list[int] = []
    before: list[int] = []
    for place, row in enumerate(rows):
        at = len(row.prefix)
        ids[place, :at], position[place, :at], segment[place, :at] = torch.tensor(row.prefix), torch.arange(at), SHARED
        for number, one in enumerate(row.segments):
            span = slice(at, at + len(one))
            ids[place, span], segment[place, span] = torch.tensor(one), number
            position[place, span] = torch.arange(len(one)) + len(row.prefix)
            first = place * length
            before += [first + len(row.prefix) - 1, *range(first + at, first + at + len(one) - 1)]
            token += one
            candidate += [len(end)] * len(one)
            at += len(one)
            of_row.append(place)
            end.append(first + at - 1)
    flat = [torch.tensor(part, dtype=torch.long, device=device) for part in (of_row, end, token, candidate, before)]
    position, segment = position.to(device), segment.to(device)
    with torch.no_grad():
        words = language_model.model.get_input_embeddings()(ids.to(device))
        below = _blocks(language_model, words, position, segment, range(total - n_blocks))
    return Rows(below, position, segment, n_blocks, *flat)


def row_states(
    language_model: LanguageModel, rows: Rows, delta: LoraHook | None = None, virtual: Tensor | None = None
) -> Tensor:
    """Last hidden states (B * L, d) of rows; differentiable in both.

    delta: what is added to linear layers of the blocks that adapt, for B rows. virtual: (B, n, d), virtual tokens in front of
    each prefix; rows are then those of input embeddings.
    """
    total = language_model.n_blocks
    hidden, position, segment, count = rows.below, rows.position, rows.segment, 0
    if virtual is not None:
        if rows.n_blocks != total:
            raise ValueError("virtual tokens change all states: read rows with n_blocks=None")
        count = virtual.shape[1]
        first = torch.arange(count, device=position.device).expand(len(position), count)
        hidden = torch.cat([virtual.to(hidden.dtype), hidden], 1)
        position, segment = torch.cat([first, position + count], 1), torch.cat([torch.full_like(first, SHARED), segment], 1)
    with adding(delta):
        hidden = _blocks(language_model, hidden, position, segment, range(total - rows.n_blocks, total))
    return language_model.model.base_model.norm(hidden)[:, count:].flatten(0, 1)


def row_log_likelihoods(language_model: LanguageModel, rows: Rows, states: Tensor) -> Tensor:
    """float32 (C,): as `packed.log_likelihoods`, by the states of all rows."""
    needed, place = rows.before.unique(return_inverse=True)
    found = log_probabilities(language_model, states[needed], place, rows.token)
    return torch.zeros(len(rows.row), device=states.device).index_add(0, rows.candidate, found)


def row_log_odds(language_model: LanguageModel, rows: Rows, states: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """float32 (C,): log odds that the next token is in `yes` rather than in `no`, by the last state of each candidate."""
    return token_log_odds(language_model, states[rows.end], yes, no)


def _blocks(language_model: LanguageModel, hidden: Tensor, position: Tensor, segment: Tensor, places: range) -> Tensor:
    if not places:
        return hidden
    model, family = language_model.model, language_model.family
    config, base, blocks = model.config, model.base_model, model.get_submodule(family.blocks)
    masks = packed_masks(language_model, (position, segment), (position, segment))
    rotation = {}
    for kind in {family.kind(config, place) for place in places}:
        own = {"layer_type": kind} if family.rotations_by_layer else {}
        rotation[kind] = base.rotary_emb(hidden, position_ids=position, **own)
    for place in places:
        kind = family.kind(config, place)
        mask = masks[kind] if isinstance(masks, dict) else masks
        hidden = blocks[place](hidden, attention_mask=mask, position_ids=position, position_embeddings=rotation[kind])
    return hidden
