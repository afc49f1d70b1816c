"""How our method is trained for each benchmark. Everything here was chosen on validation users; training/LOG.md says how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llmrec.encoder.train import TrainSettings
from llmrec.index.candidates import Sources
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.auto import BLEND_FEATURES
from llmrec.recommender.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """settings: of the parts. blend_tasks: validation tasks that the blend is learned from, at most."""

    settings: Settings
    blend_tasks: int = 12_000


FEW = RankerSettings(hidden=8, max_steps=400, weight_decay=0.1)  # blend of a few hundred validation users
HELD = RankerSettings(
    hidden=8, max_steps=200, learning_rate=1e-2, weight_decay=1.0
)  # of hundreds, near the score by counts that it begins from
MANY = RankerSettings(hidden=16, max_steps=1200, learning_rate=1e-2, weight_decay=0.1)  # of thousands


Kind = Literal["pretrained", "random", "small"]
"""What the body begins from: the first three blocks of the packaged MiniLM (width 384), random weights of the same shape, or
two blocks of width 128 from random weights. Item texts always go through the whole pretrained transformer."""


@dataclass(frozen=True)
class Fit:
    """One fit by a recipe.

    kind, seed: what the body begins from, and the seed of all draws. final: for test, see `Benchmark.final`.
    folder: where its checkpoints are; a run that was killed goes on from them. cache: of item-text vectors; None for none.
    """

    kind: Kind
    seed: int
    final: bool
    folder: Path
    cache: Path | None = None


def movielens(small: bool) -> Recipe:
    """Long histories of single events; several next events count alike."""
    steps, rate = (1800, 1e-3) if small else (1600, 4e-4)
    train = TrainSettings(
        max_steps=steps,
        batch_size=64,
        known=(5, 110),
        horizon=10,
        max_slots=110,
        learning_rate=rate,
        text_only_rate=0.15,
        dropout=0.3,
        from_start=0.7,
        ema_decay=0.999,
    )
    return Recipe(_settings(train, ranking_tasks=4000, blend=FEW))


def taste(small: bool) -> Recipe:
    """As `movielens`, for events without an order: the blend sees what EASE says and how much is known, no dates or places."""
    plan = movielens(small)
    return replace(plan, settings=replace(plan.settings, blend_features=("n_baskets", "ease", "ease_decayed")))


def amazon(small: bool) -> Recipe:
    """Short histories, many items: the next event alone counts."""
    steps, rate = (2000, 1e-3) if small else (1600, 4e-4)
    train = TrainSettings(
        max_steps=steps,
        batch_size=128,
        known=(1, 50),
        horizon=1,
        max_slots=50,
        learning_rate=rate,
        text_only_rate=0.2,
        dropout=0.5,
        ema_decay=0.999,
    )
    return Recipe(_settings(train, ranking_tasks=6000, blend=MANY))


def journey(small: bool) -> Recipe:
    """Baskets, most of which hold what was bought before."""
    rate = 1e-3 if small else 3e-4
    train = TrainSettings(
        max_steps=300,
        batch_size=64,
        known=(1, 12),
        horizon=3,
        max_slots=128,
        learning_rate=rate,
        text_only_rate=0.15,
        dropout=0.3,
        ema_decay=0.995,
    )
    settings = _settings(train, ranking_tasks=4000, blend=FEW)
    # A few hundred households: decay and what the blend sees were chosen on training households, see training/LOG.md.
    return Recipe(replace(settings, counts_ranker=replace(settings.counts_ranker, weight_decay=1.0), blend_features=()))


def item_cold(small: bool) -> Recipe:
    """As `amazon`, but what is asked for is known by its text alone: so is half of every batch, and training ends before the
    items' own vectors have taken over from their texts. More candidates come by text, for new items come by nothing else; and
    the blend sees what is said of those that are like them."""
    plan = amazon(small)
    train = replace(plan.settings.train, max_steps=1000 if small else 800, text_only_rate=0.5)
    sources = replace(plan.settings.sources, text_k=1000)
    settings = replace(plan.settings, train=train, blend=HELD, blend_features=(*BLEND_FEATURES, "text_knn"), sources=sources)
    return replace(plan, settings=settings, blend_tasks=4_000)


def transfer(small: bool) -> Recipe:
    """As `amazon`, with every item of every shop known by its text alone."""
    plan = amazon(small)
    return replace(plan, settings=replace(plan.settings, train=replace(plan.settings.train, text_only_rate=1.0)))


def body(benchmark: str) -> Kind:
    """The body that is called `llmrec` on a benchmark, unless said otherwise.

    Decided on validation where both were tried, ml1m-cold and beauty, with the pretrained one ahead; training/LOG.md has the
    figures, and that on test of ml1m-cold random weights do as well. It is the small one, a third of the time, where a
    benchmark takes two to six trainings, for its reference and at two moments, for variants of those two, and for the Complete
    Journey.
    """
    small = ("journey-cold", "item-cold", "transfer", "ml1m-taste", "ml1m-liked", "beauty-time", "beauty-published")
    return "small" if benchmark.startswith(small) else "pretrained"


def recipe(benchmark: str, kind: Kind, steps: int | None = None) -> Recipe:
    """The recipe for the benchmark of that name and a kind of body. steps: of the base, in place of the recipe's."""
    found = _recipe(benchmark, kind == "small")
    if steps is None:
        return found
    return replace(found, settings=replace(found.settings, train=replace(found.settings.train, max_steps=steps)))


def _recipe(benchmark: str, small: bool) -> Recipe:
    if benchmark in ("ml1m-taste", "ml1m-liked"):
        return taste(small)
    if benchmark.startswith("ml1m"):
        return movielens(small)
    if benchmark.startswith("journey"):
        return journey(small)
    if benchmark.startswith("item-cold"):
        return item_cold(small)
    if benchmark == "transfer":
        return transfer(small)
    # All scores of all blend tasks are held at once: of 38,519 books a thousand tasks take 154 MB.
    return replace(amazon(small), blend_tasks=5_000) if benchmark == "book" else amazon(small)


def _settings(train: TrainSettings, ranking_tasks: int, blend: RankerSettings) -> Settings:
    return Settings(
        train=train,
        counts_ranker=RankerSettings(hidden=16, max_steps=400),
        blend=blend,
        blend_features=BLEND_FEATURES,
        sources=Sources(text_k=300, knn_k=300, popular_k=300),
        ranking_tasks=ranking_tasks,
    )
