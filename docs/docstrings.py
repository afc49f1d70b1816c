"""The docstrings of llmrec, which are plain text for a person at a terminal, as the reStructuredText that autodoc reads.

A docstring has paragraphs, fields (`name, name: what it is`, further lines indented), indented code, and `names` in backticks.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import llmrec
import llmrec.errors

ERRORS = "|".join(name for name in vars(llmrec.errors) if name.endswith(("Error", "Warning")) and name != "LlmrecError")
NAMED = re.compile(rf"(?<![\w.]){f'({ERRORS})'}(?!\w)")
LISTED = re.compile(r"- |\d+\. |  ")
TICKS = re.compile(r"(`+[^`]+`+)")
SPECIAL = re.compile(r"([\\*|<]|_(?!\w))")


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What `autodoc-process-docstring` calls: rewrites `lines` in place."""
    lines[:] = converted(lines, fields_of(obj))


def converted(lines: Iterable[str], fields: Iterable[str]) -> list[str]:
    """The lines of a docstring in reStructuredText; fields: names that `name: …` may describe."""
    made: list[str] = []
    for block in _paragraphs(lines):
        if all(line.startswith("    ") for line in block):
            made += [".. code-block:: text", "", *(f"   {line[4:]}" for line in block), ""]
        elif all(line.lstrip().startswith("|") for line in block):
            made += [*_table(block), ""]
        elif block[0].startswith(">>>"):
            made += [".. code-block:: python", "", *(f"   {_without_marks(line)}" for line in block), ""]
        elif all(LISTED.match(line) for line in block):
            made += [*map(marked, block), ""]
        else:
            made += _text(block, set(fields))
    return made


def fields_of(obj: Any) -> list[str]:
    """Names of the parameters of a function, or of the parameters and attributes of a class."""
    try:
        names = list(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        names = []
    return [*names, *getattr(obj, "__annotations__", {}), *(vars(obj) if inspect.isclass(obj) else ()), "report", "held_out"]


def _paragraphs(lines: Iterable[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def _text(block: list[str], fields: set[str]) -> list[str]:
    """A paragraph, and the fields that stand in it, each as a definition."""
    text, made = [], []
    some = "|".join(sorted(map(re.escape, fields), key=len, reverse=True)) or "(?!)"
    start = re.compile(rf"(?:^|(?<=[.;)] ))((?:{some})(?:, (?:{some}))*):(?: |$)")
    entries: list[tuple[str, list[str]]] = []
    plain = True
    for line in block:
        indented, found = line.startswith("  "), list(start.finditer(line.strip()))
        line = line.strip()
        if not indented and not (found and found[0].start() == 0) and entries and " ".join(entries[-1][1]).endswith("."):
            plain = True  # a sentence of its own behind the fields
            made += _entries(entries)
            entries = []
        if not found and (plain or not entries):
            text.append(line)
            continue
        if text and found and found[0].start() == 0:
            made += [*map(marked, text), ""]
            text = []
        at = 0
        for one in found:
            before = line[at : one.start()].strip()
            if before and entries:
                entries[-1][1].append(before)
            elif before:
                text.append(before)
            if text:
                made += [*map(marked, text), ""]
                text = []
            entries.append((one[1], []))
            plain, at = False, one.end()
        if line[at:].strip():
            entries[-1][1].append(line[at:].strip())
    made += _entries(entries)
    return made + ([*map(marked, text), ""] if text else [])


def _entries(entries: list[tuple[str, list[str]]]) -> list[str]:
    made = []
    for names, said in entries:
        made += [", ".join(f"``{name}``" for name in names.split(", ")), *(f"    {marked(line)}" for line in said or ["…"]), ""]
    return made


def marked(line: str) -> str:
    """A line with code in double backticks, links to errors and public classes, and no other mark of reStructuredText."""
    parts = TICKS.split(line)
    return "".join(_code(part.strip("`")) if i % 2 else _plain(part) for i, part in enumerate(parts))


def _code(name: str) -> str:
    return f":py:class:`~llmrec.{name}`" if name in llmrec.__all__ and name[0].isupper() else f"``{name}``"


def _plain(text: str) -> str:
    return NAMED.sub(r":py:exc:`~llmrec.errors.\1`", SPECIAL.sub(r"\\\1", text))


def _table(block: list[str]) -> list[str]:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block if not set(line) <= set("|- ")]
    made = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        made += [f"   {'* -' if i == 0 else '  -'} {marked(cell)}" for i, cell in enumerate(row)]
    return made


def _without_marks(line: str) -> str:
    return re.sub(r"^(>>>|\.\.\.) ?", "", line).split("# doctest:")[0].rstrip()
