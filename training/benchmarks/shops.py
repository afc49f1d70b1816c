"""Our method where a shop is asked about that it was not trained on: the base from other shops, each a task of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.catalogues import advance_together, begin_together, finish_together
from benchmarks.controls import sample, texts_of
from benchmarks.measure import measure
from benchmarks.ours import EARLY, FINAL, named, new_body
from benchmarks.protocol import Benchmark, Method, Setting
from benchmarks.recipes import Fit, Recipe
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import load_text
from llmrec.encoder.catalogues import over
from llmrec.encoder.dates import moments
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.users import Read
from llmrec.encoder.weights import Weights
from llmrec.models.text_match import TextMatch, fit_tfidf
from llmrec.pretraining.checkpoint import Effort, held, identity, restore, save, saved
from llmrec.progress import Stages, bar
from llmrec.ranking.statistics import DECAY
from llmrec.recommender.cold_items import keep_likeness
from llmrec.recommender.pipeline import frozen_items, new_model, reader, text_vectors

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # of likeness in words, beside the transformer's score
SAVE_EVERY = 200


def fit(benchmark: Benchmark, recipe: Recipe, how: Fit, stages: Stages) -> list[Method]:
    """The transformer with a weight for likeness in words that was chosen on validation tasks, and the transformer alone; for
    test, on all `benchmark.shops`."""
    assert benchmark.shops is not None
    setting, name = benchmark.settings[0], named(how.kind, benchmark.name)
    asked = Asked(recipe, how, stages)
    began = time.perf_counter()
    read, words = asked.about(benchmark.train, benchmark.shops.validation, EARLY)
    with stages("weight of words", f"{len(WEIGHTS)} tried on validation tasks") as say:
        tried = {weight: _mean(Worded(name, read, words, weight), setting, benchmark.primary[1]) for weight in WEIGHTS}
        weight = max(tried, key=lambda weight: tried[weight])
        say(", ".join(f"{weight:g}: {value:.4f}" for weight, value in tried.items()))
    if how.final:
        began = time.perf_counter()
        read, words = asked.about(benchmark.final().train, benchmark.shops.test, FINAL)
    seconds = time.perf_counter() - began
    both, alone = Worded(name, read, words, weight), Worded(f"{name}, transformer alone", read, words, 0.0)
    said = {setting.name: f"words {weight:g} (validation {tried[weight]:.4f})"}
    return [
        Method(both.name, "ours", {setting.name: both}, seconds, said),
        Method(alone.name, "ours", {setting.name: alone}, seconds),
    ]


@dataclass(frozen=True)
class Worded:
    """The transformer's score, and `weight` times log(1 + likeness of an item's words to those of the support)."""

    name: str
    read: Read
    words: TextMatch
    weight: float

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        found = self.read(tasks).table()
        return found if self.weight == 0 else found + self.weight * np.log1p(np.maximum(self.words.scores(tasks), 0))


@dataclass(frozen=True)
class Asked:
    """How a model is trained on shops and put onto another one."""

    recipe: Recipe
    how: Fit
    stages: Stages

    def about(self, dataset: Dataset, shops: Sequence[Dataset], moment: str) -> tuple[Read, TextMatch]:
        """What reads histories in the shop of `dataset`, of which only the catalogue is used, and likeness of its words."""
        settings, text_model = self.recipe.settings, load_text(Weights.packaged(), self.recipe.settings.device)
        with self.stages("encode", f"{sum(shop.n_items for shop in (*shops, dataset)):,} item texts"):
            texts = [text_vectors(text_model, shop.catalogue, settings, self.how.cache)[0] for shop in (*shops, dataset)]
        seed = self.how.seed
        body = new_body(self.how.kind, settings.layers, seed)
        whole = new_model(body, text_model, texts[0], shops[0], np.arange(shops[0].n_users), settings, seed)
        keep_likeness(whole, torch.from_numpy(np.concatenate(texts[:-1])).to(settings.device))
        whole.time_quantiles.copy_(moments(np.concatenate([shop.time for shop in shops])))
        models = [over(whole, torch.from_numpy(text).to(settings.device)) for text in texts]
        train(models[:-1], shops, settings.train, seed, self.how.folder / moment, self.stages)
        model = models[-1].eval().requires_grad_(False)
        words = fit_tfidf(dataset, texts_of(dataset.catalogue), log=True, decay=DECAY)
        return reader(model, frozen_items(model), settings, None), words


def train(
    models: Sequence[SlotModel], shops: Sequence[Dataset], settings: TrainSettings, seed: int, folder: Path, stages: Stages
) -> None:
    """Train the models together in place, from `folder/checkpoint` on if there is one; on a CPU to the same bits."""
    users = [np.arange(shop.n_users) for shop in shops]
    trainings, path, effort = begin_together(models, settings), folder / "checkpoint", Effort(threads=torch.get_num_threads())
    each = [identity(*one, settings, seed) for one in zip(models, shops, users, strict=True)]
    run = {f"{name} of shop {place}": value for place, found in enumerate(each) for name, value in found.items()}
    with (
        held(folder),
        stages("base", f"{settings.max_steps:,} steps of {settings.batch_size} windows, {len(shops)} shops in turn") as say,
        bar(total=settings.max_steps, desc="base") as progress,
    ):
        if saved(path):
            effort = restore(path, trainings[0], run)
            for training in trainings:
                training.dtype = trainings[0].dtype
        losses = trainings[0].losses
        progress.update(len(losses))
        while len(losses) < settings.max_steps:
            began = time.perf_counter()
            advance_together(trainings, shops, users, settings, seed)
            effort = replace(effort, seconds=effort.seconds + time.perf_counter() - began)
            progress.update()
            if len(losses) % SAVE_EVERY == 0 or len(losses) == settings.max_steps:
                save(path, trainings[0], run, effort)
        finish_together(trainings)
        say(f"loss {np.mean(losses[:20]):.3f} -> {np.mean(losses[-20:]):.3f}, {effort.seconds:.0f} s of training")


def _mean(control: Worded, setting: Setting, metric: str) -> float:
    return float(np.nanmean(measure(control, setting, sample(setting), (metric,))[metric]))
