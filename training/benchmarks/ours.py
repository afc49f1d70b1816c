"""Our method on a benchmark: a base and a ranker over counts from its training users, and a blend of both from validation.

    base     full softmax at the end of every basket
    counts   each half of the training users meets the counts of the other half
    blend    learned on the validation tasks, which neither was trained on; with `final` it is kept, and the rest trained anew

These are the parts of a `Recommender`, put together in the same way. No adapter is among them: what adapting adds is a study of
its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logsumexp

from benchmarks.controls import sample
from benchmarks.protocol import Benchmark, Method, Part, Setting
from benchmarks.recipes import Fit, Kind, Recipe
from benchmarks.recipes import body as body_of
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import Backbone, load_body, load_text, random_body, small_body
from llmrec.encoder.model import SlotModel
from llmrec.encoder.users import Read
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.pretraining.loop import pretrain
from llmrec.progress import Stages, bar
from llmrec.ranking.ranker import Ranker
from llmrec.ranking.rankers import CountsRanker
from llmrec.ranking.statistics import ItemStatistics, Texts, extent, fit_statistics, read_texts, with_vectors
from llmrec.ranking.two_stage import Rankers, Retrieval
from llmrec.recommender.cold_items import keep_likeness, shift
from llmrec.recommender.dense import ranked_scores
from llmrec.recommender.pipeline import (
    frozen_items,
    learn_blend,
    learn_counts_rankers,
    new_model,
    new_retrieval,
    reader,
    text_vectors,
)
from llmrec.recommender.settings import Settings

OURS = "llmrec"
EARLY, FINAL = "early", "final"  # trained until validation, and until test
NAMES: dict[Kind, str] = {  # of bodies that are not `recipes.body`, which is called llmrec without more words
    "pretrained": "llmrec, 3 layers of MiniLM",
    "random": "llmrec, random weights",
    "small": "llmrec, 2 layers of 128",
}


def kind(name: str) -> Kind:
    """The kind of that name. Raises DataError for another."""
    for known in NAMES:
        if known == name:
            return known
    raise DataError(f"body: expected one of {', '.join(NAMES)}, got {name!r}")


def named(kind: Kind, benchmark: str) -> str:
    """What our method with a kind of body is called on a benchmark."""
    return OURS if kind == body_of(benchmark) else NAMES[kind]


@dataclass(frozen=True)
class Trained:
    """What was learned from training users alone. resumed: seconds of base training that an earlier run had done."""

    model: SlotModel
    settings: Settings
    read: Read
    retrieval: Retrieval
    texts: Texts
    resumed: float = 0.0

    def with_new_items(self, worth: float) -> Trained:
        """With `worth` added to the scores of items that nobody had in training, which the base takes for middling ones."""
        if worth == 0:
            return self
        items = frozen_items(self.model)
        items = replace(items, bias=items.bias + worth * ~self.model.trained)
        retrieval = new_retrieval(self.model, items, self.retrieval.counts, self.settings)
        return replace(self, read=reader(self.model, items, self.settings, None), retrieval=retrieval)

    def repeating(self, repeats: bool) -> Trained:
        """With items that a user has had among the candidates, or without them."""
        retrieval = self.retrieval
        return replace(self, retrieval=replace(retrieval, sources=replace(retrieval.sources, repeats=repeats)))


@dataclass(frozen=True)
class Chain:
    """Retrieve, then rank: what a `Recommender` without adapters answers. among: bool (N,), what may be a candidate."""

    name: str
    trained: Trained
    rankers: Rankers
    among: np.ndarray | None = None

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        return ranked_scores(self.trained.read, self.trained.retrieval, self.rankers.over, tasks, self.among)


@dataclass(frozen=True)
class BaseAlone:
    """The transformer's own score."""

    name: str
    trained: Trained

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        return self.trained.read(tasks).table()


@dataclass(frozen=True)
class CountsAlone:
    """The ranker over counts; the transformer brings candidates, and orders what is none."""

    name: str
    trained: Trained
    rankers: Rankers
    among: np.ndarray | None = None

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        trained = self.trained
        return ranked_scores(trained.read, trained.retrieval, self._over, tasks, self.among)

    def _over(self, counts: ItemStatistics, read: Read) -> CountsRanker:
        return CountsRanker(self.rankers.counts, counts)


def fit(benchmark: Benchmark, recipe: Recipe, how: Fit, stages: Stages) -> list[Method]:
    """The whole chain, the base alone and the ranker over counts alone, ready to be measured."""
    began = time.perf_counter()
    rng = np.random.default_rng(how.seed)
    trained = train(benchmark, recipe, how, EARLY, rng, stages)
    worth = worth_of_new_items(benchmark, trained, stages)
    trained = trained.with_new_items(worth)
    rankers = learn_rankers(benchmark, trained, recipe, how.seed, rng, stages)
    last = benchmark.final()
    if how.final and last is not benchmark:
        trained = train(last, recipe, how, FINAL, rng, stages).with_new_items(worth)
    seconds = time.perf_counter() - began + trained.resumed
    name, part = named(how.kind, benchmark.name), _part(how.final)
    found: list[Method] = []

    def method(label: str, control: type[Chain] | type[CountsAlone]) -> Method:
        by_setting = {
            setting.name: control(label, trained.repeating(_repeats(setting)), rankers[setting.name], setting.only(part))
            for setting in benchmark.settings
        }
        return Method(label, "ours", by_setting, seconds)

    found.append(method(name, Chain))
    alone = BaseAlone(f"{name}, transformer alone", trained)
    found.append(Method(alone.name, "ours", {setting.name: alone for setting in benchmark.settings}, seconds))
    if name == OURS:
        found.append(method(f"{name}, counts alone", CountsAlone))
    return found


