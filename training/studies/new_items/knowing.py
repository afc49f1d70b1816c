"""What a language model knows about young items, beside all that texts and first buyers say.

Blends of the same inputs with and without MiniLM's vectors and with and without item knowledge, the frozen states of a
language model at the end of a sentence about each item. Each blend has one set of weights for all numbers of buyers, learned on
validation.

Axis convention: `Q` purchases, `Y` young items, `N` items, `d` width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llmrec.metrics.report import Result
from studies.new_items import study
from studies.new_items.observing import BLENDS, blend_weights, inputs
from studies.new_items.refitted import attribute_knn, histories
from studies.new_items.replay import Replay, World, before, ndcg

COMPONENTS = 128  # principal components of the states of warm items
BLEND = "blend of text, buyers, popularity, recent sales"
MINILM, KNOWLEDGE = "the same and MiniLM", "the same, MiniLM and item knowledge"
ALONE = "the same and item knowledge"
VECTORS = {BLEND: (), MINILM: ("MiniLM",), ALONE: ("item knowledge",), KNOWLEDGE: ("MiniLM", "item knowledge")}
BINS = ("0", "1-3", "4-6", "7-10")


def principal(states: np.ndarray, warm: np.ndarray, power: float) -> np.ndarray:
    """float32 (N, COMPONENTS at most): rows of length 1 in the first directions of warm items' states, (N, d), each over its
    spread to that power. warm: bool (N,)."""
    around = states - states[warm].mean(0)
    _, size, axes = np.linalg.svd(around[warm], full_matrices=False)
    count = min(COMPONENTS, int((size > 1e-6 * size[0]).sum()))
    return of_length_one(around @ axes[:count].T / size[:count] ** power)


def of_length_one(vectors: np.ndarray) -> np.ndarray:
    """float32, the rows over their lengths."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def told(here: World, found: Replay, name: str, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs (Q, Y) by vectors (N, d) of length 1: the cosine to the history, and what similar warm items have by item kNN."""
    users = of_length_one(histories(before(here, found.purchase)) @ vectors)
    cosine = users @ vectors[found.young].T
    return {f"{name}, cosine": cosine, f"{name}, kNN": np.log1p(100 * attribute_knn(here, found, vectors))}


def answered(
    earlier: tuple[World, Replay, Mapping[str, np.ndarray]], here: tuple[World, Replay, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Blend -> NDCG@10 (Q,) of all purchases here, by weights that are learned earlier. Of each: the world, its purchases, and
    vectors of its items by name, "MiniLM" and "item knowledge"."""
    tables = []
    for world, found, vectors in (earlier, here):
        given = inputs(world, found)
        for name, mine in vectors.items():
            given |= told(world, found, name, mine)
        tables.append(given)
    result = {}
    for blend, wanted in VECTORS.items():
        columns = (*BLENDS[BLEND], *(f"{name}, {kind}" for name in wanted for kind in ("cosine", "kNN")))
        weights = blend_weights(earlier[1], tables[0], {blend: columns})[blend]
        result[blend] = ndcg(here[1], np.stack([tables[1][column] for column in columns], 2) @ weights)
    return result


def rows(name: str, found: Replay, result: Mapping[str, np.ndarray], seed: int) -> list[Result]:
    """Means by the number of earlier buyers and over all purchases, and what each blend gains over those before it; users are
    drawn with all their purchases."""
    pairs = [(arm, "") for arm in result] + [(MINILM, BLEND), (ALONE, BLEND), (KNOWLEDGE, MINILM)]
    made, bins = [], {f"k = {one}": study.of_bin(found, one) for one in BINS} | {"any k": found.asked}
    for setting, there in bins.items():
        if not there.any():
            continue
        owner = np.unique(found.user[there], return_inverse=True)[1]
        for arm, versus in pairs:
            value = (result[arm] - result[versus] if versus else result[arm])[there]
            low, high = study.interval(value, owner, np.random.default_rng(seed))
            role = "ours" if "knowledge" in arm else "control"
            mean = float(value.mean())
            made.append(Result(name, arm, role, setting, study.METRIC, mean, low, high, versus, len(value), seed, None))
    return made
