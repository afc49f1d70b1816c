"""Tables in, and what comes out is what the functions underneath say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from llmrec import SceneRecommender, Scenes
from llmrec.data.build import build
from llmrec.data.clean import Cleaning
from llmrec.encoder.backbone import load_text
from llmrec.encoder.items import catalogue_vectors
from llmrec.errors import ArtefactError, DataError, ForkError, SchemaError, TemplateError, WeightsError
from llmrec.prompts import Template, load_template
from llmrec.scenes import api
from llmrec.scenes.api import check_scenes
from llmrec.scenes.learning import LearnSettings, MixSettings, learn
from llmrec.scenes.opening import zero_shot as open_scene
from llmrec.scenes.shelf import shelve
from llmrec.scenes.worlds import World, last_steps

QUICK = LearnSettings(sizes=(16,), draws=1, queries=40, mix=MixSettings(bends=2, steps=3))  # where what is learned is not asked


@pytest.fixture(scope="module")
def departments(tables):
    """Three shops as departments of one: the same people come to each, the third's items are "new"."""
    events: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    items: dict[str, list] = {"item_id": [], "title": [], "aisle": []}
    for seed, name in enumerate(["bread", "fruit", "new"]):
        bought, sold = tables(seed, True)
        events["user_id"] += bought["user_id"]
        events["item_id"] += [f"{name} {item}" for item in bought["item_id"]]
        events["timestamp"] += [when + 1000 * seed for when in bought["timestamp"]]
        items["item_id"] += [f"{name} {item}" for item in sold["item_id"]]
        items["title"] += sold["title"]
        items["aisle"] += [name] * len(sold["item_id"])
    items["item_id"] += ["rope"]
    items["title"] += ["rope"]
    items["aisle"] += [None]  # an item of no department can be in a history
    return events, items


@pytest.fixture(scope="module")
def parted(scenes, departments):
    return scenes().fit(*departments, scene="aisle", holdout=["new"])


@pytest.mark.slow
def test_it_learns_what_the_functions_underneath_learn(fitted, scenes, tables):
    model, worlds = load_text(scenes().weights), []
    for seed in range(3):
        dataset = build(*tables(seed, True))[0]
        text = catalogue_vectors(model, dataset.catalogue)[0]
        shelf = shelve(dataset, text, dataset.catalogue.column("title"))
        worlds.append(World(dataset, shelf, np.arange(dataset.n_users)))
    learned = learn(worlds, np.random.default_rng(0), scenes().settings)
    assert fitted.known.names == ("shop 0", "shop 1", "shop 2")
    np.testing.assert_array_equal(fitted.known.learned.gain, learned.gain)
    dataset = build(*tables(7, True))[0]
    shelf = shelve(dataset, catalogue_vectors(model, dataset.catalogue)[0], dataset.catalogue.column("title"))
    tasks = last_steps(dataset, np.arange(40), shelf.among)
    expected = open_scene(learned, shelf).scores(tasks)
    np.testing.assert_array_equal(fitted.open(tables(7, True)[1]).scene.scores(tasks), expected)
    assert len(fitted.reports) == 3 and fitted.reports["shop 1"].steps


def test_gains_are_told_a_row_each_size_and_design(fitted):
    learned = fitted.known.learned
    gains = fitted.validation_gains
    assert list(gains.columns) == ["customers", "design", "gain", "spread"]
    for s, size in enumerate(learned.sizes):
        rows = gains[gains["customers"] == size]
        assert rows["design"].tolist() == [one.name for one in learned.designs]
        assert rows["gain"].tolist() == learned.gain[s].tolist()


def test_datasets_and_tables_are_one(scenes, tables):
    known = scenes(QUICK).fit({f"shop {seed}": tables(seed, True) for seed in range(2)})
    read = scenes(QUICK).fit({f"shop {seed}": build(*tables(seed, True))[0] for seed in range(2)})
    np.testing.assert_array_equal(known.known.learned.gain, read.known.learned.gain)
    assert read.reports == {}


def test_supports_are_as_large_as_every_scene_has_customers_for(scenes, tables):
    small = {"a": tables(0, True, 90), "b": tables(1, True)}
    settings = replace(QUICK, sizes=(16, 64))
    assert scenes(settings).fit(small).known.learned.sizes == (16,)  # 64 and the 50 who ask are more than 90
    assert scenes(settings).fit(small | {"a": tables(0, True, 120)}).known.learned.sizes == (16, 64)


