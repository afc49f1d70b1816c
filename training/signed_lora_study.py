"""Likes and dislikes of new users by LoRA of a small network, 1 and 5 gradient steps, beside the closed form and controls.

python training/signed_lora_study.py --data FOLDER --validation_only
python training/signed_lora_study.py --data FOLDER --output training/results/signed-lora.json

A seed is a shuffle of each user's ratings. The arm that was chosen stands in `studies.signed.lora_study`, the primary cell in
`studies.signed.protocol`.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import os
import time
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.runs import seed_numbers
from llmrec.errors import LlmrecError
from llmrec.progress import Stages
from studies.reporting import print_gains, print_tables, save_report
from studies.signed import lora_study, protocol
from studies.signed.texts import text_vectors


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--seeds", callback=seed_numbers, default="0,1,2", show_default=True, help="Shuffles, with commas between.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option("--validation_only", is_flag=True, help="Ask validation users; no test user is measured.")
def main(data: Path, seeds: tuple[int, ...], output: Path | None, validation_only: bool) -> None:
    """Learn from the training users, and ask others after 8, 16 and 32 ratings."""
    stages, began = Stages(), time.perf_counter()
    part = "validation" if validation_only else "test"
    try:
        world, whole = protocol.load(data)
        rows, chosen = lora_study.measure(world, text_vectors(whole, stages), seeds, part, stages)
        ours = lora_study.name_of(lora_study.CHOSEN)
        click.echo(f"{part} users; primary cell: {protocol.PRIMARY[1]} in {protocol.PRIMARY[0]}, {ours}\n")
        print_tables(rows, lora_study.NAME, protocol.METRICS, ("log loss",))
        print_gains([row for row in rows if row.metric == protocol.PRIMARY[1]])
        extra: dict[str, object] = {"part": part, "seeds": list(seeds), "cpus": os.cpu_count(), "ours": ours, "aims": []}
        extra["plans"] = {lora_study.name_of(plan): asdict(plan) for plan in lora_study.PLANS}
        extra |= {"primary": {"setting": protocol.PRIMARY[0], "metric": protocol.PRIMARY[1]}}
        save_report(output, rows, extra | {"benchmark": lora_study.NAME, "chosen on validation users": chosen})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
