"""Time candidates behind a shared prefix against one candidate at a time, and count operations; training/results/packed.json.

llmrec weights smollm2 --out smollm2/
python training/speed/packed.py --model smollm2/ --items ../shared/data/amazon2014-electronic.items.parquet --output packed.json

Three ways to the same log-likelihoods of candidates' titles behind a user's history:

    packed    the library: the prefix once, then all candidates side by side in one row under a block mask
    batched   transformers: the prefix once, its cache copied for each candidate, the candidates as a padded batch
    single    one candidate at a time, the whole prompt again for each

In all three the vocabulary is multiplied with the states that foretell a candidate's tokens alone, and a log-probability is the
logit less the logsumexp of all: `log_softmax` in float32 loses ten times as much, some 1e-5 a token.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmrec.language.model import LanguageModel, load_language_model
from llmrec.language.packed import log_likelihoods, read_prefix
from llmrec.prompts import load_template
from llmrec.prompts.candidates import CandidatePrompt
from llmrec.store import save_json, whole_file

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Asked:
    """Token ids of one user's prefix, and of that user's candidates."""

    prefix: list[int]
    candidates: list[list[int]]


def packed(model: LanguageModel, asked: Asked) -> Tensor:
    """Log-likelihoods (C,) by the library."""
    return log_likelihoods(model, read_prefix(model, asked.prefix), asked.candidates)


def single(model: LanguageModel, asked: Asked) -> Tensor:
    """The same, one candidate at a time."""
    found = []
    for candidate in asked.candidates:
        tokens = torch.tensor([[*asked.prefix, *candidate[:-1]]], device=model.device)
        logits = model.model(input_ids=tokens, use_cache=False, logits_to_keep=len(candidate)).logits[0].float()
        found.append((logits[range(len(candidate)), candidate] - logits.logsumexp(1)).sum())
    return torch.stack(found)


def batched(model: LanguageModel, asked: Asked) -> Tensor:
    """The same, with the prefix's cache copied for a padded batch of the candidates."""
    prefix, device = torch.tensor([asked.prefix], device=model.device), model.device
    begun = model.model(input_ids=prefix, use_cache=True, logits_to_keep=1)
    cache = begun.past_key_values
    cache.batch_repeat_interleave(len(asked.candidates))
    length = torch.tensor([len(candidate) for candidate in asked.candidates], device=device)
    target = torch.nn.utils.rnn.pad_sequence([torch.tensor(one, device=device) for one in asked.candidates], batch_first=True)
    real = torch.arange(target.shape[1], device=device)[None] < length[:, None]
    mask = torch.cat([torch.ones(len(length), prefix.shape[1], dtype=torch.long, device=device), real[:, :-1].long()], 1)
    body = model.model.base_model(input_ids=target[:, :-1], attention_mask=mask, past_key_values=cache, use_cache=True)
    later = model.model.get_output_embeddings()(body.last_hidden_state[real[:, 1:]]).float()
    start = begun.logits[0, -1].float()
    first = start[target[:, 0]] - start.logsumexp(0)
    owner = torch.arange(len(length), device=device)[:, None].expand_as(real)[:, 1:][real[:, 1:]]
    gains = later[torch.arange(len(later), device=device), target[:, 1:][real[:, 1:]]] - later.logsumexp(1)
    return first.index_add(0, owner, gains)


WAYS: dict[str, Callable[[LanguageModel, Asked], Tensor]] = {"packed": packed, "batched": batched, "single": single}


def questions(model: LanguageModel, titles: Sequence[str], users: int, history: int, candidates: int) -> list[Asked]:
    """Random titles as the histories and candidates of some users."""
    rng, prompt = np.random.default_rng(0), CandidatePrompt(load_template("next"))
    found = []
    for _ in range(users):
        drawn = [titles[place] for place in rng.choice(len(titles), history + candidates, replace=False)]
        segments = [model.words(prompt.segment(title)) for title in drawn[history:]]
        found.append(Asked(model.start(prompt.prefix({"history": drawn[:history]})), segments))
    return found


