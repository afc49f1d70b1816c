from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pandas as pd
import peft
import pyarrow as pa
import pytest
import torch
from meanwhile import saves_meanwhile
from safetensors.numpy import load_file
from transformers import AutoModel

from llmrec import Recommender, Weights
from llmrec.data.dataset import EventWeights
from llmrec.data.tasks import full_histories
from llmrec.errors import ArtefactError, DataError, MissingHistoriesWarning
from llmrec.layouts import Saved
from llmrec.recommender import saving
from llmrec.recommender.answer import FALLBACK
from llmrec.store import open_folder, save_arrays, write_folder


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saves") / "saved"
    fitted.save_pretrained(folder)
    return folder


def test_what_is_loaded_answers_with_the_very_same_scores(fitted, saved, world, clicks):
    loaded = Recommender.from_pretrained(saved)
    people = pd.DataFrame(clicks)
    for steps in ("auto", 0):
        expected = fitted.recommend(histories=people, k=12, steps=steps)
        pd.testing.assert_frame_equal(loaded.recommend(histories=people, k=12, steps=steps), expected)
    pd.testing.assert_frame_equal(loaded.similar_items(world.ids), fitted.similar_items(world.ids))
    assert loaded.settings == fitted.settings
    assert [row.value for row in loaded.evaluate(clicks)] == [row.value for row in fitted.evaluate(clicks)]


def test_without_histories_the_folder_knows_nobody_and_can_get_to_know_them(fitted, saved, world, clicks):
    loaded = Recommender.from_pretrained(saved)
    assert loaded.state.histories.n_users == 0
    with pytest.warns(MissingHistoriesWarning, match="2 users, such as 'u000', are not known here .* histories=True") as caught:
        assert set(loaded.recommend(world.users[:2], k=3)["source"]) == {FALLBACK}
    assert caught[0].filename == __file__
    with pytest.warns(MissingHistoriesWarning, match="^user 'u000' is not known here and gets popular items: "):
        loaded.recommend(world.users[:1], k=3)
    loaded.observe(world.events(world.users, world.ids))
    pd.testing.assert_frame_equal(loaded.recommend(world.users, k=6), fitted.recommend(world.users, k=6))
    names = [file.name for file in saved.rglob("*")]
    assert not any(user.encode() in file.read_bytes() for user in world.users for file in saved.rglob("*") if file.is_file())
    assert "histories" not in names


def test_only_users_without_a_history_here_are_warned_about(recommender, world, tmp_path):
    """Also after a folder without histories was filled by observing and saved again, now with histories."""
    recommender.save_pretrained(tmp_path / "first")
    loaded = Recommender.from_pretrained(tmp_path / "first")
    loaded.observe({"user_id": ["u000"], "item_id": [world.ids[0]], "timestamp": [1.7e9]})
    loaded.save_pretrained(tmp_path / "second", histories=True)
    for model in (loaded, Recommender.from_pretrained(tmp_path / "second")):
        assert FALLBACK not in set(model.recommend(["u000"], k=3)["source"])
        with pytest.warns(MissingHistoriesWarning, match="user 'u001' is not known"):
            model.recommend(["u000", "u001"], k=3)
    recommender.save_pretrained(tmp_path / "whole", histories=True)
    whole = Recommender.from_pretrained(tmp_path / "whole")
    assert set(whole.recommend(["nobody"], k=3)["source"]) == {FALLBACK}  # without a warning


