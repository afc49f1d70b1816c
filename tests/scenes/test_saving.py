"""A scene comes back with the same scores, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from meanwhile import saves_meanwhile

from llmrec.errors import ArtefactError
from llmrec.layouts import Saved, check_layout, migrated
from llmrec.scenes import saving
from llmrec.scenes.opening import adapt, zero_shot
from llmrec.scenes.saving import load_scene, save_scene
from llmrec.scenes.shelf import part_of
from llmrec.scenes.worlds import last_steps


@pytest.fixture
def scene(known, shop):
    world = shop(7, True)
    shelf = part_of(world.shelf, np.arange(world.dataset.n_items) < 40)
    return adapt(zero_shot(known, shelf), world.dataset, np.arange(64), 3), world


def test_the_same_scores_come_back(scene, tmp_path):
    adapted, world = scene
    tasks = last_steps(world.dataset, np.arange(64, 100), adapted.shelf.among)
    for one in (adapted, zero_shot(adapted.learned, adapted.shelf)):
        save_scene(tmp_path / "scene", one)
        back = load_scene(tmp_path / "scene")
        assert back.name == one.name
        assert np.array_equal(back.scores(tasks), one.scores(tasks))
        assert back.learned.best(64) == one.learned.best(64)
    again = adapt(back, world.dataset, np.arange(64), 3)  # a loaded scene can be adapted
    assert np.array_equal(again.scores(tasks), adapted.scores(tasks))


def test_a_save_by_another_process_in_the_middle_of_loading_gives_that_one(scene, tmp_path, monkeypatch):
    other = zero_shot(scene[0].learned, scene[0].shelf)
    save_scene(tmp_path / "scene", scene[0])
    calls = saves_meanwhile(monkeypatch, saving, "scene_from", lambda: save_scene(tmp_path / "scene", other))
    assert load_scene(tmp_path / "scene").name == other.name != scene[0].name and len(calls) == 2


def test_a_changed_byte_is_refused(scene, tmp_path):
    save_scene(tmp_path / "scene", scene[0])
    file = tmp_path / "scene" / "arrays.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ArtefactError, match="changed since saved"):
        load_scene(tmp_path / "scene")


def test_a_newer_layout_is_refused_and_an_older_one_migrated(scene, tmp_path, monkeypatch):
    newer = saving.LAYOUT + 1
    for layout in (0, newer):
        with monkeypatch.context() as patch:
            patch.setattr(saving, "LAYOUT", layout)
            save_scene(tmp_path / f"layout {layout}", scene[0])
    assert json.loads((tmp_path / "layout 0" / "manifest.json").read_text())["kind"] == "scene"
    with pytest.raises(ArtefactError, match=f"layout {saving.LAYOUT} or older, got layout {newer}: .* a newer llmrec"):
        load_scene(tmp_path / f"layout {newer}")
    with pytest.raises(
        ArtefactError, match=f'expected "scene" in layout {saving.LAYOUT}, got layout 0, which no release wrote'
    ):
        load_scene(tmp_path / "layout 0")

    def doubled(saved: Saved) -> Saved:
        return replace(saved, arrays={**saved.arrays, "vectors": 2 * saved.arrays["vectors"]})

    monkeypatch.setitem(saving.MIGRATIONS, 0, doubled)
    loaded = load_scene(tmp_path / "layout 0")
    assert np.array_equal(loaded.shelf.vectors, 2 * scene[0].shelf.vectors)


def test_migrations_are_applied_one_after_the_other():
    steps = {
        k: lambda saved, k=k: replace(saved, settings={**saved.settings, "met": [*saved.settings.get("met", []), k]})
        for k in (1, 2, 3)
    }
    found = migrated(Saved({"layout": 2}, {}, {}), 4, steps)
    assert found.settings == {"met": [2, 3]} and found.meta["layout"] == 4
    for meta in ({}, {"layout": "2"}, {"layout": 0}):  # from 0 no function leads up
        with pytest.raises(ArtefactError, match="which no release wrote"):
            check_layout("here", "scene", meta, 4, steps)