def operations(way: Callable[[LanguageModel, Asked], Tensor], model: LanguageModel, asked: Sequence[Asked]) -> float:
    """Billions of multiplications and additions a user, attention included, which is computed eagerly for the count."""
    before = model.model.config._attn_implementation
    model.model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        for one in asked:
            way(model, one)
    model.model.set_attn_implementation(before)
    return counter.get_total_flops() / len(asked) / 1e9


def timed(model: LanguageModel, asked: Sequence[Asked], rounds: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Seconds and processor seconds of each way, (rounds * users, 2), which take turns within each user; and how far the scores
    of each are from those of one candidate at a time, in nats at the most."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    apart = dict.fromkeys(WAYS, 0.0)
    for one in [*asked] * rounds:
        scores = {}
        for name, way in WAYS.items():
            began, before = time.perf_counter(), time.process_time()
            scores[name] = way(model, one).cpu()  # waits for the device
            took[name].append((time.perf_counter() - began, time.process_time() - before))
        apart = {name: max(most, float((scores[name] - scores["single"]).abs().max())) for name, most in apart.items()}
    return {name: np.array(seconds) for name, seconds in took.items()}, apart


def measure(model: LanguageModel, asked: Sequence[Asked], rounds: int) -> dict[str, object]:
    """What the ways cost a user, in turn on the same users, and how far their scores are apart."""
    with torch.no_grad():
        seconds, apart = timed(model, asked, rounds)
        counts = {name: operations(way, model, asked[:1]) for name, way in WAYS.items()}
    prefix = np.mean([len(one.prefix) for one in asked])
    tokens = {
        "packed": np.mean([len(one.prefix) + sum(len(c) - 1 for c in one.candidates) for one in asked]),
        "single": np.mean([sum(len(one.prefix) + len(c) - 1 for c in one.candidates) for one in asked]),
    }
    ratio = {name: np.median(seconds[name] / seconds["packed"], axis=0) for name in ("batched", "single")}
    middle = {name: np.median(values, axis=0) for name, values in seconds.items()}
    return {
        "users": len(asked),
        "candidates": len(asked[0].candidates),
        "tokens of a prefix": round(float(prefix), 1),
        "tokens read": {name: round(float(count)) for name, count in tokens.items()},
        "seconds": {name: round(float(value[0]), 4) for name, value in middle.items()},
        "processor seconds": {name: round(float(value[1]), 4) for name, value in middle.items()},
        "tokens a processor second": {name: round(float(tokens[name] / middle[name][1])) for name in tokens},
        "times as long as packed": {name: round(float(value[0]), 2) for name, value in ratio.items()},
        "processor time over packed": {name: round(float(value[1]), 2) for name, value in ratio.items()},
        "billion operations": {name: round(count, 2) for name, count in counts.items()},
        "operations over packed": {name: round(counts[name] / counts["packed"], 2) for name in ("batched", "single")},
        "largest difference from single, nats": apart,
    }


@click.command()
@click.option("--model", "folder", type=click.Path(exists=True, path_type=Path), required=True, help="Folder, or *.gguf.")
@click.option("--items", type=click.Path(exists=True, path_type=Path), required=True, help="Parquet with a column title.")
@click.option("--users", default=10, show_default=True)
@click.option("--history", default=6, show_default=True, help="Titles of a history.")
@click.option("--candidates", default=20, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="JSON file; without it the report is printed alone.")
def main(
    folder: Path,
    items: Path,
    users: int,
    history: int,
    candidates: int,
    rounds: int,
    dtype: str,
    device: str,
    output: Path | None,
) -> None:
    """Time packed scoring against one candidate at a time, over real titles."""
    model = load_language_model(folder, DTYPES[dtype], device)
    titles = [title for title in pq.read_table(items, columns=["title"]).column("title").to_pylist() if title]
    asked = questions(model, titles, users, history, candidates)
    report = {"model": model.model.config.model_type, "width": model.width, "dtype": dtype, "device": device}
    report |= {"threads": torch.get_num_threads()} | measure(model, asked, rounds)
    click.echo(json.dumps(report, indent=1))
    if output is not None:
        with whole_file(output) as fresh:
            save_json(fresh, report)


if __name__ == "__main__":
    main()
