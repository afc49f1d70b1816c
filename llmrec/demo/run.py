"""`llmrec demo`: fit a recommender on real data, test it on users it has never seen, with controls, a plot and a report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
import numpy as np
import torch

from llmrec.data.build import build
from llmrec.data.clean import CleaningReport
from llmrec.data.dataset import Dataset
from llmrec.data.journey import journey_report, load_journey
from llmrec.data.splits import cold_users
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.demo.comparison import Arm, cells, compare
from llmrec.demo.controls import fit_controls
from llmrec.demo.plan import MINUTES, Plan, full
from llmrec.demo.plan import quick as quick_plan
from llmrec.demo.plot import plot
from llmrec.demo.story import protagonist, story
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.index.candidates import recall
from llmrec.metrics.report import Result, table, write_report
from llmrec.progress import Stages
from llmrec.ranking.two_stage import retrieve
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.fit import fit
from llmrec.recommender.saving import save_state
from llmrec.recommender.state import State
from llmrec.store import cache_folder

LEAST_USERS = 20  # of whom four are tested on and constants are chosen on two
OURS, ZERO = "llmrec", "zero_steps"
PRIMARY = "declared before test: cold users, known=1,all, ndcg@10: llmrec against most_frequent, item_knn and ease, paired"


def run_demo(out: Path, events: Path | None, items: Path | None, quick: bool, seed: int, minutes: float | None) -> int:
    """Run the demonstration and write `report.json`, `methods.png` and `model/` into `out`. Returns the exit code."""
    began = time.perf_counter()
    stages = Stages()
    out.mkdir(parents=True, exist_ok=True)
    dataset, reports = read_tables(events, items, stages)
    for report in reports:
        click.echo(str(report) + "\n")
    plan = quick_plan() if quick else full()
    parts = split(dataset, plan.users)
    validation, test = asked(dataset, parts, plan)
    click.echo(", ".join(f"{len(users):,} users to {what}" for what, users in _purposes(parts)))

    given = MINUTES if minutes is None else minutes
    state = fit(dataset.take(parts["train"]), Weights.packaged(), plan.settings, seed, stages, cache_folder(), given)
    said = next(stage.detail for stage in stages.done if stage.name == "estimate")
    with stages("controls", "constants chosen on validation users"):
        arms = fit_controls(dataset, parts["train"], validation)
    arms |= {ZERO: _arm(state, 0), OURS: _arm(state, None)}
    name = "journey" if events is None else "own"
    study = cells(f"{name}-cold", test)
    with stages("test", f"{len(arms)} methods, {len(study)} settings, {len(study[0].tasks)} users known by one basket"):
        rows = compare(study, arms, OURS, (OURS, ZERO), seed, np.random.default_rng(seed))

    first = next(iter(test.values()))
    covered, latency = _recall(state, first), _latency(state, first)
    popularity = state.retrieval.counts.popularity
    user = protagonist(first, popularity)
    text, told = story(dataset, first, user, popularity, chain_scores(state, first.take(np.array([user])), None)[0])
    with stages("save", str(out)):
        save_state(out / "model", replace(state, frame="pandas"), histories=False)  # as for tables read from files
        plot(rows, out / "methods.png", "What users who were never trained on buy next")
    extra = {
        "primary": PRIMARY,
        "plan": {**asdict(replace(plan, settings=state.settings)), "note": said, "quick": quick},
        "data": {"users": dataset.n_users, "items": dataset.n_items, "events": dataset.n_events},
        "cleaning": [report.to_dict() for report in reports],
        "stages": [stage._asdict() for stage in stages.done],
        "candidate_recall": covered,
        "milliseconds_per_adapted_user": latency,
        "story": {"text": text, **told},
        "seed": seed,
        "threads": torch.get_num_threads(),
        "seconds": time.perf_counter() - began,
    }
    write_report(out / "report.json", rows, extra)
    click.echo(f"\n{PRIMARY}\n{said}\n\n{tables(rows)}\n")
    click.echo("candidate recall, known=1: " + ", ".join(f"{source} {value:.3f}" for source, value in covered.items()))
    click.echo(f"one user adapted in {latency['alone']:.1f} ms alone, {latency['batched']:.1f} ms in a batch of 64\n")
    click.echo(text)
    took = (time.perf_counter() - began) / 60
    click.echo(f"\n{out / 'report.json'}, {out / 'methods.png'}, {out / 'model'}: {took:.1f} min in all")
    return 0


def read_tables(events: Path | None, items: Path | None, stages: Stages) -> tuple[Dataset, list[CleaningReport]]:
    with stages("read and clean", "the Complete Journey data (84.51°)" if events is None else str(events)) as say:
        if events is None:
            tables, reports = load_journey(), [journey_report()]
        else:
            tables, reports = (events, items), []
        dataset, report = build(*tables)
        say(f"{dataset.n_events:,} events of {dataset.n_users:,} users with {dataset.n_items:,} items")
    return dataset, [*reports, report]


def split(dataset: Dataset, most: int | None) -> dict[str, np.ndarray]:
    """Users by a fixed permutation, first fifth to test, next tenth to choose on: the split that others can repeat.

    most: at most so many users; None for all.
    """
    order = np.random.RandomState(0).permutation(dataset.n_users)[:most]
    parts = cold_users(len(order), order=np.arange(len(order)))
    return {name: np.sort(order[getattr(parts, name)]) for name in ("train", "validation", "test")}


def asked(dataset: Dataset, parts: dict[str, np.ndarray], plan: Plan) -> tuple[dict[int, Tasks], dict[int, Tasks]]:
    """Tasks of the validation users and of the test users, by known baskets; numbers for which there are none are left out.

    Raises DataError where too few users have enough baskets for the smallest number.
    """
    validation, test = (_first(dataset, parts[name], plan) for name in ("validation", "test"))
    least = plan.known[0] + plan.settings.train.horizon
    if len(validation[plan.known[0]]) < 1 or len(test[plan.known[0]]) < 2:
        raise DataError(
            f"events: the demo needs at least {LEAST_USERS} users with {least} baskets each, got {dataset.n_users:,} users, of "
            f"whom {int((dataset.n_baskets >= least).sum()):,} have as many: a fifth is tested on, constants are chosen on a "
            "tenth. Bring more users, or longer histories; Recommender().fit(...) needs one such user"
        )
    enough = [known for known in plan.known if len(validation[known]) and len(test[known]) > 1]
    return {known: validation[known] for known in enough}, {known: test[known] for known in enough}


def _purposes(parts: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return [("train on", parts["train"]), ("choose constants on", parts["validation"]), ("test on", parts["test"])]


def _first(dataset: Dataset, users: np.ndarray, plan: Plan) -> dict[int, Tasks]:
    """Known baskets -> tasks of the users who have enough."""
    return {known: first_baskets(dataset, users, known, plan.settings.train.horizon) for known in plan.known}


def _arm(state: State, steps: int | None) -> Arm:
    def every(tasks: Tasks) -> np.ndarray:
        return chain_scores(state, tasks, steps)

    def new(tasks: Tasks) -> np.ndarray:
        return chain_scores(state, tasks, steps, filter_viewed=True)

    return every, new


def _recall(state: State, tasks: Tasks) -> dict[str, float]:
    """Share of the relevant items that each source, and all together, retrieved."""
    found = retrieve(state.retrieval, tasks, state.adapting.reader()(tasks).vectors, state.retrieval.sources, None)
    return {name: float(np.nanmean(values)) for name, values in recall(found, tasks.relevant()).items()}


def _latency(state: State, tasks: Tasks) -> dict[str, float]:
    """Milliseconds to adapt one user by all learned steps and read the vector: alone (median of ten), in a batch of 64."""
    alone = [_seconds(state, tasks.take(np.array([task]))) for task in range(min(11, len(tasks)))]
    batch = tasks.take(np.arange(min(64, len(tasks))))
    return {"alone": 1000 * float(np.median(alone[1:])), "batched": 1000 * _seconds(state, batch) / len(batch)}


def _seconds(state: State, tasks: Tasks) -> float:
    began = time.perf_counter()
    ungated = replace(state.adapting, gate=None)
    ungated.read(tasks, ungated.choices(tasks))
    return time.perf_counter() - began


def tables(rows: Sequence[Result], primary: str = OURS) -> str:
    """The tables of a report in Markdown: NDCG@10 of every benchmark, each method marked against the `primary` one."""
    marked = [_turned(row) if row.versus else row for row in rows]
    parts = []
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        parts.append(f"{benchmark}, NDCG@10 [95% interval]; ▲ better, ▼ worse, = level with {primary}, paired over users:")
        parts.append(table(marked, benchmark, "ndcg@10", versus=primary))
    return "\n\n".join(parts)


def _turned(row: Result) -> Result:
    """The difference `method - versus` as `versus - method`."""
    low, high = (None, None) if row.low is None or row.high is None else (-row.high, -row.low)
    return replace(row, method=row.versus, versus=row.method, value=-row.value, low=low, high=high)
