"""Act 3: where steps for one person pay, and where they do not.

People of whom 100 events are known in no order, 10 of them in the prompt; beside the same steps on another person's events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.demo import likes
from llmrec.demo.act import LINE, Act, wrapped
from llmrec.demo.measuring import curve, ndcg, results
from llmrec.demo.plan import Plan
from llmrec.encoder.users import PromptReading, Read, batches
from llmrec.evaluation.comparison import Cell, best, unseen
from llmrec.evaluation.controls import LARGE
from llmrec.evaluation.plot import Panel
from llmrec.evaluation.verdict import beside, gain, listed, standing
from llmrec.meta.gate import Choice
from llmrec.metrics.bootstrap import Interval, paired_bootstrap
from llmrec.models.item_item import fit_ease
from llmrec.recommender.dense import ranked_scores
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.state import State
from llmrec.screen import Column, Screen, text_table

NAME = "steps"
KNOWN = (10, 30, 100)  # events known of a person, the last ones before what is asked
LATER = 20  # events after them that a list is to name
LEAST = 120  # events of those who are asked
RIDGES = (300.0, 100.0, 1e3, 3e3, 1e4)  # of EASE, to choose from; the first where there is nobody to choose on
LEAST_PEOPLE = 40  # with so many, of whom half are asked
ZERO, STEPS, OTHER = "zero steps", "steps on own events", "steps on another's"
SHORT = {ZERO: "transformer, zero steps", STEPS: "transformer, own events", OTHER: "transformer, another's"}
EASE = "EASE"
ALONE, WHOLE = "the transformer's own scores", "the whole recommendation"
Values = Mapping[str, Mapping[int, np.ndarray]]
Found = dict[str, dict[int, np.ndarray]]


@dataclass(frozen=True)
class People:
    """Users of a dataset: `train` to train on, `asked` with LEAST events, of whom nothing is trained on. int64, ascending."""

    train: np.ndarray
    asked: np.ndarray


def people(dataset: Dataset, seed: int) -> People | None:
    """Half of those with LEAST events are asked, everybody else is trained on; None where there are too few of them."""
    long = np.flatnonzero(np.diff(dataset.start) >= LEAST)
    if len(long) < LEAST_PEOPLE:
        return None
    some = np.random.default_rng(seed).permutation(long)[: len(long) // 2]
    return People(np.setdiff1d(np.arange(dataset.n_users), some), np.sort(some))


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """The same events in a random order within each user, each one a basket, so that order says nothing."""
    order = np.lexsort((np.random.default_rng(seed).random(dataset.n_events), dataset.user))
    basket = np.arange(dataset.n_events) - dataset.start[:-1][dataset.user]
    attributes = {name: values[order] for name, values in dataset.attributes.items()}
    return replace(dataset, item=dataset.item[order], basket=basket.astype(np.int32), attributes=attributes)


def play(dataset: Dataset, found: People, plan: Plan, seed: int, benchmark: str, elsewhere: Mapping[str, Interval]) -> Act:
    """Train on the others, then ask: with zero steps, with steps on a person's own events, and on another person's.

    dataset: in no order, see `shuffled`. benchmark: its name in the report. elsewhere: what steps add in act 1, by setting.
    """
    known = Recommender(settings=plan.steps, seed=seed)
    known.fit(dataset.take(found.train), minutes=plan.budget(NAME), verbose=False)
    tasks = {count: last_known(dataset, found.asked, count) for count in KNOWN}
    values, whole = measured(known.state, tasks)
    whole[EASE] = counted(dataset, found.train, tasks)
    rng = np.random.default_rng(seed)
    rows = []
    for name, part in ((ALONE, values), (WHOLE, whole)):
        for count in KNOWN:
            here = {way: one[count] for way, one in part.items()}
            rows += results(benchmark, f"{name}, known={count}", STEPS, here, {STEPS: "ours"}, seed, rng)
    curves = tuple(curve(SHORT[name], "ours" if name == STEPS else "control", one, rng) for name, one in values.items())
    curves = (*curves, curve("whole, own events", "ours", whole[STEPS], rng), curve(EASE, "control", whole[EASE], rng))
    slots = plan.steps.train.max_slots
    panel = Panel(_seen(values, rng), f"events known, the last {slots} of them in the prompt", curves)
    head = (
        f"{len(found.asked)} people with {LEAST} events or more, in shuffled order: {KNOWN[-1]} known, {slots} of them in the "
        f'prompt. {steps_of(known.state)} steps (adapter="{plan.steps.adapter}") move the user vector by all that is known. '
        f"NDCG@10 on {LATER} more, beside zero steps:"
    )
    said = [sentence(values, whole, rng), beside_counts(whole, rng), elsewhere_sentence(elsewhere)]
    lines = [*wrapped([head]), *table(values, whole, rng), *wrapped(said)]
    if "rating" in dataset.attributes and known.state.signed is not None:
        told_by_ratings = likes.play(known, tasks, seed, benchmark.removesuffix(NAME) + "likes")
        lines, rows = [*lines, *told_by_ratings.lines], [*rows, *told_by_ratings.rows]
    told = {"people": len(found.asked), "steps": steps_of(known.state), "adapter": plan.steps.adapter}
    return Act(NAME, "Where steps for one person pay, and where they do not", tuple(lines), panel, tuple(rows), told)


def last_known(dataset: Dataset, users: np.ndarray, count: int) -> Tasks:
    """One task a user: `count` events up to the hundredth are known, the next ones asked about."""
    split = dataset.start[users] + KNOWN[-1]
    return Tasks(dataset, split - count, split, split + LATER)


def counted(dataset: Dataset, train: np.ndarray, tasks: Mapping[int, Tasks]) -> dict[int, np.ndarray]:
    """NDCG@10 of EASE over all that is known, by the number of known events. `train`: whom it is fitted on."""
    last, ease = tasks[KNOWN[-1]], fit_ease(dataset, train, chosen_ridge(dataset, train), log=True)
    relevant, allowed = last.relevant(new_only=True), unseen(last)
    return {count: ndcg(ease.scores(part), part, relevant, allowed) for count, part in tasks.items()}


def chosen_ridge(dataset: Dataset, train: np.ndarray) -> float:
    """The best ridge for those of `train` with LEAST events, each fitted on the others of `train`; for a large catalogue, where
    one EASE takes tens of seconds, the first."""
    many = np.diff(dataset.start)[train] >= LEAST
    if dataset.n_items >= LARGE or not many.any() or many.all():
        return RIDGES[0]
    part = last_known(dataset, train[many], KNOWN[-1])
    cell = Cell("ridge", "validation", part, part.relevant(new_only=True), unseen(part), new=True)
    return RIDGES[best(cell, [fit_ease(dataset, train[~many], ridge, log=True).scores for ridge in RIDGES])]


def measured(state: State, tasks: Mapping[int, Tasks]) -> tuple[Found, Found]:
    """NDCG@10 of every person by way and number of known events: by the transformer's scores, and by the whole chain."""
    relevant, allowed = (tasks[KNOWN[-1]].relevant(new_only=True), unseen(tasks[KNOWN[-1]]))
    alone: Found = {ZERO: {}, STEPS: {}, OTHER: {}}
    whole: Found = {ZERO: {}, STEPS: {}, OTHER: {}}
    retrieval = replace(state.retrieval, sources=replace(state.retrieval.sources, repeats=False))
    for count, part in tasks.items():
        for name, read in readers(state, part).items():
            scores = np.concatenate([read(some).table() for some in batches(part)])
            alone[name][count] = ndcg(scores, part, relevant, allowed)
            scores = ranked_scores(read, retrieval, state.rankers_for(True).over, part)
            whole[name][count] = ndcg(scores, part, relevant, allowed)
    return alone, whole


