"""Evaluation results: one metric with its interval per record, stored as flat JSON and printed as tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from llmrec.errors import ArtefactError, DataError
from llmrec.store import whole_file

ROLES = ("ours", "control", "reference")
_TEXT = ("benchmark", "method", "role", "setting", "metric", "versus")
_OPTIONAL = ("low", "high", "seed", "seconds")


@dataclass(frozen=True)
class Result:
    """One number of a report.

    benchmark, method, setting, metric: names as they are printed.
    role: `ours`, `control` (run here, simple) or `reference` (a figure that others published).
    value: the mean, or with `versus` the mean paired difference `method - versus`.
    low, high: ends of its interval; both None where there is none, as for most published figures.
    versus: name of the method that is subtracted, "" for a plain mean.
    n: users behind the number.
    seed: None where the method has none or the row is over several.
    seconds: wall-clock time of what the row reports, None where it was not measured.
    """

    benchmark: str
    method: str
    role: str
    setting: str
    metric: str
    value: float
    low: float | None
    high: float | None
    versus: str
    n: int
    seed: int | None
    seconds: float | None


def write_report(path: str | Path, results: Sequence[Result], extra: dict) -> None:
    """Write `extra` and the rows, as the list `results`, to one JSON file: all of it or nothing.

    Raises DataError for a row with a NaN or infinite number, a wrong type, a role that is not in `ROLES`, low > high or
    half an interval; and for an `extra` that holds `results`, NaN, or something that JSON cannot.
    """
    if "results" in extra:
        raise DataError("extra: the key `results` belongs to the rows; give that entry another name")
    flat = [_checked(asdict(row), f"results[{index}]") for index, row in enumerate(results)]
    try:
        text = json.dumps({**extra, "results": flat}, indent=1, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"extra: expected values that JSON holds (no NaN, no arrays), got: {error}") from error
    with whole_file(path) as fresh:
        fresh.write_text(text + "\n", encoding="utf-8")


def read_rows(path: str | Path) -> list[Result]:
    """The rows of a report. Raises ArtefactError, naming the file, for anything that `write_report` would not write."""
    path = Path(path)
    try:
        report = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no report there; run the benchmark that writes it") from error
    except ValueError as error:
        raise ArtefactError(f"{path}: expected a JSON report, got: {error}; write it again with write_report") from error
    results = report.get("results") if isinstance(report, dict) else None
    if not isinstance(results, list):
        raise ArtefactError(f"{path}: expected an object with a list `results`; write it again with write_report")
    rows = []
    for index, row in enumerate(results):
        names = set(row) if isinstance(row, dict) else set()
        wanted = {field.name for field in fields(Result)}
        if names != wanted:
            difference = f"missing {sorted(wanted - names)}, unknown {sorted(names - wanted)}"
            raise ArtefactError(f"{path}: results[{index}]: {difference}; write it again with write_report")
        try:
            rows.append(Result(**_checked(row, f"results[{index}]")))
        except DataError as error:
            raise ArtefactError(f"{path}: {error}") from error
    return rows


def table(
    rows: Sequence[Result], benchmark: str, metric: str, versus: str = "", digits: int = 4, higher_is_better: bool = True
) -> str:
    """Markdown table of one metric of one benchmark, aligned so that it reads as plain text too.

    Methods go down and settings across, in their order of appearance; a cell is `value [low, high]`, the best of each
    setting in bold. With `versus`, a method whose paired difference from that one excludes zero in this setting is marked
    `▲` (better) or `▼` (worse), and `=` where it does not; no mark means that no difference was reported.
    Raises DataError where no row fits, or two rows fit one cell.
    """
    fitting = [row for row in rows if row.benchmark == benchmark and row.metric == metric]
    cells = _by_cell([row for row in fitting if not row.versus])
    if not cells:
        raise DataError(f"no row of benchmark {benchmark!r} and metric {metric!r}; there are {_available(rows)}")
    differences = _by_cell([row for row in fitting if versus and row.versus == versus])
    methods = list(dict.fromkeys(method for method, _ in cells))
    settings = list(dict.fromkeys(setting for _, setting in cells))
    sign = 1 if higher_is_better else -1
    lines = [["method", *settings]]
    for method in methods:
        line = [method]
        for setting in settings:
            row = cells.get((method, setting))
            if row is None:
                line.append("")
                continue
            best = max(sign * other.value for (_, where), other in cells.items() if where == setting)
            value = f"{row.value:.{digits}f}"
            value = f"**{value}**" if sign * row.value == best else value
            ends = "" if row.low is None else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
            line.append(value + ends + _mark(differences.get((method, setting)), sign))
        lines.append(line)
    return _aligned(lines)


def _mark(difference: Result | None, sign: int) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return ""
    if difference.low <= 0 <= difference.high:
        return " ="
    return " ▲" if sign * difference.low > 0 else " ▼"


def _by_cell(rows: Sequence[Result]) -> dict[tuple[str, str], Result]:
    cells: dict[tuple[str, str], Result] = {}
    for row in rows:
        key = (row.method, row.setting)
        if key in cells:
            raise DataError(f"two rows for method {row.method!r} in setting {row.setting!r}; keep one, for example by its seed")
        cells[key] = row
    return cells


def _available(rows: Sequence[Result]) -> str:
    return ", ".join(dict.fromkeys(f"{row.benchmark!r} with {row.metric!r}" for row in rows if not row.versus)) or "none"


def _aligned(lines: list[list[str]]) -> str:
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def _checked(row: dict, where: str) -> dict:
    """The row with Python's own numbers; DataError where a field is not what `Result` says."""
    row = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    for name, value in row.items():
        if value is None and name in _OPTIONAL:
            continue
        if name in _TEXT:
            right, wanted = isinstance(value, str) and (value != "" or name == "versus"), "text"
        elif name in ("n", "seed"):
            right, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        else:
            right = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            wanted = "a finite number"
        if not right:
            remedy = (
                "leave the row out, or give None where there is no interval" if wanted == "a finite number" else "correct it"
            )
            raise DataError(f"{where}.{name}: expected {wanted}, got {value!r}; {remedy}")
    if row["role"] not in ROLES:
        raise DataError(f"{where}.role: expected one of {', '.join(ROLES)}, got {row['role']!r}")
    low, high = row["low"], row["high"]
    if (low is None) != (high is None) or (low is not None and low > high):
        raise DataError(f"{where}: expected low <= high or both None, got low={low!r} and high={high!r}")
    return row


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that a report may hold")
