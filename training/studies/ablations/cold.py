"""`journey-cold`: users never trained on, with 1, 3 and 5 baskets known; what they take in the next ones, ranked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from llmrec import Recommender, Settings
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.train import train
from llmrec.encoder.users import PromptReading, Read, batches, joined
from llmrec.evaluation.comparison import Arm, quality
from llmrec.evaluation.comparison import cells as make_cells
from llmrec.meta.adaptable import Base, Lora
from llmrec.meta.gate import Choice
from llmrec.meta.inner import Initialisation
from llmrec.progress import Stages
from llmrec.ranking.ranker import Ranker
from llmrec.ranking.rankers import CountsRanker
from llmrec.ranking.statistics import Texts, fit_statistics, read_texts
from llmrec.ranking.two_stage import Rankers, Retrieval
from llmrec.recommender.dense import ranked_scores
from llmrec.recommender.pipeline import (
    frozen_items,
    learn_blend,
    new_retrieval,
    ranking_tasks,
    reader,
    start_adapter,
)
from llmrec.recommender.splitting import split_users
from studies.ablations.plan import Plan

RANDOM_RATES = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Trained:
    """What was trained, and on whom: base and counts on `base` users, the initialisation on `adapting` users, the gate and the
    blend on `ranking` users.

    taught: the dataset without the held-out category, which everything here was trained on; users keep their index.
    """

    taught: Dataset
    model: SlotModel
    items: Items
    init: Initialisation
    retrieval: Retrieval
    texts: Texts
    counts_ranker: Ranker
    base: np.ndarray
    adapting: np.ndarray
    ranking: np.ndarray


def fitted(
    taught: Dataset, users: np.ndarray, settings: Settings, seed: int, minutes: float, rng: np.random.Generator
) -> tuple[Trained, Settings]:
    """The parts of a recommender that is fitted on `users`, and its settings, whose training may be shorter for `minutes`.

    Counts are over the users of the base alone, beside which every arm learns a blend of its own: the recommender's, over all
    users, hold the future of those that the blend is learned on.
    """
    mine = taught.take(users)
    state = Recommender(settings=settings, seed=seed).fit(mine, minutes=minutes).state
    assert state.init is not None  # the study is of LoRA
    split = split_users(mine, np.arange(mine.n_users), state.settings, np.random.default_rng(seed))  # as `fit` had it
    base, adapting, ranking = (users[part] for part in (split.base, split.meta, split.blend))
    texts = read_texts(taught)
    counts = fit_statistics(taught, base, state.settings.train.horizon, texts, rng)
    retrieval = replace(state.retrieval, counts=counts)
    parts = state.model, state.items, state.init, retrieval, texts, state.rankers.counts
    return Trained(taught, *parts, base, adapting, ranking), state.settings


def first_tasks(dataset: Dataset, users: np.ndarray, plan: Plan) -> dict[int, Tasks]:
    """Known baskets -> tasks of the users who have enough."""
    return {known: first_baskets(dataset, users, known, plan.settings.train.horizon) for known in plan.known}


def adaptive_arms(
    trained: Trained, validation: Mapping[int, Tasks], plan: Plan, seed: int, stages: Stages
) -> tuple[dict[str, Arm], Rankers]:
    """The arms that read histories with the transformer, each with a blend learned in the same way on the same users; and the
    rankers of meta_lora."""
    model, items, settings = trained.model, trained.items, plan.settings
    draw = np.random.default_rng(seed + 1)
    taught = model.trained.cpu().numpy()
    tasks = ranking_tasks(trained.taught, trained.ranking, replace(settings, ranking_tasks=settings.ranking_tasks // 2), draw)

    def chain(read: Read, retrieval: Retrieval, rankers: Rankers) -> Arm:
        def scores(part: Tasks) -> np.ndarray:
            return ranked_scores(read, retrieval, rankers.over, part)

        return scores, scores

    def blended(read: Read, retrieval: Retrieval = trained.retrieval) -> Rankers:
        return learn_blend(read, retrieval, trained.counts_ranker, tasks, settings, seed, taught)

    arms: dict[str, Arm] = {}
    with stages("blend", f"{len(tasks):,} tasks of {len(trained.ranking):,} users, for each way of reading"):
        base, zero = reader(model, items, settings, None), reader(model, items, settings, trained.init, 0)
        meta = reader(model, items, settings, trained.init)
        mine = blended(meta)
        arms["base"] = chain(base, trained.retrieval, blended(base))
        arms["zero_steps"] = chain(zero, trained.retrieval, blended(zero))
        arms["meta_lora"] = chain(meta, trained.retrieval, mine)
        arms["swapped"] = chain(swapped(model, items, plan, trained.init), trained.retrieval, mine)
        start = random_start(model, items, validation, plan, seed)
        random = reader(model, items, settings, start)
        arms["random_lora"] = chain(random, trained.retrieval, blended(random))
    with stages("continued", f"{plan.continued_steps} plain steps, the multiplications that meta-learning cost"):
        other = copy.deepcopy(model).requires_grad_(True)
        # The step size that base training had half-way down its slope: neither a restart nor a standstill.
        gentle = replace(
            settings.train,
            max_steps=plan.continued_steps,
            learning_rate=settings.train.learning_rate / 2,
            bias_learning_rate=settings.train.bias_learning_rate / 2,
        )
        train(other, trained.taught, trained.base, gentle, np.random.default_rng(seed + 2), warmup=False)
        others = frozen_items(other)
        plain = reader(other, others, settings, None)
        retrieval = new_retrieval(other, others, trained.retrieval.counts, settings)
        arms["continued"] = chain(plain, retrieval, blended(plain, retrieval))
    return arms, mine


def counts_arm(trained: Trained, plan: Plan) -> Arm:
    """The ranker over counts alone, with the transformer bringing candidates but no score: what the transformer adds to."""
    read = reader(trained.model, trained.items, plan.settings, None)

    def scores(part: Tasks) -> np.ndarray:
        return ranked_scores(read, trained.retrieval, lambda counts, _: CountsRanker(trained.counts_ranker, counts), part)

    return scores, scores


def frozen_arm(model: SlotModel, decay: float = 0.8) -> Arm:
    """The frozen encoder: cosine of an item's text to the decayed mean of the support's last ten texts; nothing is trained."""
    text = model.text.cpu().numpy()

    def scores(part: Tasks) -> np.ndarray:
        found = np.zeros((len(part), len(text)), np.float32)
        for task in range(len(part)):
            last = part.dataset.item[part.support(task)][-10:]
            found[task] = text @ (decay ** np.arange(len(last))[::-1] @ text[last])
        return found

    return scores, scores


def swapped(model: SlotModel, items: Items, plan: Plan, init: Initialisation) -> Read:
    """Each user's own prompt under the adapter of the user before: what is gained here is not personal."""

    lora = Lora(Base(model, items, plan.settings.episode), init)

    def read(tasks: Tasks) -> PromptReading:
        found = []
        for part in batches(tasks):
            adapter, _ = lora.adapted(part, [Choice(lora.steps)] * len(part))
            other = adapter.take(torch.arange(len(part), device=model.id_embedding.device).roll(1))
            made = lora.base.prompts(part)
            found.append(lora.base.reading(made, lora.vectors(made, other)))
        return joined(found)

    return read


def random_starts(model: SlotModel, settings: Settings, seed: int) -> list[Initialisation]:
    """LoRA from a random start (B = 0), at each of the rates that one is chosen from."""
    return [
        start_adapter(model, replace(settings, lora=replace(settings.lora, inner_lr=rate)), seed, 0.0) for rate in RANDOM_RATES
    ]


def random_start(model: SlotModel, items: Items, validation: Mapping[int, Tasks], plan: Plan, seed: int) -> Initialisation:
    """LoRA from a random start, its one rate chosen on validation users by NDCG@10 of the transformer's own scores."""
    starts = random_starts(model, plan.settings, seed)
    values = np.zeros(len(starts))
    for tasks in validation.values():
        cell = make_cells("validation", {0: tasks})[0]
        for i, start in enumerate(starts):
            values[i] += quality(cell, reader(model, items, plan.settings, start)(tasks).table())
    return starts[int(values.argmax())]
