"""The studies, seed by seed: who trains on whom, and what each method came to for every user, as runs that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.protocol import Benchmark, Part, fingerprint
from benchmarks.runs import Run
from llmrec import Settings, TrainSettings
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.progress import Stages
from studies.adaptation import cold, compute, factors, headroom, long, loras, whole
from studies.adaptation.arms import Effort, joint_lora, zero
from studies.adaptation.bank import Base
from studies.adaptation.base import trained_on
from studies.adaptation.clock import break_even
from studies.adaptation.cores import core_on, of_company
from studies.adaptation.counting import counting, ndcg
from studies.adaptation.long import Reorder
from studies.adaptation.regimes import Cell, People, cold_bank
from studies.adaptation.report import METRIC

SHARE, SPLIT = 0.15, 4  # of the training users, kept out of base training; seed of who they are
MOMENTS, MOST = 20_000, 3_000  # moments of training users to be neighbours; tasks of a lot where there are many more
PRACTICE = 800  # tasks to learn from, for each cell
WHOLE, CONTINUED, JOINT = "full fine-tuning", "trained on, same compute", "joint LoRA, same compute"
SHARES = (1 / 3, 1 / 10, 1 / 30)  # of the base's first rate, tried for training on


@dataclass(frozen=True)
class Ground:
    """What the studies of one benchmark stand on.

    settings: by which bases are trained. people: whom they are trained on, and whom the outer loop learns from. chosen, asked:
    int64, users that constants are chosen on, and users that are measured. reorder: puts each history in a new order; None
    where its order means something.
    """

    benchmark: Benchmark
    settings: Settings
    people: People
    part: Part
    chosen: np.ndarray
    asked: np.ndarray
    reorder: Reorder | None = None


@dataclass(frozen=True)
class Found:
    """What one seed came to.

    values: setting -> method -> float64 (T,). keys: setting -> hash of who was asked what. notes: setting -> what the gate
    took. seconds: method -> of learning. constants: method -> what was chosen for it on validation, in words.
    """

    values: Mapping[str, Mapping[str, np.ndarray]]
    keys: Mapping[str, str]
    notes: Mapping[str, str]
    seconds: Mapping[str, float] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)

    def runs(self, study: str, ours: Sequence[str], seed: int, part: Part) -> list[Run]:
        """One run a method; those of `ours` adapt, all others are controls."""
        methods = list(dict.fromkeys(name for here in self.values.values() for name in here))
        found = []
        for name in methods:
            here = {setting: {METRIC: values[name]} for setting, values in self.values.items() if name in values}
            keys = {setting: self.keys[setting] for setting in here}
            cost = dict.fromkeys(here, self.seconds.get(name, 0.0))
            notes = {setting: self.notes[setting] for setting in here if "gated" in name and setting in self.notes}
            notes |= dict.fromkeys(here if name in self.constants else (), self.constants.get(name, ""))
            found.append(Run(study, name, "ours" if name in ours else "control", seed, part, here, keys, cost, notes))
        return found


def users_of(benchmark: Benchmark, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Users to choose on and users to ask: validation and test, or for part "validation" the two halves of validation."""
    setting = benchmark.settings[0]
    validation = np.unique(setting.validation.user).astype(np.int64)
    if part == "validation":
        return validation[::2], validation[1::2]
    return validation, np.unique(setting.test.user).astype(np.int64)


