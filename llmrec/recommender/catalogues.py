"""A fitted recommender over another catalogue: items that it knows are as they were, a new one has text and attributes alone.

Axis convention: `N` items of the recommender, `M` items of the other catalogue.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse

from llmrec.data.dataset import Catalogue, empty_dataset
from llmrec.data.ids import Ids
from llmrec.data.item_attributes import over_items
from llmrec.data.known import KnownUsers
from llmrec.data.user_tables import no_users
from llmrec.encoder.backbone import TextModel, load_text
from llmrec.encoder.catalogues import over
from llmrec.encoder.items import Centring, encode_texts, item_texts
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError, WeightsError
from llmrec.models.text_match import Vocabulary, vocabulary
from llmrec.ranking.catalogues import counts_over, words_over
from llmrec.ranking.statistics import read_words
from llmrec.recommender.pipeline import frozen_items, new_retrieval
from llmrec.recommender.state import State

ALIKE = 0.05  # a text vector that is encoded again may differ by so much in any number, for the number type
NEAR = 1e-4  # of its length: how near to the mean a text vector may lie before rounding hides its direction
SAMPLE = 64  # known items that are encoded again, to find what texts were centred by


def places(state: State, catalogue: Catalogue) -> np.ndarray:
    """int64 (M,): which item of the recommender each is, by id and text, and -1 for one that it does not know. The same id
    under another text is another item: ids of two shops may mean nothing to each other. A removed item is known here."""
    place = np.array(Ids(state.catalogue.ids.values).find(catalogue.ids.values), np.int64)
    template = state.item_template
    mine, theirs = item_texts(state.catalogue, template), item_texts(catalogue, template)
    return np.array([at if at >= 0 and mine[at] == text else -1 for at, text in zip(place, theirs, strict=True)], np.int64)


def over_catalogue(state: State, catalogue: Catalogue, weights: Weights, cache: Path | None) -> State:
    """The recommender over the M items of `catalogue`, without its users; itself where the catalogue is its own. Items that are
    hidden or removed there are hidden here.

    weights: of the text encoder that it was fitted with. Raises WeightsError where the texts of its own items come out as other
    vectors by these.
    """
    place = places(state, catalogue)
    if len(place) == len(state.catalogue) and (place == np.arange(len(place))).all():
        return state
    text = state.model.text[torch.from_numpy(np.maximum(place, 0)).to(state.model.text.device)].clone()
    if (place < 0).any():
        new = np.flatnonzero(place < 0)
        vectors = new_texts(state, catalogue, new, weights, cache)
        text[torch.from_numpy(new).to(text.device)] = torch.from_numpy(vectors).to(text.device)
    catalogue = over_items(state.catalogue, catalogue, place)
    words, vocabulary = words_over(state.retrieval.counts, vocabulary_of(state), read_words(catalogue), place)
    return replace(_placed(state, catalogue, text, words, place), hidden=_hidden(state, place), vocabulary=vocabulary)


def offering(state: State, now: State) -> State:
    """A state that was made out of an earlier version of the recommender `now`, over its catalogue or another, with the items
    hidden that are hidden or removed now; itself where these are the same."""
    before, after = state.catalogue.ids.values, now.catalogue.ids.values
    place = np.arange(len(before)) if before == after[: len(before)] else places(now, state.catalogue)
    hidden = _hidden(now, place)
    old, new = (np.zeros(len(before), bool) if mask is None else mask for mask in (state.hidden, hidden))
    return state if (old == new).all() else replace(state, hidden=hidden)


def _hidden(state: State, place: np.ndarray) -> np.ndarray | None:
    """bool (M,), which of the items at `place`, int64 (M,), -1 for others, are hidden or removed; None for none."""
    return None if state.offered is None else (place >= 0) & ~state.offered[np.maximum(place, 0)]


def as_new(state: State, items: np.ndarray) -> State:
    """The recommender as if it had met none of `items`, bool (N,), in any event: of these it knows the description alone."""
    place = np.where(items, -1, np.arange(len(items)))
    return _placed(state, state.catalogue, state.model.text, state.retrieval.counts.words, place)


def _placed(state: State, catalogue: Catalogue, text: torch.Tensor, words: sparse.csr_array, place: np.ndarray) -> State:
    """The state over a catalogue with text vectors float32 (M, d_text) and words csr (M, V); place: as of `places`."""
    with torch.no_grad():
        model = over(state.model, text, place, catalogue.blocks).eval().requires_grad_(False)
    items, counts, observed = frozen_items(model), counts_over(state.retrieval.counts, place, words), state.retrieval.observed
    retrieval = new_retrieval(model, items, counts, state.settings)
    if observed is not None:
        retrieval = replace(retrieval, observed=np.where(place >= 0, observed[np.maximum(place, 0)], 0.0))
    first = state.known.first
    nobody = empty_dataset(catalogue, first.event_types, first.scenes, first.event_weights, first.context)
    return replace(
        state,
        model=model,
        items=items,
        retrieval=retrieval,
        catalogue=catalogue,
        known=KnownUsers((nobody,)),
        people=None if state.people is None else no_users(state.people.encoding),
        trained=0,
        signed=None,  # its items are those of the catalogue before
    )


def vocabulary_of(state: State) -> Vocabulary:
    """The columns of `ItemStatistics.words`."""
    return vocabulary(read_words(state.catalogue)) if state.vocabulary is None else state.vocabulary


def text_encoder(state: State, weights: Weights, cache: Path | None) -> tuple[TextModel, Centring]:
    """The text encoder that the recommender was fitted with, and what takes its vectors into the recommender's space. Raises
    WeightsError where `weights` are of another one, DataError where known texts are too much alike to find the latter."""
    text_model = load_text(weights, state.settings.device)
    return text_model, _centring(state, text_model, weights, cache)


def new_texts(
    state: State,
    catalogue: Catalogue,
    new: np.ndarray,
    weights: Weights,
    cache: Path | None,
    raw: np.ndarray | None = None,
) -> np.ndarray:
    """Text vectors float32 (len(new), d_text) of the items `new`, int64, of a catalogue, in the space of the recommender's own.

    raw: float32 (len(new), d_text), what the encoder says of their texts, where that is known. Raises as `text_encoder`.
    """
    text_model, centre = text_encoder(state, weights, cache)
    if raw is None:
        texts = item_texts(catalogue, state.item_template)
        raw = encode_texts(text_model, [texts[item] for item in new], cache)
    return centre(raw)


def _centring(state: State, text_model: TextModel, weights: Weights, cache: Path | None) -> Centring:
    """What the recommender's texts were centred by, found from some of its items.

    An item's vector c is (r - m) / |r - m|, where r is what the encoder says and m the mean that was taken off. So r = m + s c
    with a length s for each item, and of SAMPLE items m and all s follow by least squares. Raises WeightsError for weights of
    another encoder, DataError where the items' texts are too much alike to tell.
    """
    known = np.flatnonzero(state.model.trained.cpu().numpy())
    known = known if len(known) else np.arange(len(state.catalogue))
    some = known[np.linspace(0, len(known) - 1, min(SAMPLE, len(known))).astype(int)]
    part = Catalogue(state.catalogue.ids.take(some), state.catalogue.table.take(pa.array(some)))
    raw = encode_texts(text_model, item_texts(part, state.item_template), cache)
    unit = state.model.text.cpu().numpy()[some]
    if raw.shape[1] == unit.shape[1]:
        c, r = unit.astype(np.float64), raw.astype(np.float64)
        normal = np.diag((c * c).sum(1)) - c @ c.T / len(c)
        length = np.linalg.lstsq(normal, (c * (r - r.mean(0))).sum(1), rcond=1e-10)[0]
        centre = Centring((r - length[:, None] * c).mean(0).astype(np.float32))
        other = np.abs(centre(raw) - unit).max(1) > ALIKE
        if not other.any():
            return centre
        near = np.linalg.norm(raw - centre.mean, axis=1) <= NEAR * np.linalg.norm(raw, axis=1)
        if near[other].all() and np.ptp(unit[other], axis=0).max() <= ALIKE:  # alike by these weights, and in the fit
            raise DataError(
                f"items: expected texts that differ, got {int(other.sum()):,} of {len(other):,} known ones that the text "
                "encoder hardly tells from their mean, so that the mean they were centred by, which new texts need, cannot be "
                "found; fit again with titles that tell the items apart"
            )
    raise WeightsError(
        f"weights: expected the text encoder that the recommender was fitted with, got {weights.location!r}, which makes other "
        "vectors of its items; pass the one it was fitted with as weights. For a recommender that was loaded say "
        "recommender.weights = Weights.folder(path) first"
    )
