"""How our method is trained for each benchmark. Everything here was chosen on validation users; training/LOG.md says how."""

from __future__ import annotations

from dataclasses import dataclass

from llmrec.encoder.train import TrainSettings
from llmrec.index.candidates import Sources
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """settings: of the parts. blend_tasks: validation tasks that the blend is learned from, at most."""

    settings: Settings
    blend_tasks: int = 6000


def movielens() -> Recipe:
    """Long histories of single events; several next events count alike."""
    train = TrainSettings(
        steps=2400,
        batch=64,
        known=(5, 110),
        horizon=10,
        most=110,
        rate=3e-4,
        dropout=0.2,
        from_start=0.7,
        average=0.999,
    )
    return Recipe(_settings(train, ranking_tasks=4000))


def amazon() -> Recipe:
    """Short histories, many items: the next event alone counts."""
    train = TrainSettings(
        steps=2400,
        batch=128,
        known=(1, 50),
        horizon=1,
        most=50,
        rate=3e-4,
        drop=0.2,
        dropout=0.4,
        average=0.999,
    )
    return Recipe(_settings(train, ranking_tasks=6000))


def journey() -> Recipe:
    """Baskets, most of which holds what was bought before."""
    train = TrainSettings(steps=600, batch=64, known=(1, 12), horizon=3, most=128, dropout=0.1, average=0.995)
    return Recipe(_settings(train, ranking_tasks=4000))


def recipe(benchmark: str) -> Recipe:
    """The recipe for the benchmark of that name."""
    if benchmark.startswith("ml1m"):
        return movielens()
    return journey() if benchmark.startswith("journey") else amazon()


def _settings(train: TrainSettings, ranking_tasks: int) -> Settings:
    return Settings(
        train=train,
        counts_ranker=RankerSettings(hidden=16, steps=400),
        blend=RankerSettings(hidden=8, steps=400, decay=0.1),
        sources=Sources(text_k=300, knn_k=300, popular_k=300),
        ranking_tasks=ranking_tasks,
    )