def long_study(ground: Ground, base: Base, cells: Sequence[Cell], effort: Effort, seed: int, stages: Stages) -> Found:
    """Every cell of `long`: one core and one adapter of each kind for all cells, learned on all of them."""
    benchmark, people, rng = ground.benchmark, ground.people, np.random.default_rng((seed, 1))
    with stages("count", "EASE and item kNN"):
        counts = counting(benchmark.train, benchmark.users)
        features = of_company(benchmark.train, benchmark.users, effort.size)
    with stages("meta-train", f"seed {seed}, {len(people.meta):,} users"):
        places = list(long.practices(base, benchmark.train, people.meta, cells, PRACTICE, ground.reorder, rng))
        team = long.learn(base, features, places, effort, rng, seed)
    with stages("train on", f"{effort.longer} steps"):
        longer = trained_on(base, benchmark, benchmark.users, ground.settings.train, seed, effort.longer)
    values, keys, notes = {}, {}, {}
    with stages("measure", f"seed {seed}, {len(cells)} cells"):
        for cell in cells:
            chosen, asked = (long.asked(base, benchmark.train, users, cell) for users in (ground.chosen, ground.asked))
            heavy = cell.known == long.PRIMARY.known
            values[cell.name], notes[cell.name] = long.measured(base, longer, team, counts, chosen, asked, heavy, rng)
            keys[cell.name] = fingerprint(asked.long.tasks)
    return Found(values, keys, notes, {arm.name: arm.seconds for arm in (*team.light, *team.heavy)})


def gradient_study(ground: Ground, base: Base, cells: Sequence[Cell], effort: Effort, seed: int, stages: Stages) -> Found:
    """`long` without the core and without what is measured beside it: the arms that cost most, for a session of their own."""
    benchmark, people, rng = ground.benchmark, ground.people, np.random.default_rng((seed, 1))
    effort = replace(effort, core=0)
    with stages("meta-train", f"seed {seed}, {len(people.meta):,} users"):
        places = list(long.practices(base, benchmark.train, people.meta, cells, PRACTICE, ground.reorder, rng))
        team = long.learn(base, of_company(benchmark.train, benchmark.users, effort.size), places, effort, rng, seed)
    values, keys = {}, {}
    with stages("measure", f"seed {seed}, {len(cells)} cells"):
        for cell in cells:
            chosen, asked = (long.asked(base, benchmark.train, users, cell) for users in (ground.chosen, ground.asked))
            found = long.answers(base, team, chosen, asked, cell.known == long.PRIMARY.known)
            values[cell.name] = {name: ndcg(of, asked.relevant) for name, of in found.items() if name != long.ZERO}
            keys[cell.name] = fingerprint(asked.long.tasks)
    return Found(values, keys, {}, {arm.name: arm.seconds for arm in (*team.light, *team.heavy)})


def control_study(ground: Ground, base: Base, cells: Sequence[Cell], effort: Effort, seed: int, stages: Stages) -> Found:
    """The dearest controls of `long`: in the primary cell full fine-tuning for each user, and in all cells with as many known
    events the base trained on with as many multiplications as LoRA's meta-learning or the core's took, whichever took more, and
    joint LoRA with as many as LoRA's.

    Their constants are chosen on validation users in the primary cell.
    """
    benchmark, rng = ground.benchmark, np.random.default_rng((seed, 5))
    first = long.asked(base, benchmark.train, ground.chosen, long.PRIMARY)
    of_all = benchmark, benchmark.users, ground.settings.train
    with stages("count", "multiplications of meta-learning"):
        practiced = long.practices(base, benchmark.train, ground.people.meta, cells, PRACTICE, ground.reorder, rng)
        places, reading = compute.multiplied(lambda: list(practiced))
        features = of_company(benchmark.train, benchmark.users, effort.size)
        of_lora, of_core = compute.of_lora(base, places, effort, seed), compute.of_core(features, places, effort, seed)
        steps = compute.plain_steps(reading + max(of_lora, of_core), base, *of_all, seed)
        alike = compute.joint_alike(of_lora, base, places, effort, seed)
    with stages("meta-train", f"joint LoRA, {2 * alike.lora} episodes"):
        joint = joint_lora(base, places, alike, np.random.default_rng((seed, 6)), seed)
    with stages("train on", f"{steps} steps at each of {len(SHARES)} rates"):
        tried = {}
        for share in SHARES:
            longer = trained_on(base, *of_all, seed, steps, share)
            scores = zero(long.Place(long.long_bank(longer, first.long)))
            tried[share] = float(np.nanmean(ndcg(scores, first.relevant))), longer
        share = max(SHARES, key=lambda one: tried[one][0])
    with stages("choose", "full fine-tuning"):
        tuning = whole.best(base, long.some(first), effort.whole)
    values, keys = {}, {}
    measured = [cell for cell in cells if cell.known == long.PRIMARY.known]
    with stages("measure", f"seed {seed}, {len(measured)} cells"):
        for cell in measured:
            asked = long.asked(base, benchmark.train, ground.asked, cell)
            found = {CONTINUED: zero(long.Place(long.long_bank(tried[share][1], asked.long)))}
            found[JOINT] = loras.adapted(base, joint, asked.place.bank, 0)
            if cell == long.PRIMARY:
                found[WHOLE] = whole.tuned(base, asked.place.bank, tuning)
            values[cell.name] = {name: ndcg(scores, asked.relevant) for name, scores in found.items()}
            keys[cell.name] = fingerprint(asked.long.tasks)
    words = {
        CONTINUED: f"{steps} steps, {reading + max(of_lora, of_core):.2g} multiplications, {share:.3g} of the first rate",
        WHOLE: f"{tuning.steps} steps of {tuning.rate:g}",
        JOINT: f"{2 * alike.lora} episodes",
    }
    return Found(values, keys, {}, {}, words)


