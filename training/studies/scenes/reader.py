"""A small transformer reader over text vectors: one block over a history, which begins as the mean it already was.

Every item is its text vector; no item and no user has a parameter, so that a reader goes from one catalogue to another. Its one
block looks back from the last event with several heads, adds to the history's recency-weighted mean and bends what it found;
all that is added is zero at first, so an untrained reader is the frozen mean. The score of an item is

    warmth * <state, item projection @ vector> + strength * log((bought + few) / few) + own * log(1 + times had)

where `bought` counts the support users of the scene who bought it, which is an item bias in closed form and 0 without users,
and the last term is there only where items come again; otherwise what was had is not ranked.

Axis convention: `T` windows, `L` events of a window, `M` items of the scene, `d` width, `H` heads, `k` numbers of a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, normalize

from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import LoraHook
from llmrec.scenes.histories import FADE
from studies.scenes.room import Room, Windows, windows

LAYERS = ("item", "query", "key", "value", "up", "down")
FADES = (FADE, 0.9, 0.3, 0.99)  # what an event loses per basket back, in each head at first
WARMTH, OWN = 12.0, 5.0
STRENGTH, FEW = 1.5, 1.0


@dataclass(frozen=True)
class Reader:
    """weights: `item` (d, d), `query` and `key` (H k, d), `value` (d, H d), `up` (b, d), `down` (d, b), and the numbers
    `fade` (H,), `warmth` and `own` (), as logs where they are above zero. strength, few: of the item bias."""

    weights: Mapping[str, Tensor]
    strength: float = STRENGTH
    few: float = FEW

    @property
    def width(self) -> int:
        return int(self.weights["item"].shape[0])

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """Linear layers that can be adapted: path -> (d_in, d_out), as `adapters.lora.fresh` takes them."""
        return {name: (self.weights[name].shape[1], self.weights[name].shape[0]) for name in LAYERS}


def begin(width: int, generator: torch.Generator, heads: int = 2, keys: int = 16, bends: int = 128) -> Reader:
    """An untrained reader, which ranks as the frozen mean does."""

    def drawn(rows: int) -> Tensor:
        return torch.randn(rows, width, generator=generator) / width**0.5

    fade = torch.tensor([FADES[head % len(FADES)] for head in range(heads)]).log()
    weights = {
        "item": torch.eye(width),
        "query": drawn(heads * keys),
        "key": torch.zeros(heads * keys, width),
        "value": torch.zeros(width, heads * width),
        "up": drawn(bends),
        "down": torch.zeros(width, bends),
        "fade": fade,
        "warmth": torch.tensor(WARMTH).log(),
        "own": torch.tensor(OWN),
    }
    return Reader(weights)


def states(reader: Reader, vectors: Tensor, asked: Windows, delta: LoraHook | None = None) -> Tensor:
    """(T, d) of unit length, 0 for an empty history; causal, for nothing after the last event is in a window.

    delta: what an adapter adds to the linear layers, as `adapters.lora.delta` makes it.
    """
    weights, rows, deep = reader.weights, len(asked), asked.item.shape[1]
    tokens = vectors[asked.item]
    heads = len(weights["fade"])
    query = _layer(weights, delta, "query", tokens[:, :1]).view(rows, 1, heads, -1)
    key = _layer(weights, delta, "key", tokens).view(rows, deep, heads, -1)
    like = (query * key).sum(-1) * key.shape[-1] ** -0.5 + asked.back[:, :, None] * weights["fade"]
    nothing = torch.finfo(like.dtype).min
    share = like.masked_fill(~asked.there[:, :, None], nothing).softmax(1) * asked.there[:, :, None]
    seen = torch.einsum("tlh,tld->thd", share, tokens)
    mean = torch.einsum("tl,tld->td", torch.where(asked.there, FADE**asked.back, 0.0), tokens)
    found = normalize(normalize(mean, dim=-1) + _layer(weights, delta, "value", seen.reshape(rows, 1, -1))[:, 0], dim=-1)
    bent = _layer(weights, delta, "up", found[:, None]).relu()
    return normalize(found + _layer(weights, delta, "down", bent)[:, 0], dim=-1)


def asking(reader: Reader, found: Tensor, delta: LoraHook | None = None) -> Tensor:
    """(T, d): states with the item projection on their side, for an inner product with the items' own vectors.

    <s, (P + B A) x> = <P' s + A' B' s, x>: no scene needs its own copy of all items to be asked. `item_matrix` makes one.
    """
    eye = torch.eye(reader.width, dtype=found.dtype)
    own = found @ reader.weights["item"]
    # What the adapter does to the unit vectors is A' B', rows of which are needed once, whatever the number of items.
    more = None if delta is None else delta("item", eye[None])
    return own if more is None else own + found @ more[0].T


def item_matrix(reader: Reader, vectors: Tensor, delta: LoraHook | None = None) -> Tensor:
    """(N, d): the items as this scene has them, for an index of its own; <state, row> is the text's part over warmth."""
    found = vectors @ reader.weights["item"].T
    more = None if delta is None else delta("item", vectors[None])
    return found if more is None else found + more[0]


