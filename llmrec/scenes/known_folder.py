"""The folder of known scenes: alone, or within that of the recommender that reads for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmrec.errors import ArtefactError
from llmrec.layouts import saved_kind
from llmrec.manifest import MANIFEST
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.rankers import CandidateRanker
from llmrec.recommender.kept_scenes import KIND, SCENES
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.saved_reranker import is_saved
from llmrec.recommender.saving import KIND as RECOMMENDER
from llmrec.recommender.templates import loaded_template
from llmrec.scenes.learned import Learned
from llmrec.scenes.saving import learned_from, opened, ranker_from
from llmrec.scenes.tables import TEMPLATE
from llmrec.store import from_one_save


def read_known(
    folder: Path, recommender: Recommender | None, ranker: CandidateRanker | str | Path | None
) -> tuple[Recommender | None, CandidateRanker | None, Learned, dict[str, Any]]:
    """The recommender, the ranker, what was learned, and the meta; all of one save. Raises as `Scenes.from_pretrained`.

    recommender: None for that of the folder, where it was saved with one.
    """

    def read(there: Path) -> tuple[Recommender | None, CandidateRanker | None, Learned, dict[str, Any]]:
        reader, place = recommender, there
        if saved_kind(there) == RECOMMENDER:
            place = there / SCENES
            if not (place / MANIFEST).is_file():
                raise ArtefactError(
                    f"{there}: expected known scenes, got a recommender that was saved without any; fit some with it, and save "
                    "them with save_pretrained(folder, recommender=True)"
                )
            reader = reader or Recommender.from_pretrained(there, ranker=ranker)
        arrays, meta = opened(place, KIND)
        if meta.get("template") is not None:  # not in folders that were saved before it was kept
            loaded_template(meta["template"], TEMPLATE, "item", there)
        saved = meta.get("ranker")  # not in folders that were saved before it was kept
        theirs = None if reader is None else reader.state.own_ranker
        alike = None if saved is None or hasattr(ranker, "score") else _alike(saved, theirs)
        found = ranker_from(saved, place, ranker if alike is None else alike)  # a language model is not read twice
        return reader, found, learned_from(arrays, meta), meta

    return from_one_save(folder, read)


def _alike(saved: dict[str, Any], theirs: CandidateRanker | None) -> CandidateRanker | None:
    """The recommender's ranker where it is the one that was saved, or this without its adapter where only that differs."""
    if theirs is None or is_saved(saved, theirs):
        return theirs
    if not isinstance(theirs, LLMRanker):
        return None
    plain = replace(theirs, adapter=None)
    return plain if is_saved({**saved, "adapter": None}, plain) else None
