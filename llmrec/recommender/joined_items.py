"""Cold items join a ranking that was learned without them, by their words and their first buyers.

The score of every other item stays as it is: neither its inputs nor their weights change, and what is computed for the same
candidates is the same to the bit. Items that are no candidates stand behind all that are, so their scores move with these. How
high cold items stand among them is learned by a softmax over all candidates, from users whom the base was not trained on, with
the newest items as cold items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.splits import by_time, cold_items
from llmrec.errors import DataError
from llmrec.progress import Stages
from llmrec.ranking.statistics import Texts, text_neighbours, with_vectors
from llmrec.ranking.two_stage import Rankers, Retrieval
from llmrec.recommender.adapting import Adapting
from llmrec.recommender.cold_items import KNOWN, Newest, newest_as_cold, newest_items
from llmrec.recommender.first_buyers import LEAST_FOR_CONSTANT, learn_first_buyers
from llmrec.recommender.settings import Settings
from llmrec.recommender.splitting import UserSplit

LEAST_SHARE = 0.01  # of the newest events that must be with items that are as new
STREAM = 2  # of the random numbers, which are its own, so that all else is as without cold items
MOST_COMPARED = 1 << 30  # pairs of a cold and a warm item whose texts are compared, about a minute; beyond, none are


@dataclass(frozen=True)
class Joined:
    """pair: rankers of all items, and of those that the history does not hold. texts: those of the fit, with the features that
    `text_neighbours` compares. newest: the items that were learned from as cold items."""

    pair: tuple[Rankers, Rankers]
    texts: Texts
    newest: Newest

    def neighbours(self, dataset: Dataset) -> sparse.csr_array:
        """`ItemStatistics.text_knn` over all users of `dataset`."""
        return neighbours_within(dataset, np.arange(dataset.n_users), self.texts.features)


def neighbours_within(dataset: Dataset, users: np.ndarray, features: np.ndarray) -> sparse.csr_array:
    """`text_neighbours`; empty for more than MOST_COMPARED pairs: then first buyers alone make a cold item a candidate."""
    warm = len(np.unique(dataset.take(users).item))
    few = warm * (dataset.n_items - warm) <= MOST_COMPARED
    return text_neighbours(dataset, users, features if few else features[:, :0])


def new_share(dataset: Dataset) -> float:
    """Share of the newest tenth of the events that are with items first bought in it; 0 where all came at one time."""
    try:
        time = by_time(dataset, KNOWN).time
    except DataError:
        return 0.0
    late, new = dataset.time >= time, cold_items(dataset, time)
    return float(new[dataset.item[late]].mean()) if late.any() else 0.0


def join_cold_items(
    dataset: Dataset,
    split: UserSplit,
    learned: Adapting,
    retrieval: Retrieval,
    texts: Texts,
    pair: tuple[Rankers, Rankers],
    settings: Settings,
    seed: int,
    stages: Stages,
) -> Joined | None:
    """The pair of rankers with weights of first buyers; None if they are not to be learned, or cannot be.

    learned: how histories are read, with the gate. retrieval: with counts over `split.base`. They are not learned if
    `Settings.cold_items` is not None, without users held out of the base, if less than LEAST_SHARE of the newest events have
    new items, if `newest_items` has too few users, or from too few purchases.
    """
    if settings.cold_items is not None or split.blend is split.base or (share := new_share(dataset)) < LEAST_SHARE:
        return None
    others, rng = np.union1d(split.meta, split.blend), np.random.default_rng([seed, STREAM])
    newest = newest_items(dataset, others)
    if newest is None or sum(int(newest.new[items].sum()) for items in newest.later.relevant()) < LEAST_FOR_CONSTANT:
        return None
    with stages("cold items", "join the ranking by words and first buyers") as say:
        whole = with_vectors(texts, learned.base.model.text.cpu().numpy(), rng)
        conditions = newest_as_cold(dataset, split.base, learned, retrieval, newest, texts, settings, rng)
        alike = neighbours_within(newest.without(dataset), split.base, whole.features)
        here = replace(conditions.retrieval, counts=replace(conditions.retrieval.counts, text_knn=alike))
        read = replace(conditions.learned, gate=learned.gate)
        found, told = learn_first_buyers(dataset, others, read, here, pair, settings, rng)
        say(f"{share:.1%} of the newest events are with new items; {told}")
    return None if found[1].cold is None else Joined(found, whole, newest)
