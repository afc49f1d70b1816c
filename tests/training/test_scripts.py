"""Every script in training/: a command that says what it does and reads its options before it does anything."""

from __future__ import annotations

import runpy
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

TRAINING = Path(__file__).resolve().parents[2] / "training"
SCRIPTS = sorted([*TRAINING.glob("*.py"), *TRAINING.glob("speed/*.py")])
QUICK = {"ablation_study": "run_study"}  # scripts with --quick, and the function of theirs that is told so


@pytest.fixture(scope="module", params=SCRIPTS, ids=lambda path: path.stem)
def script(request) -> tuple[str, click.Command]:
    return request.param.stem, runpy.run_path(str(request.param))["main"]


def test_help_is_given(script, tmp_path, monkeypatch):
    main = script[1]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["--help"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")
    assert main.help and main.help.split()[0] in done.output
    for option in (name for parameter in main.params for name in parameter.opts if name.startswith("--")):
        assert option in done.output
    assert not list(tmp_path.iterdir())


def test_an_unknown_option_is_refused(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(script[1], ["--no-such-option"], catch_exceptions=False)
    assert done.exit_code == 2
    assert "No such option" in done.output
    assert not list(tmp_path.iterdir())


def test_quick_reaches_what_the_script_runs(script, tmp_path):
    name, main = script
    assert any("--quick" in parameter.opts for parameter in main.params) == (name in QUICK)
    if name in QUICK:
        told: list[bool] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(main.callback.__globals__, QUICK[name], lambda **given: told.append(given["quick"]) or 0)
            for options in ([], ["--quick"]):
                assert CliRunner().invoke(main, ["--out", str(tmp_path), *options], catch_exceptions=False).exit_code == 0
        assert told == [False, True]
