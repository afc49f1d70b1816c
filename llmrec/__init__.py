"""llmrec: recommend to new shoppers and in new categories without retraining."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.data.build import build
    from llmrec.data.clean import Cleaning, CleaningReport
    from llmrec.data.dataset import Dataset
    from llmrec.encoder.train import TrainSettings
    from llmrec.encoder.weights import Weights
    from llmrec.errors import LlmrecError, ShortAnswerWarning
    from llmrec.meta.outer import OuterSettings
    from llmrec.recommender.recommender import Recommender
    from llmrec.recommender.settings import CoreSettings, LoraSettings, Settings
    from llmrec.scenes.api import Scenes
    from llmrec.scenes.new import SceneRecommender

# Threads of GNU OpenMP, which torch and faiss use on Linux, spin for a millisecond or more while they wait for one another.
# Beside two busy processes on two cores a quick fit took 5.0 and 2.6 times as long as on a quiet machine on two days, and with
# brief spinning 2.3 and 3.2 times, at no cost on a quiet machine; single training steps took 20 to 100 times as long without it
# (training/LOG.md). The variable is read once, when torch is imported. The user's own choice stands.
if "torch" not in sys.modules and not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "20000"

# Where each public name lives; it is imported when it is first asked for, so that `import llmrec` stays instant.
_HOMES = {
    "Recommender": "llmrec.recommender.recommender",
    "Settings": "llmrec.recommender.settings",
    "CoreSettings": "llmrec.recommender.settings",
    "LoraSettings": "llmrec.recommender.settings",
    "TrainSettings": "llmrec.encoder.train",
    "OuterSettings": "llmrec.meta.outer",
    "Scenes": "llmrec.scenes.api",
    "SceneRecommender": "llmrec.scenes.new",
    "Weights": "llmrec.encoder.weights",
    "Dataset": "llmrec.data.dataset",
    "build": "llmrec.data.build",
    "Cleaning": "llmrec.data.clean",
    "CleaningReport": "llmrec.data.clean",
    "LlmrecError": "llmrec.errors",
    "ShortAnswerWarning": "llmrec.errors",
}

__all__ = [
    "Cleaning",
    "CleaningReport",
    "CoreSettings",
    "Dataset",
    "LlmrecError",
    "LoraSettings",
    "OuterSettings",
    "Recommender",
    "SceneRecommender",
    "Scenes",
    "Settings",
    "ShortAnswerWarning",
    "TrainSettings",
    "Weights",
    "build",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmrec' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
