"""Time a language model's adapters for many users side by side against a loop of PEFT; training/results/language_adapters.json.

llmrec weights smollm2 --out smollm2/
python training/speed/language_adapters.py --model smollm2/ --items ../shared/data/amazon2014-electronic.items.parquet
python training/speed/language_adapters.py --model smollm2/ --items ITEMS.parquet --users 64 --loop_users 8

Each user takes STEPS steps of LoRA on CHOICES choices, each among as many titles as in `AdapterPlan` by default. The library
adapts all users side by side: the candidates of a choice share their prompt, and the blocks below LoRA are read once for all
steps. The loop has one adapter of PEFT on the same layers: for each user it is reset, and each step reads a batch of whole
prompts, one for each candidate. Both end at the same adapters. Beside them, a linear head at as many steps, which PEFT does
not offer. The loop adapts one user after the other, so its time is linear in users: it can be timed on the first users alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import peft
import pyarrow.parquet as pq
import torch

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.linear_head import linear_head
from llmrec.language.model import LanguageModel, load_language_model
from llmrec.language.rows import Row
from llmrec.meta.inner import Initialisation, adapt, initialisation
from llmrec.meta.title_choices import TitleChoices, choice_loss
from llmrec.prompts import load_template
from llmrec.prompts.candidates import CandidatePrompt
from llmrec.ranking.adapter_plan import AdapterPlan
from llmrec.store import save_json, whole_file

CHOICES, CANDIDATES, HISTORY, STEPS = 2, AdapterPlan.negatives + 1, 6, 3
RATE, TEMPERATURE = 0.3, 16.0


def choices_of(model: LanguageModel, titles: list[str], users: int) -> TitleChoices:
    """CHOICES choices of each user among random titles, the first of which was taken."""
    rng, prompt, rows = np.random.default_rng(0), CandidatePrompt(load_template("next")), []
    for _ in range(users * CHOICES):
        drawn = [titles[place] for place in rng.choice(len(titles), HISTORY + CANDIDATES, replace=False)]
        segments = [model.words(prompt.segment(title)) for title in drawn[HISTORY:]]
        rows.append(Row(model.start(prompt.prefix({"history": drawn[:HISTORY]})), segments))
    taken = tuple(np.arange(CANDIDATES) == 0 for _ in rows)
    offset = tuple(np.zeros(CANDIDATES, np.float32) for _ in rows)
    return TitleChoices(tuple(rows), taken, offset, np.repeat(np.arange(users), CHOICES), temperature=TEMPERATURE)


def adapted_here(
    model: LanguageModel, choices: TitleChoices, init: Initialisation[LanguageAdapter], users: int
) -> Callable[[], LanguageAdapter]:
    """All users side by side, by the library."""
    return lambda: adapt(init, choice_loss(model, choices, init.adapter.n_blocks(model)), users)


def adapted_by_peft(
    model: LanguageModel, choices: TitleChoices, init: Initialisation[LanguageAdapter], users: int
) -> Callable[[], LanguageAdapter]:
    """The same adapters of the first users by a loop. model: its layers are replaced by those of PEFT. users: how many."""
    start = init.adapter.lora
    assert start is not None
    alpha = int(start.scale * start.rank)
    plan = peft.LoraConfig(r=start.rank, lora_alpha=alpha, target_modules=list(start.paths), lora_dropout=0.0)
    body: Any = peft.inject_adapter_in_model(plan, model.model).eval()
    weights = {name: tensor for name, tensor in body.named_parameters() if "lora_" in name}
    of = {name: next(path for path in start.paths if f"{path}." in name) for name in weights}
    home = [(start.a if "lora_A" in name else start.b)[of[name]][0] for name in weights]

    def loss(row: Row) -> torch.Tensor:
        whole = [torch.tensor([*row.prefix, *one]) for one in row.segments]
        ids = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True)
        length = torch.tensor([len(one) for one in whole])
        mask = (torch.arange(ids.shape[1])[None] < length[:, None]).long()
        states = body.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        scores = []
        for place, one in enumerate(row.segments):
            first = len(row.prefix) - 1
            logits = body.get_output_embeddings()(states[place, first : first + len(one)]).float()
            scores.append((logits[range(len(one)), list(one)] - logits.logsumexp(1)).sum())
        return -(torch.stack(scores) / TEMPERATURE).log_softmax(0)[0]

    def loop() -> LanguageAdapter:
        ended: list[list[torch.Tensor]] = []
        for user in range(users):
            rows = [row for row, owner in zip(choices.rows, choices.owner, strict=True) if owner == user]
            with torch.no_grad():
                for tensor, begin in zip(weights.values(), home, strict=True):
                    tensor.copy_(begin)
            for _ in range(STEPS):
                value = torch.stack([loss(row) for row in rows]).mean()
                slopes = torch.autograd.grad(value, list(weights.values()))
                norm = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
                with torch.no_grad():
                    for tensor, slope in zip(weights.values(), slopes, strict=True):
                        tensor.sub_(RATE * slope * (init.max_grad_norm / norm).clamp(max=1))
            ended.append([tensor.detach().clone() for tensor in weights.values()])
        stacked = dict(zip(weights, map(torch.stack, zip(*ended, strict=True)), strict=True))
        a, b = ({of[name]: leaf for name, leaf in stacked.items() if side in name} for side in ("lora_A", "lora_B"))
        return LanguageAdapter(replace(start, a={p: a[p] for p in start.a}, b={p: b[p] for p in start.b}))

    return loop


def timed(
    ways: dict[str, Callable[[], LanguageAdapter]], rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, LanguageAdapter]]:
    """Processor seconds of each way, (rounds,), which take turns; and what each comes to."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            found[name] = way()
            took[name].append(time.process_time() - began)
    return {name: np.array(seconds) for name, seconds in took.items()}, found