def test_the_type_of_frame_outlives_saving(recommender, world, tmp_path):
    """For users known by id and for similar items, where no table goes in; an older folder names no type."""
    polars, datasets = pytest.importorskip("polars"), pytest.importorskip("datasets")
    types = {"pandas": pd.DataFrame, "polars": polars.DataFrame, "pyarrow": pa.Table, "datasets": datasets.Dataset}
    for kind, frame in types.items():
        recommender._state = replace(recommender.state, frame=kind)
        recommender.save_pretrained(tmp_path / kind, histories=True)
        loaded = Recommender.from_pretrained(tmp_path / kind)
        assert type(loaded.recommend(world.users[:1], k=2)) is frame
        assert type(loaded.similar_items(world.ids[:1], k=2)) is frame
    meta = open_folder(tmp_path / "polars", saving.KIND)
    for name in ("frame", "left_out", "trained", "table_format"):
        del meta[name]
    assert (
        write_folder(
            tmp_path / "older",
            lambda to: (
                shutil.copytree(tmp_path / "polars", to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
                and None
            ),
            saving.KIND,
            meta,
        )
        is None
    )
    assert isinstance(Recommender.from_pretrained(tmp_path / "older").recommend(world.users[:1], k=2), pa.Table)


def test_a_tilde_is_the_home_folder(recommender, world, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    recommender.save_pretrained("~/shop", histories=True)
    assert (tmp_path / "home" / "shop" / "manifest.json").is_file() and not (tmp_path / "~").exists()
    expected = recommender.recommend(world.users[:2], k=3)
    pd.testing.assert_frame_equal(Recommender.from_pretrained("~/shop").recommend(world.users[:2], k=3), expected)


def test_a_model_card_may_stand_beside_a_model(recommender, tmp_path):
    recommender.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text("# card", encoding="utf-8")
    Recommender.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text(encoding="utf-8") == "# card"
    Recommender.from_pretrained(tmp_path / "saved")


def test_an_initialisation_that_would_be_saved_in_part_is_not_saved(fitted, tmp_path):
    partly = replace(fitted.state.init, inner=(True,) * len(fitted.state.init.adapter.leaves()))
    with pytest.raises(DataError, match="initialisation: .* got one with `factor`, `inner` or `outer`"):
        saving.save_state(tmp_path / "half", replace(fitted.state, init=partly), histories=False)
    assert not (tmp_path / "half").exists()


def test_a_newer_layout_is_refused_and_so_is_one_that_no_release_wrote(fitted, tmp_path, monkeypatch):
    for layout, message in (
        (saving.LAYOUT + 1, f"got layout {saving.LAYOUT + 1}: it was saved by a newer llmrec .* install that version"),
        (0, "no release wrote"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(saving, "LAYOUT", layout)
            fitted.save_pretrained(tmp_path / "other")
        with pytest.raises(ArtefactError, match=rf'other: expected "recommender" in layout {saving.LAYOUT}.* {message}'):
            Recommender.from_pretrained(tmp_path / "other")


def test_an_older_layout_is_migrated(fitted, tmp_path, monkeypatch):
    """A made-up layout 0 that named an array, a setting and a value otherwise, saved histories among them."""

    def write(path, arrays) -> None:
        old = {"log_rate": "rates", "time": "seconds"}
        save_arrays(path, {old.get(name, name): values for name, values in arrays.items()})

    def upgrade(saved: Saved) -> Saved:
        arrays, settings = dict(saved.arrays), dict(saved.settings)
        arrays["log_rate"], arrays["histories.time"] = arrays.pop("rates"), arrays.pop("histories.seconds")
        settings["layers"] = settings.pop("blocks")
        arrays = {name: values for name, values in arrays.items() if not name.startswith("unseen_")}  # layout 2 is to add them
        return Saved({**saved.meta, "seed": saved.meta["seed"] - 5}, arrays, settings)

    def old_settings(settings) -> dict:
        saved = asdict(settings)
        return {"blocks": saved.pop("layers"), **saved}

    with monkeypatch.context() as patch:
        patch.setattr(saving, "LAYOUT", 0)
        patch.setattr(saving, "save_arrays", write)
        patch.setattr(saving, "asdict", lambda value: old_settings(value) if value is fitted.state.settings else asdict(value))
        saving.save_state(tmp_path / "old", replace(fitted.state, seed=fitted.state.seed + 5), histories=True)
    monkeypatch.setitem(saving.MIGRATIONS, 0, upgrade)
    loaded = Recommender.from_pretrained(tmp_path / "old")
    assert loaded.state.seed == fitted.state.seed and loaded.settings == fitted.state.settings
    users = fitted.state.histories.users.values[:4]
    answers = (one.recommend(users, k=6, filter_viewed=False) for one in (loaded, fitted))
    pd.testing.assert_frame_equal(*answers)
    loaded.save_pretrained(tmp_path / "new")
    monkeypatch.delitem(saving.MIGRATIONS, 0)
    assert Recommender.from_pretrained(tmp_path / "new").state.seed == fitted.state.seed  # it was saved in today's layout


def test_with_histories_it_knows_its_users(recommender, world, clicks, tmp_path):
    recommender.observe(clicks)
    recommender.save_pretrained(tmp_path / "whole", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "whole")
    users = [*world.users, "new0", "nobody"]
    pd.testing.assert_frame_equal(loaded.recommend(users, k=6), recommender.recommend(users, k=6))
    assert loaded.state.version == 1
    for name in ("start", "item", "time", "basket"):
        assert np.array_equal(getattr(loaded.state.histories, name), getattr(recommender.state.histories, name))


def test_saving_what_was_loaded_gives_the_same_folder(saved, tmp_path):
    Recommender.from_pretrained(saved).save_pretrained(tmp_path / "again")
    files = sorted(file.relative_to(saved) for file in saved.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(tmp_path / "again") for file in (tmp_path / "again").rglob("*") if file.is_file())
    for file in files:
        if file.suffix == ".safetensors":  # the order of its metadata is the writer's whim
            one, other = load_file(saved / file), load_file(tmp_path / "again" / file)
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in one)
        elif file.name != "manifest.json":
            assert (saved / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


@pytest.mark.slow
def test_events_that_share_a_time_are_read_in_one_order_wherever(fitting, world, tmp_path):
    """The seed of the shuffle among ties is part of what is saved: another order would be another history."""
    events = world.events(world.users, world.ids)
    events["timestamp"] = [86_400.0 * (when // 86_400) for when in events["timestamp"]]
    fitted = fitting(events, world.items(world.ids), seed=7)
    fitted.save_pretrained(tmp_path / "saved")
    expected = fitted.recommend(world.users, k=8)
    pd.testing.assert_frame_equal(fitted.recommend(histories=events, k=8), expected)
    pd.testing.assert_frame_equal(Recommender.from_pretrained(tmp_path / "saved").recommend(histories=events, k=8), expected)


@pytest.mark.slow
def test_what_events_count_is_kept_and_goes_for_events_that_come_later(fitting, world, tmp_path):
    events = world.events(world.users, world.ids)
    n = len(events["user_id"])
    table = events | {"event_type": ["view", "buy", "cart"] * n, "weight": [2.0] * n}
    table["event_type"] = table["event_type"][:n]
    plain = fitting(table, world.items(world.ids))
    fitted = fitting(table, world.items(world.ids), event_weights={"view": 0.0, "cart": 0.5})
    assert plain.state.histories.event_weights == EventWeights((), 2.0)
    assert fitted.state.histories.event_weights == EventWeights((1.0, 0.5, 0.0), 2.0)
    assert not torch.equal(plain.state.model.id_embedding, fitted.state.model.id_embedding)
    fitted.save_pretrained(tmp_path / "saved")
    loaded = Recommender.from_pretrained(tmp_path / "saved")
    assert loaded.state.histories.event_weights == fitted.state.histories.event_weights
    loaded.observe({name: values[:3] for name, values in table.items()})
    assert loaded.state.histories.sample_weight.tolist() == [
        {"view": 0.0, "cart": 0.5, "buy": 1.0}[k] for k in table["event_type"][:3]
    ]
    answers = [one.recommend(histories=pd.DataFrame(table), k=4, steps=2) for one in (loaded, fitted)]
    pd.testing.assert_frame_equal(*answers)


def test_event_weights_beside_a_dataset_are_refused(fitted):
    with pytest.raises(DataError, match="event_weights: expected with a table of events, got a Dataset"):
        Recommender().fit(fitted.state.histories, event_weights={"view": 0.1})


@pytest.mark.slow
def test_loading_needs_neither_the_first_weights_nor_the_cache(tiny_folders, tiny_settings, world, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "weights"
    shutil.copytree(tiny_folders["bert"], weights)
    fitted = Recommender(Weights.folder(weights), tiny_settings).fit(
        world.events(world.users, world.ids), world.items(world.ids)
    )
    fitted.save_pretrained(tmp_path / "saved", histories=True)
    expected = fitted.recommend(world.users, k=5)
    shutil.rmtree(weights)
    shutil.rmtree(tmp_path / "cache")
    loaded = Recommender.from_pretrained(shutil.move(tmp_path / "saved", tmp_path / "moved"))
    pd.testing.assert_frame_equal(loaded.recommend(world.users, k=5), expected)
    assert str(tmp_path) not in (tmp_path / "moved" / "body" / "config.json").read_text(encoding="utf-8")
    assert "_name_or_path" not in json.loads((tmp_path / "moved" / "body" / "config.json").read_text(encoding="utf-8"))


def test_one_changed_byte_in_any_file_is_noticed(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "saved", histories=True)
    files = [file for file in (tmp_path / "saved").rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"manifest.json", "arrays.safetensors", "users.json", "adapter_model.safetensors"}
    for file in files:
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(ArtefactError, match=file.name):
                Recommender.from_pretrained(tmp_path / "saved")
        file.unlink()
        with pytest.raises(ArtefactError, match=file.name):
            Recommender.from_pretrained(tmp_path / "saved")
        file.write_bytes(whole)
    Recommender.from_pretrained(tmp_path / "saved")


def test_a_save_by_another_process_in_the_middle_of_loading_gives_that_one_as_a_whole(
    fitted, fitting, world, tmp_path, monkeypatch
):
    """The other one has fewer items and other weights; parts of both would not fit together, or worse, would."""
    events = world.events(world.users, world.ids)
    other = fitting(events, world.items(world.ids), seed=5)
    fewer = fitting(world.events(world.users, world.ids[:-2]), world.items(world.ids[:-2]), seed=6)
    for replacing in (other, fewer):
        fitted.save_pretrained(tmp_path / "shop", histories=True)
        with monkeypatch.context() as patch:
            save = partial(replacing.save_pretrained, tmp_path / "shop", histories=True)
            calls = saves_meanwhile(patch, saving, "load_body", save)
            loaded = Recommender.from_pretrained(tmp_path / "shop")
        assert len(calls) == 2
        pd.testing.assert_frame_equal(loaded.recommend(world.users[:4], k=5), replacing.recommend(world.users[:4], k=5))


def test_users_that_a_save_without_histories_loses_are_warned_about_before(recommender, tmp_path):
    recommender.save_pretrained(tmp_path / "shop")
    recommender.save_pretrained(tmp_path / "shop", histories=True)  # both without a warning
    with (
        warnings.catch_warnings(action="error", category=MissingHistoriesWarning),
        pytest.raises(MissingHistoriesWarning, match="holds users' events, .* save with histories=True, or to another path"),
    ):
        recommender.save_pretrained(tmp_path / "shop")
    assert Recommender.from_pretrained(tmp_path / "shop").state.histories.n_users  # nothing was replaced
    with pytest.warns(MissingHistoriesWarning, match="shop: the older save holds users' events") as caught:
        recommender.save_pretrained(tmp_path / "shop")
    assert caught[0].filename == __file__
    assert not Recommender.from_pretrained(tmp_path / "shop").state.histories.n_users
    recommender.save_pretrained(tmp_path / "shop")  # there is nothing more to lose


def test_a_save_of_another_kind_is_not_replaced(recommender, tmp_path):
    write_folder(tmp_path / "scene", lambda to: None, "new scene", {})
    with pytest.raises(ArtefactError, match='expected nothing, or an older "recommender" to replace, got "new scene"'):
        recommender.save_pretrained(tmp_path / "scene")
    assert open_folder(tmp_path / "scene", "new scene") == {}


def test_another_kind_of_folder_is_refused(tiny_folders, tmp_path):
    for folder in (tiny_folders["bert"], tmp_path / "nothing"):
        with pytest.raises(ArtefactError, match="expected a saved folder"):
            Recommender.from_pretrained(folder)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_and_transformers_compute_the_same_user_vectors_from_the_folder(fitted, saved, world):
    state = fitted.state
    theirs = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(saved / "body"), saved / "adapter").eval()
    for user in range(3):
        tasks = full_histories(state.histories, np.array([user]))
        made = state.adapting.base.prompts(tasks)
        ours = state.adapting.lora.vectors(made, state.init.adapter).numpy()
        with torch.no_grad():
            embeds = state.model.prompt(state.items, made.batch)
            place = len(state.model.prefix_ids) + int(made.batch.length[0]) - 1
            last = theirs(inputs_embeds=embeds).last_hidden_state[0, place]
            plain = theirs.get_base_model()
            with theirs.disable_adapter():
                base = plain(inputs_embeds=embeds).last_hidden_state[0, place]
        np.testing.assert_allclose(last.numpy(), ours[0], atol=1e-4)
        assert np.abs(base.numpy() - ours[0]).max() > 1e-3  # without the adapter it is another vector
