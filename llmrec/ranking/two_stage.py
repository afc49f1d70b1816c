"""Two-stage recommendation: from user vectors to scored candidates, for a batch of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.encoder.users import Read, Reading
from llmrec.index.candidates import POPULAR, TEXT, TOGETHER, Candidates, Sources, by_popularity, candidates
from llmrec.index.faiss_index import Index
from llmrec.models.counts import support_counts
from llmrec.ranking.features import text_similarity
from llmrec.ranking.first_buyers import ALIKE, ColdWeights, best_of, bought_by_the_same, nobody_yet, with_events, without_users
from llmrec.ranking.ranker import Ranker, Ranking
from llmrec.ranking.rankers import (
    BlendRanker,
    CandidateRanker,
    CountsRanker,
    TransformerRanker,
    already_read,
    checked_scores,
)
from llmrec.ranking.statistics import ItemStatistics, with_baskets

NOISE = 1e-9  # rounding of a count to which weights were added and subtracted


@dataclass(frozen=True)
class Retrieval:
    """What candidates are taken from.

    index: over `Items.search_matrix`, see `search_queries`. counts: of training users. sources: how many candidates each source
    brings. observed: float64 (N,), baskets observed since that hold the item, by their weights; None for none.
    """

    index: Index
    counts: ItemStatistics
    sources: Sources
    observed: np.ndarray | None = None

    @cached_property
    def popularity(self) -> np.ndarray:
        """float32 (N,), as `ItemStatistics.popularity`, of training users and of what was observed since: for candidates and
        the fallback. Features of warm items read what `fit` counted alone, as the rankers did in training."""
        fitted = self.counts.popularity
        return fitted if self.observed is None else (fitted + self.observed).astype(np.float32)

    @cached_property
    def popularity_order(self) -> np.ndarray:
        """int64 (N,): all items, the most popular first; sorted once, not in every answer."""
        return by_popularity(self.popularity)

    @cached_property
    def popular(self) -> np.ndarray:
        """int64 (P,): the beginning of `popularity_order`, items that somebody took."""
        return self.popularity_order[: np.count_nonzero(self.popularity > 0)]

    @property
    def as_fitted(self) -> Retrieval:
        """Without the events that were observed, and without the counts of who skipped a cold item, in `fit` too."""
        known = self.counts.buyers
        counts = self.counts if known is None else replace(self.counts, buyers=nobody_yet(known.cold, known.since))
        return replace(self, counts=counts, observed=None)

    def after(self, before: Dataset, now: Dataset, fresh: Dataset) -> Retrieval:
        """With the events `fresh`; before, now: the histories of their users without and with them."""
        known, counts = self.counts.buyers, self.counts
        if known is not None:
            counts = replace(counts, buyers=with_events(known, before, now, fresh))
        observed = np.zeros(fresh.n_items) if self.observed is None else self.observed
        return replace(self, counts=counts, observed=with_baskets(observed, fresh))

    def without(self, theirs: Dataset, observed: Dataset) -> Retrieval:
        """Without the events of some users. theirs: their histories. observed: of these the events that were observed."""
        known, counts, left = self.counts.buyers, self.counts, self.observed
        if known is not None:
            counts = replace(counts, buyers=without_users(known, theirs, observed))
        if left is not None:
            left = left - with_baskets(np.zeros(theirs.n_items), observed)
            left = np.where(left > NOISE, left, 0.0)
        return replace(self, counts=counts, observed=left)


def search_queries(vectors: np.ndarray) -> np.ndarray:
    """Queries float32 (T, d + 1) of `Retrieval.index` from user vectors (T, d): the inner product with an item's row is the
    transformer's score of the item without the repeat terms."""
    return np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], 1)


def retrieve(
    retrieval: Retrieval,
    tasks: Tasks,
    vectors: np.ndarray,
    sources: Sources,
    allowed: np.ndarray | None,
    barred: sparse.csr_array | None = None,
) -> Candidates:
    """Candidates of T tasks from user vectors (T, d); `allowed` is bool (N,) or None for all items, `barred` bool (T, N), what
    single tasks must not get."""
    query, counts, support = search_queries(vectors), retrieval.counts, support_counts(tasks)
    dislikes = not sources.repeats and tasks.counted is not tasks
    seen = support_counts(tasks, every=True) if dislikes else None  # not offered again either
    more = _cold_items(counts, tasks, sources)
    return candidates(
        query, retrieval.index, support, counts.cooccurrence, retrieval.popular, sources, allowed, seen, more, barred
    )


