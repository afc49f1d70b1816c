"""What `recommend(avoid_disliked=True)` gains: NDCG@10 of what was then rated 4 or 5, with it and without.

python training/disliked_study.py --data FOLDER --output training/results/disliked.json

Benchmark `ml1m-liked`: users of MovieLens-1M who were never trained on, each one's ratings in random order; the first ratings
are known, and of the next 10 films those rated 4 or 5 are relevant. One recommender gives both lists, by the public API.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.movielens import METRIC, ml1m_liked
from benchmarks.protocol import Benchmark, Part, Setting
from benchmarks.shipped import settings_of
from llmrec import Recommender
from llmrec.data.tasks import Tasks
from llmrec.errors import LlmrecError
from llmrec.metrics.bootstrap import resampled
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from studies.reporting import print_gains, print_tables, save_report

NAME, PRIMARY = "disliked", "known=10"
PLAIN, AVOIDING = "llmrec", "llmrec, avoid_disliked"
DEPTH, AT_ONCE = 10, 200


def name_of(task: int) -> str:
    """The name of a task's user."""
    return f"asked {task}"


def histories(tasks: Tasks) -> pd.DataFrame:
    """The known ratings of each task's user, under an id that the recommender does not know."""
    data = tasks.dataset
    event = np.concatenate([np.arange(tasks.start[task], tasks.split[task]) for task in range(len(tasks))])
    owner = np.repeat(np.arange(len(tasks)), tasks.split - tasks.start)
    ids = np.array(data.catalogue.ids.values)
    rating = data.attributes["rating"]
    told = {
        "user_id": [name_of(task) for task in owner.tolist()],
        "item_id": ids[data.item[event]],
        "timestamp": data.time[event],
        "rating": rating[event],
    }
    return pd.DataFrame(told)


def ndcg(recommender: Recommender, tasks: Tasks, avoid_disliked: bool) -> np.ndarray:
    """float64 (T,): of lists of DEPTH films that the users have not rated."""
    place = {item: number for number, item in enumerate(tasks.dataset.catalogue.ids.values)}
    gain, value = 1 / np.log2(2 + np.arange(DEPTH)), np.zeros(len(tasks))
    for first in range(0, len(tasks), AT_ONCE):
        some = tasks.take(np.arange(first, min(first + AT_ONCE, len(tasks))))
        found = recommender.recommend(histories=histories(some), k=DEPTH, avoid_disliked=avoid_disliked)
        lists = pd.DataFrame(found).sort_values(["user_id", "rank"]).groupby("user_id")["item_id"]
        for task, liked in enumerate(some.relevant()):
            wanted = np.setdiff1d(liked, some.dataset.item[some.support(task)])
            hit = np.isin([place[item] for item in lists.get_group(name_of(task))], wanted)
            possible = min(len(wanted), DEPTH)
            value[first + task] = hit @ gain[: len(hit)] / gain[:possible].sum() if possible else np.nan
    return value


def rows(setting: Setting, tasks: Tasks, recommender: Recommender, seed: int) -> list[Result]:
    """Both lists and their difference, users resampled."""
    found = {PLAIN: ndcg(recommender, tasks, False), AVOIDING: ndcg(recommender, tasks, True)}
    drawn, made = resampled(found, np.random.default_rng(seed)), []
    for method, versus in ((PLAIN, ""), (AVOIDING, ""), (AVOIDING, PLAIN)):
        at = (drawn[method].minus(drawn[versus]) if versus else drawn[method]).interval()
        role = "ours" if method == AVOIDING else "control"
        made.append(Result(NAME, method, role, setting.name, METRIC, at.value, at.low, at.high, versus, at.n, seed, None))
    return made


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
                found += rows(setting, setting.asked(part), recommender, seed)
        print_tables(found, NAME, (METRIC,), ())
        print_gains(found)
        primary = {"setting": PRIMARY, "metric": METRIC}
        told = {"benchmark": NAME, "ours": AVOIDING, "primary": primary, "aims": [], "seeds": [seed]}
        save_report(output, found, told | {"part": part, "settings": label})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
