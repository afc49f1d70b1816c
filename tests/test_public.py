"""The names that may be relied on: few, and there without waiting for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import llmrec

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    *(
        "Cleaning",
        "CleaningReport",
        "CoreSettings",
        "Dataset",
        "LlmrecError",
        "LoraSettings",
        "OuterSettings",
        "Recommender",
        "SceneRecommender",
    ),
    *("Scenes", "Settings", "ShortAnswerWarning", "TrainSettings", "Weights", "build"),
]


def test_the_public_names_are_these():
    assert llmrec.__all__ == NAMES
    assert len(llmrec.__all__) <= 15
    assert dir(llmrec) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_resolves_to_what_it_says(name):
    thing = getattr(llmrec, name)
    assert thing.__name__ == name
    assert thing.__module__.startswith("llmrec.")
    assert thing.__doc__


def test_a_name_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(AttributeError, match="no attribute 'Recomender'.*Recommender"):
        _ = llmrec.Recomender
    assert not hasattr(llmrec, "torch")


@pytest.mark.slow
def test_importing_the_package_does_not_import_torch():
    script = "import sys, llmrec; before = 'torch' in sys.modules; llmrec.Recommender; print(before, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True"], done.stderr  # the second says that the probe can see it
