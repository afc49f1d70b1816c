"""A scene comes back with the same scores, or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmrec.errors import ArtefactError
from llmrec.scenes.opening import adapt, open
from llmrec.scenes.saving import load_scene, save_scene
from llmrec.scenes.shelf import part_of
from llmrec.scenes.worlds import last_steps


@pytest.fixture
def scene(known, shop):
    world = shop(7, True)
    shelf = part_of(world.shelf, np.arange(world.dataset.n_items) < 40)
    return adapt(open(known, shelf), world.dataset, np.arange(64), 3), world


def test_the_same_scores_come_back(scene, tmp_path):
    adapted, world = scene
    tasks = last_steps(world.dataset, np.arange(64, 100), adapted.shelf.among)
    for one in (adapted, open(adapted.learned, adapted.shelf)):
        save_scene(tmp_path / "scene", one)
        back = load_scene(tmp_path / "scene")
        assert back.name == one.name
        assert np.array_equal(back.scores(tasks), one.scores(tasks))
        assert back.learned.best(64) == one.learned.best(64)
    again = adapt(back, world.dataset, np.arange(64), 3)  # a loaded scene can be adapted
    assert np.array_equal(again.scores(tasks), adapted.scores(tasks))


def test_a_changed_byte_is_refused(scene, tmp_path):
    save_scene(tmp_path / "scene", scene[0])
    file = tmp_path / "scene" / "arrays.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ArtefactError, match="changed since saved"):
        load_scene(tmp_path / "scene")


def test_another_layout_is_refused(scene, tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.scenes.saving.LAYOUT", 0)
    save_scene(tmp_path / "scene", scene[0])
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="expected a scene in layout 2, got 0"):
        load_scene(tmp_path / "scene")
    assert json.loads((tmp_path / "scene" / "manifest.json").read_text())["kind"] == "scene"
