"""A language model's ranker adapted to a shop in `fit`, by users other than those on whom its weight is learned."""

from __future__ import annotations

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.progress import Stages
from llmrec.ranking.learn_adapter import learn_adapter
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.recommender.pipeline import windows
from llmrec.recommender.run import LLM, Run
from llmrec.recommender.settings import Settings
from llmrec.recommender.splitting import UserSplit


def adapted_to(
    ranker: LLMRanker, training: Dataset, split: UserSplit, settings: Settings, seed: int, stages: Stages, run: Run
) -> tuple[LLMRanker, np.ndarray]:
    """The ranker under the adapter that its plan asks for, and the users int64 who taught it.

    They are users of base training; where a shop is so small that all users are, half of them. Each teaches by one item of the
    baskets that follow a support, as base training draws them.
    """
    plan = ranker.plan
    assert plan is not None
    rng = np.random.default_rng([seed, 3])
    users = split.base
    if split.blend is split.base:
        users = rng.permutation(users)[: len(users) // 2]
    tasks = windows(training, users, settings, plan.users, rng)
    part = training.take(split.base)
    popularity = np.bincount(part.item, part.sample_weight, part.n_items)
    found = learn_adapter(ranker, tasks, popularity, plan, seed, stages, run.part(LLM))
    return found.ranker, np.unique(tasks.user)
