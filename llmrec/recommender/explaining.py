"""Explanations: which past items and which signals raised an item, by leaving each past item out of the history.

Occlusion (Zeiler and Fergus, ECCV 2014), which for recommenders is also called counterfactual explanation (Tran et al., SIGIR
2021): the histories without each past item are scored in one batch by the chain that answers, with the adapter as the gate has
it for them. The past item whose absence lowers the score most is named first.

Axis convention: `J` past items that are left out, one at a time, `K` items that are explained, `F` inputs of the rankers, `S`
signals.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from llmrec.data.attributes import Attributes
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.ids import Ids
from llmrec.data.requests import answer_table
from llmrec.data.tasks import Tasks, full_histories, without_history
from llmrec.encoder.threads import threads_for
from llmrec.encoder.users import PromptReading, batches
from llmrec.errors import ShortAnswerWarning
from llmrec.index.candidates import Candidates
from llmrec.prompts import Template
from llmrec.ranking.ranker import rank
from llmrec.ranking.rankers import (
    EVERY_INPUT,
    BlendRanker,
    TransformerRanker,
    already_read,
    attribute_inputs,
    every_input,
)
from llmrec.ranking.signals import NAMES, OF_HISTORY, attribute_signals, shares, signals_of
from llmrec.ranking.statistics import ItemStatistics
from llmrec.ranking.two_stage import retrieve, retrieve_by_attributes
from llmrec.recommender.answer import (
    Answer,
    Request,
    answer_under_rules,
    attribute_ranker,
    read_histories,
    with_context,
    with_history,
)
from llmrec.recommender.sentences import sentence
from llmrec.recommender.state import State
from llmrec.rules.answers import shortage

MOST = 100  # past items of a user that are left out, at most: those whose last events are the latest
LEAST = 1e-3  # of a score: what moves it by less is noise
NOTHING = len(NAMES)  # no signal


@dataclass(frozen=True)
class Reason:
    """One reason for an item.

    past: the past item (internal index), -1 where none is named. contribution: by how much the score is lower without it.
    signal: the place in NAMES of what this comes from most, NOTHING for none. parts: float64 (S,), from each signal. kind: of
    `sentences.KINDS`.
    """

    past: int
    contribution: float
    signal: int
    parts: np.ndarray
    kind: str


@dataclass(frozen=True)
class Occlusion:
    """The scores of K items by a history, and by the same history without each past item.

    past: int32 (J,), the latest first. ranker: of the whole history. inputs: float32 (K, F), columns as in EVERY_INPUT.
    without: float32 (J, K, F), the same without each past item. drop: float64 (J, K), by how much that lowers the score.
    """

    past: np.ndarray
    ranker: BlendRanker
    inputs: np.ndarray
    without: np.ndarray
    drop: np.ndarray


def explained(
    state: State, known: Dataset, asked: Ids, attributes: Attributes | None, request: Request, events: int
) -> tuple[Answer, Request, list[list[Reason]]]:
    """An answer, users in the order in which they asked, best first, the request with its rules applied, and the reasons for
    each row of the answer, at least one.
    Arguments as of `answer_everybody`; events: past items to name, at most."""
    found, request = answer_under_rules(state, known, asked, attributes, request)
    found = found.take(np.lexsort((found.rank, found.asker)))
    here, tasks = with_history(known, asked, attributes)
    told: list[list[Reason]] = []
    for asker, (first, stop) in enumerate(pairwise(np.searchsorted(found.asker, np.arange(len(asked) + 1)))):
        items, place = found.item[first:stop], int(np.searchsorted(here, asker))
        if first == stop:
            continue
        if place < len(here) and here[place] == asker:
            told += by_history(state, with_context(tasks.take(np.array([place])), request), items, request, events)
        elif attributes is None or not attributes.take(np.array([asker])).some.any():
            told += [[_popular(popularity)] for popularity in _popularity(state, items)]
        else:
            nobody = without_history(known, attributes.take(np.array([asker])))
            told += by_attributes(state, with_context(nobody, request), items)
    return found, request, told


def as_explanations(
    found: Answer, told: list[list[Reason]], asked: Ids, catalogue: Catalogue, template: Template, signals: bool
) -> pa.Table:
    """The table that `Recommender.explain` answers with: a row for each reason."""
    reasons = [reason for some in told for reason in some]
    row = np.repeat(np.arange(len(told)), np.array([len(some) for some in told], np.int64))
    item = found.item[row]
    table = answer_table(asked, catalogue, found.asker[row], item, found.score[row], found.rank[row], [""] * len(row))
    kind = table.schema.field("item_id").type
    past = [None if reason.past < 0 else catalogue.ids[reason.past] for reason in reasons]
    said = [
        sentence(template, catalogue, reason.kind, one, reason.past) for one, reason in zip(item.tolist(), reasons, strict=True)
    ]
    table = table.drop_columns(["source"])
    table = table.append_column("because_item_id", pa.array(past, kind))
    table = table.append_column("contribution", pa.array([reason.contribution for reason in reasons], pa.float64()))
    table = table.append_column("signal", pa.array([(*NAMES, None)[reason.signal] for reason in reasons], pa.string()))
    for number, name in enumerate(NAMES if signals else ()):
        table = table.append_column(name, pa.array([float(reason.parts[number]) for reason in reasons], pa.float64()))
    return table.append_column("sentence", pa.array(said, pa.string()))


def by_history(state: State, task: Tasks, items: np.ndarray, request: Request, events: int) -> list[list[Reason]]:
    """Reasons for each of `items`, int (K,), to the user of one task: at most `events` past items, those that lower the score
    most when left out; or where none lowers it, the signal by which the item stands out from the user's other candidates."""
    found = occlude(state, task, items, request)
    signal = signals_of(EVERY_INPUT)

    score = found.ranker.score_of
    if len(found.past) == 1:  # without it there is no history, and the answer would be of another kind
        mean = usual_inputs(state, task, request)
        without = np.where(np.isin(signal, OF_HISTORY), mean, found.inputs)
        drop = score(found.inputs).astype(np.float64) - score(without)
        found = replace(found, without=without[None], drop=drop[None])
    told: list[list[Reason]] = [[] for _ in items]
    named = [(place, past) for place in range(len(items)) for past in _first(found.drop[:, place], events)]
    if named:
        place, past = np.array(named).T
        parts = shares(score, found.inputs[place], found.without[past, place], signal)
        for (one, out), part in zip(named, parts, strict=True):
            cause, most = int(found.past[out]), int(part.argmax())
            kind = _kind(state.retrieval.counts, NAMES[most], cause, int(items[one]))
            told[one].append(Reason(cause, float(found.drop[out, one]), most, part, kind))
    left = [place for place, reasons in enumerate(told) if not reasons]
    if left:
        instead = np.repeat(usual_inputs(state, task, request), len(left), 0)
        for place, part in zip(left, shares(score, found.inputs[left], instead, signal), strict=True):
            told[place].append(_overall(part, _popularity(state, items)[place]))
    return told


