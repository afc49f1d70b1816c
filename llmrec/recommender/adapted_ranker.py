"""A language model's ranker adapted to a shop in `fit`, by users other than those on whom its weight is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.progress import Stages
from llmrec.ranking.learn_adapter import learn_adapter
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.recommender.pipeline import windows
from llmrec.recommender.reranking import LEAST
from llmrec.recommender.run import LLM, Run
from llmrec.recommender.settings import Settings
from llmrec.recommender.splitting import UserSplit

DRAWN = 4  # windows for each user who is wanted: some users are drawn several times


def adapted_to(
    ranker: LLMRanker, training: Dataset, split: UserSplit, settings: Settings, seed: int, stages: Stages, run: Run
) -> tuple[LLMRanker, np.ndarray]:
    """The ranker under the adapter that its plan asks for, and the users int64 whom it was trained on.

    They are users of base training; where a shop is so small that all users are, half of them, or nobody where too few would be
    left for the weight. Each has one choice: an item of the baskets that follow a support, as base training draws them.
    """
    plan = ranker.plan
    assert plan is not None
    rng, users = np.random.default_rng([seed, 3]), split.base
    if split.blend is split.base:
        long = users[training.n_baskets[users] >= settings.train.known[0] + settings.train.horizon]
        users = np.sort(rng.permutation(long)[: max(len(long) - max(LEAST, len(long) // 2), 0)])
    if not len(users):
        stages.say(f"adapter: not trained, because its weight needs {LEAST} users outside its training")
        return replace(ranker, plan=None), users
    tasks = windows(training, users, settings, DRAWN * plan.users, rng)
    _, first = np.unique(tasks.user, return_index=True)
    tasks = tasks.take(np.sort(first)[: plan.users])
    part = training.take(split.base)
    popularity = np.bincount(part.item, part.sample_weight, part.n_items)
    found = learn_adapter(ranker, tasks, popularity, plan, seed, stages, run.part(LLM))
    return found.ranker, np.sort(tasks.user)
