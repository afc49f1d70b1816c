"""Settings in files: read strictly from YAML or JSON values, and written as YAML; the only module that imports yaml.

Keys and types come from the fields of the frozen dataclasses, so a new field needs no code here.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from llmrec.errors import DataError
from llmrec.store import located

T = TypeVar("T")

_NUMBER = re.compile(r"[-+]?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_LARGEST = 2**63  # no whole number of a setting is larger
_SINGULAR = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_PLURAL = {bool: "values that are true or false", int: "whole numbers", float: "numbers", str: "texts"}


def read_yaml(path: str | Path, start: T, check: Callable[[T], None]) -> T:
    """`start` with the settings that a YAML file names; `check` raises DataError for values that are out of range.

    Raises DataError, which names the file, for a file that is missing or is no YAML mapping, and for a key that is unknown,
    is given twice or has a value of another type.
    """
    try:
        file = located(path)
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a YAML file of settings, got {error.strerror or error}; check the path") from error
    except (TypeError, ValueError, RuntimeError) as error:  # no path, one with a null character, a home that is not there
        raise DataError(f"path: expected that of a YAML file of settings, got {path!r} ({error})") from error
    try:
        loader = yaml.SafeLoader(raw)
        node = loader.get_single_node()
        _check_numbers(node, file, set())
        twice = list(_duplicates(node, "", set()))  # before the mappings are made, which keep the last of them in silence
        values = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise DataError(f"{file}: expected YAML; PyYAML says: {_problem(error)}") from error
    except (
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        AttributeError,
        RecursionError,
    ) as error:  # wrong tags and dates
        raise DataError(f"{file}: expected YAML, got a value that cannot be read ({error!r}); put texts in quotes") from error
    for key, first, again in twice:
        raise DataError(f"{file}: expected each setting once, got {key} in lines {first} and {again}; delete one of them")
    settings = start if values is None else filled(start, values, file)
    try:
        check(settings)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    return settings


def yaml_text(settings: Any) -> str:
    """Every setting as YAML in ASCII: sections in the order of the fields, lists in one line.

    Raises DataError for a value that is not of its field's type, since it could not be read back.
    """
    sound = filled(type(settings)(), asdict(settings), type(settings).__name__)
    return yaml.dump(asdict(sound), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=2**20)


def changed(settings: T, start: T, below: str = "") -> dict[str, Any]:
    """Dotted name -> value of every field in which `settings` differ from `start`, another value of the same dataclass."""
    found: dict[str, Any] = {}
    for field in fields(start):  # type: ignore[arg-type]
        new, old, name = getattr(settings, field.name), getattr(start, field.name), _dotted(below, field.name)
        if is_dataclass(new) and is_dataclass(old):
            found |= changed(new, old, name)
        elif new != old:
            found[name] = new
    return found


def filled(start: T, values: object, file: str | Path, below: str = "") -> T:
    """The dataclass `start` with the fields that a mapping names, nested mappings for nested dataclasses.

    values: as YAML or JSON has them: lists become tuples, whole floats whole numbers, and texts such as "1e-3" numbers, each
    where the field's type asks for it. file, below: for messages: what is read, and the dotted key of this part of it.
    Raises DataError, which names file and dotted key, for an unknown key and for a value of another type.
    """
    if not isinstance(values, Mapping):
        first = fields(start)[0].name  # type: ignore[arg-type]
        where = f" below {below}" if below else ""
        raise DataError(f"{file}: expected settings{where}, such as `{first}: ...`, got {reprlib.repr(values)}")
    types = get_type_hints(type(start))
    old = {field.name: getattr(start, field.name) for field in fields(start)}  # type: ignore[arg-type]
    chosen = {field.name for field in fields(start) if field.default is None}  # type: ignore[arg-type]
    new = {}
    for key, value in values.items():
        if key not in old:
            raise DataError(f"{file}: expected a setting, got {_dotted(below, key)}; {_meant(old, str(key), below)}")
        kind = types[key] | None if key in chosen else types[key]  # None: chosen from the data
        new[key] = _value(kind, value, old[key], file, _dotted(below, key))
    return replace(start, **new)  # type: ignore[type-var]


def _value(kind: Any, value: object, old: object, file: str | Path, key: str) -> Any:
    """`value` as the field's type asks for; `old` is what the field holds now."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in options:
        return None
    others = [option for option in options if option is not NoneType]
    wanted: Any = others[0] if len(others) == 1 else kind
    read: Any = None
    if isinstance(wanted, type) and is_dataclass(wanted):
        start = wanted() if old is None else old
        return start if value is None else filled(start, value, file, key)  # `train:` with nothing below it is null
    if get_origin(wanted) is tuple:
        parts = get_args(wanted)
        if isinstance(value, (list, tuple)):
            parts = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
            if len(parts) == len(value):
                items = enumerate(zip(parts, value, strict=True))
                return tuple(_value(part, item, None, file, f"{key}[{place}]") for place, (part, item) in items)
    elif wanted is bool or wanted is str:
        read = value if isinstance(value, wanted) else None
    elif wanted is int or wanted is float:
        read = _number(value, wanted)
    else:
        raise TypeError(f"{key}: a field of type {kind} cannot be read from a file")
    if read is None:
        example = "" if old is None or old == () else f", such as {json.dumps(old)}"
        null = " or null" if NoneType in options else ""
        raise DataError(f"{file}: expected {_named(wanted)}{null} for {key}{example}, got {reprlib.repr(value)}")
    return read


