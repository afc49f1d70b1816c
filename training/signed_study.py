"""Likes and dislikes of new users: MovieLens-1M, 8, 16 and 32 ratings known, beside controls.

python training/signed_study.py --data FOLDER --validation_only
python training/signed_study.py --data FOLDER --seeds 0,1,2 --output training/results/signed.json
python training/signed_study.py --data FOLDER --attributes --language_model FOLDER --no_ablations --output FILE

A seed is a shuffle of each user's ratings. The primary cell stands in `studies.signed.protocol`.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import os
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from benchmarks.runs import seed_numbers
from llmrec.errors import LlmrecError
from llmrec.progress import Stages
from studies.reporting import print_tables, save_report
from studies.signed import protocol, study
from studies.signed.texts import language_states, text_vectors

DESCRIBED = "signed-films"  # the report's name where films are described by more than their texts


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--seeds", callback=seed_numbers, default="0,1,2", show_default=True, help="Shuffles, with commas between.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option("--validation_only", is_flag=True, help="Ask validation users; no test user is measured.")
@click.option("--no_ablations", is_flag=True, help="Leave out the variants that have to be learned again.")
@click.option("--attributes", is_flag=True, help="Describe films by year, rating board, genres and directors beside the text.")
@click.option("--language_model", type=click.Path(path_type=Path), help="Its states of the films too; see `llmrec weights`.")
@click.option("--cold_films", is_flag=True, help="Ask for cold films alone.")
def main(
    data: Path,
    seeds: tuple[int, ...],
    output: Path | None,
    validation_only: bool,
    no_ablations: bool,
    attributes: bool,
    language_model: Path | None,
    cold_films: bool,
) -> None:
    """Learn from the training users, choose constants on validation users, and ask the test users."""
    stages, began = Stages(), time.perf_counter()
    part = "validation" if validation_only else "test"
    try:
        world, whole = protocol.load(data)
        text = text_vectors(whole, stages)
        told = {study.OURS: text}
        if attributes:
            films = protocol.films(data, whole)
            told = {study.OURS: np.hstack([text, protocol.attributes(films, world.cold)]), study.TEXT: text}
            if language_model is not None:
                states = language_states(language_model, films, stages)
                known = np.hstack([text, protocol.attributes(films, world.cold, states)])
                told = {study.OURS: known, study.NO_STATES: told[study.OURS], study.TEXT: text}
        rows, chosen = study.measure(world, told, seeds, part, stages, not no_ablations, not cold_films)
        name = DESCRIBED if attributes else protocol.NAME
        rows = [replace(row, benchmark=name) for row in rows]
        click.echo(f"{name}, {part} users; primary cell: {protocol.PRIMARY[1]} in {protocol.PRIMARY[0]}\n")
        print_tables(rows, name, dict.fromkeys(row.metric for row in rows), ("log loss",))  # of cold films there is no NDCG
        extra: dict[str, object] = {"part": part, "seeds": list(seeds), "cpus": os.cpu_count(), "attributes": attributes}
        extra["language_model"] = language_model and language_model.name
        extra["chosen on validation users"] = chosen
        save_report(output, rows, study.aims(rows) | {"benchmark": name} | extra)
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{time.perf_counter() - began:.0f} s in all", err=True)


if __name__ == "__main__":
    main()
