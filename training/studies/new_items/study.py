"""NDCG@10 of purchases of young items by their number of earlier buyers: methods, blends learned on validation, rows.

A blend has weights for each number of earlier buyers of the item that was purchased, controls and ours alike. It is thus
told that number, which a shop does not know: compare blends with each other, not with methods that stand alone.

Axis convention: `Q` purchases, `Y` young items, `F` inputs of a blend.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
from scipy.optimize import minimize

from llmrec.metrics.report import Result
from studies.new_items import item_lora
from studies.new_items.item_lora import Plan
from studies.new_items.moving import Moving, moved
from studies.new_items.replay import Replay, World, ndcg, text

METRIC = "ndcg@10"
BINS: Mapping[str, tuple[int, int]] = {"0": (0, 0), "1": (1, 1), "2-3": (2, 3), "4-6": (4, 6), "7-10": (7, 10), "1-3": (1, 3)}
AIMS = {"k = 1-3": 1.10, "k = 7-10": 1.0}  # times the best control, among the young items; the first is the primary cell
LEARNED = ("0", "1", "2-3", "4-6", "7-10")  # a blend has weights for each
RIDGE, DRAWS = 1e-3, 2000

ZERO, MOVED, SWAPPED = "zero steps", "moved by buyers", "moved by another item's buyers"
LORA, LORA_SWAPPED = "LoRA of all young items", "LoRA, another item's buyers"
LORA_ALONE = "LoRA of each young item alone"
TWIN, TWIN_UNBIASED = "twin, trained with others' purchases of them", "twin without its items' biases"
TEXT, KNN, POPULARITY, RECENT = "text", "item kNN of all buyers so far", "popularity so far", "recent sales"
BLEND, BLEND_RECENT = "blend: text, buyers, popularity", "blend: text, buyers, popularity, recent sales"
BLEND_ZERO, BLEND_MOVED = "the same blend and zero steps", "the same blend and moved items"
BLEND_SWAPPED = "the same blend and items moved by another item's buyers"
MOVED_OUT, LORA_OUT = "the blend with moved items, these left out", "the blend with LoRA, this left out"  # same weights
BLEND_LORA, BLEND_LORA_SWAPPED = "the same blend and LoRA", "the same blend and LoRA, another item's buyers"
BLENDS: Mapping[str, tuple[str, ...]] = {
    BLEND: ("text", "knn", "known"),
    BLEND_RECENT: ("text", "knn", "known", "recent"),
    BLEND_ZERO: ("text", "knn", "known", "recent", "zero"),
    BLEND_MOVED: ("text", "knn", "known", "recent", "zero", "moved"),
    BLEND_LORA: ("text", "knn", "known", "recent", "zero", "lora"),
}
ALONE = (ZERO, MOVED, SWAPPED, LORA, LORA_SWAPPED, LORA_ALONE)
OURS = (*ALONE, BLEND_MOVED, BLEND_SWAPPED, MOVED_OUT, BLEND_ZERO, BLEND_LORA, BLEND_LORA_SWAPPED, LORA_OUT)
PAIRS = (
    *((BLEND_MOVED, other) for other in (BLEND_RECENT, BLEND, MOVED_OUT, BLEND_SWAPPED)),
    *((MOVED, other) for other in (ZERO, SWAPPED, TEXT, KNN)),
    *((SWAPPED, ZERO), (BLEND_SWAPPED, MOVED_OUT), (BLEND_LORA_SWAPPED, LORA_OUT)),
    *((LORA, other) for other in (ZERO, MOVED, LORA_SWAPPED, LORA_ALONE)),
    *((LORA_SWAPPED, ZERO), (LORA_ALONE, ZERO), (LORA_ALONE, MOVED)),
    *((BLEND_LORA, other) for other in (BLEND_RECENT, LORA_OUT, BLEND_LORA_SWAPPED)),
)
TWIN_PAIRS = tuple((twin, other) for twin in (TWIN, TWIN_UNBIASED) for other in (ZERO, MOVED, LORA, LORA_ALONE, TEXT, KNN))


def plans(found: Replay, base: Moving) -> dict[str, Plan]:
    """How the adapters are learned, chosen on validation in the primary cell."""
    where = of_bin(found, next(iter(AIMS)).removeprefix("k = "))
    grids = {"lora": item_lora.TOGETHER, "lora alone": item_lora.ALONE}
    return {name: item_lora.chosen(found, base, grid, where) for name, grid in grids.items()}


def inputs(here: World, found: Replay, base: Moving, plans: Mapping[str, Plan], seed: int) -> dict[str, np.ndarray]:
    """Inputs of the arms by name, float32 (Q, Y) each. plans: of `plans`."""
    order = np.random.default_rng(seed).permutation(len(found.young))
    other = np.empty(len(order), np.int64)
    other[order] = np.roll(order, 1)  # never its own
    more, lift = moved(here, found, base)
    own, theirs = item_lora.known(found, base), item_lora.known(found, base, other)
    return {
        "known": np.log1p(found.known),
        "recent": np.log(found.recent + 0.3),
        "knn": np.log1p(10 * found.knn),
        "text": np.log1p(10 * text(here, found)),
        "zero": base.scores(found),
        "moved": more,
        "lift": lift,
        "swapped": moved(here, found, base, other)[0],
        "lora": item_lora.replayed(found, base, own, plans["lora"])[-1],
        "lora swapped": item_lora.replayed(found, base, theirs, plans["lora"])[-1],
        "lora alone": item_lora.replayed(found, base, own, plans["lora alone"])[-1],
    }


def of_bin(found: Replay, name: str) -> np.ndarray:
    """bool (Q,): the purchases with so many earlier buyers."""
    least, most = BINS[name]
    return found.asked & (found.k >= least) & (found.k <= most)


def weights(found: Replay, table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 (F,): of a conditional softmax over the young items that the user does not have, by penalised likelihood.

    table: (Q, Y, F). rows: int64, the purchases that it is learned from. McFadden (1974).
    """
    spread = table.reshape(-1, table.shape[2]).std(0) + 1e-9
    some, target = table[rows] / spread, found.target[rows]
    return fitted_choice(lambda: [(some, target, found.seen[rows])], table.shape[2], len(rows)) / spread


