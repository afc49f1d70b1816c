"""What the adapters of a recommender are worth on one base: LoRA, the core and both behind one gate, on validation users.

python training/adapter_study.py --world films
python training/adapter_study.py --world groceries

The base, its counts and its rankers over counts are fitted once, as `Recommender.fit` does; then each adapter gets a gate and a
blend of its own. `films` is MovieLens-100K out of the recbole wheel, of which the files are read and no code: ratings of 4 and
more in random order, a prompt of ten. `groceries` is journey-cold, and the same households with forty trips known.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import click
import numpy as np
import pyarrow as pa
from pyarrow import csv

from benchmarks.files import AS_IT_IS
from benchmarks.protocol import Setting, first_known
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.journey import load_journey
from llmrec.data.splits import cold_users
from llmrec.data.tasks import Tasks
from llmrec.demo.act_steps import read_as
from llmrec.demo.films import films_folder
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.users import batches
from llmrec.encoder.weights import Weights
from llmrec.errors import LlmrecError
from llmrec.meta.gate import Choice
from llmrec.metrics.bootstrap import bootstrap_mean, paired_bootstrap
from llmrec.metrics.ranking import rank_targets
from llmrec.progress import Stages
from llmrec.ranking.statistics import fit_statistics, read_texts
from llmrec.recommender.adapting import Adapting, adapting
from llmrec.recommender.cold_items import Conditions
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.fit import fit, gate_and_blend
from llmrec.recommender.gating import named
from llmrec.recommender.meta_learning import learn_core
from llmrec.recommender.pipeline import with_long_supports
from llmrec.recommender.settings import Settings
from llmrec.recommender.splitting import split_users, training_dataset
from llmrec.recommender.state import State
from llmrec.store import cache_folder

KNOWN = {"films": (5, 20, 50, 100), "groceries": (1, 5, 40)}  # baskets
RANKS: Mapping[str, tuple[Literal["all", "unseen"], ...]] = {"films": ("unseen",), "groceries": ("all", "unseen")}
LEAST, HORIZON = 3, {"films": 10, "groceries": 3}
PLANS = {
    "films": Settings(
        adapter="auto",
        train=TrainSettings(max_steps=600, batch_size=64, max_slots=10, known=(1, 10), horizon=10),
        meta_fraction=0.25,
        blend_fraction=0.2,
    ),
    "groceries": Settings(adapter="auto", train=TrainSettings(max_steps=400)),
}
Values = dict[tuple[str, str], np.ndarray]


def films(seed: int = 0) -> Dataset:
    """Who rated a film 4 or 5, each user's films in an order that says nothing, one a day. Raises MissingExtraError."""
    folder, tab = films_folder(), csv.ParseOptions(delimiter="\t", quote_char=False)
    rows = csv.read_csv(folder / "ml-100k.inter", parse_options=tab)
    user, item, rating = (rows[name].to_numpy() for name in ("user_id:token", "item_id:token", "rating:float"))
    order = np.random.default_rng(seed).permutation(np.flatnonzero(rating >= 4))
    order = order[np.argsort(user[order], kind="stable")]
    first = np.searchsorted(user[order], user[order])
    when = 1e9 + 86_400.0 * (np.arange(len(order)) - first)
    items = csv.read_csv(folder / "ml-100k.item", parse_options=tab)
    catalogue = {
        "item_id": items["item_id:token"],
        "title": items["movie_title:token_seq"],
        "category": items["class:token_seq"],
    }
    return build(pa.table({"user_id": user[order], "item_id": item[order], "timestamp": when}), pa.table(catalogue))[0]


