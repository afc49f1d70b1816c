"""A reader learns from known scenes what holds in one that it never met, and what was given to be trained stays as it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import init_lora, lora_hook
from llmrec.scenes.shelf import Shelf
from llmrec.scenes.worlds import World
from studies.scenes.reader import begin, losses
from studies.scenes.room import room
from studies.scenes.teaching import TeachSettings, some, source, teach, teach_adapter, turns


@pytest.fixture(scope="module")
def sources(shop):
    """Shops where one axis of text says what is bought, in all of them alike: first it is 0, then as the tastes of the shop."""

    def told(seed: int):
        world = shop(seed, True)
        dataset, rng = world.dataset, np.random.default_rng(seed)
        count = np.bincount(dataset.item, minlength=dataset.n_items)
        text = rng.normal(size=(dataset.n_items, 12))
        text[:, 0] = 4 * (count - count.mean()) / count.std()
        text = (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)
        shelf = Shelf(text, world.shelf.words, world.shelf.crowd, world.shelf.among)
        return source(room(World(dataset, shelf, world.users)), world.users)

    return [told(seed) for seed in range(3)]


SETTINGS = TeachSettings(steps=60, rate=1e-2, batch=64)


def lost(reader, one, change=None) -> float:
    with torch.no_grad():
        return float(losses(reader, one.room, one.draw(10**6, np.random.default_rng(0)), change).mean())


def test_what_all_known_scenes_have_in_common_holds_in_another(sources):
    reader = begin(12, torch.Generator().manual_seed(0), bends=8)
    before = {name: weight.clone() for name, weight in reader.weights.items()}
    taught = teach(reader, sources[:2], SETTINGS, np.random.default_rng(0))
    assert lost(taught, sources[2]) < lost(reader, sources[2]) - 0.1
    assert all((before[name] == weight).all() and not weight.requires_grad for name, weight in reader.weights.items())
    assert not any(weight.requires_grad for weight in taught.weights.values())


def test_an_adapter_is_taught_and_the_reader_is_not(sources):
    reader = begin(12, torch.Generator().manual_seed(0), bends=8)
    blank = init_lora({path: reader.layers[path] for path in ("item", "value")}, 4, 1.0, torch.Generator().manual_seed(0))
    before = {name: weight.clone() for name, weight in reader.weights.items()}
    found = teach_adapter(reader, blank, sources[:2], SETTINGS, np.random.default_rng(0))
    assert lost(reader, sources[2], lora_hook(found)) < lost(reader, sources[2]) - 0.1
    assert all((before[name] == weight).all() for name, weight in reader.weights.items())
    assert not any(leaf.any() for leaf in list(blank.b.values()))


def test_it_stops_when_told_and_zero_steps_is_the_same_reader(sources):
    reader = begin(12, torch.Generator().manual_seed(0), bends=8)
    seen: list[int] = []

    def watch(step, live):
        seen.append(step)
        return step == 4

    stopped = teach(reader, sources, SETTINGS, np.random.default_rng(0), watch)
    assert seen == [0, 1, 2, 3, 4] and any((stopped.weights[name] != reader.weights[name]).any() for name in reader.weights)
    none = teach(reader, sources, replace(SETTINGS, steps=0), np.random.default_rng(0))
    assert all((none.weights[name] == reader.weights[name]).all() for name in reader.weights)


def test_scenes_take_turns_and_a_softmax_holds_every_target(sources):
    drawn = list(islice(turns(3, np.random.default_rng(0)), 12))
    assert all(sorted(drawn[first : first + 3]) == [0, 1, 2] for first in range(0, 12, 3))
    asked = sources[0].draw(20, np.random.default_rng(1))
    only = some(60, 10, asked, np.random.default_rng(2))
    assert len(asked) == 20 and set(asked.target.tolist()) <= set(only.tolist()) and (only.diff() > 0).all()
    assert some(60, 60, asked, np.random.default_rng(2)) is None
