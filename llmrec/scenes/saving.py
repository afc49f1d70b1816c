"""Save and load a scene: safetensors under one manifest of hashes, without pickle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from llmrec.layouts import Migration, Saved, check_layout, migrated
from llmrec.models.text_match import TextMatch
from llmrec.scenes.few import Few, Ground
from llmrec.scenes.learned import Design, Learned, Mixes
from llmrec.scenes.mix import Mix
from llmrec.scenes.opening import Scene
from llmrec.scenes.shelf import SceneItems, Shelf
from llmrec.store import from_one_save, load_arrays, read_folder, save_arrays, write_folder

if TYPE_CHECKING:
    from llmrec.ranking.rankers import CandidateRanker
    from llmrec.scenes.ranker_steps import RankerSteps

KIND = "scene"


def _scenes_of_items(saved: Saved) -> Saved:
    """In layout 1 a column that told scenes apart was always one of the items, and scenes were read by their texts alone."""
    return replace(saved, meta={**saved.meta, "of_events": False, "value": None})


def _one_kind_of_mixes(saved: Saved) -> Saved:
    """Up to layout 2 users on a first visit were scored as all others."""
    return replace(saved, meta={**saved.meta, "first": False})


LAYOUT = 3  # of all kinds; one more whenever what is saved changes its names or its meaning; then MIGRATIONS leads up to it
MIGRATIONS: dict[int, Migration] = {
    1: _scenes_of_items,
    2: _one_kind_of_mixes,
}  # layout k -> the function that makes layout k + 1 out of it
_MIX = ("mean", "spread", "line", "bend", "at", "out")
ARRAYS = "arrays.safetensors"
ADAPTED = "adapted"  # folder of the adapter after steps on a scene's own customers


def save_scene(folder: str | Path, scene: Scene) -> None:
    """Write a scene atomically; an older one at `folder` is replaced as a whole."""
    arrays, meta = scene_arrays(scene)
    write_folder(folder, lambda to: write_scene(to, scene, arrays), KIND, meta)


def load_scene(folder: str | Path, ranker: CandidateRanker | str | Path | None = None) -> Scene:
    """Read a scene back. ranker: for `loaded_ranker`, and raises as there. Raises ArtefactError for any byte that has changed,
    and where a newer llmrec saved it."""
    return from_one_save(folder, lambda there: scene_from(*opened(there, KIND), there, ranker))


def write_scene(to: Path, scene: Scene, arrays: dict[str, np.ndarray]) -> None:
    """Arrays into an open folder, the scene's own adapter, and where a recommender reads for the scene, that too."""
    write_learned(to, arrays, scene.ranker)
    if scene.adapted_ranker is not None:
        from llmrec.recommender.saved_reranker import save_adapter_of  # brings in torch

        save_adapter_of(scene.adapted_ranker, to / ADAPTED)
    scene.shelf.save(to)


