"""Tables as text: within the width of a terminal, and elsewhere as wide as they are."""

from __future__ import annotations

import io
import sys
import unicodedata

import pyarrow as pa
import pytest

from llmrec.cli.tables import aligned, put
from llmrec.screen import PLAIN, Column, Screen, paragraph, screen_of, text_table

COLUMNS = (Column("item_id"), Column("title", "title"), Column("price", "number"), Column("made"), Column("text", "sentence"))
WHY = "Because of the blue lamp in your history: people who chose it tend to choose this mug too."
ROWS = (
    ("i-000000001", "[red] cup :smile: [/red] \\[a] white porcelain, hand painted, dishwasher", "1,234.50", "2026-04-01", WHY),
    ("i2", "红色的大茶杯红色的大茶杯 コーヒーカップ", "-0.5", "2026-04-02", ""),
    ("商品3", "", "10", "", "Popular."),
)
WIDE = Screen(1000)


class Terminal(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="\n", write_through=True)

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        return self.buffer.getvalue().decode()


def width(text: str) -> int:
    """Columns of the screen, counted without rich."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def starts(line: str, cell: str) -> int:
    return width(line[: line.index(cell)])


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    """A terminal of 60 columns."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


# ---------------------------------------------------------------------------------------- the same everywhere


@pytest.mark.parametrize("screen", [PLAIN, WIDE])
def test_columns_line_up_and_cells_are_shown_as_they_are(screen):
    head, *lines = text_table(COLUMNS, ROWS, screen).split("\n")
    assert len(lines) == len(ROWS) and not any(line.endswith(" ") for line in [head, *lines])
    right = starts(head, "price") + len("price")
    for line, row in zip(lines, ROWS, strict=True):
        for place, (column, cell) in enumerate(zip(COLUMNS, row, strict=True)):
            assert cell in line
            if cell and column.kind == "number":
                assert starts(line, cell) + width(cell) == right
            elif cell and place:
                assert starts(line, cell) == starts(head, column.name)


def test_a_wide_terminal_shows_what_a_file_gets():
    assert text_table(COLUMNS, ROWS, WIDE) == text_table(COLUMNS, ROWS)
    assert text_table(COLUMNS, (), WIDE) == text_table(COLUMNS, ()) == "item_id  title  price  made  text"
    nameless = (Column(""), Column("", "number"))
    assert text_table(nameless, [("a", "1"), ("bb", "22")], WIDE) == text_table(nameless, [("a", "1"), ("bb", "22")])
    assert text_table(nameless, [("a", "1"), ("bb", "22")]) == "a    1\nbb  22"


@pytest.mark.parametrize("screen", [PLAIN, WIDE, Screen(20)])
def test_a_title_moves_no_cursor_and_changes_no_colour(screen):
    title = "a\x1b[31mb\x1b]0;c\x07d\re\x9bf\x7f"
    shown = text_table((Column("title", "sentence"),), [(title,)], screen) + paragraph(title, Screen(50))
    assert not any(unicodedata.category(letter) == "Cc" for letter in shown if letter != "\n") and "[31mb" in shown


def test_a_long_word_of_a_sentence_goes_on_too():
    word = "y" * 300
    for columns, row in (((Column("", "sentence"),), (word,)), ((Column("a"), Column("b", "sentence")), ("x" * 29, word))):
        for room in (30, 80):
            lines = text_table(columns, [row], Screen(room)).split("\n")
            assert max(map(len, lines)) <= room and "".join(lines).count("y") == 300


# ---------------------------------------------------------------------------------------- on a terminal


def test_facts_stand_beside_their_names_on_a_narrow_terminal_too():
    facts = (
        (Column(""), Column("", "sentence")),
        [("  columns", "Kundennr -> user_id, Artikelnr -> item_id, Datum -> timestamp")],
    )
    lines = text_table(*facts, Screen(40)).split("\n")
    assert lines[0].startswith("  columns  Kundennr") and max(map(len, lines)) <= 40
    assert all(line.startswith(" " * 11) and line[11] != " " for line in lines[1:])


