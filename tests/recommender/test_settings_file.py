"""Settings in files: what is written is read back, what is not named keeps its default, and every mistake is named."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import yaml

from llmrec import LoraSettings, OuterSettings, Recommender, Settings, TrainSettings
from llmrec.demo import plan
from llmrec.errors import ArtefactError, DataError
from llmrec.index.candidates import Sources
from llmrec.index.faiss_index import IndexSettings
from llmrec.recommender import saving
from llmrec.recommender.auto import LEAST_STEPS
from llmrec.recommender.settings import CoreSettings, check_ranges
from llmrec.recommender.settings_file import filled, yaml_text

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
OTHER: dict[str, Any] = {
    "user_encoder": "pretrained",
    "adapter": "core",
    "layers": 2,
    "cold_items": True,
    "blend_features": ("age", "ü: #"),
    "known": (2, 5),
    "lists": 7,
    "probes": 5,
    "device": "cuda:1",
    "positive": ("like", "purchase"),
    "negative": ("return: é #",),
    "liked_from": 3.5,
}


@pytest.fixture
def read(tmp_path):
    """`read(text)` -> Settings of a file with this text."""

    def settings(text: str | bytes) -> Settings:
        file = tmp_path / "settings.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Settings.from_yaml(file)

    return settings


def changed(start: Any, rng: np.random.Generator) -> Any:
    """Another value in every field at every depth, in range."""
    new: dict[str, Any] = {}
    types = get_type_hints(type(start))
    for one in fields(start):
        value = getattr(start, one.name)
        if is_dataclass(value):
            new[one.name] = changed(value, rng)
        elif one.name in OTHER:
            new[one.name] = OTHER[one.name]
        elif isinstance(value, bool):
            new[one.name] = not value
        elif types[one.name] is int:
            new[one.name] = (value or 0) + int(rng.integers(1, 1000))
        elif types[one.name] is float:
            new[one.name] = float(rng.uniform(1e-6, 0.4))
        else:
            new[one.name] = f"{value} {rng.integers(100)}: é #"
    return replace(start, **new)


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in leaves(inner, f"{name}.{part}").items()}


# ---------------------------------------------------------------------------------------- reading what was written


def test_settings_are_read_back_from_what_was_written(read):
    presets = Settings(), Settings.quick(), Settings.best()
    for settings in (*presets, *(changed(Settings(), np.random.default_rng(seed)) for seed in range(20))):
        text = settings.to_yaml()
        assert read(text) == settings
        assert read(text.encode("ascii")).to_yaml() == text


def test_every_field_is_written_in_order_and_a_new_one_needs_no_code(read):
    other = changed(Settings(), np.random.default_rng(0))
    default, written = leaves(asdict(Settings())), leaves(yaml.safe_load(other.to_yaml()))
    assert list(written) == list(default)
    assert [name for name in default if written[name] == default[name]] == []

    @dataclass(frozen=True)
    class Later(Settings):
        brand_new: float | None = None
        shapes: tuple[float, ...] = (1.0,)

    for new in (Later(), replace(Later(), brand_new=0.5, shapes=(0.5, 2.0))):
        assert filled(Later(), yaml.safe_load(yaml_text(new)), "file") == new


def test_a_field_of_a_type_that_files_cannot_hold_fails_at_once():
    @dataclass(frozen=True)
    class Odd:
        place: set[int] = field(default_factory=set)
        either: int | str = 0

    for name, kind in (("place", r"set\[int\]"), ("either", r"int \| str")):
        with pytest.raises(TypeError, match=rf"{name}: a field of type {kind} cannot be read"):
            filled(Odd(), {name: 1}, "file")


def test_lists_stand_in_one_line_and_sections_are_indented():
    train = TrainSettings(known=(1, 8), learning_rate=3e-4)
    text = Settings(layers=None, train=train, blend_features=("age", "age")).to_yaml()
    assert "layers: null\n" in text and "\ntrain:\n  max_steps: null\n" in text and "\nblend_features: [age, age]\n" in text
    assert "  known: [1, 8]\n" in text and "\n  learning_rate: 0.0003\n" in text


def test_settings_that_could_not_be_read_back_are_not_written():
    with pytest.raises(DataError, match=r"Settings.layers is 0; expected at least 1"):
        Settings(layers=0).to_yaml()
    with pytest.raises(DataError, match=r'expected text for item_template, such as "item", got 3'):
        Settings(item_template=3).to_yaml()  # type: ignore[arg-type]
    assert Settings(ranking_tasks=np.int64(7)).to_yaml() == Settings(ranking_tasks=7).to_yaml()


# ---------------------------------------------------------------------------------------- what a person writes


def test_what_is_not_named_keeps_the_default_of_its_section(read):
    assert read("") == read("# nothing yet\n") == read("train:\nlora: {}\n") == Settings()
    default = Settings()
    assert read("counts_ranker:\n  hidden: 8\n") == replace(default, counts_ranker=replace(default.counts_ranker, hidden=8))
    assert read("sources: {text_k: 5}").sources == replace(default.sources, text_k=5) != Sources(text_k=5)


def test_the_example_of_the_docstring_is_read(read):
    lines = (Settings.from_yaml.__doc__ or "").split("such as\n\n")[1].split("\n\n")[0]
    expected = Settings(user_encoder="pretrained", train=TrainSettings(max_steps=500, known=(1, 6)), ranking_tasks=1000)
    assert read(lines) == expected


def test_numbers_are_read_where_yaml_leaves_them_as_text(read):
    numbers = read("train: {learning_rate: 1e-3, dropout: .5e-1, max_steps: 1e3, batch_size: 8.0, horizon: 1_0}\nlayers: null")
    assert numbers.layers is None
    assert numbers.train == TrainSettings(learning_rate=1e-3, dropout=0.05, max_steps=1000, batch_size=8, horizon=10)
    assert isinstance(numbers.train.max_steps, int) and isinstance(numbers.train.batch_size, int)
    alpha = read("lora: {lora_alpha: 4}").lora.lora_alpha
    assert alpha == 4 and isinstance(alpha, float)


def test_null_is_read_exactly_where_none_is_the_default_or_a_value(read):
    """`layers` may be None, which means all blocks."""
    for name, default in leaves(asdict(Settings())).items():
        *sections, last = name.strip(".").split(".")
        text = "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(sections)) + f"{'  ' * len(sections)}{last}: null"
        if default is None:
            assert read(text) == Settings()
        elif last == "layers":
            assert read(text) == replace(Settings(), **{last: None})
        else:
            with pytest.raises(DataError, match=rf"for {name.strip('.')}.*, got None"):
                read(text)


def test_a_section_may_be_shared_by_a_merge_key(read):
    shared = read("counts_ranker: &small {hidden: 2, max_steps: 5}\nblend: {<<: *small, hidden: 3}")
    assert (shared.counts_ranker.hidden, shared.blend.hidden, shared.blend.max_steps) == (2, 3, 5)


def test_the_path_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("layers: 1")
    assert Settings.from_yaml("~/mine.yaml").layers == 1


# ---------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer: 2", "expected a setting, got layer; did you mean layers"),
        ("train: {learning-rate: 1}", "got train.learning-rate; did you mean train.learning_rate"),
        ("max_steps: 3", "got max_steps; max_steps is a setting of train and of counts_ranker and of blend: .* one of them"),
        ("train.horizon: 3", r"got train.horizon; horizon is a setting of train: write it indented below that"),
        ("zzz: 3", "got zzz; the settings are user_encoder, layers, item_template, .*device"),
        ("sources: {zzz: 3}", "got sources.zzz; the settings below sources are text_k, knn_k, popular_k, repeats"),
        ("3: 3", "got 3; the settings are"),
        ("ranking_tasks: many", "expected a whole number for ranking_tasks, such as 3000, got 'many'"),
        ("train: {max_steps: 8.5}", "expected a whole number or null for train.max_steps, got 8.5"),
        ("train: {max_steps: true}", "expected a whole number or null for train.max_steps, got True"),
        ("train: {batch_size: null}", "expected a whole number for train.batch_size, such as 64, got None"),
        ("user_encoder: large", "Settings.user_encoder is 'large'; expected small or pretrained"),
        ('train: {max_steps: "1_"}', "expected a whole number or null for train.max_steps, got '1_'"),
        ("index: {seed: 1e99}", "expected a whole number for index.seed"),
        ("layers: all", "expected a whole number or null for layers, such as 3, got 'all'"),
        ("lora: {inner_lr: true}", "expected a number for lora.inner_lr, .* got True"),
        ("lora: {inner_lr: .nan}", "expected a number for lora.inner_lr, .* got nan"),
        ("lora: {inner_lr: [1]}", r"expected a number for lora.inner_lr, .* got \[1\]"),
        ("outer: {first_order: 1}", "expected true or false for outer.first_order, such as true, got 1"),
        ("item_template: 3", 'expected text for item_template, such as "item", got 3'),
        ("index: {device: 3}", "expected text or null for index.device, got 3"),
        ("train: {known: 8}", "expected a list of 2 whole numbers or null for train.known, got 8"),
        ("train: {known: [1, 2, 3]}", r"expected a list of 2 whole numbers or null for train.known, got \[1, 2, 3\]"),
        ("train: {known: [1, x]}", r"expected a whole number for train.known\[1\], got 'x'"),
        ("blend_features: age", "expected a list of texts or null for blend_features, got 'age'"),
        ("train: 8", "expected settings below train, such as `max_steps: ...`, got 8"),
        ("- layers", r"expected settings, such as `user_encoder: ...`, got \['layers'\]"),
        ("layers:2", "expected settings, such as `user_encoder: ...`, got 'layers:2'"),
        ("train: {known: [8, 1]}", r"TrainSettings.known\[1\] is 1; expected at least 8"),
        ("layers: 2\ntrain:\n  horizon: 1\n  horizon: 1\n", "expected each setting once, got train.horizon in lines 3 and 4"),
        ("layers: 2\n'layers': 3", "expected each setting once, got layers in lines 1 and 2"),
        ("train:\n\tmax_steps: 2", r"expected YAML; PyYAML says: .*\\t.*; correct line 2, column 1"),
        ("layers: 1\n---\nlayers: 2", "expected YAML; PyYAML says: .*a single document .* another document; correct line 2"),
        (b"item_template: caf\xe9", "expected YAML; PyYAML says: .*byte.*; save the file as UTF-8"),
        ("layers: &a [*a", "expected YAML"),
        ("layers: !!python/object:os.system x", "expected YAML; PyYAML says: could not determine a constructor"),
        ("device: 2020-99-99", "expected YAML, got a value that cannot be read .*month.*; put texts in quotes"),
        ("device: !!bool x", "expected YAML, got a value that cannot be read"),
        ('layers: !!int ""', "expected YAML, got a value that cannot be read"),
        ("train: &a {lora: *a}", "got train.lora; "),
    ],
)
def test_a_mistake_is_named_with_its_file_and_place(read, text, message):
    with pytest.raises(DataError, match=rf"settings\.yaml: .*{message}") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_a_typed_error(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml: expected a YAML file of settings, got No such file .*; check the path"):
        Settings.from_yaml(tmp_path / "none.yaml")
    with pytest.raises(DataError, match=r"expected a YAML file of settings, got .*; check the path"):
        Settings.from_yaml(tmp_path)


@pytest.mark.parametrize("path", [None, 3, "a\0b", "~nobody-of-that-name/settings.yaml"])
def test_a_path_that_is_none_is_a_typed_error(path):
    with pytest.raises(DataError, match="path: expected that of a YAML file of settings, got "):
        Settings.from_yaml(path)


def test_a_large_number_is_a_number(read):
    settings = replace(Settings(), outer=replace(Settings().outer, anneal=1e20))
    assert read(settings.to_yaml()) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(sources=Sources(repeats=1)), "Sources.repeats is 1; expected True or False"),  # type: ignore[arg-type]
        (Settings(cold_items="auto"), "Settings.cold_items is 'auto'; expected True, False or None"),  # type: ignore[arg-type]
        (Settings(outer=OuterSettings(first_order="no")), "OuterSettings.first_order is 'no'"),  # type: ignore[arg-type]
    ],
)
def test_flags_that_are_no_booleans_are_refused_before_training(settings, message):
    with pytest.raises(DataError, match=message):
        check_ranges(settings)


# ---------------------------------------------------------------------------------------- quick, and saved folders


def test_quick_settings_are_smaller_than_the_defaults_and_the_demonstrations(read):
    quick, default = Settings.quick(), Settings()
    check_ranges(quick)
    assert plan.quick().trips == replace(quick, train=replace(quick.train, horizon=plan.HORIZON))
    assert quick.train.max_steps < LEAST_STEPS and quick.train.batch_size < default.train.batch_size
    assert quick.outer.episodes < default.outer.episodes and quick.ranking_tasks < default.ranking_tasks


@pytest.mark.slow
def test_quick_settings_fit_and_answer(fitting, world):
    recommender = fitting(world.events(world.users, world.ids), world.items(world.ids), settings=Settings.quick())
    assert len(recommender.recommend(world.users[:2], k=3)) == 6


def test_a_golden_folder_gives_its_settings_back():
    saved = json.loads((GOLDEN / "recommender" / "settings.json").read_text())
    loaded = Recommender.from_pretrained(GOLDEN / "recommender").settings
    assert loaded.lora == LoraSettings(r=2, lora_alpha=4.0, inner_steps=2, inner_lr=1.0, meta_batch_size=8, b_std=0.2)
    assert loaded.train.known == (1, 8) and loaded.blend_features == () and loaded.index.device is None
    told = json.loads(json.dumps(asdict(loaded)))
    assert told.pop("user_encoder") == "pretrained" and told["train"].pop("epochs") == TrainSettings().epochs  # newer settings
    assert told["index"].pop("recall") == IndexSettings().recall and told.pop("cold_items") is None
    assert told.pop("leave_last_out") is None  # older than the setting
    assert told.pop("adapter") == "lora" and told.pop("core") == asdict(CoreSettings())
    assert told.pop("signed") == {"positive": [], "negative": [], "liked_from": None}
    assert told == saved


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train": {"gamma": 1}}, "expected a setting, got train.gamma"),
        ({"layers": "many"}, "expected a whole number or null for layers"),
        ([], "expected settings, such as"),
    ],
)
def test_a_saved_folder_with_other_settings_says_which(wrong, message, tmp_path, monkeypatch):
    state = Recommender.from_pretrained(GOLDEN / "recommender").state
    monkeypatch.setattr(saving, "asdict", lambda value: wrong if value is state.settings else asdict(value))
    saving.save_state(tmp_path / "wrong", state, histories=False)
    with pytest.raises(ArtefactError, match=rf"settings\.json: {message}.* install the version that saved the folder"):
        Recommender.from_pretrained(tmp_path / "wrong")
