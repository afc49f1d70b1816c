"""The study of young films that some users disliked: what those users say to others, as they are observed.

python training/skipped_items_study.py --data FOLDER --alone --output training/results/skipped-items.json

A recommender is fitted on ratings of MovieLens-1M before a cut, a fifth of the films is added then, and all later ratings are
observed in blocks. Before each block it is asked for likes in it. `studies.new_items.skipping` has the arms. The times of the
ratings are made up. With --alone no recommender is fitted, which takes two minutes instead of ten.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks.protocol import Part
from llmrec.errors import LlmrecError
from llmrec.progress import Stages
from studies.new_items import skipping, study
from studies.reporting import print_gains, print_tables, save_report

NAME = "skipped-items"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--share", type=click.FloatRange(0, 1), default=1.0, help="Share of the users who are asked.")
@click.option("--validation_only", is_flag=True, help="Measure on validation; nothing of the test period is read.")
@click.option("--alone", is_flag=True, help="Fit no recommender: rank young films by the score of cold items among themselves.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(data: Path, seed: int, share: float, validation_only: bool, alone: bool, output: Path | None) -> None:
    """Fit, add the young films, and ask and observe block by block."""
    part: Part = "validation" if validation_only else "test"
    name = NAME if alone else f"{NAME}-whole"
    stages = Stages()
    try:
        with stages("data", f"MovieLens-1M, {part}"):
            here = skipping.shop(data, part, seed)
        asked = int(skipping.questions(here, seed, share)[1].sum())
        told = f"{asked:,} likes of {np.count_nonzero(here.young):,} young films"
        learned: dict[str, object]
        if alone:
            weights = skipping.learned_alone(here, seed)
            learned = {arm: weight.round(4).tolist() for arm, weight in weights.items()}
            with stages("ask and observe", told):
                found = skipping.answered_alone(here, weights, seed, share)
        else:
            arms, place, learned = skipping.fitted(here, seed)
            with stages("ask and observe", told):
                found = skipping.answered(here, arms, place, seed, share)
        click.echo(str(learned))
        rows = skipping.rows(name, found, seed)
        print_tables(rows, name, (study.METRIC,), ())
        print_gains(rows)
        primary = {"setting": skipping.PRIMARY, "metric": study.METRIC}
        more = {"benchmark": name, "ours": skipping.SKIPS, "primary": primary, "aims": [], "seeds": [seed]}
        save_report(output, rows, more | {"part": part, "share": share, "alone": alone, "learned": learned})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
