"""A fitted recommender over another catalogue: items that it knows are as they were, and a new one has its text alone.

Axis convention: `N` items of the recommender, `M` items of the other catalogue.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from llmrec.data.dataset import Catalogue, empty_dataset
from llmrec.data.known import KnownUsers
from llmrec.data.user_tables import no_users
from llmrec.encoder.backbone import TextModel, load_text
from llmrec.encoder.catalogues import over
from llmrec.encoder.items import Centring, encode_texts, item_texts
from llmrec.encoder.templates import load_template
from llmrec.encoder.weights import Weights
from llmrec.errors import WeightsError
from llmrec.ranking.catalogues import counts_over, words_over
from llmrec.ranking.statistics import read_words
from llmrec.recommender.pipeline import frozen_items, new_retrieval
from llmrec.recommender.state import State

ALIKE = 0.05  # a text vector that is encoded again may differ by so much in any number, for the number type


def places(state: State, catalogue: Catalogue) -> np.ndarray:
    """int64 (M,): which item of the recommender each is, by id and text, and -1 for one that it does not know. The same id
    under another text is another item: ids of two shops may mean nothing to each other."""
    place = np.array(state.catalogue.ids.find(catalogue.ids.values), np.int64)
    template = load_template(state.settings.item_template)
    mine, theirs = item_texts(state.catalogue, template), item_texts(catalogue, template)
    return np.array([at if at >= 0 and mine[at] == text else -1 for at, text in zip(place, theirs, strict=True)], np.int64)


def over_catalogue(state: State, catalogue: Catalogue, weights: Weights, cache: Path | None) -> State:
    """The recommender over the M items of `catalogue`, without its users; itself where the catalogue is its own.

    weights: of the text encoder that it was fitted with. Raises WeightsError where the texts of its own items come out as other
    vectors by these.
    """
    place = places(state, catalogue)
    if len(place) == len(state.catalogue) and (place == np.arange(len(place))).all():
        return state
    text = state.model.text[torch.from_numpy(np.maximum(place, 0)).to(state.model.text.device)].clone()
    if (place < 0).any():
        new = np.flatnonzero(place < 0)
        text[torch.from_numpy(new).to(text.device)] = torch.from_numpy(_new_texts(state, catalogue, new, weights, cache)).to(
            text.device
        )
    words = words_over(state.retrieval.counts, read_words(state.catalogue), read_words(catalogue), place)
    return _placed(state, catalogue, text, words, place)


def as_new(state: State, items: np.ndarray) -> State:
    """The recommender as if it had met none of `items`, bool (N,), in any event: of these it knows the text alone."""
    place = np.where(items, -1, np.arange(len(items)))
    return _placed(state, state.catalogue, state.model.text, state.retrieval.counts.words, place)


def _placed(state: State, catalogue: Catalogue, text: torch.Tensor, words: sparse.csr_array, place: np.ndarray) -> State:
    """The state over a catalogue with text vectors float32 (M, d_text) and words csr (M, V); place: as of `places`."""
    with torch.no_grad():
        model = over(state.model, text, place).eval().requires_grad_(False)
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
    )


def text_encoder(state: State, weights: Weights, cache: Path | None) -> tuple[TextModel, Centring]:
    """The text encoder that a recommender was fitted with, and what takes its texts' vectors into the recommender's space.

    Raises WeightsError where the texts of its own items come out as other vectors by these weights.
    """
    template, text_model = load_template(state.settings.item_template), load_text(weights, state.settings.device)
    mine = encode_texts(text_model, item_texts(state.catalogue, template), cache)
    known, centre = state.model.text.cpu().numpy(), Centring(mine.mean(0))
    if mine.shape[1] != known.shape[1] or np.abs(centre(mine) - known).max() > ALIKE:
        raise WeightsError(
            f"weights: expected the text encoder that the recommender was fitted with, got {weights.location!r}, which makes "
            "other vectors of its items; pass the one it was fitted with as weights"
        )
    return text_model, centre


def _new_texts(state: State, catalogue: Catalogue, new: np.ndarray, weights: Weights, cache: Path | None) -> np.ndarray:
    """Text vectors float32 (len(new), d_text) of new items, in the space of the recommender's own."""
    text_model, centre = text_encoder(state, weights, cache)
    texts = item_texts(catalogue, load_template(state.settings.item_template))
    return centre(encode_texts(text_model, [texts[item] for item in new], cache))
