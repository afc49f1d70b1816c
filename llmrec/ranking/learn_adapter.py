"""An adapter of a language model's ranker learned from choices: what users took, among items drawn by popularity."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.linear_head import linear_head
from llmrec.adapters.soft_prompt import soft_prompt
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.index.drawn import drawn_candidates
from llmrec.meta.learn_choices import JointSettings, fit_adapter, step_tokens
from llmrec.meta.title_choices import TitleChoices, calibrated
from llmrec.pretraining.processes import Processes
from llmrec.progress import Stages
from llmrec.ranking.adapter_plan import AdapterPlan
from llmrec.ranking.llm_ranker import LLMRanker

CALIBRATED = 64  # choices by which the temperature of the loss is set
WORDS = " Items that shoppers of one shop took"  # that a soft prompt begins as
SCALE = 2.0  # of LoRA


@dataclass(frozen=True)
class Adapted:
    """ranker: under the adapter that was learned. temperature: of the loss. losses: of every step. tokens: read by
    all processes in the steps that this run took; one that goes on counts its own. seconds: of these steps and of their
    checkpoints."""

    ranker: LLMRanker
    temperature: float
    losses: list[float]
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float | None:
        """None where every step was found done."""
        return self.tokens / self.seconds if self.tokens else None


def learn_adapter(
    ranker: LLMRanker,
    tasks: Tasks,
    popularity: np.ndarray,
    plan: AdapterPlan,
    seed: int,
    stages: Stages,
    folder: Path | None = None,
    processes: Processes = Processes(),  # noqa: B008  (frozen)
) -> Adapted:
    """Learn from one choice of each task, by all processes together.

    popularity: float (N,), in proportion to which the other items are drawn. Tasks of users who had nearly everything are left
    out, and where nobody has `plan.negatives` other items fewer are drawn. folder: of checkpoints, from which a killed run is
    resumed. Raises DataError where there is nothing to choose from, AdapterError for a plan that does not fit the model,
    ArtefactError for checkpoints of another run.
    """
    rng = np.random.default_rng(seed)
    tasks, negatives = with_others(tasks, popularity, plan.negatives)
    found = drawn_candidates(tasks, popularity, negatives, rng)
    with stages("choices", f"{len(tasks):,} users") as say:
        choices = replace(ranker, plan=None).choices(tasks, found)
        say(f"{len(choices):,} choices, {int(choices.tokens.sum()):,} tokens")
    if not len(choices):
        raise DataError(
            "AdapterPlan: expected users who took an item with a sample weight above 0, got "
            f"{len(tasks):,} who took none; leave the plan out"
        )
    return learn_from_choices(ranker, choices, plan, seed, stages, folder, processes)


def learn_from_choices(
    ranker: LLMRanker,
    choices: TitleChoices,
    plan: AdapterPlan,
    seed: int,
    stages: Stages,
    folder: Path | None = None,
    processes: Processes = Processes(),  # noqa: B008  (frozen)
) -> Adapted:
    """`learn_adapter` from choices that are there already, at least one."""
    model = ranker.language_model
    generator = torch.Generator().manual_seed(seed)
    lora = start_lora(model, plan.r, SCALE, plan.n_blocks, generator) if plan.lora else None
    prompt = soft_prompt(model, WORDS, plan.n_tokens) if plan.n_tokens else None
    start = LanguageAdapter(lora, prompt, linear_head(model) if plan.head else None)
    some = np.arange(min(len(choices), CALIBRATED))
    with stages("temperature", f"{len(some)} choices") as say:
        choices = calibrated(model, choices, start, some)
        say(f"{choices.temperature:.2f} nats")
    settings = JointSettings(plan.max_steps, plan.batch_size, plan.learning_rate)
    with stages("adapter", str(plan)) as say:
        began = time.perf_counter()
        learned = fit_adapter(model, choices, start, settings, seed, folder, processes)
        seconds = time.perf_counter() - began
        losses = [loss for (loss,) in learned.losses]
        first, last = (float(np.mean(part)) for part in (losses[:10], losses[-10:]))
        tokens = sum(step_tokens(choices, settings, seed)[learned.resumed :])
        trained = ranker.with_adapter(learned.init.adapter)
        adapted = Adapted(trained, choices.temperature, losses, tokens, seconds)
        rate = "all found done" if adapted.tokens_per_second is None else f"{adapted.tokens_per_second:,.0f} tokens a second"
        say(f"{plan}, {len(losses)} steps, {rate}, loss {first:.3f} -> {last:.3f}")
    return adapted


def with_others(tasks: Tasks, popularity: np.ndarray, negatives: int) -> tuple[Tasks, int]:
    """The tasks whose users have `negatives` popular items left to draw, or as many as anybody has, and that number.

    Raises DataError where nobody has any.
    """
    own = [np.unique(tasks.dataset.item[first:last]) for first, last in zip(tasks.start, tasks.stop, strict=True)]
    there = int(np.count_nonzero(popularity))
    left = np.array([there - int(np.count_nonzero(popularity[items])) for items in own], np.int64)
    most = min(negatives, int(left.max(initial=0)))
    if not most:
        raise DataError(
            f"AdapterPlan: expected users who have not had every item, got {len(tasks):,} with no other item to choose; leave "
            "the plan out"
        )
    return tasks.take(np.flatnonzero(left >= most)), most
