"""Saved folders: written atomically, read as one whole, and checked for changed bytes on loading.

`write_folder` writes into a hidden folder beside the target, puts a manifest with the SHA-256 of every file into it, flushes
everything to the disk and puts it in place, see `llmrec.placing`. So at every moment the old save or the new one opens.

Loading opens many files, one after the other, and another process may save to the same path meanwhile. `read_folder` and
`from_one_save` then load again: what they give is of one save, the old or the new one.

Nothing here is or reads pickle: arrays are safetensors, tables Arrow, the rest JSON. Names of files never come from ids.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmrec.errors import ArtefactError
from llmrec.manifest import MANIFEST, check_files, files_of, read_manifest, sealed
from llmrec.placing import flush, fsync, previous_of, put_in_place, refuse_to_overwrite, remove_leftovers, settled, turn

T = TypeVar("T")
FORMAT = 1
TRIES = 20  # loads of one folder, while other processes save to it again and again
DTYPES = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)) | {
    *("bool", "float16", "float32", "float64", "complex64")
}


def write_folder(path: str | Path, writer: Callable[[Path], None], kind: str, meta: Mapping[str, Any]) -> None:
    """Save a folder atomically: `writer(folder)` fills an empty folder, which then takes the place of `path`.

    kind: what is saved ("adapter", "recommender", ...); `open_folder` must ask for the same.
    meta: JSON values, which `open_folder` returns; others are a TypeError, NaN a ValueError.
    Files that may stand beside a save, such as README.md, report.json and .gitattributes, stay. `~` is the home folder.
    Processes that save to one path take turns to put theirs in place; the last one stays.
    Raises ArtefactError when something is in the way that was not saved by this function or is of another kind, or the folder
    above cannot be made or written; what `writer` raises passes through. In all cases, and when the process dies, an older save
    at `path` stays as it was.
    """
    stored = json.loads(json.dumps(dict(meta), allow_nan=False))  # as it will be read: tuples are lists, keys are strings
    target = _real(path)
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with turn(target):
            refuse_to_overwrite(target, kind)
            remove_leftovers(target)
        fresh = target.with_name(f".{target.name}.saving-{secrets.token_hex(4)}")
        fresh.mkdir()
    try:
        writer(fresh)
        files = files_of(fresh)
        if MANIFEST in files:
            raise ValueError(f"{MANIFEST} is written by write_folder: the writer must choose another name")
        manifest = {"format": FORMAT, "kind": kind, "llmrec": library_version(), "meta": stored, "files": files}
        (fresh / MANIFEST).write_bytes(sealed(manifest))
        flush(fresh)
        with writing_to(target), turn(target):
            refuse_to_overwrite(target, kind)  # another process may have saved here meanwhile
            put_in_place(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # it is gone already unless something went wrong


def check_target(path: str | Path, kind: str | None = None) -> None:
    """Raises ArtefactError where `write_folder` would refuse or fail to write, for work that takes long before it saves.

    kind: what will be saved; None where a save of any kind may be replaced.

    Nothing stays behind: the nearest folder above that is there is tried with an empty file.
    """
    target = _real(path)
    with writing_to(target):
        refuse_to_overwrite(target, kind)
    check_parent(target)


def check_parent(path: str | Path) -> None:
    """Raises ArtefactError where no file or folder can be written at `path`, which need not be there, nor the folders above."""
    target = _real(path)
    with writing_to(target):
        there = next(folder for folder in target.parents if folder.exists())
        tempfile.TemporaryFile(dir=there).close()


def open_folder(path: str | Path, kind: str) -> dict[str, Any]:
    """Verify every file of a saved folder and return its `meta`. Who reads its files too asks `read_folder`.

    Raises ArtefactError when the folder is not there, is of another kind or a newer format, or when a file is missing, was
    added, or is not byte for byte what was saved. Texts (*.md, LICENSE), the report and figure of a fit, and what git, the hub
    and file managers put into a folder may be added.
    """
    return read_folder(path, kind, lambda folder, meta: meta)


def read_folder(path: str | Path, kind: str, read: Callable[[Path, dict[str, Any]], T]) -> T:
    """Verify every file of a saved folder, and give what `read(folder, meta)` makes of them; all of it is of one save.

    read: changes nothing, for it is called again when another process saves to `path` meanwhile.
    Raises ArtefactError as `open_folder` and `from_one_save`; what `read` raises passes through.
    """
    return from_one_save(path, lambda folder: read(folder, _verified(folder, kind)))


def from_one_save(path: str | Path, load: Callable[[Path], T]) -> T:
    """What `load(folder)` gives, while nobody saves to `path`: where another process does meanwhile, `load` is called again.

    Raises ArtefactError where other processes save there in each of TRIES loads; what `load` raises passes through, unless
    another process saved meanwhile.
    """
    target, last = _real(path), None
    for _ in range(TRIES):
        there = settled(target)
        before = _stamp(target)
        if there and before is None:
            continue  # the next save has begun since
        try:
            found = load(located(path))
        except Exception as error:  # of any kind: half of one save and half of another can fail anywhere
            if _stamp(_real(path)) == before:
                raise
            last = error
        else:
            if _stamp(_real(path)) == before:
                return found
        target = _real(path)
    raise ArtefactError(
        f"{path}: expected one save for the length of a load, but another process is saving here and did so during each of "
        f"{TRIES} loads; load when it is done, or let it save less often"
    ) from last


def _verified(folder: Path, kind: str) -> dict[str, Any]:
    target = _real(folder)
    manifest = read_manifest(target)
    if manifest["format"] != FORMAT:
        raise ArtefactError(
            f"{folder}: expected format {FORMAT}, got {manifest['format']}, written by llmrec {manifest['llmrec']}; this is "
            f"llmrec {library_version()}: install the version that wrote it, or save again with this one"
        )
    if manifest["kind"] != kind:
        raise ArtefactError(
            f'{folder}: expected "{kind}", got "{manifest["kind"]}"; give the path of a folder that was saved as "{kind}"'
        )
    check_files(target, manifest["files"])
    return manifest["meta"]


def _stamp(target: Path) -> object:
    """What tells a save from every other one at the same path, also from one of the same bytes; None where nothing is."""
    try:
        with (target / MANIFEST).open("rb") as stream:
            of = os.fstat(stream.fileno())
            return of.st_dev, of.st_ino, of.st_mtime_ns, stream.read()
    except OSError:  # no save: a folder, a file or nothing
        return target.stat().st_ino if target.exists() else None


def is_there(path: str | Path) -> bool:
    """Whether something is at a path, also while a save is between its two renames, and after one that was killed there."""
    target = _real(path)
    return target.exists() or previous_of(target).exists() or target.exists()  # the last: a save has come to its end


def located(path: str | Path) -> Path:
    """The path with `~` and `~name` at its beginning read as home folders, as a shell does."""
    return Path(path).expanduser()


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(located(path)))


def library_version() -> str:
    """Version of the installed llmrec, or "source" for a checkout that nobody installed."""
    try:
        return metadata.version("llmrec")
    except metadata.PackageNotFoundError:
        return "source"


def cache_folder() -> Path:
    """Where things that can be computed again are kept: `$LLMREC_CACHE`, else `llmrec` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("LLMREC_CACHE"):
        return located(own)
    return located(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmrec"


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays of any shape, bool, integer, float or complex64, as a safetensors file. Raises TypeError for other types."""
    # safetensors writes memory as it lies: a transposed view would come back as other numbers, hence order="C"
    dense = {name: np.array(values, order="C", copy=None) for name, values in arrays.items()}
    for name, values in dense.items():
        if values.dtype.name not in DTYPES:
            raise TypeError(f"array {name!r} is {values.dtype}: expected one of {', '.join(sorted(DTYPES))}; convert it")
    save_file(dense, path)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, writable. Raises ArtefactError for a file that is missing or is none."""
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError, KeyError) as error:  # KeyError: a type that numpy does not have
        raise ArtefactError(f"{path}: expected arrays in safetensors, got {error!r}; save it again") from error


