"""How a shop writes its files, kept with its recommender: later files are read by it where they leave it open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmrec.data.table_format import ORDERS, TableFormat
from llmrec.manifest import peek
from llmrec.store import from_one_save

_PLACES = (".", "recommender")  # of a recommender in its folder; of the one that reads for a scene, in the folder of the scene


def saved_format(table_format: TableFormat | None) -> dict[str, str | None] | None:
    """What is kept of a format, as JSON values: the decimal sign and the order of dates, in which the files of a shop agree.
    None where neither is known."""
    if table_format is None or (table_format.decimal is None and table_format.date_order is None):
        return None
    return {"decimal": table_format.decimal, "date_order": table_format.date_order}


def loaded_format(saved: Any) -> TableFormat | None:
    """The format that `saved_format` gave as JSON values; None for None, and for anything else."""
    if not isinstance(saved, dict):
        return None
    decimal, order = saved.get("decimal"), saved.get("date_order")
    return TableFormat(decimal=decimal if decimal in (",", ".") else None, date_order=order if order in ORDERS else None)


def format_of(folder: str | Path) -> TableFormat | None:
    """How the shop writes its files, out of the folder of its recommender or of a scene; None where that is not known, as in
    older folders. No bytes are verified here: loading the folder does that."""
    for meta in from_one_save(folder, lambda there: [peek(there / place).get("meta") for place in _PLACES]):
        if isinstance(meta, dict) and "table_format" in meta:
            return loaded_format(meta["table_format"])
    return None
