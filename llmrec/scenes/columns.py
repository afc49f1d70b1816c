"""Which table has the column that tells scenes apart: the items (a category), or the events (a country, a season)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmrec.data.columns import EVENT_ITEM_TEXT
from llmrec.data.dataset import Dataset
from llmrec.data.tables import read_events
from llmrec.errors import SchemaError

SCENE = "scene"  # the library's name of the column of the events


def is_of_events(data: Any, items: Any, scene: str, columns: Mapping[str, str] | None) -> bool:
    """Whether the column `scene` stands in the table of events, or of a `Dataset`, whether its events have scenes."""
    if isinstance(data, Dataset):
        return scene == SCENE and data.scene is not None
    if items is None and scene in EVENT_ITEM_TEXT:
        return False  # the catalogue is made of it
    if columns and columns.get(scene) == SCENE:
        return True
    return scene in read_events(data, columns, with_item_text=items is None)[0].column_names


def with_scene(columns: Mapping[str, str] | None, scene: str) -> dict[str, str]:
    """`columns` with the column `scene` of the events read as the scene."""
    found = dict(columns or {})
    return found if scene == SCENE else found | {scene: SCENE}


def check_column(dataset: Dataset, scene: str, of_events: bool) -> None:
    """Raises SchemaError where the column `scene` stands in neither table, or in both."""
    table = dataset.catalogue.table.column_names
    if of_events and scene in table:
        raise SchemaError(
            f"scene: expected a column of the events or of the items, got {scene!r}, which both tables have; drop or rename "
            "it in one of them"
        )
    if not of_events and scene not in table:
        raise SchemaError(
            f"scene: expected a column of the items or of the events, got {scene!r}; the items have {', '.join(table)}"
        )
