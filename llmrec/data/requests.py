"""Requests and answers: the id checks, tables and warnings that all recommenders share."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.dataset import Catalogue
from llmrec.data.frames import coded
from llmrec.data.ids import Ids, plain
from llmrec.data.matching import look_alike
from llmrec.data.numbers import check_whole
from llmrec.errors import DataError, ShortAnswerWarning, UnknownItemError


def as_ids(ids: Iterable[Any], what: str) -> Ids:
    """Ids as a caller lists them; whole floats become ints, as in tables.

    Raises DataError for a text, which would be a list of letters, for a table or a dict, for what is no list, and for values
    that are no ids, such as None.
    """
    if isinstance(ids, (str, bytes)):
        raise DataError(f"{what} is the text {ids!r}, expected a list of ids; say [{ids!r}]")
    if isinstance(ids, Mapping) or hasattr(ids, "columns") or hasattr(ids, "column_names"):
        table = f"{what} is a {type(ids).__name__}, expected a list of ids; pass one column of it"
        raise DataError(f"{table}, or the table as histories if it holds events" if what == "users" else table)
    if not isinstance(ids, Iterable):
        raise DataError(f"{what} is {ids!r}, expected a list of ids; say [{ids!r}]")
    return Ids([_id(value, f"{what}[{place}]") for place, value in enumerate(ids)])


def check_users(asked: Ids, known: Ids, what: str = "the known ids") -> None:
    """Raises DataError where `asked` holds ids of two kinds, or of another kind than the known ones, which never match.

    what: the known ones in the message.
    """
    kinds = sorted({_kind(value) for value in asked.values})
    if len(kinds) > 1:
        raise DataError(f"users mix {' and '.join(kinds)}, expected ids of one kind; convert them first")
    if kinds and len(known) and kinds[0] != _kind(known[0]):
        raise DataError(f"users are {kinds[0]} such as {asked[0]!r}, but {what} are {_examples(known)}; {_remedy(known)}")


def check_new_users(asked: Ids, known: Ids) -> None:
    """As `check_users`, for users who may be new: ids of another kind are refused where one looks like a known one."""
    other = len(asked) and len(known) and _kind(asked[0]) != _kind(known[0])
    if other and any(known.alike(value) is not None for value in asked.values[:1000]):
        check_users(asked, known)


def query_users(column: pa.ChunkedArray) -> Ids:
    """The users of a column of ids, as `clean.read_ids` gives it, in order of appearance."""
    code, ids = coded(column)
    users, first = np.unique(code, return_index=True)
    order = users[np.argsort(first)]
    return Ids(ids).take(order[order >= 0])


def find_items(catalogue: Catalogue, wanted: Ids) -> np.ndarray:
    """int64: internal indices. Raises UnknownItemError for an id that is not in the catalogue."""
    index = catalogue.ids.find(wanted.values)
    if (index < 0).any():
        unknown = [wanted[i] for i in np.flatnonzero(index < 0)[:3]]
        some = [value for _, value in islice(catalogue.ids.there(), 3)]
        known = len(catalogue) - len(catalogue.ids.gone)
        message = f"items {unknown!r} are not in the catalogue of {known:,}; its ids look like {some!r}"
        if len(catalogue) and _kind(unknown[0]) != _kind(catalogue.ids[0]):
            message += f": they are {_kind(catalogue.ids[0])}, not {_kind(unknown[0])}; {_remedy(catalogue.ids)}"
        elif alike := look_alike(catalogue.ids, unknown):
            message += f". {alike}"
        raise UnknownItemError(message)
    return index


def allowed_items(catalogue: Catalogue, items: Iterable[Any], what: str = "items_to_recommend") -> np.ndarray:
    """bool (N,): the items that a call names. what: the argument that names them."""
    mask = np.zeros(len(catalogue), bool)
    mask[find_items(catalogue, as_ids(items, what))] = True
    return mask


def check_count(k: int) -> None:
    """Raises DataError for a `k` that is no whole number, or below 1."""
    check_whole("k", k, 1)


def checked_steps(steps: Any) -> int | None:
    """None for "auto". Raises DataError unless `steps` is that or a whole number from 0 on."""
    if isinstance(steps, str) and steps == "auto":
        return None
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 0:
        raise DataError(f'steps is {steps!r}; expected "auto" or a whole number of steps from 0 on')
    return int(steps)


def warn_if_short(
    asker: np.ndarray,
    asked: Ids,
    k: int,
    filter_viewed: bool,
    chosen: bool,
    rules: str = "",
    stacklevel: int = 3,
    hidden: int = 0,
    one: str = "user",
) -> None:
    """ShortAnswerWarning, at the line that called the caller, where somebody gets fewer than k items.

    asker: int, the position in `asked` of every row of an answer. chosen: whether `items_to_recommend` was given. rules: what
    rules leave to the first of them, "" where they leave out nothing. hidden: how many items are hidden. one: what each of
    `asked` is: "user", or "item" for similar items.
    """
    got = np.bincount(asker, minlength=len(asked))
    short = np.flatnonzero(got < k)
    if len(short):
        who = f"{len(short):,} {one}s get" if len(short) > 1 else f"1 {one} gets"
        left = "items_to_recommend leaves" if chosen else "the catalogue holds"
        without = ", excluding viewed items (filter_viewed)" if filter_viewed else ""
        if one == "item":
            without = ", without the item itself"
        if rules:
            left = "rules and items_to_recommend leave" if chosen else "rules leave"
            without = f" ({rules}){without}"
        if hidden:
            without += f"; {hidden:,} {'items are' if hidden > 1 else 'item is'} hidden, see show_items"
        message = f"{who} fewer than k = {k} items, such as {asked[short[0]]!r} ({got[short[0]]}): {left} no more{without}"
        warnings.warn(message, ShortAnswerWarning, stacklevel=stacklevel)


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
            "user_id": id_column([asked[i] for i in asker], asked),
            "item_id": id_column([catalogue.ids[i] for i in item], catalogue.ids),
            "score": score.astype(np.float64),
            "rank": rank.astype(np.int64),
            "source": pa.array(source, pa.string()),
        }
    )


def with_titles(table: pa.Table, catalogue: Catalogue, item: np.ndarray) -> pa.Table:
    """The answer with the column `title` behind the others; item: int (rows,), internal indices of what is recommended."""
    return table.append_column("title", catalogue.table.column("title").take(pa.array(item, pa.int64())))


def id_column(ids: list[Any], like: Ids) -> pa.Array:
    """Ids as a column; without any, of the type of `like`. Raises DataError for ids of several kinds."""
    try:
        return pa.array(ids) if ids else pa.array(like.values[:1] or [""])[:0]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        kinds = sorted({type(value).__name__ for value in ids})
        raise DataError(f"users mix {' and '.join(kinds)}, expected ids of one kind: {error}") from error


def _id(value: Any, what: str) -> Any:
    """One id as tables hold it. Raises DataError for what is none."""
    found = value.as_py() if isinstance(value, pa.Scalar) else plain(value)
    if isinstance(found, float) and found.is_integer() and abs(found) < 2**53:
        return int(found)  # pandas turns ints into floats where some are missing
    if isinstance(found, bool) or not isinstance(found, (str, int, uuid.UUID)):
        raise DataError(f"{what} is {value!r}, expected an id: str, int or UUID; drop missing ids, and convert others")
    return found


def _kind(value: Any) -> str:
    return "str" if isinstance(value, str) else "UUID" if isinstance(value, uuid.UUID) else "int"


def _examples(ids: Ids) -> str:
    return f"{_kind(ids[0])} such as {', '.join(repr(value) for value in ids.values[:2])}"


def _remedy(known: Ids) -> str:
    convert = {"str": "str", "int": "int", "UUID": "uuid.UUID"}[_kind(known[0])]
    return f"convert them: [{convert}(value) for value in ids]"
