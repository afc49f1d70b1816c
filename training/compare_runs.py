"""Compare two measured methods user by user: of two commits, two settings, or ours and a control.

python training/compare_runs.py runs/old/test/recommender-best runs/new/test/recommender-best

Each folder is one that training/evaluate.py left under --runs: of a method with its seeds, or of one seed. Both must have asked
the same users the same. A difference is the second less the first, with its paired bootstrap interval over users and seeds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks.runs import Run, load_run
from llmrec.errors import DataError, LlmrecError
from llmrec.metrics.bootstrap import resampled
from llmrec.store import MANIFEST, whole_file

DRAWS, DRAWS_SEED = 2000, 0


def runs_of(folder: Path) -> list[Run]:
    """The runs of a method, one a seed, in the order of the seeds. Raises DataError where there is none."""
    places = [folder] if (folder / MANIFEST).is_file() else sorted(folder.glob(f"*/{MANIFEST}"))
    runs = [load_run(place if place is folder else place.parent) for place in places]
    if not runs:
        raise DataError(
            f"{folder}: expected a run, or a folder of a method's runs, as training/evaluate.py leaves them; got none"
        )
    return sorted(runs, key=lambda run: -1 if run.seed is None else run.seed)


def compared(first: Sequence[Run], second: Sequence[Run], metrics: Sequence[str] = ()) -> list[dict[str, object]]:
    """A row for each setting and metric that both have: both means, the difference and its interval.

    metrics: only these; () for all. Raises DataError where the two did not ask the same, or have nothing in common."""
    rows: list[dict[str, object]] = []
    for setting in first[0].values:
        if setting not in second[0].values:
            continue
        keys = {run.keys[setting] for run in (*first, *second)}
        if len(keys) > 1:
            raise DataError(f"{setting}: expected runs on the same tasks, got {' and '.join(sorted(keys))}; measure one again")
        for metric in first[0].values[setting]:
            if metric not in second[0].values[setting] or (metrics and metric not in metrics):
                continue
            tables = {
                name: np.stack([run.values[setting][metric] for run in runs])
                for name, runs in (("first", first), ("second", second))
            }
            if any(np.isnan(values).all() for values in tables.values()):
                continue
            found = resampled(tables, np.random.default_rng(DRAWS_SEED), DRAWS)
            gap = found["second"].minus(found["first"]).interval()
            means = {name: round(found[name].value, 6) for name in tables}
            interval = {"difference": gap.value, "low": gap.low, "high": gap.high}
            rows.append({"setting": setting, "metric": metric, **means, **interval, "n": gap.n})
    if not rows:
        raise DataError("expected runs with a setting and a metric in common, got none")
    return rows


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("first", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--metric", multiple=True, help="Only this one, such as ndcg@10; may be given several times.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file.")
def main(first: Path, second: Path, metric: tuple[str, ...], output: Path | None) -> None:
    """Compare two folders of runs, FIRST and SECOND, user by user: how much higher the second is."""
    try:
        sides = runs_of(first), runs_of(second)
        rows = compared(*sides, metric)
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    for name, runs in zip(("first", "second"), sides, strict=True):
        seeds = ", ".join("none" if run.seed is None else str(run.seed) for run in runs)
        click.echo(f"{name}: {runs[0].method} on {runs[0].benchmark}, {runs[0].part} users, seeds {seeds}")
    for row in rows:
        values = f"{row['first']:.4f} -> {row['second']:.4f}  {row['difference']:+.4f} [{row['low']:.4f}, {row['high']:.4f}]"
        click.echo(f"{row['setting']:>12} {row['metric']:>10}  {values}  n = {row['n']:,}")
    if output is not None:
        with whole_file(output) as fresh:
            fresh.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
