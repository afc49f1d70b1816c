"""Files of published data sets that hold no names of columns: MovieLens 100K, 1M and 10M, told by the name of the file and its
first row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

_GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical Mystery "
    "Romance Sci-Fi Thriller War Western"
)


@dataclass(frozen=True)
class Layout:
    """separator: between fields. names: of the columns. flags: how many columns at the end say by 1 or 0 whether an item has
    the category that they are named after."""

    separator: str
    names: tuple[str, ...]
    flags: int = 0


_RATINGS = ("user_id", "item_id", "rating", "timestamp")
_LAYOUTS = {
    ("u.data", "events"): Layout("\t", _RATINGS),
    ("ratings.dat", "events"): Layout("::", _RATINGS),
    ("u.item", "items"): Layout(
        "|", ("item_id", "title", "release_date", "video_release_date", "imdb_url", *_GENRES.split()), len(_GENRES.split())
    ),
    ("movies.dat", "items"): Layout("::", ("item_id", "title", "category")),
    ("u.user", "users"): Layout("|", ("user_id", "age", "gender", "occupation", "zip_code")),
    ("users.dat", "users"): Layout("::", ("user_id", "gender", "age", "occupation", "zip_code")),
}


def published_layout(path: Path, what: str, data: bytes) -> Layout | None:
    """The layout of a file of events, items or users that has the name of a published one, and whose first row has its fields
    and begins with a number; None for any other. data: of the file, in any encoding that holds ASCII."""
    layout = _LAYOUTS.get((path.name.lower(), what))
    if layout is None:
        return None
    first = data[: 1 << 16].lstrip().split(b"\n", 1)[0].split(layout.separator.encode())
    return layout if len(first) == len(layout.names) and first[0].isdigit() else None


def with_categories(table: pa.Table, names: tuple[str, ...], layout: Layout) -> tuple[pa.Table, tuple[str, ...]]:
    """The table and its names, with one column `category` for all flags: "Animation|Comedy"."""
    if not layout.flags:
        return table, names
    first = len(names) - layout.flags
    flags = [table.column(place).to_pylist() for place in range(first, len(names))]
    said = [
        "|".join(name for name, flag in zip(names[first:], row, strict=True) if flag == "1") for row in zip(*flags, strict=True)
    ]
    table = table.select(range(first)).append_column(str(first), pa.chunked_array([pa.array(said, pa.large_string())]))
    return table, (*names[:first], "category")
