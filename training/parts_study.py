"""What adapts a language model to the choices of 64 users: LoRA, a soft prompt, both, or a linear head; quality, size, time.

python training/parts_study.py --data FOLDER --model smollm2/ --users 200 --output training/results/parts.json

The category is electronic, on which the model was not trained. One of 20 titles was taken, 19 were drawn by
popularity; figures are NDCG@10 of that one.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
from dataclasses import asdict
from pathlib import Path

import click
import torch

from benchmarks.amazon import PUBLISHED
from category_study import HISTORY, TEMPLATE
from llmrec.errors import LlmrecError
from llmrec.language.model import load_language_model
from llmrec.metrics.report import table, write_report
from llmrec.prompts import load_template
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories import parts
from studies.categories.shops import category
from studies.categories.study import METRIC
from studies.options import model_option


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@model_option
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", help="bfloat16 is faster on CPUs with AMX."
)
@click.option("--new", "new", type=click.Choice(list(PUBLISHED)), default="electronic", help="The category.")
@click.option("--users", type=click.IntRange(1, 1_000), default=200, help="Test users.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(data: Path, model: str, dtype: str, new: str, users: int, seed: int, output: Path | None) -> None:
    """Adapt each kind of adapter to the choices of 64 users, and measure it on others."""
    try:
        here = category(data, new, seed)
        ranker = LLMRanker(load_language_model(model, getattr(torch, dtype)), load_template(TEMPLATE), HISTORY)
        found, costs = parts.measured(ranker, here, here.test[:users], seed)
        rows = parts.rows(found, seed)
        click.echo(table(rows, "parts", METRIC, versus=""))
        for row in rows:
            if row.versus:
                click.echo(f"{row.method} - {row.versus}: {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}] ({row.n})")
        for arm, cost in costs.items():
            click.echo(f"{arm}: {cost}")
        if output is not None:
            told: dict[str, object] = {
                "benchmark": "parts",
                "ours": parts.HEAD,
                "primary": {"setting": "test", "metric": METRIC},
                "aims": [],
            }
            told |= {
                "seeds": [seed],
                "dtype": dtype,
                "new": new,
                "users": users,
                "support": parts.SUPPORT,
                "steps": parts.STEPS,
            }
            write_report(output, rows, told | {"costs": {arm: asdict(cost) for arm, cost in costs.items()}})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
