"""`journey-scene`: a category of which the model never saw an item; a few users' purchases are all there is to learn from.

Every method gets the same support: the histories of `scene_support` training users, the category included. Test users are
others. The items of the category are known by their text. Every arm of ours ends in the same ranking stage as for new users:
the rankers were learned on the other categories, and the counts that they look at come from the support users alone. So the
LoRA has to earn its place on top of what 64 users' counts say.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from llmrec.adapters.lora import Adapter
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.users import PromptReading, Read, batches, joined
from llmrec.evaluation.comparison import Arm, Cell, Scores, best
from llmrec.evaluation.controls import eases, item_knns
from llmrec.meta.adaptable import Base
from llmrec.meta.episodes import SceneRows, scene_episode, scene_loss
from llmrec.meta.inner import Initialisation, adapt
from llmrec.meta.outer import Episode, meta_train
from llmrec.models.popularity import fit_most_frequent, fit_popularity
from llmrec.ranking.statistics import fit_statistics
from llmrec.ranking.two_stage import Rankers
from llmrec.recommender.dense import ranked_scores
from llmrec.recommender.pipeline import new_retrieval, start_adapter
from studies.ablations.cold import Trained, frozen_arm, random_starts
from studies.ablations.plan import Plan

SMALLEST, LARGEST = 20, 0.05  # items of a category; share of all events


@dataclass(frozen=True)
class Scene:
    """A category as a scene. name: of the category. items: bool (N,)."""

    name: str
    items: np.ndarray


def held_out(dataset: Dataset, users: np.ndarray) -> Scene | None:
    """The category to hold out: of those with 20 items or more and at most 5% of all events of `users`, the largest.

    None without a `category` column, or where no category fits.
    """
    if "category" not in dataset.catalogue.table.column_names:
        return None
    labels = np.array([str(value) for value in dataset.catalogue.column("category")])
    events = np.bincount(dataset.take(users).item, minlength=dataset.n_items)
    sizes = {name: int(events[labels == name].sum()) for name in np.unique(labels) if (labels == name).sum() >= SMALLEST}
    fitting = {name: size for name, size in sizes.items() if 0 < size <= LARGEST * events.sum()}
    if not fitting:
        return None
    name = max(sorted(fitting), key=lambda key: fitting[key])
    return Scene(str(name), labels == name)


def other_scenes(dataset: Dataset, without: Scene) -> list[np.ndarray]:
    """All other categories with enough items, as masks bool (N,): the scenes to learn from."""
    labels = np.array([str(value) for value in dataset.catalogue.column("category")])
    masks = [labels == name for name in np.unique(labels) if name != without.name]
    return [mask for mask in masks if mask.sum() >= SMALLEST]


def tasks_in(dataset: Dataset, users: np.ndarray, scene: np.ndarray, count: int, plan: Plan, rng: np.random.Generator) -> Tasks:
    """Windows of `users` in whose query there is an item of the scene, about `count` drawn before that sieve."""
    drawn = sample_windows(dataset, users, (1, 6), plan.settings.train.horizon, count, rng, 0.5)
    some = [bool(scene[dataset.item[drawn.query(i)]].any()) for i in range(len(drawn))]
    return drawn.take(np.flatnonzero(some))


def scene_cell(benchmark: str, dataset: Dataset, users: np.ndarray, scene: Scene, plan: Plan, rng: np.random.Generator) -> Cell:
    """Tasks to test or to choose on: four windows a user; ranked among the scene's items alone."""
    tasks = tasks_in(dataset, users, scene.items, 4 * len(users), plan, rng)
    relevant = [items[scene.items[items]] for items in tasks.relevant()]
    allowed = np.tile(scene.items, (len(tasks), 1))
    return Cell(benchmark, f"support={plan.scene_support},{scene.name.lower()}", tasks, relevant, allowed)


def scene_arms(
    dataset: Dataset,
    trained: Trained,
    rankers: Rankers,
    scene: Scene,
    support: np.ndarray,
    validation: Cell,
    plan: Plan,
    seed: int,
    rng: np.random.Generator,
) -> dict[str, Arm]:
    """Every method, given the histories of the `support` users (int indices) and nothing else of the scene; only that the
    constants of the controls are chosen on `validation`, the scene's tasks of other users, which our own arms never see."""
    model = trained.model
    known = tasks_in(dataset, support, scene.items, 6 * len(support), plan, rng)
    items = told(trained.items, dataset, support, scene.items)
    init = learn_scenes(dataset, trained, scene, plan, seed, rng)
    random = random_adapter(model, items, known, scene.items, validation, plan, seed)
    mine = adapt_scene(model, items, init, known, scene.items, plan)
    foreign = next(iter(other_scenes(dataset, scene)))
    foreign_items = told(trained.items, dataset, support, foreign)
    other = adapt_scene(
        model, foreign_items, init, tasks_in(dataset, support, foreign, 6 * len(support), plan, rng), foreign, plan
    )
    counts = fit_statistics(dataset, support, plan.settings.train.horizon, trained.texts, rng)

    def chain(who: SlotModel, adapter: Adapter | None) -> Scores:
        retrieval = new_retrieval(who, items, counts, plan.settings)
        read = read_scene(who, items, adapter, plan)
        return lambda tasks: ranked_scores(read, retrieval, rankers.over, tasks, scene.items)

    arms = {
        **fit_scene_controls(dataset, support, validation),
        "frozen": frozen_arm(model)[0],
        "base": chain(model, None),
        "zero_steps": chain(model, init.adapter),
        "random_lora": chain(model, random),
        "continued": chain(continued(model, items, known, scene.items, plan, init.steps), None),
        "swapped": chain(model, other),
        "meta_lora": chain(model, mine),
    }
    return {name: (scores, scores) for name, scores in arms.items()}


