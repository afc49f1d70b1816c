"""What the commands share: paths, the options that say how files are written, warnings as lines."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from llmrec.data.report import counted
from llmrec.hub import NOT_READ, address, is_address
from llmrec.store import located

if TYPE_CHECKING:
    from llmrec.data.clean import CleaningReport
    from llmrec.data.reading import OnBadRows, Reading
    from llmrec.data.table_format import TableFormat
    from llmrec.recommender.settings import Settings

Command = Callable[..., Any]
_KEY = "llmrec.format"
FEW_USERS = 200
_MAP = re.compile(r"(item_)?columns=\{([^{}]*)\}")
_TYPED = (  # what the library says in the words of Python, and what is typed instead
    (
        'name event types: Settings(signed=SignedFeedback(positive=("like",), negative=("dislike",))), and fit again',
        "name event types in the file of `llmrec fit --settings`, as `signed: {positive: [like], negative: [dislike]}`",
    ),
    ("another output_dir", "another folder for --checkpoints"),
    ("name the columns in fit(..., context=[...])", "name the columns by --context of `llmrec fit`"),
    (
        "fit some with it, and save them with save_pretrained(folder, recommender=True)",
        "train with `llmrec fit --scene COLUMN`",
    ),
    (
        "pass from_pretrained(folder, ranker=PATH), a folder or a GGUF file",
        "give its place, a folder or a GGUF file, by --ranker",
    ),
    ("leave out chat=True", "leave out --ranker-chat"),
    ("see fit(..., users=table)", "see `llmrec fit --users`"),
    ("pass users=table", "give a file that has some by --users"),
    ("pass a table that has some as histories", "give a file that has some by --histories"),
    ("users is a Table, expected a list of ids; pass one column of it, or the table as histories if it holds events. ", ""),
    (
        "was fitted with some: fit(..., users=table)",
        "was fitted with some, by `llmrec fit --users`; events are for --histories",
    ),
)
_PAIR = re.compile(r"""(["'])(.*?)\1: (["'])(.*?)\3""")


class FilePath(click.Path):
    """A path whose `~` is the home folder, also where no shell has read it, as in `--out=~/runs`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(located(value), param, ctx)


class TablePath(FilePath):
    """The path of a table that is there, or its address on the Hugging Face hub as text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if is_address(value):
            return address(value)
        if "://" in str(value):
            self.fail(f"there is no file {value!r}; {NOT_READ}", param, ctx)
        return super().convert(value, param, ctx)


EXISTING = FilePath(exists=True, dir_okay=False, path_type=Path)
TABLE = TablePath(exists=True, path_type=Path)  # a file, a folder, or an address on the hub
FOLDER = FilePath(exists=True, file_okay=False, path_type=Path)
USERS = click.option("--users", metavar="ID,ID", help="Ids of known users, separated by commas.")
MOVED_RANKER = click.option(
    "--ranker",
    type=FilePath(path_type=Path),
    metavar="FOLDER|FILE.gguf",
    help="Where the language model of `llmrec fit --ranker` is now, if it was moved.  [default: where it was]",
)


@dataclass(frozen=True)
class FormatOptions:
    """How files are written, under the names of the options that say it."""

    separator: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    date_format: str | None = None
    columns: tuple[str, ...] = ()
    item_columns: tuple[str, ...] = ()
    user_columns: tuple[str, ...] = ()
    names: str | None = None
    skip_rows: int = 0
    on_bad_rows: OnBadRows = "few"
    on_duplicate: Literal["error", "first"] = "error"

    def events(self) -> TableFormat:
        """The format of the table of events; what is None is found."""
        from llmrec.data.table_format import table_format

        return table_format(
            self.encoding, self.separator, self.decimal, self.date_format, self.columns, self.names, self.skip_rows
        )

    def items(self) -> TableFormat:
        """The format of the table of items; what is None is found."""
        from llmrec.data.table_format import table_format

        return table_format(self.encoding, self.separator, self.decimal, self.date_format, self.item_columns)

    def users(self) -> TableFormat:
        """The format of the table of users; what is None is found."""
        from llmrec.data.table_format import table_format

        return table_format(self.encoding, self.separator, self.decimal, self.date_format, self.user_columns)

    def read_one(self, path: Path | str | None, what: str, shop: Path | None = None) -> Reading | None:
        """The table of "events", "items" or "users" in a file; None for no file. Raises as `llmrec.data.reading.read`.

        shop: folder of a recommender or a scene, which may know how the shop writes its files.
        """
        from llmrec.data.reading import read
        from llmrec.data.table_format import TableFormat
        from llmrec.recommender.shop_format import format_of

        known = {"events": self.events, "items": self.items, "users": self.users}[what]()
        kept = None if shop is None else format_of(shop)
        return None if path is None else read(path, what, known, self.on_bad_rows, kept or TableFormat())

    def read(self, events: Path | str, items: Path | str | None) -> tuple[Reading, Reading | None]:
        """The tables in the files. Raises what `llmrec.data.reading.read` raises."""
        from llmrec.data.reading import read

        first = read(events, "events", self.events(), self.on_bad_rows)
        return first, None if items is None else read(items, "items", self.items(), self.on_bad_rows)

    def words(self) -> list[str]:
        """The options as they would be typed, without those that are at their default."""
        said = []
        for name in ("separator", "encoding", "decimal", "date_format", "names"):
            if value := getattr(self, name):
                said += [f"--{name.replace('_', '-')}", value]
        for name in ("columns", "item_columns", "user_columns"):
            said += [word for pair in getattr(self, name) for word in (f"--{name.replace('_', '-')}", pair)]
        said += ["--skip-rows", str(self.skip_rows)] if self.skip_rows else []
        said += ["--on-bad-rows", self.on_bad_rows] if self.on_bad_rows != "few" else []
        return said + (["--on-duplicate", self.on_duplicate] if self.on_duplicate != "error" else [])

    def event_words(self) -> list[str]:
        """The same of a command that reads a table of events alone."""
        return replace(self, item_columns=(), user_columns=(), on_duplicate="error").words()


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """The value goes into the FormatOptions of the call, and not to the command."""
    before = ctx.meta.get(_KEY, FormatOptions())
    ctx.meta[_KEY] = replace(before, **{str(param.name): value})


_EVENTS = (
    click.option(
        "--separator",
        expose_value=False,
        callback=_keep,
        metavar="CHARACTER",
        help="Between fields: ';', ',', '|', tab, '::'.  [default: detected]",
    ),
    click.option(
        "--encoding",
        expose_value=False,
        callback=_keep,
        metavar="NAME",
        help="Such as utf-8, cp1252, latin-1, gbk, utf-16.  [default: detected]",
    ),
    click.option("--decimal", expose_value=False, callback=_keep, metavar="SIGN", help="comma or point.  [default: detected]"),
    click.option(
        "--date-format",
        expose_value=False,
        callback=_keep,
        metavar="ORDER",
        help="Order of day, month and year: dmy, mdy or ymd, or spelled out, as dd.mm.yyyy.  [default: detected]",
    ),
    click.option(
        "--columns",
        expose_value=False,
        callback=_keep,
        metavar='"THEIRS=OURS"',
        multiple=True,
        help='What a column means, as in "Kundennr=user_id"; may be repeated.',
    ),
    click.option(
        "--names",
        expose_value=False,
        callback=_keep,
        metavar="A,B,C",
        help="Column names of the events file, if it has no header line.",
    ),
    click.option(
        "--skip-rows",
        expose_value=False,
        callback=_keep,
        type=click.IntRange(min=0),
        default=0,
        help="Lines to skip above the header line.",
    ),
    click.option(
        "--on-bad-rows",
        expose_value=False,
        callback=_keep,
        type=click.Choice(["error", "few", "skip"]),
        default="few",
        show_default=True,
        help="Rows with too many or too few fields: stop with an error; leave them out if there is only one, or at most 1 in "
        "100; or always leave them out.",
    ),
)
_ITEMS = (
    click.option(
        "--item-columns",
        expose_value=False,
        callback=_keep,
        metavar='"THEIRS=OURS"',
        multiple=True,
        help="Like --columns, for the items file.",
    ),
    click.option(
        "--on-duplicate",
        expose_value=False,
        callback=_keep,
        type=click.Choice(["error", "first"]),
        default="error",
        show_default=True,
        help="Items listed twice with different values: stop with an error, or keep the first.",
    ),
)
_USERS = (
    click.option(
        "--user-columns",
        expose_value=False,
        callback=_keep,
        metavar='"THEIRS=user_id"',
        multiple=True,
        help="Like --columns, for the file of users, in which only user_id has a meaning.",
    ),
)


def format_options(command: Command) -> Command:
    """The options of `FormatOptions`, for events and items; the command asks for them by `format_given`."""
    return event_format_options(_with(command, _ITEMS))


def event_format_options(command: Command) -> Command:
    """The options of `FormatOptions` for a table of events alone."""
    return _with(command, _EVENTS)


def user_format_options(command: Command) -> Command:
    """The options of `FormatOptions` for a table of users, beside those for events."""
    return _with(command, _USERS)


def _with(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def format_given() -> FormatOptions:
    """The format options that were given to the command that runs."""
    given: FormatOptions = click.get_current_context().meta[_KEY]
    return given


def chosen_settings(settings: str) -> Settings:
    """The settings that `--settings` names. Raises click.UsageError where it is neither a name nor a file."""
    from llmrec.recommender.settings import Settings

    named = {"quick": Settings.quick, "default": Settings, "best": Settings.best}
    if settings not in named and not located(settings).exists():
        raise click.UsageError(f"--settings is {settings!r}: expected {', '.join(named)}, or the path of a YAML file")
    return named[settings]() if settings in named else Settings.from_yaml(settings)


def with_reading(report: CleaningReport, *readings: Reading | None) -> CleaningReport:
    """The report of the cleaning with what was read before it."""
    there = [reading for reading in readings if reading is not None]
    return replace(
        report,
        steps=tuple(step for reading in there for step in reading.steps) + report.steps,
        notes=tuple(in_options(note) for note in (*(note for reading in there for note in reading.notes), *report.notes)),
    )


def tell_of(*readings: Reading | None, quiet: bool) -> None:
    """A line on stderr for every step of the readings that left out rows or values, and if not `quiet` for what was
    repaired, and what was read as in the shop's other files."""
    for reading in readings:
        if reading is not None:
            for line in reading.losses:
                warn(line)
            for line in () if quiet else (*reading.assumed, *reading.repairs):
                click.echo(f"Note: {line}", err=True)


def warn(text: str) -> None:
    """A line on stderr."""
    click.echo(f"Warning: {text}", err=True)


def warn_if_few(users: int) -> None:
    """A line on stderr where there are fewer users than training pays for."""
    if users < FEW_USERS:
        warn(
            f"{counted(users, 'user')}: below a few hundred users, recommending each user's most frequent items is as good, "
            "and simpler"
        )


def in_options(text: str) -> str:
    """A message of the library with options of the commands in place of arguments of Python."""
    text = _MAP.sub(_typed_map, text)
    for python, typed in _TYPED:
        text = text.replace(python, typed)
    return text


def _typed_map(found: re.Match[str]) -> str:
    option = f"--{(found[1] or '').replace('_', '-')}columns"
    return " ".join(f'{option} "{pair[2]}={pair[4]}"' for pair in _PAIR.finditer(found[2]))


@contextmanager
def told() -> Iterator[None]:
    """Warnings of the library as lines on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            for text in dict.fromkeys(str(warning.message) for warning in caught):
                warn(in_options(text))


@contextmanager
def overheard(prefix: str = "") -> Iterator[None]:
    """What the library tells its logger as lines on stderr."""
    from llmrec.progress import LOGGER

    listener, level = _Listener(prefix), LOGGER.level
    LOGGER.addHandler(listener)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(listener)
        LOGGER.setLevel(level)


class _Listener(logging.Handler):
    def __init__(self, prefix: str):
        super().__init__()
        self.prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.prefix + in_options(record.getMessage()), err=True)
