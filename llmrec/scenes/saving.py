"""A scene as a folder: arrays in safetensors under one manifest of hashes; no pickle, and no other scene is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from llmrec.errors import ArtefactError
from llmrec.evaluation.text_match import TextMatch
from llmrec.scenes.few import Few, Ground
from llmrec.scenes.learned import Design, Learned
from llmrec.scenes.mix import Mix
from llmrec.scenes.opening import Scene
from llmrec.scenes.shelf import Shelf
from llmrec.store import load_arrays, open_folder, save_arrays, write_folder

KIND = "scene"
LAYOUT = 2  # one more whenever what is saved changes its meaning
_MIX = ("mean", "spread", "line", "bend", "at", "out")
_ARRAYS = "arrays.safetensors"


def save_scene(folder: str | Path, scene: Scene) -> None:
    """Write a scene atomically; an older one at `folder` is replaced as a whole."""
    learned, shelf, few = scene.learned, scene.shelf, scene.few
    arrays = {"map": learned.ground.map, "lean": learned.ground.lean, "gain": learned.gain, "spread": learned.spread}
    arrays |= _mix_arrays("zero", learned.zero)
    for s, row in enumerate(learned.mixes):
        for d, mix in enumerate(row):
            arrays |= _mix_arrays(f"mix.{s}.{d}", mix)
    arrays |= {"vectors": shelf.vectors, "crowd": shelf.crowd, "among": shelf.among, "own": shelf.words.own}
    arrays |= _csr_arrays("query", shelf.words.query) | _csr_arrays("document", shelf.words.document)
    if few is not None:
        arrays |= {"bought": few.bought, "down": few.down, "up": few.up}
        arrays |= _csr_arrays("together", few.together) | _csr_arrays("alike", few.alike)
    if scene.own is not None:
        arrays |= _mix_arrays("own_mix", scene.own)
    words = shelf.words
    meta = {
        "layout": LAYOUT,
        "sizes": learned.sizes,
        "zero": learned.zero.names,
        "designs": [{"name": one.name, "columns": one.columns, "steps": one.steps} for one in learned.designs],
        "words": {"name": words.name, "decay": words.decay, "last": words.last, "width": words.query.shape[1]},
        "users": None if few is None else few.users,
        "design": scene.design,
        "own": None if scene.own is None else scene.own.names,
    }
    write_folder(folder, lambda to: save_arrays(to / _ARRAYS, arrays), KIND, meta)


def load_scene(folder: str | Path) -> Scene:
    """Read a scene back. Raises ArtefactError for any byte that has changed, and for another layout."""
    meta = open_folder(folder, KIND)
    if meta["layout"] != LAYOUT:
        raise ArtefactError(f"{folder}: expected a scene in layout {LAYOUT}, got {meta['layout']}; save it again")
    arrays = load_arrays(Path(folder) / _ARRAYS)
    designs = tuple(Design(one["name"], tuple(one["columns"]), one["steps"]) for one in meta["designs"])
    learned = Learned(
        Ground(arrays["map"], arrays["lean"]),
        designs,
        tuple(meta["sizes"]),
        _mix(arrays, "zero", meta["zero"]),
        tuple(
            tuple(_mix(arrays, f"mix.{s}.{d}", design.columns) for d, design in enumerate(designs))
            for s in range(len(meta["sizes"]))
        ),
        arrays["gain"],
        arrays["spread"],
    )
    items, words = len(arrays["among"]), meta["words"]
    query, document = (_csr(arrays, name, (items, words["width"])) for name in ("query", "document"))
    match = TextMatch(words["name"], query, document, arrays["own"], words["decay"], words["last"])
    shelf = Shelf(arrays["vectors"], match, arrays["crowd"], arrays["among"])
    few = None
    if meta["users"] is not None:
        together, alike = (_csr(arrays, name, (items, items)) for name in ("together", "alike"))
        few = Few(meta["users"], arrays["bought"], together, alike, arrays["down"], arrays["up"])
    own = None if meta["own"] is None else _mix(arrays, "own_mix", meta["own"])
    return Scene(learned, shelf, few, meta["design"], own)


def _mix_arrays(prefix: str, mix: Mix) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": getattr(mix, name) for name in _MIX}


def _mix(arrays: dict[str, np.ndarray], prefix: str, names: Any) -> Mix:
    return Mix(tuple(names), *(arrays[f"{prefix}.{name}"] for name in _MIX))


def _csr_arrays(prefix: str, matrix: sparse.csr_array) -> dict[str, np.ndarray]:
    return {f"{prefix}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def _csr(arrays: dict[str, np.ndarray], prefix: str, shape: tuple[int, int]) -> sparse.csr_array:
    parts = tuple(arrays[f"{prefix}.{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_array(parts, shape=shape)
