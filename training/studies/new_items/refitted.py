"""Controls of young items that use more than an item's own buyers: attribute kNN, and EASE refitted in the test period.

EASE has often seen no buyer of an item that has few: they came after it was last fitted.

Axis convention: `Q` purchases that are asked for, `Y` young items, `N` items of the catalogue, `U` users.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from benchmarks.carried import carried
from benchmarks.controls import texts_of
from llmrec.data.tasks import Tasks
from llmrec.models.item_item import fit_item_knn
from llmrec.models.text_match import fit_tfidf
from llmrec.ranking.cold_items import alike
from studies.new_items.replay import CHUNK, DECAY, Replay, World, before

NEAREST, POWER = 20, 1.0  # warm neighbours of each young item, and the exponent of their similarity; not tuned
MOMENTS = 10  # at which EASE is refitted, with equally many events between them
RIDGE = 100.0  # of EASE; 300 is a little lower on beauty's validation
STEPS, EXACT = 100, 1e-5  # of conjugate gradients: at most so many, until no residual is larger


def words_of(here: World) -> sparse.csr_array:
    """Rows of length 1: the words of each item's text, by TF-IDF."""
    return fit_tfidf(here.train, texts_of(here.train.catalogue), log=True).document


def attribute_knn(here: World, found: Replay, text: sparse.csr_array | np.ndarray) -> np.ndarray:
    """float32 (Q, Y): item kNN fitted before the cut; a young item has the scores of the warm items with most similar texts.

    text: (N, V), rows of length 1.
    """
    train, users = here.train, np.arange(here.train.n_users)
    knn = replace(fit_item_knn(train, users, 200, 10.0, include_self=True), decay=DECAY)
    control = carried(knn, alike(train, users, text, NEAREST), NEAREST, POWER)
    parts = [found.purchase[first : first + CHUNK] for first in range(0, len(found.purchase), CHUNK)]
    return np.concatenate([control.scores(before(here, part))[:, found.young] for part in parts])


def ease(here: World, found: Replay) -> np.ndarray:
    """float32 (Q, Y): EASE of all items, refitted at MOMENTS moments after the cut with the events until then."""
    whole, scores = here.whole, np.zeros(found.known.shape, np.float32)
    later = np.sort(whole.time[whole.time >= here.cut])
    starts = later[np.arange(MOMENTS) * len(later) // MOMENTS]
    held, inverse = histories(before(here, found.purchase)), None
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        mine = np.flatnonzero((found.day >= start) & (found.day < end))
        if len(mine):
            past = whole.time < start
            pair = np.unique(whole.user[past].astype(np.int64) * whole.n_items + whole.item[past])
            shape = whole.n_users, whole.n_items
            matrix = sparse.csr_array((np.ones(len(pair)), np.divmod(pair, whole.n_items)), shape=shape)
            inverse = inverse_columns(matrix, found.young, RIDGE, inverse)
            scores[mine] = held[mine] @ ease_weights(inverse, found.young)
    return scores


def inverse_columns(matrix: sparse.csr_array, items: np.ndarray, ridge: float, begin: np.ndarray | None = None) -> np.ndarray:
    """float64 (N, Y): the columns of some items of the inverse of X'X + ridge I, by conjugate gradients with the diagonal as
    preconditioner (Saad, 2003, algorithm 9.1), column by column.

    matrix: X, (U, N). items: int64 (Y,). begin: first guess; None for zeros. EASE needs only these columns.
    """
    gram = sparse.csr_array(matrix.T @ matrix + ridge * sparse.eye_array(matrix.shape[1]))
    scale, wanted = 1.0 / gram.diagonal()[:, None], np.zeros((matrix.shape[1], len(items)))
    wanted[items, np.arange(len(items))] = 1.0
    value = np.zeros_like(wanted) if begin is None else begin.copy()
    left = wanted - gram @ value
    step = scale * left
    size = (left * step).sum(0)
    for _ in range(STEPS):
        if np.abs(left).max() <= EXACT:
            break
        turned = gram @ step
        rate = size / np.maximum((step * turned).sum(0), 1e-300)
        value += rate * step
        left -= rate * turned
        scaled = scale * left
        size, last = (left * scaled).sum(0), size
        step = scaled + size / np.maximum(last, 1e-300) * step
    return value


def ease_weights(inverse: np.ndarray, items: np.ndarray) -> np.ndarray:
    """float64 (N, Y): the weights of EASE from every item to each of `items`, int64 (Y,), of these columns of the inverse; 0 to
    itself (Steck, WWW 2019)."""
    place = items, np.arange(len(items))
    weight = inverse / -inverse[place]
    weight[place] = 0.0
    return weight


def histories(tasks: Tasks) -> sparse.csr_array:
    """float64 (Q, N): weights of the items of each history: 1 for the last event, times DECAY for each event further back."""
    length = tasks.split - tasks.start
    row = np.repeat(np.arange(len(tasks)), length)
    event = tasks.start[row] + np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    weight = DECAY ** (tasks.split[row] - 1 - event)
    return sparse.csr_array((weight, (row, tasks.dataset.item[event])), shape=(len(tasks), tasks.dataset.n_items))