def scores(reader: Reader, room: Room, asked: Windows, delta: LoraHook | None = None, only: Tensor | None = None) -> Tensor:
    """(T, M), or those of the places `only`, ascending: log probabilities up to a constant a row; -inf for what was had where
    nothing comes again. A support user's own purchases are not counted for himself."""
    weights, places = reader.weights, len(room.items)
    found = weights["warmth"].exp() * asking(reader, states(reader, room.vectors, asked, delta), delta)
    column, chosen = None, room.at
    if only is not None:
        chosen = room.at[only]
        column = torch.full((places,), -1)
        column[only] = torch.arange(len(only))
    score = found @ chosen.T
    if room.bought is not None:
        count = torch.from_numpy(room.bought.count)
        bias = reader.strength * torch.log1p(count / reader.few)
        score = score + (bias if only is None else bias[only])
        if asked.taken is not None:
            less = reader.strength * torch.log1p((count - 1).clamp(min=0) / reader.few) - bias
            row, place = asked.taken
            score = _put(score, row, place, less[place], column, add=True)
    row, place, times = asked.own
    if room.world.again:
        return _put(score, row, place, weights["own"] * times, column, add=True)
    return _put(score, row, place, torch.full_like(times, -torch.inf), column, add=False)


def losses(reader: Reader, room: Room, asked: Windows, delta: LoraHook | None = None, only: Tensor | None = None) -> Tensor:
    """(T,): minus log probability of each target among the scene's items, in nats; of `only`, places that hold all targets."""
    score = scores(reader, room, asked, delta, only)
    target = asked.target if only is None else torch.searchsorted(only, asked.target)
    return score.logsumexp(1) - score[torch.arange(len(score)), target]


def gains(reader: Reader, room: Room, asked: Windows, delta: LoraHook | None = None) -> Tensor:
    """(T,): 1 / log2(1 + rank) of each target among all of the scene's items, which is NDCG without an end."""
    score = scores(reader, room, asked, delta)
    rank = (score > score[torch.arange(len(score)), asked.target][:, None]).sum(1) + 1
    return 1 / torch.log2(1.0 + rank)


@dataclass(frozen=True)
class Read:
    """A reader in a scene, with an adapter or without, that can be asked."""

    reader: Reader
    room: Room
    delta: LoraHook | None = None

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); -inf outside the scene."""
        found = np.full((len(tasks), len(self.room.vectors)), -np.inf, np.float32)
        with torch.no_grad():
            found[:, self.room.items] = scores(self.reader, self.room, windows(self.room, tasks), self.delta).numpy()
        return found


def _layer(weights: Mapping[str, Tensor], delta: LoraHook | None, path: str, x: Tensor) -> Tensor:
    found = linear(x, weights[path])
    more = None if delta is None else delta(path, x)
    return found if more is None else found + more


def _put(score: Tensor, row: Tensor, place: Tensor, value: Tensor, column: Tensor | None, add: bool) -> Tensor:
    if column is not None:
        place = column[place]
        there = place >= 0
        row, place, value = row[there], place[there], value[there]
    return score.index_put((row, place), value, accumulate=True) if add else score.index_put((row, place), value)
