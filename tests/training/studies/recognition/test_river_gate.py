"""River's detectors see a jump, and without river the message says what to install."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from llmrec.errors import MissingExtraError
from studies.recognition.river_gate import drift


@pytest.mark.parametrize("detector", ["adwin", "page_hinkley"])
def test_a_jump_is_found_after_it_happened_and_a_level_stream_is_quiet(detector):
    pytest.importorskip("river")
    level = np.random.default_rng(0).normal(size=300)
    assert len(drift(level, detector)) == 0
    found = drift(np.concatenate([level, level + 20]), detector)
    assert 300 <= found[0] < 400


def test_without_river_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(MissingExtraError, match=r"llmrec\[streams\]"):
        drift(np.zeros(3))
