"""Which table has the column that tells scenes apart: the items (a category), or the events (a country, a season)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmrec.data.columns import EVENT_ITEM_TEXT, EVENT_REQUIRED
from llmrec.data.dataset import Dataset
from llmrec.data.tables import read_events
from llmrec.errors import SchemaError

SCENE = "scene"  # the library's name of the column of the events


def event_names(data: Any, items: Any, columns: Mapping[str, str] | None) -> tuple[str, ...]:
    """Names of the columns of the events, as they came and as the library reads them; of a `Dataset` only "scene", where its
    events have scenes."""
    if isinstance(data, Dataset):
        return () if data.scene is None else (SCENE,)
    names = read_events(data, columns, with_item_text=items is None)[0].column_names
    return (*names, *(theirs for theirs, ours in (columns or {}).items() if ours == SCENE))


def is_of_events(names: Sequence[str], items: Any, scene: str) -> bool:
    """Whether the column `scene` stands in the events, whose columns are `names`. Raises SchemaError for a column that every
    event needs, which tells no scenes apart."""
    if scene in EVENT_REQUIRED:
        raise SchemaError(f"scene: expected a column such as 'country' or 'category', got {scene!r}, which every event needs")
    if items is None and scene in EVENT_ITEM_TEXT:
        return False  # the catalogue is made of it
    return scene in names


def with_scene(columns: Mapping[str, str] | None, scene: str) -> dict[str, str]:
    """`columns` with the column `scene` of the events read as the scene."""
    found = dict(columns or {})
    return found if scene == SCENE else found | {scene: SCENE}


def check_tables(events: Any, items: Any, scene: str) -> None:
    """As `is_of_events` and `check_column`, of tables under the library's names, before anything is made of them."""
    names = event_names(events, items, None)
    table = [name for name in EVENT_ITEM_TEXT if name in names] if items is None else items.column_names
    check_column(table, names, scene, is_of_events(names, items, scene))


def check_column(table: Sequence[str], names: Sequence[str], scene: str, of_events: bool) -> None:
    """Raises SchemaError where the column `scene` stands neither in the catalogue, with columns `table`, nor among the events'
    `names`, or in both."""
    if of_events and scene in table:
        raise SchemaError(
            f"scene: expected a column of the events or of the items, got {scene!r}, which both tables have; drop or rename "
            "it in one of them"
        )
    if not of_events and scene not in table:
        raise SchemaError(
            f"scene: expected a column of the items or of the events, got {scene!r}; the items have {', '.join(table)}, the "
            f"events {', '.join(names) or 'no scenes'}"
        )
