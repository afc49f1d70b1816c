"""Part of act 3: what ratings tell of a person. Films of later ratings are ordered by the probability of a like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.demo.act import LINE, wrapped
from llmrec.demo.measuring import results
from llmrec.evaluation.verdict import beside
from llmrec.metrics.bootstrap import paired_bootstrap
from llmrec.metrics.ranking import auc
from llmrec.metrics.report import Result
from llmrec.recommender.recommender import Recommender
from llmrec.screen import Column, Screen, text_table

METRIC = "auc"
NONE, OWN, OTHER = "no ratings", "own ratings", "another's ratings"
Values = Mapping[str, Mapping[int, np.ndarray]]


@dataclass(frozen=True)
class Likes:
    """lines: what is printed. rows: of the report."""

    lines: tuple[str, ...]
    rows: tuple[Result, ...]


def play(known: Recommender, tasks: Mapping[int, Tasks], seed: int, benchmark: str) -> Likes:
    """What `predict` says of the later ratings of everybody, after each number of known ratings.

    tasks: by the number of ratings known, the later ones the same in all; each user has one. Nothing is said where nobody has
    both likes and others among the later ones.
    """
    values, rng = measured(known, tasks), np.random.default_rng(seed)
    rows: list[Result] = []
    if not values[OWN]:
        return Likes((), ())
    for count in tasks:
        here = {name: one[count] for name, one in values.items()}
        rows += results(benchmark, f"known={count}", OWN, here, {OWN: "ours"}, seed, rng, METRIC)
    return Likes(tuple(said(values, rng)), tuple(rows))


def measured(known: Recommender, tasks: Mapping[int, Tasks]) -> dict[str, dict[int, np.ndarray]]:
    """AUC of every person whose later ratings hold likes and others, by whose ratings are known and how many of them. Later
    events without a rating are left out."""
    last, signed = tasks[max(tasks)], known.state.signed
    assert signed is not None
    item, value = last.dataset.item, last.dataset.attributes["rating"]
    later = [np.arange(*pair)[np.isfinite(value[slice(*pair)])] for pair in zip(last.split, last.stop, strict=True)]
    liked = [value[rows] >= signed.scale.liked_from for rows in later]
    both = [task for task, one in enumerate(liked) if one.any() and not one.all()]
    found: dict[str, dict[int, np.ndarray]] = {NONE: {}, OWN: {}, OTHER: {}}
    items = np.unique(np.concatenate([item[rows] for rows in later]))
    for count, part in tasks.items() if both else ():
        other = part.take(np.roll(np.arange(len(part)), -1))
        for name, supports in ((NONE, part), (OWN, part), (OTHER, other)):
            table = probabilities(known, supports, items, rated=name != NONE)
            scores = [table[task, item[later[task]]] for task in both]
            each = [auc(one[None], [np.flatnonzero(liked[task])]) for one, task in zip(scores, both, strict=True)]
            found[name][count] = np.concatenate(each).astype(np.float64)
    return found


def probabilities(known: Recommender, supports: Tasks, items: np.ndarray, rated: bool = True) -> np.ndarray:
    """float64 (T, N): how likely the user of each task likes some items, int64, by the ratings of its support; without `rated`
    it is what is expected of anybody. NaN for other items."""
    ids, dataset = supports.dataset.catalogue.ids, supports.dataset
    owner, row = expand_ranges(supports.start, supports.split)
    names = [f"person {task}" for task in range(len(supports))]
    rating = dataset.attributes["rating"][row]
    histories = {
        "user_id": [names[task] for task in owner],
        "item_id": ids.take(dataset.item[row]).values,
        "timestamp": dataset.time[row],
        "rating": rating if rated else np.full(len(rating), np.nan, np.float32),
    }
    answer = known.predict(histories=pa.table(histories), items=ids.take(items).values)
    table, place = np.full((len(supports), len(ids)), np.nan), {name: task for task, name in enumerate(names)}
    task = [place[name] for name in answer.column("user_id").to_pylist()]
    table[task, ids.find(answer.column("item_id").to_pylist())] = answer.column("probability").to_numpy()
    return table


def said(values: Values, rng: np.random.Generator) -> list[str]:
    """A table of how many ratings are known and whose, with what they are worth."""
    counts = list(values[OWN])
    zero = values[NONE][counts[0]]
    head = (
        f"Ratings tell more. `predict` on these films, AUC of {len(zero)} people, {zero.mean():.3f} with none of their ratings:"
    )
    cells = {
        name: [f"{one.mean():.3f} {beside(paired_bootstrap(zero, one, rng))}" for one in values[name].values()]
        for name in (OWN, OTHER)
    }
    numbers = " / ".join(map(str, counts))
    rows = [[f"own {numbers}", *cells[OWN]], ["another's", *cells[OTHER]]]
    return [*wrapped([head]), *text_table([Column("")] * len(rows[0]), rows, Screen(LINE)).split("\n")]
