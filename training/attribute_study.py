"""Study what attributes of users are worth where no event is known, and write its report.

python training/attribute_study.py --data FOLDER --output training/results/attributes.json

New people of MovieLens-1M (gender, age band, occupation: their first 10 films are asked for) and households of the Complete
Journey (demographics: their first 3 trips). Fitted models are kept under --runs. The primary cells and the controls stand in
`studies.attributes`, study.py and controls.py; groups are chosen on validation users, and test users are measured once.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.shipped import settings_of
from llmrec import Recommender
from llmrec.errors import LlmrecError
from llmrec.metrics.report import Result, table, write_report
from llmrec.progress import Stages
from studies.attributes import study
from studies.attributes.shops import SHOPS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--shop", type=click.Choice(tuple(SHOPS)), multiple=True, help="One data set alone.  [default: both]")
@click.option("--settings", default="default", show_default=True, help="default, quick, best, or a YAML file.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "attributes", show_default=True)
@click.option("--validation_only", is_flag=True, help="Measure on validation users; nothing of test users is read.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(
    data: Path, shop: tuple[str, ...], settings: str, seed: int, runs: Path, validation_only: bool, output: Path | None
) -> None:
    """Fit on training users and ask for users of whom nothing but attributes is known."""
    rows: list[Result] = []
    chosen, stages = {}, Stages()
    try:
        label, plan = settings_of(settings)
        for name in shop or tuple(SHOPS):
            with stages("data", name):
                here = SHOPS[name](data)
            folder = runs / f"{name}-{label}-{seed}"
            if folder.exists():
                with stages("load", f"{folder}, fitted before; remove it to fit anew"):
                    fitted = Recommender.from_pretrained(folder)
            else:
                dataset, users = here.train()
                fitted = Recommender(settings=plan, seed=seed).fit(dataset, users=users)
                fitted.save_pretrained(folder, histories=True)
            with stages("measure", here.name):
                found, groups = study.measure(here, fitted, "validation" if validation_only else "test", seed)
            rows += found
            chosen[here.name] = groups
        click.echo(table(rows, study.NAME, study.METRIC, versus=""))
        for row in rows:
            if row.versus:
                click.echo(f"{row.setting}: {row.method} - {row.versus}: {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}]")
        click.echo(str(chosen))
        if output is not None:
            part = "validation" if validation_only else "test"
            write_report(output, rows, {"primary": study.PRIMARY, "part": part, "settings": label, "chosen": chosen})
            click.echo(f"\nwritten: {output}")
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
