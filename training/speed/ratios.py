"""How many times faster users are adapted than by a loop of PEFT, and texts encoded than in plain batches, over real titles.

python training/speed/ratios.py --data ../shared/data --output training/results/ratios.json

Adaptation: pretrained MiniLM reads the histories of USERS users; each takes STEPS gradient steps on the same support loss. We
adapt all side by side, and prompts pass the lower blocks once. The loop has one LoRA adapter of PEFT on the same layers: for
each user it is set back, every step runs the whole transformer, and so does the reading afterwards. Both end at the same user
vectors.

Encoding: the loop encodes as sentence-transformers does by default: texts by length, 32 a batch, padded, float32.

Both run in turn, and a ratio is the median over rounds; of processor time too, which other processes on the machine lengthen
less.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import peft
import pyarrow as pa
import torch

from llmrec import Settings
from llmrec.adapters.lora import lora_hook
from llmrec.data.build import build, read_catalogue
from llmrec.data.tasks import Tasks, full_histories
from llmrec.encoder.backbone import TextModel, load_body, load_text
from llmrec.encoder.items import MAX_TOKENS, catalogue_vectors, encode_texts
from llmrec.encoder.loss import multi_target
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.precision import faster_dtype
from llmrec.encoder.slots import slots, support_readouts
from llmrec.encoder.users import in_faster_dtype, user_vectors
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.meta.episodes import EpisodeSettings, user_support
from llmrec.meta.inner import Initialisation, adapt
from llmrec.recommender.auto import facts, resolve
from llmrec.recommender.pipeline import frozen_items, new_model, start_adapter
from llmrec.store import cache_folder, whole_file

USERS, KNOWN, STEPS = 32, 10, 3
TEXTS = 1024
BATCH = 32  # of sentence-transformers, by default


def adapted_by_peft(
    model: SlotModel, items: Items, tasks: Tasks, settings: EpisodeSettings, init: Initialisation
) -> Callable[[], torch.Tensor]:
    """A loop over T users that gives their vectors (T, d), with an adapter of PEFT on the layers that `init` adapts."""
    start = init.adapter
    modules = [path.replace("encoder.", "", 1) for path in start.paths]
    options = {"r": start.rank, "lora_alpha": start.scale * start.rank, "target_modules": modules, "lora_dropout": 0.0}
    body = peft.inject_adapter_in_model(peft.LoraConfig(**options), load_body(Weights.packaged()).model).eval()
    weights = {name: tensor for name, tensor in body.named_parameters() if "lora_" in name}
    home = [
        start.a[path][0] if "lora_A" in name else start.b[path][0] for name in weights for path in start.paths if path in name
    ]
    rate = float(init.log_rate.exp()[0, 0])
    parts = [tasks.take(np.array([t])) for t in range(len(tasks))]

    def states(embeds: torch.Tensor) -> torch.Tensor:
        with in_faster_dtype(model):
            return body(inputs_embeds=embeds).last_hidden_state.float()

    def loop() -> torch.Tensor:
        found = []
        for part in parts:
            batch = slots(part, settings.max_slots)
            reads = support_readouts(part, batch, settings.horizon, settings.reads)
            target, owner = torch.from_numpy(reads.target), torch.from_numpy(reads.owner)
            with torch.no_grad():
                embeds = model.prompt(items, batch)
                for tensor, begin in zip(weights.values(), home, strict=True):
                    tensor.copy_(begin)
            for _ in range(STEPS):
                scores = model.logits(states(embeds)[0, len(model.prefix_ids) + torch.from_numpy(reads.slot)], items)
                slopes = torch.autograd.grad(multi_target(scores, target, owner).mean(), list(weights.values()))
                norm = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
                with torch.no_grad():
                    for tensor, slope in zip(weights.values(), slopes, strict=True):
                        tensor.sub_(rate * slope * (init.max_grad_norm / norm).clamp(max=1))
            with torch.no_grad():
                found.append(states(embeds)[0, len(model.prefix_ids) + int(batch.length[0]) - 1])
        return torch.stack(found)

    return loop


def adapted_here(
    model: SlotModel, items: Items, tasks: Tasks, settings: EpisodeSettings, init: Initialisation, steps: int = STEPS
) -> Callable[[], torch.Tensor]:
    """The same user vectors by the library, all users side by side."""

    def call() -> torch.Tensor:
        made, support = user_support(model, items, tasks, settings)
        return user_vectors(model, made, lora_hook(adapt(init, support, len(tasks), steps)))

    return call


def encoded_in_batches(model: TextModel, texts: list[str]) -> np.ndarray:
    """Raw vectors float32 (n, d) as sentence-transformers encodes: by length of the text, the longest first, 32 a batch."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    found = np.empty((len(texts), model.width), np.float32)
    with torch.inference_mode():
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            given = model.tokenizer(
                [texts[i] for i in batch], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            states, mask = model.model(**given).last_hidden_state, given["attention_mask"][..., None].float()
            found[batch] = ((states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)).numpy()
    return found


def compared(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median seconds of both, run in turn, and how many times longer theirs takes, in all and in processor time."""
    took = np.empty((rounds, 2, 2))
    for row in range(rounds):
        for column, call in enumerate((ours, theirs)):
            began, before = time.perf_counter(), time.process_time()
            call()
            took[row, column] = time.perf_counter() - began, time.process_time() - before
    ratio = np.median(took[:, 1] / took[:, 0], axis=0)
    seconds = np.median(took[:, :, 0], axis=0)
    names = ("ours, seconds", "theirs, seconds", "ratio", "ratio, processor")
    return {name: round(float(value), 3) for name, value in zip(names, (*seconds, *ratio), strict=True)}


def measure(file: Path, rounds: int) -> dict[str, object]:
    """Both ratios over the titles of one table of items."""
    rng = np.random.default_rng(0)
    catalogue, _ = read_catalogue(file)
    text_model, settings = load_text(Weights.packaged()), Settings()
    vectors, _ = catalogue_vectors(text_model, catalogue, settings.item_template, cache_folder())
    item = rng.choice(np.array(catalogue.ids.values, object), USERS * KNOWN).tolist()
    user, day = np.repeat(np.arange(USERS), KNOWN), np.tile(np.arange(KNOWN), USERS)
    events = pa.table({"user_id": user, "item_id": item, "timestamp": np.datetime64("2024-01-01", "s") + 86_400 * day})
    dataset, _ = build(events, catalogue.table)
    settings = resolve(settings, facts(dataset, USERS // 2))
    model = new_model(load_body(Weights.packaged()), text_model, vectors, dataset, np.arange(USERS), settings, 0)
    model.requires_grad_(False)
    items, init, tasks = (
        frozen_items(model),
        start_adapter(model, settings, 0, settings.lora.b_std),
        full_histories(dataset, np.arange(USERS)),
    )
    given = (model, items, tasks, EpisodeSettings(settings.lora.n_adapted_blocks), init)
    ours, theirs = adapted_here(*given), adapted_by_peft(*given)
    found, unmoved = ours(), adapted_here(*given, steps=0)()
    apart, moved = (float((found - other).abs().max()) for other in (theirs(), unmoved))
    texts = [catalogue.column("title")[i] for i in rng.choice(len(catalogue), min(TEXTS, len(catalogue)), replace=False)]
    different = float(np.abs(encode_texts(text_model, texts) - encoded_in_batches(text_model, texts)).max())
    return {
        "number type": str(faster_dtype()).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "adaptation": {
            "users": USERS,
            "steps": STEPS,
            **compared(ours, theirs, rounds),
            "largest difference": apart,
            "largest move by the steps": moved,
        },
        "encoding": {
            "texts": len(texts),
            **compared(lambda: encode_texts(text_model, texts), lambda: encoded_in_batches(text_model, texts), rounds),
            "largest difference": different,
        },
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default="../shared/data", help="Folder with the tables of items.")
@click.option("--titles", default="amazon2014-beauty.items.parquet", help="Table with item_id and title in it.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="How often both are timed, in turn.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file.")
def main(data: Path, titles: str, rounds: int, output: Path | None) -> None:
    """Time adaptation against a loop of PEFT, and encoding against plain batches."""
    if not (data / titles).is_file():
        raise DataError(f"{data / titles}: no such file; expected a Parquet table with item_id and title")
    found = measure(data / titles, rounds)
    text = json.dumps(found, indent=1)
    click.echo(text)
    if output is not None:
        with whole_file(output) as fresh:
            fresh.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
