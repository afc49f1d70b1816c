"""Conditions on columns of the catalogue, such as `price < 50 and category in ['Wine', 'Beer']`: parsed, never executed.

The grammar is a small part of Python's expressions: names of columns, numbers, texts, True, False, None and lists of these;
`<`, `<=`, `>`, `>=`, `==`, `!=`, also chained as in `5 <= price < 50`; `in`, `not in`, `is None`, `is not None`; `and`, `or`,
`not` and parentheses. A name that is no Python name stands in backticks, as in pandas: `` `unit price` < 50 ``. Python's own
parser reads the text, and every other kind of expression (a call, an attribute, arithmetic) is refused.

A missing value makes a comparison neither true nor false, as in SQL, and what is not true fails: neither `price < 50` nor
`not price < 50` holds for an item without a price. Null, NaN and empty text are missing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.dataset import Catalogue
from llmrec.errors import DataError, SchemaError
from llmrec.rules.columns import Values, column, constant, flags_of, seconds_of

LONGEST = 10_000  # letters of a condition
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`([^`\n]+)`""")
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_BESIDES = (ast.In, ast.NotIn, ast.Is, ast.IsNot)
_WORDS = {"true": True, "false": False}  # as YAML and JSON write them
_KNOWN = "the operations are < <= > >= == != in, not in, is None, and, or, not"


@dataclass(frozen=True)
class Condition:
    """A condition that has been parsed. quoted: the names in backticks, by the names that stand for them in the tree."""

    text: str
    tree: ast.expr
    quoted: dict[str, str]

    @property
    def names(self) -> list[str]:
        """The columns that it names, in order."""
        found = (self.quoted.get(node.id, node.id) for node in ast.walk(self.tree) if isinstance(node, ast.Name))
        return [*dict.fromkeys(name for name in found if name not in _WORDS)]

    def mask(self, catalogue: Catalogue) -> np.ndarray:
        """bool (N,): the items for which it is true.

        Raises SchemaError for a column that is not there or is compared with a value of another type.
        """
        found = flags_of(_value(self.tree, self, catalogue)).data
        if isinstance(found, pa.Scalar):
            return np.full(len(catalogue), bool(found.as_py()))
        return found.fill_null(False).to_numpy().astype(bool)


