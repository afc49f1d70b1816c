"""Strict prompt templates: a variable that is not there is an error that says so, never an empty hole in the text.

Syntax of a template file:

    {title}        a required variable: missing or empty raises TemplateError
    {category?}    an optional variable: missing or empty leaves out the whole line that it stands in
    {{ and }}      literal braces

Values are put in as they are, on one line (runs of whitespace become one space), and are never read as templates themselves. A
list of strings is joined by commas. Lines that are blank in the file are dropped.

>>> Template("{title}\\nCategory: {category?}").render({"title": "Blue  mug", "category": None})
'Blue mug'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from numbers import Number
from pathlib import Path

from llmrec.errors import TemplateError

_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)(\?)?\}|[{}]")


class Template:
    """A parsed template. `source` is what error messages call it, usually its file."""

    def __init__(self, text: str, source: str = "template"):
        self.text = text
        self.source = source

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the variables in order of appearance, each once."""
        return tuple(dict.fromkeys(name for _, names in self._lines for name, _ in names))

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the variables that must have a value, in order of appearance, each once."""
        return tuple(dict.fromkeys(name for _, names in self._lines for name, optional in names if not optional))

    def render(self, values: Mapping[str, object]) -> str:
        """The text with the variables filled in; lines joined by a line feed, without one at the end.

        Raises TemplateError for a required variable that is missing or empty, and for a value that is not text or a number.
        """
        self._check_present(values)
        return self._render(values, "")

    def render_columns(self, columns: Mapping[str, Sequence[object]]) -> list[str]:
        """One text per row of some equally long columns, e.g. `{"title": [...], "category": [...]}`; errors name the row."""
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise TemplateError(f"{self.source}: expected columns of one length, got {lengths}")
        self._check_present(columns)  # once, and also when there are no rows
        used = {name: columns[name] for name in self.fields if name in columns}
        rows = range(next(iter(lengths.values()), 0))
        return [self._render({name: column[row] for name, column in used.items()}, f" in row {row}") for row in rows]

    @cached_property
    def _lines(self) -> list[tuple[list[str], list[tuple[str, bool]]]]:
        """Per line n + 1 literal pieces around n variables (name, optional)."""
        return [self._parse(number, line) for number, line in enumerate(self.text.splitlines(), start=1) if line.strip()]

    def _parse(self, number: int, line: str) -> tuple[list[str], list[tuple[str, bool]]]:
        pieces, names, end = [""], [], 0
        for token in _TOKEN.finditer(line):
            pieces[-1] += line[end : token.start()]
            end = token.end()
            if token[1]:
                names.append((token[1], token[2] is not None))
                pieces.append("")
            elif len(token[0]) == 2:
                pieces[-1] += token[0][0]
            else:
                raise TemplateError(
                    f"{self.source}, line {number}, column {token.start() + 1}: expected a variable such as {{title}} or "
                    f"{{title?}}, got a lone {token[0]!r} in {line.strip()!r}; write {token[0] * 2!r} for the character itself"
                )
        pieces[-1] += line[end:]
        return pieces, names

    def _check_present(self, available: Mapping[str, object]) -> None:
        missing = [name for name in self.required if name not in available]
        if missing:
            raise TemplateError(
                f"{self.source}: no value for {_list(missing)}; available: {_list(sorted(available))}. "
                "Add the column, or mark the variable as optional: " + ", ".join(f"{{{name}?}}" for name in missing)
            )

    def _render(self, values: Mapping[str, object], where: str) -> str:
        lines = []
        for pieces, names in self._lines:
            words = [self._word(name, values.get(name), where) for name, _ in names]
            for word, (name, optional) in zip(words, names, strict=True):
                if not word and not optional:
                    raise TemplateError(
                        f"{self.source}: {name!r} is empty{where}; fill it in, or mark it as optional: {{{name}?}}"
                    )
            if all(words):
                lines.append("".join(text for pair in zip(pieces, [*words, ""], strict=True) for text in pair).strip())
        return "\n".join(lines)

    def _word(self, name: str, value: object, where: str) -> str:
        if isinstance(value, str):
            return " ".join(value.split())
        if value is None:
            return ""
        if isinstance(value, Number):
            return "" if value != value else str(value)  # NaN is how a frame says "no value"
        if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            return ", ".join(filter(None, (" ".join(part.split()) for part in value)))
        raise TemplateError(
            f"{self.source}: {name!r}{where} is {type(value).__name__}: expected text, a number or a list of texts"
        )


def load_template(name: str | Path) -> Template:
    """A packaged template by its bare name (`"item"`, `"history"`), or any UTF-8 file by its path.

    A string is a path when it has a folder or a file ending in it. Raises TemplateError when there is no such template.
    """
    if isinstance(name, Path) or Path(name).name != name or Path(name).suffix:
        try:
            return Template(Path(name).expanduser().read_text(encoding="utf-8"), str(name))
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(
                f"cannot read the template file {str(name)!r}: {error}; packaged templates: {_list(packaged_templates())}"
            ) from error
    if name not in packaged_templates():
        raise TemplateError(
            f"no packaged template {name!r}; there are {_list(packaged_templates())}. For a file of your own give its path"
        )
    file = _folder().joinpath(f"{name}.txt")
    return Template(file.read_text(encoding="utf-8"), f"prompts/{name}.txt")


def packaged_templates() -> tuple[str, ...]:
    """Names of the templates that come with the library, sorted."""
    return tuple(sorted(file.name.removesuffix(".txt") for file in _folder().iterdir() if file.name.endswith(".txt")))


def history_words(template: Template) -> str:
    """The words that stand before the item slots, from a template that ends in its only variable, `{history}`.

    Raises TemplateError for anything else: the last hidden state must be that of the last slot, so no word may follow.
    """
    lines = template._lines
    slots = [(name, optional) for _, names in lines for name, optional in names]
    if slots != [("history", False)] or lines[-1][0][-1].strip() or not lines[-1][1]:
        raise TemplateError(
            f"{template.source}: expected some words and exactly one {{history}}, at the very end (the user vector is the "
            f"state at the last slot, so no word may follow it); got {template.text.strip()!r}"
        )
    return "\n".join(pieces[0].strip() for pieces, _ in lines).strip()


def _folder() -> Traversable:
    try:
        return resources.files("llmrec.prompt_files")
    except ModuleNotFoundError as error:
        if error.name != "llmrec.prompt_files":
            raise
        return Path(__file__).parents[2] / "prompts"  # a checkout on the path that nobody installed


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
