"""Act 0: films, clicked by a person who was not trained on: what is offered after 0, 1 and 3 clicks, how fast, and why."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.demo.act import Act, cut, wrapped
from llmrec.demo.measuring import curve, history_table, listed_scores, ndcg, results
from llmrec.demo.plan import Plan
from llmrec.evaluation.comparison import unseen
from llmrec.evaluation.plot import Panel
from llmrec.evaluation.verdict import gain, listed, standing
from llmrec.metrics.bootstrap import paired_bootstrap
from llmrec.models.item_item import fit_item_knn
from llmrec.models.popularity import fit_popularity
from llmrec.recommender.recommender import Recommender

NAME, BENCHMARK = "films", "films-clicks"
CLICKS = (0, 1, 3)
LATER = 10  # liked films after the clicks that a list is to name
LIKED = 4  # stars from which on a rating is a like
SHOWN, WIDTH = 5, 28
TIMED = 10  # answers
ENOUGH = 20  # people who liked each click of the person who is shown
OURS, POPULAR, KNN = "llmrec", "popularity", "item kNN"
NOBODY = "a new person"


def play(ratings: pa.Table, films: pa.Table, plan: Plan, seed: int) -> Act:
    """Train on four fifths of the people and show one of the others; then measure over all of the others.

    ratings, films: as of `load_films`.
    """
    liked = ratings.filter(pc.greater_equal(ratings.column("rating"), LIKED)).drop_columns(["rating"])
    dataset, _ = build(liked, films)
    train, others = divided(dataset, seed)
    known = Recommender(settings=plan.films, seed=seed)
    known.fit(dataset.take(train), minutes=plan.budget(NAME), verbose=False)
    long = others[np.diff(dataset.start)[others] >= CLICKS[-1] + LATER]
    held = dataset.take(long)
    tasks = {clicks: first_clicks(held, clicks) for clicks in CLICKS}
    last = tasks[CLICKS[-1]]
    popularity = known.state.retrieval.counts.popularity
    person = somebody(last, popularity)
    lists = {clicks: offered(known, part.take(np.array([person])), SHOWN) for clicks, part in tasks.items()}
    told = shown(dataset, last, person, lists)
    told["milliseconds"] = milliseconds(known, last.take(np.delete(np.arange(len(last)), person)[: TIMED + 1]))
    told["why"] = why(known, dataset.take(train), last, person, lists[CLICKS[-1]])
    act = measured(known, dataset, train, tasks, seed)
    head = (
        f"{len(train)} people trained on, {held.n_users} others asked. One of these clicks on {listed(told['clicked'])}. "
        "Offered (* liked later):"
    )
    reason = f"{CLICKS[-1]} clicks are answered in {told['milliseconds']:.0f} ms. {told['why']}"
    lines = [*wrapped([head]), *columns(told), *wrapped([reason]), *act.lines]
    title = f"Films (MovieLens-100K): a new person's list after {listed([str(clicks) for clicks in CLICKS])} clicks"
    return Act(NAME, title, tuple(lines), act.panel, act.rows, told | act.told)


def divided(dataset: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four fifths of the people to train on, and the others, at random."""
    mixed = np.random.default_rng(seed).permutation(dataset.n_users)
    cut_at = dataset.n_users // 5
    return np.sort(mixed[cut_at:]), np.sort(mixed[:cut_at])


def first_clicks(held: Dataset, clicks: int) -> Tasks:
    """The first films of everybody known, and the same `LATER` ones asked about however many are known."""
    start = held.start[:-1]
    return Tasks(held, start, start + clicks, start + CLICKS[-1] + LATER)


def offered(known: Recommender, tasks: Tasks, k: int) -> pa.Table:
    """Lists for the supports of tasks; without any events they are the same for everybody."""
    if (tasks.split > tasks.start).all():
        return known.recommend(histories=history_table(tasks), k=k, titles=True)
    answer = known.recommend([NOBODY], k=k, titles=True)
    names = tasks.dataset.users.take(tasks.user).values
    copies = answer.take(np.tile(np.arange(len(answer)), len(names)))
    return copies.set_column(0, "user_id", pa.array(np.repeat(names, len(answer))))


def somebody(tasks: Tasks, popularity: np.ndarray) -> int:
    """The task with the least popular clicks on average, of those whose clicks at least ENOUGH people liked; the first where
    there is none. Only the support is read. popularity: (N,), people who liked each film."""
    clicks = [popularity[tasks.dataset.item[tasks.support(task)]] for task in range(len(tasks))]
    return int(np.argmin([one.mean() if one.min() >= ENOUGH else np.inf for one in clicks]))


def shown(dataset: Dataset, last: Tasks, person: int, lists: dict[int, pa.Table]) -> dict:
    """What is told of one person, as JSON values."""
    titles, ids = dataset.catalogue.column("title"), dataset.catalogue.ids
    user = int(last.user[person])
    own = last.dataset.item[last.dataset.start[user] : last.dataset.start[user + 1]]
    told: dict = {"user": str(last.dataset.users[user]), "clicked": [titles[item] for item in own[: CLICKS[-1]]]}
    for clicks, answer in lists.items():
        items, liked = ids.find(answer.column("item_id").to_pylist()), set(own[clicks:].tolist())
        told[f"after_{clicks}"] = [{"item": titles[item], "hit": int(item) in liked} for item in items]
    return told


