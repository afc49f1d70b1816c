"""What `recommend(avoid_disliked=True)` gains: NDCG@10 of what was then rated 4 or 5, with it and without.

python training/disliked_study.py --data FOLDER --output training/results/disliked.json

Benchmark `ml1m-liked`: users of MovieLens-1M who were never trained on, each one's ratings in random order; the first ratings
are known, and of the next 10 films those rated 4 or 5 are relevant. One recommender gives both lists, by the public API.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from benchmarks.movielens import METRIC, ml1m_liked
from benchmarks.protocol import Benchmark, Part
from benchmarks.shipped import settings_of
from llmrec import Recommender
from llmrec.errors import LlmrecError
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from studies.reporting import print_gains, print_tables, save_report
from studies.signed import lists


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@click.option("--settings", default="default", help="default, quick, best, or a YAML file.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "disliked", help="For fitted models.")
@click.option("--validation_only", is_flag=True, help="Measure on validation users; nothing of test users is read.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(data: Path, settings: str, seed: int, runs: Path, validation_only: bool, output: Path | None) -> None:
    """Fit with ratings, and recommend with and without regard to likely dislikes."""
    part: Part = "validation" if validation_only else "test"
    stages = Stages()
    try:
        label, plan = settings_of(settings)
        with stages("data", "ml1m-liked"):
            benchmark: Benchmark = ml1m_liked(data)
            here = benchmark.final() if part == "test" else benchmark
        folder = runs / f"{label}-{part}-{seed}-{hashlib.sha256(repr(plan).encode()).hexdigest()[:12]}"
        if folder.exists():
            with stages("load", f"{folder}, fitted before; remove it to fit anew"):
                recommender = Recommender.from_pretrained(folder)
        else:
            recommender = Recommender(settings=plan, seed=seed).fit(here.train.take(here.users))
            recommender.save_pretrained(folder)
        found: list[Result] = []
        for setting in here.settings:
            with stages("recommend", f"{setting.name}, {len(setting.asked(part)):,} users"):
                found += lists.rows(setting, setting.asked(part), recommender, seed)
        print_tables(found, lists.NAME, (METRIC,), ())
        print_gains(found)
        primary = {"setting": lists.PRIMARY, "metric": METRIC}
        told = {"benchmark": lists.NAME, "ours": lists.AVOIDING, "primary": primary, "aims": [], "seeds": [seed]}
        save_report(output, found, told | {"part": part, "settings": label})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
