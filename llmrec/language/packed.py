"""Packed reading: all candidates of a user behind one shared prefix, in one forward pass.

A prompt is a prefix, the same for all candidates of a user, and a segment for each candidate:

    prefix     A shopper bought: red mug, blue rope. Next:      read once, its keys and values are kept
    segments    green mug |  small tent |  lamp                 side by side in one row

A token of a segment attends to the prefix and to the earlier tokens of its own segment, and positions of every segment begin
after the prefix. So each segment is read as if it alone followed the prefix, whatever stands beside it. In a layer with a
sliding window distances are counted in positions, not in places in the row.

Axis convention: `P` tokens of a prefix, `C` segments, `S` tokens of all segments together, `d` the width, `V` the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.language.head import log_probabilities
from llmrec.language.masks import SHARED, packed_masks
from llmrec.language.model import LanguageModel

TOKENS = 512  # of segments in one forward pass: attention within it grows with the square

Layers = tuple[tuple[Tensor, Tensor], ...]  # keys and values (1, heads, P, d_head) of every layer


@dataclass(frozen=True, eq=False)
class Prefix:
    """What was read of a prefix of P tokens; it is never changed.

    layers: keys and values of every layer. last: (d,), the last hidden state at the last token.
    """

    layers: Layers
    last: Tensor

    @property
    def length(self) -> int:
        return self.layers[0][0].shape[2]


class _KeysAndValues:
    """What transformers' attention hands keys and values to, in place of its caches, which drop what a sliding window has left
    behind and are changed by every reading: those of the prefix go in front, and nothing is changed."""

    def __init__(self, before: Layers, keep: bool) -> None:
        self.before, self.keep = before, keep
        self.found: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        if self.before:
            first = self.before[layer]
            keys, values = torch.cat([first[0], keys], 2), torch.cat([first[1], values], 2)
        if self.keep:
            self.found[layer] = keys, values
        return keys, values


def read_prefix(language_model: LanguageModel, tokens: Sequence[int], before: Prefix | None = None) -> Prefix:
    """Read the tokens, at least one, of a prefix; or of its later part, behind what was read `before`."""
    kept = _KeysAndValues(before.layers if before else (), keep=True)
    states = _read(language_model, kept, before.length if before else 0, [tokens])
    return Prefix(tuple(kept.found[layer] for layer in range(len(kept.found))), states[-1])


def read_virtual(language_model: LanguageModel, embeddings: Tensor) -> Prefix:
    """Read n virtual tokens, at least one, as the beginning of a prefix. embeddings: (n, d), in place of those of words."""
    kept, place = _KeysAndValues((), keep=True), torch.arange(len(embeddings), device=language_model.device)
    states = _run(language_model, kept, 0, embeddings.to(language_model.dtype), place, torch.zeros_like(place))
    return Prefix(tuple(kept.found[layer] for layer in range(len(kept.found))), states[-1])


def read_segments(language_model: LanguageModel, prefix: Prefix, segments: Sequence[Sequence[int]]) -> Tensor:
    """Last hidden states (S, d) at the tokens of C segments, one after the other, each read as if it alone followed the prefix.

    A segment may be empty. Read in parts of about TOKENS tokens.
    """
    states = [
        _read(language_model, _KeysAndValues(prefix.layers, keep=False), prefix.length, segments[part])
        for part in _parts([len(one) for one in segments])
    ]
    return torch.cat([prefix.last[None, :][:0], *states])


def log_likelihoods(language_model: LanguageModel, prefix: Prefix, candidates: Sequence[Sequence[int]]) -> Tensor:
    """float32 (C,): the log-likelihood in nats of all tokens of each candidate behind the prefix; 0 for one without tokens."""
    if not any(map(len, candidates)):
        return torch.zeros(len(candidates), device=language_model.device)
    return _likelihoods(
        language_model, prefix, read_segments(language_model, prefix, [one[:-1] for one in candidates]), candidates
    )


def log_likelihoods_and_states(
    language_model: LanguageModel, prefix: Prefix, candidates: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """`log_likelihoods`, and the last states (C, d) at the last token of each candidate, zeros for one without tokens."""
    length = torch.tensor([len(one) for one in candidates])
    states, some = read_segments(language_model, prefix, candidates), length > 0
    last = states.new_zeros(len(candidates), language_model.width)
    if not some.any():
        return torch.zeros(len(candidates), device=states.device), last
    end = (length.cumsum(0) - 1)[some]
    before = torch.ones(len(states), dtype=torch.bool)
    before[end] = False
    last[some.to(states.device)] = states[end.to(states.device)]
    return _likelihoods(language_model, prefix, states[before.to(states.device)], candidates), last


def _likelihoods(language_model: LanguageModel, prefix: Prefix, states: Tensor, candidates: Sequence[Sequence[int]]) -> Tensor:
    """float32 (C,). states: of all tokens but the last of each candidate. The prefix foretells their first tokens."""
    count, device = len(candidates), language_model.device
    length = torch.tensor([len(one) for one in candidates])
    total, states = torch.zeros(count, device=device), torch.cat([prefix.last[None], states])
    owner = torch.repeat_interleave(torch.arange(count), length)
    target = torch.tensor([token for one in candidates for token in one])
    first = torch.zeros(len(target), dtype=torch.bool)
    first[(length.cumsum(0) - length)[length > 0]] = True
    place = torch.where(first, 0, (~first).cumsum(0))
    total.index_add_(0, owner.to(device), log_probabilities(language_model, states, place, target))
    return total


def last_states(language_model: LanguageModel, prefix: Prefix, segments: Sequence[Sequence[int]]) -> Tensor:
    """The last hidden states (C, d) at the last token of each segment. No segment may be empty."""
    end = torch.tensor([len(one) for one in segments]).cumsum(0) - 1
    return read_segments(language_model, prefix, segments)[end.to(language_model.device)]


def _read(language_model: LanguageModel, cache: _KeysAndValues, first: int, segments: Sequence[Sequence[int]]) -> Tensor:
    """Last hidden states (S, d) of segments side by side in one row, behind the `first` tokens that `cache` holds."""
    device = language_model.device
    tokens = torch.tensor([token for one in segments for token in one], dtype=torch.long, device=device)
    if not len(tokens):
        return torch.zeros(0, language_model.width, dtype=language_model.dtype, device=device)
    position = torch.cat([torch.arange(first, first + len(one)) for one in segments]).to(device)
    owner = torch.repeat_interleave(torch.arange(len(segments)), torch.tensor([len(one) for one in segments])).to(device)
    words = language_model.model.get_input_embeddings()(tokens)
    return _run(language_model, cache, first, words, position, owner)


def _run(
    language_model: LanguageModel, cache: _KeysAndValues, first: int, embeddings: Tensor, position: Tensor, owner: Tensor
) -> Tensor:
    """Last hidden states (S, d) of input embeddings (S, d) behind the `first` tokens that `cache` holds."""
    before = torch.arange(first, device=position.device)
    key = torch.cat([before, position])[None], torch.cat([torch.full_like(before, SHARED), owner])[None]
    found = language_model.model.base_model(
        inputs_embeds=embeddings[None],
        position_ids=position[None],
        attention_mask=packed_masks(language_model, (position[None], owner[None]), key),
        past_key_values=cache,
        use_cache=False,
    )
    return found.last_hidden_state[0]


def _parts(lengths: Sequence[int]) -> Iterator[slice]:
    """Slices of consecutive segments with at most TOKENS tokens each, or with one segment."""
    start, total = 0, 0
    for place, length in enumerate(lengths):
        if place > start and total + length > TOKENS:
            yield slice(start, place)
            start, total = place, 0
        total += length
    if start < len(lengths):
        yield slice(start, len(lengths))
