"""The study of the adapters, in a shop of moments."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from benchmarks.protocol import Setting
from llmrec.data.tasks import first_baskets
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.weights import Weights
from llmrec.meta.outer import OuterSettings
from llmrec.progress import Stages
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.fit import fit
from llmrec.recommender.settings import CoreSettings, LoraSettings, Settings

STUDY = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "adapter_study.py"))
TINY = Settings(
    adapter="auto",
    train=TrainSettings(4, 8, max_slots=4, known=(1, 4), horizon=1, learning_rate=1e-3, dropout=0.0, ema_decay=0.0),
    lora=LoraSettings(r=2, inner_steps=1, meta_batch_size=4),
    outer=OuterSettings(episodes=1),
    core=CoreSettings(size=4, episodes=1, meta_batch_size=4),
    counts_ranker=RankerSettings(hidden=2, max_steps=5),
    blend=RankerSettings(hidden=2, max_steps=5),
    blend_features=(),
    ranking_tasks=30,
)


@pytest.mark.slow
def test_each_adapter_gets_a_blend_of_its_own_and_is_measured(shop, tiny_folders, tmp_path):
    data = shop([[[(user + 3 * basket) % 12] for basket in range(8)] for user in range(20)], 12)
    stages, train = Stages(verbose=False), np.arange(15)
    state = fit(data.take(train), Weights.folder(tiny_folders["bert"]), TINY, 0, stages, tmp_path)
    states = STUDY["arms"](state, data, train, 0, stages)
    assert {name: one.settings.adapter for name, one in states.items()} == {name: name for name in ("lora", "core", "auto")}
    assert states["core"].init is None and states["lora"].core is None and states["auto"].core is state.core
    assert states["lora"].model is states["core"].model is state.model
    tasks = first_baskets(data, np.arange(15, 20), 6, 1)
    found = STUDY["measured"](states, Setting("known=6,all", tasks, tasks, "all"))
    assert {values.shape for values in found.values()} == {(5,)}
    assert ("core, 2 of the core", "transformer") in found and ("core, another's support", "transformer") in found
    lines = STUDY["told"](found)
    assert len(lines) == len(found) and sum("over zero steps" in line for line in lines) == 7
