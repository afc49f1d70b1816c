"""A core that moves the user vector: against the explicit core, against a search by hand, and told what it should not heed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from llmrec.adapters.lora import init_lora
from llmrec.data.tasks import Tasks, first_baskets, full_histories, sample_windows
from llmrec.encoder import model as slot_models
from llmrec.encoder.model import Items
from llmrec.meta.adaptable import Adaptable, Base, Lora
from llmrec.meta.episodes import EpisodeSettings, SceneRows, scene_loss
from llmrec.meta.gate import Choice
from llmrec.meta.inner import Initialisation, adapt, initialisation
from llmrec.meta.outer import OuterSettings, meta_train
from llmrec.meta.user_core import LEARNED, Cores, UserCore, start_core

REACH = EpisodeSettings(n_adapted_blocks=1, max_slots=6, horizon=2, reads=3)
SIZE = 4


@pytest.fixture
def base(slot_model) -> Base:
    model = slot_model.requires_grad_(False)
    with torch.no_grad():
        return Base(model, model.items(), REACH)


@pytest.fixture
def cores(base) -> Cores:
    start = start_core(base.items, SIZE, 0.5)
    return Cores(base, replace(start, log_count=torch.tensor([[-0.7, 0.3]])), 2)


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 4), 1, 8, np.random.default_rng(0))


def adapted(cores: Cores, tasks: Tasks, steps: int) -> UserCore:
    return cores.adapted(tasks, [Choice(steps, adapter="core")] * len(tasks))[0]


def test_axes_are_the_main_ones_and_features_have_length_1_on_average(base):
    features = (base.items.vectors - base.items.vectors.mean(0)) @ start_core(base.items, SIZE, 0.5).axes[0]
    square = (features.T @ features / len(features)).numpy()
    np.testing.assert_allclose(square, np.diag(square.diagonal()), atol=1e-5)
    assert square.trace() == pytest.approx(1, abs=1e-5)
    assert (np.diff(square.diagonal()) < 0).all()
    whole = start_core(base.items, 10_000, 0.5)
    assert whole.axes.shape[2] == base.model.body.width


def test_the_moved_user_vector_scores_what_the_explicit_core_adds(cores, tasks):
    value, reading = cores.adapted(tasks, [Choice(2, adapter="core")] * len(tasks))
    added = value.over(cores.base.items.vectors).add().numpy()
    assert np.abs(added).max() > 0.05
    np.testing.assert_allclose(reading.table() - cores.base.read(tasks).table(), added, atol=1e-5)
    made = cores.base.prompts(tasks)
    np.testing.assert_allclose(cores.vectors(made, value).numpy(), reading.vectors, atol=1e-6)


def test_zero_steps_are_the_base_to_the_bit(cores, tasks):
    value, reading = cores.adapted(tasks, [Choice(adapter="core")] * len(tasks))
    assert torch.equal(value.z, torch.zeros(len(tasks), SIZE))
    np.testing.assert_array_equal(reading.vectors, cores.base.read(tasks).vectors)


def test_each_user_takes_the_steps_of_their_own_choice_and_alone_as_in_company(cores, tasks):
    how = [Choice(steps % 3, adapter="core") for steps in range(len(tasks))]
    value, reading = cores.adapted(tasks, how)
    assert len(np.unique(value.z.numpy(), axis=0)) > len(tasks) / 2
    for task in range(len(tasks)):
        alone, read = cores.adapted(tasks.take(np.array([task])), how[task : task + 1])
        np.testing.assert_allclose(value.z[task], alone.z[0], atol=1e-5)
        np.testing.assert_allclose(reading.vectors[task], read.vectors[0], atol=1e-4)


def cost(cores: Cores, task: Tasks, z: np.ndarray) -> float:
    """By hand: every distinct item of the history that counts is asked for among the items that the history does not hold."""
    items, data, start = cores.base.items, task.dataset, cores.start
    features = (items.vectors @ start.axes[0] * start.log_spread.exp()).numpy()
    scores = cores.base.model.logits(torch.from_numpy(cores.base.read(task).vectors), items)[0].detach().numpy() + features @ z
    held: dict[int, tuple[float, bool]] = {}
    for event in range(task.start[0], task.split[0]):
        weight, read = held.get(int(data.item[event]), (0.0, False))
        mine = 1.0 if data.sample_weight is None else float(data.sample_weight[event])
        held[int(data.item[event])] = max(weight, mine), read or event >= task.split[0] - REACH.max_slots
    rivals = np.setdiff1d(np.arange(data.n_items), list(held))
    total = z @ z / 2
    for item, (weight, read) in held.items():
        counts = weight * math.exp(start.log_count[0, 0 if read else 1])
        total += counts * (logsumexp(scores[rivals]) - features[item] @ z) if len(rivals) else 0.0
    return float(total)


@pytest.mark.parametrize("some_count_nothing", [False, True])
def test_newton_finds_what_a_search_finds(cores, random_shop, some_count_nothing):
    """Also where events count 0: they are neither targets nor rivals."""
    if some_count_nothing:
        weight = np.where(np.arange(random_shop.n_events) % 3 == 0, 0.0, random_shop.attributes["weight"])
        random_shop = replace(random_shop, attributes={**random_shop.attributes, "weight": weight.astype(np.float32)})
        assert not random_shop.counting.all()
    tasks = full_histories(random_shop, np.arange(8))
    assert ((tasks.split - tasks.start) > REACH.max_slots).any()
    found = adapted(cores, tasks, 12).z.double().numpy()
    for task in range(len(tasks)):
        one = tasks.take(np.array([task]))
        best = minimize(lambda z, one=one: cost(cores, one, z), np.zeros(SIZE), tol=1e-10).x
        np.testing.assert_allclose(found[task], best, atol=1e-3)
    assert np.abs(found).max() > 0.1


def test_events_that_the_prompt_is_too_short_for_move_the_core_and_nothing_else(base, shop):
    """Two users with the same last six events and other older ones; the items of the older ones do not overlap."""
    last = [[item] for item in (4, 5, 4, 5, 4, 5)]
    data = shop([[[0], [1], *last], [[2], [3], *last]], 10)
    tasks = full_histories(data, np.arange(2))
    cores = Cores(base, start_core(base.items, SIZE, 0.5), 2)
    z = adapted(cores, tasks, 2).z
    assert not torch.allclose(z[0], z[1], atol=1e-2)
    alike = replace(tasks, start=tasks.split - REACH.max_slots)
    z = adapted(cores, alike, 2).z
    torch.testing.assert_close(z[0], z[1], atol=1e-3, rtol=0)


def test_who_has_everything_stays_where_they_are(cores, shop):
    tasks = full_histories(shop([[[item] for item in range(10)]], 10), np.array([0]))
    assert torch.equal(adapted(cores, tasks, 2).z, torch.zeros(1, SIZE))


def test_of_a_large_catalogue_a_sample_stands_for_the_rest(base, shop, monkeypatch):
    """Every second item is a copy of the one before, and who has one has both: every second item then stands for two."""
    twice = Items(*(part.repeat_interleave(2, 0) for part in (base.items.vectors, base.items.bias, base.items.repeat)))
    tasks = full_histories(shop([[[2 * i, 2 * i + 1]] * 2 for i in range(5)], 20), np.arange(5))

    def solved() -> torch.Tensor:
        items = Items(twice.vectors, twice.bias, twice.repeat)
        return adapted(Cores(replace(base, items=items), start_core(items, SIZE, 0.5), 2), tasks, 2).z

    whole = solved()
    monkeypatch.setattr(slot_models, "MOST_COMPARED", 15)
    monkeypatch.setattr(slot_models, "SAMPLE", 10)
    torch.testing.assert_close(solved(), whole, atol=1e-4, rtol=1e-3)


def test_losses_by_step_are_those_of_the_adapted_readings(cores, tasks):
    losses = torch.stack(list(cores.query_losses(tasks)), 1).numpy()
    assert losses.shape == (len(tasks), cores.steps + 1)
    for steps in range(cores.steps + 1):
        table = cores.adapted(tasks, [Choice(steps, adapter="core")] * len(tasks))[1].table()
        for task in range(len(tasks)):
            data, query = tasks.dataset, np.arange(tasks.split[task], tasks.stop[task])
            weight = {}
            for event in query:
                weight[data.item[event]] = max(weight.get(data.item[event], 0.0), float(data.sample_weight[event]))
            each = [w * (logsumexp(table[task]) - table[task, item]) for item, w in weight.items() if w]
            assert losses[task, steps] == pytest.approx(np.mean(each) if each else 0.0, rel=1e-3, abs=1e-4)
    assert cores.episode(tasks).loss(cores.start)[1].numpy() == pytest.approx(losses[:, -1], rel=1e-5)


def test_the_outer_loop_learns_spreads_and_counts_and_leaves_the_axes(cores, tasks):
    init = Initialisation(cores.start, torch.zeros(0, 4), outer=LEARNED)
    settings = OuterSettings(5, 0.05, inner_lr_learning_rate=0.0, anneal=0.0, first_order=False)
    learned = meta_train(init, (cores.episode(tasks) for _ in range(5)), settings).adapter
    assert torch.equal(learned.axes, cores.start.axes) and torch.equal(learned.z, cores.start.z)
    assert not torch.equal(learned.log_spread, cores.start.log_spread)
    assert not torch.equal(learned.log_count, cores.start.log_count)


@pytest.fixture(params=["lora", "core"])
def member(request, base) -> Adaptable:
    """Each kind of adapter in turn, over one base."""
    if request.param == "core":
        return Cores(base, start_core(base.items, SIZE, 0.5), 2)
    layers = base.model.body.linear_paths(REACH.n_adapted_blocks)
    return Lora(base, initialisation(init_lora(layers, 2, 2.0, torch.Generator().manual_seed(0), 0.3), 2, 0.5))


@pytest.fixture
def scenes(random_shop) -> SceneRows:
    """Scene 0 has items 0 to 4, scene 1 has 5 to 9; five users in each."""
    rows = first_baskets(random_shop, np.arange(20), 1, 1).take(np.arange(10))
    allowed = np.arange(10) < 5
    return SceneRows(rows, np.arange(10) % 2, np.stack([allowed, ~allowed]))


def test_a_scene_is_adapted_to_its_own_rows_and_serves_its_users(member, scenes):
    """What the scene's users took becomes likelier under its value, and another scene beside it changes nothing."""
    value, base = member.adapted_scenes(scenes), member.base
    assert len(value) == 2
    made = base.prompts(scenes.tasks)
    owner = torch.from_numpy(scenes.owner)
    before, after = (member.vectors(made, v.take(owner)) for v in (member.adapted_scenes(scenes, 0), value))
    loss = _taken(base, scenes, before), _taken(base, scenes, after)
    assert all(after < before for before, after in zip(*loss, strict=True))
    first = np.flatnonzero(scenes.owner == 0)
    alone = member.adapted_scenes(SceneRows(scenes.tasks.take(first), np.zeros(5, np.int64), scenes.allowed[:1]))
    for one, other in zip(alone.leaves()[:1], value.leaves()[:1], strict=True):
        torch.testing.assert_close(one[0], other[0], atol=1e-4, rtol=1e-3)


def _taken(base: Base, scenes: SceneRows, vectors: torch.Tensor) -> list[float]:
    """Mean loss of each scene's queries among its items, by hand."""
    table, found = base.reading(base.prompts(scenes.tasks), vectors).table(), []
    for scene in range(2):
        each = []
        for row in np.flatnonzero(scenes.owner == scene):
            inside = np.flatnonzero(scenes.allowed[scene])
            wanted = np.intersect1d(scenes.tasks.dataset.item[scenes.tasks.query(row)], inside)
            each += [logsumexp(table[row, inside]) - table[row, item] for item in wanted]
        found.append(float(np.mean(each)))
    return found


def test_lora_of_scenes_is_the_inner_loop_on_their_loss(base, scenes):
    layers = base.model.body.linear_paths(REACH.n_adapted_blocks)
    init = initialisation(init_lora(layers, 2, 2.0, torch.Generator().manual_seed(0), 0.3), 2, 0.5)
    expected = adapt(init, scene_loss(base.model, base.items, scenes, REACH), 2)
    found = Lora(base, init).adapted_scenes(scenes)
    assert all(torch.equal(one, other) for one, other in zip(found.leaves(), expected.leaves(), strict=True))
