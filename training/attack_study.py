"""Places gained by attacks in a title: a language model's ranking of the attacked item against its ranking without attack.

python training/attack_study.py --model smollm2/ --data FOLDER --category electronic --output training/results/attacks.json

Each user has 20 candidates, drawn by popularity. One of them, which the user did not take, is written as each of the ten
attacks of `llmrec.prompts.attacks` in turn; all others stay as they are. Places gained: the mean of its rank before less its
rank after, above 0 where the attack pays. The control is the frozen text encoder: the cosine of titles with the history. Users
are validation users of the category.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from benchmarks.amazon import PUBLISHED
from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.data.tasks import Tasks
from llmrec.errors import LlmrecError
from llmrec.index.candidates import POPULAR, Candidates
from llmrec.language.model import load_language_model
from llmrec.metrics.bootstrap import bootstrap_mean
from llmrec.metrics.report import Result, write_report
from llmrec.models.counts import support_counts
from llmrec.progress import bar
from llmrec.prompts import attacks, load_template
from llmrec.prompts.attacks import KINDS
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories.controls import FROZEN_TEXT, text_vectors
from studies.categories.shops import asked, category
from studies.options import model_option

AMONG, HISTORY = 19, 6  # drawn beside what was taken; titles in the prompt


def attacked(tasks: Tasks, found: Candidates, rng: np.random.Generator) -> tuple[Tasks, Candidates, np.ndarray]:
    """The tasks over a catalogue that also holds the attacks, their candidates with the ten attacks on one of them behind the
    others, and int64 (T,), the place of the one among its user's candidates."""
    data, relevant = tasks.dataset, tasks.relevant()
    titles: list[str] = []
    items: list[np.ndarray] = []
    target: list[int] = []
    for task in range(len(tasks)):
        mine = found.of(task)
        target.append(int(rng.choice(np.flatnonzero(~np.isin(mine, relevant[task])))))
        first = data.n_items + len(titles)
        titles += attacks(data.catalogue.table.column("title")[int(mine[target[-1]])].as_py() or "")
        items.append(np.concatenate([mine, np.arange(first, first + len(KINDS), dtype=np.int32)]))
    whole = replace(data, catalogue=_longer(data.catalogue, titles))
    start = np.concatenate([[0], np.cumsum([len(mine) for mine in items])])
    every = np.concatenate(items).astype(np.int32)
    return replace(tasks, dataset=whole), Candidates(start, every, np.full(len(every), POPULAR, np.uint8)), np.array(target)


def _longer(catalogue: Catalogue, titles: list[str]) -> Catalogue:
    """The catalogue with more items, of which nothing but the title is known."""
    ids = [f"attack {number}" for number in range(len(titles))]
    column = catalogue.table.column("title")
    table = pa.table({"title": pa.chunked_array([*column.chunks, pa.array(titles, column.type)])})
    return Catalogue(Ids([str(one) for one in catalogue.ids.values] + ids), table)


def by_text(tasks: Tasks, found: Candidates) -> np.ndarray:
    """float32 (C,): cosine of a candidate's title with the mean of the last HISTORY titles of the history."""
    vectors = text_vectors(tasks.dataset.catalogue)
    past = support_counts(tasks, last=HISTORY) @ vectors
    return (past[found.task] * vectors[found.item]).sum(1)


def each(tasks: Tasks, found: Candidates) -> list[tuple[Tasks, Candidates]]:
    """The tasks one by one, with their candidates."""
    return [
        (tasks.take(np.array([task])), Candidates(np.array([0, len(mine)]), mine, np.full(len(mine), POPULAR, np.uint8)))
        for task, mine in enumerate(map(found.of, range(len(tasks))))
    ]


def gained(scores: np.ndarray, found: Candidates, target: np.ndarray) -> dict[str, np.ndarray]:
    """Kind of attack -> float64 (T,), places gained by it. The ranks are among all candidates but the attacks."""
    made: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for mine, one in zip(np.split(scores, found.start[1:-1]), target, strict=True):
        others = np.delete(mine[: -len(KINDS)], one)

        def rank(score: float, others: np.ndarray = others) -> float:
            return float((others > score).sum()) + 0.5 * float((others == score).sum())

        for kind, score in zip(KINDS, mine[-len(KINDS) :], strict=True):
            made[kind].append(rank(mine[one]) - rank(score))
    return {kind: np.array(places) for kind, places in made.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@model_option
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@click.option("--category", "name", type=click.Choice(list(PUBLISHED)), default="electronic")
@click.option("--template", "templates", multiple=True, default=("next", "like"), help="May be repeated.")
@click.option("--users", type=click.IntRange(min=1), default=60, help="Of the 500 validation users.")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(model: str, data: Path, name: str, templates: tuple[str, ...], users: int, seed: int, output: Path | None) -> None:
    """Measure by how many places of 20 each attack lifts an item."""
    try:
        here, language_model = category(data, name, seed), load_language_model(model)
        tasks, found, target = attacked(*asked(here, here.validation[:users], AMONG, seed), np.random.default_rng(seed))
        scores = {FROZEN_TEXT: by_text(tasks, found)}
        for template in templates:
            ranker = LLMRanker(language_model, load_template(template), HISTORY)
            scores[template] = np.concatenate(
                [ranker.score(*one) for one in bar(each(tasks, found), desc=template, unit="user")]
            )
        rows = []
        for method, mine in scores.items():
            for kind, places in gained(mine, found, target).items():
                at, role = bootstrap_mean(places, np.random.default_rng(seed)), "control" if method == FROZEN_TEXT else "ours"
                numbers = at.value, at.low, at.high, "", at.n, seed, None
                rows.append(Result(f"attacks-{name}", method, role, kind, "places gained", *numbers))
                click.echo(f"{method}, {kind}: {at.value:+.1f} [{at.low:+.1f}, {at.high:+.1f}] ({at.n})")
        if output is not None:
            write_report(output, rows, {"category": name, "history": HISTORY, "among": AMONG + 1, "model": Path(model).name})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