def occlude(state: State, task: Tasks, items: np.ndarray, request: Request) -> Occlusion:
    """Score `items`, int (K,), by the history of one task, and by the same history without each past item, all its events at
    once; of more than MOST past items the latest. Of a single one `drop` is 0, for nothing is left to score."""
    ranker, inputs = _inputs(state, task, items, request)
    past, others = left_out(task)
    if len(past) == 1:
        return Occlusion(past, ranker, inputs, inputs[None], np.zeros((1, len(items))))
    parts = [_inputs(state, part, items, request)[1] for part in batches(others)]
    without = np.concatenate(parts).reshape(len(past), len(items), -1)
    scores = ranker.score_of(without.reshape(-1, without.shape[2])).reshape(len(past), -1)
    return Occlusion(past, ranker, inputs, without, ranker.score_of(inputs).astype(np.float64) - scores)


def left_out(task: Tasks) -> tuple[np.ndarray, Tasks]:
    """int32 (J,): the past items of one task, the latest first, MOST at most; and J tasks, each without one of them."""
    mine = task.dataset.take(task.user)
    back = np.sort(np.unique(mine.item[::-1], return_index=True)[1])[:MOST]
    past = mine.item[::-1][back]
    copies = mine.take(np.zeros(len(past), np.int64))
    kept = copies.keep(copies.item != np.repeat(past, mine.n_events))
    alike = np.zeros(len(past), np.int64)
    attributes, context = (None if one is None else one.take(alike) for one in (task.user_attributes, task.context))
    return past, replace(full_histories(kept, np.arange(len(past))), user_attributes=attributes, context=context)


def usual_inputs(state: State, task: Tasks, request: Request) -> np.ndarray:
    """float32 (1, F): the mean over all that would be candidates of one task, whatever items are asked for."""
    reading = _read(state, task, request)
    sources = replace(state.retrieval.sources, repeats=not request.filter_viewed)
    found = retrieve(state.retrieval, task, reading.vectors, sources, state.allowing(None))
    inputs = every_input(state.retrieval.counts, TransformerRanker(already_read(task, reading)), task, found)
    return inputs.mean(0, keepdims=True)


def by_attributes(state: State, task: Tasks, items: np.ndarray) -> list[list[Reason]]:
    """A reason for each of `items`, int (K,), to a user without events of whom attributes are known: the signal by which it
    stands out from the user's other candidates. Raises DataError as `attribute_ranker`."""
    reading = state.adapting.base.read(task)
    ranker = attribute_ranker(state, task, reading)

    def inputs(found: Candidates) -> np.ndarray:
        return attribute_inputs(ranker.groups, ranker.transformer, task, found)

    mean = inputs(retrieve_by_attributes(state.retrieval, task, reading.vectors, state.allowing(None))).mean(0, keepdims=True)
    found, place = _fixed(items, 1)
    instead = np.repeat(mean, len(items), 0)
    parts = shares(lambda some: rank(ranker.weights, some), inputs(found)[place], instead, attribute_signals())
    return [[_overall(part, popularity)] for part, popularity in zip(parts, _popularity(state, items), strict=True)]