@pytest.mark.parametrize("room", [52, 60, 80, 100, 120, 140, 170])
def test_a_table_fits_the_terminal_and_what_is_whole_stays_whole(room):
    shown = text_table(COLUMNS, ROWS, Screen(room))
    lines = shown.split("\n")
    assert max(map(width, lines)) <= room and " ".join(shown.split()).count("Popular.") == 1
    for row in ROWS:
        (line,) = (line for line in lines if line.startswith(row[0]))
        assert row[2] in line and row[3] in line
        title = line[len(row[0]) :].split(row[2])[0].strip()
        assert title == row[1] or (title.endswith("…") and row[1].startswith(title[:-1].rstrip()))
    words = [word for line in lines for word in line.split()]
    assert [word for word in words if word in WHY.split()] == WHY.split()


def test_a_terminal_too_narrow_cuts_no_id_and_no_number():
    columns = (Column("user_id"), Column("title", "title"), Column("score", "number"))
    row = ("u" * 40, "a title of many words for a screen", "0.123456789")
    (line,) = text_table(columns, [row], Screen(30)).split("\n")[1:]
    assert row[0] in line and row[2] in line and "a title of …" in line


def test_a_cell_goes_on_in_the_next_line_only_where_there_is_no_room():
    columns, row = (Column("method"), Column("ndcg"), Column("auc")), ("llmrec", "0.1\n[0.0, 0.2]", "0.5\n[0.4, 0.6]")
    assert text_table(columns, [row]) == "method  ndcg            auc\nllmrec  0.1 [0.0, 0.2]  0.5 [0.4, 0.6]"
    assert text_table(columns, [row], Screen(38)) == text_table(columns, [row])
    assert text_table(columns, [row], Screen(37)).split("\n") == [
        "method  ndcg        auc",
        "llmrec  0.1         0.5",
        "        [0.0, 0.2]  [0.4, 0.6]",
    ]


def test_a_paragraph_is_indented_as_far_as_its_beginning():
    text = " ".join(["word"] * 30)
    lines = paragraph(text, Screen(40), "note: ").split("\n")
    assert lines[0].startswith("note: word") and all(line.startswith("      word") for line in lines[1:]) and len(lines) > 3
    assert max(map(len, lines)) <= 40 and " ".join(" ".join(lines).split()) == f"note: {text}"
    assert paragraph(text, begin="note: ") == f"note: {text}"
    assert paragraph(text, Screen(5), "note: ").count("word") == 30


# ---------------------------------------------------------------------------------------- which screen it is


def test_heads_are_bold_on_a_terminal_alone(terminal, monkeypatch):
    assert screen_of(terminal) == Screen(60, bold=True) and screen_of(io.StringIO()) == PLAIN
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert screen_of(io.StringIO()) == PLAIN
    monkeypatch.setenv("TERM", "dumb")
    assert not screen_of(terminal).bold
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen_of(terminal) == Screen(60)
    head, *lines = text_table(COLUMNS, ROWS, Screen(1000, bold=True)).split("\n")
    assert head.startswith("\x1b[1mitem_id") and "\n".join(lines) in text_table(COLUMNS, ROWS)


def test_lists_on_a_terminal_fit_and_in_a_pipe_are_whole(terminal, monkeypatch, tmp_path):
    title = "a title [of] many words that no narrow screen shows as a whole"
    table = pa.table({"user_id": ["u" * 30], "item_id": ["a"], "title": [title], "score": [0.25], "rank": [1]})
    monkeypatch.setattr(sys, "stdout", terminal)
    put(table, "table", None)
    on_terminal = terminal.shown()
    assert on_terminal.startswith("\x1b[1m") and "…" in on_terminal and title not in on_terminal
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    put(table, "table", None)
    assert sys.stdout.getvalue() == aligned(table) + "\n" and title in aligned(table)
    put(table, "table", tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == sys.stdout.getvalue()
    for form in ("csv", "json", "jsonl", "trec"):
        monkeypatch.setattr(sys, "stdout", Terminal())
        put(table, form, None)
        put(table, form, tmp_path / f"x.{form}")
        assert sys.stdout.shown() == (tmp_path / f"x.{form}").read_text(encoding="utf-8")