def measure(folder: Path, titles: list[str], users: int, rounds: int, loop_users: int) -> dict[str, object]:
    """Seconds of both, in turn, and how far their adapters are apart. loop_users: the first users, on whom the loop is timed;
    its seconds are scaled to all, and the adapters of these are compared."""
    model, other = load_language_model(folder), load_language_model(folder)
    choices = choices_of(model, titles, users)
    lora = start_lora(model, 8, 2.0, 8, torch.Generator().manual_seed(0), b_std=0.02)
    init = initialisation(LanguageAdapter(lora), STEPS, RATE)
    ours, theirs = adapted_here(model, choices, init, users), adapted_by_peft(other, choices, init, loop_users)
    head = initialisation(LanguageAdapter(head=linear_head(model)), STEPS, RATE)
    seconds, found = timed(
        {"library": ours, "loop of PEFT": theirs, "linear head": adapted_here(model, choices, head, users)}, rounds
    )
    return reported(seconds, found, init.adapter, users, loop_users)


def reported(
    seconds: dict[str, np.ndarray], found: dict[str, LanguageAdapter], start: LanguageAdapter, users: int, loop_users: int
) -> dict[str, object]:
    """The report. seconds: (rounds,) of each way, of the loop for `loop_users` of the users; found: what each way came to."""
    seconds = seconds | {"loop of PEFT": seconds["loop of PEFT"] * users / loop_users}
    first = [leaf[:loop_users] for leaf in found["library"].leaves()]
    leaves = list(zip(first, found["loop of PEFT"].leaves(), start.leaves(), strict=True))
    said = f"a loop's time is linear in users; timed on {loop_users} of {users}"
    return {
        "users": users,
        "users of the loop": loop_users,
        **({"note": said} if loop_users < users else {}),
        "choices": CHOICES,
        "steps": STEPS,
        "threads": torch.get_num_threads(),
        "processor seconds": {way: round(float(np.median(took)), 3) for way, took in seconds.items()},
        "times as long as the library": {
            way: round(float(np.median(took / seconds["library"])), 2) for way, took in seconds.items()
        },
        "largest difference": max(float((one - two).abs().max()) for one, two, _ in leaves),
        "largest move by the steps": max(float((one - begun).abs().max()) for one, _, begun in leaves),
    }


@click.command()
@click.option("--model", "folder", type=click.Path(exists=True, path_type=Path), required=True, help="Folder, or *.gguf.")
@click.option("--items", type=click.Path(exists=True, path_type=Path), required=True, help="Parquet with a column title.")
@click.option("--users", type=click.IntRange(min=1), default=64, show_default=True)
@click.option(
    "--loop_users",
    type=click.IntRange(min=1),
    help="First users, on whom the loop of PEFT is timed; its time is scaled to all.  [default: all]",
)
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True, help="Every way is timed once in each.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file; without it the report is printed alone.")
def main(folder: Path, items: Path, users: int, loop_users: int | None, rounds: int, output: Path | None) -> None:
    """Time adapting many users at once against a loop of PEFT."""
    if loop_users is not None and loop_users > users:
        raise click.UsageError(f"--loop_users: expected at most --users, {users}, got {loop_users}; leave it out for all")
    titles = [title for title in pq.read_table(items, columns=["title"]).column("title").to_pylist() if title]
    report = measure(folder, titles, users, rounds, loop_users or users)
    click.echo(json.dumps(report, indent=1))
    if output is not None:
        with whole_file(output) as fresh:
            save_json(fresh, report)


if __name__ == "__main__":
    main()
