"""The study of TALLRec's rows: a language model as it is and under LoRA, beside the share of films that a user liked.

Without training rows the model says Yes or No to the template `like`. LoRA learns from choices, for a single label is none:

    within a history   the film of a row, and the latest film of its history with the other label: which one is liked?
    between rows       a liked row and another one, each with its own history: for which one is Yes more likely?

The first compares films for one user, the second also users with each other, as the AUC over all rows does. No temperature is
set: log odds are nats of the loss as they are. Where the model is no better than chance `calibrated` would take the highest
temperature.

Axis convention: `R` rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.language.rows import Row
from llmrec.meta.learn_choices import JointSettings, fit_adapter
from llmrec.meta.title_choices import TitleChoices, scores_of_each
from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.ranking import auc
from llmrec.metrics.report import Result
from llmrec.progress import Stages, bar
from llmrec.ranking.learn_adapter import SCALE
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.store import load_arrays, save_arrays
from studies.ratings.melu import Episode
from studies.signed.protocol import LIKED, pooled_auc
from studies.tallrec.rows import Rows, among, tasks_of, with_other

NAME, DRAWS = "tallrec", 2000
SHARE, WITH_FILM = "own liked share", "own liked share and the film's"
ZERO_SHOT, WITHIN, BETWEEN = "zero-shot", "LoRA within a history", "LoRA between rows"
PRIMARY = f"{BETWEEN}, 256 rows"  # AUC over all rows; declared before any test row was read
SAVE_EVERY, KEPT_TOGETHER = 4, 50  # steps between checkpoints; rows that are read and kept together
FILM_ROWS = 5.0  # rows of the mean that a film's share begins as


@dataclass(frozen=True)
class Plan:
    """sizes: training rows. r, n_blocks: of LoRA. steps, batch_size: optimiser steps, and choices in each."""

    sizes: tuple[int, ...] = (64, 256)
    r: int = 8
    n_blocks: int = 8
    steps: int = 32
    batch_size: int = 8
    learning_rate: float = 1e-3


def choices_of(ranker: LLMRanker, rows: Rows, films: pa.Table, items: np.ndarray | None = None) -> TitleChoices:
    """A choice of each row. items: its candidates, int64 (R, C); None for the film that is asked about alone."""
    tasks = tasks_of(rows, films)
    return ranker.choices(tasks, among(tasks, rows.item[:, None] if items is None else items))


def between(alone: TitleChoices, label: np.ndarray, rng: np.random.Generator) -> TitleChoices:
    """Choices between a liked row and another one, each row in one or more of them.

    alone: choices of one candidate, whose whole prompts become candidates behind the words that all prompts begin with.
    label: bool (R,), both values among them.
    """
    whole = [[*row.prefix, *row.segments[0]] for row in alone.rows]
    shared = _shared(whole)
    good, bad = (rng.permutation(np.flatnonzero(part)) for part in (label, ~label))
    count = max(len(good), len(bad))
    pairs = np.stack([np.resize(good, count), np.resize(bad, count)], 1)
    rows = tuple(Row(whole[0][:shared], [whole[row][shared:] for row in pair]) for pair in pairs.tolist())
    taken, offset = np.array([True, False]), np.zeros(2, np.float32)
    return TitleChoices(rows, (taken,) * count, (offset,) * count, np.arange(count), alone.answers)


def _shared(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with; of each at least one is left."""
    most = min(map(len, texts)) - 1
    return next((place for place in range(most) if len({text[place] for text in texts}) > 1), most)


def learned(
    ranker: LLMRanker, train: Rows, films: pa.Table, plan: Plan, seed: int, stages: Stages, runs: Path
) -> tuple[dict[str, LanguageAdapter], dict[str, list[float]]]:
    """Arm -> adapter, with the model as it is first, and the loss of the first and the last ten steps of each. Checkpoints are
    left in the folder `runs`."""
    model = ranker.language_model
    start = LanguageAdapter(start_lora(model, plan.r, SCALE, plan.n_blocks, torch.Generator().manual_seed(seed)))
    order = np.random.default_rng(seed).permutation(len(train))
    settings = JointSettings(plan.steps, plan.batch_size, plan.learning_rate)
    found, losses = {ZERO_SHOT: start}, {}
    for size in plan.sizes:
        some = train.take(order[:size])
        pairs, items = with_other(some)
        of_rows = between(choices_of(ranker, some, films), some.label, np.random.default_rng(seed))
        for name, choices in ((WITHIN, choices_of(ranker, pairs, films, items)), (BETWEEN, of_rows)):
            arm = f"{name}, {size} rows"
            with stages(arm, f"{len(choices):,} choices, {int(choices.tokens.sum()):,} tokens") as say:
                done = fit_adapter(model, choices, start, settings, seed, runs / arm.replace(" ", "-"), save_every=SAVE_EVERY)
                each = [loss for (loss,) in done.losses]
                losses[arm] = [float(np.mean(part)) for part in (each[:10], each[-10:])]
                say(f"loss {losses[arm][0]:.3f} -> {losses[arm][1]:.3f}")
            found[arm] = done.init.adapter
    return found, losses


