"""Explanations: how far the first item's score falls without the past item that is named first, and without other ones.

python training/explanation_study.py --model films=FOLDER --model beauty=FOLDER --output training/results/explanations.json

A folder is a recommender that was saved with histories. Of its users 500 with five past items or more are drawn. The past item
named first is the one with the largest drop, so on this score it is ahead of every other choice by construction; what is to be
found out is by how much. Two checks are made where that does not hold: the rank of the item in a whole new answer, in which
every other item moves too, and the drop of the score by a model that reads half as long a prompt.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from llmrec.data.tasks import Tasks, full_histories
from llmrec.metrics.bootstrap import Interval, resampled
from llmrec.metrics.report import Result, write_report
from llmrec.progress import Stages
from llmrec.recommender.answer import Request, answer
from llmrec.recommender.explaining import left_out, occlude
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.state import State

USERS, LEAST, DEEP, TIMED = 500, 5, 100, 20
NAMED, RANDOM = "named first", "random"
CHOICES = (NAMED, "latest", "nearest by text", "nearest by co-occurrence", RANDOM)
Values = dict[str, np.ndarray]
"""What is left out -> a number for each user."""


def drawn(state: State, users: int, rng: np.random.Generator) -> Tasks:
    """The whole histories of so many users with LEAST past items or more, or of as many as there are."""
    data = state.histories
    pairs = np.unique(data.user.astype(np.int64) * data.n_items + data.item)
    long = np.flatnonzero(np.bincount(pairs // data.n_items, minlength=data.n_users) >= LEAST)
    return full_histories(data, np.sort(rng.permutation(long)[:users]))


def chosen(state: State, past: np.ndarray, item: int, drop: np.ndarray, rng: np.random.Generator) -> dict[str, int]:
    """Which of the past items (J,), the latest first, each choice takes for one item."""
    text = state.model.text.cpu().numpy()
    together = state.retrieval.counts.cooccurrence[past, np.full(len(past), item)]
    by_text = text[past] @ text[item]
    picks = (drop.argmax(), 0, by_text.argmax(), np.asarray(together).argmax(), rng.integers(len(past)))
    return dict(zip(CHOICES, map(int, picks), strict=True))


def ranks(state: State, tasks: Tasks, item: int, request: Request) -> np.ndarray:
    """int64 (T,): the rank of an item in a new answer to each task, DEEP + 1 where it is not among the first DEEP."""
    found, place = answer(state, tasks, request), np.full(len(tasks), DEEP + 1)
    here = found.item == item
    place[found.asker[here]] = found.rank[here]
    return place


def measured(state: State, tasks: Tasks, checked: int, seed: int) -> tuple[dict[str, Values], dict[str, float]]:
    """Drops of the score, ranks, and drops with half the prompt (NaN beyond the first `checked` users), of each choice; and
    how often half the prompt names the same past item. Of a random past item the drops are their means over all of them."""
    rng, request = np.random.default_rng(seed), Request(k=DEEP)
    train = state.settings.train
    half = replace(state, settings=replace(state.settings, train=replace(train, max_slots=train.max_slots // 2)))
    found = {name: {choice: np.full(len(tasks), np.nan) for choice in CHOICES} for name in ("score", "rank", "half")}
    same = []
    for number in range(len(tasks)):
        task = tasks.take(np.array([number]))
        item = answer(state, task, Request(k=1)).item
        told = occlude(state, task, item, request)
        drop, others = told.drop[:, 0], left_out(task)[1]
        picks = chosen(state, told.past, int(item[0]), drop, rng)
        place = ranks(state, others.take(np.array(list(picks.values()))), int(item[0]), request)
        short = occlude(half, task, item, request).drop[:, 0] if number < checked else np.full(len(drop), np.nan)
        same += [short.argmax() == drop.argmax()] if number < checked else []
        for choice, one in zip(CHOICES, place, strict=True):
            mean = choice == RANDOM
            found["score"][choice][number] = drop.mean() if mean else drop[picks[choice]]
            found["half"][choice][number] = short.mean() if mean else short[picks[choice]]
            found["rank"][choice][number] = one
    return found, {"same past item with half the prompt": float(np.mean(same))}


def rows(benchmark: str, found: Mapping[str, Values], seed: int) -> list[Result]:
    """The means of each choice, and the ratio of its mean to that of a random past item, with intervals over users."""

    def row(choice: str, setting: str, metric: str, one: Interval) -> Result:
        role = "ours" if choice == NAMED else "control"
        return Result(benchmark, choice, role, setting, metric, one.value, one.low, one.high, "", one.n, seed, None)

    written = []
    for setting, metric, read in MEASURES:
        draws = resampled({choice: read(values) for choice, values in found[setting].items()}, np.random.default_rng(seed))
        written += [row(choice, setting, metric, one.interval()) for choice, one in draws.items()]
        if setting != "rank":
            base = draws.pop(RANDOM)
            for choice, one in draws.items():
                ratio = replace(one, value=one.value / base.value, draws=one.draws / base.draws)
                written.append(row(choice, setting, "drop / random", ratio.interval()))
    return written


MEASURES: tuple[tuple[str, str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("score", "drop", lambda values: values),
    ("half", "drop", lambda values: values),
    ("rank", "no longer first", lambda values: (values > 1).astype(float)),
    ("rank", "no longer among ten", lambda values: (values > 10).astype(float)),
)


def milliseconds(recommender: Recommender, tasks: Tasks) -> dict[str, float]:
    """Processor time of `recommend` and of `explain` for ten items of one user, the means over TIMED users each."""
    users, found = tasks.dataset.users.take(tasks.user[-2 * TIMED - 1 :]).values, {}
    recommender.explain(users[:1])
    for name, call, some in (
        ("recommend", recommender.recommend, users[1 : TIMED + 1]),
        ("explain", recommender.explain, users[TIMED + 1 :]),
    ):
        began = time.process_time()
        for user in some:  # each history is asked for once: the second time its reading is remembered
            call([user])
        found[name] = round(1000 * (time.process_time() - began) / len(some), 1)
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", "models", multiple=True, required=True, metavar="NAME=FOLDER", help="A saved recommender; repeatable.")
@click.option("--users", default=USERS, show_default=True, type=click.IntRange(min=2), help="Users of each.")
@click.option("--checked", default=100, show_default=True, type=click.IntRange(min=2), help="Of them with half the prompt.")
@click.option("--seed", default=0, show_default=True, help="Of the users, of the random past items and of the intervals.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(models: tuple[str, ...], users: int, checked: int, seed: int, output: Path | None) -> None:
    """Leave past items out of histories, and measure what this does to the first item."""
    stages, written, told = Stages(), [], {}
    for given in models:
        name, sign, folder = given.partition("=")
        if not sign:
            raise click.UsageError(f"--model is {given!r}, expected NAME=FOLDER")
        recommender = Recommender.from_pretrained(folder)
        tasks = drawn(recommender.state, users, np.random.default_rng(seed))
        with stages(name, f"{len(tasks):,} users"):
            found, agreed = measured(recommender.state, tasks, min(checked, len(tasks)), seed)
        written += rows(name, found, seed)
        told[name] = {
            "users": len(tasks),
            "median past items": float(np.median(tasks.split - tasks.start)),
            "events in the prompt": recommender.state.settings.train.max_slots,
            "checked with half the prompt": min(checked, len(tasks)),
            **agreed,
            "milliseconds of processor time a user": milliseconds(recommender, tasks),
        }
    for one in written:
        said = f"{one.value:8.3f} [{one.low:.3f}, {one.high:.3f}]"
        click.echo(f"{one.benchmark:8} {one.setting:6} {one.metric:20} {one.method:26} {said}")
    click.echo("\n".join(f"{name}: {values}" for name, values in told.items()))
    if output is not None:
        write_report(output, written, {"least past items": LEAST, "seed": seed, "models": told})


if __name__ == "__main__":
    main()
