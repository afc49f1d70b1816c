"""Where a table lies: a file or a folder on this machine, or a data set on the Hugging Face hub, which is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmrec.data.files import JSON, UNTYPED, read_arrow, read_folder, read_parquet
from llmrec.data.hub_tables import fetched_table
from llmrec.errors import DataError
from llmrec.hub import NOT_READ, address, is_address


@dataclass(frozen=True)
class Place:
    """Where a table lies on this machine. files: one file or folder, or the parts of one table. said: how it was given, for
    messages. name: the same for notes, without the folders of a path."""

    files: tuple[Path, ...]
    said: str
    name: str

    @property
    def path(self) -> Path:
        return self.files[0]


def placed(source: str | Path | Place, what: str) -> Place:
    """Where the table of a path or an address lies; files on the hub are downloaded. what: the name of the table in messages.

    Raises DataError for a path that is not there, and as `hub_tables.fetched_table`.
    """
    if isinstance(source, Place):
        return source
    if is_address(source):
        said = address(source)
        return Place(fetched_table(source, f"{what}: {said!r}"), said, said)
    path = Path(source).expanduser()
    if not path.exists():
        remedy = NOT_READ if ":/" in str(path) else "pass the path of a .csv or .parquet file, or another"
        raise DataError(f"{what}: there is no file {str(path)!r}; {remedy}")
    return Place((path,), str(path), path.name)


def placed_or_frame(source: Any, what: str) -> Any:
    """The place of a path or an address, so that it is looked for once only; a frame as it is. Raises as `placed`."""
    return placed(source, what) if isinstance(source, (str, Path)) else source


def typed_table(place: Place, what: str) -> pa.Table | None:
    """The table in a folder, or in files whose columns have types: Parquet, or Arrow from the hub; None for a file of text.

    Raises as `files.read_folder` and `files.read_parquet`.
    """
    named = f"{what}: {place.said!r}"
    if place.path.is_dir():
        return read_folder(place.path, named)
    kind = place.path.suffix.lower()
    if kind == ".parquet":
        return read_parquet(place.files, named)
    return read_arrow(place.files, named) if kind == ".arrow" and is_address(place.said) else None


def untyped(source: Any) -> bool:
    """Whether a table comes from a file of text, in which ids have no type of their own."""
    if isinstance(source, pa.Table):
        return (source.schema.metadata or {}).get(UNTYPED) is not None
    if not isinstance(source, Place):
        return False
    return not source.path.is_dir() and not {*source.path.suffixes} & {".parquet", ".arrow", *JSON}
