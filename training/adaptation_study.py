"""What adapting adds to a base that has read the prompt: long histories, few events, and one factor at a time.

python training/adaptation_study.py --data FOLDER --only long --validation_only
python training/adaptation_study.py --data FOLDER --seeds 0,1,2 --output training/results/adaptation.json

    headroom  what adapting could add at the most, regime by regime, before anything is meta-trained; on validation users
    long      known = 50, 100, 200 events, prompts of the last 10, 20, 50, on ml1m-taste: the older events are the support
    controls  beside `long`: full fine-tuning in the primary cell, and the base trained on with meta-learning's compute
    order     the same with 100 known on ml1m-cold, where the site's own order leaves the older events worth nothing
    cold      5, 10, 20 events (or 1, 3, 5 trips), all in the prompt: the support asks for each from all the others
    factors   one factor at a time around the default, on validation users only
    clock     what a request costs with a short prompt and a core, and with the longest prompt; let nothing run beside it

The base is that of a recommender with the settings of training/settings, fitted for each benchmark and seed without 15% of the
training users, which the outer loop learns from; constants and gates come from validation users. Values are kept by study,
method and seed, so that sessions add up; `--only none` makes the report out of what is kept. A seed takes about 10 minutes of
one core, base training included.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.movielens import shuffled
from benchmarks.named import load
from benchmarks.protocol import Part
from benchmarks.runs import save_run, seed_numbers
from llmrec import Settings
from llmrec.errors import LlmrecError
from llmrec.metrics.report import Result, write_report
from llmrec.progress import Stages
from studies.adaptation import cold, long, report, study
from studies.adaptation.arms import Effort
from studies.adaptation.bank import Base
from studies.adaptation.base import trained
from studies.adaptation.plot import plot_factors
from studies.adaptation.regimes import cells, kept_out

STUDIES = ("headroom", "long", "controls", "order", "cold", "factors", "clock")
SETTINGS = Path(__file__).parent / "settings"
FILES = {"ml1m-cold": "movielens", "ml1m-taste": "movielens", "journey-cold": "journey", "beauty": "amazon"}  # in SETTINGS
DRAWS_SEED = 0  # of the bootstrap: the same values give the same intervals
COLD = {
    "ml1m-cold": {f"known={known}": known for known in (5, 10, 20)},
    "ml1m-taste": {f"known={known}": known for known in (5, 10, 20)},
    "journey-cold": {f"known={known},all": known for known in (1, 3, 5)},
    "beauty": {},
}


def settings_of(name: str) -> Settings:
    """The settings by which a benchmark's bases are trained."""
    return Settings.from_yaml(SETTINGS / f"{FILES[name]}.yaml")


def ground(name: str, data: Path, part: Part, everybody: bool = False) -> study.Ground:
    """A benchmark with its users in parts. everybody: nobody is kept out of base training."""
    benchmark = load(name, data)
    share = 0.0 if everybody else study.SHARE
    chosen, asked = study.users_of(benchmark, part)
    people = kept_out(benchmark.users, share, study.SPLIT)
    reorder = shuffled if name == "ml1m-taste" else None
    return study.Ground(benchmark, settings_of(name), people, part, chosen, asked, reorder)


def base_of(on: study.Ground, seed: int, runs: Path) -> Base:
    """The base of a seed, trained or as it was kept."""
    return trained(on.benchmark, on.people.base, on.settings, seed, runs / "bases" / f"{on.benchmark.name}-{seed}")


def measure_long(name: str, data: Path, seeds: tuple[int, ...], runs: Path, part: Part, effort: Effort, stages: Stages) -> None:
    """`long` and `controls` on ml1m-taste, and `order` on ml1m-cold."""
    benchmark, known = ("ml1m-cold", long.KNOWN[1:2]) if name == "order" else ("ml1m-taste", long.KNOWN)
    on = ground(benchmark, data, part)
    ask = study.control_study if name == "controls" else study.long_study if effort.core else study.gradient_study
    for seed in seeds:
        base = base_of(on, seed, runs)
        found = ask(on, base, list(cells(known, long.PROMPTS)), effort, seed, stages)
        keep(found, "order" if name == "order" else "long", long.OURS, seed, part, runs)


def measure_clock(data: Path, runs: Path, effort: Effort, stages: Stages) -> None:
    """`clock`, of the first seed's base."""
    on = ground("ml1m-taste", data, "validation")
    found = study.clock_study(on, base_of(on, 0, runs), effort, stages)
    (runs / "clock.json").write_text(json.dumps(found), encoding="utf-8")


def measure_cold(
    data: Path, seeds: tuple[int, ...], runs: Path, part: Part, benchmarks: tuple[str, ...], effort: Effort, stages: Stages
) -> None:
    """`cold` on each benchmark."""
    for name, settings in COLD.items():
        if benchmarks and name not in benchmarks:
            continue
        on = ground(name, data, part, everybody=not settings)
        rng = np.random.default_rng(study.SPLIT)
        last = study.last_events(on.benchmark, on.settings.train, part, rng) if not settings else None
        matter = study.new_users(on, settings, rng) if last is None else last
        for seed in seeds:
            base = base_of(on, seed, runs)
            found = study.cold_study(on.benchmark, matter, base, effort, seed, stages)
            keep(found, f"cold, {name}", cold.OURS, seed, part, runs)


