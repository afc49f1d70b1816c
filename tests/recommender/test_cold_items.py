"""Cold items: what they are worth is learned on the newest items, and the blend is learned on them as cold items."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec import Recommender, Settings, TrainSettings, build
from llmrec.data.attributes import encode, learn_encoding
from llmrec.data.context import code_name
from llmrec.data.splits import by_time
from llmrec.encoder.model import SlotModel
from llmrec.meta.adaptable import Base
from llmrec.meta.user_core import start_core
from llmrec.ranking.ranker import RankerSettings
from llmrec.ranking.statistics import fit_statistics, read_texts
from llmrec.recommender.adapting import adapting
from llmrec.recommender.auto import BLEND_FEATURES, Facts, blend_features
from llmrec.recommender.cold_items import LEAST_TASKS, keep_likeness, newest_as_cold, newest_items, shift, worth
from llmrec.recommender.pipeline import frozen_items, new_retrieval, reader, start_adapter

USERS, WAVES, DAYS, EACH = 200, 12, 10, 4
"""A shop with a new wave of items every ten days; everybody comes once a wave and takes an item of that wave. Each wave has an
item in each of EACH colours, and everybody likes one colour. The last wave is in the catalogue and has not been sold yet."""
COLOURS = ("red", "blue", "green", "small")


def arrivals(users: int = USERS) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    rng, rows = np.random.default_rng(0), []
    for user in range(users):
        for wave in range(WAVES - 1):
            colour = user % EACH if rng.random() < 0.9 else int(rng.integers(EACH))
            when = 1.6e9 + 86_400.0 * (DAYS * wave + DAYS * rng.random())
            rows.append((f"u{user:03}", f"i{wave:02}-{colour}", when))
    names = ("user_id", "item_id", "timestamp")
    events = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    ids = [f"i{wave:02}-{colour}" for wave in range(WAVES) for colour in range(EACH)]
    return events, {"item_id": ids, "title": [f"{COLOURS[int(i[-1])]} mug {i[1:3]}" for i in ids]}


@pytest.fixture(scope="module")
def shop():
    return build(*arrivals())[0]


def waves(items: np.ndarray, shop) -> set[int]:
    return {int(shop.catalogue.ids[item][1:3]) for item in items}


def test_the_newest_items_came_in_the_last_tenth_and_are_asked_for_after_it(shop):
    found = newest_items(shop, np.arange(0, USERS, 2))
    assert waves(np.flatnonzero(found.new), shop) == {WAVES - 2}  # that of the last tenth; the last one has no events
    tasks = found.first
    assert set(tasks.user.tolist()) <= set(range(0, USERS, 2)) and (tasks.stop - tasks.split == 1).all()
    cut = by_time(shop, 0.9).time
    assert all((shop.time[start:split] < cut).all() for start, split in zip(tasks.start, tasks.split, strict=True))
    later = found.later
    assert set(tasks.split.tolist()) < set(later.split.tolist()) and (shop.time[later.split] >= cut).all()
    assert (later.stop - later.split == 1).all() and (later.start == shop.start[later.user]).all()
    left = found.without(shop)
    assert left.n_users == USERS and not found.new[left.item].any() and left.n_events < shop.n_events


def test_tasks_of_the_newest_items_have_the_attributes_of_their_users_and_the_context(shop):
    """Otherwise the blend would be learned without what every answer reads."""
    people = pa.table({"colour": [COLOURS[user % EACH] for user in range(USERS)]})
    encoding, _ = learn_encoding(people, "users")
    hour = learn_encoding(pa.table({"hour": ["8", "20"] * 10}), "context")[0]
    codes = (np.arange(shop.n_events) % 2).astype(np.float32)
    known = replace(shop, user_attributes=encode(encoding, people, "users")[0], context=hour)
    known = replace(known, attributes={**shop.attributes, code_name("hour"): codes})
    found = newest_items(known, np.arange(USERS))
    for tasks in (found.first, found.later):
        np.testing.assert_array_equal(tasks.user_attributes.codes, known.user_attributes.codes[tasks.user])
        np.testing.assert_array_equal(tasks.context.codes[:, 0], codes[tasks.split])
    bare = newest_items(shop, np.arange(USERS))
    assert bare.first.user_attributes is bare.first.context is bare.later.user_attributes is bare.later.context is None


def test_without_time_or_with_few_users_nothing_is_told(shop):
    assert newest_items(shop, np.arange(LEAST_TASKS - 1)) is None
    assert newest_items(replace(shop, time=np.full(shop.n_events, 5.0)), np.arange(USERS)) is None


@pytest.fixture
def model(lively_bodies, shop, new_slot_model) -> SlotModel:
    return new_slot_model(lively_bodies["bert"], shop)


def test_hidden_items_are_their_texts_and_the_others_are_as_they_were(model, shop):
    with torch.no_grad():
        model.id_embedding.normal_()
        model.repeat_delta.normal_()
    hidden = np.arange(shop.n_items) % 5 == 0
    before, after = frozen_items(model), frozen_items(model, hidden)
    assert all(torch.equal(x[~hidden], y[~hidden]) for x, y in zip(parts(before), parts(after), strict=True))
    torch.testing.assert_close(after.vectors[hidden], model.project(model.text)[hidden].detach())
    assert (after.bias[hidden] == model.cold_bias).all() and (after.repeat[hidden] == model.repeat).all()


def parts(items) -> tuple[torch.Tensor, ...]:
    return items.vectors, items.bias, items.repeat


def test_what_is_added_gives_cold_items_the_chance_with_which_they_were_taken(model, shop):
    settings = Settings(train=TrainSettings(max_slots=12, horizon=1))
    found = newest_items(shop, np.arange(USERS))
    cold = found.new | ~model.trained.numpy()

    def expected() -> tuple[float, float, float]:
        return worth(reader(model, frozen_items(model, found.new), settings, None), found.first, cold)

    more, share, before = expected()
    hits = cold[shop.item[found.first.split]]
    assert share == pytest.approx((hits.sum() + 0.5) / (len(hits) + 1)) and abs(before - share) > 0.01
    with torch.no_grad():
        model.cold_bias += more
    assert expected()[2] == pytest.approx(share, rel=1e-3)


def test_gate_and_blend_are_learned_with_the_newest_items_as_cold_items(model, shop):
    settings, users = Settings(train=TrainSettings(max_slots=12, horizon=1), ranking_tasks=40), np.arange(USERS)
    items, texts, rng = frozen_items(model), read_texts(shop), np.random.default_rng(0)
    counts, newest = fit_statistics(shop, users, 1, texts, rng), newest_items(shop, users)
    learned = adapting(
        Base(model, items, settings.episode), start_adapter(model, settings, 0, 0.3), start_core(items, 4, 0.5), newton=2
    )
    retrieval = new_retrieval(model, items, counts, settings)
    found = newest_as_cold(shop, users, learned, retrieval, newest, texts, settings, rng)
    expected = frozen_items(model, newest.new)
    assert not torch.equal(expected.vectors, items.vectors)
    for base in (found.learned.base, found.learned.lora.base, found.learned.core.base):
        assert all(torch.equal(x, y) for x, y in zip(parts(base.items), parts(expected), strict=True))
    assert found.learned.core.steps == 2 and found.learned.core.at is found.learned.lora.init.adapter
    assert (counts.popularity[newest.new] > 0).all() and not found.retrieval.counts.popularity[newest.new].any()
    matrix = expected.search_matrix(model.temperature).detach().numpy()
    np.testing.assert_array_equal(found.retrieval.index.vectors, matrix)
    assert len(found.tasks) == 40 and set(found.tasks.split.tolist()) <= set(newest.later.split.tolist())
    plain = newest_as_cold(shop, users, learned, retrieval, None, texts, settings, rng)
    assert plain.learned is learned and plain.retrieval is retrieval and plain.tasks is None


def test_a_shift_gives_the_mean_chance_that_is_asked_for():
    odds = np.random.default_rng(0).normal(size=50) - 4
    for share in (0.01, 0.3, 0.9):
        assert (1 / (1 + np.exp(-odds - shift(odds, share)))).mean() == pytest.approx(share)
    assert shift(odds, 0.0) == pytest.approx(-10) and shift(odds, 1.0) == pytest.approx(10)


def test_the_projection_that_keeps_likeness_keeps_as_much_as_any_of_its_rank(body):
    """Texts twice as wide as the body: what is lost of the inner products are the smaller eigenvalues, and no more."""
    text = torch.nn.functional.normalize(torch.randn(80, 64, generator=torch.Generator().manual_seed(1)), dim=1)
    model = SlotModel(body, torch.tensor([12]), text, torch.ones(80))
    whole, random = text @ text.T, model.project(text)
    keep_likeness(model)
    kept = model.project(text)
    lost = torch.linalg.eigvalsh(whole.double())[:-32].square().sum().sqrt()
    torch.testing.assert_close((kept @ kept.T - whole).norm().double(), lost, rtol=1e-4, atol=0.0)
    assert (random @ random.T - whole).norm() > 1.2 * lost


def test_the_blend_is_told_what_is_said_of_cold_items_where_it_can_learn_it():
    many, few = (Facts(1000, 1000.0, 5.0, 1.0, 9.0, 20.0, 900, users) for users in (400, 399))
    assert blend_features(many, True) == (*BLEND_FEATURES, "text_knn") and blend_features(many) == BLEND_FEATURES
    assert blend_features(few, True) == ()


@pytest.fixture(scope="module")
def fitted(fitting, tiny_settings):
    """`fitted(cold_items)` -> Recommender over the shop of arrivals."""
    train = replace(tiny_settings.train, max_steps=60, horizon=1, learning_rate=3e-3, text_only_rate=0.5)
    blend = RankerSettings(hidden=2, max_steps=300)
    settings = replace(tiny_settings, train=train, blend=blend, blend_features=("text_knn",), blend_fraction=0.4)
    return {cold: fitting(*arrivals(), settings=replace(settings, cold_items=cold)) for cold in (False, True)}


@pytest.mark.slow
def test_a_wave_that_nobody_has_had_yet_is_found_when_it_is_asked_for(fitted, shop, tmp_path):
    """Everybody's next item is of the last wave, which has no events."""
    share = {}
    for cold, recommender in fitted.items():
        state = recommender.state
        assert (len(state.retrieval.counts.flow.centre) > 0) is cold and (state.retrieval.counts.text_knn.nnz > 0) is cold
        answer = recommender.recommend(shop.users.values, k=EACH)
        share[cold] = np.mean([item.startswith(f"i{WAVES - 1}") for item in answer["item_id"]])
    assert share[True] > 0.5 > share[False]
    fitted[True].save_pretrained(tmp_path / "saved", histories=True)
    again = Recommender.from_pretrained(tmp_path / "saved").recommend(shop.users.values, k=EACH)
    told = fitted[True].recommend(shop.users.values, k=EACH)
    assert list(again["item_id"]) == list(told["item_id"])
    np.testing.assert_allclose(list(again["score"]), list(told["score"]), rtol=1e-4, atol=1e-4)