def train(benchmark: Benchmark, recipe: Recipe, how: Fit, moment: str, rng: np.random.Generator, stages: Stages) -> Trained:
    """The base, its index, and the counts, from the benchmark's training users. moment: `EARLY` or `FINAL`, a folder's name."""
    dataset, users, settings, folder = benchmark.train, benchmark.users, recipe.settings, how.folder / moment
    with stages("encode", f"{dataset.n_items:,} item texts"):
        text_model = load_text(Weights.packaged(), settings.device)
        text, _ = text_vectors(text_model, dataset.catalogue, settings, how.cache)
    body = new_body(how.kind, settings.layers, how.seed)
    model = new_model(body, text_model, text, dataset, users, settings, how.seed)
    if benchmark.by_text_alone:
        keep_likeness(model)
    plan = settings.train
    with (
        stages("base", f"{plan.max_steps:,} steps of {plan.batch_size} windows from {len(users):,} users") as say,
        bar(total=plan.max_steps, desc="base") as progress,
    ):
        began = time.perf_counter()
        run = pretrain(
            model, dataset, users, plan, how.seed, folder, save_every=200, watch=lambda *_: progress.update() and None
        )
        resumed = max(0.0, run.seconds - (time.perf_counter() - began))
        first, last = np.mean(run.losses[:20]), np.mean(run.losses[-20:])
        say(f"{plan.max_steps:,} steps, loss {first:.3f} -> {last:.3f}, {run.seconds:.0f} s of training")
    model.requires_grad_(False)
    items = frozen_items(model)
    with stages("count and index", extent(dataset)):
        texts = read_texts(dataset)
        if benchmark.by_text_alone:
            texts = with_vectors(texts, text, rng)
        counts = fit_statistics(dataset, users, plan.horizon, texts, rng)
        retrieval = new_retrieval(model, items, counts, settings)
        return Trained(model, settings, reader(model, items, settings, None), retrieval, texts, resumed)


def worth_of_new_items(benchmark: Benchmark, trained: Trained, stages: Stages) -> float:
    """What to add to the scores of items that nobody had in training, so that together they are given the chance that they
    turned out to have; 0 where no setting says what to learn that from.

    The ordinary tasks of `Setting.learn` are asked: on those that were chosen for ending in such an item the chance is 1.
    """
    settings = [setting for setting in benchmark.settings if setting.learn is not None]
    if not settings or trained.model.trained.all():
        return 0.0
    with stages("new items", "their worth, from what users took next") as say:
        tasks, new = sample(settings[0]), ~trained.model.trained.cpu().numpy()
        scores = trained.read(tasks).table()
        allowed = settings[0].allowed(tasks)
        if allowed is not None:
            scores = np.where(allowed, scores, -np.inf)
        odds = logsumexp(scores[:, new], axis=1) - logsumexp(scores[:, ~new], axis=1)
        share = float(np.mean(new[tasks.dataset.item[tasks.split]]))
        worth = shift(odds, share)
        say(f"{share:.1%} of what was taken next, {expit(odds).mean():.1%} expected: {worth:+.2f}")
    return worth


def learn_rankers(
    benchmark: Benchmark, trained: Trained, recipe: Recipe, seed: int, rng: np.random.Generator, stages: Stages
) -> dict[str, Rankers]:
    """Both rankers by setting. Settings that rank the same items share them.

    What counts are worth is learned on all items, also for settings that rank only some, such as new ones, which training has
    no task about: how far to trust it there is for the blend to learn, from validation tasks over those items.
    """
    settings, counted, found = recipe.settings, dict[bool, Ranker](), dict[str, Rankers]()
    for alike in ranked_alike(benchmark):
        repeats, among = _repeats(alike[0]), alike[0].only("validation")
        here = trained.repeating(repeats)
        which = "all items" if repeats else "unseen items"
        with stages("rank", which if among is None else f"{which}, {among.sum():,} of them"):
            if repeats not in counted:
                (counted[repeats],) = learn_counts_rankers(
                    here.read, here.retrieval, here.texts, benchmark.train, benchmark.users, settings, rng, seed, (repeats,)
                )
            tasks = blend_tasks(alike, recipe.blend_tasks, rng)
            rankers = learn_blend(here.read, here.retrieval, counted[repeats], tasks, settings, seed, among)
            found |= {setting.name: rankers for setting in alike}
    return found


def ranked_alike(benchmark: Benchmark) -> list[tuple[Setting, ...]]:
    """The settings in groups that rank the same items."""
    groups: dict[tuple, list[Setting]] = {}
    for setting in sorted(benchmark.settings, key=_repeats):
        among = None if setting.among is None else (setting.among.validation.tobytes(), setting.among.test.tobytes())
        groups.setdefault((setting.rank, among), []).append(setting)
    return [tuple(settings) for settings in groups.values()]


def blend_tasks(settings: Sequence[Setting], most: int, rng: np.random.Generator) -> Tasks:
    """What the blend of these settings is learned from, at most `most` tasks: those of validation, or what stands for them."""
    asked = [setting.validation if setting.learn is None else setting.learn for setting in settings]
    start, split, stop = (np.concatenate([getattr(tasks, name) for tasks in asked]) for name in ("start", "split", "stop"))
    every = Tasks(asked[0].dataset, start, split, stop)
    return every.take(np.sort(rng.permutation(len(every))[:most]))


def _part(final: bool) -> Part:
    return "test" if final else "validation"


def _repeats(setting: Setting) -> bool:
    return setting.rank == "all"


def new_body(kind: Kind, layers: int | None, seed: int) -> Backbone:
    """What the base of a kind begins from."""
    if kind == "small":
        return small_body(128, 2, 4, seed)
    body = load_body(Weights.packaged(), layers)
    return random_body(body, seed) if kind == "random" else body
