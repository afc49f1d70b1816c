"""Folders that older releases saved: what they hold is brought to today's layout by functions, one for each layout.

A layout says which arrays, settings and other values a folder holds and what they mean. The first release writes layout 1, and
every later one loads all layouts from 1 on. Whoever changes what is saved raises `LAYOUT` in the module that saves it by one,
and adds the function that makes the new layout out of the one before to `MIGRATIONS` there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.errors import ArtefactError
from llmrec.manifest import MANIFEST
from llmrec.store import from_one_save, library_version, load_json


@dataclass(frozen=True)
class Saved:
    """What a folder holds beside its tables and weights, as it was read.

    meta: of the manifest, JSON values. arrays: by name. settings: JSON values; empty where none are saved.
    """

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]


Migration = Callable[[Saved], Saved]
"""Layout k -> layout k + 1. It returns a new value; `meta["layout"]` is set by `migrated`."""


def check_layout(
    folder: str | Path, kind: str, meta: Mapping[str, Any], layout: int, migrations: Mapping[int, Migration]
) -> None:
    """Raises ArtefactError unless a folder with this `meta` is of `layout`, or of an older one that migrations lead up from."""
    found = meta.get("layout")
    if isinstance(found, int) and found > layout:
        raise ArtefactError(
            f'{folder}: expected "{kind}" in layout {layout} or older, got layout {found}: it was saved by a newer llmrec than '
            f"this one ({library_version()}); install that version, or fit and save it again with this one"
        )
    if not isinstance(found, int) or any(step not in migrations for step in range(found, layout)):
        raise ArtefactError(
            f'{folder}: expected "{kind}" in layout {layout}, got layout {found}, which no release wrote; fit and save it again'
        )


def migrated(saved: Saved, layout: int, migrations: Mapping[int, Migration]) -> Saved:
    """The same in `layout`; `migrations` has the function from layout k to k + 1 under k. Ask `check_layout` first."""
    for step in range(saved.meta["layout"], layout):
        saved = migrations[step](saved)
        saved = replace(saved, meta={**saved.meta, "layout": step + 1})
    return saved


def saved_kind(path: str | Path) -> str:
    """What was saved in a folder, as `write_folder` was told. Raises ArtefactError where it holds nothing that was saved."""

    def kind(folder: Path) -> str:
        if not (file := folder / MANIFEST).is_file():
            raise ArtefactError(f"{path}: expected a saved folder with a {MANIFEST}, got none there; check the path")
        found = load_json(file)
        return str(found.get("kind")) if isinstance(found, dict) else "something else"

    return from_one_save(path, kind)
