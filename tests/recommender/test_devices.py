"""Another device than the CPU: nothing is left behind, the index goes along, and what is not there is said at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
import torch

from llmrec import Recommender, Settings
from llmrec.errors import DataError, MissingExtraError
from llmrec.index.faiss_index import IndexSettings
from llmrec.recommender.pipeline import check_settings, new_index

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_whole_flow_gives_the_same_answers_on_another_device(fitting, world, clicks, tiny_folders, tmp_path):
    """Loaded, fitted and evaluated; see second_device.py for what stands in for the device."""
    items, events = world.items(world.ids), world.events(world.users, world.ids)
    fitting(events, items).save_pretrained(tmp_path / "saved")
    given = tmp_path / "world.json"
    given.write_text(json.dumps({"events": events, "items": items, "clicks": clicks}), encoding="utf-8")
    script = [str(Path(__file__).with_name("second_device.py")), str(given), str(tmp_path / "saved"), str(tiny_folders["bert"])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LLMREC_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, *script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 3  # answers of two recommenders, and an evaluation


@pytest.fixture
def cards(monkeypatch):
    """`cards(n)`: faiss as if built for GPUs, with n of them. Returns the numbers of those that indices were put on."""

    class Resources:
        def setTempMemory(self, size):
            assert 0 < size < 2**30

    def give(n):
        used = []
        monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: n, raising=False)
        monkeypatch.setattr(
            faiss,
            "index_cpu_to_gpu",
            lambda resources, gpu, engine: used.append(gpu) or faiss.clone_index(engine),
            raising=False,
        )
        return used

    return give


@pytest.mark.parametrize(
    ("recommender", "index", "gpus", "expected"),
    [
        ("cpu", None, 2, []),
        ("cuda", None, 2, [0]),
        ("cuda:1", None, 2, [1]),
        ("cuda:1", None, 1, []),  # torch may see more than faiss
        ("cuda", None, 0, []),
        ("mps", None, 2, []),
        ("cuda", "cpu", 2, []),  # as it was said
        ("cpu", "cuda", 2, [0]),
        ("cuda", "cuda:1", 2, [1]),
    ],
)
def test_the_index_goes_where_the_recommender_runs_unless_told_otherwise(cards, recommender, index, gpus, expected):
    used = cards(gpus)
    made = new_index(np.eye(3, dtype=np.float32), Settings(device=recommender, index=IndexSettings(device=index)))
    assert used == expected
    assert (made.card is not None) == bool(expected)


def test_with_the_faiss_for_cpus_the_index_stays_on_the_cpu():
    if hasattr(faiss, "StandardGpuResources"):
        pytest.skip("faiss is built for GPUs here")
    assert new_index(np.eye(3, dtype=np.float32), Settings(device="cuda")).settings.device == "cpu"


@pytest.mark.slow
def test_every_index_of_a_recommender_is_made_as_its_settings_say(cards, fitting, tiny_settings, fitted, world, tmp_path):
    """Looking into all lists finds what the exact index finds; on the GPU as well."""
    used = cards(1)
    lists = IndexSettings(exact_below=10, lists=3, probes=3, device="cuda")
    other = fitting(world.events(world.users, world.ids), world.items(world.ids), settings=replace(tiny_settings, index=lists))
    assert used == [0]
    pd.testing.assert_frame_equal(other.recommend(world.users, k=12), fitted.recommend(world.users, k=12))
    pd.testing.assert_frame_equal(other.similar_items(world.ids), fitted.similar_items(world.ids))
    assert used == [0, 0]
    for made in (other.state.retrieval.index, other.state.similarity_index):
        assert not made.exact
        assert made.card is not None
    other.save_pretrained(tmp_path / "saved")
    loaded = Recommender.from_pretrained(tmp_path / "saved")
    assert loaded.settings == replace(other.settings, index=replace(lists, device=None))
    assert not loaded.state.retrieval.index.exact
    assert used == [0, 0]


@pytest.mark.parametrize(("saved", "loaded"), [("cuda", None), ("cuda:3", None), (None, None), ("cpu", "cpu")])
def test_what_was_saved_on_a_gpu_loads_where_there_is_none(recommender, tmp_path, saved, loaded):
    state = recommender.state
    settings = replace(state.settings, device="cuda:3", index=IndexSettings(probes=7, device=saved))
    recommender._state = replace(state, settings=settings)
    recommender.save_pretrained(tmp_path / "saved")
    found = Recommender.from_pretrained(tmp_path / "saved").settings
    assert found == replace(state.settings, index=IndexSettings(probes=7, device=loaded))


def test_a_device_that_is_not_there_is_refused_before_anything_is_trained(
    fitting, fitted, tiny_settings, world, tmp_path, capsys
):
    tables = world.events(world.users, world.ids), world.items(world.ids)
    with pytest.raises(DataError, match="device: 'abacus' cannot be used here"):
        fitting(*tables, settings=replace(tiny_settings, device="abacus"))
    with pytest.raises(DataError, match="IndexSettings.device: expected 'cpu' or a GPU .* got 'gpu'"):
        fitting(*tables, settings=replace(tiny_settings, index=IndexSettings(device="gpu")))
    fitted.save_pretrained(tmp_path / "saved")
    if not torch.cuda.is_available():
        with pytest.raises(DataError, match="device: 'cuda' cannot be used here.*llmrec doctor"):
            fitting(*tables, settings=replace(tiny_settings, device="cuda"))
        with pytest.raises(DataError, match="device: 'cuda' cannot be used here"):
            Recommender.from_pretrained(tmp_path / "saved", device="cuda")
    if not hasattr(faiss, "StandardGpuResources"):
        with pytest.raises(MissingExtraError, match=r"llmrec\[gpu\]"):
            fitting(*tables, settings=replace(tiny_settings, index=IndexSettings(device="cuda")))
    assert "encode: " not in capsys.readouterr().err
    check_settings(tiny_settings)
