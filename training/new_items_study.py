"""The study of cold items after their first purchases: how well each is ranked by text, counts, and its buyers.

python training/new_items_study.py --data FOLDER --category beauty --output training/results/new-items-beauty.json

An item first sold after 75% of the events is young. Before each purchase of one the young items are ranked, and figures are
given by the item's number of earlier buyers. Constants and blends are learned on items that were new before the cut.
`studies.new_items.study` has the methods; checkpoints of the bases are kept under --runs. With --twin another base is trained
with the young items too, and all arms are given once more for users whom it does not know after the cut.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from benchmarks.item_cold import CATEGORIES
from benchmarks.protocol import Part
from llmrec.errors import LlmrecError
from llmrec.metrics.report import table, write_report
from llmrec.progress import Stages
from studies.new_items import study, twin
from studies.new_items.item_lora import Plan
from studies.new_items.moving import read, trained
from studies.new_items.replay import Replay, replay, world


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--category", type=click.Choice(CATEGORIES), default="beauty", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "new-items", show_default=True)
@click.option("--validation_only", is_flag=True, help="Measure on validation, in sample; nothing of the test period is read.")
@click.option("--twin", "with_twin", is_flag=True, help="Train the twin too.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(data: Path, category: str, seed: int, runs: Path, validation_only: bool, with_twin: bool, output: Path | None) -> None:
    """Replay the purchases of young items and rank them before each."""
    name, stages = f"new-items-{category}", Stages()
    given: dict[Part, dict[str, np.ndarray]] = {}
    found: dict[Part, Replay] = {}
    adapters: dict[str, Plan] = {}
    try:
        parts: tuple[Part, ...] = ("validation",) if validation_only else ("validation", "test")
        for part in parts:
            with stages("data", f"{category}, {part}"):
                here = world(data, category, part)
                found[part] = replay(here)
            model, plan = trained(here, seed, runs / f"{category}-{part}-{seed}")
            with stages("move", f"{len(found[part].young):,} young items"):
                base = read(here, found[part], model, plan, seed)
                adapters = study.plans(found[part], base) if part == "validation" else adapters
                given[part] = study.inputs(here, found[part], base, adapters, seed)
        click.echo("\n".join(f"{arm}: {one}" for arm, one in adapters.items()))
        chosen = study.learned(found["validation"], given["validation"])
        result = study.values(found[part], given[part], chosen)
        rows = study.rows(name, found[part], result, seed)
        if with_twin:
            half = twin.of_half(here, found[part])
            given[part] |= twin.scores(here, half, seed, runs / f"{category}-{part}-{seed}-twin")
            of_half = study.values(half, given[part], chosen)
            rows += study.rows(name, half, of_half, seed, study.TWIN_PAIRS, twin.HALF)
        click.echo(table(rows, name, study.METRIC, versus=""))
        for row in rows:
            if row.versus:
                click.echo(
                    f"{row.setting}: {row.method} - {row.versus}: {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}] ({row.n})"
                )
        if output is not None:
            young = {part: len(one.young) for part, one in found.items()}
            told = study.extra(name, study.BLEND_MOVED, study.AIMS, rows, seed)
            learned = {"chosen": chosen, "adapters": {arm: asdict(one) for arm, one in adapters.items()}}
            write_report(output, rows, told | {"part": part, "young": young, **learned})
            click.echo(f"\nwritten: {output}")
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
