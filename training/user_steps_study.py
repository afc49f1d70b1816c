"""Steps of a language model's adapter on one user's own choices, jointly trained or meta-learned over users: quality and time.

python training/user_steps_study.py --data FOLDER --model smollm2/ --dtype bfloat16 --users 60 --few_users 20 \\
    --output training/results/user-steps.json

What is measured, and the primary cell, is said in `studies/categories/user_steps.py`. Everything that takes minutes is kept
under --runs, and test users are measured in parts, so a run that was ended goes on.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
from dataclasses import asdict
from pathlib import Path

import click
import torch

from benchmarks.amazon import PUBLISHED
from category_study import HISTORY, TEMPLATE, WHOLE, prompts_of
from llmrec.errors import LlmrecError
from llmrec.language.model import load_language_model
from llmrec.prompts import load_template
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories import user_rows, user_steps
from studies.categories.controls import controls, text_vectors
from studies.categories.learning import JOINT, META
from studies.categories.shops import category
from studies.categories.study import METRIC
from studies.categories.user_rows import LOSS
from studies.categories.user_steps import HEAD, SUPPORT, Plan
from studies.options import model_option
from studies.reporting import print_gains, print_tables, save_report

FEWEST = 500  # users behind a figure that is more than exploratory


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@model_option
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", help="bfloat16 is faster on CPUs with AMX."
)
@click.option("--category", "name", type=click.Choice(list(PUBLISHED)), default="beauty", help="The category.")
@click.option("--train_users", type=click.IntRange(4), default=40, help="Users whose choices are learned from.")
@click.option("--joint_steps", type=WHOLE, default=24, help="Optimiser steps of joint training, 8 choices each.")
@click.option("--episodes", type=WHOLE, default=6, help="Episodes of meta-learning after it, 4 users each.")
@click.option("--more_steps", type=WHOLE, default=60, help="Joint steps in the place of the episodes.")
@click.option("--looked_at", type=click.IntRange(1), default=6, help="Validation users by whom rates are chosen.")
@click.option("--users", type=click.IntRange(2), default=200, help="Test users.")
@click.option(
    "--few_users",
    type=WHOLE,
    default=60,
    help="The first of them, with whom joint LoRA and a head take steps too; 0 or 1 for none of it.",
)
@click.option("--seed", type=WHOLE, default=0)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "user-steps", help="For what is kept.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(
    data: Path,
    model: str,
    dtype: str,
    name: str,
    train_users: int,
    joint_steps: int,
    episodes: int,
    more_steps: int,
    looked_at: int,
    users: int,
    few_users: int,
    seed: int,
    runs: Path,
    output: Path | None,
) -> None:
    """Learn an adapter from users, and measure what steps on a user's own choices gain."""
    counts = {"joint_steps": joint_steps, "episodes": episodes, "more_steps": more_steps, "looked_at": looked_at}
    plan = Plan(users=train_users, **counts)
    try:
        here = category(data, name, seed)
        ranker = LLMRanker(load_language_model(model, getattr(torch, dtype)), load_template(TEMPLATE), HISTORY)
        numbers = "-".join(str(one) for one in asdict(plan).values())
        runs = runs / f"{name}-{seed}-{prompts_of(ranker)[:12]}-{numbers}"
        arms: tuple[str, ...] = (META,)  # the primary cell first
        learned, _ = user_steps.chosen(ranker, here, plan, arms, seed, runs)
        looked, asked_for = (user_steps.rich(here, some, SUPPORT + 1) for some in (here.validation, here.test))
        parts = user_steps.measured_in_parts(ranker, here, asked_for[:users], learned, arms, seed, runs)
        asked_for = asked_for[: sum(len(part["taken"]) for part in parts)]
        arms = (META, JOINT, HEAD) if few_users > 1 else arms
        learned, by_rate = user_steps.chosen(ranker, here, plan, arms, seed, runs)
        more = user_steps.measured_in_parts(ranker, here, asked_for[:few_users], learned, arms[1:], seed, runs)
        queries = [user_steps.asked(here, whose, seed)[1] for whose in (looked, asked_for)]
        beside = controls(here, text_vectors(here.dataset.catalogue), *queries)
        found, costs = user_steps.together(parts)
        few, more_costs = user_steps.together(more)
        rows = user_rows.rows(found, few, beside, learned.temperature, seed)
        print_tables(rows, user_rows.NAME, (METRIC, LOSS), (LOSS,))
        print_gains(rows)
        told = user_rows.extra(learned, by_rate, more_costs | costs, seed)
        told |= {"exploratory": list(dict.fromkeys(row.setting for row in rows if row.n < FEWEST))}
        for what, value in told.items():
            click.echo(f"{what}: {value}")
        told |= {
            "dtype": dtype,
            "category": name,
            "plan": asdict(plan),
            "users": len(asked_for),
            "few users": len(few.get("taken", ())),
        }
        save_report(output, rows, told)
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
