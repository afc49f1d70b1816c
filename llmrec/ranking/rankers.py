"""Rankers: what scores the candidates of a batch of tasks. The fitted ones, and the protocol that any other one follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.encoder.users import Read, Reading
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates
from llmrec.ranking import first_buyers
from llmrec.ranking.features import FEATURES, FOR_BLEND, features, features_for_blend
from llmrec.ranking.first_buyers import ColdWeights
from llmrec.ranking.groups import Groups
from llmrec.ranking.ranker import Ranker, rank
from llmrec.ranking.statistics import ItemStatistics

# inputs of the two fitted rankers: the transformer's score and features; then the inputs of cold items
EVERY_INPUT = ("transformer", *FEATURES, *FOR_BLEND, *first_buyers.INPUTS)


class CandidateRanker(Protocol):
    """Scores the candidates of T tasks; docs/write_your_own_ranker.md shows how to write one."""

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """Scores float32 (C,) of the candidates, in their order; the best item of a task has its highest score.

        tasks: T tasks, of which only the supports may be read. candidates: theirs, `candidates.task[c]` and
        `candidates.item[c]` (internal item index) for each of the C. A score may depend on its own task and item alone: neither
        on the other candidates and their order, nor on the other tasks of the batch.
        """


@dataclass(frozen=True)
class CountsRanker:
    """Ranks by what a dot product does not see: frequency, recency, price and co-purchases.

    weights: over FEATURES. counts: item statistics over training users.
    """

    weights: Ranker
    counts: ItemStatistics

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """See `CandidateRanker`."""
        return rank(self.weights, features(tasks, candidates, self.counts))


@dataclass(frozen=True)
class TransformerRanker:
    """Ranks by the transformer's own score. read: how it reads histories, with adapters or without."""

    read: Read

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """See `CandidateRanker`."""
        return self.read(tasks).scores(candidates.task, candidates.item)


@dataclass(frozen=True)
class BlendRanker:
    """Ranks by both scores, and by what tells how far to trust either.

    weights: over `blend_inputs`. features: names from FEATURES and FOR_BLEND that it reads beside the scores of `counts` and of
    `transformer`. cold: weights of first buyers in the score of a cold item; None where they were not learned.
    """

    weights: Ranker
    counts: CountsRanker
    transformer: CandidateRanker
    features: tuple[str, ...] = ()
    cold: ColdWeights | None = None

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """See `CandidateRanker`."""
        return self.score_of(every_input(self.counts.counts, self.transformer, tasks, candidates))

    def score_of(self, every: np.ndarray) -> np.ndarray:
        """Scores float32 (C,) from `every_input` (C, F)."""
        score = rank(self.weights, blend_of(self.counts.weights, self.features, every))
        return score if self.cold is None else self.cold.score(score, every[:, -len(first_buyers.INPUTS) :])


@dataclass(frozen=True)
class AttributeRanker:
    """Ranks for users without events by their attributes: by the transformer's score, and by what their groups take.

    weights: over `attribute_inputs`.
    """

    weights: Ranker
    groups: Groups
    transformer: CandidateRanker

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        """See `CandidateRanker`; of the tasks only the attributes are read."""
        return rank(self.weights, attribute_inputs(self.groups, self.transformer, tasks, candidates))


def attribute_inputs(groups: Groups, transformer: CandidateRanker, tasks: Tasks, found: Candidates) -> np.ndarray:
    """float32 (C, 5): score by the transformer, and the features of `Groups`."""
    return np.concatenate([transformer.score(tasks, found)[:, None], groups.features(tasks, found)], 1)


def blend_inputs(
    counts: CountsRanker, transformer: CandidateRanker, names: Sequence[str], tasks: Tasks, found: Candidates
) -> np.ndarray:
    """float32 (C, 2 + len(names)): score by counts, score by the transformer, and the features of these names."""
    return blend_of(counts.weights, names, every_input(counts.counts, transformer, tasks, found))


def every_input(counts: ItemStatistics, transformer: CandidateRanker, tasks: Tasks, found: Candidates) -> np.ndarray:
    """float32 (C, 1 + F): all that the rankers read, columns as in EVERY_INPUT."""
    seen = features(tasks, found, counts)
    score = transformer.score(tasks, found)[:, None]
    text = seen[:, FEATURES.index("tfidf")]
    of_buyers = first_buyers.inputs(counts.buyers, counts.popularity, tasks, found, text)
    return np.concatenate([score, seen, features_for_blend(tasks, found, counts), of_buyers], 1)


def blend_of(weights: Ranker, names: Sequence[str], every: np.ndarray) -> np.ndarray:
    """`blend_inputs` from `every_input` (C, 1 + F). weights: of the ranker over counts."""
    first, features_after = every[:, :1], every[:, 1:]
    counted = rank(weights, features_after[:, : len(FEATURES)])[:, None]
    return np.concatenate([counted, first, features_after[:, columns_of(names)]], 1)


def columns_of(names: Sequence[str]) -> list[int]:
    """Where features of those names are, those of FOR_BLEND after all others. Raises DataError for an unknown name."""
    every = FEATURES + FOR_BLEND
    for name in names:
        if name not in every:
            raise DataError(f"Settings.blend_features: expected names out of {', '.join(every)}, got {name!r}")
    return [every.index(name) for name in names]


def already_read(tasks: Tasks, reading: Reading) -> Read:
    """A way to read that gives `reading`, which was made of `tasks`, and reads nothing again.

    It raises DataError when it is asked to read other tasks.
    """

    def read(others: Tasks) -> Reading:
        if others is not tasks:
            raise DataError(
                f"tasks: expected the {len(tasks)} that were read, got {len(others)} other ones; read them with `reader`"
            )
        return reading

    return read


def checked_ranker(ranker: CandidateRanker | None) -> CandidateRanker | None:
    """Raises DataError for what is no object with `score`, such as a class; None passes."""
    if ranker is not None and (isinstance(ranker, type) or not callable(getattr(ranker, "score", None))):
        raise DataError(
            f"ranker is {ranker!r}; expected an object with score(tasks, candidates), see docs/write_your_own_ranker.md"
        )
    return ranker


def checked_scores(ranker: CandidateRanker, tasks: Tasks, candidates: Candidates) -> np.ndarray:
    """`ranker.score` as float32 (C,), not asked where there is no candidate.

    Raises DataError that names the ranker for scores of another shape, that are no numbers, or that are not finite.
    """
    count = len(candidates.item)
    if not count:
        return np.zeros(0, np.float32)
    who, found = f"ranker {type(ranker).__name__}", ranker.score(tasks, _read_only(candidates))
    try:
        scores = np.asarray(found)
    except (TypeError, ValueError, RuntimeError) as error:  # a ragged list, a tensor with gradients
        raise DataError(f"{who}: expected float32 ({count},), got what NumPy cannot read ({error})") from error
    if scores.shape != (count,) or scores.dtype.kind not in "fiu":
        raise DataError(
            f"{who}: expected float32 ({count},), a score for each candidate, got {scores.dtype} {scores.shape}; "
            "return the scores in the order of candidates.item"
        )
    with np.errstate(over="ignore"):  # becomes infinite, and is named below
        scores = scores.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise DataError(
            f"{who}: expected finite scores, got {scores[wrong[0]]} for {len(wrong)} of {count} candidates; "
            "give unknown candidates a low score"
        )
    return scores


def _read_only(candidates: Candidates) -> Candidates:
    parts = [part.view() for part in (candidates.start, candidates.item, candidates.source)]
    for part in parts:
        part.flags.writeable = False
    return Candidates(*parts)
