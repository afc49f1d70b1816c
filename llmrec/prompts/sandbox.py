"""Bodies of templates, compiled by jinja2 in its sandbox; the only module that imports jinja2.

A body puts words together and computes nothing: variables, `if`, `for`, `set` and comments, comparisons, `+`, `~` and the
filters of FILTERS. Calls, attributes other than those of `loop`, other files, macros, products and powers are errors before
anything is rendered, so a template reaches nothing of Python. A variable that the front matter does not declare is an error,
and so is a declared one that the body does not use. A text where `for` goes through a list is a list of one.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.exceptions import TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec.errors import TemplateError
from llmrec.prompts.header import LABELS, Header

FILTERS = ("capitalize", "default", "first", "join", "last", "length", "lower", "replace", "reverse", "trim", "unique", "upper")
_FORBIDDEN = (
    (nodes.Call, "a call"),
    (nodes.CallBlock, "a call"),
    (nodes.Macro, "a macro"),
    (nodes.Mul, "a product"),
    (nodes.Pow, "a power"),
    (nodes.Mod, "a remainder"),
    (nodes.Include, "another file"),
    (nodes.Extends, "another file"),
    (nodes.Import, "another file"),
    (nodes.FromImport, "another file"),
)
_FILE = "<template>"  # jinja2's name of what is compiled from a string


def compiled(body: str, header: Header, source: str, before: int) -> Callable[[Mapping[str, Any]], str]:
    """What renders a body: it takes a value for each variable, text or a tuple of texts, and gives the text.

    before: lines of the file before the body. Raises TemplateError, with file and line, for what is not allowed; so does what
    is returned, for values that the body cannot be rendered with.
    """
    environment = _environment()
    try:
        tree = environment.parse(body)
        template = environment.from_string(tree)
    except TemplateSyntaxError as error:  # also for filters that are not there
        said = str(error.message).rstrip(".")
        hint = f"; the filters are {', '.join(FILTERS)}" if "filter" in str(error.message) else ""
        raise TemplateError(f"{source}, line {before + error.lineno}: {said}{hint}") from error
    for kind, name in _FORBIDDEN:
        for node in tree.find_all(kind):
            raise TemplateError(
                f"{source}, line {before + node.lineno}: {name} is unsafe in a template; write words and variables"
            )
    for node in tree.find_all(nodes.Getattr):
        if not (isinstance(node.node, nodes.Name) and node.node.name == "loop") or node.attr.startswith("_"):
            raise TemplateError(
                f"{source}, line {before + node.lineno}: access to {node.attr!r} is unsafe: values are texts and lists of "
                "texts, without attributes; write the variable alone"
            )
    _check_names(tree, header, source, before)
    lists = {node.iter.name for node in tree.find_all(nodes.For) if isinstance(node.iter, nodes.Name)}

    def render(values: Mapping[str, Any]) -> str:
        single = {name: (values[name],) for name in lists & set(values) if values[name] and isinstance(values[name], str)}
        try:
            return template.render({LABELS: header.labels, **values, **single})
        except (JinjaError, TypeError, ValueError, RecursionError) as error:
            lines = [frame.lineno or 1 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
            raise TemplateError(f"{source}, line {before + (lines[-1] if lines else 1)}: {error}") from error

    return render


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False, finalize=_joined
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS}
    return made


def _joined(value: Any) -> Any:
    """A list that stands in the text as a whole is its elements, without empty ones, with commas between them."""
    return ", ".join(filter(None, value)) if isinstance(value, tuple) else value


def _check_names(tree: nodes.Template, header: Header, source: str, before: int) -> None:
    used, declared = find_undeclared_variables(tree) - {LABELS}, set(header.variables)
    if undeclared := sorted(used - declared):
        lines = [node.lineno for node in tree.find_all(nodes.Name) if node.name == undeclared[0]]
        raise TemplateError(
            f"{source}, line {before + min(lines, default=1)}: {undeclared[0]!r} is not among the variables of the front "
            f"matter, {_list(header.variables)}; add it there, or write one of those"
        )
    if unused := [name for name in header.variables if name not in used]:
        raise TemplateError(
            f"{source}, line {before + 1}: the front matter declares {_list(unused)}, which the body does not use; "
            "delete it there, or use it"
        )


def _list(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "none"