def save_json(path: Path, value: Any) -> None:
    """Any JSON value, human-readable; NaN and infinities are refused with ValueError, as other readers would."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="ascii")


def load_json(path: Path) -> Any:
    """The value of a JSON file. Raises ArtefactError for a file that is missing or is none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise ArtefactError(f"{path}: expected JSON, got {error!r}; save it again") from error


def save_ids(path: Path, ids: Sequence[str | int | uuid.UUID]) -> None:
    """Ids of one kind (str, int or UUID), in order, as JSON that knows the kind. Raises TypeError for other or mixed kinds."""
    kinds = {_id_kind(value) for value in ids}
    if len(kinds) > 1:
        raise TypeError(f"ids: expected one kind, got {sorted(kinds)}; convert them all to str")
    kind = next(iter(kinds), "str")
    plain = {"str": str, "int": int, "uuid": str}[kind]
    save_json(path, {"kind": kind, "ids": [plain(value) for value in ids]})


def load_ids(path: Path) -> list[Any]:
    """The ids as they were saved: same order, same kind. Raises ArtefactError for a file that is missing or is none."""
    saved = load_json(path)
    if not isinstance(saved, dict) or saved.get("kind") not in ("str", "int", "uuid") or not isinstance(saved.get("ids"), list):
        raise ArtefactError(f"{path}: expected saved ids of kind str, int or uuid, got something else; save it again")
    return [uuid.UUID(value) for value in saved["ids"]] if saved["kind"] == "uuid" else saved["ids"]


def save_table(path: Path, table: pa.Table) -> None:
    """A table as an Arrow file, which keeps every Arrow type exactly."""
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as sink:
        sink.write_table(table)


def load_table(path: Path) -> pa.Table:
    """The table of an Arrow file. Raises ArtefactError for a file that is missing or is none."""
    try:
        return pa.ipc.open_file(path.read_bytes()).read_all()
    except (FileNotFoundError, pa.ArrowException) as error:
        raise ArtefactError(f"{path}: expected an Arrow table, got {error!r}; save it again") from error


def _id_kind(value: object) -> str:
    if isinstance(value, uuid.UUID):
        return "uuid"
    if isinstance(value, str):
        return "str"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return "int"
    raise TypeError(f"ids: expected str, int or UUID, got {type(value).__name__}: {value!r}; convert it to str")


@contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """What the system refuses inside becomes an ArtefactError that names the target."""
    try:
        yield
    except ArtefactError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise ArtefactError(f"{target}: expected a path that can be written to, got {why!r}; choose another path") from error


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path beside `path` for the block to write to. The file takes the place of `path` when the block ends: who reads it sees
    the old file or the new one; a block that raises leaves nothing. Raises ArtefactError where `path` cannot be written to."""
    target = _real(path)
    fresh = target.with_name(f".{target.name}.saving-{secrets.token_hex(4)}")
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield fresh
            fsync(fresh)
            os.replace(fresh, target)
            fsync(target.parent)
        finally:
            fresh.unlink(missing_ok=True)
