"""Rows of ReLLa and CoLLM on MovieLens-1M, published for language models: will this user like this film?

python training/rated_rows_study.py --data FOLDER --protocol rella --validation_only
python training/rated_rows_study.py --data FOLDER --protocol rella --seeds 0,1,2 --output training/results/rella.json
python training/rated_rows_study.py --data FOLDER --protocol collm --output training/results/collm.json

Ours is what `Recommender.predict` is made of (`llmrec.signed`): a user's ratings move a prior in closed form. A seed is a draw
of the rows trained on. The protocols and the primary cell stand in `studies.signed.rows`.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import os
import time
from pathlib import Path

import click

from benchmarks.runs import seed_numbers
from llmrec.errors import LlmrecError
from llmrec.progress import Stages
from studies.reporting import print_tables, save_report
from studies.signed import row_study, rows
from studies.signed.texts import text_vectors


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@click.option("--protocol", type=click.Choice([row_study.RELLA, row_study.COLLM]), required=True)
@click.option("--sizes", callback=seed_numbers, default="256,1024,8192,65536", help="Of ReLLa: rows trained on, with commas.")
@click.option("--seeds", callback=seed_numbers, default="0,1,2", help="Of ReLLa: draws of these rows, with commas between.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option("--validation_only", is_flag=True, help="Ask validation rows; no test row is measured.")
def main(
    data: Path, protocol: str, sizes: tuple[int, ...], seeds: tuple[int, ...], output: Path | None, validation_only: bool
) -> None:
    """Learn from training rows, choose constants on validation rows, and ask the test rows."""
    stages, began = Stages(), time.perf_counter()
    part = "validation" if validation_only else "test"
    try:
        if protocol == row_study.RELLA:
            world, whole = rows.rella(data)
            found, chosen = row_study.rella(world, text_vectors(whole, stages), sizes, seeds, part, stages)
        else:
            seeds = (0,)  # nothing is drawn
            parts, whole = rows.collm(data)
            found, chosen = row_study.collm(parts, text_vectors(whole, stages), part, stages)
        print_tables(found, protocol, dict.fromkeys(row.metric for row in found), ("user log loss",))
        extra = {"part": part, "seeds": list(seeds), "cpus": os.cpu_count(), "chosen on validation rows": chosen}
        save_report(output, found, row_study.aims(found, protocol) | extra)
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