def opened(folder: str | Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and meta of a folder, brought to this layout. Who reads more of its files does so in `from_one_save`.

    Raises ArtefactError, see `open_folder`, and for a newer layout."""

    def read(there: Path, meta: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        check_layout(there, kind, meta, LAYOUT, MIGRATIONS)
        saved = migrated(Saved(meta, load_arrays(there / ARRAYS), {}), LAYOUT, MIGRATIONS)
        return saved.arrays, saved.meta

    return read_folder(folder, kind, read)


def learned_arrays(learned: Learned) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What known scenes taught as arrays and JSON values."""
    arrays = {"map": learned.ground.map, "lean": learned.ground.lean, "gain": learned.gain, "spread": learned.spread}
    arrays |= _mixes_arrays("", learned.later)
    if learned.first is not None:
        arrays |= _mixes_arrays("first.", learned.first)
    meta = {
        "layout": LAYOUT,
        "sizes": learned.sizes,
        "zero": learned.later.zero.names,
        "first": learned.first is not None,
        "ranker_weights": learned.ranker_weights,
        "ranker_steps": None if learned.ranker_steps is None else learned.ranker_steps.to_dict(),
        "designs": [{"name": one.name, "columns": one.columns, "steps": one.steps} for one in learned.designs],
    }
    return arrays, meta


def learned_from(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> Learned:
    """The inverse of `learned_arrays`."""
    designs = tuple(Design(one["name"], tuple(one["columns"]), one["steps"]) for one in meta["designs"])
    sizes = tuple(meta["sizes"])

    def mixes(prefix: str) -> Mixes:
        every = [
            tuple(_mix(arrays, f"{prefix}mix.{s}.{d}", design.columns) for d, design in enumerate(designs))
            for s in range(len(sizes))
        ]
        return Mixes(_mix(arrays, f"{prefix}zero", meta["zero"]), tuple(every))

    first, of_all = mixes("first.") if meta["first"] else None, Ground(arrays["map"], arrays["lean"])
    without, adapted = meta.get("ranker_weights", (0.0, 0.0))  # not in folders that were saved before they were kept
    told = arrays["gain"], arrays["spread"], (without, adapted), _ranker_steps(meta.get("ranker_steps"))
    return Learned(of_all, designs, sizes, mixes(""), first, *told)


def _ranker_steps(saved: dict[str, Any] | None) -> RankerSteps | None:
    """None where there are none, as in folders that were saved before there were any."""
    if saved is None:
        return None
    from llmrec.scenes.ranker_steps import RankerSteps  # brings in torch, which a scene read by its texts does without

    return RankerSteps.from_dict(saved)


def ranker_facts(ranker: CandidateRanker | None) -> dict[str, Any] | None:
    """A ranker of one's own as JSON values, see `saved_ranker`; None without."""
    if ranker is None:
        return None
    from llmrec.recommender.saved_reranker import saved_ranker  # brings in torch, which a scene read by its texts does without

    return saved_ranker(ranker)


def write_learned(to: Path, arrays: dict[str, np.ndarray], ranker: CandidateRanker | None) -> None:
    """Arrays into an open folder, and the adapter of a language model's ranker, where it has one."""
    save_arrays(to / ARRAYS, arrays)
    if ranker is not None:
        from llmrec.recommender.saved_reranker import save_adapter_of  # as above

        save_adapter_of(ranker, to)


def ranker_from(
    saved: dict[str, Any] | None, folder: Path, given: CandidateRanker | str | Path | None
) -> CandidateRanker | None:
    """The inverse of `ranker_facts`; given and errors: as of `loaded_ranker`."""
    if saved is None:
        return None
    from llmrec.recommender.saved_reranker import loaded_ranker  # as above

    return loaded_ranker(saved, folder, "cpu", given)


def scene_arrays(scene: Scene) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A scene, and what it was opened with, as arrays and JSON values."""
    arrays, meta = learned_arrays(scene.learned)
    shelf, few = scene.shelf, scene.few
    arrays |= {"vectors": shelf.vectors, "among": shelf.among}
    said = None
    if isinstance(shelf, Shelf):
        words = shelf.words
        arrays |= {"crowd": shelf.crowd, "own": words.own}
        arrays |= _csr_arrays("query", words.query) | _csr_arrays("document", words.document)
        said = {"name": words.name, "decay": words.decay, "last": words.last, "width": words.query.shape[1]}
    if few is not None:
        arrays |= {"bought": few.bought, "down": few.down, "up": few.up}
        arrays |= _csr_arrays("together", few.together) | _csr_arrays("alike", few.alike)
    if scene.own is not None:
        arrays |= _mix_arrays("own_mix", scene.own)
    return arrays, meta | {
        "words": said,
        "users": None if few is None else few.users,
        "design": scene.design,
        "own": None if scene.own is None else scene.own.names,
        "ranker": ranker_facts(scene.ranker),
        "adapted_ranker": scene.adapted_ranker is not None,
    }


def scene_from(
    arrays: dict[str, np.ndarray], meta: dict[str, Any], folder: Path, ranker: CandidateRanker | str | Path | None = None
) -> Scene:
    """The inverse of `scene_arrays`. folder: where they were read. ranker: as of `load_scene`."""
    items, shelf = len(arrays["among"]), _shelf(arrays, meta, folder)
    few = None
    if meta["users"] is not None:
        together, alike = (_csr(arrays, name, (items, items)) for name in ("together", "alike"))
        few = Few(meta["users"], arrays["bought"], together, alike, arrays["down"], arrays["up"])
    own = None if meta["own"] is None else _mix(arrays, "own_mix", meta["own"])
    there, adapted = ranker_from(meta.get("ranker"), folder, ranker), None
    if meta.get("adapted_ranker"):  # not in folders that were saved before there were any
        from llmrec.recommender.saved_reranker import with_adapter_of  # brings in torch

        adapted = with_adapter_of(there, folder / ADAPTED)
    return Scene(learned_from(arrays, meta), shelf, few, meta["design"], own, there, adapted)


def _shelf(arrays: dict[str, np.ndarray], meta: dict[str, Any], folder: Path) -> SceneItems:
    if meta["words"] is None:
        from llmrec.scenes.ranked import load_shelf  # brings in torch, which a scene read by its texts does without

        return load_shelf(folder, arrays["vectors"], arrays["among"])
    items, words = len(arrays["among"]), meta["words"]
    query, document = (_csr(arrays, name, (items, words["width"])) for name in ("query", "document"))
    match = TextMatch(words["name"], query, document, arrays["own"], words["decay"], words["last"])
    return Shelf(arrays["vectors"], match, arrays["crowd"], arrays["among"])


def _mixes_arrays(prefix: str, mixes: Mixes) -> dict[str, np.ndarray]:
    arrays = _mix_arrays(f"{prefix}zero", mixes.zero)
    for s, row in enumerate(mixes.by_size):
        for d, mix in enumerate(row):
            arrays |= _mix_arrays(f"{prefix}mix.{s}.{d}", mix)
    return arrays


def _mix_arrays(prefix: str, mix: Mix) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": getattr(mix, name) for name in _MIX}


def _mix(arrays: dict[str, np.ndarray], prefix: str, names: Any) -> Mix:
    return Mix(tuple(names), *(arrays[f"{prefix}.{name}"] for name in _MIX))


def _csr_arrays(prefix: str, matrix: sparse.csr_array) -> dict[str, np.ndarray]:
    return {f"{prefix}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def _csr(arrays: dict[str, np.ndarray], prefix: str, shape: tuple[int, int]) -> sparse.csr_array:
    parts = tuple(arrays[f"{prefix}.{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_array(parts, shape=shape)