def columns(told: dict) -> list[str]:
    """The lists side by side."""
    names = ["nothing is known"] + [f"after {clicks} click{'s' * (clicks > 1)}" for clicks in CLICKS[1:]]
    lines = ["     " + "  ".join(f"  {name:<{WIDTH}}" for name in names)]
    for rank, row in enumerate(zip(*(told[f"after_{clicks}"] for clicks in CLICKS), strict=True), 1):
        cells = (f"{'*' if one['hit'] else ' '} {cut(one['item'], WIDTH):<{WIDTH}}" for one in row)
        lines.append(f"  {rank}  " + "  ".join(cells))
    return [line.rstrip() for line in lines]


def milliseconds(known: Recommender, tasks: Tasks) -> float:
    """Median time of an answer to one person, from a table of events to a table of films, after a first one.

    Each history is asked for once: the second time its reading is remembered.
    """
    times = []
    for task in range(len(tasks)):
        history = history_table(tasks.take(np.array([task])))
        began = time.perf_counter()
        known.recommend(histories=history, k=SHOWN)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times[1:]))


def why(known: Recommender, train: Dataset, last: Tasks, person: int, answer: pa.Table) -> str:
    """What speaks for the first film of a list: the click with the nearest item vector, and who liked both."""
    ids, titles = train.catalogue.ids, train.catalogue.column("title")
    clicked = last.dataset.item[last.support(person)]
    first = int(ids.find(answer.column("item_id").to_pylist()[:1])[0])
    near = known.similar_items([ids[int(item)] for item in clicked], k=len(ids) - 1)
    cosine = {
        one: score
        for one, other, score in zip(
            *(near.column(name).to_pylist() for name in ("item_id", "similar_item_id", "score")), strict=True
        )
        if other == ids[first]
    }
    nearest = max(clicked.tolist(), key=lambda item: cosine[ids[item]])
    both, one = liked_both(train, nearest, first)
    source = answer.column("source").to_pylist()[0].replace("+", ", ")
    return (
        f"Why {titles[first]}? The nearest click by item vector is {titles[nearest]} (cosine {cosine[ids[nearest]]:.2f}); of "
        f"the {one} people trained on who liked that, {both} also liked this one. Found by: {source}."
    )


def liked_both(dataset: Dataset, item: int, other: int) -> tuple[int, int]:
    """How many users have both items, and how many the first."""
    one, two = (np.unique(dataset.user[dataset.item == which]) for which in (item, other))
    return len(np.intersect1d(one, two)), len(one)


def measured(known: Recommender, dataset: Dataset, train: np.ndarray, tasks: dict[int, Tasks], seed: int) -> Act:
    """NDCG@10 over everybody who was held out, for each number of clicks, beside popularity and item kNN of the same clicks."""
    rng, last = np.random.default_rng(seed), tasks[CLICKS[-1]]
    relevant, allowed = last.relevant(new_only=True), unseen(last)
    users = last.dataset.users.take(last.user)
    popular, knn = fit_popularity(dataset, train), fit_item_knn(dataset, train, shrink=30.0)
    values: dict[str, dict[int, np.ndarray]] = {OURS: {}, POPULAR: {}, KNN: {}}
    for clicks, part in tasks.items():
        answer = offered(known, part, LATER + CLICKS[-1])
        table = {OURS: listed_scores(answer, users, dataset.catalogue.ids), POPULAR: popular.scores(part)}
        if clicks:
            table[KNN] = knn.scores(part)
        for name, scores in table.items():
            values[name][clicks] = ndcg(scores, last, relevant, allowed)
    roles = {OURS: "ours"}
    curves = tuple(curve(name, roles.get(name, "control"), one, rng) for name, one in values.items())
    rows = []
    for clicks in CLICKS:
        here = {name: one[clicks] for name, one in values.items() if clicks in one}
        rows += results(BENCHMARK, f"clicks={clicks}", OURS, here, roles, seed, rng)
    panel = Panel(_seen(values[OURS], rng), "films clicked", curves)
    return Act(NAME, "", tuple(wrapped(_sentences(values, len(last), rng))), panel, tuple(rows))


def _seen(values: dict[int, np.ndarray], rng: np.random.Generator) -> str:
    word = standing(paired_bootstrap(values[CLICKS[-1]], values[0], rng))
    what = {"ahead of": "improve the list", "level with": "change little", "behind": "make the list worse"}[word]
    return f"Films: {CLICKS[-1]} clicks {what}"


def _sentences(values: dict[str, dict[int, np.ndarray]], people: int, rng: np.random.Generator) -> Sequence[str]:
    ours = values[OURS]
    said = [f"{ours[0].mean():.3f} with nothing known"]
    for clicks in CLICKS[1:]:
        found = paired_bootstrap(ours[clicks], ours[0], rng)
        said.append(f"{ours[clicks].mean():.3f} after {clicks}, {standing(found)} that, {gain(found)}")
    other = paired_bootstrap(ours[CLICKS[-1]], values[KNN][CLICKS[-1]], rng)
    return [
        f"NDCG@10 on the next {LATER} likes of all {people} [95% interval]: {'; '.join(said)}, and {standing(other)} {KNN} of "
        f"the same clicks, {gain(other)}."
    ]
