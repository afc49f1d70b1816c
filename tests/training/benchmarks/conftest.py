"""Settings by which benchmarks fit a recommender in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.encoder.weights import Weights

TINY = """
layers: null
ranking_tasks: 40
train: {max_steps: 4, batch_size: 8, max_slots: 12, horizon: 1, known: [1, 4]}
outer: {episodes: 1}
counts_ranker: {hidden: 2, max_steps: 10}
blend: {hidden: 2, max_steps: 10}
sources: {text_k: 3, knn_k: 2, popular_k: 2}
"""


@pytest.fixture
def settings(tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The path of a file with settings by which everything is trained, for moments, over a tiny text model."""
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    (tmp_path / "tiny.yaml").write_text(TINY)
    return str(tmp_path / "tiny.yaml")
