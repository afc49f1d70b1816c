"""All that can be set, with what the demonstration found to be sound."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmrec.encoder.train import TrainSettings
from llmrec.index.candidates import Sources
from llmrec.index.flat import IndexSettings
from llmrec.meta.episodes import Reach
from llmrec.meta.outer import OuterSettings
from llmrec.ranking.ranker import RankerSettings


@dataclass(frozen=True)
class LoraSettings:
    """What is adapted and how.

    rank: of the update. scale: what the update is multiplied by. upper: blocks from the top that are adapted.
    steps: inner steps. rate: step size that the learned rates begin with. pull: back to the initialisation.
    b_std: spread of B at the start of meta-training; with 0 the first gradient would never reach A.
    users: tasks in an episode.
    """

    rank: int = 4
    scale: float = 2.0
    upper: int = 1
    steps: int = 3
    rate: float = 0.2
    pull: float = 0.0
    b_std: float = 0.01
    users: int = 32


@dataclass(frozen=True)
class Settings:
    """How a recommender is built and trained.

    layers: blocks of the pretrained transformer that read histories; None for all. Item text always goes through all of them.
    item_template, history_template: packaged names or paths.
    adapting_share: of the users, kept out of base training to learn the initialisation on.
    ranking_share: of the users, kept out of both to learn the blend of counts and transformer on.
    counts_ranker, blend: the two small rankers, see `Rankers`. beside: what the blend sees beside the two scores, names out of
        FEATURES and FOR_BLEND of `llmrec.ranking.features`. With hundreds of users to learn from, fewer of them and fewer
        steps do better.
    ranking_tasks: how many tasks each ranker learns from, at most.
    index: how items are searched. Its `device` None is the GPU that `device` names, where faiss can use that, else the CPU.
    device: where the transformer and the adapters run, in torch's terms ("cpu", "cuda").
    """

    layers: int | None = 3
    item_template: str = "item"
    history_template: str = "history"
    train: TrainSettings = field(default_factory=TrainSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    outer: OuterSettings = field(default_factory=OuterSettings)
    counts_ranker: RankerSettings = field(default_factory=lambda: RankerSettings(hidden=16, steps=400, decay=1.0))
    blend: RankerSettings = field(default_factory=lambda: RankerSettings(hidden=4, steps=300, decay=0.1))
    beside: tuple[str, ...] = ()
    sources: Sources = field(default_factory=lambda: Sources(text_k=300, knn_k=300, popular_k=300))
    index: IndexSettings = field(default_factory=IndexSettings)
    adapting_share: float = 0.15
    ranking_share: float = 0.1
    ranking_tasks: int = 2000
    device: str = "cpu"

    @property
    def reach(self) -> Reach:
        """What the adapters touch, in the terms of the episodes."""
        return Reach(self.lora.upper, self.train.most, self.train.horizon)
