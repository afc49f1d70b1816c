"""A fitted recommender against controls on held-out users: comparison, report, figure and model card.

>>> from llmrec.evaluation import evaluate_held_out, fit_facts, save_report      # doctest: +SKIP
>>> shop = Recommender().fit(events, items, held_out_users="auto")               # doctest: +SKIP
>>> found = evaluate_held_out(shop)                                              # doctest: +SKIP
>>> print(found)                                                                 # doctest: +SKIP
>>> save_report("shop", fit_facts(shop, found), found)  # beside what save_pretrained("shop") saved     # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.evaluation.held_out import Evaluation, evaluate_held_out
    from llmrec.evaluation.report import fit_facts, save_report

_HOMES = {
    "Evaluation": "llmrec.evaluation.held_out",
    "evaluate_held_out": "llmrec.evaluation.held_out",
    "fit_facts": "llmrec.evaluation.report",
    "save_report": "llmrec.evaluation.report",
}

__all__ = ["Evaluation", "evaluate_held_out", "fit_facts", "save_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmrec.evaluation' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
