"""Explanations: how far the first item's score falls without the past item that is named first, and without other ones.

python training/explanation_study.py --model films=FOLDER --model beauty=FOLDER --output training/results/explanations.json

A folder is a recommender that was saved with histories. Of its users 500 with five past items or more are drawn. The past item
named first is the one with the largest drop, so on this score it is ahead of every other choice by construction; what is to be
found out is by how much. Two checks are made where that does not hold, on the first users: the rank of the item in a whole new
answer, in which every other item moves too, and the drop of the score by a model that reads half as long a prompt. The choice
"named within the list" is the past item with the largest drop over the mean drop of the ten items of the list.
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
from llmrec.errors import DataError, LlmrecError
from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.report import Result, write_report
from llmrec.progress import Stages
from llmrec.recommender.answer import Request, answer
from llmrec.recommender.explaining import left_out, occlude
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.state import State

USERS, LEAST, LISTED, DEEP, TIMED = 500, 5, 10, 100, 20
NAMED, RANDOM = "named first", "random"
CHOICES = (NAMED, "named within the list", "latest", "nearest by text", "nearest by co-occurrence", RANDOM)
Values = dict[str, np.ndarray]
"""What is left out -> a number for each user."""


def drawn(state: State, users: int, rng: np.random.Generator) -> Tasks:
    """The whole histories of so many users with LEAST past items or more, or of as many as there are.

    Raises DataError where there are fewer than three."""
    data = state.histories
    pairs = np.unique(data.user.astype(np.int64) * data.n_items + data.item)
    long = np.flatnonzero(np.bincount(pairs // data.n_items, minlength=data.n_users) >= LEAST)
    if len(long) < 3:
        raise DataError(
            f"expected three users or more with {LEAST} past items, got {len(long)} of {data.n_users:,} users; save the "
            "recommender by save_pretrained(folder, histories=True)"
        )
    return full_histories(data, np.sort(rng.permutation(long)[:users]))


def chosen(state: State, past: np.ndarray, item: int, drop: np.ndarray, rng: np.random.Generator) -> dict[str, int]:
    """Which of the past items (J,), the latest first, each choice takes for the first of the items of a list. drop: (J, K)."""
    text = state.model.text.cpu().numpy()
    together = state.retrieval.counts.cooccurrence[past, np.full(len(past), item)]
    within, by_text = drop[:, 0] - drop.mean(1), text[past] @ text[item]
    picks = drop[:, 0].argmax(), within.argmax(), 0, by_text.argmax(), np.asarray(together).argmax(), rng.integers(len(past))
    return dict(zip(CHOICES, map(int, picks), strict=True))


def ranks(state: State, tasks: Tasks, item: int, request: Request) -> np.ndarray:
    """int64 (T,): the rank of an item in a new answer to each task, DEEP + 1 where it is not among the first DEEP."""
    found, place = answer(state, tasks, request), np.full(len(tasks), DEEP + 1)
    here = found.item == item
    place[found.asker[here]] = found.rank[here]
    return place


def measured(state: State, tasks: Tasks, checked: int, seed: int) -> tuple[dict[str, Values], float]:
    """Drops of the score of each user's first item after each choice, and of the first `checked` users (the others are NaN) its
    rank, and the drop with half the prompt; and how often half the prompt names the same past item. Of a random past item the
    drops are their means over all of them."""
    rng, train = np.random.default_rng(seed), state.settings.train
    half = replace(state, settings=replace(state.settings, train=replace(train, max_slots=train.max_slots // 2)))
    found = {name: {choice: np.full(len(tasks), np.nan) for choice in CHOICES} for name in ("score", "rank", "half")}
    same = []
    for number in range(len(tasks)):
        task = tasks.take(np.array([number]))
        items = answer(state, task, Request(k=LISTED)).item
        told = occlude(state, task, items, Request())
        picks = chosen(state, told.past, int(items[0]), told.drop, rng)
        drops = {"score": told.drop[:, 0]}
        if number < checked:
            drops["half"] = occlude(half, task, items[:1], Request()).drop[:, 0]
            same.append(drops["half"].argmax() == picks[NAMED])
            without = left_out(task)[1].take(np.array(list(picks.values())))
            for choice, place in zip(CHOICES, ranks(state, without, int(items[0]), Request(k=DEEP)), strict=True):
                found["rank"][choice][number] = place
        for name, drop in drops.items():
            for choice, pick in picks.items():
                found[name][choice][number] = drop.mean() if choice == RANDOM else drop[pick]
    return found, float(np.mean(same))


def rows(benchmark: str, found: Mapping[str, Values], seed: int) -> list[Result]:
    """The means of each choice with intervals over users; of drops also what they are beyond twice the drop of a random past
    item, and their ratio to it where that is above 0."""

    def row(choice: str, setting: str, metric: str, one: Resampled) -> Result:
        role, found = "ours" if choice == NAMED else "control", one.interval()
        return Result(benchmark, choice, role, setting, metric, found.value, found.low, found.high, "", found.n, seed, None)

    written = []
    for setting, metric, read in MEASURES:
        draws = resampled({choice: read(values) for choice, values in found[setting].items()}, np.random.default_rng(seed))
        written += [row(choice, setting, metric, one) for choice, one in draws.items()]
        base = draws.pop(RANDOM)
        if metric != "drop":
            continue
        for choice, one in draws.items():
            over = replace(one, value=one.value - 2 * base.value, draws=one.draws - 2 * base.draws)
            written.append(row(choice, setting, "drop - 2 x random", over))
            if base.interval().low > 0:
                ratio = replace(one, value=one.value / base.value, draws=one.draws / base.draws)
                written.append(row(choice, setting, "drop / random", ratio))
    return written


def beyond(rank: int) -> Callable[[np.ndarray], np.ndarray]:
    """Ranks (T,) -> 1 where the item is lower than `rank`, 0 where it is not, NaN where nothing was measured."""
    return lambda values: np.where(np.isnan(values), np.nan, values > rank)


MEASURES: tuple[tuple[str, str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("score", "drop", lambda values: values),
    ("half", "drop", lambda values: values),
    ("rank", "no longer first", beyond(1)),
    ("rank", "no longer among ten", beyond(LISTED)),
)


def milliseconds(recommender: Recommender, tasks: Tasks) -> dict[str, float]:
    """Processor time of `recommend` and of `explain` for ten items of one user, the means over TIMED users each, fewer where
    there are fewer. recommender: one that was not asked for any of them before, for it remembers what it has read."""
    each, found = min(TIMED, (len(tasks) - 1) // 2), {}
    users = tasks.dataset.users.take(tasks.user[-2 * each - 1 :]).values
    recommender.explain(users[:1])
    for name, call, some in (
        ("recommend", recommender.recommend, users[1 : each + 1]),
        ("explain", recommender.explain, users[each + 1 :]),
    ):
        began = time.process_time()
        for user in some:
            call([user])
        found[name] = round(1000 * (time.process_time() - began) / len(some), 1)
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", "models", multiple=True, required=True, metavar="NAME=FOLDER", help="A saved recommender; repeatable.")
@click.option("--users", default=USERS, show_default=True, type=click.IntRange(min=3), help="Users of each.")
@click.option(
    "--checked", default=100, show_default=True, type=click.IntRange(min=2), help="Of them also by rank and half prompt."
)
@click.option("--seed", default=0, show_default=True, help="Of the users, of the random past items and of the intervals.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(models: tuple[str, ...], users: int, checked: int, seed: int, output: Path | None) -> None:
    """Leave past items out of histories, and measure what this does to the first item."""
    stages, written, told = Stages(), [], {}
    for given in models:
        name, sign, folder = given.partition("=")
        if not sign:
            raise click.UsageError(f"--model is {given!r}, expected NAME=FOLDER")
        try:
            recommender = Recommender.from_pretrained(folder)
            tasks = drawn(recommender.state, users, np.random.default_rng(seed))
        except LlmrecError as error:
            raise click.ClickException(str(error)) from error
        timed = milliseconds(recommender, tasks)  # before the histories are read for anything else
        with stages(name, f"{len(tasks):,} users"):
            found, agreed = measured(recommender.state, tasks, min(checked, len(tasks)), seed)
        written += rows(name, found, seed)
        told[name] = {
            "users": len(tasks),
            "median past items": float(
                np.median([len(np.unique(tasks.dataset.item[tasks.support(one)])) for one in range(len(tasks))])
            ),
            "events in the prompt": recommender.state.settings.train.max_slots,
            "users checked": min(checked, len(tasks)),
            "same past item named with half the prompt": agreed,
            "milliseconds of processor time a user": timed,
        }
    for one in written:
        said = f"{one.value:8.3f} [{one.low:.3f}, {one.high:.3f}]"
        click.echo(f"{one.benchmark:8} {one.setting:6} {one.metric:20} {one.method:26} {said}")
    click.echo("\n".join(f"{name}: {values}" for name, values in told.items()))
    if output is not None:
        write_report(output, written, {"least past items": LEAST, "seed": seed, "models": told})


if __name__ == "__main__":
    main()
