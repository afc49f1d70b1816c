"""`llmrec fit` measures what it trained on users who were held out, and leaves a report beside the recommender."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from llmrec import Recommender
from llmrec.cli import main
from llmrec.cli.fitting import measured
from llmrec.errors import DataError
from llmrec.evaluation import held_out
from llmrec.metrics.report import read_rows

USERS = 120
LITTLE = "train: {max_steps: 2, batch_size: 8, max_slots: 8, known: [1, 4]}\nouter: {episodes: 1}\nranking_tasks: 20\n"


def purchases(path: Path) -> None:
    """Each of 120 customers buys two of ten items of their own in each of six weeks."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "basket_id", "timestamp", "title"])
        for user in range(USERS):
            for week in range(6):
                for item in rng.choice(10, 2, replace=False) * 3 + user % 3:
                    when = f"2024-01-{1 + week * 4:02} 10:{user % 60:02}"
                    rows.writerow([f"customer-{user:03}", f"i{item:02}", f"{user}-{week}", when, f"mug {item}"])


@pytest.mark.slow
def test_a_fit_is_measured_on_users_who_were_held_out(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    events, shop, little = tmp_path / "orders.csv", tmp_path / "shop", tmp_path / "little.yaml"
    purchases(events)
    little.write_text(LITTLE, encoding="utf-8")
    words = ["fit", events, "--out", shop, "--settings", little]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    report = json.loads((shop / "report.json").read_text(encoding="utf-8"))
    assert report["data"]["users"] == USERS and report["data"]["held_out_users"] == 20
    assert {row.method for row in read_rows(shop / "report.json")} >= {
        "llmrec",
        "popularity",
        "most_frequent",
        "item_knn",
        "ease",
    }
    assert report["verdict"] and done.stdout.strip().endswith("\n".join(report["verdict"]))
    assert "customer-" not in (shop / "report.json").read_text() + (shop / "README.md").read_text(encoding="utf-8")
    assert (shop / "report.png").exists() and report["files"] == ["orders.csv"]
    known = Recommender.from_pretrained(shop).state.histories
    assert sorted(known.users.values) == [f"customer-{user:03}" for user in range(USERS)]

    def stopped(recommender, seed):
        raise RuntimeError("stopped while it is measured")

    monkeypatch.setattr(held_out, "evaluate_held_out", stopped)
    again = CliRunner().invoke(main, [str(word) for word in words])
    assert str(again.exception) == "stopped while it is measured"
    Recommender.from_pretrained(shop)  # the new one, with no report of the older one beside it
    assert not [name for name in ("report.json", "report.png", "README.md") if (shop / name).exists()]


def test_users_of_whom_nothing_can_be_measured_cost_a_line_and_not_the_training(monkeypatch, shop, capsys):
    def refused(recommender, seed):
        raise DataError("too short")

    monkeypatch.setattr(held_out, "evaluate_held_out", refused)
    recommender = Recommender()
    assert measured(recommender, verbose=False) is None
    recommender.held_out = shop([[[0]] * 6] * 8, 3)
    assert measured(recommender, verbose=False) is None
    assert capsys.readouterr().err == "Warning: not evaluated: too short\n"
    assert measured(recommender, verbose=True) is None
    assert capsys.readouterr().err.count("not evaluated: too short") == 1
