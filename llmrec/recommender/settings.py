"""All that can be set, with what the demonstration found to be sound."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmrec.data.numbers import check_number, check_whole
from llmrec.encoder.train import TrainSettings
from llmrec.errors import DataError
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


def check_ranges(settings: Settings) -> None:
    """Raises DataError, naming the field, for a number that nothing can be trained with.

    No episodes, no inner steps and no steps of a ranker are allowed: each leaves that part as it begins.
    """
    if settings.layers is not None:
        check_whole("Settings.layers", settings.layers, 1)
    check_whole("Settings.ranking_tasks", settings.ranking_tasks, 1)
    check_number("Settings.adapting_share", settings.adapting_share, 0, 1)
    check_number("Settings.ranking_share", settings.ranking_share, 0, 1)
    if settings.adapting_share + settings.ranking_share >= 1:
        raise DataError(
            f"Settings.adapting_share is {settings.adapting_share!r} and ranking_share {settings.ranking_share!r}; expected a "
            "sum below 1, since the base is trained on the rest"
        )
    _check_train(settings.train)
    _check_adapting(settings.lora, settings.outer)
    for name, ranker in (("counts_ranker", settings.counts_ranker), ("blend", settings.blend)):
        check_whole(f"Settings.{name}.hidden", ranker.hidden, 1)
        check_whole(f"Settings.{name}.steps", ranker.steps, 0)
        check_whole(f"Settings.{name}.batch", ranker.batch, 1)
        check_number(f"Settings.{name}.rate", ranker.rate, 0, above=True)
        check_number(f"Settings.{name}.decay", ranker.decay, 0)
    check_whole("Sources.text_k", settings.sources.text_k, 0)
    check_whole("Sources.knn_k", settings.sources.knn_k, 0)
    check_whole("Sources.popular_k", settings.sources.popular_k, 0)
    check_whole("IndexSettings.exact_below", settings.index.exact_below, 0)
    check_whole("IndexSettings.probes", settings.index.probes, 1)
    if settings.index.lists is not None:
        check_whole("IndexSettings.lists", settings.index.lists, 1)


def _check_train(train: TrainSettings) -> None:
    check_whole("TrainSettings.steps", train.steps, 1)
    check_whole("TrainSettings.batch", train.batch, 1)
    check_whole("TrainSettings.horizon", train.horizon, 1)
    check_whole("TrainSettings.most", train.most, 1)
    check_number("TrainSettings.rate", train.rate, 0, above=True)
    check_number("TrainSettings.bias_rate", train.bias_rate, 0)
    check_number("TrainSettings.drop", train.drop, 0, most=1)
    check_number("TrainSettings.dropout", train.dropout, 0, 1)
    check_number("TrainSettings.from_start", train.from_start, 0, most=1)
    check_number("TrainSettings.average", train.average, 0, 1)
    known: object = train.known  # a table of settings may hold anything
    if not (isinstance(known, (tuple, list)) and len(known) == 2):
        raise DataError(f"TrainSettings.known is {known!r}; expected the shortest and the longest support, such as (1, 8)")
    check_whole("TrainSettings.known[0]", train.known[0], 1)
    check_whole("TrainSettings.known[1]", train.known[1], train.known[0])


def _check_adapting(lora: LoraSettings, outer: OuterSettings) -> None:
    check_whole("LoraSettings.rank", lora.rank, 1)
    check_whole("LoraSettings.upper", lora.upper, 1)
    check_whole("LoraSettings.steps", lora.steps, 0)
    check_whole("LoraSettings.users", lora.users, 1)
    check_number("LoraSettings.scale", lora.scale, 0, above=True)
    check_number("LoraSettings.rate", lora.rate, 0, above=True)
    check_number("LoraSettings.pull", lora.pull, 0)
    check_number("LoraSettings.b_std", lora.b_std, 0)
    check_whole("OuterSettings.episodes", outer.episodes, 0)
    check_number("OuterSettings.rate", outer.rate, 0)
    check_number("OuterSettings.rate_of_rates", outer.rate_of_rates, 0)
    check_number("OuterSettings.anneal", outer.anneal, 0)
