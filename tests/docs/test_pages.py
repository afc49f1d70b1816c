"""The code of every page runs, block after block as a reader would type it, and prints what the page shows.

A block of `text` directly behind a block of code is what that code prints, or the error that it raises; "…" is anything.
What a real model answers is shown in blocks of `none`, which nobody checks: here the model is tiny.
"""

from __future__ import annotations

import io
import re
import shlex
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llmrec.cli import main
from llmrec.errors import LlmrecError

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```\n(?:\n*```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
NOT_RUN = ("doctor", "demo", "weights")  # tested elsewhere, and slow


@dataclass(frozen=True)
class Block:
    """A block of code: its language, and what is shown behind it; None for nothing."""

    language: str
    code: str
    shown: str | None


def blocks(text: str) -> list[Block]:
    return [Block(*found.groups()) for found in BLOCK.finditer(text)]


def with_code(page: str) -> bool:
    return bool(blocks((DOCS / page).read_text(encoding="utf-8")))


def run(block: Block, names: dict[str, Any]) -> str:
    return python(block.code, names) if block.language == "python" else "".join(commands(block.code))


def python(code: str, names: dict[str, Any]) -> str:
    """What the code prints, or the error or warning of the library that it ends with."""
    out = io.StringIO()
    with redirect_stdout(out), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(compile(code, "block", "exec"), names)
        except LlmrecError as error:
            print(f"{type(error).__name__}: {error}")
    return out.getvalue() + "".join(f"{one.category.__name__}: {one.message}\n" for one in caught)


def commands(script: str) -> Iterator[str]:
    """What the lines that begin with `llmrec` print; `fit` with tiny settings."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["llmrec"] or words[1] in NOT_RUN:
            continue
        tiny = ["--settings", "tiny.yaml"] if words[1] == "fit" else []
        result = CliRunner().invoke(main, [*words[1:], *tiny])
        assert result.exit_code == 0, (line, result.output, result.exception)
        yield result.stdout


def same(shown: str, told: str) -> bool:
    """Whether the text is what was told, but for blanks and for what "…" stands for."""
    pattern = ".*?".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
    return re.fullmatch(rf"\s*{pattern}\s*".replace(r"\ ", r"\s+"), " ".join(told.split()), re.DOTALL) is not None


@pytest.mark.parametrize("page", [page for page in PAGES if with_code(page)])
def test_the_code_of_the_page_runs_and_prints_what_is_shown(page, folder):
    names: dict[str, Any] = {}
    for block in blocks((DOCS / page).read_text(encoding="utf-8")):
        told = run(block, names)
        if block.shown is None:
            assert not re.match(r"\w+(Error|Warning): ", told), (block.code, told)
        else:
            assert same(block.shown, told), f"{block.code}\nprints\n{told}"


def test_what_is_shown_is_compared():
    text = "```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n```python\nx = 1\n```\n\nand\n\n```text\n3\n```\n"
    first, second = blocks(text)
    assert (first.shown, second.shown) == ("2\n", None)
    assert same("2\n", run(first, {})) and not same("3\n", run(first, {}))
    assert same("a … z", "a\n  b z\n") and not same("a … z", "b z")
    assert run(Block("python", "from llmrec.errors import DataError\nraise DataError('no')", None), {}) == "DataError: no\n"
    with pytest.raises(ZeroDivisionError):
        run(Block("python", "1 / 0", None), {})
