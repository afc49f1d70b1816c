"""The door to the controls: all there, and torch only when SASRec is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmrec import models as baselines

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", baselines.__all__)
def test_every_name_resolves_to_what_it_says(name):
    thing = getattr(baselines, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_the_names_are_these_and_no_other():
    assert dir(baselines) == baselines.__all__ == sorted(baselines._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'fit_sas'.*fit_sasrec"):
        _ = baselines.fit_sas


@pytest.mark.slow
def test_torch_waits_for_sasrec():
    script = (
        "import sys; from llmrec import models as b; from llmrec.models import fit_ease, fit_bm25, choose;"
        "before = 'torch' in sys.modules; b.fit_sasrec; print(before, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True"], done.stderr