def parse(text: str) -> Condition:
    """Raises DataError, which says what was expected, for a text that is no condition."""
    if len(text) > LONGEST:
        raise DataError(f"a condition of {len(text):,} letters, expected at most {LONGEST:,}; split it into several")
    quoted: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        if found.group(1) is None:
            return found.group()
        quoted[f"_quoted_{len(quoted)}_"] = found.group(1)
        return f" _quoted_{len(quoted) - 1}_ "

    try:
        tree = ast.parse(_QUOTED.sub(named, text).strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise DataError(f"expected a condition such as price < 50, got {text!r}{_hint(text)}") from error
    try:
        _check(tree)
    except RecursionError as error:
        raise DataError("a condition is nested too deeply; split it into several") from error
    return Condition(text, tree, quoted)


def _hint(text: str) -> str:
    bare = _QUOTED.sub("x", text)
    if re.search(r"(?<![<>=!])=(?!=)", bare):
        return "; equality is written =="
    if re.search(r"&&|\|\||!(?!=)|<>|\b(AND|OR|NOT|IN)\b", bare):
        return "; write and, or, not, in and !="
    return f"; {_KNOWN}; texts stand in quotes, names with spaces in backticks"


def _check(node: ast.expr) -> None:
    """Raises DataError for a kind of expression that is not in the grammar."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand)
    elif isinstance(node, ast.Compare):
        for op, left, right in _pairs(node):
            _check_pair(op, left, right)
    elif not (isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and isinstance(node.value, bool))):
        raise DataError(f"{ast.unparse(node)!r} is not a condition: {_KNOWN}")


def _check_pair(op: ast.cmpop, left: ast.expr, right: ast.expr) -> None:
    if isinstance(op, (ast.Is, ast.IsNot)):
        if not (isinstance(left, ast.Name) and isinstance(right, ast.Constant) and right.value is None):
            raise DataError(f"{ast.unparse(left)!r}: `is` compares a column with None; for other values write ==")
        return
    if isinstance(op, (ast.In, ast.NotIn)) and isinstance(right, (ast.List, ast.Tuple, ast.Set)):
        if not isinstance(left, ast.Name):
            raise DataError(f"{ast.unparse(left)!r}: expected a column in front of in [...]")
        sides = right.elts
    elif isinstance(op, (ast.In, ast.NotIn)):
        if not (isinstance(right, ast.Name) and not isinstance(left, ast.Name)):
            raise DataError(f"{ast.unparse(right)!r}: expected a list behind in, as in category in ['Wine', 'Beer']")
        sides = [left]
    else:
        sides = [left, right]
    for side in sides:
        if not isinstance(side, ast.Name):
            _literal(side)


def _literal(node: ast.expr) -> Values:
    """Raises DataError for what is no number, text, True or False."""
    value: object = None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)) and isinstance(node.operand, ast.Constant):
        number = node.operand.value
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            value = -number if isinstance(node.op, ast.USub) else number
    elif isinstance(node, ast.Constant):
        value = node.value
        if value is None:
            raise DataError("None is compared by `is`: write name is None, or name is not None")
    if not isinstance(value, (bool, int, float, str)) or (isinstance(value, int) and abs(value) >= 2**63):
        raise DataError(f"{ast.unparse(node)!r} is not a column, a number, a text, True or False: {_KNOWN}")
    return constant(value)


def _pairs(node: ast.Compare) -> Iterator[tuple[ast.cmpop, ast.expr, ast.expr]]:
    yield from zip(node.ops, [node.left, *node.comparators[:-1]], node.comparators, strict=True)


def _value(node: ast.expr, condition: Condition, catalogue: Catalogue) -> Values:
    """What a part of the condition comes to, by Kleene's logic for missing values."""
    if isinstance(node, ast.Name):
        name = condition.quoted.get(node.id, node.id)
        return constant(_WORDS[name]) if name in _WORDS and name == node.id else column(catalogue, name)
    if isinstance(node, ast.BoolOp):
        join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        parts = [flags_of(_value(part, condition, catalogue)).data for part in node.values]
        found = parts[0]
        for part in parts[1:]:
            found = join(found, part)
        return Values("flags", found, "the condition")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return Values("flags", pc.invert(flags_of(_value(node.operand, condition, catalogue)).data), "the condition")
    if isinstance(node, ast.Compare):
        found = None
        for op, left, right in _pairs(node):
            part = _compared(op, left, right, condition, catalogue)
            found = part if found is None else pc.and_kleene(found, part)
        return Values("flags", found, "the condition")
    return _literal(node)


def _compared(op: ast.cmpop, left: ast.expr, right: ast.expr, condition: Condition, catalogue: Catalogue) -> Any:
    mine = _value(left, condition, catalogue)
    if isinstance(op, (ast.Is, ast.IsNot)):
        return pc.is_null(mine.data) if isinstance(op, ast.Is) else pc.is_valid(mine.data)
    if not isinstance(op, (ast.In, ast.NotIn)):
        return _plain(op, mine, _value(right, condition, catalogue))
    if isinstance(right, (ast.List, ast.Tuple, ast.Set)):
        found = _one_of(mine, [_literal(part) for part in right.elts])
    else:
        found = _holds(_value(right, condition, catalogue), mine)
    return pc.invert(found) if isinstance(op, ast.NotIn) else found


def _plain(op: ast.cmpop, left: Values, right: Values) -> Any:
    left, right = _alike(left, right)
    if "nothing" in (left.kind, right.kind):
        return left.data if left.kind == "nothing" else right.data  # all missing
    if left.kind == "lists" or (left.kind == "flags" and not isinstance(op, (ast.Eq, ast.NotEq))):
        how = "'value' in name" if left.kind == "lists" else "== or !="
        raise SchemaError(f"{left.said} holds {left.kind}, which are compared by {how} alone")
    return _COMPARE[type(op)](left.data, right.data)


def _alike(left: Values, right: Values) -> tuple[Values, Values]:
    """Both sides as values of one kind. Raises SchemaError where they are of two."""
    if left.kind == right.kind or "nothing" in (left.kind, right.kind):
        return left, right
    if "times" in (left.kind, right.kind):
        return seconds_of(left), seconds_of(right)
    if "flags" in (left.kind, right.kind) and not (left.constant and right.constant):
        return flags_of(left), flags_of(right)
    raise SchemaError(
        f"{left.said} ({left.kind}) is compared with {right.said} ({right.kind}); expected values of one kind: texts stand in "
        "quotes, numbers do not"
    )


def _one_of(left: Values, options: list[Values]) -> Any:
    if left.kind in ("lists", "nothing"):
        if left.kind == "nothing":
            return left.data
        raise SchemaError(f"{left.said} holds lists, which are searched by 'value' in name")
    for option in options:
        left, _ = _alike(left, option)
    data, values = left.data, [_alike(left, option)[1].data.as_py() for option in options]
    if pa.types.is_integer(data.type) and any(isinstance(value, float) for value in values):
        data = data.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_null(data), None, pc.is_in(data, pa.array(values, data.type)))


def _holds(right: Values, left: Values) -> Any:
    """Whether a list, or a text, holds the constant `left`."""
    wanted = left.data.as_py()
    if right.kind == "texts" and left.kind == "texts":
        return pc.match_substring(right.data, wanted)
    if right.kind == "lists":
        rows = (None if row is None else wanted in row for row in right.data.to_pylist())
        return pa.chunked_array([pa.array(rows, pa.bool_())])
    if right.kind == "nothing":
        return right.data
    raise SchemaError(f"{left.said} in {right.said}: it holds {right.kind}, expected text or lists")
