"""Items and users that come and go, as pure functions of a state: no training, and what stays is answered as before.

New items are known by texts and attributes alone: the same encoder, template and centring, the projection and the bias of cold
items. They stand behind the others in the catalogue and in the index. What training counted is kept as it is.

Axis convention: `N` items of the catalogue, `n` items that are added or changed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from llmrec.data.attributes import Attributes
from llmrec.data.changes import appended, updated
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.ids import Ids
from llmrec.data.known import OBSERVED
from llmrec.data.user_tables import UserTable
from llmrec.encoder.catalogues import over
from llmrec.encoder.items import item_texts
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.weights import Weights
from llmrec.index.faiss_index import Index, add, build, remove
from llmrec.ranking.catalogues import counts_over, with_likeness, words_over
from llmrec.ranking.statistics import read_words
from llmrec.recommender.catalogues import new_texts, vocabulary_of
from llmrec.recommender.state import State


def with_items(state: State, new: Catalogue, weights: Weights, cache: Path | None, raw: np.ndarray | None = None) -> State:
    """With new items behind the others. raw: float32 (n, d_text), what the text encoder says of them; None encodes their texts.

    Raises WeightsError for weights of another encoder than the recommender was fitted with, SchemaError for a column of another
    type than the catalogue's, TemplateError where the item template needs a column that is not there.
    """
    known, rows = np.arange(len(state.catalogue)), len(state.catalogue) + np.arange(len(new))
    catalogue, before = appended(state.catalogue, new), state.retrieval
    place = np.concatenate([known, np.full(len(new), -1)])
    vectors = new_texts(state, new, np.arange(len(new)), weights, cache, raw)
    model, fresh = _described(state.model, catalogue, vectors, rows)
    items = Items(*(torch.cat(pair) for pair in zip(_parts(state.items), _parts(fresh), strict=True)))
    texts = [""] * len(known) + read_words(new)
    words, vocabulary = words_over(before.counts, vocabulary_of(state), texts, place)
    counts = with_likeness(counts_over(before.counts, place, words), model.text.cpu().numpy(), rows)
    observed = None if before.observed is None else np.append(before.observed, np.zeros(len(new)))
    index = add(before.index, _search_rows(model, fresh), rows)
    changed = replace(
        state,
        model=model,
        items=items,
        retrieval=replace(before, index=index, counts=counts, observed=observed),
        catalogue=catalogue,
        known=state.known.over(catalogue),
        hidden=None if state.hidden is None else np.append(state.hidden, np.zeros(len(new), bool)),
        vocabulary=vocabulary,
    )
    similar = add(state.similarity_index, fresh.unit(), rows) if state.similar_made else None
    return state.next_version(changed, similar)


def with_values(state: State, rows: np.ndarray, values: pa.Table, weights: Weights, cache: Path | None) -> State:
    """With other values in some columns of the items `rows`, int64 (n,), see `updated`. Items whose text changes by that are
    encoded again, and keep what they learned beside their text; those whose attributes change move by these. Raises as
    `with_items`."""
    catalogue, template = updated(state.catalogue, rows, values), state.item_template
    old, new = (_some(each, rows) for each in (state.catalogue, catalogue))
    reworded = rows[_differ(read_words(old), read_words(new))]
    told = _differ(item_texts(old, template), item_texts(new, template))
    counts, vocabulary = state.retrieval.counts, state.vocabulary
    if len(reworded):
        place = np.arange(len(catalogue))
        place[reworded] = -1
        words, vocabulary = words_over(counts, vocabulary_of(state), read_words(catalogue), place)
        counts = replace(counts, words=words)
    retrieval, model, items, similar = replace(state.retrieval, counts=counts), state.model, state.items, None
    changed_texts, at = rows[told], told | _moved(old.attributes, new.attributes)
    if at.any():
        moved = rows[at]
        vectors = model.text.cpu().numpy()[moved]
        if told.any():
            vectors[told[at]] = new_texts(state, new, np.flatnonzero(told), weights, cache)
        model, fresh = _described(model, catalogue, vectors, moved)
        items = Items(*(_put(part, one, moved) for part, one in zip(_parts(items), _parts(fresh), strict=True)))
        counts = with_likeness(counts, model.text.cpu().numpy(), changed_texts[counts.popularity[changed_texts] == 0])
        retrieval = replace(retrieval, index=_replaced(retrieval.index, _search_rows(model, fresh), moved), counts=counts)
        similar = _replaced(state.similarity_index, fresh.unit(), moved) if state.similar_made else None
    known = state.known.over(catalogue)
    changed = replace(
        state, model=model, items=items, retrieval=retrieval, catalogue=catalogue, known=known, vocabulary=vocabulary
    )
    return state.next_version(changed, similar)


def with_hidden(state: State, rows: np.ndarray, hidden: bool) -> State:
    """With the items `rows`, int64, hidden or offered again."""
    mask = np.zeros(len(state.catalogue), bool) if state.hidden is None else state.hidden.copy()
    mask[rows] = hidden
    return state.next_version(replace(state, hidden=mask if mask.any() else None))


def without_items(state: State, rows: np.ndarray) -> State:
    """Without the items `rows`, int64, for everybody who asks. Their rows stay, for the histories that hold them."""
    catalogue = replace(state.catalogue, ids=state.catalogue.ids.without(rows))
    return state.next_version(replace(state, catalogue=catalogue, known=state.known.over(catalogue)))


def without_users(state: State, users: Ids) -> State:
    """Without what is stored of some users: their events, what these were counted for since `fit`, and their attributes."""
    theirs, people = state.known.of(users), state.people
    retrieval = state.retrieval.without(theirs, _observed(state, theirs))
    if people is not None:
        keep = np.flatnonzero(users.find(people.users.values) < 0)
        people = UserTable(people.users.take(keep), people.attributes.take(keep))
    place = state.known.first.users.find(users.values)
    trained = state.trained - int(((place >= 0) & (place < state.trained)).sum())
    changed = replace(state, known=state.known.without(users), retrieval=retrieval, people=people, trained=trained)
    return state.next_version(changed)


def _observed(state: State, theirs: Dataset) -> Dataset:
    """Of the histories of some users the events that were observed: all, of those who were not there in `fit`."""
    place = state.known.first.users.find(theirs.users.values)
    later = (place < 0) | (place >= state.trained)
    flag = theirs.attributes.get(OBSERVED)
    return theirs.keep(later[theirs.user] if flag is None else later[theirs.user] | (flag == 1))


def _some(catalogue: Catalogue, rows: np.ndarray) -> Catalogue:
    """Some of the items, as a catalogue."""
    attributes = None if catalogue.attributes is None else catalogue.attributes.take(rows)
    return Catalogue(catalogue.ids.take(rows), catalogue.table.take(pa.array(rows)), attributes)


def _moved(old: Attributes | None, new: Attributes | None) -> np.ndarray | bool:
    """bool (n,): which of n items have other attributes; False where there are none."""
    if old is None or new is None:
        return False
    same = (old.codes == new.codes) | ~(old.known | new.known)
    return np.asarray(~same.all(1))


def _described(model: SlotModel, catalogue: Catalogue, vectors: np.ndarray, rows: np.ndarray) -> tuple[SlotModel, Items]:
    """The model over a catalogue, with text vectors float32 (n, d_text) for its items `rows`, int64: known ones, or new ones
    behind them. And the item side of these alone."""
    device, n = model.text.device, len(model.text)
    at, place = torch.from_numpy(rows).to(device), np.arange(max(n, int(rows.max()) + 1))
    place[n:] = -1
    text = torch.cat([model.text, model.text.new_zeros(len(place) - n, model.text.shape[1])])
    text[at] = torch.from_numpy(vectors).to(device)
    with torch.no_grad():
        found = over(model, text, place, catalogue.blocks).eval().requires_grad_(False)
        return found, found.items(only=at)


def _parts(items: Items) -> tuple[Tensor, Tensor, Tensor]:
    return items.vectors, items.bias, items.repeat


def _put(values: Tensor, new: Tensor, rows: np.ndarray) -> Tensor:
    return values.index_copy(0, torch.from_numpy(rows).to(values.device), new)


def _search_rows(model: SlotModel, items: Items) -> np.ndarray:
    """Rows of the index of candidates."""
    with torch.no_grad():
        return items.search_matrix(model.temperature).cpu().numpy()


def _replaced(index: Index, vectors: np.ndarray, rows: np.ndarray) -> Index:
    """The index with other vectors for the items `rows`, int64, of the items 0, 1, ..., N - 1 that it holds."""
    if not index.exact and len(rows) < len(index):
        return add(remove(index, rows), vectors, rows)
    every = index.vectors.copy()
    every[rows] = vectors
    return build(every, index.ids, index.settings)


def _differ(old: list[str], new: list[str]) -> np.ndarray:
    return np.array([one != other for one, other in zip(old, new, strict=True)], bool)
