"""TALLRec's rows of MovieLens-100K answered by a small language model, before and after LoRA on a few rows: a smoke test.

python training/tallrec_study.py --data FOLDER --model smollm2/ --dtype bfloat16 --output training/results/tallrec.json

The prompt is the template `like` over the ten films of a row's history. 1,000 test rows are those of 16 users: intervals are
over users, and wide. The control is the share of the history that the user liked. What LoRA learns from stands in
`studies.tallrec.study`. Titles are those of the recbole wheel. A run that was killed goes on from what is under --runs.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import hashlib
import os
import time
from pathlib import Path

import click

from benchmarks.runs import seed_numbers
from llmrec.adapters.peft_format import fingerprint
from llmrec.errors import LlmrecError
from llmrec.language.model import NUMBERS, load_language_model
from llmrec.progress import Stages
from llmrec.prompts import load_template
from llmrec.ranking.llm_ranker import LLMRanker
from studies.options import model_option
from studies.reporting import print_tables, save_report
from studies.tallrec import study
from studies.tallrec.rows import films, load


def key(ranker: LLMRanker, plan: study.Plan, seed: int) -> str:
    """Of a run's folder: a hash of all that its adapters and scores depend on beside the data."""
    model = ranker.language_model
    parts = [fingerprint(model), str(model.dtype), ranker.template.sha256, str(plan), str(seed)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the file.")
@model_option
@click.option("--dtype", type=click.Choice(list(NUMBERS)), default="float32", help="bfloat16 is faster on CPUs with AMX.")
@click.option("--sizes", callback=seed_numbers, default="64,256", help="Training rows, with commas between.")
@click.option("--steps", type=click.IntRange(min=1), default=study.Plan.steps, help="Optimiser steps of each LoRA.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the training rows that are drawn, and of LoRA.")
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs") / "tallrec", help="For checkpoints, and scores of rows."
)
@click.option("--validation_only", is_flag=True, help="Ask validation rows; no test row is measured.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(
    data: Path,
    model: str,
    dtype: str,
    sizes: tuple[int, ...],
    steps: int,
    seed: int,
    runs: Path,
    validation_only: bool,
    output: Path | None,
) -> None:
    """Ask a language model about the rows, as it is and under LoRA that was learned from a few training rows."""
    stages, began, part = Stages(), time.perf_counter(), "valid" if validation_only else "test"
    plan = study.Plan(sizes=sizes, steps=steps)
    try:
        rows, titles = load(data), films()
        ranker = LLMRanker(load_language_model(model, NUMBERS[dtype]), load_template("like"))
        asked, runs = rows[part], runs / key(ranker, plan, seed)
        adapters, losses = study.learned(ranker, rows["train"], titles, plan, seed, stages, runs)
        values = study.controls(rows["train"], asked) | study.scores(ranker, adapters, asked, titles, stages, runs / part)
        found = study.rows_of(values, asked, part, seed)
        print_tables(found, study.NAME, ("auc", "user auc"), ())
        for row in found:
            if row.versus:
                click.echo(f"{row.metric}: {row.method} - {row.versus}: {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]")
        told = study.extra(plan, losses, part, seed, study.ours_of(values))
        told |= {"rows": len(asked), "model": Path(model).name, "dtype": dtype, "cpus": os.cpu_count()}
        save_report(output, found, told | {"seconds": round(time.perf_counter() - began, 1)})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
