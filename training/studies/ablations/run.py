"""The ablation study: the demonstration's flow with every ablation of the adapter, and LoRA for a held-out category."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch

from llmrec.data.tasks import Tasks
from llmrec.demo.act_trips import split
from llmrec.demo.run import read_tables
from llmrec.evaluation.comparison import cells, compare
from llmrec.evaluation.controls import fit_controls
from llmrec.index.candidates import recall
from llmrec.metrics.report import Result, write_report
from llmrec.progress import Stages
from llmrec.ranking.two_stage import retrieve
from llmrec.recommender.pipeline import reader
from pages.demonstration import tables
from studies.ablations.cold import (
    Trained,
    adaptive_arms,
    counts_arm,
    first_tasks,
    fitted,
    frozen_arm,
)
from studies.ablations.plan import MINUTES, Plan, full, shortened
from studies.ablations.plan import quick as short_plan
from studies.ablations.plot import plot
from studies.ablations.scene import held_out, scene_arms, scene_cell

PRIMARY = "declared before test: cold users, known=1,all, ndcg@10: meta_lora against most_frequent, item_knn and ease, paired"
PRIMARY_METHOD, OURS = "meta_lora", ("meta_lora", "zero_steps")


def run_study(out: Path, events: Path | None, items: Path | None, quick: bool, seed: int, minutes: float | None) -> int:
    """Run the study and write `report.json` and `methods.png` into `out`. Returns the exit code."""
    began = time.perf_counter()
    stages = Stages()
    out.mkdir(parents=True, exist_ok=True)
    with stages("read and clean", "the Complete Journey data (84.51°)" if events is None else str(events)):
        dataset, reports = read_tables(events, items)
    plan = short_plan() if quick else full()
    parts = split(dataset, plan.users)
    rng = np.random.default_rng(seed)
    scene = held_out(dataset, parts["train"])
    taught = dataset if scene is None else dataset.keep(~scene.items[dataset.item])
    given = MINUTES if minutes is None else minutes
    with stages("fit", f"a recommender on {len(parts['train']):,} users"):
        trained, settings = fitted(taught, parts["train"], plan.settings, seed, given, rng)
    plan, said = shortened(plan, settings)
    model, frozen, retrieval = trained.model, trained.items, trained.retrieval
    click.echo(
        f"{len(parts['train']):,} users to learn from ({len(trained.adapting):,} of them to learn to adapt, "
        f"{len(trained.ranking):,} to learn the blend), "
        f"{len(parts['validation']):,} to choose on, {len(parts['test']):,} to test on; "
        + (
            f"held out of training: category {scene.name!r} ({scene.items.sum()} items)"
            if scene
            else "no category fits to be held out"
        )
    )

    validation, test = first_tasks(dataset, parts["validation"], plan), first_tasks(dataset, parts["test"], plan)
    with stages("controls", "constants chosen on validation users"):
        arms = fit_controls(dataset, parts["train"], validation)
    arms["frozen"] = frozen_arm(model)
    arms["counts"] = counts_arm(trained, plan)
    ours, rankers = adaptive_arms(trained, validation, plan, seed, stages)
    arms |= ours
    name = "journey" if events is None else "own"
    study = [cell for known, tasks in test.items() for cell in cells(f"{name}-cold", {known: tasks})]
    with stages("test", f"{len(arms)} methods, {len(study)} settings, {len(study[0].tasks)} users known by one basket"):
        rows = compare(study, arms, PRIMARY_METHOD, OURS, seed, rng)
    if scene is not None:
        with stages(
            "new category",
            f"{scene.name!r}: {plan.scene_episodes} episodes on other categories, then {plan.scene_support} users",
        ):
            support = rng.permutation(trained.adapting)[: plan.scene_support]
            cell = scene_cell(f"{name}-scene", dataset, parts["test"], scene, plan, rng)
            # With a generator of its own: what it draws must not decide which tasks are tested.
            choosing = scene_cell("validation", dataset, parts["validation"], scene, plan, np.random.default_rng(seed + 4))
            scene_methods = scene_arms(dataset, trained, rankers, scene, support, choosing, plan, seed, rng)
            rows += compare([cell], scene_methods, PRIMARY_METHOD, OURS, seed, rng)

    read = reader(model, frozen, plan.settings, trained.init)
    first = next(iter(test.values()))
    found = retrieve(retrieval, first, read(first).vectors, retrieval.sources, None)
    covered = {name: float(np.nanmean(values)) for name, values in recall(found, first.relevant()).items()}
    latency = _latency(trained, plan, first)
    with stages("save", str(out)):
        plot(rows, out / "methods.png", "Ablations of the adapter")
    extra = {
        "primary": PRIMARY,
        "plan": {**asdict(plan), "note": said, "quick": quick},
        "data": {
            "users": dataset.n_users,
            "items": dataset.n_items,
            "events": dataset.n_events,
            "held_out": scene.name if scene else None,
        },
        "cleaning": [report.to_dict() for report in reports],
        "stages": [stage._asdict() for stage in stages.done],
        "candidate_recall": covered,
        "milliseconds_per_adapted_user": latency,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "seconds": time.perf_counter() - began,
    }
    write_report(out / "report.json", rows, extra)
    _print(rows, covered, latency, said)
    click.echo(f"\n{out / 'report.json'}, {out / 'methods.png'}: {(time.perf_counter() - began) / 60:.1f} min in all")
    return 0


def _latency(trained: Trained, plan: Plan, tasks: Tasks) -> dict[str, float]:
    """Milliseconds to adapt one user and read the vector, alone (median of ten) and in a batch of 64."""
    times = []
    for task in range(min(11, len(tasks))):
        times.append(_time(trained, plan, tasks.take(np.array([task]))))
    batch = tasks.take(np.arange(min(64, len(tasks))))
    return {"alone": 1000 * float(np.median(times[1:])), "batched": 1000 * _time(trained, plan, batch) / len(batch)}


def _time(trained: Trained, plan: Plan, tasks: Tasks) -> float:
    began = time.perf_counter()
    reader(trained.model, trained.items, plan.settings, trained.init)(tasks)
    return time.perf_counter() - began


def _print(rows: list[Result], covered: dict[str, float], latency: dict[str, float], said: str) -> None:
    click.echo(f"\n{PRIMARY}\n{said}\n\n{tables(rows)}\n")
    click.echo("candidate recall, known=1: " + ", ".join(f"{name} {value:.3f}" for name, value in covered.items()))
    click.echo(f"one user adapted in {latency['alone']:.1f} ms alone, {latency['batched']:.1f} ms in a batch of 64\n")
