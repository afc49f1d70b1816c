"""A language model in a category that it was not trained on: zero steps, and steps on the choices of 16 and 64 of its users.

python training/category_study.py --data FOLDER --model smollm2/ --validation_only
python training/category_study.py --data FOLDER --model smollm2/ --dtype bfloat16 --episodes 25 --more_steps 400 \\
    --joint_rate 0.03 --users 1000 --output training/results/categories.json

LoRA is learned from choices in the known categories, jointly, or jointly and then meta-learned over sub-catalogues. In the new
category, none of whose users or items is in training, users take one of 20 titles; figures are NDCG@10 and hit@1 of that one.
Everything that takes minutes is kept under --runs.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import hashlib
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.amazon import PUBLISHED
from llmrec.adapters.peft_format import fingerprint
from llmrec.errors import LlmrecError
from llmrec.language.model import load_language_model
from llmrec.prompts import load_template
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories import retrieved, study
from studies.categories.kept import kept_arrays
from studies.categories.learning import Plan, learn
from studies.categories.opened import opened
from studies.categories.shops import category
from studies.options import model_option
from studies.reporting import print_gains, print_tables, save_report

TEMPLATE = Path(__file__).parent / "studies" / "categories" / "next.jinja"
HISTORY = 6  # titles in the prompt
WHOLE = click.IntRange(min=0)


def prompts_of(ranker: LLMRanker) -> str:
    """SHA-256 of all that prepared choices depend on beside the data: the model, the template and the length of histories."""
    model = ranker.language_model
    parts = [fingerprint(model), str(model.dtype), ranker.template.sha256, str(ranker.max_history)]
    parts += [str(ranker.turns)] if ranker.chat else []
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def plan_key(plan: Plan) -> str:
    """The plan in the names of kept results."""
    return hashlib.sha256(repr(plan).encode()).hexdigest()[:12]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@model_option
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    help="Of the model; bfloat16 is faster on CPUs with AMX.",
)
@click.option("--new", "new", type=click.Choice(list(PUBLISHED)), default="electronic", help="The category left out.")
@click.option("--choices", type=WHOLE, default=2_400, help="Choices for joint training, over all known categories.")
@click.option(
    "--scene_choices", type=WHOLE, default=9_600, help="Choices for meta-learning over sub-catalogues, of other users."
)
@click.option("--joint_steps", type=WHOLE, default=300, help="Optimiser steps of joint training, 8 choices each.")
@click.option("--episodes", type=WHOLE, default=0, help="Episodes of meta-learning after joint training; 0 for none.")
@click.option("--more_steps", type=WHOLE, default=0, help="More joint steps, for a control of equal training time.")
@click.option("--twin_steps", type=WHOLE, default=0, help="Joint steps in the new category: the headroom.")
@click.option("--rate", type=float, default=0.1, help="Of the inner steps when meta-learning starts.")
@click.option("--joint_rate", type=float, default=0.1, help="Of the steps in the new category that start from joint training.")
@click.option("--plain_rate", type=float, default=0.3, help="Step size of plain LoRA.")
@click.option(
    "--users", type=click.IntRange(min=1), default=120, help="Users to measure on: of 500 on validation, of 1,000 on test."
)
@click.option(
    "--retrieved_users",
    type=click.IntRange(0, 1_000),
    default=0,
    help="Test users who are asked over the whole catalogue; 0 for none.",
)
@click.option("--draws", type=click.IntRange(min=1), default=1, help="Draws of supports and negatives.")
@click.option("--first_draw", type=WHOLE, default=0, help="First draw to measure; several processes can share the draws.")
@click.option("--seed", type=WHOLE, default=0)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs") / "categories",
    help="For checkpoints, prepared choices.",
)
@click.option("--validation_only", is_flag=True, help="Measure on validation users; nothing is read of test users.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(
    data: Path,
    model: str,
    dtype: str,
    new: str,
    choices: int,
    scene_choices: int,
    joint_steps: int,
    episodes: int,
    more_steps: int,
    twin_steps: int,
    rate: float,
    joint_rate: float,
    plain_rate: float,
    users: int,
    retrieved_users: int,
    draws: int,
    first_draw: int,
    seed: int,
    runs: Path,
    validation_only: bool,
    output: Path | None,
) -> None:
    """Learn LoRA of a language model in known categories, and measure it in a new one."""
    counts = {"choices": choices, "scene_choices": scene_choices, "joint_steps": joint_steps, "episodes": episodes}
    plan = Plan(**counts, more_steps=more_steps, twin_steps=twin_steps, rate=rate, joint_rate=joint_rate, plain_rate=plain_rate)
    if first_draw >= draws:
        raise click.UsageError(f"--first_draw: expected a number below --draws, {draws}, got {first_draw}; draws begin at 0")
    try:
        here, known = category(data, new, seed), [category(data, one, seed) for one in PUBLISHED if one != new]
        ranker = LLMRanker(load_language_model(model, getattr(torch, dtype)), load_template(TEMPLATE), HISTORY)
        runs = runs / f"{new}-{seed}-{prompts_of(ranker)[:12]}"
        learned = learn(ranker, known, here, plan, seed, runs)
        asked_for = (here.validation if validation_only else here.test)[:users]
        shops = study.Shops(here, known[0], opened(known, here, seed, runs / "scenes"))
        part = "validation" if validation_only else "test"
        each = []
        for draw in range(first_draw, draws):
            path = runs / f"found-{part}-{len(asked_for)}-{draw}-{plan_key(plan)}.safetensors"
            measure = partial(study.measured, ranker, shops, learned, plan, asked_for, draw, runs)
            each.append(kept_arrays(path, measure))
        found = {arm: np.stack([one[arm] for one in each]) for arm in each[0]}
        rows = study.rows("categories", part, found, learned.based, seed)
        if retrieved_users and not validation_only:
            values = study.before_and_after(ranker, shops, learned, plan)
            supports = {str(study.SUPPORTS[-1]): here.teaching[: study.SUPPORTS[-1]]}
            some, others = here.test[:retrieved_users], here.validation
            measure = partial(retrieved.measured, ranker, shops, values, supports, some, others)
            whole = kept_arrays(runs / f"whole-{len(some)}-{plan_key(plan)}.safetensors", measure)
            rows += retrieved.rows_of("categories", whole, list(values), seed)
        print_tables(rows, "categories", (study.METRIC, study.HIT), ())
        print_gains(rows)
        told = study.extra("categories", part, rows, learned, seed)
        told |= {"plan": asdict(plan), "temperature": learned.temperature, "new": new, "draws": len(each), "users": users}
        save_report(output, rows, told | {"dtype": dtype})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
