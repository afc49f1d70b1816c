"""Study `cold`: users whose few events are all in the prompt. What the prompt holds, need steps learn it again?

The support asks for each known event from all the others, read in their own order: nearly the question that the query is. The
arms are a core, LoRA, and the continuations of neighbours, which the prompt does not hold. The gate says which of them pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.adapters.lora import Adapter
from llmrec.data.tasks import Tasks
from llmrec.meta.core import Core
from llmrec.meta.inner import Initialisation
from llmrec.metrics.report import Result
from studies.adaptation import arms, cores, loras, neighbours
from studies.adaptation.arms import Effort
from studies.adaptation.bank import Base
from studies.adaptation.cores import Place
from studies.adaptation.counting import ndcg
from studies.adaptation.gating import DEEP, taken_by_gate
from studies.adaptation.regimes import cold_bank
from studies.adaptation.report import Aim

ZERO, CORE, LORA, GATED = "zero steps", "core, closed form", "LoRA", "llmrec, gated"
SWAPPED = "core, another's support"
OURS = (CORE, LORA, GATED, *(f"neighbours, share {share:g}" for share in neighbours.SHARES))
QUESTIONS = 10  # of a support


@dataclass(frozen=True)
class Team:
    """The arms of one seed, learned. lora: None where it was left out."""

    core: Core
    lora: Initialisation[Adapter] | None
    moments: neighbours.Moments
    seconds: dict[str, float]


def learn(
    base: Base,
    features: np.ndarray,
    practice: Sequence[Tasks],
    moments: Tasks,
    new_only: bool,
    effort: Effort,
    rng: np.random.Generator,
    seed: int,
) -> Team:
    """practice: tasks of users whom the base has not met, a lot a size of support. moments: of users whom it has met."""
    places = [Place(cold_bank(base, tasks, new_only, QUESTIONS, rng)) for tasks in practice]
    core, of_core = arms.timed(lambda: arms.closed_form(features, places, effort, rng))
    near = neighbours.moments(base, moments)
    if not effort.lora:
        return Team(core, None, near, {CORE: of_core})
    lora, of_lora = arms.timed(lambda: arms.lora(base, places, effort, rng, seed))
    return Team(core, lora, near, {CORE: of_core, LORA: of_lora})


def measured(
    base: Base, team: Team, chosen: Tasks, asked: Tasks, new_only: bool, effort: Effort, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], str]:
    """Method -> NDCG@10 (T,) of the users asked, and what the gate took. It learns from `chosen`."""
    places = [Place(cold_bank(base, tasks, new_only, QUESTIONS, rng)) for tasks in (chosen, asked)]
    worth, values = (_ways(base, team, place, effort, depth) for place, depth in zip(places, (DEEP, 10), strict=True))
    other = Place(places[1].bank.swapped(), places[1].events)
    values[SWAPPED] = ndcg(cores.adapted(team.core, other, effort.newton), other.bank.query.target)
    ways = list(worth)
    size = int(np.median(asked.split - asked.start))
    taken = ways[taken_by_gate(np.stack([worth[name] for name in ways], 1), size, rng)]
    return values | {GATED: values[taken]}, taken


def _ways(base: Base, team: Team, place: Place, effort: Effort, depth: int) -> dict[str, np.ndarray]:
    scores = {
        ZERO: arms.zero(place),
        CORE: cores.adapted(team.core, place, effort.newton),
    }
    if team.lora is not None:
        scores[LORA] = loras.adapted(base, team.lora, place.bank, effort.steps)
    for share in neighbours.SHARES:
        scores[f"neighbours, share {share:g}"] = neighbours.mixed(team.moments, place, share)
    return {name: ndcg(found, place.bank.query.target, depth) for name, found in scores.items()}


def aims(found: Sequence[Result]) -> list[Aim]:
    """No loss in any cell that was measured; that two of them gain 3% is for the report to count."""
    cells = dict.fromkeys(row.setting for row in found if row.benchmark.startswith("cold"))
    return [Aim(cell, GATED, ZERO, 1.0) for cell in cells]
