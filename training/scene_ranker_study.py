"""A language model in the answers of a new category, with an adapter that takes steps on the choices of its first customers.

python training/scene_ranker_study.py --data FOLDER --model smollm2/ --dtype bfloat16 --output results.json

`Scenes(ranker=LLMRanker(..., plan=AdapterPlan()))` learns from all other categories; the new one is opened, and adapted to its
first customers. Figures are NDCG@10 over the whole catalogue of what other users took last.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import hashlib
from dataclasses import asdict
from pathlib import Path

import click
import torch

from benchmarks.amazon import PUBLISHED
from llmrec import Scenes
from llmrec.errors import LlmrecError
from llmrec.language.model import load_language_model
from llmrec.progress import Stages
from llmrec.ranking.adapter_plan import AdapterPlan
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.scenes.learning import LearnSettings
from studies.categories import answers
from studies.categories.kept import kept_arrays
from studies.categories.shops import category
from studies.options import model_option
from studies.reporting import print_gains, print_tables, save_report

HISTORY = 6  # titles in the prompt
PLAN = AdapterPlan(n_blocks=2, users=128, max_steps=32)  # so that a core learns it in half an hour


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@model_option
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", help="bfloat16 is faster on CPUs with AMX."
)
@click.option("--new", "new", type=click.Choice(list(PUBLISHED)), default="electronic", help="The category left out.")
@click.option("--users", type=click.IntRange(1, 1_000), default=150, help="Test users who are asked about.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "scene-ranker", help="For what was learned.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(data: Path, model: str, dtype: str, new: str, users: int, seed: int, runs: Path, output: Path | None) -> None:
    """Learn in known categories, open the new one, and ask before and after its first customers."""
    try:
        stages = Stages()
        here, others = category(data, new, seed), [category(data, one, seed) for one in PUBLISHED if one != new]
        key = hashlib.sha256(f"{model} {dtype} {HISTORY} {PLAN!r} {answers.SUPPORTS}".encode()).hexdigest()[:12]
        folder = runs / f"{new}-{seed}-{key}"
        if (folder / "scenes").exists():
            known = Scenes.from_pretrained(folder / "scenes")
        else:
            ranker = LLMRanker(load_language_model(model, getattr(torch, dtype)), max_history=HISTORY, plan=PLAN)
            settings = LearnSettings(sizes=answers.SUPPORTS)
            known = Scenes(settings=settings, seed=seed, ranker=ranker).fit({one.name: (one.dataset, None) for one in others})
            known.save_pretrained(folder / "scenes")
        with stages("measure", f"{users:,} users"):
            found = kept_arrays(
                folder / f"found-{users}.safetensors", lambda: answers.measured(known, here, others[0], here.test[:users])
            )
        rows = answers.rows(found, seed)
        print_tables(rows, answers.NAME, (answers.METRIC,), ())
        print_gains(rows)
        run = {"new": new, "users": users, "model": Path(model).name, "dtype": dtype, "plan": asdict(PLAN)}
        primary = {"setting": answers.PRIMARY, "metric": answers.METRIC}
        more = {"benchmark": answers.NAME, "ours": f"{answers.STEPS}, {answers.SUPPORTS[-1]}", "primary": primary, "aims": []}
        save_report(output, rows, more | {"seeds": [seed]} | run | answers.told(known))
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
