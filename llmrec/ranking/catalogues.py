"""Item statistics over another catalogue: an item that is known keeps what was counted, of a new one nothing was.

Axis convention: `N` items of the statistics, `M` items of the other catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from llmrec.models.item_item import Markov
from llmrec.models.text_match import Vocabulary
from llmrec.ranking.cold_items import carry, nearest
from llmrec.ranking.first_buyers import over_catalogue
from llmrec.ranking.groups import Groups
from llmrec.ranking.statistics import TEXT_NEIGHBOURS, TEXT_POWER, ItemStatistics


def counts_over(counts: ItemStatistics, place: np.ndarray, words: sparse.csr_array) -> ItemStatistics:
    """The statistics of a catalogue of M items.

    place: int64 (M,), which item each is, and -1 for a new one: it gets what an item has that nobody took. words: csr float64
    (M, V), as of `ItemStatistics`.
    """
    untaken = counts.repurchase[counts.popularity == 0]
    rate = float(untaken[0]) if len(untaken) else float(np.median(counts.repurchase))
    flow = replace(counts.flow, ask=_rows(counts.flow.ask, place, 0.0), answer=_rows(counts.flow.answer, place, 0.0))
    return replace(
        counts,
        popularity=_rows(counts.popularity, place, 0.0),
        repurchase=_rows(counts.repurchase, place, rate),
        cooccurrence=_pairs(counts.cooccurrence, place),
        ease=_pairs(counts.ease, place),
        log_price=_rows(counts.log_price, place, 0.0),
        words=words,
        text_knn=_pairs(counts.text_knn, place),
        flow=flow,
        markov_short=_markov(counts.markov_short, place),
        markov_long=_markov(counts.markov_long, place),
        position_popularity=_columns(counts.position_popularity, place),
        recent_position_popularity=_columns(counts.recent_position_popularity, place),
        groups=None if counts.groups is None else _groups(counts.groups, place),
        buyers=None if counts.buyers is None else over_catalogue(counts.buyers, place),
    )


def words_over(
    counts: ItemStatistics, vocabulary: Vocabulary, texts: Sequence[str], place: np.ndarray
) -> tuple[sparse.csr_array, Vocabulary]:
    """`ItemStatistics.words` of a catalogue with `texts`, M of them: a known item has the row that it has, and a new one is
    weighed by the `vocabulary` of these rows, which is returned with its new words."""
    new = np.flatnonzero(place < 0)
    rows, whole = vocabulary.rows([texts[item] for item in new.tolist()], log=True)
    both = sparse.vstack([widened(counts.words, rows.shape[1]), rows], format="csr")
    order = np.where(place >= 0, place, counts.words.shape[0] + np.cumsum(place < 0) - 1)
    return both[order], whole


def widened(table: sparse.csr_array, columns: int) -> sparse.csr_array:
    """The same with empty columns behind, so many in all."""
    return sparse.csr_array((table.data, table.indices, table.indptr), shape=(table.shape[0], columns))


def with_likeness(counts: ItemStatistics, text: np.ndarray, items: np.ndarray) -> ItemStatistics:
    """The statistics with `text_knn` and `flow` of some cold items, int64 (n,), from the warm items with similar texts. They
    are returned unchanged if neither is read: nothing was learned from texts, see `Texts`, and no first buyers are kept.

    text: float32 (N, d), text vectors of unit length. Similarity is half that of vectors and half that of words, as there. In
    place of the projection of a fit, `flow` takes the mean of the TEXT_NEIGHBOURS most similar warm items, by similarity.
    """
    warm = counts.popularity > 0
    read = counts.flow.answer.shape[1] > 0 or counts.buyers is not None
    if not read or not warm.any() or not len(items):
        return counts
    words, all_warm = counts.words, np.flatnonzero(warm)
    turned, turned_words = text[all_warm].T, words[all_warm].T

    def likeness(part: np.ndarray) -> np.ndarray:
        return (text[part] @ turned + (words[part] @ turned_words).toarray()) / 2

    found = nearest(warm, items, likeness, min(TEXT_NEIGHBOURS, len(all_warm)))
    carried = carry(found, TEXT_NEIGHBOURS, TEXT_POWER).astype(np.float32)
    kept = counts.text_knn.tocoo()
    other = ~np.isin(kept.col, items)
    before = sparse.coo_array((kept.data[other], (kept.row[other], kept.col[other])), shape=kept.shape)
    text_knn = (before.tocsr() + carried).tocsr()
    text_knn.sort_indices()
    share = carried[:, items].T.tocsr()
    share = sparse.diags_array(1 / np.maximum(np.asarray(share.sum(1)).ravel(), 1e-12)) @ share
    ask, answer = counts.flow.ask.copy(), counts.flow.answer.copy()
    ask[items], answer[items] = share @ ask, share @ answer
    return replace(counts, text_knn=text_knn, flow=replace(counts.flow, ask=ask, answer=answer))


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


def _pairs(table: sparse.csr_array, place: np.ndarray) -> sparse.csr_array:
    n, m = table.shape[0], len(place)
    if m >= n and (place[:n] == np.arange(n)).all() and (place[n:] < 0).all():  # new items alone: nothing is moved
        indptr = np.append(table.indptr, np.full(m - n, table.indptr[-1], table.indptr.dtype))
        return sparse.csr_array((table.data, table.indices, indptr), shape=(m, m))
    known = np.flatnonzero(place >= 0)
    pick = sparse.csr_array((np.ones(len(known)), (known, place[known])), shape=(m, n))
    found = (pick @ table @ pick.T).tocsr().astype(table.dtype)
    found.sort_indices()
    return found


def _markov(markov: Markov, place: np.ndarray) -> Markov:
    rate, prior = _rows(markov.exit_rate, place, 1.0), _rows(markov.prior, place, 0.0)
    return replace(markov, follows=_pairs(markov.follows, place), exit_rate=rate, prior=prior, usual=markov.mean_prior)
