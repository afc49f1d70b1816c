"""Tables of data sets on the Hugging Face hub, by their addresses; the only module that imports `datasets`.

An address is `hf://datasets/owner/name`, with or without a file behind it. One file needs huggingface_hub alone. Of a whole
data set the library `datasets` says which files belong to which split; they are downloaded and read as files on this machine
are, so that ids stay as they are written. No code of a data set is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pyarrow as pa

from llmrec.data.files import TEXT
from llmrec.errors import DataError, MissingExtraError
from llmrec.hub import (
    DataFile,
    address,
    data_file,
    fetched_file,
    files_of,
    first_line,
    hub_errors,
    is_address,
    newest_commit,
    some_addresses,
)

_NO_SCRIPTS = 4  # the first version of `datasets` that runs no code of a data set
_FORMATS = (".parquet", ".arrow")  # in which a table may be spread over several files


@dataclass(frozen=True)
class _Choice:
    """Which part of a whole data set, in the words of `datasets.load_dataset`; None where there is only one."""

    name: str | None = None
    split: str | None = None


def fetched_table(source: str | Path, named: str) -> tuple[Path, ...]:
    """The files of a table on the hub, downloaded to its cache: one file of any kind, or the Parquet or Arrow parts of a table.

    source: `hf://datasets/owner/name[@revision]/path` for one file, `hf://datasets/owner/name[@revision][?name=...&split=...]`
        for a data set, with name and split as `datasets.load_dataset` takes them where there are several.
    named: the table in messages.
    Raises DataError for any other address, for a data set, file or split that is not there or may not be read, for files that
    are not one table, and where the hub is out of reach; MissingExtraError where a whole data set needs the extra `datasets`.
    """
    uri, _, query = address(source).partition("?")
    of = data_file(uri, named)
    choice = _choice(query, named)
    if of.path and query:
        raise DataError(f"{named}: expected a file or a split, got both; leave out ?{query}, or the file")
    if of.path:
        return (fetched_file(of, named),)
    pinned = replace(of, revision=newest_commit(of, named))
    paths = _one_table(_split(pinned, choice, of, uri, named), of, named)
    return tuple(fetched_file(replace(pinned, path=path), named) for path in paths)


def as_dataset(table: pa.Table) -> Any:
    """The table as a Hugging Face dataset. Raises MissingExtraError."""
    return _library().Dataset(table)


def _choice(query: str, named: str) -> _Choice:
    pairs = parse_qsl(query, keep_blank_values=True)
    known = {"name", "split"}
    if (query and not pairs) or any(key not in known or not value for key, value in pairs) or len(dict(pairs)) < len(pairs):
        raise DataError(f"{named}: expected ?split=train or ?name=SUBSET&split=train behind the name, got ?{query}")
    return _Choice(**dict(pairs))


def _split(of: DataFile, choice: _Choice, said: DataFile, uri: str, named: str) -> list[str]:
    """Addresses of the files of the split that is asked for. of: the data set at a commit. said: the same as it was given."""
    library = _library()
    place = f"hf://datasets/{of.repo_id}"  # never a folder on this machine
    with hub_errors(of, named):
        try:
            builder = library.load_dataset_builder(place, choice.name, revision=of.revision)
        except (FileNotFoundError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, ValueError):
                _check_name(library.get_dataset_config_names(place, revision=of.revision), choice.name, uri, named)
            raise DataError(
                f"{named}: the library datasets cannot tell which tables the data set holds ({first_line(error)}); give one of "
                "its files, as in "
                f"{some_addresses(said, files_of(of)) or f'{uri}/events.csv'}"
            ) from error
    files = {str(split): [str(file) for file in files] for split, files in (builder.config.data_files or {}).items()}
    splits = ", ".join(map(repr, files))
    if choice.split is not None and choice.split not in files:
        raise DataError(f"{named}: there is no split {choice.split!r}, expected one of {splits}")
    if choice.split is None and len(files) != 1:
        named_too = f"name={quote(choice.name)}&" if choice.name else ""
        raise DataError(
            f"{named} is a data set with the splits {splits}, expected one table; name a split, as in "
            f"'{uri}?{named_too}split={quote(next(iter(files), 'train'))}', in quotes in a terminal"
        )
    return files[choice.split or next(iter(files))]


def _check_name(names: list[str], name: str | None, uri: str, named: str) -> None:
    """Raises DataError where a data set has several subsets and none of them is named."""
    if name not in names and (name is not None or len(names) > 1):
        shown = ", ".join(map(repr, names))
        came = "no name" if name is None else f"{name!r}"
        raise DataError(
            f"{named}: the data set has the subsets {shown}, expected the name of one, got {came}; say "
            f"'{uri}?name={quote(names[0])}', in quotes in a terminal"
        )


def _one_table(files: list[str], of: DataFile, named: str) -> list[str]:
    """The paths of the files of a split. Raises DataError where they are not one table."""
    found = [data_file(file, named) if is_address(file) else DataFile("") for file in files]
    if any(file.repo_id != of.repo_id for file in found):
        raise DataError(f"{named}: its files lie elsewhere, such as {files[0]!r}; download them, and give a file or a folder")
    paths = [file.path for file in found]
    kinds = {Path(path).suffix.lower() for path in paths}
    if len(paths) != 1 and not (len(kinds) == 1 and kinds <= {*_FORMATS}):
        raise DataError(
            f"{named} holds {len(paths):,} files, which may not be one table, expected one file, or Parquet files; give one, "
            f"as in {some_addresses(of, paths)}"
        )
    if not kinds <= {*_FORMATS, *TEXT}:
        raise DataError(f"{named} holds {paths[0]!r}, expected a table, such as a .parquet or .csv file")
    return paths


def _library() -> Any:
    """The library `datasets`. Raises MissingExtraError where it is missing, or so old that it runs code of data sets."""
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "a whole data set of the Hugging Face hub needs the library datasets: pip install 'llmrec[datasets]', or give one "
            "file of it, as in hf://datasets/owner/name/events.csv"
        ) from error
    if int(datasets.__version__.partition(".")[0]) < _NO_SCRIPTS:
        raise MissingExtraError(
            f"datasets {datasets.__version__} runs code of data sets, expected {_NO_SCRIPTS} or newer: pip install "
            "'llmrec[datasets]'"
        )
    return datasets
