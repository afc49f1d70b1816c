"""The pipeline of a recommender: functions that build its parts, shared by `fit` and the training scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from llmrec.adapters.lora import init_lora
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.tasks import Tasks, first_baskets, sample_windows
from llmrec.encoder.backbone import Backbone, TextModel
from llmrec.encoder.dates import moments
from llmrec.encoder.items import Centring, catalogue_vectors
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.precision import check_device
from llmrec.encoder.users import Read
from llmrec.errors import DataError
from llmrec.index.faiss_index import Index, gpu_number, usable
from llmrec.index.faiss_index import build as build_index
from llmrec.index.tuning import QUERIES, Tuned
from llmrec.meta.adaptable import Base
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.prompts import history_words, load_template
from llmrec.ranking.features import features
from llmrec.ranking.groups import FEATURES as GROUP_FEATURES
from llmrec.ranking.groups import fit_groups
from llmrec.ranking.ranker import Ranker, Ranking, fit_ranker
from llmrec.ranking.rankers import (
    CountsRanker,
    TransformerRanker,
    already_read,
    attribute_inputs,
    blend_inputs,
    columns_of,
)
from llmrec.ranking.statistics import ItemStatistics, Texts, fit_statistics
from llmrec.ranking.two_stage import (
    Rankers,
    Retrieval,
    concatenate_rankings,
    ranking,
    retrieve,
    retrieve_by_attributes,
    search_queries,
)
from llmrec.recommender.adapting import adapting
from llmrec.recommender.settings import Settings

LONG = 0.95  # quantile of the users' baskets that a long support has
AT_ONCE = 1000  # tasks whose features are made together
LEAST_TARGETS = 30  # right items that rankers of unseen items need: with none a ranker stays as it begins


def text_vectors(model: TextModel, catalogue: Catalogue, settings: Settings, cache: Path | None) -> tuple[np.ndarray, Centring]:
    """Centred text vectors float32 (N, d_text) of a catalogue, and what they were centred by."""
    return catalogue_vectors(model, catalogue, settings.item_template, cache)


def new_model(
    body: Backbone, text_model: TextModel, text: np.ndarray, dataset: Dataset, users: np.ndarray, settings: Settings, seed: int
) -> SlotModel:
    """A slot model before training; item popularities, the sums of their events' sample weights, come from `users` alone.

    Raises DataError when prompts would be longer than the transformer reads.
    """
    words = text_model.words(history_words(load_template(settings.history_template)))
    if len(words) + settings.train.max_slots > body.max_length:
        raise DataError(
            f"a prompt of {len(words)} words and {settings.train.max_slots} slots is longer than the {body.max_length} that "
            f"the transformer reads: set TrainSettings(max_slots={body.max_length - len(words)}) or less"
        )
    part = dataset.take(users)
    seen = np.bincount(part.item, minlength=dataset.n_items) > 0
    taken = np.bincount(part.item, part.sample_weight, dataset.n_items)
    popularity = torch.from_numpy(np.maximum(taken, 0.5 * seen)).float()  # an item of little or no weight is not a new one
    kinds, given = len(dataset.event_types), dataset.user_attributes
    if not (given is None is dataset.context) and not words:
        raise DataError(
            f"history_template: {settings.history_template!r} has no words, expected at least one, to carry attributes of "
            "users and context; put some before {{ history }}"
        )
    n_user = 0 if given is None else given.encoding.width
    n_context = 0 if dataset.context is None else dataset.context.width
    blocks = None if dataset.catalogue.blocks is None else torch.from_numpy(dataset.catalogue.blocks)
    with torch.random.fork_rng(devices=[]):  # made on the CPU: no GPU's generator is touched
        torch.default_generator.manual_seed(seed)
        model = SlotModel(
            body, torch.tensor(words), torch.from_numpy(text), popularity, moments(part.time), kinds, n_user, n_context, blocks
        )
    return model.to(settings.device)


def frozen_items(model: SlotModel, cold: np.ndarray | None = None) -> Items:
    """The item side of a trained model, without gradients. cold: bool (N,), items that count as never trained on."""
    with torch.no_grad():
        return model.items(cold=None if cold is None else torch.from_numpy(cold).to(model.trained.device))


def check_settings(settings: Settings) -> None:
    """Check the settings before training starts.

    Raises DataError for a device that is not available and for an unknown feature name, MissingExtraError for an index on a
    GPU with the faiss for CPUs.
    """
    columns_of(settings.blend_features)
    check_device(settings.device)
    gpu_number(settings.index.device)


def new_index(vectors: np.ndarray, settings: Settings, tuned: Tuned | None = None, asked: np.ndarray | None = None) -> Index:
    """An index of float32 (N, d), where the settings say; unless they do, where the recommender runs, if faiss can use that.

    tuned: what an earlier index of the same vectors came to. asked: float32 (a, d), queries to tune on.
    """
    index = settings.index
    if index.device is None:
        index = replace(index, device=settings.device if usable(settings.device) else "cpu")
    return build_index(vectors, settings=index, tuned=tuned, asked=asked)


def new_retrieval(
    model: SlotModel,
    items: Items,
    counts: ItemStatistics,
    settings: Settings,
    tuned: Tuned | None = None,
    users: np.ndarray | None = None,
) -> Retrieval:
    """The index over a trained model's items, beside what was counted; `tuned` as in `new_index`.

    users: user vectors float32 (U, d) that an approximate index is tuned on, beside the items.
    """
    with torch.no_grad():
        matrix = items.search_matrix(model.temperature).cpu().numpy()
    asked = None if users is None else search_queries(users)
    return Retrieval(new_index(matrix, settings, tuned, asked), counts, settings.sources)


def tuning_users(
    dataset: Dataset, users: np.ndarray, read: Read, settings: Settings, rng: np.random.Generator
) -> np.ndarray | None:
    """User vectors float32 (QUERIES, d) of `users` to tune an approximate index on; None where the search is exact."""
    if dataset.n_items < settings.index.exact_below:
        return None
    return read(ranking_tasks(dataset, users, replace(settings, ranking_tasks=QUERIES), rng)).vectors


def start_adapter(model: SlotModel, settings: Settings, seed: int, b_std: float) -> Initialisation:
    """A random start for the upper blocks, with one rate for all layers and steps."""
    lora = settings.lora
    layers = model.body.linear_paths(lora.n_adapted_blocks)
    adapter = init_lora(layers, lora.r, lora.lora_alpha / lora.r, torch.Generator().manual_seed(seed), b_std)
    return initialisation(adapter, lora.inner_steps, lora.inner_lr, lora.proximal).to(settings.device)


def windows(dataset: Dataset, users: np.ndarray, settings: Settings, count: int, rng: np.random.Generator) -> Tasks:
    """So many tasks of `users`, drawn as base training draws its windows."""
    draw = settings.train
    return sample_windows(dataset, users, draw.known, draw.horizon, count, rng, draw.from_start)


def with_long_supports(settings: Settings, dataset: Dataset) -> Settings:
    """The same settings with supports as long as histories are, also those that a prompt is too short for: what is adapted to
    whole histories is learned on such."""
    shortest, longest = settings.train.known
    whole = int(np.quantile(dataset.n_baskets, LONG)) - settings.train.horizon
    return replace(settings, train=replace(settings.train, known=(shortest, max(longest, whole))))


def reader(model: SlotModel, items: Items, settings: Settings, init: Initialisation | None, steps: int | None = None) -> Read:
    """Read histories with the base alone (`init` None) or with LoRA, see `Adapting.reader`."""
    return adapting(Base(model, items, settings.episode), init).reader(steps)


def ranking_tasks(dataset: Dataset, users: np.ndarray, settings: Settings, rng: np.random.Generator, share: float = 1) -> Tasks:
    """Tasks to learn a ranker from: up to ten a user, drawn as base training draws its windows.

    share: of `settings.ranking_tasks`, how many at most.
    """
    return windows(dataset, users, settings, min(max(1, int(share * settings.ranking_tasks)), 10 * len(users)), rng)


def learn_counts_rankers(
    read: Read,
    retrieval: Retrieval,
    texts: Texts,
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
    seed: int,
    repeats: Sequence[bool],
    allowed: np.ndarray | None = None,
) -> list[Ranker]:
    """Rankers over counts, from tasks of `users`: one that ranks all items (True in `repeats`), one that ranks only items that
    the support does not hold (False). `read` only says which candidates they meet. Where fewer than LEAST_TARGETS right items
    are there to learn from, the first ranker stands for the second.

    Each half of the users meets what was counted over the other half: counts that hold a user's own later events foresee them
    better than they will foresee a stranger's, and would be trusted too much.

    allowed: bool (N,), items that may be candidates; None for all.
    """
    mixed, horizon = rng.permutation(users), settings.train.horizon
    halves = [mixed[::2], mixed[1::2]]
    if not all((dataset.n_baskets[half] >= settings.train.known[0] + horizon).any() for half in halves):
        halves = [users, users]  # one user with a history is all there is
    parts: list[list[Ranking]] = [[] for _ in repeats]
    for mine, others in (halves, halves[::-1]):
        counts = fit_statistics(dataset, others, horizon, texts, rng)
        tasks = ranking_tasks(dataset, mine, settings, rng, 0.5)
        vectors = read(tasks).vectors
        for part, repeat in zip(parts, repeats, strict=True):
            sources = replace(retrieval.sources, repeats=repeat)
            found = retrieve(replace(retrieval, counts=counts), tasks, vectors, sources, allowed)
            part.append(ranking(tasks, found, features(tasks, found, counts)))
    learned: list[Ranker] = []
    for part in parts:
        whole = concatenate_rankings(part)
        few = learned and len(whole.target) < LEAST_TARGETS
        learned.append(learned[0] if few else fit_ranker(whole, settings.counts_ranker, seed))
    return learned


def learn_attribute_ranker(
    read: Read,
    retrieval: Retrieval,
    dataset: Dataset,
    counted: np.ndarray,
    others: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
    seed: int,
) -> Ranker:
    """The ranker for users without events: what `others` took first, by their attributes alone. Users of whom none is known
    teach it how much popularity counts.

    counted: users whom `retrieval` counts, and the base was trained on. Where they are the only ones, each half of them meets
    what was counted over the other half. read: with the base alone.
    """
    everyone = dataset.take(counted).counted
    if counted is others:
        mixed = rng.permutation(len(counted))
        halves = [np.sort(mixed[::2]), np.sort(mixed[1::2])]
        parts = [(counted[mine], everyone.take(rest)) for mine, rest in (halves, halves[::-1])]
    else:
        parts = [(others, everyone)]
    learned = [
        Ranking(np.zeros((0, 1, 1 + len(GROUP_FEATURES)), np.float32), np.zeros((0, 1), bool), *np.zeros((2, 0), np.int64))
    ]
    for asked, part in parts:
        tasks = first_baskets(dataset, asked, 0, settings.train.horizon)
        if tasks.user_attributes is None or part.user_attributes is None:
            continue
        if len(tasks):
            groups, reading = fit_groups(part, part.user_attributes, settings.train.horizon), read(tasks)
            here = replace(retrieval, counts=replace(retrieval.counts, groups=groups))
            found = retrieve_by_attributes(here, tasks, reading.vectors, None)
            inputs = attribute_inputs(groups, TransformerRanker(already_read(tasks, reading)), tasks, found)
            learned.append(ranking(tasks, found, inputs))
    whole = concatenate_rankings(learned)
    plan = settings.counts_ranker if len(whole.target) else replace(settings.counts_ranker, max_steps=0)
    return fit_ranker(whole, plan, seed)


def learn_blend(
    read: Read,
    retrieval: Retrieval,
    counts: Ranker,
    tasks: Tasks,
    settings: Settings,
    seed: int,
    allowed: np.ndarray | None = None,
    instead: Rankers | None = None,
) -> Rankers:
    """Both rankers for one way of reading histories, from tasks whose queries neither the base nor `retrieval` has seen;
    `instead` where they have fewer than LEAST_TARGETS right items to learn from. Features of AT_ONCE tasks are made at a time.
    """
    learned = _blend_ranking(read, retrieval, counts, tasks, settings, allowed)
    if instead is not None and len(learned.target) < LEAST_TARGETS:
        return instead
    return Rankers(counts, fit_ranker(learned, settings.blend, seed), settings.blend_features)


def _blend_ranking(
    read: Read, retrieval: Retrieval, counts: Ranker, tasks: Tasks, settings: Settings, allowed: np.ndarray | None
) -> Ranking:
    """What a blend learns from. The parts are freed before it learns."""
    reading, parts = read(tasks), []
    for first in range(0, len(tasks), AT_ONCE):
        rows = np.arange(first, min(first + AT_ONCE, len(tasks)))
        some, mine = tasks.take(rows), reading.take(rows)
        found = retrieve(retrieval, some, mine.vectors, retrieval.sources, allowed)
        transformer = TransformerRanker(already_read(some, mine))
        inputs = blend_inputs(CountsRanker(counts, retrieval.counts), transformer, settings.blend_features, some, found)
        parts.append(ranking(some, found, inputs))
    return concatenate_rankings(parts)
