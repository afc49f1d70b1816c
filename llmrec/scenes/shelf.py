"""A scene's items, and what is read of a history before anybody's purchase there is known: here from texts alone.

Axis convention: `T` tasks, `N` items of the catalogue, `M` of them in the scene, `d` width of item vectors, `V` words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.counts import support_counts
from llmrec.models.text_match import TextMatch, fit_tfidf
from llmrec.scenes.histories import means, unit

TEXT = ("mean", "best", "last", "words", "crowd", "map", "lean", "own")
BEST, BEST_FADE = 6, 0.9  # events that are looked at one by one, and what each loses per event back

EVENING = 0.3  # how far directions in which a catalogue's texts spread are evened out: 0 not at all, 1 whitened
DECAY = 0.8  # of the history, per basket back, where words are compared
CROWD, SAMPLE = 10.0, 2000  # sharpness of likeness; items that a crowd is measured by


class SceneItems(Protocol):
    """The items of a scene within their catalogue, and a way to read histories: `Shelf` by texts, `RankedShelf` by a fitted
    recommender."""

    @property
    def vectors(self) -> np.ndarray:
        """float32 (N, d) of unit length."""

    @property
    def among(self) -> np.ndarray:
        """bool (N,): the M items of the scene; histories may hold the others too."""

    @property
    def items(self) -> np.ndarray:
        """int64 (M,): the scene's items."""

    @property
    def base(self) -> tuple[str, ...]:
        """Names of the columns that a scene has before anybody is known, those that known scenes taught among them."""

    @property
    def zero(self) -> tuple[str, ...]:
        """Those of `base` that zero steps rank by."""

    def read(self, tasks: Tasks) -> dict[str, np.ndarray]:
        """The columns of `base` for which known scenes taught nothing, float32 (T, M) each."""

    def rough(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """float32 (T, M): what says of which items a mix should be asked first. columns: those of `base`."""

    def part(self, among: np.ndarray, crowd: bool = True) -> SceneItems:
        """The same catalogue with a part of its items, bool (N,), as the scene. crowd: whether what is measured within a scene
        is measured anew. Raises DataError where it holds none."""

    def as_new(self) -> SceneItems:
        """The scene as it would be met if none of its items had been bought before."""

    @property
    def event_types(self) -> tuple[str, ...]:
        """Names of the event types that histories are read with."""

    def in_its_terms(self, dataset: Dataset) -> Dataset:
        """Events over the catalogue with the codes of `event_types`, and what such events count."""

    def save(self, folder: Path) -> None:
        """Write into the scene's open folder what `vectors` and `among` do not hold, where that is no array."""


@dataclass(frozen=True)
class Shelf:
    """The items of a scene within their catalogue, known by their texts.

    vectors: float32 (N, d) of unit length. words: likeness of words, over N items. crowd: float32 (N,), log of how many items
    of the scene are like this one. among: bool (N,), the M items of the scene; histories may hold the others too.
    """

    base: ClassVar[tuple[str, ...]] = TEXT
    zero: ClassVar[tuple[str, ...]] = TEXT

    vectors: np.ndarray
    words: TextMatch
    crowd: np.ndarray
    among: np.ndarray

    @property
    def items(self) -> np.ndarray:
        """int64 (M,): the scene's items."""
        return np.flatnonzero(self.among)

    def read(self, tasks: Tasks) -> dict[str, np.ndarray]:
        """As `SceneItems.read`; an empty history is 0 throughout."""
        items, at = self.items, self.vectors[self.among]
        mean = means(self.vectors, tasks)
        last = unit(support_counts(tasks, last=1).astype(np.float32) @ self.vectors)
        return {
            "mean": mean @ at.T,
            "best": _best(self.vectors, at, tasks),
            "last": last @ at.T,
            "words": np.log1p(np.maximum(self.words.scores(tasks)[:, items], 0)),
            "crowd": np.broadcast_to(self.crowd[items], (len(tasks), len(items))),
            "own": times_bought(self, tasks),
        }

    def rough(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """As `SceneItems.rough`."""
        return 12 * columns["mean"] + columns["words"] + columns["map"]

    def part(self, among: np.ndarray, crowd: bool = True) -> Shelf:
        """As `SceneItems.part`."""
        return part_of(self, among) if crowd else replace(self, among=among)

    def as_new(self) -> Shelf:
        """Itself: of no purchase anything is known."""
        return self

    @property
    def event_types(self) -> tuple[str, ...]:
        """None: texts are read whatever the type of an event."""
        return ()

    def in_its_terms(self, dataset: Dataset) -> Dataset:
        """The dataset itself."""
        return dataset

    def save(self, folder: Path) -> None:
        """Nothing: all that it holds are arrays."""


def times_bought(shelf: SceneItems, tasks: Tasks) -> np.ndarray:
    """float32 (T, M), the column `own`: log(1 + baskets of the history that hold the item)."""
    return np.log1p(support_counts(tasks)[:, shelf.items].toarray()).astype(np.float32)


def shelve(dataset: Dataset, text: np.ndarray, texts: Sequence[str], among: np.ndarray | None = None) -> Shelf:
    """The shelf of a dataset's catalogue; no event is looked at.

    text: float32 (N, d), centred text vectors of unit length. texts: N, whose words are compared. among: bool (N,), None for
    all. Raises DataError for shapes that do not fit and a scene without items.
    """
    if text.ndim != 2 or len(text) != dataset.n_items:
        raise DataError(f"text: expected {dataset.n_items} vectors, one per item, got shape {text.shape}")
    words = fit_tfidf(dataset, texts, decay=DECAY)
    vectors = evened(text)
    everything = np.ones(len(text), bool)
    return part_of(Shelf(vectors, words, np.zeros(len(text), np.float32), everything), everything if among is None else among)


def part_of(shelf: Shelf, among: np.ndarray) -> Shelf:
    """The same catalogue with a part of its items, bool (N,), as the scene. Raises DataError where it holds none."""
    check_among(shelf, among)
    items = np.flatnonzero(among)
    drawn = items[np.linspace(0, len(items) - 1, min(SAMPLE, len(items))).astype(int)]  # the same ones in every run
    crowd = np.log(np.exp(CROWD * (shelf.vectors @ shelf.vectors[drawn].T - 1)).mean(1))
    return Shelf(shelf.vectors, shelf.words, crowd.astype(np.float32), among)


def check_among(shelf: SceneItems, among: np.ndarray) -> None:
    """Raises DataError unless `among` is bool (N,) and holds an item."""
    if among.shape != shelf.among.shape or among.dtype != bool or not among.any():
        raise DataError(f"among: expected bool ({len(shelf.among)},) with at least one item, got {among.dtype} {among.shape}")


def evened(text: np.ndarray, share: float = EVENING) -> np.ndarray:
    """float32 (N, d) of unit length: what all texts of a catalogue have in common counts less, in the directions as they are
    (ZCA), so that vectors of two catalogues can be compared."""
    spread, turn = np.linalg.eigh((text.T @ text / len(text)).astype(np.float64))
    scale = np.maximum(spread, 1e-5 * spread[-1] + 1e-12) ** (-share / 2)
    found = text @ ((turn * scale) @ turn.T).astype(np.float32)
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def _best(vectors: np.ndarray, at: np.ndarray, tasks: Tasks) -> np.ndarray:
    found = np.zeros((len(tasks), len(at)), np.float32)
    for back in range(BEST):
        event = tasks.split - 1 - back
        there = np.flatnonzero(event >= tasks.start)
        like = np.float32(BEST_FADE**back) * (vectors[tasks.dataset.item[event[there]]] @ at.T)
        found[there] = like if back == 0 else np.maximum(found[there], like)
    return found
