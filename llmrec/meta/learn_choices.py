"""A language model's adapter learned from choices: jointly from all of them, or meta-learned over scenes.

Both are the one outer loop (`resumable.meta_learn`). Joint training is meta-learning without an inner step: what the outer loop
learns is the adapter itself, by Adam with a rate that falls to zero (AdamW's decay would pull LoRA towards the base, which it
begins at). So both resume to the bit, and run in several processes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.encoder.train import Shard
from llmrec.errors import DataError
from llmrec.language.model import LanguageModel
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.meta.outer import Episode, OuterSettings
from llmrec.meta.resumable import EpisodeAt, Learned, meta_learn
from llmrec.meta.title_choices import TitleChoices, choice_loss, joined
from llmrec.pretraining.checkpoint import digest
from llmrec.pretraining.processes import Processes
from llmrec.progress import bar


@dataclass(frozen=True)
class JointSettings:
    """max_steps, batch_size: optimiser steps, and choices in each over all processes. learning_rate: of Adam, at the start."""

    max_steps: int = 200
    batch_size: int = 8
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class SceneDraw:
    """An episode: the number of scenes, and for each the numbers of support and query choices.

    in_order: the choices used for adapting come before the others. Use it where a scene is a user whose choices are in order of
        time: a later choice has in its history what an earlier one took.
    """

    scenes: int = 4
    support: int = 16
    query: int = 8
    in_order: bool = False


def fit_adapter(
    language_model: LanguageModel,
    choices: TitleChoices,
    start: LanguageAdapter,
    settings: JointSettings,
    seed: int,
    folder: Path | None = None,
    processes: Processes = Processes(),  # noqa: B008  (frozen)
    save_every: int = 20,
) -> Learned[LanguageAdapter]:
    """One adapter for everybody, learned from choices of all owners; a bar shows tokens per second.

    start: U = 1. folder: of checkpoints, from which training resumes. Raises DataError for a batch of fewer choices than
    processes, and as `meta_learn`.
    """
    n_blocks, world = start.n_blocks(language_model), processes.share.world
    if not world <= settings.batch_size or not len(choices):
        raise DataError(
            f"JointSettings.batch_size, choices: expected {world} or more of either, got {settings.batch_size} and "
            f"{len(choices)}; give each process at least one"
        )

    def episode_at(number: int, shard: Shard) -> tuple[Episode[LanguageAdapter], float]:
        index = _drawn(len(choices), settings.batch_size, seed, number)
        mine = index[shard.rank :: shard.world]
        loss = choice_loss(language_model, choices.take(mine), n_blocks)
        return Episode(1, lambda value: (torch.zeros(1), loss(value))), len(mine) / len(index)

    counts = step_tokens(choices, settings, seed)
    outer = OuterSettings(settings.max_steps, settings.learning_rate, inner_lr_learning_rate=0.0, anneal=0.0)
    init = initialisation(start, 0, 1.0).to(str(language_model.device))
    run = _run(language_model, [choices], start, seed) | {"batch_size": settings.batch_size}
    return _learned(init, episode_at, outer, run, folder, processes, save_every, counts)


def step_tokens(choices: TitleChoices, settings: JointSettings, seed: int) -> list[int]:
    """Tokens that all processes of `fit_adapter` read in each of its steps."""
    tokens, size = choices.tokens, settings.batch_size
    return [int(tokens[_drawn(len(choices), size, seed, number)].sum()) for number in range(settings.max_steps)]


def _drawn(choices: int, size: int, seed: int, number: int) -> np.ndarray:
    """int64 (size,): the choices of a step; each comes once before any comes again."""
    place = np.arange(number * size, (number + 1) * size)
    turn = place // choices
    orders = {one: np.random.default_rng((seed, int(one))).permutation(choices) for one in np.unique(turn)}
    return np.array([orders[one][at % choices] for one, at in zip(turn, place, strict=True)])


def meta_fit_adapter(
    language_model: LanguageModel,
    scenes: Sequence[TitleChoices],
    init: Initialisation[LanguageAdapter],
    draw: SceneDraw,
    settings: OuterSettings,
    seed: int,
    folder: Path | None = None,
    processes: Processes = Processes(),  # noqa: B008  (frozen)
    save_every: int = 20,
) -> Learned[LanguageAdapter]:
    """The initialisation and the rates of adapting to a scene, learned from scenes: sub-catalogues, shops, or users.

    scenes: the choices of each. Raises DataError if too few scenes for an episode have enough choices, and for second
    derivatives, which are not supported; as `meta_learn` too.
    """
    if not settings.first_order:
        raise DataError(
            "OuterSettings.first_order: expected True for a language model, got False; second derivatives are not supported"
        )
    need, world = draw.support + draw.query, processes.share.world
    rich = [choices for choices in scenes if len(choices) >= need]
    if len(rich) < draw.scenes or draw.scenes < world:
        raise DataError(
            f"SceneDraw.scenes: expected {world} to {len(rich)}, the scenes with {need} choices, got {draw.scenes}; draw "
            "fewer, or make larger scenes"
        )
    n_blocks, tokens = init.adapter.n_blocks(language_model), [choices.tokens for choices in rich]

    def drawn(number: int) -> list[tuple[int, np.ndarray]]:
        rng = np.random.default_rng((seed, number))
        some = rng.permutation(len(rich))[: draw.scenes].tolist()
        each = [(one, rng.choice(len(rich[one]), need, replace=False)) for one in some]
        return [(one, np.sort(index)) for one, index in each] if draw.in_order else each

    def episode_at(number: int, shard: Shard) -> tuple[Episode[LanguageAdapter], float]:
        mine = drawn(number)[shard.rank :: shard.world]
        parts = [rich[one].take(index).owned(np.full(need, place)) for place, (one, index) in enumerate(mine)]
        support = joined([part.take(np.arange(draw.support)) for part in parts])
        query = joined([part.take(np.arange(draw.support, need)) for part in parts])
        return choice_episode(language_model, support, query, len(mine), n_blocks), len(mine) / draw.scenes

    counts = []  # of the support before each step, of the query at the start and after each
    for number in range(settings.episodes):
        read = [
            (tokens[one][index[: draw.support]].sum(), tokens[one][index[draw.support :]].sum()) for one, index in drawn(number)
        ]
        counts.append(sum(int(init.steps * support + (init.steps + 1) * query) for support, query in read))
    unnamed = () if draw.in_order else ("in_order",)  # checkpoints of draws without an order do not name it
    how = {name: value for name, value in asdict(draw).items() if name not in unnamed}
    run = _run(language_model, rich, init.adapter, seed) | how
    init = init.to(str(language_model.device))
    return _learned(init, episode_at, settings, run, folder, processes, save_every, counts)


def choice_episode(
    language_model: LanguageModel, support: TitleChoices, query: TitleChoices, scenes: int, n_blocks: int | None
) -> Episode[LanguageAdapter]:
    """An episode of U scenes; the caller must pass different choices as `support` and as `query`."""
    before, after = (choice_loss(language_model, choices, n_blocks) for choices in (support, query))
    return Episode(scenes, lambda value: (before(value), after(value)), (before, after))


def _run(language_model: LanguageModel, scenes: Sequence[TitleChoices], start: LanguageAdapter, seed: int) -> dict[str, object]:
    """What makes a run this run and no other."""
    rows = [row for choices in scenes for row in choices.rows]
    ids = np.array([token for row in rows for part in (row.prefix, *row.segments) for token in (*part, -1)])
    numbers = [part for choices in scenes for part in (*choices.taken, *choices.offset)]
    words = language_model.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    leaves = [leaf.detach().cpu().numpy() for leaf in start.leaves()]
    return {
        "seed": seed,
        "choices": [len(choices) for choices in scenes],
        "temperatures": [choices.temperature for choices in scenes],
        "data": digest(ids, np.concatenate(numbers).astype(np.float32)),
        "weights": digest(words),
        "start": digest(*leaves),
    }


def _learned(
    init: Initialisation[LanguageAdapter],
    episode_at: EpisodeAt[LanguageAdapter],
    settings: OuterSettings,
    run: dict[str, object],
    folder: Path | None,
    processes: Processes,
    save_every: int,
    counts: Sequence[int],
) -> Learned[LanguageAdapter]:
    done = np.concatenate([[0], np.cumsum(counts)])
    told = None if processes.main else io.StringIO()
    with bar(desc="choices", total=int(done[-1]), unit="token", stream=told) as drawn:

        def watch(number: int, _: list[float]) -> None:
            if drawn.n == 0:  # what was found done took no time
                drawn.initial = drawn.n = int(done[number])
            drawn.update(int(done[number + 1]) - drawn.n)

        return meta_learn(init, episode_at, settings, run, folder, processes, save_every, watch)
