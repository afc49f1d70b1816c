"""Who is asked about and what is answered: ids, tables and messages that every recommender shares."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.clean import read_ids
from llmrec.data.dataset import Catalogue
from llmrec.data.frames import coded
from llmrec.data.ids import Ids, plain
from llmrec.data.tables import read_events
from llmrec.errors import DataError, ShortAnswerWarning, UnknownItemError


def listed(ids: Iterable[Any], what: str) -> Ids:
    """Ids as a caller lists them. Raises DataError for a text, which would be a list of letters."""
    if isinstance(ids, (str, bytes)):
        raise DataError(f"{what} is the text {ids!r}, expected a list of ids; say [{ids!r}]")
    return Ids([plain(value) for value in ids])


def askers(histories: Any, columns: Mapping[str, str] | None) -> Ids:
    """The users of a table in order of appearance, also those without any event that can be used."""
    table, _ = read_events(histories, columns)
    code, ids = coded(read_ids(table, ("user_id",), "events")[0].column("user_id"))
    users, first = np.unique(code, return_index=True)
    order = users[np.argsort(first)]
    return Ids(ids).take(order[order >= 0])


def find_items(catalogue: Catalogue, wanted: Ids) -> np.ndarray:
    """int64: internal indices. Raises UnknownItemError for an id that is not in the catalogue."""
    index = catalogue.ids.find(wanted.values)
    if (index < 0).any():
        unknown = [wanted[i] for i in np.flatnonzero(index < 0)[:3]]
        some = [catalogue.ids[i] for i in range(min(3, len(catalogue)))]
        raise UnknownItemError(f"items {unknown!r} are not in the catalogue of {len(catalogue):,}; its ids look like {some!r}")
    return index


def allowed_items(catalogue: Catalogue, items: Iterable[Any]) -> np.ndarray:
    """bool (N,): the `items_to_recommend` of a call."""
    mask = np.zeros(len(catalogue), bool)
    mask[find_items(catalogue, listed(items, "items_to_recommend"))] = True
    return mask


def check_count(k: int) -> None:
    """Raises DataError for a `k` below 1."""
    if k < 1:
        raise DataError(f"k is {k}; expected at least 1")


def warn_if_short(asker: np.ndarray, asked: Ids, k: int, filter_viewed: bool, chosen: bool) -> None:
    """ShortAnswerWarning, at the line that called the caller, where somebody gets fewer than k items.

    asker: int, the position in `asked` of every row of an answer. chosen: whether `items_to_recommend` was given.
    """
    got = np.bincount(asker, minlength=len(asked))
    short = np.flatnonzero(got < k)
    if len(short):
        who = f"{len(short):,} users get" if len(short) > 1 else "1 user gets"
        left = "items_to_recommend leaves" if chosen else "the catalogue holds"
        without = ", without what they have had (filter_viewed)" if filter_viewed else ""
        message = f"{who} fewer than k = {k} items, such as {asked[short[0]]!r} {got[short[0]]}: {left} no more{without}"
        warnings.warn(message, ShortAnswerWarning, stacklevel=3)


def answer_table(
    asked: Ids,
    catalogue: Catalogue,
    asker: np.ndarray,
    item: np.ndarray,
    score: np.ndarray,
    rank: np.ndarray,
    source: list[str],
) -> pa.Table:
    """Rows of an answer as a table `user_id, item_id, score, rank, source`, in the order given."""
    return pa.table(
        {
            "user_id": _column([asked[i] for i in asker]),
            "item_id": _column([catalogue.ids[i] for i in item]),
            "score": score.astype(np.float64),
            "rank": rank.astype(np.int64),
            "source": pa.array(source, pa.string()),
        }
    )


def _column(ids: list[Any]) -> pa.Array:
    try:
        return pa.array(ids) if ids else pa.array([], pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        kinds = sorted({type(value).__name__ for value in ids})
        raise DataError(f"users mix {' and '.join(kinds)}, expected ids of one kind: {error}") from error
