"""The metrics against those of ranx, another's implementation, on rankings without ties."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from llmrec.metrics.ranking import rank_targets

pytestmark = pytest.mark.slow  # starts a process

# In an interpreter of its own: compiled, ranx takes half a minute and warns; with its compiler off it takes three seconds.
SCRIPT = """
import json, sys
from ranx import Qrels, Run, evaluate
qrels, run, names = json.load(sys.stdin)
found = evaluate(Qrels(qrels), Run(run), names, return_mean=False)
print(json.dumps({name: values.tolist() for name, values in found.items()}))
"""
USERS, ITEMS, K = 30, 40, 10


@pytest.fixture(scope="module")
def world():
    """30 users, 40 items in random order without ties, 1 to 15 relevant ones, three quarters of the items allowed."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(ITEMS, dtype=float), (USERS, 1)), axis=1)
    allowed = rng.random((USERS, ITEMS)) < 0.75
    relevant = [rng.choice(np.flatnonzero(row), rng.integers(1, 16), replace=False) for row in allowed]
    return scores, relevant, allowed


@pytest.fixture(scope="module")
def theirs(world) -> dict[str, np.ndarray]:
    scores, relevant, allowed = world
    qrels = {f"u{u:03}": {f"i{i}": 1 for i in relevant[u]} for u in range(USERS)}
    run = {f"u{u:03}": {f"i{i}": scores[u, i] for i in np.flatnonzero(allowed[u])} for u in range(USERS)}
    names = [f"ndcg@{K}", f"recall@{K}", f"hit_rate@{K}", f"map@{K}", "map", "mrr"]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    given = json.dumps([qrels, run, names])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=given, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: np.array(values) for name, values in json.loads(done.stdout).items()}


def test_they_agree_user_by_user(world, theirs):
    places = rank_targets(*world)
    ours = {
        f"ndcg@{K}": places.ndcg(K),
        f"recall@{K}": places.recall(K),
        f"hit_rate@{K}": places.hit_rate(K),
        "map": places.mean_average_precision(),
        "mrr": places.mrr(),
    }
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], atol=1e-12, err_msg=name)
        assert len(np.unique(values)) > 1 or name.startswith("hit"), name  # users differ, so a mixed-up order would show


def test_map_at_k_differs_by_its_denominator_alone(world, theirs):
    """ranx divides by all relevant items, llmrec by as many as k places can hold."""
    relevant = np.array([len(wanted) for wanted in world[1]])
    assert (relevant > K).any()
    ours = rank_targets(*world).mean_average_precision(K) * np.minimum(relevant, K) / relevant
    np.testing.assert_allclose(ours, theirs[f"map@{K}"], atol=1e-12)