@pytest.mark.slow
def test_parts_are_learned_from_but_for_those_left_out(parted, departments):
    assert parted.known.names == ("bread", "fruit")
    opened = parted.open(scene="new")
    among = opened.scene.shelf.among
    assert {opened.catalogue.ids[i] for i in np.flatnonzero(among)} == {i for i in departments[1]["item_id"] if i[:3] == "new"}
    assert len(opened.catalogue) == 181
    best = opened.recommend(histories=departments[0], k=5)
    assert best["item_id"].str.startswith("new ").all()


def test_a_history_in_other_parts_counts(parted, departments):
    rows = pd.DataFrame(departments[0])
    elsewhere = rows[(rows["user_id"] == 3) & ~rows["item_id"].str.startswith("new ")]
    answer = parted.open(scene="new").recommend([3], histories=elsewhere, k=60)
    nobody = parted.open(scene="new").recommend([3], k=60)
    assert answer["source"].unique().tolist() == ["zero steps"]
    assert nobody["source"].unique().tolist() == ["zero steps (no history)"]
    assert answer["item_id"].tolist() != nobody["item_id"].tolist()


def test_a_part_of_the_fitted_catalogue_and_of_the_same_table_are_one(parted, departments):
    given = parted.open(departments[1], scene="new").recommend(histories=departments[0], k=5)
    pd.testing.assert_frame_equal(given, parted.open(scene="new").recommend(histories=departments[0], k=5))


def test_what_is_held_out_may_come_as_a_generator(scenes, departments):
    known = scenes(QUICK).fit(*departments, scene="aisle", holdout=(name for name in ["new"]), verbose=False)
    assert known.known.names == ("bread", "fruit")


def test_the_check_before_training_says_what_fit_would(scenes, departments):
    events, items = departments
    check_scenes(events, items, "aisle", Cleaning(), 0)
    aisle = {
        "aisle": ["bread" if name == "bread" else "fruit" if n % 12 == 0 else "new" for n, name in enumerate(items["aisle"])]
    }
    few = items | {"aisle": ["bread" if name == "bread" else None for name in items["aisle"]]}
    check_scenes(events, items | aisle, "aisle", Cleaning(), 0)  # two are enough
    for table, scene, error in ((few, "aisle", DataError), (items, "shelf", SchemaError)):
        said = []
        for call in (
            lambda table=table, scene=scene: check_scenes(events, table, scene, Cleaning(), 0),
            lambda table=table, scene=scene: scenes().fit(events, table, scene=scene, verbose=False),
        ):
            with pytest.raises(error) as caught:
                call()
            said.append(str(caught.value))
        assert said[0] == said[1]


def test_small_parts_teach_nothing_and_may_be_opened(scenes, departments, capsys):
    events, items = departments
    aisle = ["corner" if name == "new" and n % 6 else name for n, name in enumerate(items["aisle"])]
    known = scenes(QUICK).fit(
        events, items | {"aisle": aisle}, scene="aisle", holdout=["corner"]
    )  # "new" is left with ten items
    assert known.known.names == ("bread", "fruit")
    assert "too small to learn from: new" in capsys.readouterr().err
    assert int(known.open(scene="new").scene.shelf.among.sum()) == 10


@pytest.mark.slow
def test_what_was_learned_is_saved_without_events_and_catalogue(fitted, parted, scenes, newcomer, departments, tmp_path):
    events, items = newcomer
    fitted.save_pretrained(tmp_path / "known")
    loaded = Scenes.from_pretrained(tmp_path / "known", scenes().weights)
    expected = fitted.open(items).adapt(events).recommend(histories=events, k=5)
    pd.testing.assert_frame_equal(loaded.open(items).adapt(events).recommend(histories=events, k=5), expected)
    assert sorted(file.name for file in (tmp_path / "known").iterdir()) == ["arrays.safetensors", "manifest.json"]
    parted.save_pretrained(tmp_path / "parts")
    loaded = Scenes.from_pretrained(tmp_path / "parts", scenes().weights)
    with pytest.raises(DataError, match="no catalogue is kept"):
        loaded.open(scene="new")
    assert loaded.open(departments[1], scene="new").recommend([1], k=3)["item_id"].str.startswith("new ").all()
    with pytest.raises(ArtefactError, match='expected "new scene", got "known scenes"'):
        SceneRecommender.from_pretrained(tmp_path / "known")


