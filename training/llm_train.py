"""Train a language model's adapter on choices among titles, in one process or several, resumable after a kill.

python training/llm_train.py --model smollm2 --events events.csv --items items.csv --output_dir runs/llm
torchrun --nproc_per_node 2 training/llm_train.py --model smollm2 --events events.csv --items items.csv --output_dir runs/llm
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import io
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch

from llmrec.data.build import build
from llmrec.data.splits import leave_last_out
from llmrec.errors import LlmrecError
from llmrec.language.model import NUMBERS, load_language_model
from llmrec.language.weights import weights_of
from llmrec.metrics.report import Result, write_report
from llmrec.pretraining.processes import TRACKERS, Processes, described, launch
from llmrec.progress import Stages
from llmrec.prompts import load_template
from llmrec.ranking.adapter_plan import AdapterPlan
from llmrec.ranking.learn_adapter import learn_adapter
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.saved_llm_ranker import save_llm_ranker
from studies.options import model_option

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
MANY, SOME = click.IntRange(min=1), click.IntRange(min=0)
STEPS = 200


def run(
    ranker: LLMRanker,
    tables: tuple[Path, Path],
    plan: AdapterPlan,
    seed: int,
    out: Path,
    processes: Processes,
    stages: Stages,
) -> None:
    """The adapter by all processes; then, by the main one, its folders and the report."""
    with stages("read and clean", str(tables[0])) as say:
        dataset, _ = build(*tables, seed=seed)
        say(f"{dataset.n_events:,} events of {dataset.n_users:,} users with {dataset.n_items:,} items")
    cut, rng = leave_last_out(dataset), np.random.default_rng(seed)  # the last item of each user stays for a test
    tasks = cut.validation.take(rng.permutation(len(cut.validation))[: plan.users])
    popularity = np.bincount(cut.train.item, minlength=dataset.n_items)
    began = time.perf_counter()
    found = learn_adapter(ranker, tasks, popularity, plan, seed, stages, out, processes)
    seconds = time.perf_counter() - began
    processes.close()
    if not processes.main:
        return
    save_llm_ranker(out / "ranker", found.ranker)
    rows = [
        Result("llm_train", "llm", "ours", where, "loss", float(np.mean(part)), None, None, "", len(part), seed, seconds)
        for where, part in {"first 10 steps": found.losses[:10], "last 10 steps": found.losses[-10:]}.items()
    ]
    extra = {
        "plan": asdict(plan) | {"max_history": ranker.max_history, "template": ranker.template.header.name},
        "temperature": found.temperature,
        "processes": processes.share.world,
        "tokens": found.tokens,
        "tokens_per_second": found.tokens_per_second,
    }
    write_report(out / "report.json", rows, extra | {"threads": torch.get_num_threads(), "device": processes.device})
    rate = found.tokens_per_second
    click.echo("all steps were found done" if rate is None else f"{found.tokens:,} tokens, {rate:,.0f} a second")
    click.echo(f"{out}: the adapter and its template in ranker/, report.json")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True})
@model_option
@click.option("--dtype", type=click.Choice(tuple(NUMBERS)), default="float32", help="bfloat16 is faster on CPUs with AMX.")
@click.option("--events", type=FILE, required=True, help="Who took what, and when.")
@click.option("--items", type=FILE, required=True, help="Items with their titles.")
@click.option("--output_dir", type=FOLDER, default=Path("runs/llm"), help="For checkpoints, adapter and report.")
@click.option("--r", type=SOME, default=8, help="Rank of LoRA; 0 for none.")
@click.option("--n_blocks", type=SOME, default=8, help="Last blocks with LoRA.")
@click.option("--n_tokens", type=SOME, default=0, help="Virtual tokens of a soft prompt; 0 for none.")
@click.option("--head", is_flag=True, help="Also train a linear head on the last state; with --r 0 the head alone.")
@click.option("--users", type=MANY, default=2000, help="Users who teach.")
@click.option("--negatives", type=MANY, default=7, help="Items drawn by popularity beside the one that was taken.")
@click.option("--max_history", type=MANY, default=6, help="Titles in a prompt.")
@click.option("--template", default="next", help="Its name or file; of the task next or like.")
@click.option("--max_steps", type=MANY, default=STEPS, help="Optimiser steps.")
@click.option("--batch_size", type=MANY, default=AdapterPlan().batch_size, help="Choices in a step, over ALL processes.")
@click.option("--learning_rate", type=float, default=AdapterPlan().learning_rate, help="Of Adam; it falls to zero.")
@click.option("--seed", type=SOME, default=0, help="Of all draws.")
@click.option("--report_to", type=click.Choice(["none", *TRACKERS]), default="none", help="Tracker of the loss.")
@click.option("--cpu", is_flag=True, help="Stay on the CPU where there is a GPU.")
def main(
    model: str,
    dtype: str,
    events: Path,
    items: Path,
    output_dir: Path,
    r: int,
    n_blocks: int,
    n_tokens: int,
    head: bool,
    users: int,
    negatives: int,
    max_history: int,
    template: str,
    max_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    report_to: str,
    cpu: bool,
) -> None:
    """Train LoRA, a soft prompt, a linear head or several of them on choices of users among some items, by
    `llmrec.ranking.learn_adapter`, as `Recommender.fit` does for an `LLMRanker` with a plan.

    Each user's last item but one is the one taken. The last one is not read, also not in popularity, so it can be a test.
    Give the same command again after a kill: it goes on from the last checkpoint.
    """
    try:
        plan = AdapterPlan(r, n_blocks, n_tokens, users, negatives, max_steps, batch_size, learning_rate, head)
        told = asdict(plan) | {"max_history": max_history, "template": template, "seed": seed}
        processes = launch(cpu, report_to, output_dir, told)
        if processes.main:
            click.echo("\n".join(described(processes)), err=True)
        stages = Stages(sys.stderr if processes.main else io.StringIO())
        with stages("load", model):
            with processes.main_first():  # the others find a packaged model in the cache
                weights = weights_of(model)
            loaded = load_language_model(weights, NUMBERS[dtype], processes.device)
        ranker = LLMRanker(loaded, load_template(template), max_history)
        run(ranker, (events, items), plan, seed, output_dir, processes, stages)
    except LlmrecError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
