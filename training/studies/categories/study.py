"""NDCG@10 and hit@1 among 20 in a category that the language model was not trained on: arms, controls and paired differences.

Axis convention: `T` users who choose, `S` draws of supports and negatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.meta.inner import Initialisation, adapt, initialisation
from llmrec.meta.title_choices import TitleChoices, choice_loss, scores_of_each
from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import standardised
from llmrec.scenes.new import SceneRecommender
from studies.categories.controls import FROZEN_TEXT, controls, text_vectors
from studies.categories.kept import kept
from studies.categories.learning import JOINT, META, TWIN, UNTRAINED, Adapters, Plan
from studies.categories.opened import SCENES, SCENES_LESS, scene_scores
from studies.categories.shops import AMONG, NEGATIVES, Category, asked, hit, ndcg

SUPPORTS = (16, 64)  # users whose choices are adapted to
RATES = (0.03, 0.1, 0.3, 1.0)  # of the steps after joint training, looked at on validation users of the new category
METRIC, HIT = "ndcg@10", "hit@1"
PLAIN = "plain LoRA"
ZERO_STEPS = 1.15  # times frozen text: the aim at zero steps


@dataclass(frozen=True, eq=False)
class Shops:
    """new: the category that is asked about. other: a known one; adapting to its users is a control. opened: the new one by
    `Scenes`."""

    new: Category
    other: Category
    opened: SceneRecommender


def measured(
    ranker: LLMRanker, shops: Shops, learned: Adapters, plan: Plan, users: np.ndarray, draw: int, runs: Path
) -> dict[str, np.ndarray]:
    """Arm -> NDCG@10 (T,) of some users of the new category.

    The rates of RATES are tried where `users` are validation users; else those of `plan` are taken.
    """
    model, stages, looking = ranker.language_model, Stages(), bool(np.isin(users, shops.new.validation).all())
    new, teaching = shops.new, shops.new.teaching[64 * draw :][:64]
    pair = asked(new, users, AMONG, draw)
    name = f"asked-{new.name}-{'validation' if looking else 'test'}-{len(users)}-{draw}.safetensors"
    ready = kept(runs / name, lambda: [ranker.choices(*pair)])[0]
    fixed, arms = learned.fixed, dict(learned.fixed)
    supports = {"": asked(new, teaching, NEGATIVES, draw)}
    supports[", another's"] = asked(shops.other, shops.other.teaching[-64 * (draw + 1) :][:64], NEGATIVES, draw)
    plain, joint = (
        [(name, fixed[begin], steps, rate, usual) for rate in sorted({usual, *(RATES if looking else ())})]
        for name, begin, steps, usual in (
            (PLAIN, UNTRAINED, plan.plain_steps, plan.plain_rate),
            (learned.based, learned.based, plan.steps, plan.joint_rate),
        )
    )
    with stages("adapt", f"draw {draw}"):
        for whose, support in supports.items():
            given = replace(ranker.choices(*support), temperature=learned.temperature)
            for count in SUPPORTS:
                mine = given.take(np.arange(count))
                if learned.init is not None:
                    arms[f"{META}, {count}{whose}"] = adapted(ranker, learned.init, mine)
                for name, start, steps, rate, usual in [*plain, *joint]:
                    if name == PLAIN and rate != usual and count != SUPPORTS[0]:
                        continue  # ten steps take minutes: its rate is chosen by the smaller support
                    label = f"{name}, {count}{whose}" + (f", rate {rate:g}" if rate != usual else "")
                    if not whose or (name != PLAIN and rate == usual):
                        arms[label] = adapted(ranker, initialisation(start, steps, rate), mine)
    with stages("measure", f"{len(users):,} users, {len(arms)} adapters"):
        scores = dict(zip(arms, scores_of_each(model, ready, list(arms.values())), strict=True))
        validation = asked(new, new.validation, AMONG, draw)
        beside = controls(new, text_vectors(new.dataset.catalogue), validation, pair)
        beside |= scene_scores(shops.opened, new, [teaching[:count] for count in SUPPORTS], pair)
    found = {arm: ndcg(each, ready.taken) for arm, each in (scores | beside).items()}
    text = standardised(pair[1], np.concatenate(beside[FROZEN_TEXT]))
    for arm, each in scores.items():
        both = standardised(pair[1], np.concatenate(each)) + text
        found[f"{arm} + text"] = ndcg(np.split(both, pair[1].start[1:-1]), ready.taken)
    return found


def extra(name: str, setting: str, rows: Sequence[Result], learned: Adapters, seed: int) -> dict:
    """Fields of the report beside the rows: the primary cell, and each aim with whether it is reached."""
    here = [row for row in rows if row.setting == setting and row.metric == METRIC]
    mean = {row.method: row.value for row in here if not row.versus}
    low = {(row.method, row.versus): row.low or 0.0 for row in here if row.versus}
    ours = META if META in learned.fixed else JOINT
    wanted = ZERO_STEPS * mean[FROZEN_TEXT]
    aim = {"setting": setting, "metric": METRIC, "least": ZERO_STEPS, "times": FROZEN_TEXT, "wanted": wanted}
    aims = [{**aim, "value": mean[ours], "reached": mean[ours] >= wanted}]
    for count in SUPPORTS if META in learned.fixed else ():
        mine, other = f"{META}, {count}", f"{learned.based}, {count}"
        aim = {"setting": f"{setting}, {count} users", "metric": METRIC, "least": 1.0, "times": other, "wanted": mean[other]}
        aims.append({**aim, "value": mean[mine], "reached": low[mine, other] > 0})
    primary = {"setting": setting, "metric": METRIC}
    return {"benchmark": name, "ours": ours, "primary": primary, "aims": aims, "seeds": [seed]}


def before_and_after(ranker: LLMRanker, shops: Shops, learned: Adapters, plan: Plan) -> dict[str, LanguageAdapter]:
    """Meta-learned adapters of the first draw, at zero steps, "0", and after the largest support, by its size; joint ones where
    none were meta-learned."""
    count = SUPPORTS[-1]
    given = ranker.choices(*asked(shops.new, shops.new.teaching[:64], NEGATIVES, 0)).take(np.arange(count))
    init = learned.init or initialisation(learned.fixed[learned.based], plan.steps, plan.joint_rate)
    return {"0": init.adapter, str(count): adapted(ranker, init, replace(given, temperature=learned.temperature))}


def adapted(ranker: LLMRanker, init: Initialisation[LanguageAdapter], support: TitleChoices) -> LanguageAdapter:
    """The adapter after the inner steps on the choices of some users, as of one scene."""
    model, mine = ranker.language_model, support.owned(np.zeros(len(support), np.int64))
    return adapt(init, choice_loss(model, mine, init.adapter.n_blocks(model)), 1)


def rows(name: str, setting: str, found: Mapping[str, np.ndarray], based: str, seed: int) -> list[Result]:
    """Means, and paired differences, with intervals: of NDCG@10, then of hit@1. found: arm -> NDCG@10 (S, T), the same users in
    all; S draws. based: the joint arm that adapting is compared with."""
    hits = {arm: hit(values) for arm, values in found.items()}
    return _rows(name, setting, METRIC, found, based, seed) + _rows(name, setting, HIT, hits, based, seed)


def _rows(name: str, setting: str, metric: str, found: Mapping[str, np.ndarray], based: str, seed: int) -> list[Result]:
    """The rows of one metric. found: arm -> its values (S, T)."""
    drawn = resampled(found, np.random.default_rng(seed), 2_000)
    pairs = [(JOINT, UNTRAINED), (TWIN, based), (f"{TWIN} + text", f"{based} + text")]
    pairs += [(method, FROZEN_TEXT) for method in (JOINT, f"{JOINT} + text", META, f"{META} + text")]
    pairs += [(META, scenes) for scenes in (SCENES, SCENES_LESS)]
    pairs += [(method, UNTRAINED) for method in drawn if method.startswith(f"{PLAIN},") and "+" not in method]
    pairs += [(method, method.split(",")[0]) for method in drawn if "," in method and "+" not in method]
    pairs += [(method, method.replace(META, other)) for method in drawn if method.startswith(META) for other in (based, PLAIN)]
    pairs += [
        (f"{META}, {count}{text}", f"{scenes}, {count}")
        for count in SUPPORTS
        for text in ("", " + text")
        for scenes in (SCENES, SCENES_LESS)
    ]

    def row(method: str, one: Resampled, other: str) -> Result:
        at, role = one.interval(), "ours" if method.startswith(META) else "control"
        return Result(name, method, role, setting, metric, at.value, at.low, at.high, other, at.n, seed, None)

    there = [(a, b) for a, b in dict.fromkeys(pairs) if a in drawn and b in drawn and a != b]
    return [row(a, one, "") for a, one in drawn.items()] + [row(a, drawn[a].minus(drawn[b]), b) for a, b in there]
