"""LoRA on likes, learned by the outer loop from the queries of training users, and its answers for anybody.

Supports of all sizes are mixed, episode by episode. The algorithm is MAML++'s (arXiv 1810.09502) of `llmrec.meta`: second
derivatives, a learned rate for each layer and step, the query loss of every step at first and of the last one in the end.

Axis convention: `U` users, `n` films of each, `N` films, `C` cut points between C + 1 levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from llmrec.meta.algorithms import maml_pp
from llmrec.meta.inner import Initialisation, adapt
from llmrec.meta.outer import Episode, OuterSettings, meta_train
from studies.signed.lora import LEVELS, LIKES, Taste, episode, fresh, log_odds, support_loss
from studies.signed.lora_tasks import CLOSED, Foretold, Told, side
from studies.signed.protocol import LIKED


@dataclass(frozen=True)
class Plan:
    """start: what the log odds start from. inner, outer: how labels of supports and of queries are read. episodes: outer steps
    of `tasks` users each."""

    start: str = CLOSED
    steps: int = 5
    hidden: int = 32
    rank: int = 4
    rate: float = 0.5
    inner: str = LEVELS
    outer: str = LIKES
    episodes: int = 600
    tasks: int = 64
    learning_rate: float = 1e-2
    anneal: float = 0.3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Group:
    """Users of one size of support and one fold: table (N, F) of what the network is told of films, supports and queries."""

    table: np.ndarray
    known: Foretold
    asked: Foretold


@dataclass(frozen=True, eq=False)
class Learned:
    """told, levels, liked: how users are read who were not trained on; liked is the place of the cut point of a like."""

    plan: Plan
    init: Initialisation[Taste]
    told: Told
    levels: np.ndarray
    liked: int

    def answers(self, known: Foretold, asked: Foretold, steps: int | None = None) -> list[np.ndarray]:
        """Probabilities of a like, (Q,) of each user, after so many steps; None for all that were learned."""
        support, query = (side(self.told.table, one, self.plan.start) for one in (known, asked))
        loss = support_loss(support, self.liked, self.plan.inner)
        taste = adapt(self.init, loss, len(known.item), steps)
        with torch.no_grad():
            likely = torch.sigmoid(log_odds(taste, query)).double().numpy()
        return [row[there] for row, there in zip(likely, asked.there, strict=True)]


def learned(
    plan: Plan, groups: Sequence[Group], told: Told, levels: np.ndarray, watch: Callable[[int, list[float]], None] | None = None
) -> Learned:
    """Network, cut points, start and rates from episodes of training users. told: by whom other users are read later."""
    liked = int(np.searchsorted(levels, LIKED)) - 1
    level = np.concatenate([one.asked.level[one.asked.there] for one in groups])
    share = np.array([(level > place).mean() for place in range(len(levels) - 1)])
    odds = np.log((1 - share) / share)
    cuts = torch.from_numpy(odds - odds[liked]).float()
    first = side(groups[0].table, groups[0].known.take(np.arange(1)), plan.start)
    settings = OuterSettings(plan.episodes, plan.learning_rate, anneal=plan.anneal)
    start = fresh(first.x.shape[-1], cuts, plan.hidden, plan.rank, plan.seed)
    init, settings = maml_pp(start, plan.steps, plan.rate, settings, max_grad_norm=10.0)
    return Learned(plan, meta_train(init, _episodes(plan, groups, liked), settings, watch), told, levels, liked)


def _episodes(plan: Plan, groups: Sequence[Group], liked: int) -> Iterator[Episode[Taste]]:
    """Users of one group after the other, in random order."""
    rng = np.random.default_rng(plan.seed)
    while True:
        batches = []
        for number, group in enumerate(groups):
            order = rng.permutation(len(group.known.item))
            batches += [(number, some) for some in np.split(order, range(plan.tasks, len(order), plan.tasks))]
        for place in rng.permutation(len(batches)):
            number, some = batches[place]
            group = groups[number]
            known, asked = (side(group.table, one.take(some), plan.start) for one in (group.known, group.asked))
            yield episode(known, asked, liked, plan.inner, plan.outer)
