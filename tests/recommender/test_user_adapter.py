"""One user's adapter: adapted, saved, loaded and answered by, it gives what `recommend(steps=n)` gives; PEFT reads it too."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import peft
import pytest
import torch
from meanwhile import saves_meanwhile
from transformers import AutoModel

from llmrec import Recommender
from llmrec.adapters.peft_format import CONFIG, TENSORS
from llmrec.data.tasks import full_histories
from llmrec.errors import AdapterError, ArtefactError, DataError
from llmrec.meta.gate import Choice
from llmrec.recommender import user_adapter
from llmrec.recommender.settings import CoreSettings
from llmrec.recommender.user_adapter import UserAdapter

ONE = "u003"
peft_asks = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def with_core(fitting, world, tiny_settings) -> Recommender:
    settings = replace(tiny_settings, adapter="core", core=CoreSettings(size=4, episodes=3, meta_batch_size=8))
    return fitting(world.events(world.users, world.ids), world.items(world.ids), settings)


def same(one, other) -> None:
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(other))


def moved(recommender, steps) -> np.ndarray:
    """The user vector under so many steps."""
    state = recommender.state
    tasks = full_histories(state.histories, state.histories.users.find([ONE]))
    return state.adapting.read(tasks, state.adapting.choices(tasks, steps)).vectors[0]


@peft_asks
@pytest.mark.parametrize("steps", [0, 2])
def test_peft_loads_it_over_the_saved_body_and_gives_the_user_vector_of_so_many_steps(fitted, tmp_path, steps):
    fitted.save_pretrained(tmp_path / "shop")
    fitted.adapt(ONE, steps=steps).save_pretrained(tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(tmp_path / "shop" / "body"), tmp_path / "adapter").eval()
    state = fitted.state
    tasks = full_histories(state.histories, state.histories.users.find([ONE]))
    made = state.adapting.base.prompts(tasks)
    with torch.no_grad():
        embeds = state.model.prompt(state.items, made.batch)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        last = len(state.model.prefix_ids) + made.batch.length[0] - 1
        found = theirs(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[0, last].numpy()
    np.testing.assert_allclose(found, moved(fitted, steps), atol=1e-4)
    assert np.abs(moved(fitted, 0) - moved(fitted, 2)).max() > 0.01


@pytest.mark.parametrize("which", ["fitted", "with_core"])
@pytest.mark.parametrize("steps", ["auto", 0, 1])
def test_answers_by_a_saved_adapter_are_those_of_as_many_steps(which, steps, clicks, tmp_path, request):
    recommender = request.getfixturevalue(which)
    mine = {name: values[-7:] for name, values in clicks.items()}
    for table, user in ((None, ONE), (mine, None)):
        adapted = recommender.adapt(user, histories=table, steps=steps)
        adapted.save_pretrained(tmp_path / "adapter")
        loaded = UserAdapter.from_pretrained(tmp_path / "adapter", recommender)
        asked = {"users": [user]} if table is None else {"histories": table}
        expected = recommender.recommend(k=8, steps=steps, **asked)
        for adapter in (adapted, loaded):
            same(recommender.recommend(k=8, adapter=adapter, **asked), expected)
        assert loaded.choice == Choice(2 if steps == "auto" else steps, adapter="core" if which == "with_core" else "lora")
        assert loaded.events == adapted.events > 1
    files = {file.name for file in (tmp_path / "adapter").iterdir()}
    assert files == {"manifest.json"} | ({"core.safetensors"} if which == "with_core" else {CONFIG, TENSORS})
    assert "new" not in (tmp_path / "adapter" / "manifest.json").read_text()  # no id is kept


def test_a_save_by_another_process_in_the_middle_of_loading_gives_that_one_as_a_whole(fitted, tmp_path, monkeypatch):
    one, other = (fitted.adapt(ONE, steps=steps) for steps in (1, 2))
    one.save_pretrained(tmp_path / "adapter")
    save = partial(other.save_pretrained, tmp_path / "adapter")
    calls = saves_meanwhile(monkeypatch, user_adapter, "load_adapter", save)
    loaded = UserAdapter.from_pretrained(tmp_path / "adapter", fitted)
    assert loaded.choice == other.choice != one.choice and len(calls) == 2
    assert all(map(torch.equal, loaded.value.leaves(), other.value.leaves()))


def test_stored_events_of_a_known_user_count_beside_those_of_the_table(fitted, world):
    table = world.events([ONE, "u004"], world.ids, seed=5)
    adapted = fitted.adapt(ONE, histories=table, steps=1)
    stored = fitted.state.known.of(fitted.state.known.first.users.take([3])).n_events
    assert adapted.events == stored + table["user_id"].count(ONE)
    expected = pd.DataFrame(fitted.recommend(histories=table, k=6, steps=1))
    found = pd.DataFrame(fitted.recommend(histories=table, k=6, adapter=adapted))
    mine = found["user_id"] == ONE
    np.testing.assert_allclose(found["score"][mine], expected["score"][mine], rtol=1e-4)
    assert not np.allclose(found["score"][~mine], expected["score"][~mine], rtol=1e-4)  # who reads by another's adapter


def test_it_moves_nothing_but_the_reading_and_one_adapter_may_serve_many(fitted, clicks):
    adapter, before = fitted.adapt(ONE, steps=2), fitted.recommend(histories=clicks, k=5, steps=0)
    assert set(fitted.recommend(histories=clicks, k=5, adapter=adapter)["steps"]) == {2}
    same(fitted.recommend(histories=clicks, k=5, steps=0), before)
    same(fitted.recommend(histories=clicks, k=5, adapter=fitted.adapt(ONE, steps=0)), before)


def test_an_adapter_of_another_base_is_refused(fitted, with_core, tmp_path):
    for recommender in (fitted, with_core):
        state, other = copy.deepcopy(recommender.state), copy.copy(recommender)
        with torch.no_grad():
            next(state.model.body.parameters())[0, 0] += 1e-3
        other._state = state
        adapter = recommender.adapt(ONE)
        with pytest.raises(AdapterError, match="adapter: belongs to the base .* use it with the recommender"):
            other.recommend([ONE], adapter=adapter)
        adapter.save_pretrained(tmp_path / "adapter")
        with pytest.raises(AdapterError, match="adapter: belongs to the base"):
            UserAdapter.from_pretrained(tmp_path / "adapter", other)
    with pytest.raises(AdapterError, match="belongs to the base|fitted without"):
        fitted.recommend([ONE], adapter=with_core.adapt(ONE))


def test_it_outlives_what_is_observed_and_a_reload(fitted, recommender, clicks, tmp_path):
    fitted.adapt(ONE, steps=1).save_pretrained(tmp_path / "adapter")
    recommender.observe(clicks)
    recommender.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    adapter = UserAdapter.from_pretrained(tmp_path / "adapter", loaded)
    same(loaded.recommend([ONE], steps=1), loaded.recommend([ONE], adapter=adapter))


def test_a_folder_is_no_adapter(fitted, tmp_path):
    with pytest.raises(AdapterError, match=r"adapter is .*Path.*, expected what adapt gives; load .*from_pretrained"):
        fitted.recommend(["u000"], adapter=tmp_path)


def test_what_cannot_be_adapted_to_is_named(fitted, clicks, tmp_path):
    for arguments, said in (
        ({}, "expected one user, got none; say which"),
        ({"histories": clicks}, "expected one user, got 5"),
        ({"user": "nobody"}, "user 'nobody' has no event to adapt to"),
        ({"user": "nobody", "histories": clicks}, "user 'nobody' has no event to adapt to"),
        ({"user": 7}, "no event to adapt to|known ids"),
        ({"user": ONE, "steps": -1}, 'expected "auto" or a whole number'),
    ):
        with pytest.raises(DataError, match=said):
            fitted.adapt(**arguments)
    with pytest.raises(DataError, match="steps: expected none beside adapter"):
        fitted.recommend([ONE], steps=1, adapter=fitted.adapt(ONE))
    fitted.adapt(ONE).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | {"r": 9}))
    with pytest.raises(ArtefactError, match="adapter_config"):
        UserAdapter.from_pretrained(tmp_path / "adapter", fitted)
