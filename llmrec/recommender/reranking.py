"""The weight of a ranker of one's own, such as a language model, beside the chain: learned on users held out of training.

The weight is one of SHARES, in units of how much the chain's scores differ among the first candidates, or 0. Of those it is the
one with the highest NDCG@10 among those whose gain over 0, paired over users, is beyond what chance makes of the best of all
(`fit_gate`); where there is none it is 0, and the ranker is left out of answers.

The blend was learned on windows of the same users, so the chain looks a little better here than it is, and the weight comes out
too small rather than too large.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.encoder.users import Read, batches
from llmrec.index.candidates import Candidates
from llmrec.meta.fit_gate import fit_gate
from llmrec.meta.gate import Bin, Choice
from llmrec.progress import Stages, bar
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.rankers import CandidateRanker, checked_scores
from llmrec.ranking.reranker import TOP, Reranker, first_candidates, moved, standardised
from llmrec.ranking.two_stage import Over, Rankers, Retrieval, ranked_candidates

ASKED = 300  # histories that the ranker is asked about, at most, for each kind of answers: with items of the history, without
WINDOWS = 4  # histories of one user, at most, which count as one
LEAST = 20  # users; with fewer nothing is learned
SHARES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
DEPTH = 10  # of NDCG
AT_ONCE = 8  # histories in one call of the ranker


@dataclass(frozen=True)
class Learned:
    """What came of one search. weight: 0 where the ranker is left out. found: gain in NDCG@10 and its bounds; None where too
    few users could be asked about. asked: histories that the ranker was asked about. users: whose gain was averaged. items:
    that were scored. tokens: of titles that it read; 0 for another ranker than a language model."""

    weight: float
    found: Bin | None
    asked: int
    users: int
    items: int
    tokens: int

    def __str__(self) -> str:
        if self.found is None:
            return f"left out: the order matters to {self.users} users, {LEAST} are needed"
        one = self.found
        figures = f"NDCG@{DEPTH} {one.gain:+.4f} [{one.low:+.4f}, {one.high:+.4f}] over {self.users:,} users"
        if not self.weight:
            return f"left out, no weight helps beyond noise (best {figures})"
        return f"weight {self.weight:.3g}, {figures}"


Scored = Callable[[Tasks], tuple[Candidates, np.ndarray]]
"""A batch of tasks -> their candidates, and the scores float32 (C,) that answers order these by without the ranker."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Histories to ask a ranker about, out of T that were looked at, which all have a right item.

    users: T ids, whose they are. kept: int64, which of the T are to be asked about: where there is no right item among the
    first candidates, or no wrong one, no order of these is worth more than another, and the gain is 0. tasks, relevant: those
    that are kept, and the right items of each. found, value: their candidates, and the scores float32 (C,) of these.
    """

    users: Sequence[Any]
    kept: np.ndarray
    tasks: Tasks
    relevant: Sequence[np.ndarray]
    found: Candidates
    value: np.ndarray


def learn_reranker(
    ranker: CandidateRanker,
    tasks: Tasks,
    read: Read,
    retrieval: Retrieval,
    rankers: tuple[Rankers, Rankers],
    both: bool,
    seed: int,
    stages: Stages,
) -> Reranker | None:
    """The reranker with its weights, from tasks of users whom the base was not trained on; None where the ranker is left out
    of all answers.

    rankers: of answers with the items of the history, and without. both: whether these have weights of their own; otherwise
    one serves for both.
    """
    users, kinds = len(np.unique(tasks.user)), (True, False) if both else (False,)
    with stages("reranker", telling(ranker, len(kinds), f"{users:,} users")) as say:
        began, learned = time.perf_counter(), {}
        for repeats in kinds:
            asked = replace(retrieval, sources=replace(retrieval.sources, repeats=repeats))
            over = rankers[not repeats].over

            def scored(part: Tasks, asked: Retrieval = asked, over: Over = over) -> tuple[Candidates, np.ndarray]:
                return ranked_candidates(read, asked, over, part)[1:]

            mine = _windows(tasks, repeats)
            part = to_ask(mine, mine.relevant(new_only=not repeats), scored, ASKED)
            learned["all items" if repeats else "new items"] = weigh(lambda _: ranker, [part], seed)
        say(told(ranker, learned, time.perf_counter() - began))
    weights = [one.weight for one in learned.values()]
    first, last = weights[0], weights[-1]
    return Reranker(ranker, first, last) if first or last else None


def choose_weight(weights: Sequence[float], worth: np.ndarray, seed: int) -> tuple[float, Bin]:
    """The weight that helps most beyond noise, 0 where none does, and what was measured of it.

    weights: W, without 0. worth: float64 (U, 1 + W), of each user by weight 0 and by each of the others.
    """
    choices = [Choice(steps) for steps in range(1 + len(weights))]
    ones, rng = np.ones(len(worth), np.int64), np.random.default_rng([seed, 2])
    found = fit_gate(choices, ones, worth, [1], rng, least=LEAST, monotone=False).bins[0]
    return (0.0, *weights)[found.chosen], found


def ndcg(found: Candidates, value: np.ndarray, relevant: Sequence[np.ndarray]) -> np.ndarray:
    """float64 (T,): NDCG@10 of candidates by their scores `value` (C,). relevant: T arrays of items, none of them empty, which
    need not be candidates."""
    order = np.lexsort((found.item, -value, found.task))
    task = found.task[order]
    rank = np.arange(len(order)) - found.start[task]
    discount = 1 / np.log2(np.arange(DEPTH) + 2)
    gain = np.where(rank < DEPTH, discount[np.minimum(rank, DEPTH - 1)], 0.0) * _right(found, relevant)[order]
    most = np.cumsum(discount)[[min(len(one), DEPTH) - 1 for one in relevant]]
    return np.bincount(task, gain, len(found)) / most


def _windows(tasks: Tasks, repeats: bool) -> Tasks:
    """Tasks with a right item, WINDOWS of each user at most: the first one of every user, then the second ones, and so on."""
    tasks = tasks.take(np.flatnonzero([len(wanted) > 0 for wanted in tasks.relevant(new_only=not repeats)]))
    order = np.argsort(tasks.user, kind="stable")
    first = np.searchsorted(tasks.user[order], tasks.user[order])
    turn = np.empty(len(tasks), np.int64)
    turn[order] = np.arange(len(tasks)) - first
    return tasks.take(np.argsort(turn, kind="stable")[: np.count_nonzero(turn < WINDOWS)])


def to_ask(tasks: Tasks, relevant: Sequence[np.ndarray], scored: Scored, most: int) -> Asked:
    """The first `most` of the tasks for which the order of their first candidates matters, see `Asked`. relevant: the right
    items of every task, at least one."""
    looked, begin = 0, 0
    kept: list[int] = []
    parts, values = [], [np.zeros(0, np.float32)]
    for part in batches(tasks):
        found, value = scored(part)
        top = first_candidates(found, value, TOP)[1]
        right = np.bincount(top.task, _right(top, relevant[begin : begin + len(part)]), len(top))
        matters = np.flatnonzero((right > 0) & (right < np.diff(top.start)))[: most - len(kept)]
        kept += (begin + matters).tolist()
        rows = np.isin(found.task, matters)
        start = np.concatenate([[0], np.cumsum(np.diff(found.start)[matters])])
        parts.append(Candidates(start, found.item[rows], found.source[rows]))
        values.append(value[rows])
        begin += len(part)
        looked = kept[-1] + 1 if len(kept) == most else begin
        if len(kept) == most:
            break
    place, ids = np.array(kept, np.int64), tasks.dataset.users
    users = [ids[user] for user in tasks.user[:looked].tolist()]
    return Asked(users, place, tasks.take(place), [relevant[at] for at in kept], _joined(parts), np.concatenate(values))


def weigh(ranker_of: Callable[[int], CandidateRanker], parts: Sequence[Asked], seed: int) -> Learned:
    """The weight for one kind of answers, from histories over one catalogue or several. Histories of one id count as one user,
    also in several parts. ranker_of: the one that is asked about a part, by its place among them; it is kept no longer."""
    asked = sum(len(part.kept) for part in parts)
    known = {part.users[at] for part in parts for at in part.kept.tolist()}
    if len(known) < LEAST:
        return Learned(0.0, None, asked, len(known), 0, 0)
    tops = [first_candidates(part.found, part.value, TOP) for part in parts]
    spreads = [
        part.value[place[start:stop]].std()
        for part, (place, first) in zip(parts, tops, strict=True)
        for start, stop in pairwise(first.start)
    ]
    spread = float(np.mean(spreads))
    weights = [share * spread if spread else share for share in SHARES]
    who: dict[Any, int] = {}
    of = np.array([who.setdefault(user, len(who)) for part in parts for user in part.users], np.int64)
    found, tokens = [], 0
    with bar(total=asked, unit=" lists") as drawn:
        for place, (part, top) in enumerate(zip(parts, tops, strict=True)):
            ranker = ranker_of(place)
            found.append(_worth(ranker, part, *top, weights, drawn.update))
            tokens += _tokens(ranker, part.tasks, top[1])
    worth = np.concatenate(found)
    total = np.zeros((len(who), worth.shape[1]))
    np.add.at(total, of, worth)
    weight, about = choose_weight(weights, total / np.bincount(of)[:, None], seed)
    return Learned(weight, about, asked, len(who), sum(len(first.item) for _, first in tops), tokens)


def _worth(
    ranker: CandidateRanker,
    part: Asked,
    place: np.ndarray,
    first: Candidates,
    weights: Sequence[float],
    asked: Callable[[int], Any],
) -> np.ndarray:
    """float64 (T, 1 + W): NDCG@10 of every history of a part, less what is the same by all weights, with weight 0 and with each
    of W. asked: is told how many lists were scored."""
    standard = standardised(first, _scores(ranker, part.tasks, first, asked))
    ways = [part.value, *(moved(part.value, place, first, standard, weight) for weight in weights)]
    worth = np.zeros((len(part.users), len(ways)))
    if len(part.kept):
        worth[part.kept] = np.stack([ndcg(part.found, way, part.relevant) for way in ways], 1)
    return worth


def _joined(parts: Sequence[Candidates]) -> Candidates:
    """Candidates of several batches of tasks, one after the other."""
    count = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.start) for part in parts)])
    item = np.concatenate([np.zeros(0, np.int32), *(part.item for part in parts)])
    return Candidates(np.cumsum(count), item, np.concatenate([np.zeros(0, np.uint8), *(part.source for part in parts)]))


def _scores(ranker: CandidateRanker, tasks: Tasks, first: Candidates, asked: Callable[[int], Any]) -> np.ndarray:
    """float32 (F,): the ranker's scores of each task's first candidates. It is given no queries."""
    hidden, found = replace(tasks, stop=tasks.split), [np.zeros(0, np.float32)]
    for begin in range(0, len(tasks), AT_ONCE):
        some = np.arange(begin, min(begin + AT_ONCE, len(tasks)))
        start = first.start[begin : begin + len(some) + 1]
        mine = slice(int(start[0]), int(start[-1]))
        own = Candidates(start - start[0], first.item[mine], first.source[mine])
        found.append(checked_scores(ranker, hidden.take(some), own))
        asked(len(some))
    return np.concatenate(found)


def _right(found: Candidates, relevant: Sequence[np.ndarray]) -> np.ndarray:
    """bool (C,): which candidates are relevant to their tasks."""
    parts = [np.isin(found.of(task), wanted) for task, wanted in enumerate(relevant)]
    return np.concatenate([np.zeros(0, bool), *parts])


def _tokens(ranker: CandidateRanker, tasks: Tasks, first: Candidates) -> int:
    """Tokens of the titles in the histories and of the candidates, the prompt's own words left out; 0 for another ranker."""
    if not isinstance(ranker, LLMRanker):
        return 0
    data, most = tasks.dataset, ranker.max_history
    supports = [data.item[tasks.support(task)] for task in range(len(tasks))]
    items = np.concatenate([first.item, *(past[max(0, len(past) - most) :] for past in supports)])
    distinct, times = np.unique(items, return_counts=True)
    titles = data.catalogue.table.column("title").take(distinct).to_pylist()
    return int(sum(n * len(ranker.language_model.words(title or "")) for n, title in zip(times, titles, strict=True)))


def telling(ranker: CandidateRanker, kinds: int, whose: str) -> str:
    """What is going to be asked, at most. kinds: of answers that have weights of their own."""
    return f"{type(ranker).__name__} about {TOP} items each, at most {ASKED * kinds} times, from {whose}"


def told(ranker: CandidateRanker, learned: Mapping[str, Learned], seconds: float) -> str:
    """What came of it, by the name of the kind of answers."""
    asked, items = sum(one.asked for one in learned.values() if one.found), sum(one.items for one in learned.values())
    tokens = sum(one.tokens for one in learned.values())
    read = f", {tokens:,} tokens of titles" if tokens else ""
    pace = f", {1000 * seconds / asked:,.0f} ms for {TOP} items" if asked else ""
    said = "; ".join(f"{kind}: {one}" for kind, one in learned.items())
    return f"{type(ranker).__name__}: {said}; {items:,} items scored{read}{pace}"