def fitted_choice(
    blocks: Callable[[], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]], inputs: int, count: int
) -> np.ndarray:
    """float64 (F,): the weights by penalised likelihood. blocks: gives the choices in parts: inputs (B, N, F), what was chosen
    int64 (B,), and what cannot be, bool (B, N). inputs: F. count: of all choices."""

    def loss(weight: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = 0.0, np.zeros(inputs)
        for some, target, seen in blocks():
            own = np.arange(len(some))
            score = np.where(seen, -1e9, some @ weight)
            chance = np.exp(score - score.max(1, keepdims=True))
            chance /= chance.sum(1, keepdims=True)
            gradient += np.einsum("qy,qyf->f", chance, some) - some[own, target].sum(0)
            value -= np.log(chance[own, target] + 1e-300).sum()
        return float(value / count + RIDGE * (weight @ weight)), gradient / count + 2 * RIDGE * weight

    return minimize(loss, np.zeros(inputs), jac=True, method="L-BFGS-B", options={"maxiter": 100}).x


def learned(found: Replay, given: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Of each blend and each number of earlier buyers the weights, on validation."""
    chosen: dict[str, dict[str, list[float]]] = {}
    for blend, names in BLENDS.items():
        table = np.stack([given[name] for name in names], 2).astype(np.float64)
        chosen[blend] = {name: weights(found, table, np.flatnonzero(of_bin(found, name))).round(4).tolist() for name in LEARNED}
    return chosen


def values(
    found: Replay, given: Mapping[str, np.ndarray], chosen: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, np.ndarray]:
    """Arm -> NDCG@10 float64 (Q,). The twin is an arm where `given` has its scores."""
    alone = {POPULARITY: given["known"], RECENT: given["recent"], TEXT: given["text"], KNN: given["knn"], ZERO: given["zero"]}
    alone |= {MOVED: given["zero"] + given["moved"], SWAPPED: given["zero"] + given["swapped"]}
    for name, more in ((LORA, "lora"), (LORA_SWAPPED, "lora swapped"), (LORA_ALONE, "lora alone")):
        alone[name] = given["zero"] + given[more]
    alone |= {name: given[name] for name in (TWIN, TWIN_UNBIASED) if name in given}
    result = {name: ndcg(found, table) for name, table in alone.items()}
    swapped = {**given, "moved": given["swapped"], "lora": given["lora swapped"]}
    arms = [(blend, blend, given) for blend in BLENDS]
    arms += [(BLEND_SWAPPED, BLEND_MOVED, swapped), (BLEND_LORA_SWAPPED, BLEND_LORA, swapped)]
    nothing = {**given, "moved": np.zeros_like(given["moved"]), "lora": np.zeros_like(given["lora"])}
    arms += [(MOVED_OUT, BLEND_MOVED, nothing), (LORA_OUT, BLEND_LORA, nothing)]
    for arm, blend, source in arms:
        table = np.stack([source[name] for name in BLENDS[blend]], 2)
        result[arm] = np.full(len(found.target), np.nan)
        for name in LEARNED:
            rows = of_bin(found, name)
            result[arm][rows] = ndcg(found, table @ np.array(chosen[blend][name]))[rows]
    return result


def rows(
    name: str,
    found: Replay,
    result: Mapping[str, np.ndarray],
    seed: int,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    asked: str = "",
) -> list[Result]:
    """Means of all arms and the differences of `pairs`; intervals by a bootstrap that draws users with all their purchases.

    asked: added to the settings' names, where not everybody is asked.
    """
    wanted = [(arm, "", value) for arm, value in result.items()]
    wanted += [(ours, other, result[ours] - result[other]) for ours, other in pairs]
    made = []
    for name_of_bin in BINS:
        setting, there = f"k = {name_of_bin}{asked}", np.flatnonzero(of_bin(found, name_of_bin))
        owner = np.unique(found.user[there], return_inverse=True)[1]
        for arm, versus, value in wanted:
            low, high = interval(value[there], owner, np.random.default_rng(seed))
            role = "ours" if arm in OURS else "reference" if arm in (TWIN, TWIN_UNBIASED) else "control"
            mean = float(value[there].mean())
            made.append(Result(name, arm, role, setting, METRIC, mean, low, high, versus, len(there), seed, None))
    return made


def extra(
    name: str,
    ours: str,
    aimed: Mapping[str, float],
    rows: Sequence[Result],
    seed: int,
    added: tuple[str, Collection[str]] = ("", ()),
) -> dict:
    """What stands beside the rows: the primary cell, and the aims with whether they are reached.

    aimed: setting -> times the best control, of the method `ours`; the first setting is the primary cell. added: the
    input of controls that were added to those of the aims, and the names of these; each aim is judged with and without them.
    """
    aims = []
    for setting, least in aimed.items():
        here = [row for row in rows if row.setting == setting and not row.versus]
        value = next(row.value for row in here if row.method == ours)
        for label, left_out in {setting: (), f"{setting}, controls without {added[0]}": added[1]}.items():
            if label == setting or left_out:
                wanted = least * max(row.value for row in here if row.role == "control" and row.method not in left_out)
                aim = {"setting": label, "metric": METRIC, "least": least, "times": "best control", "wanted": wanted}
                aims.append({**aim, "value": value, "reached": value >= wanted})
    primary = {"setting": next(iter(aimed)), "metric": METRIC}
    return {"benchmark": name, "ours": ours, "primary": primary, "aims": aims, "seeds": [seed]}


def interval(value: np.ndarray, owner: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Ends of the 95% interval of a mean over purchases, (P,); owner: int64 (P,), the users they are of, 0, 1, ..."""
    size, total = np.bincount(owner), np.bincount(owner, value)
    drawn = rng.multinomial(len(size), np.full(len(size), 1 / len(size)), DRAWS)
    low, high = np.quantile((drawn @ total) / (drawn @ size), [0.025, 0.975])
    return float(low), float(high)
