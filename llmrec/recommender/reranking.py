"""The weight of a ranker of one's own, such as a language model, beside the chain: learned on users held out of training.

The weight is one of SHARES, in units of how much the chain's scores differ among the first candidates, or 0. Of those it is the
one with the highest NDCG@10 among those whose gain over 0, paired over users, is beyond what chance makes of the best of all
(`fit_gate`); where there is none it is 0, and the ranker is left out of answers.

The blend was learned on windows of the same users, so the chain looks a little better here than it is, and the weight comes out
too small rather than too large.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.encoder.users import Read, batches
from llmrec.index.candidates import Candidates
from llmrec.meta.fit_gate import fit_gate
from llmrec.meta.gate import Bin, Choice
from llmrec.progress import Stages, bar
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.rankers import CandidateRanker, already_read, checked_scores
from llmrec.ranking.reranker import TOP, Reranker, first_candidates, moved, standardised
from llmrec.ranking.two_stage import Rankers, Retrieval, retrieve

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
    name, learned, users = type(ranker).__name__, [], len(np.unique(tasks.user))
    kinds = (True, False) if both else (False,)
    what = f"{name} about {TOP} items each, at most {ASKED * len(kinds)} times, from {users:,} users"
    with stages("reranker", what) as say:
        began = time.perf_counter()
        for repeats in kinds:
            asked = replace(retrieval, sources=replace(retrieval.sources, repeats=repeats))
            learned.append(_search(ranker, _windows(tasks, repeats), read, asked, rankers[not repeats], repeats, seed))
        say(_told(name, kinds, learned, time.perf_counter() - began))
    first, last = learned[0].weight, learned[-1].weight
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


def _search(
    ranker: CandidateRanker, tasks: Tasks, read: Read, retrieval: Retrieval, rankers: Rankers, repeats: bool, seed: int
) -> Learned:
    """The weight for one kind of answers."""
    looked, kept, found, value = _by_the_chain(tasks, read, retrieval, rankers, repeats)
    asked, users = tasks.take(kept), tasks.user[:looked]
    if len(np.unique(asked.user)) < LEAST:
        return Learned(0.0, None, len(kept), len(np.unique(asked.user)), 0, 0)
    relevant = asked.relevant(new_only=not repeats)
    place, first = first_candidates(found, value, TOP)
    spread = float(np.mean([value[place[start:stop]].std() for start, stop in pairwise(first.start)]))
    weights = [share * spread if spread else share for share in SHARES]
    standard = standardised(first, _scores(ranker, asked, first))
    ways = [value, *(moved(value, place, first, standard, weight) for weight in weights)]
    worth = np.zeros((looked, len(ways)))
    worth[kept] = np.stack([ndcg(found, way, relevant) for way in ways], 1)
    who, of = np.unique(users, return_inverse=True)
    total = np.zeros((len(who), len(ways)))
    np.add.at(total, of, worth)
    weight, about = choose_weight(weights, total / np.bincount(of)[:, None], seed)
    return Learned(weight, about, len(kept), len(who), len(first.item), _tokens(ranker, asked, first))


def _by_the_chain(
    tasks: Tasks, read: Read, retrieval: Retrieval, rankers: Rankers, repeats: bool
) -> tuple[int, np.ndarray, Candidates, np.ndarray]:
    """How many tasks were looked at, which of them to ask about, int64, and the candidates and scores of these.

    Where there is no right item among the first candidates, or no wrong one, nothing need be asked: no order of them is worth
    more than another, and the gain is 0.
    """
    looked, begin = 0, 0
    kept: list[int] = []
    parts, values = [], [np.zeros(0, np.float32)]
    for part in batches(tasks):
        reading = read(part)
        found = retrieve(retrieval, part, reading.vectors, retrieval.sources, None)
        value = checked_scores(rankers.over(retrieval.counts, already_read(part, reading)), part, found)
        top = first_candidates(found, value, TOP)[1]
        right = np.bincount(top.task, _right(top, part.relevant(new_only=not repeats)), len(top))
        matters = np.flatnonzero((right > 0) & (right < np.diff(top.start)))[: ASKED - len(kept)]
        kept += (begin + matters).tolist()
        rows = np.isin(found.task, matters)
        start = np.concatenate([[0], np.cumsum(np.diff(found.start)[matters])])
        parts.append(Candidates(start, found.item[rows], found.source[rows]))
        values.append(value[rows])
        begin += len(part)
        looked = kept[-1] + 1 if len(kept) == ASKED else begin
        if len(kept) == ASKED:
            break
    return looked, np.array(kept, np.int64), _joined(parts), np.concatenate(values)


def _joined(parts: Sequence[Candidates]) -> Candidates:
    """Candidates of several batches of tasks, one after the other."""
    count = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.start) for part in parts)])
    item = np.concatenate([np.zeros(0, np.int32), *(part.item for part in parts)])
    return Candidates(np.cumsum(count), item, np.concatenate([np.zeros(0, np.uint8), *(part.source for part in parts)]))


def _scores(ranker: CandidateRanker, tasks: Tasks, first: Candidates) -> np.ndarray:
    """float32 (F,): the ranker's scores of each task's first candidates, with a bar. It is given no queries."""
    hidden, found = replace(tasks, stop=tasks.split), []
    with bar(total=len(tasks), unit=" lists") as drawn:
        for begin in range(0, len(tasks), AT_ONCE):
            some = np.arange(begin, min(begin + AT_ONCE, len(tasks)))
            start = first.start[begin : begin + len(some) + 1]
            mine = slice(int(start[0]), int(start[-1]))
            own = Candidates(start - start[0], first.item[mine], first.source[mine])
            found.append(checked_scores(ranker, hidden.take(some), own))
            drawn.update(len(some))
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


def _told(name: str, kinds: Sequence[bool], learned: Sequence[Learned], seconds: float) -> str:
    asked, items = sum(one.asked for one in learned if one.found), sum(one.items for one in learned)
    tokens = sum(one.tokens for one in learned)
    said = [f"{'all' if repeats else 'new'} items: {one}" for repeats, one in zip(kinds, learned, strict=True)]
    read = f", {tokens:,} tokens of titles" if tokens else ""
    pace = f", {1000 * seconds / asked:,.0f} ms for {TOP} items" if asked else ""
    return f"{name}: {'; '.join(said)}; {items:,} items scored{read}{pace}"
