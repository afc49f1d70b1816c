"""All settings of a recommender; what is None is chosen from the data when it is fitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llmrec.data.numbers import check_number, check_whole
from llmrec.encoder.train import AUTO, TrainSettings
from llmrec.errors import DataError
from llmrec.index.candidates import Sources
from llmrec.index.faiss_index import IndexSettings
from llmrec.meta.episodes import EpisodeSettings
from llmrec.meta.outer import OuterSettings
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.settings_file import read_yaml, yaml_text
from llmrec.signed.labels import SignedFeedback, check_feedback

USER_ENCODERS = ("small", "pretrained")
ADAPTER_CHOICES = ("lora", "core", "auto")


@dataclass(frozen=True)
class LoraSettings:
    """Which layers are adapted, and how.

    r, lora_alpha: rank of the update, which is multiplied by lora_alpha / r, as in PEFT.
    n_adapted_blocks: how many transformer blocks are adapted, counted from the top.
    inner_steps, inner_lr: gradient steps on a support, and the learning rate at which meta-learning of the rates starts.
    proximal: strength of the pull back to the initialisation.
    b_std: standard deviation of B at the start of meta-training; with 0 the first gradient would never reach A.
    meta_batch_size: tasks (users) in an episode.
    """

    r: int = 4
    lora_alpha: float = 8.0
    n_adapted_blocks: int = 1
    inner_steps: int = 3
    inner_lr: float = 0.2
    proximal: float = 0.0
    b_std: float = 0.01
    meta_batch_size: int = 32


@dataclass(frozen=True)
class CoreSettings:
    """The core: the numbers that move a user's vector, and how their shared prior is learned.

    size: numbers per user, at most the width of the transformer.
    steps: Newton's steps on a support.
    spread: initial standard deviation, in scores, of a core's effect on a user's items.
    episodes, learning_rate: of the outer loop, which learns the spreads and the counts of events.
    meta_batch_size: users in an episode, at most; fewer for a large catalogue.
    """

    size: int = 32
    steps: int = 2
    spread: float = 0.5
    episodes: int = 60
    learning_rate: float = 5e-2
    meta_batch_size: int = 32


@dataclass(frozen=True)
class BlendSettings(RankerSettings):
    """How the blend is fitted: the fields of `RankerSettings`, of which those that are None are chosen from the data."""

    hidden: int = AUTO
    max_steps: int = AUTO
    learning_rate: float = AUTO
    weight_decay: float = 0.1


@dataclass(frozen=True)
class Settings:
    """How a recommender is built and trained: `Settings()` to begin with, `Settings.quick()` to try the flow in a minute,
    `Settings.best()` to train longer.

    Fields that are None, here and in `train`, are chosen from the data by `llmrec.recommender.auto`; `fit` prints the choices,
    and a saved recommender holds them. `from_yaml` reads settings from a file; `to_yaml` gives the text of such a file.

    user_encoder: the transformer that reads histories: "small", two blocks of width 128 with random initialisation, or
        "pretrained", the first blocks of the pretrained one, which takes about three times as long to train. Amazon beauty,
        validation, trained for ten epochs, NDCG@10: level, +.0003 [-.0010, .0016].
    layers: how many blocks of the pretrained transformer read histories, if it is used; None for all. Item text always goes
        through all of them.
    item_template, history_template: packaged names or paths, see `llmrec.prompts`.
    adapter: the part that adapts to a history. "lora": low-rank weights of the upper blocks, by gradient steps. "core": the
        user vector, in closed form from the whole history, also events beyond the prompt. "auto": both are learned, and the
        gate chooses by the size of the history. With "lora" or "core" the gate decides only the number of steps.
        Validation users, one seed, NDCG@10 of "auto" minus "lora" on one base: Amazon beauty +.0018 [.0009, .0028];
        MovieLens-1M level at 5, 10, 20 and 100 known films, and so is the Complete Journey; films in random order with
        prompts of ten gain where 50 are known. Test users: of 13 comparisons three are ahead, one is behind (MovieLens-1M,
        20 films, -.0027 [-.0052, -.0003]), nine are level. `training/LOG.md` has the figures.
    meta_fraction: fraction of the users held out of base training, on whom the initialisation is meta-learned.
    blend_fraction: fraction of the users held out of both, on whom the gate and the blend of the two scores are learned.
    counts_ranker, blend: the two small rankers, see `Rankers`. blend_features: what the blend reads in addition to the two
        scores: names from FEATURES and FOR_BLEND of `llmrec.ranking.features`. None: chosen from the data. With only hundreds
        of users to learn from, fewer features and fewer steps do better.
    leave_last_out: how many users have their last baskets left out of training, so that the blend can learn to predict them;
        afterwards these baskets are counted too. None: chosen from the data. Ignored with `cold_items=True`.
    ranking_tasks: how many tasks each ranker learns from, at most; the blend learns from left-out baskets in addition.
    cold_items: how cold items, without events yet, are ranked. None: if 1% or more of the newest events are with new items,
        cold items join the ranking by their words, their first buyers and users who skip them (counted by `observe`); scores
        of other items are the same as with False. True: base and rankers are also trained for cold items, with the newest
        items treated as cold, at some cost to other items; see also `text_only_rate` in `TrainSettings`. False: neither.
    sources: how many candidates each source proposes; 300 of each here, 100 in `Sources()` alone.
    signed: event types that are likes or dislikes, for `Recommender.predict`; ratings need no setting.
    index: how items are searched. Its `device` None is the GPU of `device`, if faiss can use that, else the CPU.
    device: where the transformer and the adapters run, in torch's terms ("cpu", "cuda").
    """

    user_encoder: str = "small"
    layers: int | None = 3
    item_template: str = "item"
    history_template: str = "history"
    adapter: str = "auto"
    train: TrainSettings = field(default_factory=TrainSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    outer: OuterSettings = field(default_factory=OuterSettings)
    core: CoreSettings = field(default_factory=CoreSettings)
    counts_ranker: RankerSettings = field(default_factory=lambda: RankerSettings(hidden=16, max_steps=400, weight_decay=1.0))
    blend: RankerSettings = field(default_factory=BlendSettings)
    blend_features: tuple[str, ...] = AUTO
    sources: Sources = field(default_factory=lambda: Sources(text_k=300, knn_k=300, popular_k=300))
    signed: SignedFeedback = field(default_factory=SignedFeedback)
    index: IndexSettings = field(default_factory=IndexSettings)
    meta_fraction: float = 0.15
    blend_fraction: float = 0.1
    leave_last_out: int = AUTO
    ranking_tasks: int = 3000
    cold_items: bool | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if type(self.blend) is RankerSettings:  # settings read from a file hold BlendSettings, and must compare equal
            object.__setattr__(self, "blend", BlendSettings(**vars(self.blend)))

    @classmethod
    def quick(cls) -> Settings:
        """Short training, about a minute on two cores for a shop of some thousand users.

        It shows that the flow works on your data, not how good recommendations can get: for that, use `Settings()`.
        """
        return cls(
            train=TrainSettings(max_steps=30, batch_size=32, max_slots=32, known=(1, 6)),
            outer=OuterSettings(episodes=3),
            core=CoreSettings(episodes=3),
            leave_last_out=0,
            ranking_tasks=200,
        )

    @classmethod
    def best(cls) -> Settings:
        """Longer training than `Settings()`; not better everywhere. Test NDCG@10, one fit, `best()` and default:
        MovieLens-1M, 10 films known, .2717 and .2629; Amazon beauty .0686 and .0691."""
        return cls(train=TrainSettings(epochs=10), outer=OuterSettings(episodes=200), ranking_tasks=6000)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Settings:
        """The settings of a YAML file, such as

            user_encoder: pretrained
            train:
              max_steps: 500
              known: [1, 6]  # shortest and longest support
            ranking_tasks: 1000

        What the file does not name keeps its default, within a section too. `null` stands for None.
        Raises DataError, which names the file, for a file that is missing or not YAML, and for a key that is unknown, is given
        twice, or has a value that is of another type or out of range.
        """
        return read_yaml(path, cls(), check_ranges)

    def to_yaml(self) -> str:
        """Every setting as YAML, in the order of the fields. Written to a file, `from_yaml` reads it back as equal settings.

        Raises DataError for a value that `from_yaml` would refuse.
        """
        check_ranges(self)
        return yaml_text(self)

    @property
    def episode(self) -> EpisodeSettings:
        """The settings that episodes need: adapted blocks, prompt length and horizon."""
        return EpisodeSettings(self.lora.n_adapted_blocks, self.train.max_slots, self.train.horizon)


def check_ranges(settings: Settings) -> None:
    """Raises DataError, naming the field, for a number that nothing can be trained with.

    No episodes, no inner steps and no steps of a ranker are allowed: each leaves that part as it begins. None is allowed where
    it is the default.
    """
    if settings.user_encoder not in USER_ENCODERS:
        raise DataError(f"Settings.user_encoder is {settings.user_encoder!r}; expected {' or '.join(USER_ENCODERS)}")
    if settings.adapter not in ADAPTER_CHOICES:
        raise DataError(f"Settings.adapter is {settings.adapter!r}; expected {', '.join(ADAPTER_CHOICES[:-1])} or auto")
    if settings.layers is not None:
        check_whole("Settings.layers", settings.layers, 1)
    check_whole("Settings.ranking_tasks", settings.ranking_tasks, 1)
    if settings.leave_last_out is not None:
        check_whole("Settings.leave_last_out", settings.leave_last_out, 0)
    check_number("Settings.meta_fraction", settings.meta_fraction, 0, 1)
    check_number("Settings.blend_fraction", settings.blend_fraction, 0, 1)
    if settings.meta_fraction + settings.blend_fraction >= 1:
        raise DataError(
            f"Settings.meta_fraction is {settings.meta_fraction!r} and blend_fraction {settings.blend_fraction!r}; expected a "
            "sum below 1, since the base is trained on the rest"
        )
    _check_train(settings.train)
    _check_adapting(settings.lora, settings.outer)
    _check_core(settings.core)
    check_feedback(settings.signed)
    flags: tuple[tuple[str, object], ...] = (
        ("OuterSettings.first_order", settings.outer.first_order),
        ("Sources.repeats", settings.sources.repeats),
    )
    for name, flag in flags:
        if not isinstance(flag, bool):
            raise DataError(f"{name} is {flag!r}; expected True or False")
    if not isinstance(settings.cold_items, bool | None):
        raise DataError(f"Settings.cold_items is {settings.cold_items!r}; expected True, False or None")
    for name, ranker in (("counts_ranker", settings.counts_ranker), ("blend", settings.blend)):
        given = vars(ranker)  # of the blend, what is None is chosen from the data
        for count, least in (("hidden", 1), ("max_steps", 0)):
            if given[count] is not None or name != "blend":
                check_whole(f"Settings.{name}.{count}", given[count], least)
        if given["learning_rate"] is not None or name != "blend":
            check_number(f"Settings.{name}.learning_rate", given["learning_rate"], 0, above=True)
        check_whole(f"Settings.{name}.batch_size", ranker.batch_size, 1)
        check_number(f"Settings.{name}.weight_decay", ranker.weight_decay, 0)
    check_whole("Sources.text_k", settings.sources.text_k, 0)
    check_whole("Sources.knn_k", settings.sources.knn_k, 0)
    check_whole("Sources.popular_k", settings.sources.popular_k, 0)
    check_whole("IndexSettings.exact_below", settings.index.exact_below, 0)
    check_number("IndexSettings.recall", settings.index.recall, 0, most=1, above=True)
    if settings.index.probes is not None:
        check_whole("IndexSettings.probes", settings.index.probes, 1)
    if settings.index.lists is not None:
        check_whole("IndexSettings.lists", settings.index.lists, 1)


def _check_train(train: TrainSettings) -> None:
    for name, least in (("max_steps", 1), ("batch_size", 1), ("horizon", 1), ("max_slots", 1)):
        if (value := getattr(train, name)) is not None or name == "batch_size":
            check_whole(f"TrainSettings.{name}", value, least)
    if train.learning_rate is not None:
        check_number("TrainSettings.learning_rate", train.learning_rate, 0, above=True)
    check_number("TrainSettings.epochs", train.epochs, 0, above=True)
    check_number("TrainSettings.bias_learning_rate", train.bias_learning_rate, 0)
    check_number("TrainSettings.text_only_rate", train.text_only_rate, 0, most=1)
    check_number("TrainSettings.from_start", train.from_start, 0, most=1)
    for name in ("dropout", "ema_decay"):
        if (value := getattr(train, name)) is not None:
            check_number(f"TrainSettings.{name}", value, 0, 1)
    known: object = train.known  # a table of settings may hold anything
    if known is None:
        return
    if not (isinstance(known, (tuple, list)) and len(known) == 2):
        raise DataError(f"TrainSettings.known is {known!r}; expected the shortest and the longest support, such as (1, 8)")
    check_whole("TrainSettings.known[0]", train.known[0], 1)
    check_whole("TrainSettings.known[1]", train.known[1], train.known[0])


def _check_adapting(lora: LoraSettings, outer: OuterSettings) -> None:
    check_whole("LoraSettings.r", lora.r, 1)
    check_whole("LoraSettings.n_adapted_blocks", lora.n_adapted_blocks, 1)
    check_whole("LoraSettings.inner_steps", lora.inner_steps, 0)
    check_whole("LoraSettings.meta_batch_size", lora.meta_batch_size, 1)
    check_number("LoraSettings.lora_alpha", lora.lora_alpha, 0, above=True)
    check_number("LoraSettings.inner_lr", lora.inner_lr, 0, above=True)
    check_number("LoraSettings.proximal", lora.proximal, 0)
    check_number("LoraSettings.b_std", lora.b_std, 0)
    check_whole("OuterSettings.episodes", outer.episodes, 0)
    check_number("OuterSettings.learning_rate", outer.learning_rate, 0)
    check_number("OuterSettings.inner_lr_learning_rate", outer.inner_lr_learning_rate, 0)
    check_number("OuterSettings.anneal", outer.anneal, 0)


def _check_core(core: CoreSettings) -> None:
    check_whole("CoreSettings.size", core.size, 1)
    check_whole("CoreSettings.steps", core.steps, 0)
    check_whole("CoreSettings.episodes", core.episodes, 0)
    check_whole("CoreSettings.meta_batch_size", core.meta_batch_size, 1)
    check_number("CoreSettings.spread", core.spread, 0, above=True)
    check_number("CoreSettings.learning_rate", core.learning_rate, 0)
