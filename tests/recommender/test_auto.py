"""What is not set is chosen from the data: every rule on planted shops, and what `fit` makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender, Settings, TrainSettings, Weights
from llmrec.data.build import build
from llmrec.data.clean import Cleaning
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.progress import Stages
from llmrec.recommender import fit as fitting_module
from llmrec.recommender.auto import (
    BLEND_FEATURES,
    LARGE_BLEND_FROM,
    LEARNING_RATES,
    LEAST_STEPS,
    MOST_LEFT_OUT,
    Facts,
    facts,
    max_steps,
    resolve,
)
from llmrec.recommender.fit import fit, with_initialisation
from llmrec.recommender.splitting import split_users

SMALL_SHOP = Facts(
    users=500, histories=500, baskets=4, basket_size=1.0, long_history=9, item_events=16, longer=450, blend_users=50
)
LARGE_SHOP = replace(SMALL_SHOP, users=100_000, histories=100_000, longer=90_000, blend_users=1000)
# Where None is a value, such as all blocks.
NEVER_CHOSEN = {"cold_items", "index.probes", "layers", "index.device", "index.lists", "signed.liked_from"}
GIVEN: dict[str, Any] = {
    "blend_features": ("age",),
    "leave_last_out": 5,
    "blend.hidden": 3,
    "blend.max_steps": 9,
    "blend.learning_rate": 0.03,
    "train.max_steps": 7,
    "train.known": (2, 5),
    "train.horizon": 6,
    "train.max_slots": 33,
    "train.learning_rate": 0.07,
    "train.dropout": 0.0,
    "train.ema_decay": 0.0,
}


def planted(baskets: int, size: int, users: int = 8, items: int = 20) -> Dataset:
    """All users have so many baskets of so many events; every item is bought about as often as the others."""
    rows = [
        (f"u{user}", f"i{(user + basket * size + place) % items}", 86_400.0 * basket + place, f"{user}-{basket}")
        for user in range(users)
        for basket in range(baskets)
        for place in range(size)
    ]
    names = ("user_id", "item_id", "timestamp", "basket_id")
    events = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    return build(events, cleaning=Cleaning(drop_duplicates=False, outlier_spread=None))[0]


def leaves(settings: Any, name: str = "") -> dict[str, Any]:
    """Dotted name -> value of every field at every depth."""
    if not is_dataclass(settings):
        return {name.strip("."): settings}
    found = (leaves(getattr(settings, one.name), f"{name}.{one.name}") for one in fields(settings))
    return {key: value for part in found for key, value in part.items()}


def with_values(settings: Settings, values: dict[str, Any]) -> Settings:
    rest: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for part in ("train", "blend"):
        below = {name.removeprefix(f"{part}."): value for name, value in values.items() if name.startswith(f"{part}.")}
        rest[part] = replace(getattr(settings, part), **below)
    return replace(settings, **rest)


# ---------------------------------------------------------------------------------------- the facts and the rules


def test_the_facts_are_those_of_users_and_items_with_events(shop):
    dataset = shop([[[0], [1], [0, 1]], [[2]], [[1, 2], [0]], [[0], [0]]], 9)  # items 3 to 8 are never bought
    assert facts(dataset, 7) == Facts(
        users=4,
        histories=4.0,
        baskets=2.0,
        basket_size=10 / 8,
        long_history=pytest.approx(3.85),
        item_events=10 / 3,
        longer=1,
        blend_users=7,
    )
    assert facts(dataset, 7) == facts(dataset, 7)


def test_a_long_history_counts_once_for_every_forty_baskets():
    assert facts(planted(90, 1, users=2), 0).histories == pytest.approx(2 * 90 / 40)
    assert facts(planted(40, 1, users=2), 0).histories == facts(planted(3, 1, users=2), 0).histories == 2
    assert resolve(Settings(), replace(SMALL_SHOP, histories=100_000.0)).train.max_steps == round(6 * 100_000 / 64)


@pytest.mark.parametrize(
    ("baskets", "size", "horizon", "max_slots", "known", "dropout"),
    [
        (4, 1, 1, 16, (1, 16), 0.5),  # short histories of single events
        (92, 1, 9, 96, (1, 96), 0.5),  # long ones
        (200, 1, 10, 128, (1, 128), 0.3),  # longer than a prompt
        (42, 10, 4, 128, (1, 12), 0.3),  # baskets of ten
        (3, 20, 1, 64, (1, 3), 0.5),
        (2, 150, 1, 128, (1, 2), 0.3),  # one basket alone fills the prompt
    ],
)
def test_lengths_and_dropout_follow_the_histories(baskets, size, horizon, max_slots, known, dropout):
    items = max(20, size)
    train = resolve(Settings(), facts(planted(baskets, size, users=8 * items // 20, items=items), 0)).train
    assert (train.horizon, train.max_slots, train.known, train.dropout) == (horizon, max_slots, known, dropout)


def test_a_given_prompt_decides_the_longest_support():
    assert resolve(Settings(train=TrainSettings(max_slots=40)), SMALL_SHOP).train.known == (1, 40)
    assert resolve(Settings(train=TrainSettings(max_slots=40)), replace(SMALL_SHOP, basket_size=4.0)).train.known == (1, 10)


def test_the_blend_reads_counts_where_many_users_teach_it():
    dataset = planted(4, 1)
    assert resolve(Settings(), facts(dataset, 399)).blend_features == ()
    assert resolve(Settings(), facts(dataset, 400)).blend_features == BLEND_FEATURES


def test_last_baskets_are_left_out_in_shops_of_many_users_with_short_histories():
    assert resolve(Settings(), LARGE_SHOP).leave_last_out == MOST_LEFT_OUT
    assert resolve(Settings(), replace(LARGE_SHOP, users=12_000, longer=12_000)).leave_last_out == 4_000
    assert resolve(Settings(), replace(LARGE_SHOP, longer=500)).leave_last_out == 250
    assert resolve(Settings(cold_items=True), LARGE_SHOP).leave_last_out == 0
    for other in (SMALL_SHOP, replace(LARGE_SHOP, users=9_999), replace(LARGE_SHOP, baskets=20)):
        assert resolve(Settings(), other).leave_last_out == 0
    assert resolve(Settings(leave_last_out=7), LARGE_SHOP).leave_last_out == 7


def test_the_blend_is_larger_where_thousands_of_last_baskets_teach_it():
    numbers = LARGE_BLEND_FROM - 1, LARGE_BLEND_FROM
    small, large = (resolve(Settings(leave_last_out=number), LARGE_SHOP).blend for number in numbers)
    assert small.hidden < large.hidden and small.max_steps < large.max_steps
    assert resolve(Settings(), LARGE_SHOP).blend == large
    for last in (Settings(), Settings(leave_last_out=100_000), Settings(leave_last_out=100_000, cold_items=True)):
        assert resolve(last, SMALL_SHOP).blend == small  # nobody, or few, have last baskets to learn from


def test_steps_grow_with_the_users_and_the_average_with_the_steps():
    assert max_steps(SMALL_SHOP, 3.0, 64) == LEAST_STEPS
    assert max_steps(LARGE_SHOP, 3.0, 64) == round(3 * 100_000 / 64) == max_steps(LARGE_SHOP, 6.0, 128)
    for found in (SMALL_SHOP, LARGE_SHOP):
        train = resolve(Settings(), found).train
        assert train.ema_decay == pytest.approx(1 - 1.6 / train.max_steps)
    assert resolve(Settings(train=TrainSettings(max_steps=1)), SMALL_SHOP).train.ema_decay == 0.0


def test_each_transformer_has_a_learning_rate_of_its_own():
    for encoder, rate in LEARNING_RATES.items():
        assert resolve(Settings(user_encoder=encoder), SMALL_SHOP).train.learning_rate == rate
    assert len(set(LEARNING_RATES.values())) == 2


@pytest.mark.parametrize("found", [SMALL_SHOP, LARGE_SHOP], ids=["small", "large"])
def test_the_best_settings_train_longer(found):
    default, best = resolve(Settings(), found), resolve(Settings.best(), found)
    assert best.train.max_steps >= default.train.max_steps and best.ranking_tasks > default.ranking_tasks
    assert (best.train.max_steps > 1.5 * default.train.max_steps) == (found is LARGE_SHOP)  # a small shop has all it needs


def test_what_is_given_stays_and_nothing_is_left_open():
    """For every preset and any choice of what is given."""
    open_ones = {name for name, value in leaves(Settings.best()).items() if value is None} - NEVER_CHOSEN
    assert open_ones == GIVEN.keys()
    rng = np.random.default_rng(0)
    for start in (Settings(), Settings.quick(), Settings.best(), Settings(layers=None)):
        for _ in range(20):
            asked = with_values(start, {name: value for name, value in GIVEN.items() if rng.random() < 0.5})
            before, after = leaves(asked), leaves(resolve(asked, SMALL_SHOP))
            assert before.keys() == after.keys()
            for name, value in before.items():
                if value is None and name not in NEVER_CHOSEN:
                    assert after[name] is not None, name
                else:
                    assert after[name] == value, name
            assert resolve(resolve(asked, SMALL_SHOP), LARGE_SHOP) == resolve(asked, SMALL_SHOP)


# ---------------------------------------------------------------------------------------- what fit makes of it


@pytest.fixture(scope="module")
def left_open(tiny_settings) -> Settings:
    """Everything is chosen from the data, but for how long training takes."""
    return replace(tiny_settings, train=TrainSettings(max_steps=6, batch_size=8), blend_features=Settings().blend_features)


def test_what_was_chosen_is_told_kept_saved_and_fits_the_same_again(fitting, left_open, world, capsys, tmp_path):
    tables = world.events(world.users, world.ids), world.items(world.ids)
    first = fitting(*tables, settings=left_open)
    complete = first.state.settings
    dataset = build(*tables)[0]
    assert complete == resolve(left_open, facts(dataset, int(dataset.n_users * left_open.blend_fraction)))
    assert complete != left_open == first.settings
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("chosen from the data (24 users, ")]
    told = {name for name, value in leaves(left_open).items() if value is None} - NEVER_CHOSEN
    assert told == {part.split("=")[0] for part in line.split("): ")[1].split(", ") if "=" in part}
    assert f"train.max_slots={complete.train.max_slots}" in line
    first.save_pretrained(tmp_path / "first")
    loaded = Recommender.from_pretrained(tmp_path / "first")
    assert loaded.settings == complete
    again = fitting(*tables, settings=loaded.settings)
    assert "chosen from the data" not in capsys.readouterr().err
    again.save_pretrained(tmp_path / "again")
    files = [file.relative_to(tmp_path / "first") for file in sorted((tmp_path / "first").rglob("*")) if file.is_file()]
    assert len(files) > 5
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_a_small_user_encoder_is_fitted_saved_and_loaded(fitting, tiny_settings, world, clicks, tmp_path):
    recommender = fitting(
        world.events(world.users, world.ids), world.items(world.ids), settings=replace(tiny_settings, user_encoder="small")
    )
    body = recommender.state.model.body
    assert (body.n_blocks, body.model.config.hidden_size) == (2, 128)  # the transformer of the texts is 32 wide
    expected = recommender.recommend(histories=pd.DataFrame(clicks), k=12)
    recommender.save_pretrained(tmp_path / "saved")
    loaded = Recommender.from_pretrained(tmp_path / "saved")
    assert loaded.settings.user_encoder == "small"
    pd.testing.assert_frame_equal(loaded.recommend(histories=pd.DataFrame(clicks), k=12), expected)


def test_another_user_encoder_is_refused(fitting, tiny_settings, world):
    with pytest.raises(DataError, match="Settings.user_encoder is 'large'; expected small or pretrained"):
        fitting(world.events(world.users, world.ids), settings=replace(tiny_settings, user_encoder="large"))


def test_last_baskets_count_in_the_end_but_not_before_the_blend_is_learned(tiny_folders, tiny_settings, world, monkeypatch):
    """One item is only in the left-out baskets: no input of the blend may be computed from it."""
    users = [f"u{number:03}" for number in range(160)]
    settings = replace(tiny_settings, meta_fraction=0.2, blend_fraction=0.2, leave_last_out=50)
    events, items = world.events(users, world.ids), world.items([*world.ids, "rare"])
    before = build(events, items)[0]
    split = split_users(before, np.arange(160), settings, np.random.default_rng(0))
    assert len(split.last) == 50
    dataset = build(with_rare(events, [before.users.values[number] for number in split.last]), items)[0]
    rare, seen = dataset.catalogue.ids.values.index("rare"), []

    def spied(name: str, what: Callable[..., object]) -> None:
        real = getattr(fitting_module, name)

        def spy(*given, **options):
            seen.append((name, what(*given)))
            return real(*given, **options)

        monkeypatch.setattr(fitting_module, name, spy)

    spied("pretrain", lambda model, data, *_: (rare in data.item[np.isin(data.user, split.base)], bool(model.trained[rare])))
    spied("learn_counts_rankers", lambda _, retrieval, texts, data, *__: (float(retrieval.popularity[rare]), rare in data.item))
    spied("learn_blend", lambda _, retrieval, __, tasks, *___: (float(retrieval.popularity[rare]), asked(tasks)))

    def asked(tasks: Tasks) -> int:
        return sum(rare in wanted for wanted in tasks.relevant())

    state = fit(dataset, Weights.folder(tiny_folders["bert"]), settings, 0, Stages(verbose=False), None)
    blend = ("learn_blend", (0.0, 50))
    assert seen == [("pretrain", (False, False)), ("learn_counts_rankers", (0.0, False)), blend, blend]
    assert state.retrieval.counts.popularity[rare] == 50
    seen.clear()
    with_initialisation(state, dataset, split, state.init, np.random.default_rng(0), Stages(verbose=False))
    assert seen == [blend, blend]  # the blend of another initialisation, too


def test_cold_items_are_learned_without_last_baskets(tiny_settings, world):
    dataset = build(world.events([f"u{number:03}" for number in range(160)], world.ids), world.items(world.ids))[0]
    split = {}
    for cold in (False, True):
        settings = replace(tiny_settings, meta_fraction=0.2, blend_fraction=0.2, leave_last_out=50, cold_items=cold)
        split[cold] = split_users(dataset, np.arange(160), settings, np.random.default_rng(0))
    assert (len(split[False].last), len(split[True].last)) == (50, 0)
    for name in ("base", "meta", "blend"):
        assert np.array_equal(getattr(split[False], name), getattr(split[True], name))


def with_rare(events: dict[str, list], users: list[str]) -> dict[str, list]:
    """The events, and the item "rare" as the last basket of each of the users."""
    last = dict(zip(events["user_id"], events["timestamp"], strict=True))
    added = {name: list(values) for name, values in events.items()}
    for user in users:
        row = {"user_id": user, "item_id": "rare", "timestamp": last[user] + 1e5, "price": 1.0, "basket_id": f"{user}-rare"}
        for name, value in row.items():
            added[name].append(value)
    return added


def test_held_out_users_count_in_the_end_but_not_while_the_blend_is_learned(tiny_folders, tiny_settings, world, monkeypatch):
    """They alone buy one item; had it counted in what the blend learns from, it would have been their own future."""
    users = [f"u{number:03}" for number in range(160)]
    settings = replace(tiny_settings, meta_fraction=0.2, blend_fraction=0.2)
    events, items = world.events(users, world.ids), world.items([*world.ids, "rare"])
    before = build(events, items)[0]
    split = split_users(before, np.arange(160), settings, np.random.default_rng(0))
    dataset = build(with_rare(events, [before.users.values[number] for number in split.blend]), items)[0]
    rare = dataset.catalogue.ids.values.index("rare")
    seen: list[tuple[str, float]] = []

    def spied(name: str) -> None:
        real = getattr(fitting_module, name)

        def spy(read, retrieval, *rest, **options):
            seen.append((name, float(retrieval.popularity[rare])))
            return real(read, retrieval, *rest, **options)

        monkeypatch.setattr(fitting_module, name, spy)

    spied("learn_counts_rankers")
    spied("learn_blend")
    state = fit(dataset, Weights.folder(tiny_folders["bert"]), settings, 0, Stages(verbose=False), None)
    assert seen == [("learn_counts_rankers", 0.0), ("learn_blend", 0.0), ("learn_blend", 0.0)]
    assert state.retrieval.counts.popularity[rare] == len(split.blend) == 32
    assert (state.retrieval.counts.popularity > 0).all()
    seen.clear()
    state = replace(state, retrieval=replace(state.retrieval, observed=np.full(dataset.n_items, 7.0)))  # as after observe
    made = with_initialisation(state, dataset, split, state.init, np.random.default_rng(0), Stages(verbose=False))
    assert seen == 2 * [("learn_blend", 0.0)]  # the blend of another initialisation, too
    assert made.retrieval is state.retrieval
