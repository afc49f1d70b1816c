"""The slot model: items and users in one space.

Axis convention: `N` items, `T` prompts, `L` slots, `W` words of the template before the slots, `d` width of the transformer,
`F` slot attributes.

    item vector   v_i = project(text_i) + attributes of the item (likewise) + delta_i
                                                             (delta_i starts at zero; none for an item never trained on)
    last word     w_W = word + attributes of the user (where the model was made with them)
    item slot     e   = gain * v_i + attributes of the event + date + kind of event + context of the next basket (likewise)
    user vector   u   = last hidden state at the last slot of  [w_1, ..., w_W, e_1, ..., e_L]  (w_W without slots)
    score             = temperature * <u, v_i> + bias_i + repeat_i * log(1 + times in the prompt) + again * (in the last basket)

The first two terms are one inner product, which the index serves; the repeat terms touch only the user's own items.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from llmrec.encoder.backbone import Backbone
from llmrec.encoder.dates import DATE_FEATURES, KNOTS, date_features
from llmrec.encoder.slots import SLOT_ATTRIBUTES, Readouts, Slots
from llmrec.encoder.softmax import catalogue_loss

MOST_COMPARED = 50_000  # items of the largest catalogue that a loss is a full softmax over
SAMPLE = 8_192  # items that stand for a larger one
HIDE_CONTEXT = 0.3  # share of the places at which training hides the context
HIDE_ITEM = 0.2  # share of the items whose attributes a step of training hides
ITEM_LENGTH = 0.3  # of what attributes first add to an item vector, where its text has length 1
TIMES_BEFORE = SLOT_ATTRIBUTES.index("times_before")


@dataclass(frozen=True)
class Items:
    """The item side of a model over one catalogue, as tensors.

    vectors: (N, d), what a slot is filled with and what a user vector is multiplied by.
    bias: (N,), what an item scores before anything is known of the user.
    repeat: (N,), what having had it before adds.
    """

    vectors: Tensor
    bias: Tensor
    repeat: Tensor

    def rows(self, rows: np.ndarray | None = None) -> np.ndarray:
        """float32 (n, d): the vectors of some items, int64 (n,); None for all."""
        some = self.vectors if rows is None else self.vectors[torch.from_numpy(rows).to(self.vectors.device)]
        return some.cpu().numpy()

    def unit(self, rows: np.ndarray | None = None) -> np.ndarray:
        """As `rows`, with vectors of length 1."""
        found = self.rows(rows)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def every(self, stride: int) -> Items:
        """Every `stride`-th item of the catalogue, beginning with the first."""
        return Items(*(part[::stride].contiguous() for part in (self.vectors, self.bias, self.repeat)))

    @cached_property
    def compared(self) -> tuple[int, Items]:
        """A stride, and the items that the targets of a support loss are compared with: all of a catalogue of up to
        MOST_COMPARED items (a stride of 1), and of a larger one every `stride`-th, so that a gradient step takes no longer
        the larger the catalogue is."""
        stride = 1 if len(self.bias) <= MOST_COMPARED else -(-len(self.bias) // SAMPLE)
        return stride, self if stride == 1 else self.every(stride)

    def search_matrix(self, temperature: Tensor) -> Tensor:
        """(N, d + 1): `<[u, 1], row>` is the score, so that one inner-product index serves it."""
        return torch.cat([self.vectors * temperature, self.bias[:, None]], 1)


class SlotModel(nn.Module):
    """See the module's docstring.

    body: causal transformer of width d.
    prefix_ids: int64 (W,), token ids of the template before the slots.
    text: float32 (N, d_text), frozen text vectors of the catalogue, centred and of unit length.
    popularity: float32 (N,), events of each item in the training part, by their sample weights; 0 for an item never seen.
    time_quantiles: float64 (KNOTS,), quantiles of the training events' times, by which a slot's date is told; None for one
        time.
    n_event_types: number of event types.
    n_user_attributes: floats of a user's attributes, see `Encoding.width`; 0 for a model without.
    n_context: floats of the context of a request, likewise.
    item_blocks: float32 (N, W + B), attributes of the items, see `Attributes.blocks`; None for a model without. They are not
        among the weights: the catalogue has them.
    """

    prefix_ids: Tensor
    text: Tensor
    trained: Tensor
    cold_bias: Tensor
    time_quantiles: Tensor
    item_blocks: Tensor | None
    user_attributes: nn.Linear | None
    context: nn.Linear | None
    item_attributes: nn.Linear | None

    def __init__(
        self,
        body: Backbone,
        prefix_ids: Tensor,
        text: Tensor,
        popularity: Tensor,
        time_quantiles: Tensor | None = None,
        n_event_types: int = 0,
        n_user_attributes: int = 0,
        n_context: int = 0,
        item_blocks: Tensor | None = None,
    ):
        super().__init__()
        n, d_text = text.shape
        self.body = body
        self.register_buffer("prefix_ids", prefix_ids)
        self.register_buffer("text", text)
        self.register_buffer("trained", popularity > 0)
        self.project = nn.Linear(d_text, body.width, bias=False)
        # As it is, where text and transformer are equally wide; otherwise turned, so that distances are kept.
        (nn.init.eye_ if d_text == body.width else nn.init.orthogonal_)(self.project.weight)
        self.id_embedding = nn.Parameter(torch.zeros(n, body.width))
        self.bias = nn.Parameter(torch.log(popularity.clamp(min=0.5) / popularity.sum().clamp(min=1.0)) + np.log(n))
        # A new item is taken for a middling one: what it will sell is for the scene's support to say.
        self.register_buffer("cold_bias", self.bias.detach().median())
        self.attributes = nn.Linear(len(SLOT_ATTRIBUTES), body.width, bias=False)
        nn.init.normal_(self.attributes.weight, std=0.005)
        self.register_buffer(
            "time_quantiles", torch.zeros(KNOTS, dtype=torch.float64) if time_quantiles is None else time_quantiles
        )
        self.dates = nn.Linear(DATE_FEATURES, body.width, bias=False)
        nn.init.normal_(self.dates.weight, std=0.005)
        self.event_type = nn.Embedding(1 + n_event_types, body.width)  # the first for a type unknown
        nn.init.zeros_(self.event_type.weight)
        # A slot arrives as long as a word does, or the transformer's first layer norm drowns it or is drowned by it.
        table = body.model.get_input_embeddings().weight
        self.slot_scale = nn.Parameter(table.detach().norm(dim=1).mean())
        # Small at first: a random user vector must not drown the popularities.
        self.temperature = nn.Parameter(torch.tensor(0.1))
        self.repeat = nn.Parameter(torch.tensor(1.0))
        self.repeat_delta = nn.Parameter(torch.zeros(n))
        self.last_basket_bias = nn.Parameter(torch.tensor(0.0))
        self.user_attributes = None
        if n_user_attributes:
            self.user_attributes = nn.Linear(n_user_attributes, body.width)
            nn.init.normal_(self.user_attributes.weight, std=0.005)
            nn.init.zeros_(self.user_attributes.bias)
        self.context = None
        if n_context:
            self.context = nn.Linear(n_context, body.width, bias=False)
            nn.init.normal_(self.context.weight, std=0.005)
        self.register_buffer("item_blocks", item_blocks, persistent=False)
        self.item_attributes = None
        if item_blocks is not None:
            self.item_attributes = nn.Linear(item_blocks.shape[1], body.width, bias=False)
            size = item_blocks.square().sum(1).mean().clamp(min=1.0).item()
            # Not zero: user vectors learn to tell attributes apart once item vectors do, and these once user vectors do.
            nn.init.normal_(self.item_attributes.weight, std=ITEM_LENGTH / (size * body.width) ** 0.5)

    def multiplications(self, prompts: int, max_slots: int) -> float:
        """Multiplications that stand for the size of a step over so many prompts of `max_slots` slots: the largest of the
        products with a (width, width) weight, with the catalogue, and of the catalogue's texts."""
        tokens, (n, d_text), width = prompts * (len(self.prefix_ids) + max_slots), self.text.shape, self.body.width
        return float(width) * max(tokens * max(width, n), n * d_text)

    def items(self, text_only: Tensor | None = None, cold: Tensor | None = None, only: Tensor | slice = slice(None)) -> Items:
        """Items of the catalogue.

        text_only: bool (N,), items whose vectors are to come from their text alone (dropped in training), on top of those that
            were never trained on, which have no popularity either. cold: bool (N,), items that count as never trained on.
        only: int64 (n,), some of the items; all without it.
        """
        trained = (self.trained if cold is None else self.trained & ~cold)[only]
        known = trained if text_only is None else trained & ~text_only[only]
        vectors = self.project(self.text[only]) + self.id_embedding[only] * known[:, None]
        if self.item_attributes is not None and self.item_blocks is not None:
            blocks = self.item_blocks[only]
            if self.training:  # an item may come without
                blocks = blocks * (torch.rand(len(blocks), 1, device=blocks.device) >= HIDE_ITEM)
            vectors = vectors + self.item_attributes(blocks)
        bias = torch.where(trained, self.bias[only], self.cold_bias)
        return Items(vectors, bias, self.repeat + self.repeat_delta[only] * trained)

    def prompt(self, items: Items, batch: Slots) -> Tensor:
        """Input embeddings (T, W + L, d) of a batch of prompts."""
        filled = items.vectors[self._tensor(batch.item)] * self.slot_scale + self.attributes(self._tensor(batch.attributes))
        filled = filled + self.dates(date_features(self._tensor(batch.time), self.time_quantiles))
        kind = self._tensor(batch.kind)
        filled = filled + self.event_type(
            kind * (kind < self.event_type.num_embeddings)
        )  # a type that training never met is unknown
        words = self.body.words(self.prefix_ids).expand(len(filled), -1, -1)
        if self.user_attributes is not None:
            given = batch.user_attributes
            if given is None:
                given = np.zeros((len(batch), self.user_attributes.in_features), np.float32)
            words = torch.cat([words[:, :-1], words[:, -1:] + self.user_attributes(self._tensor(given))[:, None]], 1)
        found = torch.cat([words, filled], 1)
        if self.context is not None and batch.context is not None:
            context = self._tensor(batch.context)
            if self.training:  # a request may come without
                context = context * (torch.rand(*context.shape[:2], 1, device=context.device) >= HIDE_CONTEXT)
            before = len(self.prefix_ids) - 1
            found = torch.cat([found[:, :before], found[:, before:] + self.context(context)], 1)
        return found

    def logits(self, users: Tensor, items: Items) -> Tensor:
        """Scores (..., N) of every item for user vectors (..., d), without the repeat terms."""
        return (self.temperature * users @ items.vectors.T).float() + items.bias

    def logits_at(self, users: Tensor, items: Items, task: Tensor, item: Tensor) -> Tensor:
        """Scores (C,) of pairs of a user vector, row `task` (C,) of (T, d), and an item (C,): `logits` at those places alone.

        Each pair is summed by itself, so that its score is the same whatever stands beside it. Takes no gradients.
        """
        # By `index_select` and in place, which is four times as fast as plain indexing here.
        products = items.vectors.index_select(0, item).mul_((self.temperature * users).index_select(0, task))
        return products.sum(1).float() + items.bias[item]

    def repeats(self, items: Items, batch: Slots, task: np.ndarray, slot: np.ndarray) -> tuple[Tensor, Tensor]:
        """The repeat terms of M readouts as (item (M, L), value (M, L)): what to add to the scores of which items.

        task, slot: int64 (M,), where the predictions are made; slots after `slot` add nothing, nor do events that count 0.
        """
        before = np.expm1(batch.attributes[..., TIMES_BEFORE])
        gain = np.log((before + 2.0) / (before + 1.0))[task]  # sums to log(1 + times) over the slots of one item
        index, place = batch.item[task], np.arange(batch.item.shape[1])[None]
        live = (place <= slot[:, None]) & batch.filled[task]
        if batch.counting is not None:
            live &= batch.counting[task]
        # Of an item that stands twice in the last basket only the first slot there adds `last_basket_bias`.
        last = live & (batch.basket[task] == batch.basket[task, slot][:, None]) & ~batch.doubled[task]
        value = self._tensor((gain * live).astype(np.float32)) * items.repeat[self._tensor(index)]
        return self._tensor(index), value + self._tensor(last.astype(np.float32)) * self.last_basket_bias

    def scores(self, states: Tensor, items: Items, batch: Slots, task: np.ndarray, slot: np.ndarray) -> Tensor:
        """All terms of the score (M, N) at readouts, from last hidden states (T, W + L, d)."""
        users = states[self._tensor(task), len(self.prefix_ids) + self._tensor(slot)]
        index, value = self.repeats(items, batch, task, slot)
        return self.logits(users, items).scatter_add(1, index, value)

    def loss(self, states: Tensor, items: Items, batch: Slots, reads: Readouts, dtype: torch.dtype = torch.float32) -> Tensor:
        """Scalar: mean over the readouts of the full-softmax loss of `scores`; the matrix of all scores is never held.

        dtype: of the matrix products. The gradient is exact, but can be taken only once.
        """
        users = states[self._tensor(reads.task), len(self.prefix_ids) + self._tensor(reads.slot)].float() * self.temperature
        extra = self.repeats(items, batch, reads.task, reads.slot)
        target, owner = self._tensor(reads.target), self._tensor(reads.owner)
        weight = None if reads.weight is None else self._tensor(reads.weight)
        return catalogue_loss(users, items.vectors, target, owner, items.bias, extra, dtype, weight)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.id_embedding.device)