def _cold_items(counts: ItemStatistics, tasks: Tasks, sources: Sources) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Cold items with first buyers, recent sales or similar texts, as candidates: source, tasks, items."""
    buyers, found = counts.buyers, []
    if buyers is not None and sources.knn_k:
        found.append((TOGETHER, *bought_by_the_same(buyers, counts.popularity, tasks, sources.knn_k)))
    if buyers is not None and sources.popular_k:
        best = buyers.most_recent[: sources.popular_k]
        found.append((POPULAR, np.repeat(np.arange(len(tasks)), len(best)), np.tile(best, len(tasks))))
    if buyers is not None and sources.text_k and counts.text_knn.nnz:
        alike = text_similarity(tasks, counts).tocoo()
        found.append((TEXT, *best_of(alike.row, alike.col, alike.data, min(sources.text_k, ALIKE))))
    return found


def retrieve_by_attributes(
    retrieval: Retrieval,
    tasks: Tasks,
    vectors: np.ndarray,
    allowed: np.ndarray | None,
    barred: sparse.csr_array | None = None,
) -> Candidates:
    """Candidates of T tasks without support, by user vectors (T, d), by popularity, and by popularity in each of the user's
    groups; `allowed` and `barred` as in `retrieve`."""
    groups, attributes = retrieval.counts.groups, tasks.user_attributes
    here = None if groups is None or attributes is None else groups.candidates(attributes, retrieval.sources.popular_k)
    nothing = sparse.csr_array((len(tasks), tasks.dataset.n_items), dtype=np.float32)
    sources = replace(retrieval.sources, knn_k=0)
    query, more = search_queries(vectors), [] if here is None else [(POPULAR, *here)]
    return candidates(query, retrieval.index, nothing, None, retrieval.popular, sources, allowed, None, more, barred)


@dataclass(frozen=True)
class Rankers:
    """Two small rankers, one after the other, and the weights of first buyers of cold items.

    counts: over what a dot product does not see; learned from the training users, each half with the counts of the other half.
    blend: over the first one's score and the transformer's; learned from events that the base was not trained on, because on
        its own training events the transformer is better than it will be on new ones, and would be trusted too much.
    blend_features: names from FEATURES and FOR_BLEND that the blend reads as well.
    cold: weights of first buyers in the score of a cold item; None where they were not learned.
    """

    counts: Ranker
    blend: Ranker
    blend_features: tuple[str, ...] = ()
    cold: ColdWeights | None = None

    def over(self, counts: ItemStatistics, read: Read) -> BlendRanker:
        """The ranker that answers are ranked by: both, with item statistics and a way to read histories."""
        parts = CountsRanker(self.counts, counts), TransformerRanker(read), self.blend_features
        return BlendRanker(self.blend, *parts, self.cold)


Over = Callable[[ItemStatistics, Read], CandidateRanker]
"""Item statistics and a way to read -> a ranker, such as `Rankers.over`."""


def ranked_candidates(
    read: Read, retrieval: Retrieval, over: Over, tasks: Tasks, allowed: np.ndarray | None = None
) -> tuple[Reading, Candidates, np.ndarray]:
    """What is read of a batch of tasks, their candidates, and the scores float32 (C,) of these; arguments as in `retrieve`."""
    reading = read(tasks)
    found = retrieve(retrieval, tasks, reading.vectors, retrieval.sources, allowed)
    return reading, found, checked_scores(over(retrieval.counts, already_read(tasks, reading)), tasks, found)


def ranking(tasks: Tasks, found: Candidates, inputs: np.ndarray) -> Ranking:
    """What a ranker learns from: the candidates of T tasks, and which of them are in the queries."""
    width = int(np.diff(found.start).max(initial=1))
    column = np.arange(len(found.item)) - np.repeat(found.start[:-1], np.diff(found.start))
    padded = np.zeros((len(tasks), width, inputs.shape[1]), np.float32)
    filled = np.zeros((len(tasks), width), bool)
    padded[found.task, column], filled[found.task, column] = inputs, True
    n = tasks.dataset.n_items
    wanted = np.concatenate([t * n + items.astype(np.int64) for t, items in enumerate(tasks.relevant())])
    right = np.isin(found.task.astype(np.int64) * n + found.item, wanted)
    return Ranking(padded, filled, column[right], found.task[right].astype(np.int64))


def concatenate_rankings(parts: Sequence[Ranking]) -> Ranking:
    """Several rankings over the same inputs as one."""
    width = max(part.filled.shape[1] for part in parts)
    padded = [np.pad(part.inputs, ((0, 0), (0, width - part.filled.shape[1]), (0, 0))) for part in parts]
    filled = [np.pad(part.filled, ((0, 0), (0, width - part.filled.shape[1]))) for part in parts]
    before = np.cumsum([0, *(len(part.filled) for part in parts[:-1])])
    owner = [part.owner + first for part, first in zip(parts, before, strict=True)]
    target = np.concatenate([part.target for part in parts])
    return Ranking(np.concatenate(padded), np.concatenate(filled), target, np.concatenate(owner))