def readers(state: State, tasks: Tasks) -> dict[str, Read]:
    """Ways to read the supports of `tasks` or of some of them: with zero steps, all steps that were learned, and as many on the
    support of the next person."""
    place = {int(user): row for row, user in enumerate(tasks.user)}

    def other(some: Tasks) -> PromptReading:
        after = np.array([(place[int(user)] + 1) % len(tasks) for user in some.user])
        return read_as(state, some, tasks.take(after))

    return {ZERO: state.adapting.reader(0), STEPS: state.adapting.reader(steps_of(state)), OTHER: other}


def read_as(state: State, tasks: Tasks, others: Tasks) -> PromptReading:
    """The supports of tasks, under what was adapted to the supports of others, one for one."""
    base, core = state.adapting.base, state.adapting.core
    assert core is not None
    value, _ = core.adapted(others, [Choice(core.steps, adapter="core")] * len(others))
    made = base.prompts(tasks)
    return base.reading(made, core.vectors(made, value))


def steps_of(state: State) -> int:
    """Steps that were learned."""
    return 0 if state.adapting.core is None else state.adapting.core.steps


# ---------------------------------------------------------------------------------------- what is printed


def table(values: Values, whole: Values, rng: np.random.Generator) -> list[str]:
    """The two measures down, the ways across, where everything is known."""
    rows = []
    for name, part in ((ALONE, values), (WHOLE, whole)):
        zero, own, other = (part[way][KNOWN[-1]] for way in (ZERO, STEPS, OTHER))
        first, second = (f"{one.mean():.3f} {beside(paired_bootstrap(zero, one, rng))}" for one in (own, other))
        rows.append([name, f"{zero.mean():.3f}", first, second])
    return text_table([Column(""), *map(Column, (ZERO, STEPS, OTHER))], rows, Screen(LINE)).split("\n")


