"""Tables and paragraphs as text, fitted to a terminal; the only module that imports rich.

In a pipe, a file or a string nothing is cut or wrapped.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

Kind = Literal["number", "whole", "title", "sentence"]
_GAP = "  "  # between two columns
_TITLE, _SENTENCE = 12, 36  # the least columns of the screen for a title, and for a sentence beside the others
_INDENT = "    "  # of a sentence below its row
_CONTROL = dict.fromkeys([*range(10), *range(11, 32), *range(127, 160)], "�")  # what moves a cursor or changes colours


@dataclass(frozen=True)
class Screen:
    """Where text is shown.

    width: columns of a terminal; None for a pipe, a file or a string, where nothing is cut or wrapped. bold: whether the heads
        of tables are bold.
    """

    width: int | None = None
    bold: bool = False


PLAIN = Screen()


@dataclass(frozen=True)
class Column:
    """A column of a table.

    name: its head. kind: how its cells are shown where a terminal is narrow. A "number", aligned right, and a "whole" cell,
        such as an id or a date, keep every character; a "title" is cut and ends in "…"; a "sentence", in the last column
        alone, is wrapped. A line break in a cell becomes a blank where there is room.
    """

    name: str
    kind: Kind = "whole"


def screen_of(stream: TextIO) -> Screen:
    """The screen behind a stream: PLAIN where it is no terminal. Heads are bold unless the environment sets NO_COLOR or the
    terminal has no styles."""
    if not stream.isatty():
        return PLAIN
    from rich.console import Console

    console = Console(file=stream, force_terminal=True, force_jupyter=False)
    return Screen(console.width, console.color_system is not None and not console.no_color)


def text_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], screen: Screen = PLAIN) -> str:
    """Lines of aligned cells below the line of heads, which is left out where all heads are empty. A Chinese character takes
    two columns of the screen.

    rows: a cell for each column, shown as it is, marks such as "[red]" included; only control characters are replaced.
    Lines are wider than a terminal that has no room for the whole cells. A sentence with little room beside the others stands
    below its row.
    """
    body = [[cell.translate(_CONTROL) for cell in row] for row in rows]
    flat = [[cell.replace("\n", " ") for cell in row] for row in body]
    if screen.width is None:
        return _as_wide(columns, flat)
    widths = _widths(columns, flat)
    if _line_width(widths) <= screen.width:
        return _fitted(columns, flat, widths, screen)
    last = len(columns) - 1
    if columns[last].kind != "sentence":
        return _fitted(columns, body, _narrowed(columns, _widths(columns, body), screen.width), screen)
    left = screen.width - _line_width([*widths[:last], 0])
    if left >= min(_SENTENCE, screen.width // 2) or not last:
        return _fitted(columns, flat, [*widths[:last], left], screen)
    upper = text_table(columns[:last], [row[:last] for row in flat], screen).split("\n")
    head = len(upper) - len(flat)
    below = [[line, paragraph(row[last], screen, _INDENT)] for line, row in zip(upper[head:], flat, strict=True)]
    return "\n".join([*upper[:head], *(line for pair in below for line in pair if line.strip())])


def paragraph(text: str, screen: Screen = PLAIN, begin: str = "") -> str:
    """`begin` and the text behind it; on a terminal wrapped to its width, later lines indented as far as the text."""
    if screen.width is None:
        return begin + text
    from rich.padding import Padding
    from rich.text import Text

    room = max(screen.width, len(begin) + _TITLE)
    shown = _rendered(Padding(Text(text.translate(_CONTROL)), (0, 0, 0, len(begin))), room, False)
    return begin + shown[len(begin) :]


def _as_wide(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """What `_fitted` makes where there is room, without rich's tables: they take 0.6 ms a row, and lists in files are long."""
    from rich.cells import cell_len

    widths, lines = _widths(columns, rows), []
    for row in [[column.name for column in columns], *rows]:
        cells = []
        for column, cell, width in zip(columns, row, widths, strict=True):
            gap = " " * (width - cell_len(cell))
            cells.append(gap + cell if column.kind == "number" else cell + gap)
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines if any(column.name for column in columns) else lines[1:])


def _fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], screen: Screen) -> str:
    """The same as a table of rich with columns of these widths."""
    from rich.table import Table
    from rich.text import Text

    head = any(column.name for column in columns)
    style = "bold" if screen.bold else ""
    table = Table(box=None, padding=(0, len(_GAP), 0, 0), pad_edge=False, show_header=head, header_style=style)
    for column, width in zip(columns, widths, strict=True):
        title = column.kind == "title"
        table.add_column(
            Text(column.name),
            width=width,
            justify="right" if column.kind == "number" else "left",
            no_wrap=title,
            overflow="ellipsis" if title else "fold",
        )
    for row in rows:
        table.add_row(*map(Text, row))  # Text, for rich reads marks in strings
    return _rendered(table, _line_width(widths), screen.bold)


def _rendered(what: RenderableType, width: int, bold: bool) -> str:
    from rich.console import Console

    out = io.StringIO()
    styles: Literal["standard"] | None = "standard" if bold else None
    Console(file=out, width=width, color_system=styles, force_jupyter=False, legacy_windows=False).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().removesuffix("\n").split("\n"))


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """Columns of the screen that the widest line of each column takes."""
    from rich.cells import cell_len

    widths = [cell_len(column.name) for column in columns]
    for row in rows:
        for place, cell in enumerate(row):
            widths[place] = max(widths[place], *map(cell_len, cell.split("\n")))
    return widths


def _narrowed(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """The widths, with the widest titles narrowed until the line fits or no title may be narrower."""
    found = list(widths)
    while _line_width(found) > room:
        titles = [place for place, column in enumerate(columns) if column.kind == "title" and found[place] > _TITLE]
        if not titles:
            break
        found[max(titles, key=found.__getitem__)] -= 1
    return found


def _line_width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)