def warn_if_left(state: State, found: Answer, asked: Ids, request: Request, items: np.ndarray) -> None:
    """A ShortAnswerWarning, at the line that called the caller, where somebody gets explanations of fewer items
    than were asked for. items: bool (N,), those."""
    got = np.bincount(found.asker, minlength=len(asked))
    short = np.flatnonzero(got < request.k)
    if len(short):
        who = f"{len(short):,} users get" if len(short) > 1 else "1 user gets"
        hidden = 0 if state.offered is None else int((items & ~state.offered).sum())
        why = [f"{hidden:,} of them hidden, see show_items"] if hidden else []
        why += [f"rules leave out some ({told})"] if (told := shortage(found.asker, asked, request.k, request.applied)) else []
        if request.filter_viewed and got[short[0]] + hidden < request.k:
            why.append("recommend leaves out items in the history; use filter_viewed=False to explain them too")
        warnings.warn(
            f"{who} explanations of fewer than the {request.k} items asked for, such as {asked[short[0]]!r} of "
            f"{got[short[0]]}: {'; '.join(why)}",
            ShortAnswerWarning,
            stacklevel=3,
        )


def _inputs(state: State, tasks: Tasks, items: np.ndarray, request: Request) -> tuple[BlendRanker, np.ndarray]:
    """The ranker of T tasks, and what it reads of the same items (K,) for each, float32 (T * K, F)."""
    reading, counts = _read(state, tasks, request), state.retrieval.counts
    ranker = state.rankers_for(request.filter_viewed).over(counts, already_read(tasks, reading))
    found, place = _fixed(items, len(tasks))
    return ranker, every_input(counts, ranker.transformer, tasks, found)[place]


def _read(state: State, tasks: Tasks, request: Request) -> PromptReading:
    how = state.adapting.choices(tasks, request.steps)
    with threads_for(state.adapting.largest_product(tasks, how)):
        return read_histories(state, tasks, how)


def _fixed(items: np.ndarray, tasks: int) -> tuple[Candidates, np.ndarray]:
    """The same K distinct items as candidates of each task, and int64 (T * K,), where each is among them."""
    order, size = np.argsort(items), len(items)
    found = Candidates(np.arange(tasks + 1) * size, np.tile(items[order], tasks), np.zeros(tasks * size, np.uint8))
    return found, (np.arange(tasks)[:, None] * size + np.argsort(order)).ravel()


def _first(drop: np.ndarray, most: int) -> list[int]:
    """The past items that lower a score most, the later one among equals. drop: float64 (J,)."""
    order = np.argsort(-drop, kind="stable")[:most]
    return order[drop[order] > LEAST].tolist()


def _kind(counts: ItemStatistics, signal: str, past: int, item: int) -> str:
    """What may be said of a past item that raises an item mostly by one signal: nothing that the counts do not show."""
    if past == item:
        return "again"
    if signal == "co-occurrence" and _go_together(counts, past, item):
        return "cooccurrence"
    if signal == "text" and (counts.words[[past]] @ counts.words[[item]].T).sum() > 0:
        return "text"
    return "sequence" if signal == "sequence" else "other"


def _go_together(counts: ItemStatistics, past: int, item: int) -> bool:
    """Whether users who had the past item had the other one, or took it soon after, more often than others did."""
    if counts.buyers is not None and item in counts.buyers.together.of_rows(np.array([past]))[1]:
        return True
    if any(table[[past], [item]][0] > 0 for table in (counts.cooccurrence, counts.ease)):
        return True
    chains = counts.markov_short, counts.markov_long
    return any(one.follows[[past], [item]][0] > (1 - one.exit_rate[past]) * one.prior[item] for one in chains)


def _popularity(state: State, items: np.ndarray) -> list[float]:
    found: list[float] = state.retrieval.popularity[items].tolist()
    return found


def _overall(parts: np.ndarray, popularity: float) -> Reason:
    """The reason where no past item is named. parts: float64 (S,), of the score over that of the usual candidate. popularity:
    of the item; nothing that nobody has had is called popular."""
    if parts.sum() <= LEAST:
        return Reason(-1, 0.0, NOTHING, parts, "nothing")
    most = int(parts.argmax())
    kind = NAMES[most] if NAMES[most] in ("popular", "group") else "overall"
    return Reason(-1, 0.0, most, parts, "nothing" if kind == "popular" and popularity <= 0 else kind)


def _popular(popularity: float) -> Reason:
    """The reason in an answer that is the same for everybody: none where nobody has had the item, as one that was added."""
    parts = np.zeros(len(NAMES))
    if popularity <= 0:
        return Reason(-1, 0.0, NOTHING, parts, "nothing")
    parts[NAMES.index("popular")] = popularity
    return Reason(-1, 0.0, NAMES.index("popular"), parts, "popular")