def arms(state: State, dataset: Dataset, train: np.ndarray, seed: int, stages: Stages) -> Mapping[str, State]:
    """Adapter -> a state with the base of `state` and a gate and a blend of its own; only the users of `train` teach."""
    rng, settings, learned = np.random.default_rng(seed), state.settings, state.adapting
    mine = dataset.take(train)
    split = split_users(mine, np.arange(mine.n_users), settings, rng)
    training, draw = training_dataset(mine, split, settings), np.random.default_rng(seed)
    counts = fit_statistics(training, split.base, settings.train.horizon, read_texts(mine), draw)
    retrieval = replace(state.retrieval, counts=counts)
    with stages("core", "on the plain base"):
        long = with_long_supports(settings, mine)
        core = learn_core(learned.base, None, mine, split.meta, long, np.random.default_rng(seed), seed).init.adapter
    ways: dict[str, tuple[str, Adapting]] = {
        "lora": ("lora", replace(learned, core=None, gate=None)),
        "core": ("core", adapting(learned.base, None, core, settings.core.steps)),
        "auto": ("auto", replace(learned, gate=None)),
    }
    found = {}
    for name, (adapter, way) in ways.items():
        chosen = replace(settings, adapter=adapter)
        parts = Conditions(way, retrieval), state.rankers.counts, state.unseen_rankers.counts, chosen
        gate, rankers, unseen = gate_and_blend(mine, split, *parts, seed, np.random.default_rng(seed), stages)
        init, start = (None if way.lora is None else way.lora.init), (None if way.core is None else way.core.start)
        own = replace(state, settings=chosen, init=init, core=start, gate=gate, retrieval=retrieval)
        found[name] = replace(own, rankers=rankers, unseen_rankers=unseen)
    return found


def measured(states: Mapping[str, State], setting: Setting) -> Values:
    """(method, whose score) -> NDCG@10 (T,) of the validation users of one setting."""
    tasks = setting.validation
    relevant, allowed = setting.relevant(tasks), setting.allowed(tasks)

    def ndcg(scores: np.ndarray) -> np.ndarray:
        return rank_targets(scores, relevant, allowed).ndcg(10)

    found: Values = {}
    for name, state in states.items():
        unseen = setting.rank == "unseen"
        found[f"{name}, gated", "chain"] = ndcg(chain_scores(state, tasks, None, unseen))
        found[f"{name}, zero steps", "chain"] = ndcg(chain_scores(state, tasks, 0, unseen))
        for choice in state.adapting.every if name in ("lora", "core") else ():
            found[f"{name}, {named(choice)}", "transformer"] = ndcg(_read(tasks, _by(state.adapting, choice)))
    found["core, another's support", "transformer"] = ndcg(_read(tasks, _swapped(states["core"])))
    return found


def _by(way: Adapting, choice: Choice) -> Callable[[Tasks], np.ndarray]:
    return lambda part: way.read(part, [choice] * len(part)).table()


def _swapped(state: State) -> Callable[[Tasks], np.ndarray]:
    """Each user's own prompt under the core of the next user of the batch."""
    return lambda part: read_as(state, part, part.take(np.roll(np.arange(len(part)), -1))).table()


def _read(tasks: Tasks, scores: Callable[[Tasks], np.ndarray]) -> np.ndarray:
    return np.concatenate([scores(part) for part in batches(tasks)])


def told(found: Values) -> list[str]:
    """One line a method: its mean, and the paired difference to zero steps of the same adapter by the same score."""
    lines, rng = [], np.random.default_rng(0)
    for (name, score), values in found.items():
        mean, gap = bootstrap_mean(values, rng), None
        for zero in (f"{name.split(',')[0]}, {word}" for word in ("zero steps", "0")):
            if (zero, score) in found and zero != name:
                gap = paired_bootstrap(values, found[zero, score], rng)
        said = "" if gap is None else f"  {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] over zero steps"
        lines.append(f"  {score:12} {name:26} {mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}]{said}")
    return lines


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--world", type=click.Choice(list(PLANS)), required=True, help="What is sold, and to whom.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
def main(world: str, seed: int) -> None:
    """What the adapters of a recommender are worth on one base, on validation users. Test users are not read."""
    stages = Stages()
    plan = replace(PLANS[world], train=replace(PLANS[world].train, horizon=HORIZON[world]))
    try:
        dataset = films() if world == "films" else build(*load_journey(20), cleaning=AS_IT_IS)[0]
        order = np.random.RandomState(0).permutation(dataset.n_users)
        parts = cold_users(dataset.n_users, 0.2, 0.2 if world == "films" else 0.1, order=order)
        train = np.sort(parts.train)
        state = fit(dataset.take(train), Weights.packaged(), plan, seed, stages, cache_folder())
        states = arms(state, dataset, train, seed, stages)
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error
    for known in KNOWN[world]:
        tasks = first_known(dataset, parts.validation, known, HORIZON[world], LEAST)
        for rank in RANKS[world]:
            setting = Setting(f"known={known},{rank}", tasks, tasks, rank)
            click.echo(f"{world}, {setting.name}, {len(tasks)} validation users, NDCG@10")
            click.echo("\n".join(told(measured(states, setting))))


if __name__ == "__main__":
    main()
