"""The study of a new category with a tiny model: all arms, and nothing of the new category in joint training."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from language_models import tiny

from llmrec import Scenes, Weights
from llmrec.data.build import build
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories import learning, parts, retrieved, study
from studies.categories.controls import BM25, FROZEN_TEXT, POPULARITY, taken
from studies.categories.kept import kept_arrays
from studies.categories.learning import JOINT, LONGER, META, TWIN, UNTRAINED, Plan, learn
from studies.categories.opened import SCENES, SCENES_LESS, opened
from studies.categories.shops import Category, asked, ndcg

WORDS = ("red", "blue", "green", "small", "mug", "lamp", "rope", "tent")


def shop(name: str, seed: int) -> Category:
    rng = np.random.default_rng(seed)
    user, item = np.repeat(np.arange(160), 5), np.concatenate([rng.permutation(100)[:5] for _ in range(160)])
    events = pa.table({"user_id": user, "item_id": item, "timestamp": 86_400.0 * np.arange(len(user))})
    titles = [f"{WORDS[n % 4]} {WORDS[4 + n // 4 % 4]} {WORDS[n // 16 % 8]}" for n in range(100)]
    users = np.arange(160)
    data, _ = build(events, pa.table({"item_id": np.arange(100), "title": titles}))
    return Category(name, data, users[:10], users[10:80], users[80:])


@pytest.fixture
def ranker(tiny_folders, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setattr(learning, "PARTS", 1)
    monkeypatch.setattr(learning, "RESERVED", 64)
    (tmp_path / "model").mkdir()
    return LLMRanker(tiny("llama", tiny_folders["llama"], tmp_path / "model"), max_history=2)


def test_every_arm_is_measured_beside_the_controls(ranker, tmp_path, monkeypatch):
    known, new = [shop("mugs", 1), shop("lamps", 2), shop("ropes", 3), shop("tents", 4)], shop("boats", 5)
    counts = {"choices": 120, "scene_choices": 120, "joint_steps": 2, "episodes": 1, "more_steps": 1, "twin_steps": 1}
    plan = Plan(r=2, n_blocks=1, rate=0.1, **counts)
    learned = learn(ranker, known, new, plan, 0, tmp_path / "runs")
    assert set(learned.fixed) == {UNTRAINED, JOINT, META, LONGER, TWIN} and learned.based == LONGER
    shops = study.Shops(new, known[0], opened(known, new, 0, tmp_path / "scenes"))
    kept = tmp_path / "kept.safetensors"
    first = kept_arrays(kept, lambda: {"arm, 16": np.arange(3.0)})
    assert kept_arrays(kept, dict)["arm, 16"].tolist() == first["arm, 16"].tolist() == [0.0, 1.0, 2.0]
    found = study.measured(ranker, shops, learned, plan, new.test, 0, tmp_path / "runs")
    sizes = (16, 64)
    arms = {
        *learned.fixed,
        *(f"{one}, {count}{whose}" for one in (META, LONGER) for count in sizes for whose in ("", ", another's")),
        *(f"{study.PLAIN}, {count}" for count in sizes),
    }
    scenes = {name + size for name in (SCENES, SCENES_LESS) for size in ("", *(f", {count}" for count in sizes))}
    assert set(found) == {FROZEN_TEXT, BM25, POPULARITY, *scenes, *arms, *(f"{arm} + text" for arm in arms)}
    assert all(len(values) == 10 and ((values >= 0) & (values <= 1)).all() for values in found.values())
    rows = study.rows("categories", "test", {arm: values[None] for arm, values in found.items()}, learned.based, 0)
    compared = {(row.method, row.versus) for row in rows if row.versus}
    assert {(JOINT, UNTRAINED), (META, LONGER), (f"{META}, 16", META), (f"{TWIN} + text", f"{LONGER} + text")} <= compared
    assert {(f"{META}, 64", f"{study.PLAIN}, 64"), (f"{META}, 64 + text", f"{SCENES}, 64")} <= compared
    assert {(f"{META}, 16", f"{SCENES_LESS}, 16"), (f"{SCENES_LESS}, 16", SCENES_LESS)} <= compared
    by_metric = {metric: [(row.method, row.versus) for row in rows if row.metric == metric] for metric in ("ndcg@10", "hit@1")}
    assert by_metric["hit@1"] == by_metric["ndcg@10"] and len(rows) == 2 * len(by_metric["hit@1"])
    told = study.extra("categories", "test", rows, learned, 0)
    assert told == study.extra("categories", "test", rows[: len(rows) // 2], learned, 0)  # aims are about NDCG@10 alone
    again = learn(ranker, known, new, plan, 0, tmp_path / "runs")  # all is found done
    for arm, adapter in learned.fixed.items():
        assert all((a == b).all() for a, b in zip(adapter.leaves(), again.fixed[arm].leaves(), strict=True))
    monkeypatch.setattr(retrieved, "DEPTH", 40)
    values = study.before_and_after(ranker, shops, learned, plan)
    whole = retrieved.measured(ranker, shops, values, {"64": new.teaching[:64]}, new.test, new.validation)
    names = (retrieved.CHAIN, retrieved.WITHOUT, SCENES, "language model")
    assert set(whole) == {FROZEN_TEXT, BM25, *(f"{name}{size}" for name in names for size in ("", ", 64"))}
    there = whole["language model"] > 0  # its list holds what text retrieved: 40 of some 95
    assert there.any() and not there.all()
    again = Scenes.from_pretrained(tmp_path / "scenes").open(new.dataset.catalogue.table)
    assert opened(known, new, 0, tmp_path / "scenes").catalogue.ids.values == again.catalogue.ids.values
    gains = {(row.method, row.versus) for row in retrieved.rows_of("categories", whole, list(values), 0)}
    assert {(f"{retrieved.CHAIN}, 64", f"{SCENES}, 64"), (retrieved.CHAIN, retrieved.WITHOUT)} <= gains
    both = rows + retrieved.rows_of("categories", whole, list(values), 0)  # aims are about one of 20
    assert study.extra("categories", "test", both, learned, 0) == told


def test_what_text_does_not_retrieve_is_not_found(ranker, tmp_path, monkeypatch):
    monkeypatch.setattr(retrieved, "DEPTH", 1)
    new = shop("boats", 5)
    tasks, _ = asked(new, new.test, 1, 0)
    text = np.zeros((len(tasks), 100))
    target = new.dataset.item[tasks.split]
    text[np.arange(5), target[:5]] = 1.0  # of five users what they took, of the others another item
    text[np.arange(5, 10), (target[5:] + 1) % 100] = 1.0
    found = retrieved._retrieved(ranker, tasks, text, {"0": text})
    assert found.place.tolist() == list(range(5)) and found.found.item.tolist() == target[:5].tolist()
    assert retrieved._placed(found, np.ones(5), 10).tolist() == [1.0] * 5 + [0.0] * 5


def test_joint_training_reads_nothing_of_the_new_category(ranker, tmp_path):
    known, plan = [shop("mugs", 1), shop("lamps", 2)], Plan(r=2, n_blocks=1, choices=20, joint_steps=1)
    first, second = (learn(ranker, known, shop("boats", seed), plan, 0, tmp_path / str(seed)).fixed[JOINT] for seed in (5, 6))
    assert all((a == b).all() for a, b in zip(first.leaves(), second.leaves(), strict=True))


def test_each_part_takes_its_steps_alone_and_zero_steps_is_the_model(ranker, monkeypatch):
    for name, value in {"SUPPORT": 8, "HELD": 6, "STEPS": 2, "RATES": (0.1, 0.3)}.items():
        monkeypatch.setattr(parts, name, value)
    found, costs = parts.measured(ranker, shop("boats", 5), np.arange(10), 0)
    lora, more = "LoRA, rank 1, last block", "LoRA, rank 1, and soft prompt"
    assert set(costs) == {"LoRA, rank 8, last 8 blocks", lora, "soft prompt", more, parts.HEAD}
    assert set(found) == {parts.ZERO, parts.ZERO_PROMPT, *costs}
    width = ranker.language_model.width
    assert costs["linear head"].numbers == width and costs["soft prompt"].numbers == parts.TOKENS * width
    assert costs[more].bytes == costs[lora].bytes + costs["soft prompt"].bytes
    assert all(cost.rate in (0.1, 0.3) and cost.adapt_s > 0 and cost.score_s > 0 for cost in costs.values())
    alone = LLMRanker(ranker.language_model, ranker.template, ranker.max_history)
    tasks, candidates = asked(shop("boats", 5), np.arange(10), parts.AMONG, 0)
    scores = np.split(alone.score(tasks, candidates), candidates.start[1:-1])
    np.testing.assert_allclose(found[parts.ZERO], ndcg(scores, taken(tasks, candidates)))
    rows = parts.rows(found, 0)
    gap = next(row for row in rows if row.method == "linear head" and row.versus)
    assert gap.value == pytest.approx((found["linear head"] - found[parts.ZERO]).mean())
