"""Steps of an adapter on one user's own choices, after joint training or meta-learning over users: what they gain and cost.

Primary cell, declared before test users were read: NDCG@10 of `meta-learned, own choices` less `meta-learned`, which is the
same at zero steps. A user's support are SUPPORT purchases, each among NEGATIVES other items; the query is the next purchase,
the user's last, among AMONG others. All others are drawn by popularity among items that the user never had. A prompt holds
nothing but what the user had before. Users of test, validation and training are different.

Joint training goes on where meta-learning begins, for about as much processor time. LoRA and a linear head take STEPS steps by
the rates that lose least on queries of validation users.

Axis convention: `U` users.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.linear_head import linear_head
from llmrec.data.tasks import Tasks
from llmrec.index.candidates import Candidates
from llmrec.index.drawn import drawn_candidates
from llmrec.language.model import LanguageModel
from llmrec.meta.inner import Initialisation, adapt, initialisation
from llmrec.meta.learn_choices import JointSettings, SceneDraw, fit_adapter, meta_fit_adapter
from llmrec.meta.outer import OuterSettings
from llmrec.meta.title_choices import TitleChoices, calibrated, choice_loss, choice_scores, joined, scores_of_each
from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories.controls import Asked
from studies.categories.kept import kept, kept_arrays
from studies.categories.learning import CALIBRATED, JOINT, META, UNTRAINED
from studies.categories.shops import AMONG, NEGATIVES, Category

SUPPORT, STEPS, RATE = 8, 3, 0.1
DRAW = SceneDraw(scenes=4, support=SUPPORT, query=2, in_order=True)  # a scene is a user
TIMES = (0.3, 1.0, 3.0, 10.0)  # what all rates of an adapter are multiplied by, looked at on validation users
TOGETHER = 10  # users who are adapted side by side
HEAD, TOOK = "linear head", "seconds, "
OWN, OTHER = f"{META}, own choices", f"{META}, another's choices"
Adapting = Initialisation[LanguageAdapter]


@dataclass(frozen=True)
class Plan:
    """r, n_blocks: of LoRA. users: whose choices are learned from. joint_steps: of 8 choices each, before meta-learning.
    episodes: of meta-learning; more_steps: joint steps in their place. looked_at: validation users by whom rates are chosen."""

    r: int = 8
    n_blocks: int = 2
    users: int = 40
    joint_steps: int = 24
    episodes: int = 6
    more_steps: int = 60
    looked_at: int = 6


@dataclass(frozen=True)
class Learned:
    """start: the adapter before training. adapting: arm -> where its steps begin. temperature: of the loss. seconds: of
    processor time to learn each; tokens: read by each, through all blocks and through those that adapt."""

    start: LanguageAdapter
    adapting: dict[str, Adapting]
    temperature: float
    seconds: dict[str, float]
    tokens: dict[str, tuple[int, int]]


def rich(here: Category, users: np.ndarray, purchases: int) -> np.ndarray:
    """Those of the users with as many purchases and one before them."""
    return users[here.dataset.n_baskets[users] > purchases]


def purchases(here: Category, users: np.ndarray, count: int) -> Tasks:
    """The last `count` purchases of each user as tasks, in order; the support of a task is all that its user had before."""
    data = here.dataset
    edge, first, stop = data.basket_start, data.first_basket[users], data.first_basket[np.asarray(users) + 1]
    at = (stop[:, None] + np.arange(-count, 0)).ravel()
    return Tasks(data, edge[np.repeat(first, count)], edge[at], edge[at + 1])


def beside(here: Category, tasks: Tasks, negatives: int, seed: int) -> Candidates:
    """What each task took beside items that its user had neither before nor later."""
    data, popularity, found = here.dataset, here.popularity, []
    for task, user in enumerate(tasks.user.tolist()):
        left = popularity.copy()
        left[data.item[data.start[user] : data.start[user + 1]]] = 0
        rng = np.random.default_rng((seed, user, int(tasks.split[task])))
        found.append(drawn_candidates(tasks.take(np.array([task])), left, negatives, rng))
    item, source = (np.concatenate([getattr(one, name) for one in found]) for name in ("item", "source"))
    return Candidates(np.arange(len(tasks) + 1, dtype=np.int64) * (negatives + 1), item, source)


def asked(here: Category, users: np.ndarray, seed: int) -> tuple[Asked, Asked]:
    """The supports and the queries of some users: purchases, and candidates of each."""
    tasks = purchases(here, users, SUPPORT + 1)
    last = np.arange(len(tasks)) % (SUPPORT + 1) == SUPPORT
    support, query = (tasks.take(np.flatnonzero(which)) for which in (~last, last))
    return (support, beside(here, support, NEGATIVES, seed)), (query, beside(here, query, AMONG, seed))


def prepared(ranker: LLMRanker, here: Category, users: np.ndarray, seed: int, path: Path) -> tuple[TitleChoices, TitleChoices]:
    """Supports and queries of some users as choices, of owners 0 ... U - 1; kept in a file."""
    support, query = kept(path, lambda: [ranker.choices(*pair) for pair in asked(here, users, seed)])
    return support.owned(support.owner // SUPPORT), query


def learn(ranker: LLMRanker, here: Category, plan: Plan, arms: Sequence[str], seed: int, runs: Path) -> Learned:
    """Some of JOINT, META and HEAD from the choices of training users. What takes minutes is kept in the folder `runs`."""
    model, stages, need = ranker.language_model, Stages(), DRAW.support + DRAW.query
    users = rich(here, here.teaching, need)[: plan.users]

    def scenes() -> list[TitleChoices]:
        tasks = purchases(here, users, need)
        whole = ranker.choices(tasks, beside(here, tasks, NEGATIVES, seed))
        return [whole.take(np.arange(first, first + need)) for first in range(0, len(whole), need)]

    with stages("choices", f"{len(users)} users"):
        each = kept(runs / "scenes.safetensors", scenes)
    start = LanguageAdapter(start_lora(model, plan.r, 2.0, plan.n_blocks, torch.Generator().manual_seed(seed)))
    pool = joined(each)
    some = np.random.default_rng(seed).permutation(len(pool))[:CALIBRATED]
    path = runs / "temperature.safetensors"
    told = kept_arrays(path, lambda: {"temperature": np.array([calibrated(model, pool, start, some).temperature])})
    temperature = float(told["temperature"][0])
    pool, each = (replace(pool, temperature=temperature), [replace(one, temperature=temperature) for one in each])
    seconds: dict[str, float] = {}

    def joint(begin: Adapting, steps: int, name: str) -> Adapting:
        settings = JointSettings(steps, 8, 1e-3)
        return replace(begin, adapter=fit_adapter(model, pool, begin.adapter, settings, seed, runs / name).init.adapter)

    def meta(begin: Adapting) -> Adapting:
        outer = OuterSettings(plan.episodes, 1e-3, anneal=0.0)
        return meta_fit_adapter(model, each, begin, DRAW, outer, seed, runs / "meta", save_every=4).init

    def learned(name: str, begin: Adapting, make: Callable[[Adapting], Adapting]) -> Adapting:
        with stages(name, f"{len(users)} users, at {temperature:.2f} nats"):
            arrays = kept_arrays(runs / f"{name}.safetensors", lambda: _arrays(begin, make))
        seconds[name] = float(arrays["seconds"][0])
        leaves = [torch.from_numpy(arrays[f"leaf.{place}"]) for place in range(len(begin.adapter.leaves()))]
        return replace(begin, adapter=begin.adapter.with_leaves(leaves), log_rate=torch.from_numpy(arrays["log_rate"]))

    first = learned("first", initialisation(start, STEPS, RATE), lambda begin: joint(begin, plan.joint_steps, "first"))
    makes: dict[str, Callable[[], Adapting]] = {
        JOINT: lambda: learned("joint", first, lambda begin: joint(begin, plan.more_steps, "longer")),
        META: lambda: learned("meta", first, meta),
        HEAD: lambda: initialisation(LanguageAdapter(head=linear_head(model)), STEPS, RATE),
    }
    adapting = {arm: makes[arm]() for arm in arms}
    mean, steps = float(pool.tokens.mean()), 8 * plan.more_steps
    whole, passed = DRAW.scenes * need, DRAW.scenes * (STEPS * DRAW.support + (STEPS + 1) * DRAW.query)
    tokens = {
        "first": (int(8 * plan.joint_steps * mean), int(8 * plan.joint_steps * mean)),
        "joint": (int(steps * mean), int(steps * mean)),
        "meta": (int(plan.episodes * whole * mean), int(plan.episodes * passed * mean)),
    }
    return Learned(start, adapting, temperature, seconds, {name: tokens[name] for name in seconds})


def _arrays(begin: Adapting, make: Callable[[Adapting], Adapting]) -> dict[str, np.ndarray]:
    began = time.process_time()
    made = make(begin)
    leaves = {f"leaf.{place}": leaf.detach().cpu().numpy() for place, leaf in enumerate(made.adapter.leaves())}
    return {"seconds": np.array([time.process_time() - began]), "log_rate": made.log_rate.cpu().numpy(), **leaves}


def faster(init: Adapting, times: float) -> Adapting:
    """The same with all rates multiplied."""
    return replace(init, log_rate=init.log_rate + float(np.log(times)))


def losses_by_rate(model: LanguageModel, init: Adapting, support: TitleChoices, query: TitleChoices) -> dict[str, np.ndarray]:
    """Under "loss" the mean over the queries at zero steps, and after the steps by each of TIMES."""
    before, after = (choice_loss(model, part, init.adapter.n_blocks(model)) for part in (support, query))
    values = [init.adapter.expand(len(query)), *(adapt(faster(init, times), before, len(query)) for times in TIMES)]
    with torch.no_grad():
        return {"loss": np.array([float(after(value).mean()) for value in values])}


def chosen(
    ranker: LLMRanker, here: Category, plan: Plan, arms: Sequence[str], seed: int, runs: Path
) -> tuple[Learned, dict[str, np.ndarray]]:
    """`learn`, with the rates of the least loss after the steps on validation users, and `losses_by_rate` of each arm."""
    learned = learn(ranker, here, plan, arms, seed, runs)
    users = rich(here, here.validation, SUPPORT + 1)[: plan.looked_at]
    each = at_temperature(prepared(ranker, here, users, seed, runs / "validation.safetensors"), learned.temperature)
    adapting, losses = {}, {}
    for arm, init in learned.adapting.items():
        path = runs / f"rates-{arm}.safetensors".replace(" ", "-")
        with Stages()("rates", f"{arm}, {len(users)} users"):
            losses[arm] = kept_arrays(path, partial(losses_by_rate, ranker.language_model, init, *each))["loss"]
        adapting[arm] = faster(init, TIMES[int(np.argmin(losses[arm][1:]))])
    return replace(learned, adapting=adapting), losses


def measured(
    model: LanguageModel, learned: Learned, arms: Sequence[str], support: TitleChoices, query: TitleChoices
) -> dict[str, np.ndarray]:
    """Arm -> scores (U, AMONG + 1) of U users' queries, at least two, at zero steps and after the steps of `arms`; under TOOK
    processor time a user (1,): to read the supports, to take the steps, and to score the candidates of a query."""
    users, losses, took = len(query), {}, {}

    def timed(name: str, began: float, count: int) -> None:
        took[f"{TOOK}{name}"] = np.array([(time.process_time() - began) / count])

    values = {UNTRAINED: learned.start, **{arm: learned.adapting[arm].adapter for arm in arms if arm != HEAD}}
    for arm in arms:
        init = learned.adapting[arm]
        depth = init.adapter.n_blocks(model)
        if depth not in losses:
            began = time.process_time()
            losses[depth] = choice_loss(model, support, depth)
            timed(f"{HEAD if depth == 0 else 'LoRA'}, read", began, users)
        began = time.process_time()
        values[f"{arm}, own choices"] = adapt(init, losses[depth], users)
        timed(f"{arm}, steps", began, users)
    if OWN in values:
        values[OTHER] = values[OWN].take(torch.arange(users).roll(1))
    few = np.arange(min(3, users))
    began = time.process_time()
    choice_scores(model, query.take(few), learned.start)
    timed("score", began, len(few))
    scores = scores_of_each(model, query, list(values.values()))
    return {arm: np.stack(each) for arm, each in zip(values, scores, strict=True)} | took


def at_temperature(each: tuple[TitleChoices, TitleChoices], temperature: float) -> tuple[TitleChoices, TitleChoices]:
    """Support and query with the temperature of the loss, which files do not hold."""
    support, query = (replace(one, temperature=temperature) for one in each)
    return support, query


def measured_in_parts(
    ranker: LLMRanker, here: Category, users: np.ndarray, learned: Learned, arms: Sequence[str], seed: int, runs: Path
) -> list[dict[str, np.ndarray]]:
    """`measured` of TOGETHER users after others, with what they took, "taken" (U, AMONG + 1). Each part is kept; a single user
    at the end, who has nobody beside, is left out."""
    found = []

    def part(some: np.ndarray) -> dict[str, np.ndarray]:
        path = runs / f"choices-{first}-{len(some)}.safetensors"
        each = at_temperature(prepared(ranker, here, some, seed, path), learned.temperature)
        return measured(ranker.language_model, learned, arms, *each) | {"taken": np.stack(each[1].taken).astype(np.float32)}

    with Stages()("measure", f"{len(users)} users, {', '.join(arms)}") as say:
        for first in range(0, len(users) - 1, TOGETHER):
            mine = users[first : first + TOGETHER]
            path = runs / f"{'-'.join(arms)}-{first}-{len(mine)}.safetensors".replace(" ", "-")
            found.append(kept_arrays(path, partial(part, mine)))
        say(f"{sum(len(one['taken']) for one in found)} users")
    return found


def together(parts: Sequence[Mapping[str, np.ndarray]]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Arm -> scores of all users, with "taken"; and milliseconds of processor time a user, the mean over parts. Nothing of no
    parts."""
    if not parts:
        return {}, {}
    names = [name for name in parts[0] if not name.startswith(TOOK)]
    costs = {
        name.removeprefix(TOOK): 1_000 * float(np.mean([part[name] for part in parts])) for name in parts[0].keys() - set(names)
    }
    return {name: np.concatenate([part[name] for part in parts]) for name in names}, dict(sorted(costs.items()))
