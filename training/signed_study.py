"""Likes and dislikes of new users: MovieLens-1M, 8, 16 and 32 ratings known, beside controls.

python training/signed_study.py --data FOLDER --validation_only
python training/signed_study.py --data FOLDER --seeds 0,1,2 --output training/results/signed.json

A seed is a shuffle of each user's ratings. The primary cell stands in `studies.signed.protocol`.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import os
import time
from pathlib import Path

import click
import numpy as np

from benchmarks.runs import seed_numbers
from llmrec.data.dataset import Dataset
from llmrec.errors import LlmrecError
from llmrec.metrics.report import table, write_report
from llmrec.progress import Stages
from llmrec.store import cache_folder
from studies.signed import protocol, study


def text_vectors(whole: Dataset, stages: Stages) -> np.ndarray:
    """Centred vectors of the films' texts by the packaged encoder, as `fit` makes them."""
    from llmrec.encoder.backbone import load_text  # here, for tests do without transformers
    from llmrec.encoder.items import catalogue_vectors
    from llmrec.encoder.weights import Weights

    with stages("item texts"):
        return catalogue_vectors(load_text(Weights.packaged()), whole.catalogue, "item", cache_folder())[0]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--seeds", callback=seed_numbers, default="0,1,2", show_default=True, help="Shuffles, with commas between.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option("--validation_only", is_flag=True, help="Ask validation users; no test user is measured.")
@click.option("--no_ablations", is_flag=True, help="Leave out the variants that have to be learned again.")
def main(data: Path, seeds: tuple[int, ...], output: Path | None, validation_only: bool, no_ablations: bool) -> None:
    """Learn from the training users, choose constants on validation users, and ask the test users."""
    stages, began = Stages(), time.perf_counter()
    part = "validation" if validation_only else "test"
    try:
        world, whole = protocol.load(data)
        rows, chosen = study.measure(world, text_vectors(whole, stages), seeds, part, stages, not no_ablations)
        click.echo(f"{protocol.NAME}, {part} users; primary cell: {protocol.PRIMARY[1]} in {protocol.PRIMARY[0]}\n")
        for metric in protocol.METRICS:
            better = metric != "log loss"
            click.echo(f"{metric}\n{table(rows, protocol.NAME, metric, versus='', higher_is_better=better)}\n")
        if output is not None:
            extra = {"part": part, "seeds": list(seeds), "cpus": os.cpu_count(), "chosen on validation users": chosen}
            write_report(output, rows, study.aims(rows) | extra)
            click.echo(f"written: {output}")
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
