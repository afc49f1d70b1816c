"""Answers as runs: what ranx reads of them is what was answered, and it measures what we measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec.errors import ArtefactError, DataError, SchemaError
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.runs import to_ranx, to_trec, trec_run

ANSWER = {
    "user_id": ["b", "b", "b", "a", "a"],
    "item_id": [3, 1, 2, 2, 1],
    "score": [0.9, 0.5, 0.1, 0.7, 0.7],
    "rank": [1, 2, 3, 1, 2],
}


def test_scores_stay_where_they_fall_and_ties_are_in_the_order_of_the_ranks():
    expected = {"b": {"3": 0.9, "1": 0.5, "2": 0.1}, "a": {"2": 2.0, "1": 1.0}}
    shuffled = pd.DataFrame(ANSWER).iloc[[2, 4, 0, 3, 1]]
    for answer in (ANSWER, pd.DataFrame(ANSWER), pa.table(ANSWER), shuffled):
        assert to_ranx(answer) == expected
    assert trec_run(ANSWER, "ours").splitlines() == [
        *("b Q0 3 1 0.9 ours", "b Q0 1 2 0.5 ours", "b Q0 2 3 0.1 ours", "a Q0 2 1 2.0 ours", "a Q0 1 2 1.0 ours"),
    ]
    assert to_ranx(pa.table(ANSWER).slice(0, 0)) == {} and trec_run(pa.table(ANSWER).slice(0, 0)) == ""


def test_a_file_is_written_into_a_new_folder(tmp_path):
    to_trec(ANSWER, tmp_path / "new" / "run.trec")
    assert (tmp_path / "new" / "run.trec").read_text() == trec_run(ANSWER)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="expected a path that can be written to"):
        to_trec(ANSWER, tmp_path / "file" / "run.trec")


def test_what_a_run_cannot_hold_is_named():
    with pytest.raises(DataError, match="item_id is 'a b', expected text without white space"):
        trec_run(ANSWER | {"item_id": ["a b", "c", "d", "e", "f"]})
    with pytest.raises(DataError, match="name of the run is 'my run'"):
        trec_run(ANSWER, "my run")
    for written in (to_ranx, trec_run):
        with pytest.raises(DataError, match="user 'b' is offered '1' twice"):
            written(ANSWER | {"item_id": [1, 1, 2, 2, 1]})
    with pytest.raises(SchemaError, match="no column 'rank'.*pass what recommend"):
        to_ranx({name: ANSWER[name] for name in ("user_id", "item_id", "score")})


# In an interpreter of its own: compiled, ranx takes half a minute and warns; with its compiler off it takes three seconds.
SCRIPT = """
import json, sys
from ranx import Qrels, Run, evaluate
qrels, run, path, names = json.load(sys.stdin)
for run in (Run(run), Run.from_file(path)):
    found = evaluate(Qrels(qrels), run, names, return_mean=False)
    print(json.dumps({name: values.tolist() for name, values in found.items()}))
"""


@pytest.mark.slow
def test_ranx_measures_of_a_run_what_we_measure(tmp_path):
    users, items, k = 25, 40, 10
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(items) / 3, (users, 1)), axis=1)
    relevant = [rng.choice(items, rng.integers(1, 12), replace=False) for _ in range(users)]
    best = np.argsort(-scores, axis=1)[:, :k]
    answer = {
        "user_id": np.repeat([f"u{u:02}" for u in range(users)], k),
        "item_id": best.ravel(),
        "score": np.where(np.arange(users) % 2, 0.5, 1.0)[:, None] * np.take_along_axis(scores, best, 1),
        "rank": np.tile(np.arange(1, k + 1), users),
    }
    answer["score"][3] = 0.25  # of one user all scores are equal: the rank alone tells
    answer["score"] = answer["score"].ravel()
    to_trec(answer, path := tmp_path / "run.trec")
    qrels = {f"u{u:02}": {str(item): 1 for item in relevant[u]} for u in range(users)}
    names = [f"ndcg@{k}", f"recall@{k}", f"hit_rate@{k}", f"mrr@{k}"]
    given = json.dumps([qrels, to_ranx(answer), str(path), names])
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=given, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    places = rank_targets(scores, relevant)
    ours = (places.ndcg(k), places.recall(k), places.hit_rate(k), np.where(places.hit_rate(k), places.mrr(), 0))
    for line in done.stdout.splitlines():
        for name, values in zip(names, ours, strict=True):
            np.testing.assert_allclose(json.loads(line)[name], values, atol=1e-12, err_msg=name)
    assert len(done.stdout.splitlines()) == 2
