"""What stands beside a recommender after a fit: its numbers agree, nobody is named, and it loads as before."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest
import yaml

from llmrec import Recommender
from llmrec.data.report import CleaningReport, Step
from llmrec.errors import MissingExtraError
from llmrec.evaluation import report as module
from llmrec.evaluation.card import MARK, model_card
from llmrec.evaluation.controls import LARGEST
from llmrec.evaluation.report import fit_facts, panels, remove_report, save_report
from llmrec.metrics.report import read_rows

CLEANED = CleaningReport((Step("missing values", "events", 2_000, 7, 0, "person-0007 and others"),), ("person-0001",))


@pytest.fixture(scope="module")
def told(fitted, evaluation):
    return fit_facts(fitted, evaluation, CLEANED, ["/home/somebody/orders.csv"], 90.0)


@pytest.fixture
def shop(fitted, tmp_path):
    """A saved recommender."""
    fitted.save_pretrained(tmp_path / "shop", histories=True)
    return tmp_path / "shop"


@pytest.fixture
def no_figure(monkeypatch):
    """As where matplotlib is not installed, which takes long to load."""

    def plot(*given):
        raise MissingExtraError("the plot needs matplotlib: pip install 'llmrec[demo]'")

    monkeypatch.setattr(module, "plot", plot)


def test_the_numbers_of_the_card_are_those_of_the_report(shop, told, evaluation, no_figure):
    save_report(shop, told, evaluation)
    rows, card = read_rows(shop / "report.json"), (shop / "README.md").read_text(encoding="utf-8")
    assert rows == list(evaluation.rows)
    for row in rows:
        if row.metric == "ndcg@10":
            form = "{:+.4f}" if row.versus else "{:.4f}"
            value, ends = form.format(row.value), " [" + ", ".join(form.format(end) for end in (row.low, row.high)) + "]"
            assert value + ends in card.replace("**", "")
    report = json.loads((shop / "report.json").read_text(encoding="utf-8"))
    for number, said in ((1, "items of the next basket are relevant"), (2, "items of the next 2 baskets are relevant")):
        assert said in model_card({**report, "evaluation": {**report["evaluation"], "horizon": number}}, "s", False)
    removed = {**report, "evaluation": {**report["evaluation"], "items_ranked": 2}}  # EASE is of all items still
    assert "most purchased items" not in card + model_card(removed, "s", False)
    large = {**report, "evaluation": {**report["evaluation"], "ease_items": LARGEST}}
    assert "EASE is of the 8,000 most purchased items" in model_card(large, "s", False)
    moved = model_card(
        {**report, "results": [{**one, "value": 0.9876, "low": 0.9, "high": 0.99} for one in report["results"]]}, "s", False
    )
    assert "0.9876 [0.9000, 0.9900]" in moved.replace("**", "")


def test_nobody_is_named_and_no_path_of_a_machine(shop, told, evaluation, no_figure):
    save_report(shop, told, evaluation)
    for name in ("README.md", "report.json"):
        text = (shop / name).read_text(encoding="utf-8")
        assert "person-" not in text and "/home" not in text and str(shop.parent) not in text
        assert "orders.csv" in text
    report = json.loads((shop / "report.json").read_text(encoding="utf-8"))
    assert report["cleaning"] == [
        {"name": "missing values", "table": "events", "rows_in": 2000, "rows_dropped": 7, "rows_changed": 0}
    ]
    assert report["data"]["users"] == 130 and report["data"]["trained_users"] == 90 and report["data"]["held_out_users"] == 40
    assert report["data"]["events"] == 130 * 14 and report["data"]["items"] == 24
    assert (report["data"]["first_event"], report["data"]["last_event"]) == ("2020-09-13", "2020-09-19")
    assert report["settings"]["train"]["max_steps"] == 3 and report["seed"] == 0


def test_the_card_begins_with_the_metadata_of_the_hub(shop, told, evaluation, no_figure):
    save_report(shop, told, evaluation)
    front, text = re.fullmatch(r"---\n(.*?)\n---\n(.*)", (shop / "README.md").read_text(encoding="utf-8"), re.S).groups()
    head = yaml.safe_load(front)
    assert head["library_name"] == "llmrec" and "license" not in head and "recommendation" in head["tags"]
    assert head["metrics"] == ["ndcg@10", "recall@10", "auc"]
    (result,) = head["model-index"][0]["results"]
    assert head["model-index"][0]["name"] == "shop" and result["dataset"]["name"] == "orders.csv"
    ours = [row for row in evaluation.rows if row.method == "llmrec" and not row.versus and row.metric == "ndcg@10"]
    assert [one["value"] for one in result["metrics"]] == [round(row.value, 4) for row in ours]
    heads = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["Data", "Training", "Evaluation", "Limits", "How to use", "Versions"]
    assert "trained on 90 users" in text.lower() and "held out of training" in text


def test_a_folder_with_a_report_loads_and_keeps_it_when_saved_again(shop, told, evaluation, no_figure):
    save_report(shop, told, evaluation)
    before = {name: (shop / name).read_bytes() for name in ("README.md", "report.json")}
    Recommender.from_pretrained(shop).save_pretrained(shop, histories=True)
    assert {name: (shop / name).read_bytes() for name in before} == before


def test_a_readme_of_ones_own_stays(shop, told, evaluation, no_figure):
    (shop / "README.md").write_text("ours", encoding="utf-8")
    notes = save_report(shop, told, evaluation)
    assert (shop / "README.md").read_text(encoding="utf-8") == "ours"
    assert (shop / "MODEL_CARD.md").read_text(encoding="utf-8").count(MARK) == 1
    assert any("the model card is MODEL_CARD.md" in note for note in notes)
    Recommender.from_pretrained(shop)
    remove_report(shop)
    assert (shop / "README.md").exists() and not [name for name in ("MODEL_CARD.md", "report.json") if (shop / name).exists()]
    save_report(shop, told, evaluation)
    (shop / "README.md").write_text(f"{MARK}\nold", encoding="utf-8")
    save_report(shop, told, evaluation)
    assert "old" not in (shop / "README.md").read_text(encoding="utf-8").splitlines()
    assert not (shop / "MODEL_CARD.md").exists()


def test_a_report_that_fails_leaves_the_older_one_and_a_folder_that_loads(shop, told, evaluation, no_figure, monkeypatch):
    save_report(shop, told, evaluation)
    before = {file.name: file.read_bytes() for file in shop.iterdir() if file.is_file()}

    def half(panels, path):
        path.write_bytes(b"half of a figure")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "plot", half)
    with pytest.raises(KeyboardInterrupt):
        save_report(shop, {**told, "seconds": 1.0}, evaluation)
    assert {file.name: file.read_bytes() for file in shop.iterdir() if file.is_file()} == before
    assert [entry.name for entry in shop.parent.iterdir()] == ["shop"]


def test_the_folder_is_found_as_save_pretrained_finds_it(shop, told, evaluation, no_figure, monkeypatch):
    monkeypatch.setenv("HOME", str(shop.parent))
    save_report("~/shop", told, evaluation)
    assert (shop / "report.json").exists() and (shop / "README.md").exists()


def test_without_an_evaluation_nothing_old_stays(shop, fitted, told, evaluation, no_figure):
    save_report(shop, told, evaluation)
    (shop / "report.png").write_bytes(b"an older figure")
    save_report(shop, fit_facts(fitted, None), None)
    assert not (shop / "report.png").exists() and read_rows(shop / "report.json") == []
    card = (shop / "README.md").read_text(encoding="utf-8")
    assert "It was not evaluated." in card and "NDCG@10:" not in card and "metrics" not in card


def test_files_are_named_without_their_folders_and_data_sets_of_the_hub_by_their_address(fitted):
    address = "hf://datasets/me/shop@v2?split=train"
    assert fit_facts(fitted, None, CLEANED, ["/home/somebody/orders.csv", address])["files"] == ["orders.csv", address]


def test_without_matplotlib_there_is_a_note_and_no_figure(shop, told, evaluation, no_figure):
    assert save_report(shop, told, evaluation) == [
        "report.png is left out: the plot needs matplotlib: pip install 'llmrec[demo]'"
    ]
    assert "report.png" not in (shop / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow  # matplotlib
def test_the_figure_is_in_the_card(shop, told, evaluation):
    assert save_report(shop, told, evaluation) == []
    assert (shop / "report.png").read_bytes()[:4] == b"\x89PNG"
    assert "![NDCG@10 by known baskets](report.png)" in (shop / "README.md").read_text(encoding="utf-8")
    Recommender.from_pretrained(shop)


def test_the_figure_has_a_curve_of_every_method_by_what_is_known(evaluation):
    titles = [panel.title for panel in panels(evaluation)]
    assert titles == ["All items", "Items new to the user"]
    names = {curve.name for panel in panels(evaluation) for curve in panel.curves}
    assert names == {"llmrec", "popularity", "most frequent", "item kNN", "EASE"}
    assert all(curve.x == (1, 3) for panel in panels(evaluation) for curve in panel.curves)


def test_settings_in_the_folder_train_again(shop, fitted):
    from llmrec import Settings

    assert asdict(Settings.from_yaml(shop / "settings.json")) == asdict(fitted.state.settings)
