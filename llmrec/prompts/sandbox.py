"""Bodies of templates, compiled by jinja2 in its sandbox; the only module that imports jinja2.

A body puts words together and computes nothing: variables, `if`, `for`, `set` and comments, comparisons, `+`, `~`, places in
a list, and what FILTERS, TESTS and LOOP name. Everything else, such as calls, attributes, other files and products, is an error
before anything is compiled, so a template reaches nothing of Python. A variable that the front matter does not declare is an
error, and so is a declared one that the body does not use. A text where `for` goes through a list is a list of one.

A text of more than MOST characters is an error. Nothing else limits the time and memory that a template may take: render those
of people you trust.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.exceptions import TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from llmrec.errors import TemplateError
from llmrec.prompts.header import LABELS, Header

FILTERS = ("capitalize", "default", "first", "join", "last", "length", "lower", "replace", "reverse", "trim", "unique", "upper")
TESTS = ("defined", "even", "none", "number", "odd", "string", "undefined")
LOOP = ("first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex", "revindex0")
MOST = 1_000_000  # characters of a rendered text
_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign, nodes.AssignBlock),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Neg),
    *(nodes.Add, nodes.Concat, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand, nodes.CondExpr),
    *(nodes.Filter, nodes.Test, nodes.Keyword),
)
_NAMES: dict[type[nodes.Node], str] = {
    **dict.fromkeys((nodes.Call, nodes.CallBlock), "a call"),
    **dict.fromkeys((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport), "another file"),
    **{nodes.Macro: "a macro", nodes.Mul: "a product", nodes.Pow: "a power", nodes.Mod: "a remainder"},
}
_FILE = "<template>"  # jinja2's name of what is compiled from a string


def compiled(body: str, header: Header, source: str, before: int) -> Callable[[Mapping[str, Any]], str]:
    """What renders a body: it takes a value for each variable, text or a tuple of texts, and gives the text.

    before: lines of the file before the body. Raises TemplateError, with file and line, for what is not allowed; so does what
    is returned, for values that the body cannot be rendered with.
    """
    environment = _environment()
    try:
        tree = environment.parse(body)
        _check_nodes(tree, source, before)
        template = environment.from_string(tree)  # computes what is constant, so it comes after the check
    except TemplateSyntaxError as error:  # also for filters and tests that are not there
        said = str(error.message).rstrip(".")
        hints = {"filter": FILTERS, "test": TESTS}
        hint = "".join(f"; the {kind}s are {', '.join(names)}" for kind, names in hints.items() if f" {kind} named" in said)
        raise TemplateError(f"{source}, line {before + error.lineno}: {said}{hint}") from error
    except (RecursionError, SyntaxError) as error:  # Python has at most 20 blocks within one another
        raise TemplateError(f"{source}, line {before + 1}: expected few blocks and brackets within one another") from error
    _check_names(tree, header, source, before)
    lists = {node.iter.name for node in tree.find_all(nodes.For) if isinstance(node.iter, nodes.Name)}

    def render(values: Mapping[str, Any]) -> str:
        single = {name: (values[name],) for name in lists & set(values) if values[name] and isinstance(values[name], str)}
        try:
            return _short_enough(template.generate({LABELS: header.labels, **values, **single}))
        except (JinjaError, TypeError, ValueError) as error:
            lines = [frame.lineno or 1 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
            raise TemplateError(f"{source}, line {before + (lines[-1] if lines else 1)}: {error}") from error

    return render


class _Environment(ImmutableSandboxedEnvironment):
    """Subscripts are places, never names: jinja2 would look for an attribute of that name."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        if not isinstance(argument, int):
            raise SecurityError(f"access to {argument!r} is unsafe: expected the number of a place, as in [0]")
        return super().getitem(obj, argument)


def _environment() -> _Environment:
    made = _Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False, finalize=_joined)
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS}
    made.tests = {name: made.tests[name] for name in TESTS}
    return made


def _joined(value: Any) -> Any:
    """A list that stands in the text as a whole is its elements, without empty ones, with commas between them."""
    return ", ".join(filter(None, value)) if isinstance(value, tuple) else value


def _short_enough(pieces: Iterable[str]) -> str:
    found, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > MOST:
            raise ValueError(f"expected a text of at most {MOST:,} characters, got a longer one; give fewer or shorter values")
        found.append(piece)
    return "".join(found)


def _check_nodes(tree: nodes.Template, source: str, before: int) -> None:
    """Raises TemplateError, with file and line, for what is not allowed in a body."""
    named = set()  # places where `loop` stands before one of its attributes
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            name = _NAMES.get(type(node), type(node).__name__)
            raise TemplateError(
                f"{source}, line {before + (node.lineno or 1)}: {name} is unsafe in a template; write words and variables"
            )
        if isinstance(node, nodes.Getattr):
            if not (isinstance(node.node, nodes.Name) and node.node.name == "loop" and node.attr in LOOP):
                raise TemplateError(
                    f"{source}, line {before + node.lineno}: access to {node.attr!r} is unsafe: values are texts and lists of "
                    f"texts, without attributes; write the variable alone, or loop with one of {', '.join(LOOP)}"
                )
            named.add(id(node.node))
    for node in tree.find_all(nodes.Name):
        if (
            node.name == "self"
            or (node.name == "loop" and id(node) not in named)
            or (node.name == LABELS and node.ctx != "load")
        ):
            raise TemplateError(
                f"{source}, line {before + node.lineno}: {node.name!r} has a meaning of its own in a template; write the "
                "name of a variable"
            )


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
