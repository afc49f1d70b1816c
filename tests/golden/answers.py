"""Golden answers as JSON values, and when others agree with them.

Another CPU, or another release of torch, adds the same numbers in another order, and sums in float32 then differ in their last
digits. So scores agree within TOLERANCE, and two items whose scores are nearer to one another than that may change places.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

TOLERANCE = 1e-4
ALIKE = 0.8  # of the items, where training rounded otherwise


def rounding() -> str:
    """A hash of what products and an inverse come to here: the same where a machine rounds as the one that wrote the answers.

    Instruction sets round differently, and so do numpy's products on another number of threads (OMP_NUM_THREADS). Training
    multiplies a difference in the last digit by some thousands, so that only where the hash is the same answers are too.
    """
    import torch

    rng, found = np.random.default_rng(0), []
    for rows, inner, columns in ((1, 384, 384), (24, 384, 1536), (631, 384, 631), (7, 17, 5)):
        left, right = (rng.normal(size=shape).astype(np.float32) for shape in ((rows, inner), (inner, columns)))
        product = torch.from_numpy(left) @ torch.from_numpy(right)
        found += [product, torch.nn.functional.gelu(product), product.softmax(1), product.sum(1), torch.tensor(left @ right)]
    square = np.eye(631) + found[10].double().numpy() / 1000  # as EASE inverts, on as many threads as numpy's BLAS takes
    found += [torch.from_numpy(np.linalg.inv(square)), torch.linalg.eigvalsh(found[10] @ found[10].T)]
    return hashlib.sha256(b"".join(one.numpy().tobytes() for one in found)).hexdigest()[:16]


def overlap(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> float:
    """Share of the expected items that are found, over all users."""
    pairs = [(set(one["item_id"]), set(other["item_id"])) for one, other in zip(found, expected, strict=True)]
    return sum(len(one & other) for one, other in pairs) / sum(len(other) for _, other in pairs)


def plain(answer: Any) -> list[dict[str, Any]]:
    """An answer of `recommend`, Arrow or pandas, as one value a user, in order: `user_id, item_id, score` and any `steps`."""
    rows = answer.to_pylist() if hasattr(answer, "to_pylist") else answer.to_dict("records")
    users: dict[Any, dict[str, Any]] = {}
    for row in rows:
        one = users.setdefault(row["user_id"], {"user_id": row["user_id"], "item_id": [], "score": []})
        one["item_id"].append(row["item_id"])
        one["score"].append(round(float(row["score"]), 6))
        if row.get("steps") is not None:
            one["steps"] = int(row["steps"])
    return list(users.values())


def differences(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[str]:
    """What `found` has otherwise than `expected`, both from `plain`: one line a place; none where they agree."""
    if (got := [one["user_id"] for one in found]) != (users := [one["user_id"] for one in expected]):
        return [f"expected users {users}, got {got}"]
    told = []
    for one, other in zip(found, expected, strict=True):
        if one.get("steps") != other.get("steps") or len(one["item_id"]) != len(other["item_id"]):
            told.append(f"{one['user_id']}: steps or length of the list")
            continue
        known, last = dict(zip(other["item_id"], other["score"], strict=True)), other["score"][-1]
        for place, (item, score) in enumerate(zip(one["item_id"], one["score"], strict=True)):
            wanted = other["score"][place]
            if abs(score - wanted) > TOLERANCE or abs(known.get(item, last) - wanted) > TOLERANCE:
                told.append(f"{one['user_id']}, place {place}: expected {other['item_id'][place]} {wanted}, got {item} {score}")
    return told
