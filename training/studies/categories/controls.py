"""Controls of the study: text matches, with constants chosen on validation users, and popularity.

Axis convention: `T` users who choose, `N` items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from benchmarks.controls import DECAYS, FrozenText
from llmrec.data.dataset import Catalogue
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import load_text
from llmrec.encoder.items import encode_texts
from llmrec.encoder.weights import Weights
from llmrec.index.candidates import Candidates
from llmrec.models.text_match import TextMatch, fit_bm25
from llmrec.store import cache_folder
from studies.categories.shops import Category, ndcg

FROZEN_TEXT, BM25, POPULARITY = "frozen text", "BM25", "popularity"
Scores = list[np.ndarray]
Asked = tuple[Tasks, Candidates]


def text_vectors(catalogue: Catalogue) -> np.ndarray:
    """float32 (N, d): MiniLM's vectors of the titles, less their mean, of length 1."""
    found = encode_texts(load_text(Weights.packaged()), _titles(catalogue), cache_folder())
    found = found - found.mean(0)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def controls(here: Category, vectors: np.ndarray, validation: Asked, asked: Asked) -> dict[str, Scores]:
    """Name -> scores of each user's candidates, with the constants that are best on validation."""
    words = fit_bm25(here.dataset, _titles(here.dataset.catalogue), 1.2, 0.75, include_self=False)
    families: dict[str, Sequence[FrozenText | TextMatch]] = {
        FROZEN_TEXT: [FrozenText(vectors, decay, last) for last, decay in product((10, 50), DECAYS)],
        BM25: [replace(words, decay=decay) for decay in DECAYS],
    }
    found = {POPULARITY: [here.popularity[asked[1].of(task)].astype(np.float32) for task in range(len(asked[0]))]}
    hits = taken(*validation)
    for name, family in families.items():
        best = max(family, key=lambda one: float(ndcg(_of_candidates(one.scores(validation[0]), validation[1]), hits).mean()))
        found[name] = _of_candidates(best.scores(asked[0]), asked[1])
    return found


def taken(tasks: Tasks, found: Candidates) -> list[np.ndarray]:
    """bool (C,) of each user's candidates: the one that was taken."""
    return [np.isin(found.of(task), mine) for task, mine in enumerate(tasks.relevant())]


def _of_candidates(table: np.ndarray, found: Candidates) -> Scores:
    """Scores (T, N) of all items -> (C,) of each user's candidates."""
    return [row[found.of(task)] for task, row in enumerate(table)]


def _titles(catalogue: Catalogue) -> list[str]:
    return [title or "" for title in catalogue.column("title")]
