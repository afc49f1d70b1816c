"""Measure methods on a benchmark and write its report: controls with constants chosen on validation, and the recommender.

python training/evaluate.py --benchmark ml1m-cold --data FOLDER --method controls --validation_only
python training/evaluate.py --benchmark ml1m-cold --data FOLDER --method all --settings best --seeds 0,1,2 \\
    --output training/results/ml1m-cold.json

The recommender is `Recommender(settings).fit(...)`, as everybody fits it. What each method comes to for every user is kept
under --runs, so that methods and seeds of several sessions add up: the report is made of all that is there. The benchmark's
primary cell stands in its protocol, before any test.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.controls import families, tune
from benchmarks.measure import report_extra, report_rows, run
from benchmarks.named import NAMES, load
from benchmarks.protocol import Benchmark, Part
from benchmarks.runs import load_runs, save_run, seed_numbers
from benchmarks.signals import SAID, Ratings, with_ratings
from llmrec.data.dataset import Catalogue
from llmrec.errors import LlmrecError
from llmrec.metrics.report import table, write_report
from llmrec.progress import Stages
from llmrec.store import cache_folder

METHODS = ("controls", "sasrec", "recommender", "added", "opened", "reference", "all", "none")
DRAWS_SEED = 0  # of the bootstrap: the same values give the same intervals


def controls(benchmark: Benchmark, runs: Path, part: Part, only: tuple[str, ...], said: str, stages: Stages) -> None:
    """Every control, or only some, tuned, measured and kept. said: added to their names."""
    there = families(benchmark, text_vectors)
    if unknown := sorted(set(only) - {family.name for family in there}):
        raise click.BadParameter(
            f"no control {unknown[0]!r}; there are {', '.join(f.name for f in there)}", param_hint="--only"
        )
    for family in there:
        if only and family.name not in only:
            continue
        with stages(family.name, "constants on validation") as found:
            method = tune(benchmark, family, final=part == "test")
            if method is not None:
                save_run(runs, run(benchmark, replace(method, name=method.name + said), None, part))
            found("; ".join(f"{name}: {said}" for name, said in method.constants.items()) if method else "not asked here")


def text_vectors(catalogue: Catalogue) -> np.ndarray:
    """float32 (N, d): centred vectors of a catalogue by the packaged encoder, untrained here."""
    from llmrec.encoder.backbone import load_text  # here, for other controls do without transformers
    from llmrec.encoder.weights import Weights
    from llmrec.recommender import pipeline
    from llmrec.recommender.settings import Settings

    return pipeline.text_vectors(load_text(Weights.packaged()), catalogue, Settings(), cache_folder())[0]


def recommender(
    benchmark: Benchmark,
    runs: Path,
    part: Part,
    seeds: tuple[int, ...],
    settings: str,
    minutes: float | None,
    checkpoints: Path | None,
    said: str,
    stages: Stages,
    new_items: bool = False,
    attributes: tuple[str, ...] = (),
) -> None:
    """`Recommender(settings).fit(...)` with every seed, measured and kept.

    said: added to its name. new_items: fit on the items of the training events, and add all others by `add_items`.
    attributes: columns of the items that it reads."""
    from benchmarks import added, shipped  # here, for the same reason

    fit, ending = (added.fit, "-added") if new_items else (partial(shipped.fit, item_attributes=attributes), "")
    ending += "".join(f"-{name}" for name in attributes)
    for seed in seeds:
        with stages("recommender", f"{settings}, seed {seed}{', items added' if new_items else ''}"):
            folder = _folder(checkpoints, benchmark, part, f"{Path(settings).stem}-{seed}{ending}")
            method = fit(benchmark, settings, seed, part, minutes, folder)
            save_run(runs, run(benchmark, replace(method, name=method.name + said), seed, part))


def _folder(checkpoints: Path | None, benchmark: Benchmark, part: Part, fit: str) -> Path | None:
    """Where the checkpoints of a fit go."""
    return None if checkpoints is None else checkpoints / benchmark.name / part / fit


def opened(benchmark: Benchmark, runs: Path, part: Part, seeds: tuple[int, ...], stages: Stages) -> None:
    """`Scenes` in a shop that was not trained on, with every seed, measured and kept; only where shops are asked about."""
    from benchmarks import opened as scenes  # here, for the same reason

    if benchmark.shops is None:
        return
    for seed in seeds:
        with stages("scene opened", f"seed {seed}"):
            save_run(runs, run(benchmark, scenes.fit(benchmark, part, seed), seed, part))


def reference(
    benchmark: Benchmark,
    runs: Path,
    part: Part,
    seeds: tuple[int, ...],
    settings: str,
    minutes: float | None,
    checkpoints: Path | None,
    stages: Stages,
) -> None:
    """The recommender, trained also on the data that the benchmark holds back, with every seed, measured and kept."""
    from benchmarks import references  # here, for the same reason

    if benchmark.reference is None:
        return
    held = benchmark.reference.of(part)
    with stages("controls", held.label):
        for method in references.tuned_reference(held, part):
            save_run(runs, run(benchmark, method, None, part))
    for seed in seeds:
        with stages("recommender", f"{settings}, seed {seed}, {held.label}"):
            folder = _folder(checkpoints, benchmark, part, f"{Path(settings).stem}-{seed}-reference")
            method = references.fit_reference(held, settings, seed, part, minutes, folder)
            save_run(runs, run(benchmark, method, seed, part))


def sasrec(benchmark: Benchmark, runs: Path, part: Part, seeds: tuple[int, ...], stages: Stages) -> None:
    """SASRec with every seed, its constants chosen on validation, measured and kept; not where it cannot know the items."""
    from benchmarks import neural  # here, for the same reason

    if benchmark.by_text_alone:
        return
    for seed in seeds:
        with stages("SASRec", f"seed {seed}"):
            method = neural.tuned_sasrec(benchmark, seed, part == "test")
            save_run(runs, run(benchmark, method, seed, part))


def report(benchmark: Benchmark, runs: Path, part: Part, output: Path | None) -> None:
    """Rows of all runs that are there, as a table, and with `output` as the report's file."""
    there = load_runs(runs, benchmark, part)
    rows = report_rows(benchmark, there, np.random.default_rng(DRAWS_SEED))
    click.echo(f"{benchmark.name}, {part} users, {benchmark.primary[1]}; primary cell: {benchmark.primary[0]}\n")
    click.echo(table(rows, benchmark.name, benchmark.primary[1], versus=""))
    if output is not None:
        machine = {"part": part, "threads": torch.get_num_threads(), "cpus": os.cpu_count()}
        write_report(output, rows, report_extra(benchmark, there, rows) | machine)
        click.echo(f"\nwritten: {output}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--benchmark", "name", type=click.Choice(NAMES), required=True, help="What is measured.")
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="all",
    show_default=True,
    help="What is fitted. controls: counts and text matches, with constants chosen on validation. sasrec: the neural control. "
    "recommender: `Recommender(settings).fit`. opened: `Scenes`, where a shop is asked about that was not trained on. "
    "reference: the recommender, trained also on the data that the benchmark holds back. all: these five, as far as they are "
    "asked for. added: the recommender fitted on the items of its events alone, with the others added by `add_items`. none: "
    "nothing; the report is made of what is kept.",
)
@click.option(
    "--ratings",
    type=click.Choice(list(SAID)),
    default="read",
    show_default=True,
    help="Ratings read in the slots, hidden, or read and counted. Counted: what was not liked has a smaller sample weight in "
    "training, and in the controls that read sample weights.",
)
@click.option(
    "--settings",
    default="default",
    show_default=True,
    help="Of the recommender: default, quick, best, or a YAML file. The other methods do not read them.",
)
@click.option("--item_attributes", multiple=True, help="Column of the items that the recommender reads; may be repeated.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Of the recommender's training.  [default: no limit]")
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path),
    help="Where the recommender leaves checkpoints, to go on after a kill. For other code give another folder.",
)
@click.option("--only", multiple=True, help='One control by its name, such as "EASE"; may be given several times.')
@click.option(
    "--seeds",
    callback=seed_numbers,
    default="0",
    show_default=True,
    help="Seeds of all methods that have one, with commas between.",
)
@click.option("--runs", type=click.Path(path_type=Path), help="Where values are kept.  [default: runs/benchmarks/NAME]")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option("--validation_only", is_flag=True, help="Measure on validation users; nothing is read of test users.")
def main(
    name: str,
    data: Path,
    method: str,
    ratings: Ratings,
    settings: str,
    item_attributes: tuple[str, ...],
    minutes: float | None,
    checkpoints: Path | None,
    only: tuple[str, ...],
    seeds: tuple[int, ...],
    runs: Path | None,
    output: Path | None,
    validation_only: bool,
) -> None:
    """Measure methods on a benchmark, each with an interval, and the recommender paired against all others.

    Figures of every user are kept under --runs; the report holds all methods and seeds that are there.

    \b
    Examples:
      python training/evaluate.py --benchmark journey-cold --method controls --validation_only
      python training/evaluate.py --benchmark ml1m-cold --data FOLDER --method recommender --seeds 0,1,2
      python training/evaluate.py --benchmark ml1m-cold --method none --output report.json
    """
    if item_attributes and method != "recommender":
        raise click.BadParameter("only the recommender reads them; add --method recommender", param_hint="--item_attributes")
    part: Part = "validation" if validation_only else "test"
    place = runs or Path("runs") / "benchmarks" / name
    stages, began = Stages(), time.perf_counter()
    click.echo(f"threads: {torch.get_num_threads()} of {os.cpu_count()}; values are kept in {place}", err=True)
    try:
        if method in ("recommender", "added", "reference", "all"):
            from benchmarks.shipped import settings_of  # here, for the same reason

            settings_of(settings)  # a mistake is to be known before anything is fitted
        with stages("data", name) as found:
            benchmark = load(name, data)
            found(f"{name}: {benchmark.train.n_items:,} items, {len(benchmark.users):,} users to train on")
        if ratings != "read":
            benchmark = with_ratings(benchmark, ratings)
        if method in ("controls", "all"):
            controls(benchmark, place, part, only, SAID[ratings], stages)
        if method in ("sasrec", "all"):
            sasrec(benchmark, place, part, seeds, stages)
        if method in ("recommender", "all"):
            read = item_attributes
            recommender(benchmark, place, part, seeds, settings, minutes, checkpoints, SAID[ratings], stages, attributes=read)
        if method == "added":
            recommender(benchmark, place, part, seeds, settings, minutes, checkpoints, SAID[ratings], stages, new_items=True)
        if method in ("opened", "all"):
            opened(benchmark, place, part, seeds, stages)
        if method in ("reference", "all"):
            reference(benchmark, place, part, seeds, settings, minutes, checkpoints, stages)
        report(benchmark, place, part, output)
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