def fit_scene_controls(dataset: Dataset, users: np.ndarray, validation: Cell) -> dict[str, Scores]:
    """Name -> the control's scores; fitted on the support `users` of a scene, constants chosen on its validation tasks."""
    popularity, frequent = fit_popularity(dataset, users), fit_most_frequent(dataset, users)
    knn, ease = ([control.scores for control in fit(dataset, users)] for fit in (item_knns, eases))
    return {
        "popularity": popularity.scores,
        "most_frequent": frequent.scores,
        "item_knn": knn[best(validation, knn)],
        "ease": ease[best(validation, ease)],
    }


def told(items: Items, dataset: Dataset, support: np.ndarray, scene: np.ndarray) -> Items:
    """The items with the scene's biases set to what the support users bought there: log of a smoothed share."""
    counts = np.bincount(dataset.take(support).item, minlength=dataset.n_items)[scene] + 1.0
    bias = items.bias.clone()
    bias[on(scene, bias)] = on(np.log(counts / counts.mean()), bias).float()
    return replace(items, bias=bias)


def on(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """An array as a tensor where `like` is."""
    return torch.from_numpy(values).to(like.device)


def learn_scenes(
    dataset: Dataset, trained: Trained, without: Scene, plan: Plan, seed: int, rng: np.random.Generator
) -> Initialisation:
    """A LoRA initialisation meta-learned with the other categories as scenes: support users and query users are never the same.

    In each episode a random part of a category plays the new scene: its items are known by text and by the support's counts.
    """
    scenes, model = other_scenes(dataset, without), trained.model

    def draw() -> Iterator[Episode]:
        while True:
            mask = scenes[int(rng.integers(len(scenes)))]
            part = np.zeros_like(mask)
            part[rng.choice(np.flatnonzero(mask), min(int(mask.sum()), 80), replace=False)] = True
            users = rng.permutation(trained.adapting)[: 2 * plan.scene_support]
            one, two = np.array_split(users, 2)
            with torch.no_grad():
                items = told(model.items(on(part, model.id_embedding)), dataset, one, part)
            support, query = (tasks_in(dataset, who, part, 2 * len(who), plan, rng) for who in (one, two))
            if len(support) and len(query):
                yield scene_episode(model, items, rows(support, part), rows(query, part), plan.settings.episode)

    start = start_adapter(model, plan.settings, seed, plan.settings.lora.b_std)
    return meta_train(start, draw(), replace(plan.settings.outer, episodes=plan.scene_episodes))


def rows(tasks: Tasks, scene: np.ndarray) -> SceneRows:
    """All tasks as rows of one scene."""
    return SceneRows(tasks, np.zeros(len(tasks), np.int64), scene[None])


def adapt_scene(model: SlotModel, items: Items, init: Initialisation, known: Tasks, scene: np.ndarray, plan: Plan) -> Adapter:
    """One adapter (U = 1) for the scene, from all its support."""
    return adapt(init, scene_loss(model, items, rows(known, scene), plan.settings.episode), 1)


def random_adapter(
    model: SlotModel, items: Items, known: Tasks, scene: np.ndarray, validation: Cell, plan: Plan, seed: int
) -> Adapter:
    """The scene's adapter from a random start, its one rate chosen by the transformer's own scores of the validation tasks."""
    found = [adapt_scene(model, items, start, known, scene, plan) for start in random_starts(model, plan.settings, seed)]

    def alone(adapter: Adapter) -> Scores:
        return lambda tasks: read_scene(model, items, adapter, plan)(tasks).table()

    return found[best(validation, [alone(adapter) for adapter in found])]


def read_scene(model: SlotModel, items: Items, adapter: Adapter | None, plan: Plan) -> Read:
    """Read histories with the scene's adapter for everybody."""
    base = Base(model, items, plan.settings.episode)

    def read(tasks: Tasks) -> PromptReading:
        found = []
        for part in batches(tasks):
            made = base.prompts(part)
            found.append(base.reading(made, base.vectors(made, adapter)))
        return joined(found)

    return read


def continued(model: SlotModel, items: Items, known: Tasks, scene: np.ndarray, plan: Plan, steps: int) -> SlotModel:
    """As many plain steps on the same support with the same loss, on all weights of the block that LoRA would adapt."""
    other = copy.deepcopy(model).requires_grad_(False)
    upper = [p for name, p in other.body.named_parameters() if _in_upper(name, other, plan)]
    optimiser = torch.optim.AdamW([p.requires_grad_() for p in upper], lr=plan.settings.train.learning_rate)
    loss = scene_loss(other, items, rows(known, scene), plan.settings.episode)
    nothing = start_adapter(other, plan.settings, 0, 0.0).adapter  # B = 0: the base itself
    for _ in range(steps):
        optimiser.zero_grad()
        loss(nothing).sum().backward()
        optimiser.step()
    return other.eval().requires_grad_(False)


def _in_upper(name: str, model: SlotModel, plan: Plan) -> bool:
    first = model.body.n_blocks - plan.settings.lora.n_adapted_blocks
    return any(name.startswith(f"model.{model.body.block_path(i)}.") for i in range(first, model.body.n_blocks))
