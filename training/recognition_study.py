"""Study whether a new scene is recognised in windows of behaviour, and write its report.

python training/recognition_study.py --data FOLDER --output training/results/recognition.json

The hard cases: other countries and another season in one shop, other households and another season in another; the easy one: a
department never seen. Rows of each case are kept under --runs; the report is made of all that are there. The primary cell and
the scenes on which constants were chosen stand in `studies.recognition`, study.py and cases.py; --tried measures on
those and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from benchmarks.files import AS_IT_IS
from llmrec.data.build import build
from llmrec.data.dataset import Catalogue
from llmrec.data.journey import load_journey
from llmrec.errors import LlmrecError
from llmrec.metrics.report import Result, read_rows, table, write_report
from llmrec.progress import Stages
from llmrec.store import cache_folder
from studies.recognition import cases, study

SHOPS = ("retail", "journey")


def load(shop: str, data: Path) -> list[cases.Case]:
    """The cases of one shop."""
    if shop == "retail":
        dataset = cases.load_retail(data)
        return [*cases.countries(dataset), cases.season(dataset, "retail", 2011, cases.SHOPPERS)]
    dataset = build(*load_journey(), cleaning=AS_IT_IS)[0]
    season = cases.season(dataset, "groceries", 2017, cases.HOUSEHOLDS)
    return [cases.departments(dataset), *cases.demography(dataset), season]


def text_vectors(catalogue: Catalogue) -> np.ndarray:
    """float32 (N, d): centred vectors of a catalogue by the packaged encoder, which is not trained here."""
    from llmrec.encoder.backbone import load_text
    from llmrec.encoder.weights import Weights
    from llmrec.recommender import pipeline
    from llmrec.recommender.settings import Settings

    return pipeline.text_vectors(load_text(Weights.packaged()), catalogue, Settings(), cache_folder())[0]


def kept(folder: Path) -> tuple[list[Result], dict]:
    """Rows of all cases measured so far, and what stands beside them."""
    rows: list[Result] = []
    cells: dict = {}
    for path in sorted(folder.glob("*.json")):
        rows += read_rows(path)
        cells |= json.loads(path.read_text(encoding="utf-8"))["cells"]
    return rows, cells


def said(rows: list[Result]) -> str:
    """The tables that a person reads."""
    parts = []
    for metric in ("auroc", "false alarms, shuffled", "false alarms, in time", "events until noticed", "noticed"):
        if any(row.metric == metric and not row.versus for row in rows):
            higher = metric in ("auroc", "noticed")
            parts.append(f"{metric}\n\n{table(rows, study.NAME, metric, digits=3, higher_is_better=higher)}")
    return "\n\n".join(parts)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--shop", type=click.Choice(SHOPS), multiple=True, help="One shop alone.  [default: both]")
@click.option("--case", "only", multiple=True, help="Cases whose name begins so; may be given several times.")
@click.option("--size", "sizes", type=click.IntRange(2), multiple=True, help="Events a window.  [default: 30, 100, 300]")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "recognition", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option(
    "--tried", is_flag=True, help="Measure on the scenes on which constants are chosen; nothing of the others is read."
)
@click.option("--river", is_flag=True, help="Also watch with river's drift detectors.")
def main(
    data: Path,
    shop: tuple[str, ...],
    only: tuple[str, ...],
    sizes: tuple[int, ...],
    seeds: int,
    runs: Path,
    output: Path | None,
    tried: bool,
    river: bool,
) -> None:
    """Measure every case, or some, and report all that has been measured."""
    folder, stages = runs / ("tried" if tried else "tested"), Stages()
    try:
        for name in shop or SHOPS:
            with stages("data", name):
                there = [case for case in load(name, data) if not only or case.name.startswith(only)]
            if not there:
                continue
            with stages("text", f"{there[0].dataset.n_items:,} items"):
                text = text_vectors(there[0].dataset.catalogue)
            for case in there:
                with stages("case", case.name):
                    rows, cells = study.measure(case, text, sizes or study.SIZES, range(seeds), tried, river=river)
                    file = "".join(letter if letter.isalnum() else "-" for letter in case.name)
                    write_report(folder / f"{file}.json", rows, {"cells": cells})
        rows, cells = kept(folder)
        click.echo(said(rows))
        if output is not None:
            extra = {"primary": study.PRIMARY, "aims": study.AIMS, "part": folder.name, "seeds": seeds, "cells": cells}
            write_report(output, rows, extra)
            click.echo(f"\nwritten: {output}")
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
