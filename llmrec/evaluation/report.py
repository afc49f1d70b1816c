"""What a fit leaves beside the recommender: `report.json`, `report.png` and the model card `README.md`.

Only counts of persons are in them, never an id. The model card is made of the report alone, so no number is computed twice.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
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
from llmrec.hub import is_address
from llmrec.manifest import FIGURE, REPORT
from llmrec.metrics.report import write_report
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.state import State
from llmrec.store import library_version, located, writing_to

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
    kept. files: what was trained on: addresses on the hub, and the names of files. seconds: of everything so far.
    """
    state, report = recommender.state, recommender.report if cleaned is None else cleaned
    return {
        "llmrec": library_version(),
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [str(file) if is_address(file) else Path(file).name for file in files],
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
    alone, and the card is then MODEL_CARD.md. The files are made beside the folder and renamed into it: a reader sees the old
    or the new one of each. Raises ArtefactError where the folder, or the one above it, cannot be written to.
    """
    to, rows, notes = located(folder).resolve(), [] if evaluation is None else list(evaluation.rows), []
    with writing_to(to):
        to.mkdir(parents=True, exist_ok=True)
        old = _written(to)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.saving-", dir=to.parent) as made:
            fresh = Path(made)
            write_report(fresh / REPORT, rows, dict(told))
            if evaluation is not None:
                try:
                    plot(panels(evaluation), fresh / FIGURE)
                except MissingExtraError as error:
                    notes.append(f"{FIGURE} is left out: {error}")
            card = README
            if (to / README).exists() and README not in old:
                card = OTHER_CARD
                notes.append(f"{README} was not written by llmrec fit and is left alone; the model card is {OTHER_CARD}")
            report = json.loads((fresh / REPORT).read_text(encoding="utf-8"))
            text = model_card(report, to.name, (fresh / FIGURE).exists())
            (fresh / card).write_text(text, encoding="utf-8")
            new = sorted(file.name for file in fresh.iterdir())
            for name in new:
                os.replace(fresh / name, to / name)
        for name in set(old) - set(new):
            (to / name).unlink()
    return notes


def remove_report(folder: str | Path) -> None:
    """Remove what `save_report` wrote into a folder, which is of an older save; a README.md of one's own stays.

    Raises ArtefactError where the folder cannot be written to.
    """
    to = located(folder)
    with writing_to(to):
        for name in _written(to):
            (to / name).unlink()


def _written(folder: Path) -> list[str]:
    """The names of the files of `save_report` that are in a folder."""
    found = [name for name in (REPORT, FIGURE, README, OTHER_CARD) if (folder / name).is_file()]
    cards = [name for name in found if name.endswith(".md")]
    own = [name for name in cards if MARK not in (folder / name).read_text(encoding="utf-8", errors="replace")]
    return [name for name in found if name not in own]


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
        "item_attributes": [] if known.catalogue.attributes is None else list(known.catalogue.attributes.encoding.names),
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
