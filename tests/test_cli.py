"""The command line: arguments arrive as given, mistakes are one readable message, help costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

import llmrec
from llmrec import doctor
from llmrec.cli import main
from llmrec.errors import SchemaError


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    """What the demo would have been called with; it answers with the exit code 7."""
    seen: list[dict] = []
    module = types.ModuleType("llmrec.demo.run")
    module.run_demo = lambda **given: seen.append(given) or 7
    monkeypatch.setitem(sys.modules, "llmrec.demo", types.ModuleType("llmrec.demo"))
    monkeypatch.setitem(sys.modules, "llmrec.demo.run", module)
    return seen


def test_demo_passes_its_options_and_its_exit_code(calls, tmp_path):
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    events.touch(), items.touch()
    assert CliRunner().invoke(main, ["demo"]).exit_code == 7
    options = ["--events", events, "--items", items, "--out", tmp_path / "o", "--seed", 3, "--minutes", 1.5]
    assert CliRunner().invoke(main, ["demo", *map(str, options)]).exit_code == 7
    assert CliRunner().invoke(main, ["demo", "--quick"]).exit_code == 7
    nothing = {"out": Path("runs/demo"), "events": None, "items": None, "quick": False, "seed": 0, "minutes": None}
    own = {"out": tmp_path / "o", "events": events, "items": items, "quick": False, "seed": 3, "minutes": 1.5}
    assert calls == [nothing, own, nothing | {"quick": True}]


def test_a_tilde_is_the_home_folder_where_no_shell_has_read_it(calls, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("events.csv", "items.csv"):
        (tmp_path / name).touch()
    assert CliRunner().invoke(main, ["demo", "--out=~/o", "--events=~/events.csv", "--items=~/items.csv"]).exit_code == 7
    assert [calls[0][name] for name in ("out", "events", "items")] == [
        tmp_path / name for name in ("o", "events.csv", "items.csv")
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--events", __file__], "--events needs --items too"),
        (["--items", __file__], "--items needs --events too"),
        (["--events", "gone.csv", "--items", __file__], "'gone.csv' does not exist"),
        (["--quick", "--minutes", "2"], "give one of them"),
        (["--minutes", "0"], "--minutes"),
        (["--seed", "-1"], "--seed"),
        (["--quik"], "--quick"),
    ],
)
def test_a_wrong_option_is_explained_and_nothing_runs(calls, options, words):
    result = CliRunner().invoke(main, ["demo", *options])
    assert result.exit_code == 2 and words in result.stderr and "Traceback" not in result.output
    assert calls == []


def test_an_error_of_the_library_is_one_line_without_a_traceback(calls, monkeypatch):
    def fail(**given):
        raise SchemaError("events.csv: expected a column 'user_id', got 'user', 'item'; rename it")

    monkeypatch.setattr(sys.modules["llmrec.demo.run"], "run_demo", fail)
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 2
    assert result.stderr == "Error: events.csv: expected a column 'user_id', got 'user', 'item'; rename it\n"
    assert result.stdout == ""


def test_an_error_that_is_a_bug_keeps_its_traceback(calls, monkeypatch):
    monkeypatch.setattr(sys.modules["llmrec.demo.run"], "run_demo", lambda **given: 1 / 0)
    assert isinstance(CliRunner().invoke(main, ["demo"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["faiss is not installed: pip install 'llmrec[cpu]'"], 1)])
def test_doctor_prints_the_report_and_fails_when_there_are_problems(monkeypatch, problems, code):
    facts = doctor.report(seconds=0.0) | {"problems": problems}
    monkeypatch.setattr(doctor, "report", lambda: facts)
    plain, as_json = CliRunner().invoke(main, ["doctor"]), CliRunner().invoke(main, ["doctor", "--json"])
    assert plain.stdout == doctor.text(facts) + "\n" and json.loads(as_json.stdout) == facts
    assert plain.exit_code == as_json.exit_code == code


@pytest.mark.slow
def test_help_teaches_and_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from llmrec.cli import main\n"
        "own = [[name, '-h'] for name in ('check', 'fit', 'recommend')]\n"
        "for arguments in (['--help'], ['demo', '-h'], ['doctor', '--help'], ['--version'], *own):\n"
        "    result = CliRunner().invoke(main, arguments)\n"
        "    assert result.exit_code == 0, result.output\n"
        "    print(result.stdout)\n"
        "heavy = {'torch', 'transformers', 'faiss', 'pandas', 'scipy', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(llmrec.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("llmrec doctor", "llmrec demo --quick", "--events", "user_id, item_id, timestamp", "[default: runs/demo]"):
        assert words in " ".join(done.stdout.split())
    for words in ("llmrec check export.csv", "llmrec fit export.csv --out shop/", "llmrec recommend shop/ --users 17850,13047"):
        assert words in " ".join(done.stdout.split())
