"""What adapts a language model to a new category: LoRA, a soft prompt, both, or a linear head, after the choices of 64 users.

Each takes STEPS steps, by the rate of RATES with the least loss on the choices of HELD other users. Reported is NDCG@10 at zero
steps and after the steps, on users of neither. A soft prompt begins as words, which are in its zero steps too.

Axis convention: `T` users who choose.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.linear_head import linear_head
from llmrec.adapters.soft_prompt import soft_prompt
from llmrec.language.model import LanguageModel
from llmrec.meta.inner import adapt, initialisation
from llmrec.meta.title_choices import TitleChoices, calibrated, choice_loss, scores_of_each
from llmrec.metrics.bootstrap import resampled
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from llmrec.ranking.learn_adapter import WORDS
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories.shops import AMONG, NEGATIVES, Category, asked, ndcg
from studies.categories.study import METRIC

SUPPORT, HELD, STEPS = 64, 32, 3
TOKENS = 18  # of the soft prompt: about as many numbers as LoRA of rank 1 in the last block of SmolLM2
RATES = (0.1, 0.3, 1.0, 3.0)
ZERO, ZERO_PROMPT, HEAD = "zero steps", "soft prompt, zero steps", "linear head"


@dataclass(frozen=True)
class Cost:
    """Numbers that adapt and their bytes in float32, the rate that was chosen, and seconds of processor time to adapt to the
    choices of all SUPPORT users by it, and to score the candidates of one user."""

    numbers: int
    bytes: int
    rate: float
    adapt_s: float
    score_s: float


def starts(model: LanguageModel, seed: int) -> dict[str, LanguageAdapter]:
    """Where each begins: nothing added, or virtual tokens that are words."""
    one, more = (start_lora(model, r, 2.0, n, torch.Generator().manual_seed(seed)) for r, n in ((1, 1), (8, 8)))
    prompt = soft_prompt(model, WORDS, TOKENS)
    return {
        "LoRA, rank 8, last 8 blocks": LanguageAdapter(more),
        "LoRA, rank 1, last block": LanguageAdapter(one),
        "soft prompt": LanguageAdapter(None, prompt),
        "LoRA, rank 1, and soft prompt": LanguageAdapter(one, prompt),
        HEAD: LanguageAdapter(head=linear_head(model)),
    }


def measured(ranker: LLMRanker, new: Category, users: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Cost]]:
    """Arm -> NDCG@10 (T,) of some users of the new category, and what each arm costs."""
    model, stages, begun = ranker.language_model, Stages(), starts(ranker.language_model, seed)
    some = ranker.choices(*asked(new, new.teaching[: SUPPORT + HELD], NEGATIVES, seed))
    some = calibrated(model, some, begun[HEAD], np.arange(SUPPORT))
    support, held = some.take(np.arange(SUPPORT)), some.take(np.arange(SUPPORT, len(some)))
    with stages("choices", f"{len(users):,} users"):
        ready = ranker.choices(*asked(new, users, AMONG, seed))
    values, costs = {}, {}
    for arm, start in begun.items():
        with stages(arm, f"{start.n_params:,} numbers"):
            values[arm], rate, took = _adapted(model, start, support, held)
        began = time.process_time()
        scores_of_each(model, ready.take(np.arange(len(ready))[:20]), [values[arm]])
        scored = (time.process_time() - began) / min(20, len(ready))
        costs[arm] = Cost(start.n_params, 4 * start.n_params, rate, took, scored)
    arms = {ZERO: begun[HEAD], ZERO_PROMPT: begun["soft prompt"], **values}
    found = {}
    for arm, value in arms.items():  # one by one: only a soft prompt has to be read through all blocks again
        with stages("measure", arm):
            found[arm] = ndcg(scores_of_each(model, ready, [value])[0], ready.taken)
    return found, costs


def _adapted(
    model: LanguageModel, start: LanguageAdapter, support: TitleChoices, held: TitleChoices
) -> tuple[LanguageAdapter, float, float]:
    """The adapter by the best rate, that rate, and seconds of processor time to adapt by it."""
    n_blocks = start.n_blocks(model)
    after = choice_loss(model, held, n_blocks)
    found = []
    for rate in RATES:
        began = time.process_time()
        value = adapt(initialisation(start, STEPS, rate), choice_loss(model, support, n_blocks), 1)
        took = time.process_time() - began
        with torch.no_grad():
            found.append((float(after(value)[0]), rate, took, value))
    _, rate, took, value = min(found, key=lambda one: one[:2])
    return value, rate, took


def rows(found: Mapping[str, np.ndarray], seed: int) -> list[Result]:
    """Means, and paired differences to zero steps, with intervals."""
    drawn, made = resampled(found, np.random.default_rng(seed), 2_000), []
    for arm, one in drawn.items():
        prompted = [ZERO_PROMPT] if "soft prompt" in arm else []
        for versus in ("", ZERO, *prompted):
            value = one.minus(drawn[versus]) if versus else one
            if versus != arm:
                at = value.interval()
                role = "control" if arm in (ZERO, ZERO_PROMPT) else "ours"
                made.append(Result("parts", arm, role, "test", METRIC, at.value, at.low, at.high, versus, at.n, seed, None))
    return made
