"""A scene on the parts of a fitted recommender: its item vectors, its index and candidates, and the score of its ranker.

Zero steps are the recommender's own answer. An adapted scene scores the same candidates, and those that its first customers
bring, by a mix of the ranker's score with what these customers said.

Axis convention: `T` tasks, `N` items of the catalogue, `M` items of the scene, `C` candidates, `d` width of item vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.ids import Ids
from llmrec.data.tasks import Tasks
from llmrec.encoder.model import Items
from llmrec.encoder.weights import Weights
from llmrec.index.candidates import Candidates
from llmrec.index.forks import check_process
from llmrec.ranking.two_stage import Over, Retrieval, ranked_candidates
from llmrec.recommender.answer import Answer, Request, answer_everybody
from llmrec.recommender.catalogues import as_new, offering, over_catalogue
from llmrec.recommender.dense import ranked_scores
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.saving import load_state, save_state
from llmrec.recommender.state import State
from llmrec.rules.applied import CatalogueRules
from llmrec.scenes.opening import Scene, bought_before
from llmrec.scenes.readings import read_few, read_ground
from llmrec.scenes.shelf import check_among, evened, times_bought
from llmrec.store import cache_folder, load_json, save_json

RANKER = "ranker"  # the column with the score of the recommender's ranker
RECOMMENDER, SHELF = "recommender", "shelf.json"  # in the folder of a saved scene


@dataclass(frozen=True, eq=False)
class RankedShelf:
    """The items of a scene as a recommender reads them; see `SceneItems` of shelf.py.

    state: the recommender over the scene's catalogue. vectors: float32 (N, d) of unit length, of its projected items. among:
    bool (N,). again: whether what a user had may be recommended again.
    """

    base: ClassVar[tuple[str, ...]] = (RANKER, "map", "lean", "own")
    zero: ClassVar[tuple[str, ...]] = (RANKER,)

    state: State
    vectors: np.ndarray
    among: np.ndarray
    again: bool

    @property
    def items(self) -> np.ndarray:
        """int64 (M,): the scene's items."""
        return np.flatnonzero(self.among)

    def read(self, tasks: Tasks) -> dict[str, np.ndarray]:
        """As `SceneItems.read`. The score orders all items as the recommender's answer does, candidates first."""
        score = chain_scores(self.state, tasks, None, filter_viewed=not self.again, allowed=self.among)
        return {RANKER: score[:, self.items], "own": times_bought(self, tasks)}

    def rough(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """As `SceneItems.rough`."""
        return columns[RANKER]

    def part(self, among: np.ndarray, crowd: bool = True) -> RankedShelf:
        """As `SceneItems.part`."""
        check_among(self, among)
        return replace(self, among=among)

    def as_new(self) -> RankedShelf:
        """The recommender has met none of the scene's items: it knows their texts alone."""
        state = as_new(self.state, self.among)
        return replace(self, state=state, vectors=item_vectors(state.items))

    def offering(self, now: State) -> RankedShelf:
        """The same without what the recommender has hidden or removed since, see `catalogues.offering`."""
        return replace(self, state=offering(self.state, now))

    @property
    def event_types(self) -> tuple[str, ...]:
        """Those that the recommender was fitted with."""
        return self.state.known.first.event_types

    def in_its_terms(self, dataset: Dataset) -> Dataset:
        """See `in_terms_of`."""
        return in_terms_of(self.state, dataset)

    def save(self, folder: Path) -> None:
        """The recommender over the scene's catalogue, without anybody's history, and `again`."""
        save_state(folder / RECOMMENDER, self.state, histories=False)
        save_json(folder / SHELF, {"again": self.again})


def in_terms_of(state: State, dataset: Dataset) -> Dataset:
    """The dataset with a recommender's event types and what they count; a type that it does not know is none."""
    known, kind = state.known.first, dataset.attributes.get("event_type")
    found = replace(dataset, event_types=known.event_types, event_weights=known.event_weights)
    if kind is None:
        return found
    code = {name: number for number, name in enumerate(known.event_types)}
    place = np.array([*(code.get(name, np.nan) for name in dataset.event_types), np.nan], np.float32)
    there = np.where(np.isnan(kind), len(dataset.event_types), kind).astype(np.int64)
    return replace(found, attributes={**dataset.attributes, "event_type": place[there]})


@dataclass(frozen=True)
class SceneRanker:
    """Ranks candidates as an adapted scene does, see `CandidateRanker`. filter_viewed: which pair of the recommender's rankers
    gives the score that the mix begins with."""

    scene: Scene
    shelf: RankedShelf
    filter_viewed: bool

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """float32 (C,)."""
        scene, shelf, state = self.scene, self.shelf, self.shelf.state
        ranker = state.rankers_for(self.filter_viewed).over(state.retrieval.counts, state.adapting.reader())
        columns = read_ground(scene.learned.ground, shelf, tasks) | {"own": times_bought(shelf, tasks)}
        if scene.few is not None:
            columns |= read_few(scene.few, shelf, tasks)
        place = np.searchsorted(shelf.items, candidates.item)
        found = {name: values[candidates.task, place][None] for name, values in columns.items()}
        found[RANKER] = ranker.score(tasks, candidates)[None]
        return scene.score(found, bought_before(columns)[candidates.task].T)[0]


def ranked_shelf(state: State, catalogue: Catalogue, weights: Weights, again: bool) -> RankedShelf:
    """All items of a catalogue as the recommender reads them; one that it does not know has its text, by the same encoder, and
    its attributes alone. A ranker of one's own is left out: its weight was learned on the recommender's known items. Raises
    WeightsError for weights of another text encoder than it was fitted with."""
    state = over_catalogue(state, catalogue, weights, cache_folder())
    state = state if state.reranker is None else replace(state, reranker=None)
    return RankedShelf(state, item_vectors(state.items), np.ones(len(catalogue), bool), again)


def item_vectors(items: Items) -> np.ndarray:
    """float32 (N, d) of unit length: the projected items less their mean, with directions in which they spread evened out."""
    vectors = items.vectors.cpu().numpy()
    return evened(vectors - vectors.mean(0))


def answer_scene(
    scene: Scene,
    known: Dataset,
    asked: Ids,
    k: int,
    filter_viewed: bool,
    allowed: np.ndarray,
    rules: CatalogueRules | None = None,
) -> Answer:
    """The k best items of the scene for each of `asked`, as `Recommender.recommend` finds them; rows in the order of `asked`,
    best first. scene: over a `RankedShelf`. allowed: bool (N,), items of it that may be recommended. rules: over the scene's
    own table of these items.

    What first customers bought, alone and together, is among the candidates, and what most of them bought is offered to users
    without history.
    """
    check_process()
    state, ranker = _heard(scene, filter_viewed)
    request = Request(k, filter_viewed, allowed, ranker=ranker, reranker=scene.reranker, applied=rules)
    found = answer_everybody(state, known, asked, None, request)
    order = np.lexsort((found.rank, found.asker))
    parts = {name: getattr(found, name)[order] for name in ("asker", "item", "score", "rank", "steps")}
    return Answer(**parts, source=[found.source[row] for row in order])


def answered_scores(scene: Scene, tasks: Tasks, filter_viewed: bool) -> np.ndarray:
    """Scores float32 (T, N) that order the scene's items as `answer_scene` does, candidates first. Items of the history and
    outside the scene have a score, too, which the caller must mask."""
    (state, ranker), reranker = _heard(scene, filter_viewed), scene.reranker
    rerank = None if reranker is None else partial(reranker.rerank, filter_viewed=filter_viewed)
    parts = _retrieval(state, filter_viewed), _over(state, ranker, filter_viewed)
    return ranked_scores(state.adapting.reader(), *parts, tasks, state.allowing(scene.shelf.among), rerank)


def scored_candidates(scene: Scene, tasks: Tasks, filter_viewed: bool) -> tuple[Candidates, np.ndarray]:
    """The candidates of a batch of tasks and their scores float32 (C,), as `answer_scene` has them before `scene.ranker`."""
    state, ranker = _heard(scene, filter_viewed)
    parts = _retrieval(state, filter_viewed), _over(state, ranker, filter_viewed)
    return ranked_candidates(state.adapting.reader(), *parts, tasks, state.allowing(scene.shelf.among))[1:]


def _heard(scene: Scene, filter_viewed: bool) -> tuple[State, SceneRanker | None]:
    """The recommender with what first customers said of candidates, and what ranks these; None for its own rankers."""
    shelf = scene.shelf
    assert isinstance(shelf, RankedShelf)
    state, few = shelf.state, scene.few
    if few is None:
        return state, None
    retrieval = state.retrieval
    together = (retrieval.counts.cooccurrence + few.alike).tocsr().astype(np.float32)
    observed = few.bought + (0.0 if retrieval.observed is None else retrieval.observed)
    counts = replace(retrieval.counts, cooccurrence=together)  # for candidates alone: the ranker has its own
    state = state.with_retrieval(replace(retrieval, counts=counts, observed=observed))
    return state, SceneRanker(scene, shelf, filter_viewed)


def _retrieval(state: State, filter_viewed: bool) -> Retrieval:
    return replace(state.retrieval, sources=replace(state.retrieval.sources, repeats=not filter_viewed))


def _over(state: State, ranker: SceneRanker | None, filter_viewed: bool) -> Over:
    return state.rankers_for(filter_viewed).over if ranker is None else lambda counts, read: ranker


def load_shelf(folder: Path, vectors: np.ndarray, among: np.ndarray) -> RankedShelf:
    """The inverse of `RankedShelf.save`."""
    return RankedShelf(load_state(folder / RECOMMENDER, "cpu"), vectors, among, load_json(folder / SHELF)["again"])
