"""The study of cold items that come by `add_items` and are bought: how well the recommender ranks them as `observe` keeps up.

python training/observed_items_study.py --data FOLDER --category beauty --output training/results/observed-items-beauty.json

A recommender is fitted on the events before a cut, the items first sold after it are added, and every later day is observed.
Before each purchase of a young item it is asked. `studies.new_items.observing` has the arms and the controls among the young,
`among_all` those among all items; checkpoints are kept under --runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.item_cold import CATEGORIES
from benchmarks.protocol import Part
from llmrec import Settings
from llmrec.errors import LlmrecError
from llmrec.progress import Stages
from studies.new_items import among_all, observing, study
from studies.new_items.moving import SETTINGS
from studies.new_items.refitted import MOMENTS
from studies.new_items.replay import KNOWN, replay, world
from studies.reporting import print_gains, print_tables, save_report


@dataclass(frozen=True)
class Chosen:
    """settings: of the recommender. name: of the report, before the category. prefix: of the folders of checkpoints."""

    settings: Settings
    name: str
    prefix: str


CHOSEN = {"cold_items": Chosen(SETTINGS, "observed-items", ""), "default": Chosen(Settings(), "observed-default", "default-")}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--category", type=click.Choice(CATEGORIES), default="beauty", show_default=True)
@click.option(
    "--known",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    default=(KNOWN,),
    show_default=True,
    help="Share of the events before the cut. Give it several times for several cuts, whose questions are pooled.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "observed-items", show_default=True)
@click.option(
    "--settings",
    type=click.Choice(list(CHOSEN)),
    default="cold_items",
    show_default=True,
    help="Of the recommender: with base and rankers that are learned for cold items too, in three epochs, or the defaults.",
)
@click.option("--validation_only", is_flag=True, help="Measure on validation; nothing of the test period is read.")
@click.option("--share", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Share of the users who are asked.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(
    data: Path,
    category: str,
    known: tuple[float, ...],
    seed: int,
    runs: Path,
    settings: str,
    validation_only: bool,
    share: float,
    output: Path | None,
) -> None:
    """Fit, add the young items, and ask and observe day by day."""
    name = f"{CHOSEN[settings].name}-{category}"
    part: Part = "validation" if validation_only else "test"
    parts, cuts = [], []
    if validation_only and len(known) > 1:
        raise click.UsageError("--known: expected one with --validation_only, where each cut numbers its users; run each alone")
    try:
        for cut in known:
            folder = runs / (CHOSEN[settings].prefix + f"{category}-{part}-{seed}" + ("" if cut == KNOWN else f"-{cut:g}"))
            answered, told = after_cut(data, category, cut, part, CHOSEN[settings].settings, seed, share, folder)
            parts.append(answered)
            cuts.append({"known": cut, **told, "first_buyers": observing.first_buyers(answered)})
            click.echo(str(cuts[-1]))
        rows = observing.rows(name, observing.pooled(parts), seed)
        print_tables(rows, name, (study.METRIC,), ())
        print_gains(rows)
        more = study.extra(name, observing.OBSERVING, observing.AIMS, rows, seed, observing.ADDED)
        save_report(output, rows, more | {"part": part, "share": share, "cuts": cuts})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


def after_cut(
    data: Path, category: str, known: float, part: Part, settings: Settings, seed: int, share: float, folder: Path
) -> tuple[observing.Answered, dict[str, object]]:
    """What comes of the questions after one cut, and facts about it. folder: of checkpoints."""
    stages = Stages()
    with stages("data", f"{category}, {known:.0%} of the events before the cut"):
        earlier = world(data, category, "validation", known)
        of_earlier = replay(earlier)
        weights = observing.blend_weights(of_earlier, observing.inputs(earlier, of_earlier))
        of_all = among_all.learned(earlier, seed)
        here = earlier if part == "validation" else world(data, category, part, known)
        found = of_earlier if part == "validation" else replay(here)
    recommender, place = observing.fitted(here, settings, seed, folder)
    asked = observing.questions(here, found, seed, share)
    with stages("ask and observe", f"{len(asked.rows):,} purchases of {len(found.young):,} young items"):
        values = observing.answered(here, found, asked, recommender, place, seed)
    with stages("controls", f"EASE refitted {MOMENTS} times"):
        given = observing.controls(here, found, observing.inputs(here, found), weights)
    values[observing.YOUNG] |= {arm: observing.among_young(found, asked, scores) for arm, scores in given.items()}
    with stages("controls among all", f"{here.whole.n_items:,} items"):
        events = np.concatenate([found.purchase[asked.rows], asked.others])
        for arm, value in among_all.answered(here, events, of_all).items():
            values[observing.EVERY][arm], values[observing.ANY][arm] = np.split(value, [len(asked.rows)])
    cold = recommender.state.unseen_rankers.cold
    learned = None if cold is None else {"keep": cold.keep, "weights": cold.weights.round(4).tolist()}
    answered = observing.Answered(found.k[asked.rows], found.user[asked.rows], here.whole.user[asked.others], values)
    of_inputs = {
        blend: dict(zip(names, of_all[blend].round(4).tolist(), strict=True)) for blend, names in among_all.BLENDS.items()
    }
    return answered, {"young": len(found.young), "learned": learned, "blends_among_all": of_inputs}


if __name__ == "__main__":
    main()
