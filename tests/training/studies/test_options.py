"""`--model` of the studies: what is there passes as it was typed, and what is not is refused before anything is read."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from llmrec.language.weights import PACKAGED
from studies.options import model_option


@click.command()
@model_option
def command(model: str) -> None:
    click.echo(f"model: {model}")


def test_a_packaged_name_a_folder_and_a_file_pass_as_they_were_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "some.gguf").touch()
    for typed in (*(one.name for one in PACKAGED), "mine/", str(tmp_path / "mine"), "some.gguf"):
        assert CliRunner().invoke(command, ["--model", typed]).output == f"model: {typed}\n"


@pytest.mark.parametrize("typed", ["lost", "lost/", "lost.gguf"])
def test_what_is_not_there_is_refused_with_what_is_expected(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, ["--model", typed])
    said = " ".join(done.output.split())
    expected = "expected smollm2, gemma3-270m, a folder or a file *.gguf that is there"
    assert done.exit_code == 2 and f"{expected}, got '{typed}'" in said
