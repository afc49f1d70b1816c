"""Answers as runs, which ranx, trec_eval and their like measure: a dict for `ranx.Run`, and files in the format of TREC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.frames import to_arrow
from llmrec.errors import DataError, SchemaError
from llmrec.store import whole_file

_NEEDED = ("user_id", "item_id", "score", "rank")


def to_ranx(answer: Any) -> dict[str, dict[str, float]]:
    """User -> item -> score of an answer, as `ranx.Run(to_ranx(answer))` takes it; ids are text.

    answer: a frame as `Recommender.recommend` gives it, with `user_id, item_id, score, rank`. These programs sort by score
    alone, so if a user's scores do not fall strictly with the rank, as between candidates and a fallback, the score is the
    number of places from the end of the list.
    Raises SchemaError for a frame without these columns, DataError for an item that is twice in a user's list.
    """
    run: dict[str, dict[str, float]] = {}
    for user, item, _, score in _rows(answer):
        run.setdefault(user, {})[item] = score
    return run


def to_trec(answer: Any, path: str | Path, name: str = "llmrec") -> None:
    """Write an answer as a run file of TREC: a line `user Q0 item rank score name` per item; scores as in `to_ranx`.

    name: of the run. Raises as `to_ranx`, and DataError for an id or a name with white space in it, which separates the fields
    there; ArtefactError for a path that cannot be written to.
    """
    text = trec_run(answer, name)
    with whole_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def trec_run(answer: Any, name: str = "llmrec") -> str:
    """The text that `to_trec` writes."""
    _check_word(name, "name of the run")
    lines = []
    for user, item, rank, score in _rows(answer):
        _check_word(user, "user_id")
        _check_word(item, "item_id")
        lines.append(f"{user} Q0 {item} {rank} {score!r} {name}\n")
    return "".join(lines)


def _rows(answer: Any) -> list[tuple[str, str, int, float]]:
    """user, item, rank, score in the order of users and ranks; scores that fall strictly within a user."""
    table = to_arrow(answer, "answer")
    if missing := [name for name in _NEEDED if name not in table.column_names]:
        raise SchemaError(
            f"answer has no column {missing[0]!r}, expected {', '.join(map(repr, _NEEDED))}, got "
            f"{', '.join(map(repr, table.column_names))}; pass what recommend() returns"
        )
    user, item = ([str(value) for value in table.column(name).to_pylist()] for name in ("user_id", "item_id"))
    rank = table.column("rank").cast(pa.int64()).to_numpy()
    score = table.column("score").cast(pa.float64()).to_numpy()
    seen: set[tuple[str, str]] = set()
    for pair in zip(user, item, strict=True):
        if pair in seen:
            raise DataError(
                f"answer: user {pair[0]!r} is offered {pair[1]!r} twice, expected each item once; drop one of the rows"
            )
        seen.add(pair)
    place = {name: number for number, name in enumerate(dict.fromkeys(user))}
    code = np.array([place[name] for name in user], np.int64)
    order = np.lexsort([rank, code])
    same = code[order][1:] == code[order][:-1]
    falls = np.ones(len(place), bool)
    falls[code[order][1:][same & ~(np.diff(score[order]) < 0)]] = False
    left = np.bincount(code, minlength=len(place))
    rows = []
    for row in order.tolist():
        mine = code[row]
        rows.append((user[row], item[row], int(rank[row]), float(score[row]) if falls[mine] else float(left[mine])))
        left[mine] -= 1
    return rows


def _check_word(text: str, what: str) -> None:
    if not text or text.split() != [text]:
        raise DataError(
            f"{what} is {text!r}, expected text without white space, which separates the fields of a run file; use to_ranx, or "
            "other ids"
        )
