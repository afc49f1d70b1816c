"""The whole catalogue of a new category: text retrieves 100 items, and a language model, text and `Scenes` order them.

The order is by a sum of standardised scores, whose weights are learned on validation users by a softmax. Where what a user took
is not among the 100, the orders of those 100 all count 0, and the language model does not read them.

Axis convention: `T` users who choose, `N` items, `C` candidates of all users as a flat list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.controls import DECAYS, FrozenText
from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.data.tasks import Tasks, last_baskets
from llmrec.index.candidates import Candidates
from llmrec.meta.title_choices import TitleChoices, scores_of_each
from llmrec.metrics.bootstrap import Interval, resampled
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.report import Result
from llmrec.models.text_match import fit_bm25
from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import standardised
from llmrec.recommender.first_buyers import Choices, softmax_weights
from studies.categories.controls import BM25, FROZEN_TEXT, text_vectors
from studies.categories.opened import SCENES, events_of
from studies.categories.shops import ndcg
from studies.categories.study import METRIC, Shops

DEPTH = 100  # items that text retrieves
CHAIN, WITHOUT = "text, Scenes and language model", "text and Scenes"


@dataclass(frozen=True, eq=False)
class Retrieved:
    """Users whose item was retrieved by text. place: int64 (n,), which of the T users; found: their candidates; beside: name ->
    scores (C,); choices: what the language model reads."""

    place: np.ndarray
    found: Candidates
    beside: Mapping[str, np.ndarray]
    choices: TitleChoices


def measured(
    ranker: LLMRanker,
    shops: Shops,
    values: Mapping[str, LanguageAdapter],
    supports: Mapping[str, np.ndarray],
    users: np.ndarray,
    learners: np.ndarray,
) -> dict[str, np.ndarray]:
    """Method -> NDCG@10 (T,) over the whole catalogue.

    values: adapters by the size of their support, "0" or the number of users; supports: the users of each size but "0".
    users, learners: test users, and validation users by whom the weights are learned.
    """
    new, stages = shops.new, Stages()
    scenes = {"0": shops.opened} | {size: shops.opened.adapt(events_of(new.dataset, some)) for size, some in supports.items()}
    families = [FrozenText(text_vectors(new.dataset.catalogue), decay, last) for last, decay in product((10, 50), DECAYS)]
    with stages("retrieve", f"{DEPTH} of {new.dataset.n_items:,} items by text"):
        known, asked = (last_baskets(new.dataset, some, 1) for some in (learners, users))
        text = max(families, key=lambda one: float(_ndcg(one.scores(known), known).mean()))
        words = fit_bm25(new.dataset, [title or "" for title in new.dataset.catalogue.column("title")])
        tables = {size: shop.scene.scores(asked) for size, shop in scenes.items()}
        result = {FROZEN_TEXT: _ndcg(text.scores(asked), asked), BM25: _ndcg(words.scores(asked), asked)}
        result |= {_name(SCENES, size): _ndcg(table, asked) for size, table in tables.items()}
        learned, here = (
            _retrieved(ranker, tasks, text.scores(tasks), {size: shop.scene.scores(tasks) for size, shop in scenes.items()})
            for tasks in (known, asked)
        )
    with stages("measure", f"{len(here.place):,} of {len(asked):,} users, {len(values)} adapters"):
        model, adapters = ranker.language_model, list(values.values())
        read = [dict(zip(values, scores_of_each(model, one.choices, adapters), strict=True)) for one in (learned, here)]
    for size in values:
        inputs = [_inputs(one, size, np.concatenate(scores[size])) for one, scores in zip((learned, here), read, strict=True)]
        for name, columns in ((CHAIN, [0, 1, 2]), (WITHOUT, [0, 1])):
            weights = _weights(learned, inputs[0][:, columns])
            result[_name(name, size)] = _placed(here, inputs[1][:, columns] @ weights, len(asked))
        result[_name("language model", size)] = _placed(here, inputs[1][:, 2], len(asked))
    return result


def rows_of(name: str, found: Mapping[str, np.ndarray], sizes: Sequence[str], seed: int) -> list[Result]:
    """Means, and what the chain gains over `Scenes` alone, over the chain without the language model and over text."""
    drawn, setting = resampled(found, np.random.default_rng(seed), 2_000), "whole catalogue"

    def row(method: str, at: Interval, versus: str) -> Result:
        role = "ours" if method.startswith(CHAIN) else "control"
        return Result(name, method, role, setting, METRIC, at.value, at.low, at.high, versus, at.n, seed, None)

    made = [row(method, one.interval(), "") for method, one in drawn.items()]
    for size in sizes:
        ours = drawn[_name(CHAIN, size)]
        for other in (_name(SCENES, size), _name(WITHOUT, size), FROZEN_TEXT, BM25):
            made.append(row(_name(CHAIN, size), ours.minus(drawn[other]).interval(), other))
    return made


def _retrieved(ranker: LLMRanker, tasks: Tasks, text: np.ndarray, scenes: Mapping[str, np.ndarray]) -> Retrieved:
    """Of T tasks those whose item is among the DEPTH that text likes best. text, scenes: scores (T, N)."""
    best = np.sort(np.argpartition(-_unseen(text, tasks), DEPTH, axis=1)[:, :DEPTH], axis=1)
    place = np.array([task for task, mine in enumerate(tasks.relevant()) if np.isin(best[task], mine).any()], np.int64)
    item, rows = best[place].ravel().astype(np.int32), np.repeat(place, DEPTH)
    found = Candidates(np.arange(len(place) + 1) * DEPTH, item, np.zeros(len(item), np.uint8))
    beside = {FROZEN_TEXT: text[rows, item]} | {size: table[rows, item] for size, table in scenes.items()}
    return Retrieved(place, found, beside, ranker.choices(tasks.take(place), found))


def _inputs(here: Retrieved, size: str, read: np.ndarray) -> np.ndarray:
    """float64 (C, 3): text, `Scenes` after a support of that size, and the scores `read` (C,) of the language model."""
    return np.stack([standardised(here.found, one) for one in (here.beside[FROZEN_TEXT], here.beside[size], read)], 1)


def _weights(here: Retrieved, given: np.ndarray) -> np.ndarray:
    """float64 (F,), of inputs (C, F)."""
    taken = np.concatenate(here.choices.taken)
    return softmax_weights(Choices(np.zeros(len(taken)), given, here.found.start[:-1], taken), np.zeros(given.shape[1]))


def _placed(here: Retrieved, scores: np.ndarray, users: int) -> np.ndarray:
    """NDCG@10 (T,) of scores (C,); 0 where text retrieved nothing that was taken."""
    value = np.zeros(users)
    value[here.place] = ndcg(np.split(scores, here.found.start[1:-1]), here.choices.taken)
    return value


def _ndcg(scores: np.ndarray, tasks: Tasks) -> np.ndarray:
    """NDCG@10 (T,) of scores (T, N) over the items that the support does not hold."""
    return rank_targets(_unseen(scores, tasks), tasks.relevant()).ndcg(10)


def _unseen(scores: np.ndarray, tasks: Tasks) -> np.ndarray:
    """The same, with what the support holds below all others."""
    found = scores.copy()
    for task in range(len(tasks)):
        found[task, tasks.dataset.item[tasks.support(task)]] = -np.inf
    return found


def _name(method: str, size: str) -> str:
    return method if size == "0" else f"{method}, {size}"
