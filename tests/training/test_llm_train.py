"""training/llm_train.py: an adapter of a language model, trained on choices, in PEFT's folders."""

from __future__ import annotations

import csv
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from language_models import write_tiny

from llmrec import Weights, build
from llmrec.adapters.peft_format import load_adapter
from llmrec.adapters.peft_prompt import load_soft_prompt
from llmrec.data.splits import leave_last_out
from llmrec.data.tasks import Tasks
from llmrec.index.candidates import Candidates
from llmrec.index.drawn import drawn_candidates
from llmrec.language import weights
from llmrec.language.model import load_language_model
from llmrec.language.weights import SMOLLM2
from llmrec.metrics.report import read_rows
from llmrec.prompts import load_template
from llmrec.ranking.saved_llm_ranker import load_llm_ranker
from llmrec.store import load_json

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "llm_train.py"


@pytest.fixture(scope="module")
def given(tiny_folders, tmp_path_factory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("given"), np.random.default_rng(0)
    rows = [(f"u{u:02}", f"i{i}", 86_400 * day) for u in range(12) for day, i in enumerate(rng.permutation(15)[:5])]
    tables = {
        "events": [("user_id", "item_id", "timestamp"), *rows],
        "items": [("item_id", "title"), *((f"i{i}", f"{('red', 'blue')[i % 2]} mug") for i in range(15))],
    }
    for name, lines in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows(lines)
    (folder / "model").mkdir()
    write_tiny("llama", tiny_folders["llama"], folder / "model")
    options = ["--model", folder / "model", "--events", folder / "events.csv", "--items", folder / "items.csv"]
    return [str(one) for one in options]


def call(*options: object) -> tuple[int, str]:
    main = runpy.run_path(str(SCRIPT))["main"]
    done = CliRunner().invoke(main, ["--cpu", *map(str, options)], catch_exceptions=False)
    return done.exit_code, done.output


def asked(given: list[str]) -> tuple[Tasks, Candidates]:
    """The last item but one of every user beside three others, as the script asks."""
    dataset, _ = build(Path(given[3]), Path(given[5]))
    cut = leave_last_out(dataset)
    popularity = np.bincount(cut.train.item, minlength=dataset.n_items)
    return cut.validation, drawn_candidates(cut.validation, popularity, 3, np.random.default_rng(0))


def test_an_adapter_is_left_in_pefts_folders_with_a_report(given, tmp_path):
    options = [
        *given,
        "--r",
        2,
        "--n_blocks",
        2,
        "--n_tokens",
        3,
        "--negatives",
        3,
        "--batch_size",
        4,
        "--output_dir",
        tmp_path,
    ]
    code, said = call(*options, "--max_steps", 3, "--learning_rate", 0.05)
    assert code == 0, said
    model = load_language_model(given[1])
    assert load_adapter(tmp_path / "ranker" / "lora", model).rank == 2
    assert load_soft_prompt(tmp_path / "ranker" / "soft_prompt", model).tokens.shape == (1, 3, 32)
    ranker = load_llm_ranker(tmp_path / "ranker", model)
    assert ranker.template.text == load_template("next").text and ranker.max_history == 6
    assert [row.setting for row in read_rows(tmp_path / "report.json")] == ["first 10 steps", "last 10 steps"]
    told = load_json(tmp_path / "report.json")
    assert told["plan"]["negatives"] == 3
    assert f"{told['tokens']:,} tokens, {told['tokens_per_second']:,.0f} a second" in said
    prompt = ranker.choices(*asked(given)).tokens  # their lengths differ little
    assert 3 * 4 * prompt.min() <= told["tokens"] <= 3 * 4 * prompt.max()
    kept = (tmp_path / "ranker" / "lora" / "adapter_model.safetensors").read_bytes()
    code, said = call(*options, "--max_steps", 3, "--learning_rate", 0.05)
    assert code == 0 and "all steps were found done" in said
    again = load_json(tmp_path / "report.json")
    assert again["tokens"] == 0 and again["tokens_per_second"] is None
    assert (tmp_path / "ranker" / "lora" / "adapter_model.safetensors").read_bytes() == kept
    code, said = call(*options, "--max_steps", 4, "--learning_rate", 0.05)
    assert code == 2 and "Error: " in said  # another run


def test_nothing_to_adapt_is_said(given, tmp_path):
    code, said = call(*given, "--r", 0, "--negatives", 3, "--output_dir", tmp_path)
    assert code == 2 and "Error: AdapterPlan: expected LoRA (r and n_blocks), a soft prompt (n_tokens) or a head" in said


def test_a_packaged_model_is_taken_by_its_name(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*given[2:], "--negatives", 3, "--max_steps", 1, "--batch_size", 4, "--output_dir", tmp_path / "out"]
    monkeypatch.setattr(weights, "PACKAGED", (replace(SMOLLM2, parts=(("no_such_module", "file"),)),))
    code, said = call("--model", "smollm2", *options)
    assert code == 2 and "'smollm2' is no folder here" in said and SMOLLM2.install in said
    monkeypatch.setattr(weights, "packaged_weights", lambda one: Weights.folder(given[1]))
    code, said = call("--model", "smollm2", *options)
    assert code == 0 and (tmp_path / "out" / "ranker").is_dir(), said