def controls(train: Rows, asked: Rows) -> dict[str, np.ndarray]:
    """Name -> float64 (R,): what is said without a language model. The film's share is that of all training rows."""
    mean, known = train.label.mean(), np.unique(train.item)
    of, place = np.searchsorted(known, train.item), np.searchsorted(known, asked.item)
    count, good = (np.bincount(of, weight, len(known) + 1) for weight in (None, train.label))
    share = (good + FILM_ROWS * mean) / (count + FILM_ROWS)
    share = np.where(np.append(known, -1)[place] == asked.item, share[place], mean)
    own = (asked.liked.sum(1) + 1) / (asked.liked.shape[1] + 2)
    return {SHARE: own, WITH_FILM: _log_odds(own) + _log_odds(share)}


def _log_odds(share: np.ndarray) -> np.ndarray:
    return np.log(share) - np.log1p(-share)


def scores(
    ranker: LLMRanker, adapters: Mapping[str, LanguageAdapter], asked: Rows, films: pa.Table, stages: Stages, runs: Path
) -> dict[str, np.ndarray]:
    """Arm -> log odds of Yes for each row, float64 (R,). What was read is kept in the folder `runs`, which is that of these
    adapters and rows."""
    alone, each = choices_of(ranker, asked, films), []
    with stages("rows", f"{len(alone):,}, {int(alone.tokens.sum()):,} tokens under {len(adapters)} adapters"):
        for first in bar(range(0, len(alone), KEPT_TOGETHER), desc="rows", unit="part"):
            path = runs / f"rows-{first}.safetensors"
            if not path.exists():
                some = alone.take(np.arange(first, min(first + KEPT_TOGETHER, len(alone))))
                found = scores_of_each(ranker.language_model, some, list(adapters.values()))
                path.parent.mkdir(parents=True, exist_ok=True)
                save_arrays(path, {"scores": np.stack([np.concatenate(one) for one in found])})
            each.append(load_arrays(path)["scores"])
    return dict(zip(adapters, np.concatenate(each, 1).astype(np.float64), strict=True))


def ours_of(values: Mapping[str, np.ndarray]) -> str:
    """PRIMARY where it was learned, else the last arm of the model."""
    return PRIMARY if PRIMARY in values else list(values)[-1]


def rows_of(values: Mapping[str, np.ndarray], asked: Rows, setting: str, seed: int) -> list[Result]:
    """Means with intervals over users, of the AUC of all rows and of each user's own; differences of PRIMARY to all others,
    and of every arm of the model to the control and to the model as it is."""
    episodes = [
        Episode(int(user), history, liked, item[None], np.array([LIKED if label else LIKED - 1]))
        for user, history, liked, item, label in zip(*vars(asked).values(), strict=True)
    ]
    tables: dict[str, dict[str, Resampled]] = {
        "auc": pooled_auc({name: list(each[:, None]) for name, each in values.items()}, episodes, DRAWS, 0),
        "user auc": resampled({name: _by_user(each, asked) for name, each in values.items()}, np.random.default_rng(0), DRAWS),
    }
    ours = ours_of(values)
    pairs = [(ours, other) for other in values if other != ours]
    arms = [name for name in values if name not in (SHARE, WITH_FILM, ours)]
    pairs += [(name, other) for name in arms for other in (SHARE, ZERO_SHOT) if name != other]
    found = []
    for metric, means in tables.items():
        for name, versus in [*((name, "") for name in means), *pairs]:
            mean = means[name].minus(means[versus]) if versus else means[name]
            at = mean.interval()
            role = "control" if name in (SHARE, WITH_FILM) else "ours"
            own = None if name in (SHARE, WITH_FILM, ZERO_SHOT) else seed
            found.append(Result(NAME, name, role, setting, metric, at.value, at.low, at.high, versus, at.n, own, None))
    return found


def _by_user(values: np.ndarray, asked: Rows) -> np.ndarray:
    """float64 (T,): each user's own AUC, NaN where all labels are the same."""
    found = []
    for user in np.unique(asked.user):
        mine = asked.user == user
        found.append(float(auc(values[mine][None], [np.flatnonzero(asked.label[mine])])[0]))
    return np.array(found)


def extra(plan: Plan, losses: Mapping[str, list[float]], setting: str, seed: int, ours: str) -> dict:
    """What stands beside the rows of the report."""
    return {
        "benchmark": NAME,
        "primary": {"setting": setting, "metric": "auc"},
        "ours": ours,
        "seeds": [seed],
        "aims": [],
        "exploratory": [setting],
        "plan": asdict(plan),
        "losses": dict(losses),
    }
