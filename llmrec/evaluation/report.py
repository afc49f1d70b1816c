"""What a fit leaves beside the recommender: `report.json`, `report.png` and the model card `README.md`.

Only counts of persons are in them, never an id. The model card is made of the report alone, so no number is computed twice.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec.data.clean import CleaningReport
from llmrec.encoder.weights import Weights
from llmrec.errors import MissingExtraError, WeightsError
from llmrec.evaluation.card import MARK, model_card
from llmrec.evaluation.held_out import Evaluation
from llmrec.evaluation.plot import Panel, plot
from llmrec.evaluation.summary import ITEMS, curves
from llmrec.metrics.report import write_report
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.state import State
from llmrec.store import FIGURE, REPORT, library_version, writing_to

PACKAGED_NAME = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = ("torch", "transformers", "faiss-cpu", "faiss-gpu", "numpy", "scipy", "pyarrow")
README, OTHER_CARD = "README.md", "MODEL_CARD.md"


def fit_facts(
    recommender: Recommender,
    evaluation: Evaluation | None,
    cleaned: CleaningReport | None = None,
    files: Sequence[str | Path] = (),
    seconds: float | None = None,
) -> dict[str, Any]:
    """Everything that the report says beside its rows, as JSON values.

    evaluation: None where nothing was measured. cleaned: what cleaning did, `recommender.report` when None; only its counts are
    kept. files: what was trained on, of which the names are kept. seconds: of everything so far.
    """
    state, report = recommender.state, recommender.report if cleaned is None else cleaned
    return {
        "llmrec": library_version(),
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [Path(file).name for file in files],
        "data": _data(state, recommender),
        "cleaning": [
            {name: value for name, value in asdict(step).items() if name != "detail"}
            for step in ([] if report is None else report.steps)
        ],
        "base_model": _base_model(recommender),
        "settings": asdict(state.settings),
        "seed": recommender.seed,
        "evaluation": None if evaluation is None else evaluation.protocol,
        "verdict": [] if evaluation is None else list(evaluation.verdict),
        "versions": _versions(),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
    }


def save_report(folder: str | Path, told: Mapping[str, Any], evaluation: Evaluation | None) -> list[str]:
    """Write `report.json`, `report.png` and the model card into the folder of a saved recommender; notes on what is left out.

    told: of `fit_facts`. Without an evaluation, or without matplotlib, there is no figure. A README.md of one's own is left
    alone, and the card is then MODEL_CARD.md. Raises ArtefactError where the folder cannot be written to.
    """
    to, rows, notes = Path(folder), [] if evaluation is None else list(evaluation.rows), []
    with writing_to(to):
        write_report(to / REPORT, rows, dict(told))
        (to / FIGURE).unlink(missing_ok=True)
        if evaluation is not None:
            try:
                plot(panels(evaluation), to / FIGURE)
            except MissingExtraError as error:
                notes.append(f"{FIGURE} is left out: {error}")
        card = to / README
        if card.exists() and MARK not in card.read_text(encoding="utf-8", errors="replace"):
            card = to / OTHER_CARD
            notes.append(f"{README} was not written by llmrec fit and is left alone; the model card is {OTHER_CARD}")
        report = json.loads((to / REPORT).read_text(encoding="utf-8"))
        card.write_text(model_card(report, to.resolve().name, (to / FIGURE).exists()), encoding="utf-8")
    return notes


def panels(evaluation: Evaluation) -> list[Panel]:
    """NDCG@10 by known baskets, one panel for all items and one for new ones."""
    return [Panel(ITEMS[which], "baskets known of a new user", curves(evaluation.rows, which)) for which in evaluation.kinds]


def _data(state: State, recommender: Recommender) -> dict[str, Any]:
    """Counts of what was trained on, and of whom was held out."""
    known, held = state.known.first, recommender.held_out
    trained = known.take(np.arange(state.trained))
    parts = [trained] if held is None else [trained, held]
    baskets = np.concatenate([part.n_baskets for part in parts])
    times = np.concatenate([part.time for part in parts])
    return {
        "events": sum(part.n_events for part in parts),
        "users": sum(part.n_users for part in parts),
        "trained_users": state.trained,
        "held_out_users": 0 if held is None else held.n_users,
        "items": known.n_items,
        "items_with_events": len(np.unique(trained.item)),
        "baskets_of_a_user": float(np.median(baskets)),
        "first_event": _day(times.min()),
        "last_event": _day(times.max()),
    }


def _base_model(recommender: Recommender) -> str | None:
    """The name of the pretrained text model, where it is known; a folder's path stays private."""
    weights = recommender.weights
    if weights is not None and weights.from_hub:
        return weights.location
    try:
        packaged = Weights.packaged()
    except WeightsError:
        return None
    return PACKAGED_NAME if weights is None or weights == packaged else None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit that llmrec was installed from, as pip noted it; None for a release or a checkout."""
    try:
        noted = metadata.distribution("llmrec").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    commit = {} if noted is None else json.loads(noted).get("vcs_info", {})
    return commit.get("commit_id")


def _day(seconds: float) -> str | None:
    """A date in UTC; None for times that are none, such as a plain order of events."""
    try:
        return datetime.fromtimestamp(float(seconds), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None
