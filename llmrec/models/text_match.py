"""Baselines that read only the catalogue: TF-IDF and BM25 over item texts, and cosine over one-hot attributes.

Axis convention: `T` tasks, `N` items, `V` words (or attribute values). No training users: what they score a warm item and
one that nobody has taken by is the same, which makes them the controls of cold items.

All three are `similarity(i, j) = query[i] . document[j]` with sparse rows, and a task's score of item j is the sum over its
(decayed) support of the similarity to j. The (N, N) matrix is never built: the support is summed up in word space first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.categories import bags, one_hot
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError, SchemaError
from llmrec.models.counts import check_decay, same_catalogue, support_counts

_CELLS = 1 << 22  # cells of a block of scores while it is sparse: 48 MB at most


@dataclass(frozen=True)
class TextMatch:
    """Summed similarity of the support's items to each item.

    query, document: float64 sparse (N, V), an item as the one that is asked with and the one that is found.
    own: float64 (N,), similarity of an item to itself that is left out where the item is in the support; zeros keep it.
    decay, last: of the support, see `counts.support_counts`.
    """

    name: str
    query: sparse.csr_array
    document: sparse.csr_array
    own: np.ndarray
    decay: float
    last: int | None

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); all zero for an empty support."""
        items = self.document.shape[0]
        same_catalogue(tasks, items)
        history, column = support_counts(tasks, self.decay, self.last), self.document.T.tocsr()
        found = np.empty((len(tasks), items), np.float32)
        block = max(1, _CELLS // max(items, 1))
        for first in range(0, len(tasks), block):
            part = history[first : first + block]
            dense = (part @ self.query @ column).toarray()
            row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
            whole, own = dense[row, part.indices], part.data * self.own[part.indices]
            rest = whole - own
            # what is left of rounding must not put an item above those that match nothing
            dense[row, part.indices] = np.where(rest > 1e-12 * whole, rest, 0.0)
            found[first : first + block] = dense
        return found


def fit_tfidf(
    dataset: Dataset,
    texts: Sequence[str],
    log: bool = False,
    decay: float = 1.0,
    last: int | None = None,
    include_self: bool = False,
) -> TextMatch:
    """Cosine between item texts, a word weighing its count in the text times log(N / number of texts with it).

    texts: N texts in the order of the catalogue; words are runs of letters and digits in lower case, see `words`.
    log: log(1 + count) for the count. decay, last: weight of the support per basket back, and baskets of it that are read.
    include_self: an item of the support is scored by its own text too. Needed if people buy again; without it an item
        of the support is scored by the rest of the support only.
    Sparck Jones, "A statistical interpretation of term specificity", J. Documentation 28 (1972); Salton and Buckley 1988.
    Raises DataError where there are not N texts, for a decay outside (0, 1] and for `last` below 1.
    """
    count = _word_counts(dataset, texts)
    unit = _weighed(count, np.log(count.shape[0] / np.maximum(_holders(count), 1)), log)
    return _match("TF-IDF", unit, unit, decay, last, include_self)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words of the rows of `fit_tfidf`, so that other texts get rows beside them.

    words: V distinct words, a column each. rarity: float64 (V,), log(N / number of texts with it). unseen: that of a word in no
    text, which weighs as one that a single text has.
    """

    words: tuple[str, ...]
    rarity: np.ndarray
    unseen: float

    def rows(self, texts: Sequence[str], log: bool = False) -> tuple[sparse.csr_array, Vocabulary]:
        """csr float64 (M, V'), the rows of M texts; and the vocabulary with their new words behind, V' in all."""
        documents = [words(text) for text in texts]
        code = {word: column for column, word in enumerate(self.words)}
        new = sorted({word for document in documents for word in document} - code.keys())
        code |= {word: len(self.words) + place for place, word in enumerate(new)}
        column = np.array([code[word] for document in documents for word in document], np.int64)
        row = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
        count = sparse.coo_array((np.ones(len(column)), (row, column)), shape=(len(documents), len(code))).tocsr()
        whole = Vocabulary((*self.words, *new), np.append(self.rarity, np.full(len(new), self.unseen)), self.unseen)
        return _weighed(count, whole.rarity, log), whole


def vocabulary(texts: Sequence[str]) -> Vocabulary:
    """That of `fit_tfidf` over N texts."""
    documents = [words(text) for text in texts]
    rarity = np.log(len(texts) / np.maximum(_holders(bags(documents)), 1))
    return Vocabulary(tuple(sorted({word for document in documents for word in document})), rarity, float(np.log(len(texts))))


def _weighed(count: sparse.csr_array, rarity: np.ndarray, log: bool) -> sparse.csr_array:
    """Unit rows of word counts (M, V), each word by its rarity (V,)."""
    count = count.copy()
    count.data = np.log1p(count.data) if log else count.data
    return _unit_rows((count * rarity).tocsr())


def fit_bm25(
    dataset: Dataset,
    texts: Sequence[str],
    k1: float = 1.2,
    b: float = 0.75,
    decay: float = 1.0,
    last: int | None = None,
    include_self: bool = False,
) -> TextMatch:
    """BM25 of each item's text, asked with the distinct words of each item of the support.

    A word w that is `count` times in a text of `length` words adds
    rarity(w) * count (k1 + 1) / (count + k1 (1 - b + b length / mean length)),
    rarity(w) = log(1 + (N - n + .5) / (n + .5)) with n the number of texts with w: the one added keeps it above 0.
    k1: at least 0; how slowly repetition saturates. b: 0 ... 1; how far long texts are marked down.
    Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. The rest as for `fit_tfidf`.
    Raises DataError as `fit_tfidf`, and for k1 or b out of range.
    """
    if not (k1 >= 0 and 0 <= b <= 1):
        raise DataError(f"expected k1 >= 0 and 0 <= b <= 1, got k1={k1} and b={b}")
    count = _word_counts(dataset, texts)
    holders = _holders(count)
    rarity = np.log1p((count.shape[0] - holders + 0.5) / (holders + 0.5))
    length = count.sum(axis=1)
    penalty = k1 * (1 - b + b * length / max(float(length.mean()) if len(length) else 0.0, np.finfo(float).tiny))
    asked, weight = count.copy(), count.copy()
    asked.data = np.ones_like(asked.data)
    weight.data *= (k1 + 1) / (weight.data + np.repeat(penalty, np.diff(weight.indptr)))
    return _match("BM25", asked, (weight * rarity).tocsr(), decay, last, include_self)


def fit_attribute_knn(
    dataset: Dataset,
    columns: Sequence[str],
    separator: str | None = None,
    decay: float = 1.0,
    last: int | None = None,
    include_self: bool = False,
) -> TextMatch:
    """Cosine between items over the one-hot values of columns of `catalogue.table`, such as category, brand or colour.

    columns: names of columns of text, whole numbers, booleans, or lists of these. separator: cuts texts into several
    values, such as "|" in "Action|Comedy". An unknown value (null, "") counts as no value. The rest as for `fit_tfidf`.
    Raises SchemaError for a column that is not there, DataError for one of floats, for no columns, and as `fit_tfidf`.
    """
    if isinstance(columns, str) or not len(columns):
        raise DataError(f"columns: expected a list of at least one column of the catalogue, got {columns!r}")
    table, parts = dataset.catalogue.table, []
    for name in columns:
        if name not in table.column_names:
            raise SchemaError(f"columns: the catalogue has no column {name!r}; it has {', '.join(table.column_names)}")
        parts.append(one_hot(dataset.catalogue.column(name), separator, name))
    unit = _unit_rows(sparse.hstack(parts, format="csr"))
    return _match("attribute kNN", unit, unit, decay, last, include_self)


def words(text: str) -> list[str]:
    """The words of a text: runs of letters, digits and underscores, in lower case."""
    return re.findall(r"\w+", text.lower())


def _match(
    name: str, query: sparse.csr_array, document: sparse.csr_array, decay: float, last: int | None, include_self: bool
) -> TextMatch:
    check_decay(decay)
    if last is not None and last < 1:
        raise DataError(f"last: expected at least 1 basket, or None for all, got {last}")
    own = np.zeros(document.shape[0]) if include_self else np.asarray(query.multiply(document).sum(axis=1)).ravel()
    return TextMatch(name, query, document, own, decay, last)


def _word_counts(dataset: Dataset, texts: Sequence[str]) -> sparse.csr_array:
    if isinstance(texts, str) or len(texts) != dataset.n_items:
        got = "one text" if isinstance(texts, str) else f"{len(texts)}"
        raise DataError(f"texts: expected {dataset.n_items} texts in the order of the catalogue, got {got}")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"texts[{row}]: expected text, got {text!r}; give '' where an item has none")
    return bags([words(text) for text in texts])


def _holders(count: sparse.csr_array) -> np.ndarray:
    """int64 (V,): in how many texts each word is."""
    return np.bincount(count.indices, minlength=count.shape[1])


def _unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """Every row divided by its length; a row of zeros stays one."""
    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (sparse.diags_array(np.divide(1.0, norm, out=np.zeros(len(norm)), where=norm > 0)) @ matrix).tocsr()
