"""YAML files: read strictly, each fault named with its place, and written; the only module that imports yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llmrec.errors import DataError
from llmrec.store import located


def yaml_values(path: str | Path, what: str, one: str, as_text: bool = False) -> tuple[Path, Any]:
    """The path in full, and what a YAML file holds, None where it is empty; objects other than YAML's own are not made.

    what, one: what the file is to hold, in messages, such as "settings" and "setting". as_text: numbers, dates and the like
        stay text, as written.
    Raises DataError, which names the file, for a file that is missing or is no YAML, and for a key that is given twice.
    """
    try:
        file = located(path)
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a YAML file of {what}, got {error.strerror or error}; check the path") from error
    except (TypeError, ValueError, RuntimeError) as error:  # no path, one with a null character, a home that is not there
        raise DataError(f"path: expected that of a YAML file of {what}, got {path!r} ({error})") from error
    return file, yaml_parsed(raw, str(file), one, as_text)


def yaml_parsed(raw: str | bytes, file: str, one: str, as_text: bool = False) -> Any:
    """What YAML holds, None where it is empty; as `yaml_values`, of which `file`, in messages, and `one` are."""
    try:
        loader = (yaml.BaseLoader if as_text else yaml.SafeLoader)(raw)
        node = loader.get_single_node()
        misread = [] if as_text else list(_misread(node, set()))
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
    for line, number in misread:
        raise DataError(
            f"{file}: line {line}: {number} is {yaml.safe_load(number)} in YAML; write the number without zeros in front and "
            "without colons"
        )
    for key, first, again in twice:
        raise DataError(f"{file}: expected each {one} once, got {key} in lines {first} and {again}; delete one of them")
    return values


def yaml_dump(values: Any) -> str:
    """Values as YAML in ASCII: mappings in their own order, tuples as lists in one line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=2**20)


def _duplicates(node: yaml.Node | None, below: str, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Keys that stand twice in one mapping, with their lines; `seen` grows by the nodes that were looked into."""
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name = f"{below}.{key.value}" if below else key.value
        line = key.start_mark.line + 1
        if name in lines:
            yield name, lines[name], line
        lines[name] = line
        yield from _duplicates(value, name, seen)


def _misread(node: yaml.Node | None, seen: set[int]) -> Iterator[tuple[int, str]]:
    """Whole numbers that YAML 1.1 reads otherwise than they look, with their lines: 010 is 8, and 1:30 is 90. `seen` grows by
    the nodes that were looked into."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        odd = re.fullmatch(r"[+-]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+)", node.value)
        if odd and node.tag == "tag:yaml.org,2002:int":
            yield node.start_mark.line + 1, node.value
        return
    for part in node.value:
        for inner in part if isinstance(part, tuple) else (part,):
            yield from _misread(inner, seen)


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
