"""A prompt template: a front matter and a body, which is rendered strictly; values are never read as templates.

>>> mug = Template('''---
... name: item
... version: 1
... language: en
... task: item
... variables: [title, category]
... optional: [category]
... ---
... {{ title }}
... {% if category %}
... Category: {{ category }}
... {% endif %}
... ''')
>>> mug.render({"title": "Blue  {{ mug }}", "category": None})
'Blue {{ mug }}'
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llmrec.errors import TemplateError
from llmrec.prompts.header import Header, read_header
from llmrec.prompts.sandbox import compiled
from llmrec.prompts.values import as_value

_MARK = "\ufdd0"  # stands for a variable that the text is split at; no value holds it, see `one_line`


@dataclass(frozen=True)
class Template:
    """A template that was read and checked.

    text: the whole file, front matter included. source: what error messages call it, usually its file.
    Raises TemplateError, with file and line, for a mistake in the front matter or the body.
    """

    text: str
    source: str = "template"

    def __post_init__(self) -> None:
        _ = self._rendered

    @property
    def header(self) -> Header:
        """The front matter."""
        return self._read[0]

    @property
    def name(self) -> str:
        """Of the front matter."""
        return self.header.name

    @property
    def version(self) -> int:
        """Of the front matter."""
        return self.header.version

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8, as 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    def render(self, values: Mapping[str, object]) -> str:
        """The text with the variables filled in, without line feeds at its end.

        values: text, a number, None, or a list of texts for each variable; others are ignored. Each text is brought onto one
            line and cut to `header.longest` characters. In the body `for` goes through a list, which else is joined by commas.
        Raises TemplateError for a required variable that is missing or empty, and for a value that is not text or a number.
        """
        self._check_present(values)
        return self._filled(values, "")

    def render_columns(self, columns: Mapping[str, Sequence[object]]) -> list[str]:
        """One text per row of some equally long columns, e.g. `{"title": [...], "category": [...]}`; errors name the row."""
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise TemplateError(f"{self.source}: expected columns of one length, got {lengths}")
        self._check_present(columns)  # once, and also when there are no rows
        used = {name: columns[name] for name in self.header.variables if name in columns}
        rows = range(next(iter(lengths.values()), 0))
        return [self._filled({name: column[row] for name, column in used.items()}, f" in row {row}") for row in rows]

    def around(self, name: str, values: Mapping[str, object]) -> tuple[str, str]:
        """The rendered text before and after one variable, which must stand in it exactly once: what all candidates share, and
        what follows each of them. values: of the other variables. Raises TemplateError as `render`."""
        parts = self._filled(values, "", name).split(_MARK)
        if len(parts) != 2:
            raise TemplateError(f"{self.source}: expected {name!r} once in the text, got it {len(parts) - 1} times")
        return parts[0], parts[1]

    def messages(self, values: Mapping[str, object]) -> list[dict[str, str]]:
        """The rendered text as the one message of a user, as chat templates take it."""
        return [{"role": "user", "content": self.render(values)}]

    @cached_property
    def _read(self) -> tuple[Header, str, int]:
        return read_header(self.text, self.source)

    @cached_property
    def _rendered(self) -> Callable[[Mapping[str, Any]], str]:
        header, body, before = self._read
        return compiled(body, header, self.source, before)

    def _check_present(self, available: Mapping[str, object]) -> None:
        missing = [name for name in self.header.required if name not in available]
        if missing:
            raise TemplateError(
                f"{self.source}: no value for {_list(missing)}; available: {_list(sorted(available))}. "
                f"Add what is missing, or write it under `optional` in the front matter: optional: [{', '.join(missing)}]"
            )

    def _filled(self, values: Mapping[str, object], where: str, marked: str | None = None) -> str:
        header = self.header
        found: dict[str, str | tuple[str, ...]] = {}
        for name in header.variables:
            if name == marked:
                found[name] = _MARK
                continue
            value = as_value(values.get(name), header.longest)
            if value is None:
                raise TemplateError(
                    f"{self.source}: {name!r}{where} is {type(values[name]).__name__}: expected text, a number or a list "
                    "of texts"
                )
            if not value and name not in header.optional:
                raise TemplateError(
                    f"{self.source}: {name!r} is empty{where}; fill it in, or write it under `optional` in the front matter"
                )
            found[name] = value
        return self._rendered(found).rstrip("\n")


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def history_words(template: Template) -> str:
    """The words that stand before the item slots, from a template that ends in its only variable, `history`.

    Raises TemplateError for anything else: the last hidden state must be that of the last slot, so no word may follow.
    """
    if template.header.required == template.header.variables == ("history",):
        before, *after = template._filled({}, "", "history").split(_MARK)
        if len(after) == 1 and not after[0].strip():
            return before.strip()
    raise TemplateError(
        f"{template.source}: expected some words and {{{{ history }}}} as the only variable, once, at the very end (the user "
        "vector is the state at the last slot, so no word may follow it)"
    )
