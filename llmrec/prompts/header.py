"""The front matter of a template, and the only function that reads it.

A template file begins with YAML between two lines of three hyphens; the body follows:

    ---
    name: like
    version: 1
    language: en
    task: like
    variables: [history, item]
    optional: [history]
    verbaliser: {like: "Yes", dislike: "No"}
    ---
    {% if history %}
    ...

| key | value |
|---|---|
| `name` | of the template; the file is called `NAME.jinja` |
| `version` | whole number, one more with every change of the words |
| `language` | such as en or zh |
| `task` | one of TASKS |
| `variables` | names that the body uses, all of them |
| `optional` | those of the variables that may be missing or empty |
| `verbaliser` | where the task has one: each answer, and the word that a language model says for it |
| `longest` | characters of one value, longer ones are cut; `none` cuts none. Without this key it is LONGEST |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llmrec.errors import DataError, TemplateError
from llmrec.yaml_file import yaml_parsed

TASKS = (
    "item",  # the text of one item
    "history",  # the words before the items of a history
    "next",  # the next item after a history
    "like",  # a like or a dislike of an item
    "choice",  # a choice among some options
    "scene",  # a description of a shop, a category or a country
    "knowledge",  # the beginning of a sentence about one item, for a language model to continue
    "explanation",  # the reasons for a recommendation
)
LONGEST = 200  # characters of one value, unless the front matter says otherwise
LABELS = "labels"  # what a body calls the words of the verbaliser
RESERVED = (LABELS, "loop", "self")  # names with a meaning of their own in a body
_NEEDED, _MORE = ("name", "version", "language", "task", "variables"), ("optional", "verbaliser", "longest")
_FENCE = re.compile(r"---[ \t]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Header:
    """A front matter as it was read. optional: those of `variables` that may be missing or empty. verbaliser: pairs of an
    answer and its word, in the order of the file; empty where there is none. longest: characters of one value; None where none
    is cut."""

    name: str
    version: int
    language: str
    task: str
    variables: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    verbaliser: tuple[tuple[str, str], ...] = ()
    longest: int | None = LONGEST

    @property
    def required(self) -> tuple[str, ...]:
        """The variables that must have a value."""
        return tuple(name for name in self.variables if name not in self.optional)

    @property
    def labels(self) -> tuple[str, ...]:
        """The words of the verbaliser, in the order of the file."""
        return tuple(word for _, word in self.verbaliser)


def read_header(text: str, source: str) -> tuple[Header, str, int]:
    """The front matter of a template's text, the body, and how many lines stand before the body.

    source: what error messages call it. Raises TemplateError, with file and line, where there is no front matter, where it is
    no YAML, and for keys and values that are not as above.
    """
    lines = text.splitlines(keepends=True)
    if not lines or not _FENCE.fullmatch(lines[0].rstrip("\r\n")):
        raise TemplateError(
            f"{source}, line 1: expected a front matter between two lines '---', got {_short(lines)}; begin the file with "
            f"---, lines for {', '.join(_NEEDED)}, and --- again"
        )
    ends = [number for number, line in enumerate(lines[1:], 1) if _FENCE.fullmatch(line.rstrip("\r\n"))]
    if not ends:
        raise TemplateError(f"{source}, line 1: expected a line '---' that ends the front matter, got none; add one")
    front = "".join(lines[: ends[0]])
    try:
        values = yaml_parsed(front, source, "key", as_text=True)
    except DataError as error:
        raise TemplateError(str(error)) from error
    return _header(values, _Place(source, lines[: ends[0]])), "".join(lines[ends[0] + 1 :]), ends[0] + 1


@dataclass(frozen=True)
class _Place:
    """Where a key stands, for messages."""

    source: str
    lines: list[str]

    def __call__(self, key: object) -> str:
        found = (number for number, line in enumerate(self.lines, 1) if re.match(rf"\s*[\"']?{re.escape(str(key))}\b", line))
        return f"{self.source}, line {next(found, 1)}: {key}"


def _header(values: Any, place: _Place) -> Header:
    known = (*_NEEDED, *_MORE)
    if not isinstance(values, dict):
        raise TemplateError(f"{place.source}, line 1: expected keys such as `name: item` in the front matter, got {values!r}")
    if wrong := [key for key in values if key not in known]:
        raise TemplateError(f"{place(wrong[0])}: expected a key out of {', '.join(known)}; correct or delete it")
    if missing := [key for key in _NEEDED if key not in values]:
        raise TemplateError(
            f"{place.source}, line 1: expected {', '.join(missing)} in the front matter too; add what is missing"
        )
    names, optional = (_names(values.get(key, []), key, place) for key in ("variables", "optional"))
    if wrong := [one for one in optional if one not in names]:
        raise TemplateError(
            f"{place('optional')}: expected names out of variables, got {wrong[0]!r}; add it there, or delete it"
        )
    return Header(
        name=_word(values, "name", place),
        version=_whole(values["version"], "version", place),
        language=_word(values, "language", place),
        task=_task(values["task"], place),
        variables=names,
        optional=frozenset(optional),
        verbaliser=_verbaliser(values.get("verbaliser", {}), place),
        longest=_longest(values.get("longest"), place),
    )


def _word(values: dict[str, Any], key: str, place: _Place) -> str:
    value = values[key]
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise TemplateError(f"{place(key)}: expected one word of letters, digits, _ and -, got {value!r}")
    return value


def _whole(value: Any, key: str, place: _Place) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise TemplateError(f"{place(key)}: expected a whole number from 1 on, got {value!r}")
    return int(value)


def _longest(value: Any, place: _Place) -> int | None:
    return LONGEST if value is None else None if value == "none" else _whole(value, "longest", place)


def _task(value: Any, place: _Place) -> str:
    if value not in TASKS:
        raise TemplateError(f"{place('task')}: expected one of {', '.join(TASKS)}, got {value!r}")
    return str(value)


def _names(value: Any, key: str, place: _Place) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TemplateError(f"{place(key)}: expected a list of names such as [title, category], got {value!r}")
    for one in value:
        if not isinstance(one, str) or not _VARIABLE.fullmatch(one) or one in RESERVED:
            raise TemplateError(
                f"{place(key)}: expected names of letters, digits and _, other than {', '.join(RESERVED)}, got {one!r}"
            )
    if twice := [one for one in value if value.count(one) > 1]:
        raise TemplateError(f"{place(key)}: expected each name once, got {twice[0]!r} again; delete one")
    return tuple(value)


def _verbaliser(value: Any, place: _Place) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(word, str) and word for word in value.values()):
        raise TemplateError(
            f'{place("verbaliser")}: expected a word for each answer, as {{like: "Yes", dislike: "No"}}, got {value!r}'
        )
    words = list(value.values())
    if twice := {word for word in words if words.count(word) > 1}:
        raise TemplateError(f"{place('verbaliser')}: expected different words, got {sorted(twice)[0]!r} for two answers")
    if blank := [word for word in words if word != word.strip()]:
        raise TemplateError(f"{place('verbaliser')}: expected words without blanks around them, got {blank[0]!r}")
    return tuple((str(answer), word) for answer, word in value.items())


def _short(lines: list[str]) -> str:
    return repr(lines[0].strip()[:60]) if lines else "an empty file"
