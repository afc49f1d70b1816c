"""The LoRA arm of the signed study: LoRA of a small network by 1 to 5 gradient steps, beside the closed form and the controls.

The protocol is that of the signed study, warm films alone. Declared by validation users, before any test user was asked: the
arm is `CHOSEN`, by the mean AUC of all six cells, the primary cell `studies.signed.protocol.PRIMARY`, the comparison the arm
less the closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llmrec.metrics.bootstrap import resampled
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from llmrec.signed.beliefs import Beliefs
from llmrec.signed.learning import learn
from studies.ratings.melu import Episode
from studies.signed import study
from studies.signed.lora_learning import Group, Learned, Plan, learned
from studies.signed.lora_tasks import CLOSED, NONE, PRIOR, Foretold, Told, folds, foretold, told, training_tasks
from studies.signed.protocol import METRICS, ORDERS, SIZES, World, episodes, measures, swapped

NAME = "signed-lora"
STARTS = {NONE: "LoRA", PRIOR: "LoRA on the prior", CLOSED: "LoRA on the closed form"}
PLANS = tuple(Plan(start, steps) for start in STARTS for steps in (1, 5))
CHOSEN = Plan(CLOSED, 5)
SHUFFLES = 3  # of the labels of each training user, for each size of a support
ZERO, OTHER, STEPS = "zero steps", "swapped support", "steps on a swapped support"


def name_of(plan: Plan, what: str = "") -> str:
    """As in the report. what: an ablation: no step; all by another user's support; or the steps alone by it, from one's
    own start."""
    name = f"{STARTS[plan.start]}, {plan.steps} step{'s' * (plan.steps != 1)}"
    return f"{name}, {what}" if what else name


def training_groups(world: World, parts: Sequence[Told], fold: np.ndarray, shuffles: int = SHUFFLES) -> list[Group]:
    """Supports and queries of training users, each read by beliefs that were learned without the user."""
    found, levels = [], np.unique(world.train.value)
    for size in SIZES:
        drawn, users = training_tasks(world.train, size, shuffles)
        for some in drawn:
            for number, one in enumerate(parts):
                mine = [task for task, user in zip(some, users, strict=True) if fold[user] == number]
                found.append(Group(one.table, *foretold(one.beliefs, mine, levels)))
    return found


def arms(
    world: World, text: np.ndarray, beliefs: Beliefs, stages: Stages, plans: Sequence[Plan] = PLANS, shuffles: int = SHUFFLES
) -> dict[Plan, Learned]:
    """What was learned by each plan from the training users."""
    with stages("folds"):
        groups = training_groups(world, *folds(world.train, world.scale, text, beliefs), shuffles)
    main, levels, found = told(beliefs, text), np.unique(world.train.value), {}
    for plan in plans:
        with stages(name_of(plan)):
            found[plan] = learned(plan, groups, main, levels)
    return found


def answers(
    found: Mapping[Plan, Learned], chosen: Plan, beliefs: Beliefs, asked: Sequence[Episode]
) -> dict[str, list[np.ndarray]]:
    """Probabilities of a like by each arm, by its start without a step, and by the ablations of the chosen one."""
    levels = next(iter(found.values())).levels
    own: tuple[Foretold, Foretold] = foretold(beliefs, asked, levels)
    other = foretold(beliefs, swapped(asked), levels)
    likely = {}
    for plan, arm in found.items():
        likely[name_of(plan)] = arm.answers(*own)
        likely[name_of(plan, ZERO)] = arm.answers(*own, 0)
    likely[name_of(chosen, OTHER)] = found[chosen].answers(*other)
    likely[name_of(chosen, STEPS)] = found[chosen].answers(other[0], own[1])
    return likely


def measure(
    world: World,
    text: np.ndarray,
    seeds: Sequence[int],
    part: str,
    stages: Stages,
    beliefs: Beliefs | None = None,
    found: Mapping[Plan, Learned] | None = None,
    chosen: Plan = CHOSEN,
) -> tuple[list[Result], dict]:
    """Rows of the report, and what was chosen. part: "validation" or "test", whose users are asked. beliefs, found: where they
    were learned before. chosen: the arm that is compared with everything, one of `found`."""
    with stages("ours"):
        beliefs = beliefs or learn(world.train, world.scale, text)
    found = found or arms(world, text, beliefs, stages)
    with stages("controls"):
        plain = study.plain_methods(world.train, beliefs, ())
    rows, constants = [], {}
    for size in SIZES:
        fitted = study.at_size(plain, world, size)
        for order in ORDERS:
            valid = episodes(world.validation, order, size, 0)
            asked = [episodes(getattr(world, part), order, size, seed) for seed in (seeds if order == ORDERS[0] else seeds[:1])]
            setting = f"{order}, {size}"
            with stages(setting, f"{len(asked[0]):,} users"):
                likely, names = {}, {}
                for method in fitted:
                    names[method.name], likely[method.name] = study.probabilities(method, valid, asked, False)
                constants[setting] = {name: value for name, value in names.items() if value}
                each = [answers(found, chosen, beliefs, some) for some in asked]
                likely |= {name: [one[name] for one in each] for name in each[0]}
                role = {method.name: method.role for method in fitted}
                rows += _rows(setting, likely, asked, role, found, chosen)
    return rows, constants


def _rows(
    setting: str,
    likely: Mapping[str, Sequence[list[np.ndarray]]],
    asked: Sequence[Sequence[Episode]],
    role: Mapping[str, str],
    found: Mapping[Plan, Learned],
    chosen: Plan,
) -> list[Result]:
    """Means, the chosen arm less all else, and the others less the closed form and their own start."""
    each = {name: [measures(p, some) for p, some in zip(values, asked, strict=True)] for name, values in likely.items()}
    ours = name_of(chosen)
    pairs = [(ours, other) for other in likely if other != ours]
    pairs += [(name_of(chosen, what), name_of(chosen, ZERO)) for what in (OTHER, STEPS)]
    pairs += [(name_of(plan), other) for plan in found if plan != chosen for other in (study.OURS, name_of(plan, ZERO))]
    rows = []
    for metric in METRICS:
        of_user = {name: np.mean([one[metric] for one in values], axis=0) for name, values in each.items()}
        means = resampled(of_user, np.random.default_rng(0), study.DRAWS)
        for mine, value, versus in [
            *((name, mean, "") for name, mean in means.items()),
            *((mine, means[mine].minus(means[other]), other) for mine, other in pairs),
        ]:
            at, what = value.interval(), role.get(mine, "ours")
            rows.append(Result(NAME, mine, what, setting, metric, at.value, at.low, at.high, versus, at.n, None, None))
    return rows