def measure_headroom(data: Path, runs: Path, benchmarks: tuple[str, ...], stages: Stages) -> None:
    """`headroom`, on validation users whatever the part of the other studies."""
    several = {"ml1m-taste": list(cells(long.KNOWN, long.PROMPTS)), "ml1m-cold": list(cells(long.KNOWN[1:2], long.PROMPTS))}
    for name, settings in COLD.items():
        if benchmarks and name not in benchmarks:
            continue
        # Of part "test" all validation users are to choose on, and nobody else is asked here.
        on = ground(name, data, "test", everybody=not settings)
        rng = np.random.default_rng(study.SPLIT)
        matter = (
            study.new_users(on, settings, rng) if settings else study.last_events(on.benchmark, on.settings.train, "test", rng)
        )
        found = study.headroom_study(on, base_of(on, 0, runs), several.get(name, []), matter, stages)
        for run in found.runs("headroom", (), 0, "validation"):
            save_run(runs / "values" / "headroom" / name, run)


def measure_factors(data: Path, runs: Path, stages: Stages) -> None:
    """`factors`, on validation users whatever the part of the other studies."""
    on = ground("ml1m-taste", data, "validation")
    found = study.factor_study(on, base_of(on, 0, runs), 0, stages)
    keep(found, "factors", (), 0, "validation", runs)


def keep(found: study.Found, name: str, ours: tuple[str, ...], seed: int, part: Part, runs: Path) -> None:
    """Every method's values, in the folder of their study."""
    for run in found.runs(name, ours, seed, part):
        save_run(runs / "values" / name.replace(", ", "-"), run)
    for setting, taken in found.notes.items():
        click.echo(f"{setting}, seed {seed}: the gate takes {taken}", err=True)


def told(runs: Path, part: Part) -> tuple[list[Result], dict]:
    """Rows of all that is kept, and what stands beside them."""
    rows: list[Result] = []
    gates: dict[str, list[str]] = {}
    constants: dict[str, dict[str, str]] = {}
    seeds: dict[str, dict[str, list[int]]] = {}
    mine: dict[str, tuple[str, ...]] = {"long": (long.GATED, long.CORE, long.LORA), "order": (long.GATED,)}
    of_validation = [*(f"headroom/{name}" for name in COLD), "factors"]
    for name in ["long", "order", *(f"cold-{name}" for name in COLD), *of_validation]:
        there = report.kept(runs / "values" / name, "validation" if name in of_validation else part)
        if there:
            rows += report.rows(
                there, () if name in of_validation else mine.get(name, (cold.GATED,)), np.random.default_rng(DRAWS_SEED)
            )
        for run in there:
            seeds.setdefault(run.benchmark, {}).setdefault(run.method, []).append(run.seed or 0)
            for setting, taken in run.constants.items():
                if run.method == long.GATED:
                    gates.setdefault(f"{run.benchmark}, {setting}", []).append(f"seed {run.seed}: {taken}")
                else:
                    constants.setdefault(run.method, {})[f"seed {run.seed}"] = taken
    clock = runs / "clock.json"
    of_long, of_cold = ([row for row in rows if row.benchmark.startswith(study)] for study in ("long", "cold"))
    extra = {
        "primary": {"setting": long.PRIMARY.name, "metric": report.METRIC, "method": long.GATED},
        "aims": report.reached(of_long, long.aims()) + report.reached(of_cold, cold.aims(of_cold)),
        "gates": gates,
        "constants": constants,
        "seeds": seeds,
        "break_even": json.loads(clock.read_text(encoding="utf-8")) if clock.is_file() else None,
    }
    return rows, extra


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--seeds", callback=seed_numbers, default="0,1,2", show_default=True, help="Seeds, with commas between.")
@click.option(
    "--only",
    type=click.Choice([*STUDIES, "none"]),
    multiple=True,
    help="One study; may be given several times.  [default: all]",
)
@click.option("--benchmark", type=click.Choice(list(COLD)), multiple=True, help="One benchmark of `cold`; may be repeated.")
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs/adaptation"), show_default=True, help="Where values are kept."
)
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written, with a plot of `factors`.")
@click.option("--core_only", is_flag=True, help="Leave out LoRA, gradient steps and the user vector: a third of the time.")
@click.option("--without_core", is_flag=True, help="Of `long`, what --core_only leaves out, and nothing else.")
@click.option("--validation_only", is_flag=True, help="Choose on one half of the validation users and measure on the other.")
def main(
    data: Path,
    seeds: tuple[int, ...],
    only: tuple[str, ...],
    benchmark: tuple[str, ...],
    runs: Path,
    output: Path | None,
    core_only: bool,
    without_core: bool,
    validation_only: bool,
) -> None:
    """Measure what adapting adds, study by study, and write one report."""
    stages, began = Stages(), time.perf_counter()
    part: Part = "validation" if validation_only else "test"
    effort = replace(Effort(), gradient=0, head=0, lora=0) if core_only else Effort()
    if without_core:
        effort = replace(effort, core=0)
    if without_core and (core_only or only != ("long",)):
        raise click.UsageError("--without_core is for `long`: give --only long with it, and not --core_only.")
    try:
        for name in only or STUDIES:
            if name in ("long", "controls", "order"):
                measure_long(name, data, seeds, runs, part, effort, stages)
            elif name == "cold":
                measure_cold(data, seeds, runs, part, benchmark, effort, stages)
            elif name == "headroom":
                measure_headroom(data, runs, benchmark, stages)
            elif name == "factors":
                measure_factors(data, runs, stages)
            elif name == "clock":
                measure_clock(data, runs, effort, stages)
        rows, extra = told(runs, part)
        for study_name in dict.fromkeys(row.benchmark for row in rows):
            click.echo(f"{study_name}\n{report.markdown(rows, study_name)}\n")
        if output is not None:
            machine = {"part": part, "threads": torch.get_num_threads(), "cpus": os.cpu_count()}
            write_report(output, rows, extra | machine)
            click.echo(f"written: {output}")
            if factors := [row for row in rows if row.benchmark == "factors"]:
                plot_factors(factors, output.with_name(f"{output.stem}-factors.png"))
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
