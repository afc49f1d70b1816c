"""Text features of a scene's items, available before the first purchase.

Axis convention: `N` items of the catalogue, `M` of them in the scene, `d` width of text vectors, `V` words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.errors import DataError
from llmrec.models.text_match import TextMatch, fit_tfidf

EVENING = 0.3  # how far directions in which a catalogue's texts spread are evened out: 0 not at all, 1 whitened
DECAY = 0.8  # of the history, per basket back, where words are compared
CROWD, SAMPLE = 10.0, 2000  # sharpness of likeness; items that a crowd is measured by


@dataclass(frozen=True)
class Shelf:
    """The items of a scene within their catalogue.

    vectors: float32 (N, d) of unit length. words: likeness of words, over N items. crowd: float32 (N,), log of how many items
    of the scene are like this one. among: bool (N,), the M items of the scene; histories may hold the others too.
    """

    vectors: np.ndarray
    words: TextMatch
    crowd: np.ndarray
    among: np.ndarray

    @property
    def items(self) -> np.ndarray:
        """int64 (M,): the scene's items."""
        return np.flatnonzero(self.among)


def shelve(dataset: Dataset, text: np.ndarray, texts: Sequence[str], among: np.ndarray | None = None) -> Shelf:
    """The shelf of a dataset's catalogue; no event is looked at.

    text: float32 (N, d), centred text vectors of unit length. texts: N, whose words are compared. among: bool (N,), None for
    all. Raises DataError for shapes that do not fit and a scene without items.
    """
    if text.ndim != 2 or len(text) != dataset.n_items:
        raise DataError(f"text: expected {dataset.n_items} vectors, one an item, got shape {text.shape}")
    words = fit_tfidf(dataset, texts, decay=DECAY)
    vectors = evened(text)
    everything = np.ones(len(text), bool)
    return part_of(Shelf(vectors, words, np.zeros(len(text), np.float32), everything), everything if among is None else among)


def part_of(shelf: Shelf, among: np.ndarray) -> Shelf:
    """The same catalogue with a part of its items, bool (N,), as the scene. Raises DataError where it holds none."""
    if among.shape != shelf.among.shape or among.dtype != bool or not among.any():
        raise DataError(f"among: expected bool ({len(shelf.among)},) with at least one item, got {among.dtype} {among.shape}")
    items = np.flatnonzero(among)
    drawn = items[np.linspace(0, len(items) - 1, min(SAMPLE, len(items))).astype(int)]  # the same ones in every run
    crowd = np.log(np.exp(CROWD * (shelf.vectors @ shelf.vectors[drawn].T - 1)).mean(1))
    return Shelf(shelf.vectors, shelf.words, crowd.astype(np.float32), among)


def evened(text: np.ndarray, share: float = EVENING) -> np.ndarray:
    """float32 (N, d) of unit length: what all texts of a catalogue have in common counts less, in the directions as they are
    (ZCA), so that vectors of two catalogues can be compared."""
    spread, turn = np.linalg.eigh((text.T @ text / len(text)).astype(np.float64))
    scale = np.maximum(spread, 1e-5 * spread[-1] + 1e-12) ** (-share / 2)
    found = text @ ((turn * scale) @ turn.T).astype(np.float32)
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)).astype(np.float32)