def _number(value: object, kind: type) -> int | float | None:
    """A number of any type, also one that PyYAML leaves as text (1e-3), as `kind`; None if it is none or not whole."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    if kind is float:
        return float(value) if math.isfinite(value) else None
    return int(value) if -_LARGEST < value < _LARGEST and value == int(value) else None


def _named(kind: Any) -> str:
    """What a value of this type is called in a message."""
    if get_origin(kind) is not tuple:
        return _SINGULAR[kind]
    parts = get_args(kind)
    return f"a list of {'' if parts[-1] is Ellipsis else f'{len(parts)} '}{_PLURAL[parts[0]]}"


def _meant(fields_here: Mapping[str, Any], key: str, below: str) -> str:
    """The remedy for an unknown key: the section that it belongs to, the closest known key, or all of them."""
    last = key.rsplit(".", 1)[-1]
    sections = [name for name, value in fields_here.items() if is_dataclass(value) and last in {f.name for f in fields(value)}]
    if sections:
        where = "that" if len(sections) == 1 else "one of them"
        return f"{last} is a setting of {' and of '.join(sections)}: write it indented below {where}"
    if close := get_close_matches(key, fields_here, 1):
        return f"did you mean {_dotted(below, close[0])}?"
    return f"the settings {f'below {below} ' if below else ''}are {', '.join(fields_here)}"


def _dotted(below: str, key: object) -> str:
    return f"{below}.{key}" if below else str(key)


def _duplicates(node: yaml.Node | None, below: str, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Keys that stand twice in one mapping, with their lines; `seen` grows by the nodes that were looked into."""
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, line = _dotted(below, key.value), key.start_mark.line + 1
        if name in lines:
            yield name, lines[name], line
        lines[name] = line
        yield from _duplicates(value, name, seen)


def _check_numbers(node: yaml.Node | None, file: Path, seen: set[int]) -> None:
    """Raises DataError for whole numbers that YAML 1.1 reads otherwise than they look: 010 is 8, and 1:30 is 90. `seen` grows
    by the nodes that were looked into."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        odd = re.fullmatch(r"[+-]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+)", node.value)
        if odd and node.tag == "tag:yaml.org,2002:int":
            raise DataError(
                f"{file}: line {node.start_mark.line + 1}: {node.value} is {yaml.safe_load(node.value)} in YAML; write the "
                "number without zeros in front and without colons"
            )
        return
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    for part in parts:
        _check_numbers(part, file, seen)


def _problem(error: yaml.YAMLError) -> str:
    """What PyYAML found and what to do about it, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # bytes or characters that no YAML file may hold
        return f"{' '.join(str(error).split())}; save the file as UTF-8"
    said = " ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return f"{said}; correct line {mark.line + 1}, column {mark.column + 1}"


class _Dumper(yaml.SafeDumper):
    """Writes tuples as lists in one line, and what stands in two places twice, without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def tuples(self, data: tuple[Any, ...]) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(tuple, _Dumper.tuples)
