"""In scenes that were planted the right change of text space is known: gradient steps find it, and a learned start sooner."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import lora_hook
from llmrec.data.build import build
from llmrec.meta.outer import OuterSettings
from llmrec.scenes.shelf import Shelf, shelve
from llmrec.scenes.worlds import World
from studies.scenes.lora_steps import (
    LoraSettings,
    adapt_scene,
    begin_lora,
    best_steps,
    blank,
    episode,
    gains_by_step,
    meta_learn,
    play,
    scenes_within,
)
from studies.scenes.reader import begin, item_matrix, losses
from studies.scenes.room import asks, counted, room, windows
from studies.scenes.teaching import source

WIDTH, ITEMS = 10, 80
SETTINGS = LoraSettings(
    rank=2, steps=3, rate=0.3, batch=96, parts=3, sizes=(40, 80), least=60, users=(20, 60), outer=OuterSettings(60, 1e-2)
)


def turned(seed: int, angle: float, users: int = 160) -> World:
    """Who had items that point one way takes what is found `angle` further on in the plane of the first two axes, where texts
    differ; eight items each."""
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(ITEMS, WIDTH)) * np.r_[3.0, 3.0, np.full(WIDTH - 2, 0.6)]
    text = (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)
    turn = np.eye(WIDTH)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(users):
        taken = [int(rng.integers(ITEMS))]
        for _ in range(7):
            score = 14 * (text @ turn @ text[taken[-1]])
            score[taken] = -np.inf
            taken.append(int((score + rng.gumbel(size=ITEMS)).argmax()))
        for visit, item in enumerate(taken):
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{item:02d}")
            rows["timestamp"].append(1.3e9 + 1e5 * visit + user)
    titles = {"item_id": [f"i{item:02d}" for item in range(ITEMS)], "title": [f"mug {item}" for item in range(ITEMS)]}
    dataset = build(rows, titles)[0]
    shelf = shelve(dataset, text, dataset.catalogue.column("title"))
    vectors = text[[int(title.split()[1]) for title in dataset.catalogue.column("title")]]  # as planted, not evened out
    return World(dataset, Shelf(vectors, shelf.words, shelf.crowd, shelf.among), np.arange(users))


@pytest.fixture(scope="module")
def reader():
    return begin(WIDTH, torch.Generator().manual_seed(0), heads=1, bends=8)


@pytest.fixture(scope="module")
def learned(reader):
    """From scenes that all turn one way, each by an angle of its own."""
    return meta_learn(reader, [turned(seed, angle) for seed, angle in enumerate((0.5, 0.9, 1.3))], SETTINGS, 0)


@pytest.fixture(scope="module")
def scene():
    """A new one of their kind: its room with 30 users counted, what these took, and all that the others ask."""
    world = turned(9, 1.1)
    here, rest = counted(room(world), np.arange(30)), np.arange(30, 160)
    tasks, item = asks(world, rest)
    return here, source(here, np.arange(30)), windows(here, tasks, item)


def lost(reader, here, query, adapter=None) -> float:
    with torch.no_grad():
        return float(losses(reader, here, query, None if adapter is None else lora_hook(adapter)).mean())


def test_steps_find_a_planted_turn_of_text_space(reader, scene):
    here, given, query = scene
    init = begin_lora(reader, replace(SETTINGS, rate=1.0), torch.Generator().manual_seed(1))
    adapter = adapt_scene(reader, given, init, SETTINGS, 60, np.random.default_rng(0))
    assert lost(reader, here, query, adapter) < lost(reader, here, query) - 0.3
    with torch.no_grad():
        first = item_matrix(reader, torch.eye(WIDTH)[:2] * 1.0, lora_hook(adapter))[:, :2]
    assert abs(first[0, 1] - first[1, 0]) > 0.3  # it turns, in that plane


def test_zero_steps_is_where_it_starts_and_nothing_else_changes(reader, learned, scene):
    here, given, query = scene
    before = {name: weight.clone() for name, weight in reader.weights.items()}
    start = [leaf.clone() for leaf in learned.adapter.leaves()]
    zero = adapt_scene(reader, given, learned, SETTINGS, 0, np.random.default_rng(0))
    adapted = adapt_scene(reader, given, learned, SETTINGS, 3, np.random.default_rng(0))
    for leaf, other, moved in zip(start, zero.leaves(), adapted.leaves(), strict=True):
        torch.testing.assert_close(leaf, other, rtol=0, atol=0)
        assert (leaf != moved).any()
    assert all((before[name] == weight).all() for name, weight in reader.weights.items())
    assert all((leaf == other).all() for leaf, other in zip(start, learned.adapter.leaves(), strict=True))
    assert lost(reader, here, query, blank(reader, SETTINGS, torch.Generator())) == pytest.approx(lost(reader, here, query))


def test_a_learned_start_is_better_than_a_random_one_after_as_many_steps(reader, learned, scene):
    here, given, query = scene
    adapted = lost(reader, here, query, adapt_scene(reader, given, learned, SETTINGS, 3, np.random.default_rng(0)))
    best = min(
        lost(
            reader,
            here,
            query,
            adapt_scene(
                reader,
                given,
                begin_lora(reader, replace(SETTINGS, rate=rate), torch.Generator().manual_seed(seed)),
                SETTINGS,
                3,
                np.random.default_rng(0),
            ),
        )
        for rate in (0.1, 1.0, 3.0)
        for seed in range(2)
    )
    assert adapted < best and adapted < lost(reader, here, query)


def test_a_scene_without_anything_asked_stays_where_it_started(reader, learned):
    world = turned(3, 0.4)
    here = counted(room(world), world.users[:0])
    found = adapt_scene(reader, source(here, world.users[:0]), learned, SETTINGS, 3, np.random.default_rng(0))
    assert all((a == b).all() for a, b in zip(found.leaves(), learned.adapter.leaves(), strict=True))


def test_parts_of_known_scenes_are_scenes_and_each_is_there_whole():
    world = turned(4, 0.7)
    found = scenes_within([world], SETTINGS, np.random.default_rng(0))
    assert len(found) == 4 and len(found[0].items) == ITEMS
    assert all(40 <= len(one.items) <= 80 and len(one.world.users) >= 60 for one in found[1:])


def test_parts_of_a_part_read_whole_histories():
    world = turned(4, 0.7)
    among = np.arange(ITEMS) < 40
    half = replace(world, shelf=replace(world.shelf, among=among))
    found = scenes_within([half], SETTINGS, np.random.default_rng(0))
    assert len(found) == 4 and found[0].items.tolist() == list(range(40))
    for one in found[1:]:
        assert one.world.dataset is world.dataset and 10 <= len(one.items) <= 40 and one.items.max() < 40


def test_who_asks_in_an_episode_is_never_its_support(reader, monkeypatch):
    """The support's windows and the query's come through two doors, which are watched."""
    import studies.scenes.lora_steps as module

    seen: dict[str, set[int]] = {"support": set(), "query": set()}

    def support(here, users):
        seen["support"] |= set(users.tolist())
        return source(here, users)

    def query(here, tasks, target):
        seen["query"] |= set(tasks.user.tolist())
        return windows(here, tasks, target)

    monkeypatch.setattr(module, "source", support)
    monkeypatch.setattr(module, "windows", query)
    world = turned(4, 0.7)
    played = play(room(world), SETTINGS, np.random.default_rng(0))
    one = episode(reader, played, SETTINGS, np.random.default_rng(0))
    assert 20 <= len(seen["support"]) <= 60 and len(seen["query"]) > 20
    assert not seen["support"] & seen["query"]
    assert one.tasks == 1 and all(loss.shape == (1,) for loss in one.loss(blank(reader, SETTINGS, torch.Generator())))


def test_the_steps_chosen_are_those_of_the_highest_gain():
    assert best_steps(np.array([[0.3, 0.2, 0.5], [0.3, 0.3, 0.2]]), (1, 5)) == 5
    assert best_steps(np.array([[0.3, 0.5, 0.4], [0.3, 0.3, 0.2]]), (1, 5)) == 1
    assert best_steps(np.array([[0.4, 0.3, 0.2]]), (1, 5)) is None


def test_gains_by_step_begin_without_an_adapter_and_grow_in_planted_scenes(reader, learned):
    scenes, asked = [room(turned(seed, 1.0)) for seed in (20, 21)], replace(SETTINGS, users=(40, 40))
    found = gains_by_step(reader, scenes, learned, asked, (0, 1, 3), 0)
    assert found.shape == (2, 4)
    assert (found[:, 3] > found[:, 0]).all()
    nothing = begin_lora(reader, SETTINGS, torch.Generator())
    plain = gains_by_step(reader, scenes, nothing, asked, (0,), 0)
    np.testing.assert_allclose(plain[:, 0], plain[:, 1], rtol=1e-6)
    np.testing.assert_allclose(plain[:, 0], found[:, 0], rtol=1e-6)
