"""The study of similar items of new items: does the list beside one follow its first buyers?

python training/similar_items_study.py --data FOLDER --category beauty --output training/results/similar-items-beauty.json

`fit` reads what was before a cut at 75% of the events, `add_items` starts the items that came later, `observe` takes the first
1, 3, 6 and 10 buyers of each, and `similar_items` is held against what later buyers had before. The primary cell is 3 buyers.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.item_cold import CATEGORIES
from benchmarks.protocol import Part
from llmrec.errors import LlmrecError
from llmrec.metrics.report import Result, table, write_report
from llmrec.progress import Stages
from studies.new_items import observing, similar, study
from studies.new_items.moving import SETTINGS
from studies.new_items.replay import replay, world


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--category", type=click.Choice(CATEGORIES), default="beauty", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "observed-items", show_default=True)
@click.option("--validation_only", is_flag=True, help="Measure on validation; nothing of the test period is read.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(data: Path, category: str, seed: int, runs: Path, validation_only: bool, output: Path | None) -> None:
    """Fit, add the young items, observe the first buyers of each and ask for similar items."""
    name, stages, rows = f"similar-items-{category}", Stages(), list[Result]()
    part: Part = "validation" if validation_only else "test"
    try:
        with stages("data", f"{category}, {part}"):
            here = world(data, category, part)
            found = replay(here)
        recommender = observing.fitted(here, SETTINGS, seed, runs / f"{category}-{part}-{seed}")[0]
        for k in similar.BUYERS:
            asked = similar.questions(here, found, k)
            for metric, result in similar.answered(here, asked, recommender, seed).items():
                rows += similar.rows(name, k, metric, result, seed)
        for metric in (study.METRIC, similar.WEIGHED):
            click.echo(f"{metric}\n{table(rows, name, metric, versus='')}\n")
        for row in rows:
            if row.versus:
                what = f"{row.setting}, {row.metric}, less {row.versus}"
                click.echo(f"{what}: {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}] ({row.n})")
        if output is not None:
            prior = recommender.state.vector_prior
            learned = None if prior is None else {"slope": prior.slope, "precision": prior.precision}
            primary = {"setting": similar.PRIMARY, "metric": study.METRIC}
            told = {"benchmark": name, "ours": similar.OURS, "primary": primary, "seeds": [seed], "part": part, "aims": []}
            write_report(output, rows, told | {"young": len(found.young), "learned": learned})
            click.echo(f"\nwritten: {output}")
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