# ---------------------------------------------------------------------------------------- what is refused


def test_scenes_are_pushed_to_the_hub_and_fetched(hub, fitted, newcomer):
    fitted.push_to_hub("me/known")
    opened = Scenes.from_pretrained("me/known", fitted.weights).open(newcomer[1])
    expected = fitted.open(newcomer[1])
    pd.testing.assert_frame_equal(opened.recommend([1], k=3), expected.recommend([1], k=3))
    opened.push_to_hub("me/new")
    pd.testing.assert_frame_equal(SceneRecommender.from_pretrained("me/new").recommend([1], k=3), expected.recommend([1], k=3))


def test_texts_of_another_encoder_are_refused(fitted, scenes, newcomer, tmp_path):
    fitted.save_pretrained(tmp_path / "known")
    other = Scenes.from_pretrained(tmp_path / "known", scenes(family="llama").weights)
    with pytest.raises(WeightsError, match="weights: expected the encoder that was learned with .* got .*pass the same"):
        other.open(newcomer[1])


def test_texts_by_another_template_are_refused_with_the_lines_that_differ(fitted, scenes, tmp_path, monkeypatch):
    now = load_template("item")
    older = Template(now.text.replace("{{ category }}", "in {{ category }}"), "prompts/item.jinja")
    monkeypatch.setattr(api, "load_template", lambda name: older)
    fitted.save_pretrained(tmp_path / "known")
    with pytest.raises(TemplateError, match=r"(?s)item_template: .*as it was fitted with.*-in \{\{ category") as error:
        Scenes.from_pretrained(tmp_path / "known", scenes().weights)
    assert "\n+{{ category }}" in str(error.value)


def test_tables_that_are_no_known_scenes_are_refused(scenes, tables, departments):
    one, two, fresh = tables(0, True), tables(1, True), scenes()
    for data, message in (
        (one[0], r"data: expected a dict \{\"name\": \(events, items\)"),  # a table is no dict of scenes
        ({"a": (*one, 3), "b": two}, r"data\['a'\]: expected \(events, items\), got 3"),
        ({"a": one}, "expected two known scenes or more, .* got 'a'"),
        (
            {"a": one, "b": tables(1, True, 30)},
            r"data\['b'\]: expected .* 66 customers with a second visit, got 60 items and 30",
        ),
    ):
        with pytest.raises(DataError, match=message):
            fresh.fit(data)
    with pytest.raises(DataError, match="say by which column"):
        fresh.fit(*one)
    with pytest.raises(SchemaError, match="items has no column 'title'") as caught:
        fresh.fit({"a": one, "b": (two[0], {"item_id": two[1]["item_id"], "words": two[1]["title"]})})
    assert caught.value.__notes__ == ["while reading the tables of 'b'"]
    with pytest.raises(
        SchemaError,
        match="scene: expected a column of the items or of the events, got 'shelf'; the items have item_id, title, aisle",
    ):
        fresh.fit(*departments, scene="shelf")
    with pytest.raises(DataError, match="holdout: expected some of 'bread', 'fruit', 'new', got 'nwe'"):
        fresh.fit(*departments, scene="aisle", holdout=["nwe"])
    with pytest.raises(DataError, match=r"holdout is the text 'new', expected a list of ids; say \['new'\]"):
        fresh.fit(*departments, scene="aisle", holdout="new")
    with pytest.raises(DataError, match="expected two known scenes or more, .* got 'bread'"):
        fresh.fit(*departments, scene="aisle", holdout=["new", "fruit"])
    with pytest.raises(DataError, match="nothing is known yet: call fit"):
        fresh.open(one[1])  # a fit that failed leaves nothing behind


def test_openings_that_cannot_be_are_refused(fitted, parted, newcomer):
    for known, arguments, message in (
        (fitted, {}, "open needs items .* or scene"),
        (fitted, {"scene": "new"}, "scene: expected None, for whole catalogues are known, got 'new'"),
        (parted, {"scene": "bread"}, r"got 'bread', which was learned from; .* holdout=\['bread'\]"),
        (parted, {"scene": "nwe"}, "scene: expected one of 'bread', 'fruit', 'new', got 'nwe'"),
    ):
        with pytest.raises(DataError, match=message):
            known.open(**arguments)
    with pytest.raises(SchemaError, match="items has no column 'title'"):
        fitted.open({"item_id": newcomer[1]["item_id"]})
    with pytest.raises(SchemaError, match="scene: expected a column of the items, got 'aisle'"):
        parted.open(newcomer[1], scene="new")