def headroom_study(ground: Ground, base: Base, cells: Sequence[Cell], matter: Matter, stages: Stages) -> Found:
    """What adapting could add in every cell and to every question, on validation users whatever the ground's part."""
    benchmark, rng = ground.benchmark, np.random.default_rng(SPLIT)
    setting = benchmark.settings[0]
    users = np.unique(setting.validation.user).astype(np.int64)
    features = of_company(benchmark.train, benchmark.users, Effort().size)
    values, keys = {}, {}
    with stages("headroom", f"{benchmark.name}, {len(cells) + len(matter.questions)} regimes"):
        for cell in cells:
            asked = long.asked(base, benchmark.train, users, cell)
            name = f"{benchmark.name}, {cell.name}"
            values[name], keys[name] = headroom.measured(features, asked.place), fingerprint(asked.long.tasks)
        for question in matter.questions:
            place = long.Place(cold_bank(base, question.chosen, question.new_only, cold.QUESTIONS, rng))
            name = f"{benchmark.name}, {question.name}"
            values[name], keys[name] = headroom.measured(features, place), fingerprint(question.chosen)
    return Found(values, keys, {})


def clock_study(ground: Ground, base: Base, effort: Effort, stages: Stages) -> dict[str, float | None]:
    """What requests and adapting cost in the primary cell; what a core has learned changes nothing of that."""
    benchmark = ground.benchmark
    with stages("clock", "one user at a time: let nothing else run"):
        features = of_company(benchmark.train, benchmark.users, effort.size)
        asked = long.asked(base, benchmark.train, ground.chosen, long.PRIMARY)
        return break_even(base, core_on(features), effort.newton, asked.long)


@dataclass(frozen=True)
class Question:
    """A cell of `cold`. chosen, asked: tasks to choose on and tasks to measure. new_only: whether known items are left out."""

    name: str
    chosen: Tasks
    asked: Tasks
    new_only: bool


@dataclass(frozen=True)
class Matter:
    """What `cold` asks of one benchmark. practice: tasks to meta-train on, a lot a size of support. moments: whose
    continuations are the neighbours'."""

    practice: tuple[Tasks, ...]
    moments: Tasks
    questions: tuple[Question, ...]


