"""Our method on a benchmark: a base and a ranker over counts from its training users, and a blend of both from validation.

    base     full softmax at the end of every basket
    counts   each half of the training users meets the counts of the other half
    blend    learned on the validation tasks, which neither was trained on; with `final` it is kept, and the rest trained anew

These are the parts of a `Recommender`, put together in the same way. No adapter is among them: what adapting adds is a study of
its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmrec.benchmarks.protocol import Benchmark, Method, Setting
from llmrec.benchmarks.recipes import Kind, Recipe
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import Body, load_body, load_text, random_body, small_body
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.pretraining.loop import pretrain
from llmrec.progress import Stages, bar
from llmrec.ranking.counting import count, title_words
from llmrec.ranking.features import features
from llmrec.ranking.ranker import rank
from llmrec.ranking.stage import Rankers, Retrieval, ranked, retrieve
from llmrec.recommender.parts import (
    Vectors,
    frozen_items,
    learn_blend,
    learn_counts_ranker,
    new_model,
    new_retrieval,
    ranked_scores,
    reader,
    text_vectors,
)

NAMES: dict[Kind, str] = {
    "pretrained": "llmrec",  # decided on validation, where it is ahead of the small one; training/LOG.md has the figures
    "random": "llmrec, random weights",
    "small": "llmrec, 2 layers of 128",
}


def kind(name: str) -> Kind:
    """The kind of that name. Raises DataError for another."""
    for known in NAMES:
        if known == name:
            return known
    raise DataError(f"body: expected one of {', '.join(NAMES)}, got {name!r}")


@dataclass(frozen=True)
class Trained:
    """What was learned from training users alone. read: histories by the base. resumed: seconds of base training that an
    earlier run had done."""

    read: Vectors
    retrieval: Retrieval
    resumed: float = 0.0


@dataclass(frozen=True)
class Chain:
    """Retrieve, then rank: what a `Recommender` without adapters answers."""

    name: str
    trained: Trained
    rankers: Rankers

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        return ranked_scores(self.trained.read, self.trained.retrieval, self.rankers, tasks)[1]


@dataclass(frozen=True)
class BaseAlone:
    """The transformer's own score."""

    name: str
    trained: Trained

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        return self.trained.read(tasks)[1]


@dataclass(frozen=True)
class CountsAlone:
    """The ranker over counts; the transformer brings candidates, and orders what is none."""

    name: str
    trained: Trained
    rankers: Rankers

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        vectors, plain = self.trained.read(tasks)
        retrieval = self.trained.retrieval
        found = retrieve(retrieval, tasks, vectors, retrieval.sources, None)
        return ranked(found, rank(self.rankers.counts, features(tasks, found, retrieval.counts)), plain)


def fit(
    benchmark: Benchmark,
    recipe: Recipe,
    seed: int,
    final: bool,
    stages: Stages,
    folder: Path,
    cache: Path | None = None,
    kind: Kind = "pretrained",
) -> list[Method]:
    """The whole chain, the base alone and the ranker over counts alone, ready to be measured.

    kind: what the base begins from. folder: where its checkpoints are; a run that was killed goes on from them.
    final: train for test, see `Benchmark.final`.
    """
    began = time.perf_counter()
    rng = np.random.default_rng(seed)
    trained = train(benchmark, recipe, seed, rng, stages, folder / "early", cache, kind)
    rankers = {repeats: learn_rankers(benchmark, trained, recipe, seed, rng, stages, repeats) for repeats in _asked(benchmark)}
    last = benchmark.final()
    if final and last is not benchmark:
        trained = train(last, recipe, seed, rng, stages, folder / "final", cache, kind)
    seconds = time.perf_counter() - began + trained.resumed
    name, found = NAMES[kind], []

    def method(label: str, control: type[Chain] | type[CountsAlone]) -> Method:
        by_setting = {}
        for setting in benchmark.settings:
            repeats = _repeats(setting)
            by_setting[setting.name] = control(label, _with(trained, repeats), rankers[repeats])
        return Method(label, "ours", by_setting, seconds)

    found.append(method(name, Chain))
    alone = BaseAlone(f"{name}, transformer alone", trained)
    found.append(Method(alone.name, "ours", {setting.name: alone for setting in benchmark.settings}, seconds))
    if kind == "pretrained":
        found.append(method("llmrec, counts alone", CountsAlone))
    return found