def test_settings_are_ones_own(scenes, tables):
    one = scenes(replace(QUICK, sizes=(20,))).fit({"a": tables(0, True), "b": tables(1, True)})
    assert one.known.learned.sizes == (20,)
    assert Scenes().settings is None and LearnSettings().sizes == (16, 64, 256)


# ---------------------------------------------------------------------------------------- titles, frames, what is shown


def test_titles_are_added_when_asked_for(fitted, newcomer):
    events, items = newcomer
    plain, titled = (fitted.open(items).recommend(histories=events, k=3, titles=titles) for titles in (False, True))
    there = dict(zip(items["item_id"], items["title"], strict=True))
    assert titled["title"].tolist() == [there[item] for item in titled["item_id"]]
    pd.testing.assert_frame_equal(titled.drop(columns="title"), plain)


def test_the_type_of_frame_outlives_saving_and_a_tilde_is_the_home_folder(fitted, scenes, newcomer, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    fitted.save_pretrained("~/known")
    loaded = Scenes.from_pretrained("~/known", scenes().weights)
    pd.testing.assert_frame_equal(loaded.validation_gains, fitted.validation_gains)
    fitted.open(newcomer[1]).save_pretrained("~/new")
    opened = SceneRecommender.from_pretrained("~/new")
    assert isinstance(opened.selection_report, pd.DataFrame) and isinstance(opened.recommend(["ann"], k=2), pd.DataFrame)
    assert sorted(entry.name for entry in (tmp_path / "home").iterdir()) == ["known", "new"] and not (tmp_path / "~").exists()


def test_users_of_another_type_than_the_histories_and_a_broken_k_are_refused(fitted, newcomer):
    opened = fitted.open(newcomer[1])
    with pytest.raises(DataError, match="users are str such as '5', but the known ids are int such as"):
        opened.recommend(["5"], histories=newcomer[0])
    with pytest.raises(DataError, match="k is '3'; expected a whole number"):
        opened.recommend([5], histories=newcomer[0], k="3")


def test_what_they_are_stands_in_their_repr(fitted, newcomer):
    assert repr(Scenes()) == "Scenes(not fitted)"
    assert repr(fitted) == "Scenes(3 known scenes: 'shop 0', 'shop 1', 'shop 2')"
    assert repr(fitted.open(newcomer[1])) == "SceneRecommender(60 items, 'zero steps', 0 customers)"


def test_without_verbose_nothing_is_shown(scenes, tables, capfd):
    scenes(QUICK).fit({"a": tables(0, True), "b": tables(1, True)}, verbose=False).open(tables(2, True)[1])
    assert capfd.readouterr() == ("", "")


def test_what_scenes_are_made_of_is_checked_at_once(tables):
    for arguments, message in (
        ({"weights": "all-MiniLM-L6-v2"}, "weights is 'all-MiniLM-L6-v2', expected a Weights"),
        ({"settings": {}}, "settings is a dict, expected a llmrec.scenes.learning.LearnSettings"),
        ({"seed": None}, "seed is None"),
    ):
        with pytest.raises(DataError, match=message):
            Scenes(**arguments)
    for settings, message in (
        (LearnSettings(sizes=()), r"LearnSettings.sizes is \(\)"),
        (LearnSettings(sizes=(16, 0)), r"LearnSettings.sizes\[1\] is 0; expected at least 1"),
        (LearnSettings(draws=0), "LearnSettings.draws is 0"),
        (LearnSettings(mix=MixSettings(batch=-1)), "MixSettings.batch is -1"),
        (LearnSettings(mix=MixSettings(rate=0.0)), "MixSettings.rate is 0.0; expected a number above 0"),
    ):
        with pytest.raises(DataError, match=message):
            Scenes(settings=settings).fit({"a": tables(0, True), "b": tables(1, True)})


def test_a_forked_child_of_a_process_with_threads_encodes_nothing(fitted, newcomer, monkeypatch):
    def refuse() -> None:
        raise ForkError("forked")

    monkeypatch.setattr("llmrec.scenes.api.check_process", refuse)
    with pytest.raises(ForkError):
        fitted.open(newcomer[1])
