"""Every error and warning of the library has its place on the page of errors, with code that raises it."""

from __future__ import annotations

import re
from pathlib import Path

import llmrec.errors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"
WITHOUT_CODE = {"ForkError", "FewWindowsWarning"}  # one needs a fork, of one only a study warns


def sections(text: str) -> dict[str, str]:
    """Text below each heading that is the name of a class."""
    parts = re.split(r"^### (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_class_has_a_section_that_shows_its_message_and_the_remedy():
    names = {name for name, kind in vars(llmrec.errors).items() if isinstance(kind, type) and name != "LlmrecError"}
    found = sections(PAGE.read_text(encoding="utf-8"))
    assert set(found) == names
    for name, text in found.items():
        assert f".. autoexception:: llmrec.errors.{name}" in text, name
        assert "**Remedy**: " in text, name
        shown = re.findall(r"^```text\n(\w+): ", text, re.MULTILINE)
        assert shown == ([] if name in WITHOUT_CODE else [name])


def test_sections_are_found_by_their_headings():
    assert sections("# x\n### A\na\n## z\n### B\nb\n") == {"A": "\na\n## z\n", "B": "\nb\n"}
