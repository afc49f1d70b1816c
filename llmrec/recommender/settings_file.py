"""Settings in files: read strictly from YAML or JSON values, and written as YAML.

Keys and types come from the fields of the frozen dataclasses, so a new field needs no code here.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from llmrec.errors import DataError
from llmrec.yaml_file import yaml_dump, yaml_values

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
    file, values = yaml_values(path, "settings", "setting")
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
    return yaml_dump(asdict(sound))


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
