"""Meta-learning of a fit: LoRA's initialisation and what cores share, each resumable, from users whom the base was not trained
on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from llmrec.adapters.lora import Adapter, distance
from llmrec.data.dataset import Dataset
from llmrec.encoder.threads import threads_for
from llmrec.encoder.train import Shard
from llmrec.meta.adaptable import Adaptable, Base, Lora, W
from llmrec.meta.core import CELLS
from llmrec.meta.inner import Initialisation
from llmrec.meta.outer import Episode, OuterSettings
from llmrec.meta.resumable import EpisodeAt, Learned, meta_learn
from llmrec.meta.user_core import LEARNED, Cores, UserCore, start_core
from llmrec.pretraining.checkpoint import digest, identity
from llmrec.progress import Stages
from llmrec.recommender.adapting import Adapting, adapting
from llmrec.recommender.pipeline import start_adapter, windows, with_long_supports
from llmrec.recommender.run import CORE, META, Run, found_done
from llmrec.recommender.settings import Settings


def learn_adapters(
    base: Base,
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
    seed: int,
    stages: Stages,
    run: Run,
) -> Adapting:
    """What `settings.adapter` names, learned from `users`: LoRA's initialisation, what the cores share, or both. The core reads
    histories at the initialisation, where there is one, so that zero steps of both are the same."""
    init, core = None, None
    if settings.adapter in ("lora", "auto"):
        init = learn_to_adapt(base, dataset, users, settings, rng, seed, stages, run).init
    if settings.adapter in ("core", "auto"):
        plan = settings.core
        with stages.counted("core", f"{plan.episodes} episodes", plan.episodes) as (say, watch):
            at, long = None if init is None else init.adapter, with_long_supports(settings, dataset)
            found = learn_core(base, at, dataset, users, long, rng, seed, watch, run)
            core = found.init.adapter
            spread, said = core.log_spread.exp().mean(), core.log_count[0].exp().tolist()
            done = f"{len(found.losses)} episodes{found_done(found.resumed)}"
            say(
                f"{done}, up to {long.train.known[1]} baskets known, {core.z.shape[1]} numbers per user, mean spread "
                f"{plan.spread:.2f} -> {spread:.2f}; an event counts {said[0]:.2f} in the prompt, {said[1]:.2f} before it"
            )
    return adapting(base, init, core, settings.core.steps)


def learn_to_adapt(
    base: Base,
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
    seed: int,
    stages: Stages,
    run: Run = Run(),  # noqa: B008  (frozen)
    start: Initialisation[Adapter] | None = None,
) -> Learned[Adapter]:
    """Meta-learn an initialisation on `users`, with a bar, from the last checkpoint of `run` on if there is one.

    start: what is learned from; None for the random one of the settings.
    """
    plan, size = settings.outer, settings.lora.meta_batch_size
    begin = start_adapter(base.model, settings, seed, settings.lora.b_std) if start is None else start
    what = f"{plan.episodes} episodes of {size} of {len(users):,} users"
    with stages.counted("meta-learn", what, plan.episodes) as (say, watch):
        learned = learn_initialisation(base, dataset, users, settings, rng, seed, watch, begin, run)
        moved = float(distance(learned.init.adapter, begin.adapter))
        done = f"{len(learned.losses)} episodes{found_done(learned.resumed)}"
        say(f"{done}, {begin.adapter.n_params:,} numbers per user, moved by {moved:.2f}")
    return learned


def learn_initialisation(
    base: Base,
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
    seed: int,
    watch: Callable[[int, list[float]], None] | None = None,
    start: Initialisation | None = None,
    run: Run = Run(),  # noqa: B008  (frozen)
) -> Learned[Adapter]:
    """The meta-learned LoRA initialisation and its rates, on top of a frozen base, from episodes of `users`, which are drawn as
    base training draws its windows.

    watch: told the episode's number and its losses. start: what is learned from; None for `start_adapter`. run: see there; all
    of its processes call this with the same arguments.
    """
    model = base.model
    model.requires_grad_(False)
    if start is None:
        start = start_adapter(model, settings, seed, settings.lora.b_std)
    lora = Lora(base, start)
    draw, size = settings.train, settings.lora.meta_batch_size
    episode_at = drawn_episodes(lora, dataset, users, settings, size, settings.outer.episodes, rng)
    about = run_identity(base, dataset, users, settings, seed, run) | asdict(settings.lora)
    with threads_for(model.multiplications(size, draw.max_slots)):
        folder, every = run.part(META), run.save_episodes
        return meta_learn(start, episode_at, settings.outer, about, folder, run.processes, every, watch, run.callbacks)


def run_identity(base: Base, dataset: Dataset, users: np.ndarray, settings: Settings, seed: int, run: Run) -> dict[str, Any]:
    """What makes meta-learning on a trained base this run and no other, as flat JSON; nothing where no checkpoints are left."""
    if run.folder is None:
        return {}
    learned = base.model.id_embedding, base.model.bias
    trained = digest(*(tensor.detach().cpu().numpy() for tensor in learned))
    return identity(base.model, dataset, users, settings.train, seed) | {"base": trained}


def drawn_episodes(
    adaptable: Adaptable[W],
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    size: int,
    count: int,
    rng: np.random.Generator,
) -> EpisodeAt[W]:
    """So many episodes of `size` windows, by their number. All are drawn at once, so that a run that goes on after some of them
    leaves the generator where it would have been."""
    drawn = [windows(dataset, users, settings, size, rng) for _ in range(count)]

    def episode_at(number: int, shard: Shard) -> tuple[Episode[W], float]:
        tasks = drawn[number]
        mine = tasks.take(np.arange(shard.rank, len(tasks), shard.world))
        return adaptable.episode(mine), len(mine) / len(tasks)

    return episode_at


def learn_core(
    base: Base,
    at: Adapter | None,
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
    seed: int,
    watch: Callable[[int, list[float]], None] | None = None,
    run: Run = Run(),  # noqa: B008  (frozen)
) -> Learned[UserCore]:
    """What cores share, learned through their closed form on top of a frozen base, whose histories are read under `at`.

    watch, run: as in `learn_initialisation`.
    """
    base.model.requires_grad_(False)
    plan = settings.core
    cores = Cores(base, start_core(base.items, plan.size, plan.spread), plan.steps, at)
    count = int(np.clip(CELLS // cores.rivals.features.numel(), 4, plan.meta_batch_size))
    init = Initialisation(cores.start, torch.zeros(0, len(cores.start.leaves())), outer=LEARNED)
    outer = OuterSettings(plan.episodes, plan.learning_rate, inner_lr_learning_rate=0.0, anneal=0.0, first_order=False)

    episode_at = drawn_episodes(cores, dataset, users, settings, count, plan.episodes, rng)
    about = run_identity(base, dataset, users, settings, seed, run) | asdict(plan)
    if about and at is not None:
        about["at"] = digest(*(leaf.detach().cpu().numpy() for leaf in at.leaves()))
    with threads_for(base.model.multiplications(count, settings.train.max_slots)):
        folder, every = run.part(CORE), run.save_episodes
        return meta_learn(init, episode_at, outer, about, folder, run.processes, every, watch, run.callbacks, CORE)
