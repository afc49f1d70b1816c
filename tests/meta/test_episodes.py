"""Losses of users and scenes from a slot model, each against one history at a time; and tastes that adapting must find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from llmrec.adapters.lora import Adapter, init_lora, lora_hook
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, first_baskets, sample_windows
from llmrec.encoder.slots import query_readouts, slots, support_readouts
from llmrec.encoder.users import prompts, user_vectors
from llmrec.meta.episodes import (
    EpisodeSettings,
    SceneRows,
    scene_episode,
    scene_loss,
    user_episode,
    user_support,
)
from llmrec.meta.inner import adapt, initialisation
from llmrec.meta.outer import OuterSettings, meta_train

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
REACH = EpisodeSettings(n_adapted_blocks=1, max_slots=6, horizon=2, reads=3)


@pytest.fixture
def model(slot_model):
    return slot_model.requires_grad_(False)


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 4), 1, 8, np.random.default_rng(0))


def random_adapter(model, users: int, seed: int = 0) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    start = init_lora(model.body.linear_paths(REACH.n_adapted_blocks), 2, 1.0, generator)
    return start.expand(users).map(lambda tensor: 0.3 * torch.randn(tensor.shape, generator=generator))


def one(tasks: Tasks, t: int) -> Tasks:
    return tasks.take(np.array([t]))


def only(adapter: Adapter, user: int) -> Adapter:
    return adapter.take(torch.tensor([user]))


def states_of(model, items, task: Tasks, adapter: Adapter):
    """The whole prompt of one task, run at once."""
    batch = slots(task, REACH.max_slots)
    return batch, model.body(model.prompt(items, batch), lora_hook(adapter))


def slow_support(model, items, task: Tasks, adapter: Adapter) -> float:
    batch, states = states_of(model, items, task, adapter)
    reads, losses = support_readouts(task, batch, REACH.horizon, REACH.reads), []
    for m, slot in enumerate(reads.slot):
        logits = model.logits(states[:, len(model.prefix_ids) + slot], items)  # without the repeat terms
        mine = reads.owner == m
        each = [cross_entropy(logits, torch.tensor([target])) for target in reads.target[mine]]
        losses.append(float(np.mean([w * float(loss) for w, loss in zip(reads.weight[mine], each, strict=True)])))
    return float(np.mean(losses)) if losses else 0.0


def slow_query(model, items, task: Tasks, adapter: Adapter, allowed: np.ndarray | None = None) -> float:
    batch, states = states_of(model, items, task, adapter)
    reads = query_readouts(task, batch)
    scores = model.scores(states, items, batch, reads.task, reads.slot)[0]
    inside = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
    wanted = [(item, weight) for item, weight in zip(reads.target, reads.weight, strict=True) if item in inside]
    each = [w * float(torch.logsumexp(scores[torch.from_numpy(inside)], 0) - scores[item]) for item, w in wanted]
    return float(np.mean(each)) if each else 0.0


def test_losses_of_users_against_one_at_a_time(model, tasks):
    items, adapter = model.items(), random_adapter(model, len(tasks))
    episode = user_episode(model, items, tasks, REACH)
    support, query = episode.loss(adapter)
    alone = user_support(model, items, tasks, REACH)[1](adapter)
    assert episode.tasks == len(tasks)
    for t in range(len(tasks)):
        expected = slow_support(model, items, one(tasks, t), only(adapter, t))
        assert float(support[t]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert float(alone[t]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert float(query[t]) == pytest.approx(slow_query(model, items, one(tasks, t), only(adapter, t)), rel=1e-4)


def test_in_a_large_catalogue_targets_are_compared_with_every_nth_item_which_counts_n_times(model, tasks, monkeypatch):
    monkeypatch.setattr("llmrec.encoder.model.MOST_COMPARED", 5)
    monkeypatch.setattr("llmrec.encoder.model.SAMPLE", 4)
    items, adapter, repeated = model.items(), random_adapter(model, len(tasks)), 0
    stride, some = items.compared
    assert stride == 3 and torch.equal(some.vectors, items.vectors[::3]) and torch.equal(some.bias, items.bias[::3])
    found = user_support(model, items, tasks, REACH)[1](adapter)
    for t in range(len(tasks)):
        batch, states = states_of(model, items, one(tasks, t), only(adapter, t))
        reads, losses = support_readouts(one(tasks, t), batch, REACH.horizon, REACH.reads), []
        for m, slot in enumerate(reads.slot):
            scores = model.logits(states[0, len(model.prefix_ids) + slot], items)
            mine = reads.owner == m
            target, weight = reads.target[mine], torch.from_numpy(reads.weight[mine])
            others = [i for i in range(0, len(scores), 3) if i not in target]
            repeated += len(range(0, len(scores), 3)) - len(others)
            whole = 3 * scores[others].exp().sum() + scores[target].exp().sum()
            losses.append(float((weight * (whole.log() - scores[target])).mean()) if len(target) else 0.0)
        assert float(found[t]) == pytest.approx(np.mean(losses) if losses else 0.0, abs=1e-4)
    assert repeated  # some targets are among the items that all are compared with


@pytest.mark.parametrize("most_compared", [5, 50_000])
def test_a_step_goes_by_the_support_loss_of_the_episode(model, tasks, monkeypatch, most_compared):
    """What answers take their steps by has the gradient of what the initialisation was learned with."""
    monkeypatch.setattr("llmrec.encoder.model.MOST_COMPARED", most_compared)
    monkeypatch.setattr("llmrec.encoder.model.SAMPLE", 4)
    items, adapter, found = model.items(), random_adapter(model, len(tasks)).map(torch.Tensor.requires_grad_), []
    learned, taken = user_episode(model, items, tasks, REACH).loss, user_support(model, items, tasks, REACH)[1]
    for loss in (learned(adapter)[0], taken(adapter)):
        found.append((loss, *torch.autograd.grad((loss * torch.arange(1.0, 9)).sum(), adapter.leaves())))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, **CLOSE)
        assert mine.abs().max() > 1e-3


def test_one_adapter_serves_all_users(model, tasks):
    items, adapter = model.items(), random_adapter(model, 1)
    loss = user_support(model, items, tasks, REACH)[1]
    torch.testing.assert_close(loss(adapter), loss(adapter.expand(len(tasks))), **CLOSE)


def test_a_users_loss_depends_on_its_own_adapter_alone(model, tasks):
    items, adapter = model.items(), random_adapter(model, len(tasks))
    episode = user_episode(model, items, tasks, REACH)
    other = random_adapter(model, len(tasks), seed=1)
    mixed = adapter.map(lambda tensor: tensor.clone())
    for leaf, new in zip(mixed.leaves(), other.leaves(), strict=True):
        leaf[3] = new[3]
    unmoved = torch.arange(len(tasks)) != 3
    for before, after in zip(episode.loss(adapter), episode.loss(mixed), strict=True):
        torch.testing.assert_close(after[unmoved], before[unmoved], **CLOSE)
        assert abs(after[3] - before[3]) > 1e-4


def test_support_does_not_see_the_query(model, shop):
    """Two shops whose users differ in the last basket only."""
    known = [[[1, 2], [3, 1]], [[4], [5, 6]]]
    one_way = shop([[*baskets, [0, 7]] for baskets in known], 10)
    other_way = shop([[*baskets, [8]] for baskets in known], 10)
    items, adapter = model.items(), random_adapter(model, 2)
    found = []
    for data in (one_way, other_way):
        tasks = first_baskets(data, np.arange(2), 2, 1)
        support, query = user_episode(model, items, tasks, REACH).loss(adapter)
        found.append((support, query, user_support(model, items, tasks, REACH)[1](adapter)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][2], found[1][2])
    assert (found[0][1] - found[1][1]).abs().min() > 1e-3


def test_neither_loss_sees_what_comes_after_the_query(model, random_shop, tasks):
    """The dataset ends where each task ends."""
    items, adapter = model.items(), random_adapter(model, 1)
    together = user_episode(model, items, tasks, REACH).loss(adapter.expand(len(tasks)))
    for t in range(len(tasks)):
        mask = np.zeros(random_shop.n_events, bool)
        mask[tasks.start[t] : tasks.stop[t]] = True
        cut = random_shop.keep(mask)
        known = tasks.split[t] - tasks.start[t]
        task = Tasks(cut, np.array([0]), np.array([known]), np.array([cut.n_events]))
        for all_of_them, alone in zip(together, user_episode(model, items, task, REACH).loss(adapter), strict=True):
            torch.testing.assert_close(alone[0], all_of_them[t], **CLOSE)


def test_a_support_of_one_event_leaves_the_initialisation(model, shop):
    data = shop([[[1], [2]], [[3, 4], [5]]], 10)
    init = initialisation(random_adapter(model, 1), 2, 0.5)
    items = model.items()
    for users in ([0], [0, 1]):
        tasks = first_baskets(data, np.array(users), 1, 1)
        loss = user_support(model, items, tasks, REACH)[1]
        found = adapt(init, loss, len(users))
        assert float(loss(init.adapter.expand(len(users)))[0]) == 0.0
        assert all(torch.equal(x[0], y[0]) for x, y in zip(found.leaves(), init.adapter.leaves(), strict=True))
    assert not any(torch.equal(x[1], y[0]) for x, y in zip(found.leaves(), init.adapter.leaves(), strict=True))


def test_adapting_in_a_batch_is_adapting_alone(model, tasks):
    items, init = model.items(), initialisation(random_adapter(model, 1), 3, 0.3)
    together = adapt(init, user_support(model, items, tasks, REACH)[1], len(tasks))
    for t in range(len(tasks)):
        alone = adapt(init, user_support(model, items, one(tasks, t), REACH)[1], 1)
        for x, y in zip(alone.leaves(), together.leaves(), strict=True):
            torch.testing.assert_close(x[0], y[t], rtol=1e-4, atol=1e-4)


def test_outer_training_leaves_the_model_alone(model, tasks):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    episode = user_episode(model, model.items(), tasks, REACH)
    start = initialisation(random_adapter(model, 1), 2, 0.1)
    learned = meta_train(start, iter([episode] * 3), OuterSettings(episodes=3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(torch.equal(x, y) for x, y in zip(learned.adapter.leaves(), start.adapter.leaves(), strict=True))


# ----------------------------------------------------------------------------------------------------------- scenes


@pytest.fixture
def rows(tasks) -> SceneRows:
    allowed = np.zeros((2, 10), bool)
    allowed[0, :7], allowed[1, 3:] = True, True
    return SceneRows(tasks, np.array([0, 1, 1, 0, 1, 1, 0, 1]), allowed)


def test_loss_of_scenes_against_one_history_at_a_time(model, rows):
    items, adapter = model.items(), random_adapter(model, 2)
    found = scene_loss(model, items, rows, REACH)(adapter)
    for scene in range(2):
        mine = np.flatnonzero(rows.owner == scene)
        each = [slow_query(model, items, one(rows.tasks, t), only(adapter, scene), rows.allowed[scene]) for t in mine]
        assert float(found[scene]) == pytest.approx(np.mean(each), rel=1e-4)


def test_a_scene_looks_only_at_its_own_items(model, rows):
    items, adapter = model.items(), random_adapter(model, 2)
    before = scene_loss(model, items, rows, REACH)(adapter)
    louder = items.bias.clone()
    louder[:3] += 50.0  # items of scene 0 alone
    after = scene_loss(model, replace(items, bias=louder), rows, REACH)(adapter)
    assert torch.equal(after[1], before[1])
    assert abs(after[0] - before[0]) > 1.0


def test_a_scene_does_not_see_the_other(model, rows):
    items, adapter = model.items(), random_adapter(model, 2)
    mine = rows.owner == 0
    alone = SceneRows(rows.tasks.take(np.flatnonzero(mine)), rows.owner[mine], rows.allowed[:1])
    torch.testing.assert_close(
        scene_loss(model, items, alone, REACH)(only(adapter, 0))[0], scene_loss(model, items, rows, REACH)(adapter)[0], **CLOSE
    )


def test_a_scene_episode_has_the_losses_of_its_two_parts(model, rows):
    items, adapter = model.items(), random_adapter(model, 2)
    first = SceneRows(rows.tasks.take(np.arange(4)), rows.owner[:4], rows.allowed)
    second = SceneRows(rows.tasks.take(np.arange(4, 8)), rows.owner[4:], rows.allowed)
    episode = scene_episode(model, items, first, second, REACH)
    support, query = episode.loss(adapter)
    assert episode.tasks == 2
    assert torch.equal(support, scene_loss(model, items, first, REACH)(adapter))
    assert torch.equal(query, scene_loss(model, items, second, REACH)(adapter))


# ----------------------------------------------------------------------------------------------------- planted tastes


@pytest.fixture
def two_tastes(shop) -> Dataset:
    """After item 0 the first user takes item 1, the second item 2; the third has had nothing but item 0 so far."""
    return shop([[[0], [1]] * 4, [[0], [2]] * 4, [[0], [3]]], 6)


@pytest.mark.parametrize("swapped", [False, True])
def test_adapting_flips_the_ranking(body, two_tastes, new_slot_model, swapped):
    """Everybody has the same prompt in the end, so the base has the same answer for both, and only the adapter can tell."""
    model = new_slot_model(body, two_tastes).requires_grad_(False)
    items = model.items()
    neutral = prompts(model, items, first_baskets(two_tastes, np.array([2, 2]), 1, 1), 8, 1)
    support = Tasks(two_tastes, two_tastes.start[:2], two_tastes.start[1:3], two_tastes.start[1:3])
    if swapped:
        support = support.take(np.array([1, 0]))

    def prefers(adapter: Adapter) -> list[int]:
        """1 or 2, whichever comes first for each user."""
        scores = model.logits(user_vectors(model, neutral, lora_hook(adapter)), items)
        return (1 + (scores[:, 2] > scores[:, 1]).long()).tolist()

    start = init_lora(body.linear_paths(1), 4, 2.0, torch.Generator().manual_seed(0))
    loss = user_support(model, items, support, EpisodeSettings(n_adapted_blocks=1, max_slots=16, horizon=1, reads=16))[1]
    adapted = adapt(initialisation(start, 1, 0.3), loss, 2, steps=25)
    base = prefers(start.expand(2))
    assert base[0] == base[1]
    assert prefers(adapted) == ([2, 1] if swapped else [1, 2])
