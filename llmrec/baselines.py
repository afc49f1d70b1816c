"""Door to every control: what counting, text and a plain transformer reach, each fitted by one function.

A control has a `name` and `scores(tasks)`, float32 (T, N) from the support of each task. `choose` takes, of several fitted
ones, the best on validation tasks. torch is loaded when SASRec is asked for, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.benchmarks.sasrec import SasrecSettings, fit_sasrec
    from llmrec.evaluation.controls import Control, choose, fit_most_frequent, fit_popularity
    from llmrec.evaluation.item_item import fit_ease, fit_item_knn, fit_markov
    from llmrec.evaluation.text_match import fit_attribute_knn, fit_bm25, fit_tfidf

_HOMES = {
    "Control": "llmrec.evaluation.controls",
    "SasrecSettings": "llmrec.benchmarks.sasrec",
    "choose": "llmrec.evaluation.controls",
    "fit_attribute_knn": "llmrec.evaluation.text_match",
    "fit_bm25": "llmrec.evaluation.text_match",
    "fit_ease": "llmrec.evaluation.item_item",
    "fit_item_knn": "llmrec.evaluation.item_item",
    "fit_markov": "llmrec.evaluation.item_item",
    "fit_most_frequent": "llmrec.evaluation.controls",
    "fit_popularity": "llmrec.evaluation.controls",
    "fit_sasrec": "llmrec.benchmarks.sasrec",
    "fit_tfidf": "llmrec.evaluation.text_match",
}

__all__ = [
    "Control",
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
        raise AttributeError(f"module 'llmrec.baselines' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
