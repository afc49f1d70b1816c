"""Item statistics over another catalogue: an item that is known keeps what was counted, of a new one nothing was.

Axis convention: `N` items of the statistics, `M` items of the other catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from llmrec.models.item_item import Markov
from llmrec.models.text_match import tfidf_rows
from llmrec.ranking.groups import Groups
from llmrec.ranking.statistics import ItemStatistics


def counts_over(counts: ItemStatistics, place: np.ndarray, words: sparse.csr_array) -> ItemStatistics:
    """The statistics of a catalogue of M items.

    place: int64 (M,), which item each is, and -1 for a new one: it gets what an item has that nobody took. words: csr float64
    (M, V), as of `ItemStatistics`.
    """
    pick = sparse.csr_array(
        (np.ones(int((place >= 0).sum())), (np.flatnonzero(place >= 0), place[place >= 0])),
        shape=(len(place), len(counts.popularity)),
    )
    untaken = counts.repurchase[counts.popularity == 0]
    rate = float(untaken[0]) if len(untaken) else float(np.median(counts.repurchase))
    flow = replace(counts.flow, ask=_rows(counts.flow.ask, place, 0.0), answer=_rows(counts.flow.answer, place, 0.0))
    return replace(
        counts,
        popularity=_rows(counts.popularity, place, 0.0),
        repurchase=_rows(counts.repurchase, place, rate),
        cooccurrence=_pairs(pick, counts.cooccurrence),
        ease=_pairs(pick, counts.ease),
        log_price=_rows(counts.log_price, place, 0.0),
        words=words,
        text_knn=_pairs(pick, counts.text_knn),
        flow=flow,
        markov_short=_markov(pick, counts.markov_short, place),
        markov_long=_markov(pick, counts.markov_long, place),
        position_popularity=_columns(counts.position_popularity, place),
        recent_position_popularity=_columns(counts.recent_position_popularity, place),
        groups=None if counts.groups is None else _groups(counts.groups, place),
    )


def words_over(counts: ItemStatistics, known: Sequence[str], texts: Sequence[str], place: np.ndarray) -> sparse.csr_array:
    """`ItemStatistics.words` of a catalogue with `texts`, M of them: a known item has the row that it has, and a new one is
    weighed by how rare its words are among the `known` texts, N of them, that `counts` was made of."""
    if (place >= 0).all():
        return counts.words[place]
    return tfidf_rows(known, texts, log=True)


def _groups(groups: Groups, place: np.ndarray) -> Groups:
    lift, first_lift = (_rows(table.T, place, 0.0).T for table in (groups.lift, groups.first_lift))
    return Groups(_columns(groups.popularity, place), _columns(groups.first, place), lift, first_lift)


def _rows(values: np.ndarray, place: np.ndarray, fill: float) -> np.ndarray:
    found = values[np.maximum(place, 0)]
    found[place < 0] = fill
    return found


def _columns(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Log shares (..., N) of M items; a new one has the least of all, as one that nobody took."""
    found = values[..., np.maximum(place, 0)]
    found[..., place < 0] = values.min(-1, keepdims=True)
    return found


def _pairs(pick: sparse.csr_array, table: sparse.csr_array) -> sparse.csr_array:
    found = (pick @ table @ pick.T).tocsr().astype(table.dtype)
    found.sort_indices()
    return found


def _markov(pick: sparse.csr_array, markov: Markov, place: np.ndarray) -> Markov:
    rate, prior = _rows(markov.exit_rate, place, 1.0), _rows(markov.prior, place, 0.0)
    return replace(markov, follows=_pairs(pick, markov.follows), exit_rate=rate, prior=prior, usual=markov.mean_prior)
