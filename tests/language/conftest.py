"""Tiny language models of several families; never written to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from language_models import tiny

from llmrec.language.model import LanguageModel


@pytest.fixture(scope="session")
def tiny_model(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LanguageModel]:
    """`tiny_model("qwen3")` -> LanguageModel of 3 blocks, width 32, random weights and 17 words."""
    return cache(lambda family: tiny(family, tiny_folders["llama"], tmp_path_factory.mktemp(family)))