def new_users(ground: Ground, names: Mapping[str, int], rng: np.random.Generator) -> Matter:
    """Settings of a benchmark of new users. names: setting -> baskets known."""
    benchmark, plan = ground.benchmark, ground.settings.train
    mine = benchmark.train.take(ground.people.meta)
    practice, questions = [], []
    for known in sorted(set(names.values())):
        data = mine if ground.reorder is None else ground.reorder(mine, rng)
        draw = (known, known), plan.horizon, PRACTICE, rng, plan.from_start
        practice.append(sample_windows(data, np.arange(data.n_users), *draw, least=1))
    span = max(1, min(names.values()) // 2), 2 * max(names.values())
    moments = sample_windows(benchmark.train, ground.people.base, span, plan.horizon, MOMENTS, rng, plan.from_start, least=1)
    for name in names:
        setting = benchmark.setting(name)
        both = concatenated(setting.validation, setting.test)
        chosen, asked = (both.take(np.flatnonzero(np.isin(both.user, users))) for users in (ground.chosen, ground.asked))
        questions.append(Question(name, chosen, asked, setting.rank == "unseen"))
    return Matter(tuple(practice), moments, tuple(questions))


def last_events(benchmark: Benchmark, plan: TrainSettings, part: Part, rng: np.random.Generator) -> Matter:
    """A benchmark that asks everybody for the last event: a third of the validation tasks each to meta-train on, to choose on,
    and, for part "validation", to measure. The base has met these users, but not what is asked."""
    setting = benchmark.settings[0]
    thirds = np.array_split(rng.permutation(len(setting.validation)), 3)
    practice, chosen, held = (setting.validation.take(np.sort(some[:MOST])) for some in thirds)
    test = setting.test.take(np.sort(rng.permutation(len(setting.test))[:MOST]))
    moments = sample_windows(benchmark.train, benchmark.users, plan.known, plan.horizon, MOMENTS, rng, plan.from_start, least=1)
    asked = held if part == "validation" else test
    return Matter((practice,), moments, (Question(setting.name, chosen, asked, setting.rank == "unseen"),))


def concatenated(one: Tasks, other: Tasks) -> Tasks:
    """Tasks of one dataset, one after the other."""
    start, split, stop = (np.concatenate([getattr(t, name) for t in (one, other)]) for name in ("start", "split", "stop"))
    return Tasks(one.dataset, start, split, stop)


def cold_study(benchmark: Benchmark, matter: Matter, base: Base, effort: Effort, seed: int, stages: Stages) -> Found:
    """Every question about a benchmark."""
    features, rng = of_company(benchmark.train, benchmark.users, effort.size), np.random.default_rng((seed, 2))
    with stages("meta-train", f"{benchmark.name}, seed {seed}"):
        new_only = matter.questions[0].new_only
        team = cold.learn(base, features, matter.practice, matter.moments, new_only, effort, rng, seed)
    values, keys, notes = {}, {}, {}
    with stages("measure", f"{benchmark.name}, seed {seed}, {len(matter.questions)} cells"):
        for question in matter.questions:
            name = f"{benchmark.name}, {question.name}"
            parts = question.chosen, question.asked, question.new_only
            values[name], notes[name] = cold.measured(base, team, *parts, effort, rng)
            keys[name] = fingerprint(question.asked)
    return Found(values, keys, notes, team.seconds)


def factor_study(ground: Ground, base: Base, seed: int, stages: Stages) -> Found:
    """Every factor, in the primary cell of `long`, on all users to choose on and to ask of a part "validation"."""
    benchmark, people, rng = ground.benchmark, ground.people, np.random.default_rng((seed, 3))
    users = np.sort(np.concatenate([ground.chosen, ground.asked]))
    asked = long.asked(base, benchmark.train, users, long.PRIMARY)
    cells = [long.PRIMARY] * 4  # four times, each in a new order
    places = list(long.practices(base, benchmark.train, people.meta, cells, PRACTICE, ground.reorder, rng))

    def features(size: int) -> np.ndarray:
        return of_company(benchmark.train, benchmark.users, size)

    with stages("factors", f"{len(asked.long.tasks):,} users"):
        values = factors.measured(factors.Ground(base, features, places, asked.place, seed, factors.EFFORT))
    return Found(values, dict.fromkeys(values, fingerprint(asked.long.tasks)), {})
