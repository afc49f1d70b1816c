"""All baselines: models of counts, of text, and a plain transformer, each fitted by one function.

A baseline has a `name` and `scores(tasks)`, float32 (T, N) from the support of each task. `choose` returns the best
of several fitted ones on validation tasks. torch is loaded only for SASRec.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.models.item_item import fit_ease, fit_item_knn, fit_markov
    from llmrec.models.popularity import Baseline, choose, fit_most_frequent, fit_popularity
    from llmrec.models.sasrec import SasrecSettings, fit_sasrec
    from llmrec.models.text_match import fit_attribute_knn, fit_bm25, fit_tfidf

_HOMES = {
    "Baseline": "llmrec.models.popularity",
    "SasrecSettings": "llmrec.models.sasrec",
    "choose": "llmrec.models.popularity",
    "fit_attribute_knn": "llmrec.models.text_match",
    "fit_bm25": "llmrec.models.text_match",
    "fit_ease": "llmrec.models.item_item",
    "fit_item_knn": "llmrec.models.item_item",
    "fit_markov": "llmrec.models.item_item",
    "fit_most_frequent": "llmrec.models.popularity",
    "fit_popularity": "llmrec.models.popularity",
    "fit_sasrec": "llmrec.models.sasrec",
    "fit_tfidf": "llmrec.models.text_match",
}

__all__ = [
    "Baseline",
    "SasrecSettings",
    "choose",
    "fit_attribute_knn",
    "fit_bm25",
    "fit_ease",
    "fit_item_knn",
    "fit_markov",
    "fit_most_frequent",
    "fit_popularity",
    "fit_sasrec",
    "fit_tfidf",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmrec.models' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
