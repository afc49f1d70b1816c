"""Controls of young items that use more than an item's own buyers: attribute kNN, and EASE refitted in the test period.

EASE has often seen no buyer of an item that has few: they came after it was last fitted.

Axis convention: `Q` purchases that are asked for, `Y` young items, `N` items of the catalogue, `U` users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy import sparse

from benchmarks.carried import CarriedKnn, carried
from benchmarks.controls import texts_of
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.models.item_item import fit_item_knn
from llmrec.models.text_match import fit_tfidf
from llmrec.ranking.cold_items import alike
from studies.new_items.replay import CHUNK, DECAY, Replay, World, before

NEAREST, POWER = 20, 1.0  # warm neighbours of each young item, and the exponent of their similarity; not tuned
MOMENTS = 10  # at which EASE is refitted, with equally many events between them
RIDGE = 100.0  # of EASE; 300 is a little lower on beauty's validation
FIRST_ORDER = 0.02  # see `inverse_diagonal`
STEPS, EXACT = 100, 1e-5  # of conjugate gradients: at most so many, until no residual is larger


def words_of(here: World) -> sparse.csr_array:
    """Rows of length 1: the words of each item's text, by TF-IDF."""
    return fit_tfidf(here.train, texts_of(here.train.catalogue), log=True).document


def attribute_control(here: World, text: sparse.csr_array | np.ndarray) -> CarriedKnn:
    """Item kNN fitted before the cut, carried to the young items. text: (N, V), rows of length 1."""
    train, users = here.train, np.arange(here.train.n_users)
    knn = replace(fit_item_knn(train, users, 200, 10.0, include_self=True), decay=DECAY)
    return carried(knn, alike(train, users, text, NEAREST), NEAREST, POWER)


def attribute_knn(here: World, found: Replay, text: sparse.csr_array | np.ndarray) -> np.ndarray:
    """float32 (Q, Y): item kNN fitted before the cut; a young item has the scores of the warm items with most similar texts.

    text: (N, V), rows of length 1.
    """
    control = attribute_control(here, text)
    parts = [found.purchase[first : first + CHUNK] for first in range(0, len(found.purchase), CHUNK)]
    return np.concatenate([control.scores(before(here, part))[:, found.young] for part in parts])


def ease(here: World, found: Replay) -> np.ndarray:
    """float32 (Q, Y): EASE of all items, refitted at MOMENTS moments after the cut with the events until then."""
    scores = np.zeros(found.known.shape, np.float32)
    held, inverse = histories(before(here, found.purchase)), None
    for mine, matrix in moments(here, found.day):
        inverse = inverse_columns(matrix, found.young, RIDGE, inverse)
        scores[mine] = held[mine] @ ease_weights(inverse, found.young)
    return scores


def ease_of_all(here: World, events: np.ndarray) -> Iterator[tuple[np.ndarray, Callable[[Tasks], np.ndarray]]]:
    """For each of the same moments the places in `events`, int64 (T,), until the next, and EASE then: from tasks to scores
    float32 (T, N). Scores of items of the history are not those of EASE, for an item's weight to itself is in them."""
    for mine, matrix in moments(here, here.whole.time[events]):
        gram, diagonal = _gram(matrix, RIDGE).astype(np.float32), inverse_diagonal(matrix, RIDGE).astype(np.float32)

        def scores(tasks: Tasks, gram: sparse.csr_array = gram, diagonal: np.ndarray = diagonal) -> np.ndarray:
            held = histories(tasks).T.astype(np.float32).toarray()
            return (solved(gram, held, np.zeros_like(held)) / -diagonal[:, None]).T

        yield mine, scores


def moments(here: World, day: np.ndarray) -> Iterator[tuple[np.ndarray, sparse.csr_array]]:
    """For each moment at which EASE is refitted the questions until the next, int64, where there are some, and who bought what
    before it, float64 (U, N). day: of each question, seconds."""
    whole = here.whole
    later = np.sort(whole.time[whole.time >= here.cut])
    starts = later[np.arange(MOMENTS) * len(later) // MOMENTS]
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        mine = np.flatnonzero((day >= start) & (day < end))
        if len(mine):
            yield mine, bought(whole, whole.time < start)


def bought(whole: Dataset, past: np.ndarray) -> sparse.csr_array:
    """float64 (U, N): 1 where the user had the item in one of the events, bool (E,)."""
    pair = np.unique(whole.user[past].astype(np.int64) * whole.n_items + whole.item[past])
    shape = whole.n_users, whole.n_items
    return sparse.csr_array((np.ones(len(pair)), np.divmod(pair, whole.n_items)), shape=shape)


def inverse_diagonal(matrix: sparse.csr_array, ridge: float) -> np.ndarray:
    """float64 (N,): the diagonal of the inverse of X'X + ridge I. matrix: X, (U, N).

    1 / P[j, j] is G[j, j] less what the other items explain of it: the sum of G[i, j]^2 / G[i, i], where these hardly go
    together. It is so taken for items of which it is a share of at most FIRST_ORDER. The block of all others is inverted, less
    what the former explain of it, taken likewise. On health the largest error of 100 items is 0.8% of P[j, j].
    """
    gram = _gram(matrix, ridge)
    own = gram.diagonal()
    explained = gram.power(2) @ (1 / own) - own
    easy = explained <= FIRST_ORDER * own
    diagonal = 1 / np.where(easy, own - explained, 1.0)
    hard, rest = np.flatnonzero(~easy), np.flatnonzero(easy)
    to_rest = gram[hard][:, rest]
    block = gram[hard][:, hard].toarray() - (to_rest.multiply(1 / own[rest]).tocsr() @ to_rest.T).toarray()
    diagonal[hard] = np.diagonal(np.linalg.inv(block))
    return diagonal


def inverse_columns(matrix: sparse.csr_array, items: np.ndarray, ridge: float, begin: np.ndarray | None = None) -> np.ndarray:
    """float64 (N, Y): the columns of some items of the inverse of X'X + ridge I, by conjugate gradients with the diagonal as
    preconditioner (Saad, 2003, algorithm 9.1), column by column.

    matrix: X, (U, N). items: int64 (Y,). begin: first guess; None for zeros. EASE needs only these columns.
    """
    wanted = np.zeros((matrix.shape[1], len(items)))
    wanted[items, np.arange(len(items))] = 1.0
    return solved(_gram(matrix, ridge), wanted, np.zeros_like(wanted) if begin is None else begin.copy())


def solved(gram: sparse.csr_array, wanted: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(N, C): the inverse of `gram` times the columns `wanted`, (N, C). value: first guess, which is changed."""
    scale, least = 1.0 / gram.diagonal()[:, None], np.finfo(value.dtype).tiny  # a column may be exact before the others
    left = wanted - gram @ value
    step = scale * left
    size = (left * step).sum(0)
    for _ in range(STEPS):
        if np.abs(left).max() <= EXACT:
            break
        turned = gram @ step
        rate = size / np.maximum((step * turned).sum(0), least)
        value += rate * step
        left -= rate * turned
        scaled = scale * left
        size, last = (left * scaled).sum(0), size
        step = scaled + size / np.maximum(last, least) * step
    return value


def _gram(matrix: sparse.csr_array, ridge: float) -> sparse.csr_array:
    return sparse.csr_array(matrix.T @ matrix + ridge * sparse.eye_array(matrix.shape[1]))


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