def train(
    benchmark: Benchmark,
    recipe: Recipe,
    seed: int,
    rng: np.random.Generator,
    stages: Stages,
    folder: Path,
    cache: Path | None,
    kind: Kind,
) -> Trained:
    """The base, its index, and the counts, from the benchmark's training users."""
    dataset, users, settings = benchmark.train, benchmark.users, recipe.settings
    with stages("encode", f"{dataset.n_items:,} item texts"):
        text_model = load_text(Weights.packaged(), settings.device)
        text, _ = text_vectors(text_model, dataset.catalogue, settings, cache)
    model = new_model(_body(kind, settings.layers, seed), text_model, text, dataset, users, settings, seed)
    plan = settings.train
    with (
        stages("base", f"{plan.steps:,} steps of {plan.batch} windows from {len(users):,} users") as say,
        bar(total=plan.steps, desc="base") as progress,
    ):
        began = time.perf_counter()
        run = pretrain(model, dataset, users, plan, seed, folder, save_every=200, watch=lambda *_: progress.update() and None)
        resumed = max(0.0, run.seconds - (time.perf_counter() - began))
        first, last = np.mean(run.losses[:20]), np.mean(run.losses[-20:])
        say(f"{plan.steps:,} steps, loss {first:.3f} -> {last:.3f}, {run.seconds:.0f} s of training")
    model.requires_grad_(False)
    items = frozen_items(model)
    with stages("count and index", f"{dataset.n_items:,} items"):
        counts = count(dataset, users, plan.horizon, title_words(dataset), rng)
        return Trained(reader(model, items, settings, None), new_retrieval(model, items, counts, settings), resumed)


def learn_rankers(
    benchmark: Benchmark, trained: Trained, recipe: Recipe, seed: int, rng: np.random.Generator, stages: Stages, repeats: bool
) -> Rankers:
    """Both rankers for settings that rank all items (`repeats`) or only unseen ones."""
    settings, here = recipe.settings, _with(trained, repeats)
    with stages("rank", "all items" if repeats else "unseen items"):
        counted = learn_counts_ranker(here.read, here.retrieval, benchmark.train, benchmark.users, settings, rng, seed)
        tasks = validation_tasks(benchmark, repeats, recipe.blend_tasks, rng)
        return learn_blend(here.read, here.retrieval, counted, tasks, settings, seed)


def validation_tasks(benchmark: Benchmark, repeats: bool, most: int, rng: np.random.Generator) -> Tasks:
    """The validation tasks of all settings that rank such items, at most `most` of them."""
    asked = [setting.validation for setting in benchmark.settings if _repeats(setting) == repeats]
    start, split, stop = (np.concatenate([getattr(tasks, name) for tasks in asked]) for name in ("start", "split", "stop"))
    every = Tasks(asked[0].dataset, start, split, stop)
    return every.take(np.sort(rng.permutation(len(every))[:most]))


def _asked(benchmark: Benchmark) -> list[bool]:
    return sorted({_repeats(setting) for setting in benchmark.settings})


def _repeats(setting: Setting) -> bool:
    return setting.rank == "all"


def _with(trained: Trained, repeats: bool) -> Trained:
    retrieval = trained.retrieval
    return replace(trained, retrieval=replace(retrieval, sources=replace(retrieval.sources, repeats=repeats)))


def _body(kind: Kind, layers: int | None, seed: int) -> Body:
    if kind == "small":
        return small_body(128, 2, 4, seed)
    body = load_body(Weights.packaged(), layers)
    return random_body(body, seed) if kind == "random" else body
