"""Fit a state on a dataset: all parts in order, with one progress line per stage."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from llmrec.adapters.lora import Adapter
from llmrec.data.dataset import Dataset
from llmrec.data.known import KnownUsers
from llmrec.data.tasks import joined
from llmrec.data.user_tables import UserTable
from llmrec.encoder.backbone import Backbone, load_body, load_text, small_body
from llmrec.encoder.model import SlotModel
from llmrec.encoder.weights import Weights
from llmrec.meta.adaptable import Base
from llmrec.meta.gate import Gate
from llmrec.meta.inner import Initialisation
from llmrec.pretraining.loop import Pretrained, pretrain
from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.ranker import Ranker
from llmrec.ranking.rankers import CandidateRanker, already_read
from llmrec.ranking.statistics import extent, fit_statistics
from llmrec.ranking.two_stage import Rankers
from llmrec.ranking.vector_prior import fit_vector_prior
from llmrec.recommender.adapted_ranker import adapted_to
from llmrec.recommender.adapting import adapting
from llmrec.recommender.auto import facts, resolve
from llmrec.recommender.budget import within
from llmrec.recommender.cold_items import (
    Conditions,
    keep_likeness,
    newest_as_cold,
    newest_items,
    texts_of,
    value_cold_items,
)
from llmrec.recommender.first_buyers import learn_first_buyers, to_be_observed
from llmrec.recommender.gating import describe, learn_gate
from llmrec.recommender.joined_items import join_cold_items
from llmrec.recommender.meta_learning import learn_adapters
from llmrec.recommender.pipeline import (
    check_settings,
    frozen_items,
    learn_attribute_ranker,
    learn_blend,
    learn_counts_rankers,
    new_model,
    new_retrieval,
    ranking_tasks,
    reader,
    text_vectors,
    tuning_users,
    with_long_supports,
)
from llmrec.recommender.predicting import learn_signed
from llmrec.recommender.reranking import learn_reranker
from llmrec.recommender.run import BASE, Run, found_done, planned
from llmrec.recommender.settings import Settings, check_ranges
from llmrec.recommender.settings_file import changed
from llmrec.recommender.splitting import MOST_HELD_OUT, UserSplit, last_tasks, split_users, training_dataset
from llmrec.recommender.state import State
from llmrec.recommender.templates import fitted_templates
from llmrec.signed.labels import scale_of

SMALL_WIDTH, SMALL_BLOCKS, SMALL_HEADS = 128, 2, 4


@dataclass(frozen=True)
class TrainedBase:
    """A base as training left it, and what the rest of a fit goes on with.

    settings: with a value for everything. training: the dataset that it was trained on, see `training_dataset`. done: what
    training took. rng: the generator, where training left it.
    """

    model: SlotModel
    settings: Settings
    split: UserSplit
    training: Dataset
    done: Pretrained
    rng: np.random.Generator


def fit(
    dataset: Dataset,
    weights: Weights,
    settings: Settings,
    seed: int,
    stages: Stages,
    cache: Path | None,
    minutes: float | None = None,
    run: Run = Run(),  # noqa: B008  (frozen)
    ranker: CandidateRanker | None = None,
) -> State:
    """Train everything on all users of `dataset`.

    minutes: shorten training so that it takes about so long here; None for no limit. run: where it leaves checkpoints. ranker:
    of one's own, beside the chain; see `learn_reranker`.
    Raises DataError when no history is long enough to learn from, and for a device that is not here; ArtefactError for
    checkpoints of another run.
    """
    base = fit_base(dataset, weights, settings, seed, stages, cache, minutes, run)
    return fit_rest(dataset, base, seed, stages, run, ranker)


def fit_base(
    dataset: Dataset,
    weights: Weights,
    settings: Settings,
    seed: int,
    stages: Stages,
    cache: Path | None,
    minutes: float | None = None,
    run: Run = Run(),  # noqa: B008  (frozen)
) -> TrainedBase:
    """The first half of `fit`, by all processes of `run` together: settings, users, and a trained base. Arguments as there."""
    settings = chosen(settings, dataset, stages)
    rng = np.random.default_rng(seed)
    split = split_users(dataset, np.arange(dataset.n_users), settings, rng)
    training = training_dataset(dataset, split, settings)
    with run.processes.main_first():  # the others find the text vectors in the cache, and the plan
        model = new_base(training, split.base, weights, settings, seed, stages, cache)
        shorter = partial(in_time, minutes, model, training, split.base, settings, stages)
        settings = planned(run, model, dataset, settings, seed, minutes, shorter)
    done = train_base(model, training, split.base, settings, rng, stages, run)
    return TrainedBase(model, settings, split, training, done, rng)


def chosen(settings: Settings, dataset: Dataset, stages: Stages) -> Settings:
    """The settings with a value for everything, chosen from the data, checked and told."""
    found = facts(dataset, min(int(dataset.n_users * settings.blend_fraction), MOST_HELD_OUT))
    complete = resolve(settings, found)
    check_ranges(complete)
    check_settings(complete)
    scale_of(dataset, complete.signed)  # an event type that no event has is said before training
    if new := changed(complete, settings):
        stages.say(f"chosen from the data ({found}): {', '.join(f'{name}={value!r}' for name, value in new.items())}")
    return complete


def new_base(
    dataset: Dataset, users: np.ndarray, weights: Weights, settings: Settings, seed: int, stages: Stages, cache: Path | None
) -> SlotModel:
    """Encode the catalogue, and put an untrained model over it; popularities come from `users`."""
    with stages("encode", f"{dataset.n_items:,} item texts by {Path(weights.location).name}"):
        text_model = load_text(weights, settings.device)
        text, _ = text_vectors(text_model, dataset.catalogue, settings, cache)
    model = new_model(new_body(weights, settings, seed), text_model, text, dataset, users, settings, seed)
    if settings.cold_items:
        keep_likeness(model)
    return model


def new_body(weights: Weights, settings: Settings, seed: int) -> Backbone:
    """The transformer that reads histories, before training."""
    if settings.user_encoder == "small":
        return small_body(SMALL_WIDTH, SMALL_BLOCKS, SMALL_HEADS, seed)
    return load_body(weights, settings.layers)


def in_time(
    minutes: float | None, model: SlotModel, dataset: Dataset, users: np.ndarray, settings: Settings, stages: Stages
) -> Settings:
    """The settings with as many steps and episodes as `minutes` allow; the same where it is None."""
    if minutes is None:
        return settings
    with stages("estimate", "how long a step takes here") as say:
        shorter, said = within(minutes, settings, copy.deepcopy(model), dataset, users)
        say(said)
    return shorter


def train_base(
    model: SlotModel,
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
    stages: Stages,
    run: Run = Run(),  # noqa: B008  (frozen)
) -> Pretrained:
    """Train the base on `users`, with a bar, from the last checkpoint of `run` on if there is one."""
    plan, seed = settings.train, int(rng.integers(2**62))
    what = f"{plan.max_steps} steps of {plan.batch_size} windows from {len(users):,} users"
    with stages.counted("base", what, plan.max_steps) as (say, watch):
        folder = run.part(BASE)
        kept = folder, run.processes, run.save_steps
        done = pretrain(model, dataset, users, plan, seed, *kept, watch, stages.say, run.callbacks)
        first, last = np.mean(done.losses[:10]), np.mean(done.losses[-10:])
        say(f"{len(done.losses)} steps{found_done(done.resumed)}, loss {first:.3f} -> {last:.3f}")
    return done


def fit_rest(
    dataset: Dataset,
    trained: TrainedBase,
    seed: int,
    stages: Stages,
    run: Run = Run(),  # noqa: B008  (frozen)
    ranker: CandidateRanker | None = None,
) -> State:
    """Everything above a trained base: counts, index, initialisation, rankers. run: where meta-learning leaves checkpoints.
    ranker: as in `fit`."""
    model, settings, split, rng = trained.model, trained.settings, trained.split, trained.rng
    training = trained.training
    newest = newest_items(dataset, split.blend) if settings.cold_items else None
    if settings.cold_items:
        value_cold_items(model, newest, settings, stages)
    items = frozen_items(model)
    plain = reader(model, items, settings, None)
    with stages("count and index", extent(dataset)) as say:
        texts = texts_of(dataset, model, settings, rng)
        counts = fit_statistics(training, split.base, settings.train.horizon, texts, rng)
        asked = tuning_users(dataset, split.blend, plain, settings, np.random.default_rng(seed))
        retrieval = new_retrieval(model, items, counts, settings, users=asked)
        if retrieval.index.tuned is not None:
            say(f"{extent(dataset)}; {retrieval.index.tuned}")
    base = Base(model, items, settings.episode)
    learned = learn_adapters(base, dataset, split.meta, settings, rng, seed, stages, run)
    with stages("rank", f"over counts, learned on {len(split.base):,} users"):
        kinds = (True, False) if settings.sources.repeats else (False,)
        counted = learn_counts_rankers(plain, retrieval, texts, training, split.base, settings, rng, seed, kinds)
    conditions = newest_as_cold(dataset, split.base, learned, retrieval, newest, texts, settings, rng)
    rest = counted[0], counted[-1], settings
    gate, rankers, unseen = gate_and_blend(dataset, split, conditions, *rest, seed, rng, stages)
    gated = replace(learned, gate=gate)
    cold = join_cold_items(dataset, split, gated, retrieval, texts, (rankers, unseen), settings, seed, stages)
    if cold is not None:
        (rankers, unseen), newest = cold.pair, cold.newest
    reranker = None
    if ranker is not None:
        drawn = np.random.default_rng([seed, 1])  # of its own, so that all else is as without a ranker
        tasks = ranking_tasks(dataset, split.blend, settings, drawn) if conditions.tasks is None else conditions.tasks
        if isinstance(ranker, LLMRanker) and ranker.plan is not None:
            ranker, taught = adapted_to(ranker, training, split, settings, seed, stages, run)
            tasks = tasks.take(np.flatnonzero(~np.isin(tasks.user, taught)))
        read, pair = replace(conditions.learned, gate=gate).reader(), (rankers, unseen)
        reranker = learn_reranker(ranker, tasks, read, conditions.retrieval, pair, settings.sources.repeats, seed, stages)
    by_attributes = None
    if dataset.user_attributes is not None:
        with stages("attributes", f"how to rank by them: {', '.join(dataset.user_attributes.encoding.names)}"):
            others = split.base if split.blend is split.base else np.concatenate([split.meta, split.blend])
            by_attributes = learn_attribute_ranker(plain, retrieval, training, split.base, others, settings, rng, seed)
    if split.blend is not split.base:  # everything is learned: held-out users and left-out baskets count now, too
        with stages("count", "over all users"):
            counts = fit_statistics(dataset, np.arange(dataset.n_users), settings.train.horizon, texts, rng)
            retrieval = replace(retrieval, counts=counts)
    if cold is not None:
        retrieval = replace(retrieval, counts=replace(retrieval.counts, text_knn=cold.neighbours(dataset)))
    prior = None
    if unseen.cold is not None and newest is not None:
        retrieval = replace(retrieval, counts=to_be_observed(dataset, retrieval.counts))
        told, now = (some.unit() for some in (frozen_items(model, newest.new), items))
        prior = fit_vector_prior(dataset, newest.new, told, now, retrieval.counts.popularity)
    known = KnownUsers((replace(dataset, user_attributes=None),))
    init, core = (None if learned.lora is None else learned.lora.init), (None if learned.core is None else learned.core.start)
    parts = model, items, init, retrieval, rankers, unseen, dataset.catalogue, known
    signed = learn_signed(dataset, model.text.cpu().numpy(), settings, seed, stages)
    state = State(settings, *parts, gate, seed=seed, core=core, signed=signed, templates=fitted_templates(settings))
    state = replace(state, reranker=reranker, vector_prior=prior)
    if dataset.user_attributes is None:
        return state
    return replace(state, people=UserTable(dataset.users, dataset.user_attributes), by_attributes=by_attributes)


def with_initialisation(
    state: State, dataset: Dataset, split: UserSplit, init: Initialisation[Adapter], rng: np.random.Generator, stages: Stages
) -> State:
    """The same base and counts under another initialisation of LoRA, with a gate and a blend of its own. A core is left out:
    what it shares was learned beside the old initialisation.

    They are learned beside counts over the base's users alone, as in `fit`: the state's own hold the future of all users.
    """
    texts = texts_of(dataset, state.model, state.settings, rng)
    training = training_dataset(dataset, split, state.settings)
    counts = fit_statistics(training, split.base, state.settings.train.horizon, texts, rng)
    retrieval = replace(state.retrieval, counts=counts, observed=None)
    settings = replace(state.settings, adapter="lora")
    learned = adapting(Base(state.model, state.items, settings.episode), init)
    newest = newest_items(dataset, split.blend) if settings.cold_items else None
    conditions = newest_as_cold(dataset, split.base, learned, retrieval, newest, texts, settings, rng)
    parts = conditions, state.rankers.counts, state.unseen_rankers.counts, settings
    gate, rankers, unseen = gate_and_blend(dataset, split, *parts, state.seed, rng, stages)
    if state.retrieval.counts.buyers is not None:  # else nothing that the weights are of is counted
        gated, pair = replace(learned, gate=gate), (rankers, unseen)
        cold = join_cold_items(dataset, split, gated, retrieval, texts, pair, settings, state.seed, stages)
        rankers, unseen = pair if cold is None else cold.pair
    state = replace(state, reranker=None)  # its weight was learned beside the old ones
    return replace(state, settings=settings, init=init, core=None, gate=gate, rankers=rankers, unseen_rankers=unseen)


def gate_and_blend(
    dataset: Dataset,
    split: UserSplit,
    conditions: Conditions,
    counted: Ranker,
    counted_unseen: Ranker,
    settings: Settings,
    seed: int,
    rng: np.random.Generator,
    stages: Stages,
) -> tuple[Gate | None, Rankers, Rankers]:
    """When to adapt, and how far to trust what comes of it. Both are learned from users held out of base and adapters, where
    there is a core also from histories longer than the prompt; the blend also learns from the left-out baskets.

    conditions: what they are learned over.
    Returns the gate, the rankers of all items, and those of items that the history does not hold.
    """
    learned, retrieval = conditions.learned, conditions.retrieval
    own, gate = split.blend is split.base, None
    long = settings if learned.core is None else with_long_supports(settings, dataset)
    if not own and len(learned.every) > 1:  # with zero steps alone, as LoRA without inner steps, there is nothing to choose
        with stages("gate", f"from {len(split.blend):,} other users") as say:
            gate = learn_gate(learned, dataset, split.blend, long, rng)
            say(f"steps to take: {describe(gate)}")
    of_users = (
        "the base's users (too few users to hold any out, so no gate is learned)"
        if own
        else f"{len(split.blend):,} other users"
    )
    last = last_tasks(dataset, split, settings)
    and_last = "" if last is None else f" and the last baskets of {len(last):,} users"
    with stages("blend", f"learned on {of_users}{and_last}"):
        tasks = ranking_tasks(dataset, split.blend, long, rng) if conditions.tasks is None else conditions.tasks
        tasks = tasks if last is None else joined(tasks, last)
        read = already_read(tasks, replace(learned, gate=gate).reader()(tasks))
        every = unseen = learn_blend(read, retrieval, counted, tasks, settings, seed)
        if settings.sources.repeats:
            new = replace(retrieval, sources=replace(retrieval.sources, repeats=False))
            unseen = learn_blend(read, new, counted_unseen, tasks, settings, seed, instead=every)
    if conditions.tasks is None:
        return gate, every, unseen
    others = np.union1d(split.meta, split.blend)
    with stages("first buyers", "their weights in the score of cold items") as say:
        pair, told = learn_first_buyers(dataset, others, replace(learned, gate=gate), retrieval, (every, unseen), settings, rng)
        say(told)
    return gate, *pair
