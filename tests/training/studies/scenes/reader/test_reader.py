"""An untrained reader is the frozen mean; low rank on the user's side is the scene's own item matrix; nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import init_lora, lora_hook
from llmrec.scenes.histories import means
from llmrec.scenes.worlds import last_steps, right
from studies.scenes.reader import LAYERS, Read, begin, item_matrix, losses, scores, states
from studies.scenes.room import counted, room, windows


@pytest.fixture(scope="module")
def asked(shop):
    world = shop(5, True)
    tasks = last_steps(world.dataset, world.users, world.shelf.among)
    return world, tasks, right(tasks, world.shelf.among, np.random.default_rng(0))


@pytest.fixture(scope="module")
def moved():
    """A reader all of whose weights are something, and an adapter of all its layers."""
    generator = torch.Generator().manual_seed(1)
    reader = begin(12, generator, bends=8)
    weights = {name: weight + 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in reader.weights.items()}
    reader = replace(reader, weights=weights)
    return reader, init_lora(reader.layers, 3, 0.7, generator, 0.2)


@pytest.mark.parametrize("heads", [1, 3])
def test_it_begins_as_the_recency_weighted_mean(asked, heads):
    world, tasks, _ = asked
    reader = begin(12, torch.Generator().manual_seed(0), heads)
    here = room(world)
    expected = means(world.shelf.vectors, tasks)
    np.testing.assert_allclose(states(reader, here.vectors, windows(here, tasks)), expected, atol=1e-5)
    found = Read(reader, here).scores(tasks)
    free = np.isfinite(found)
    like = reader.weights["warmth"].exp().item() * expected @ world.shelf.vectors.T
    np.testing.assert_allclose(found[free], like[free], atol=1e-4)
    assert (~free).sum() == (tasks.split - tasks.start).sum()  # what was had, of which nothing comes twice here


def test_a_blank_adapter_changes_nothing(asked, moved):
    world, tasks, target = asked
    reader, _ = moved
    blank = lora_hook(init_lora(reader.layers, 3, 1.0, torch.Generator().manual_seed(0)))
    one = windows(room(world), tasks, target)
    torch.testing.assert_close(losses(reader, room(world), one, blank), losses(reader, room(world), one))


def test_low_rank_on_the_users_side_is_the_scene_s_own_item_matrix(asked, moved):
    world, tasks, _ = asked
    reader, adapter = moved
    here, change = room(replace(world, again=True)), lora_hook(adapter)
    one = windows(here, tasks)
    own = item_matrix(reader, here.vectors, change)
    text = reader.weights["warmth"].exp() * states(reader, here.vectors, one, change) @ own.T
    row, place, times = one.own
    found = scores(reader, here, one, change).index_put((row, place), -reader.weights["own"] * times, accumulate=True)
    torch.testing.assert_close(found, text, atol=1e-4, rtol=1e-4)
    merged = {**reader.weights, "item": reader.weights["item"] + adapter.scale * adapter.b["item"][0] @ adapter.a["item"][0]}
    torch.testing.assert_close(own, item_matrix(replace(reader, weights=merged), here.vectors))
    assert (own - item_matrix(reader, here.vectors)).abs().max() > 0.01


@pytest.mark.parametrize("path", LAYERS)
def test_every_layer_that_can_be_adapted_is(asked, moved, path):
    """As if the low rank were added to that layer's weights."""
    world, tasks, target = asked
    reader, _ = moved
    here, asks = room(world), windows(room(world), tasks, target)
    alone = init_lora({path: reader.layers[path]}, 3, 0.7, torch.Generator().manual_seed(2), 0.2)
    merged = {**reader.weights, path: reader.weights[path] + 0.7 * alone.b[path][0] @ alone.a[path][0]}
    found = losses(reader, here, asks, lora_hook(alone))
    torch.testing.assert_close(found, losses(replace(reader, weights=merged), here, asks), atol=1e-4, rtol=1e-4)
    assert (found - losses(reader, here, asks)).abs().max() > 1e-3


def test_the_bias_counts_others_and_not_oneself(asked, moved):
    world, tasks, target = asked
    reader, _ = moved
    users = world.users[:20]
    here, empty = counted(room(world), users), room(world)
    others = np.flatnonzero(~np.isin(tasks.user, users))
    part, one = tasks.take(others), target[others]
    bias = reader.strength * np.log1p(here.bought.count / reader.few)
    plain = scores(reader, empty, windows(empty, part, one)).numpy()
    np.testing.assert_allclose(scores(reader, here, windows(here, part, one)).numpy(), plain + bias, atol=1e-5)
    mine = np.flatnonzero(np.isin(tasks.user, users))[:1]
    without = counted(empty, users[users != tasks.user[mine[0]]])
    first = losses(reader, here, windows(here, tasks.take(mine), target[mine]))
    torch.testing.assert_close(first, losses(reader, without, windows(without, tasks.take(mine), target[mine])))


def test_a_softmax_over_some_places_is_that_part_of_the_whole(asked, moved):
    world, tasks, target = asked
    reader, adapter = moved
    here = counted(room(world), world.users[:30])
    asks = windows(here, tasks, target)
    only = torch.from_numpy(np.arange(0, len(here.items), 2))
    whole = scores(reader, here, asks, lora_hook(adapter))
    torch.testing.assert_close(scores(reader, here, asks, lora_hook(adapter), only), whole[:, only])


def test_an_empty_history_is_ranked_by_what_was_bought(asked, moved):
    world, tasks, _ = asked
    reader, _ = moved
    here = counted(room(world), world.users[:30])
    nobody = replace(tasks.take(np.array([40])), start=tasks.split[40:41])
    found = Read(reader, here).scores(nobody)[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[here.items], reader.strength * np.log1p(here.bought.count / reader.few), atol=1e-5)