def sentence(values: Values, whole: Values, rng: np.random.Generator) -> str:
    """Where steps pay, if they do."""
    words = {name: standing(_gap(part, STEPS, ZERO, rng)) for name, part in ((ALONE, values), (WHOLE, whole))}
    better, worse = ([name for name, word in words.items() if word == wanted] for wanted in ("ahead of", "behind"))
    harm = f" They harm {listed(worse)}." if worse else ""
    if not better:
        return f"Here steps gain nothing beyond noise.{harm}"
    level = [name for name, word in words.items() if word == "level with"]
    same = f" {listed(level).capitalize()} is level with and without them." if level else ""
    foreign = _gap(values if ALONE in better else whole, STEPS, OTHER, rng)
    beyond = {"ahead of": "more than", "level with": "no more than", "behind": "less than"}[standing(foreign)]
    what = "both" if len(better) == 2 else better[0]
    return f"Here steps pay: they improve {what}. Own events are worth {beyond} another's, {gain(foreign)}.{same}{harm}"


def beside_counts(whole: Values, rng: np.random.Generator) -> str:
    """Whether counting over the same events does as well."""
    gap = _gap(whole, STEPS, EASE, rng)
    mean = whole[EASE][KNOWN[-1]].mean()
    return f"{EASE} over the same {KNOWN[-1]} events reaches {mean:.3f}: {WHOLE} is {standing(gap)} it, {gain(gap)}."


def elsewhere_sentence(gaps: Mapping[str, Interval]) -> str:
    """What steps add in act 1, where the prompt holds everything."""
    words = {standing(gap) for gap in gaps.values()}
    low, high = (end(gap.value for gap in gaps.values()) for end in (min, max))
    where = "In act 1, where the prompt holds all that is known,"
    if low == high == 0:
        return f"{where} they do not pay: a gate, learned on others, takes none."
    what = "they add in some settings, not in all" if "ahead of" in words else "they do not pay"
    what = "they pay too" if words == {"ahead of"} else "they cost something" if "behind" in words else what
    return f"{where} {what}: {low:+.4f} to {high:+.4f} NDCG@10."


def _gap(part: Values, one: str, other: str, rng: np.random.Generator) -> Interval:
    return paired_bootstrap(part[one][KNOWN[-1]], part[other][KNOWN[-1]], rng)


def _seen(values: Values, rng: np.random.Generator) -> str:
    word = standing(_gap(values, STEPS, ZERO, rng))
    what = {"ahead of": "pay with long histories", "level with": "change nothing here", "behind": "harm here"}[word]
    return f"Steps for one person {what}"
