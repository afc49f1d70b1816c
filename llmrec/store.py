"""Saved folders: written atomically, and checked for changed bytes on loading.

`write_folder` writes into a hidden folder beside the target, puts a manifest with the SHA-256 of every file into it, flushes
everything to the disk and renames it into place. Replacing an older save takes two renames, through `.NAME.previous`:

    NAME -> .NAME.previous        a crash here leaves no NAME: `open_folder` puts .NAME.previous back
    .NAME.saving-… -> NAME        from here on the new one is in place

So at every moment the old save or the new one opens. Two processes must not save to one path at once.

Hashes find damage (a copy cut short, a disk that lies); they are no signature and do not stop somebody who wants to deceive.
Nothing here is or reads pickle: arrays are safetensors, tables Arrow, the rest JSON. Names of files never come from ids.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmrec.errors import ArtefactError

FORMAT = 1
MANIFEST = "manifest.json"
REPORT, FIGURE = "report.json", "report.png"  # what `llmrec fit` measured, for people: nothing here is read from it
BESIDE = frozenset(
    {".gitattributes", ".gitignore", ".DS_Store", "Thumbs.db", "desktop.ini", "LICENSE", REPORT, FIGURE}
)  # and *.md
TOOLS = (".git", ".cache/huggingface")  # folders that git and the Hugging Face hub keep in a copy of a folder
DTYPES = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)) | {
    *("bool", "float16", "float32", "float64", "complex64")
}


def write_folder(path: str | Path, writer: Callable[[Path], None], kind: str, meta: Mapping[str, Any]) -> None:
    """Save a folder atomically: `writer(folder)` fills an empty folder, which then takes the place of `path`.

    kind: what is saved ("adapter", "recommender", ...); `open_folder` must ask for the same.
    meta: JSON values, which `open_folder` returns; others are a TypeError, NaN a ValueError.
    Files that may stand beside a save, such as README.md, report.json and .gitattributes, stay. `~` is the home folder.
    Raises ArtefactError when something that was not saved by this function is in the way, or the folder above cannot be made
    or written; what `writer` raises passes through. In all cases, and when the process dies, an older save at `path` stays as
    it was.
    """
    stored = json.loads(json.dumps(dict(meta), allow_nan=False))  # as it will be read: tuples are lists, keys are strings
    target = Path(os.path.realpath(located(path)))
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _recover(target)
    _refuse_to_overwrite(target)
    _remove_leftovers(target)
    fresh = target.with_name(f".{target.name}.saving-{secrets.token_hex(4)}")
    with writing_to(target):
        fresh.mkdir()
    try:
        writer(fresh)
        files = _files(fresh)
        if MANIFEST in files:
            raise ValueError(f"{MANIFEST} is written by write_folder: the writer must choose another name")
        manifest = {"format": FORMAT, "kind": kind, "llmrec": library_version(), "meta": stored, "files": files}
        (fresh / MANIFEST).write_bytes(_sealed(manifest))
        _flush(fresh)
        _keep_beside(target, fresh)
        _put_in_place(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # it is gone already unless something went wrong


def check_target(path: str | Path) -> None:
    """Raises ArtefactError where `write_folder` would refuse or fail to write, for work that takes long before it saves.

    Nothing stays behind: the nearest folder above that is there is tried with an empty file.
    """
    target = Path(os.path.realpath(located(path)))
    with writing_to(target):
        _refuse_to_overwrite(target)
    check_parent(target)


def check_parent(path: str | Path) -> None:
    """Raises ArtefactError where no file or folder can be written at `path`, which need not be there, nor the folders above."""
    target = Path(os.path.realpath(located(path)))
    with writing_to(target):
        there = next(folder for folder in target.parents if folder.exists())
        tempfile.TemporaryFile(dir=there).close()


def open_folder(path: str | Path, kind: str) -> dict[str, Any]:
    """Verify every file of a saved folder and return its `meta`.

    Raises ArtefactError when the folder is not there, is of another kind or a newer format, or when a file is missing, was
    added, or is not byte for byte what was saved. Texts (*.md, LICENSE), the report and figure of a fit, and what git, the hub
    and file managers put into a folder may be added.
    """
    target = Path(os.path.realpath(located(path)))
    if not target.exists():
        time.sleep(0.05)  # another process that saves right now is between its two renames for microseconds
        _recover(target)
    manifest = _manifest(target)
    if manifest["format"] != FORMAT:
        raise ArtefactError(
            f"{path}: expected format {FORMAT}, got {manifest['format']}, written by llmrec {manifest['llmrec']}; this is "
            f"llmrec {library_version()}: install the version that wrote it, or save again with this one"
        )
    if manifest["kind"] != kind:
        raise ArtefactError(f"{path}: expected a saved {kind}, got a saved {manifest['kind']}; give the path of a {kind}")
    expected, remedy = manifest["files"], "copy the folder again, or save it again"
    for name, wanted in expected.items():
        file = target / name
        if not file.is_file():
            raise ArtefactError(f"{file}: expected a file of {wanted['size']:,} bytes, got nothing; {remedy}")
        if file.stat().st_size != wanted["size"]:
            raise ArtefactError(f"{file}: expected {wanted['size']:,} bytes, got {file.stat().st_size:,}; {remedy}")
        if (found := _sha256(file)) != wanted["sha256"]:
            raise ArtefactError(
                f"{file}: expected SHA-256 {wanted['sha256'][:12]}…, got {found[:12]}…: changed since saved; {remedy}"
            )
    for file in sorted(target.rglob("*")):
        name = file.relative_to(target).as_posix()
        if not file.is_dir() and name not in expected and name != MANIFEST and not may_stand_beside(name):
            raise ArtefactError(f"{file}: expected only the files that were saved, got this one too; move it out of the folder")
    return manifest["meta"]


def located(path: str | Path) -> Path:
    """The path with `~` and `~name` at its beginning read as home folders, as a shell does."""
    return Path(path).expanduser()


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


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """The manifest's only spelling, with its own hash in it: any other byte sequence is damage."""
    text = json.dumps(manifest, sort_keys=True, allow_nan=False)
    seal = hashlib.sha256(text.encode()).hexdigest()
    return (json.dumps({**manifest, "seal": seal}, sort_keys=True, indent=1) + "\n").encode()


def _manifest(target: Path) -> dict[str, Any]:
    file = target / MANIFEST
    if not file.is_file():
        what = "a folder without one" if target.is_dir() else "nothing there" if not target.exists() else "a file"
        raise ArtefactError(f"{target}: expected a saved folder with a {MANIFEST}, got {what}; check the path")
    raw = file.read_bytes()
    try:
        manifest = json.loads(raw)
        manifest.pop("seal")
        whole = _sealed(manifest) == raw
    except (ValueError, KeyError, AttributeError, TypeError):  # not JSON, no seal, no object
        whole = False
    if not whole:
        raise ArtefactError(
            f"{file}: expected the manifest as it was saved, got other bytes; copy the folder again, or save it again"
        )
    return manifest


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative POSIX path -> size in bytes and SHA-256, of every file under a folder."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_symlink():
            raise ValueError(f"{file.name} is a link: a saved folder must hold files of its own")
        if file.is_file():
            files[file.relative_to(folder).as_posix()] = {"size": file.stat().st_size, "sha256": _sha256(file)}
    return files


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Everything under a folder, and the folder, onto the disk: a rename must not be there before what it names."""
    for entry in [*folder.rglob("*"), folder]:
        if entry.is_file():
            entry.chmod(0o644)  # safetensors writes for the owner alone; who else may read is for the folder above to say
        _fsync(entry)


def _fsync(entry: Path) -> None:
    if entry.is_dir() and os.name == "nt":
        return  # Windows has no handle for a folder
    descriptor = os.open(entry, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _put_in_place(fresh: Path, target: Path) -> None:
    previous = _previous(target)
    if target.exists():
        os.replace(target, previous)
    try:
        os.replace(fresh, target)
    except OSError:
        _recover(target)
        raise
    _fsync(target.parent)
    _discard(previous)


def _recover(target: Path) -> None:
    """Finish what a crash between the two renames left: the older save goes back to where it was."""
    previous = _previous(target)
    if not target.exists() and previous.exists():
        os.replace(previous, target)


def _discard(folder: Path) -> None:
    """Remove an older save. It is renamed first, so that a crash on the way leaves no half of it under a name that counts."""
    if folder.exists():
        waste = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}")
        os.replace(folder, waste)
        shutil.rmtree(waste, ignore_errors=True)


def may_stand_beside(name: str) -> bool:
    """Whether a file, named by its relative POSIX path, may be in a saved folder without having been saved."""
    last = name.rpartition("/")[2]
    return last in BESIDE or last.lower().endswith(".md") or any(name == tool or name.startswith(f"{tool}/") for tool in TOOLS)


def _keep_beside(target: Path, fresh: Path) -> None:
    """Copy what stands beside an older save into the new one, but for what the new one has itself."""
    if not target.is_dir():
        return
    for file in sorted(target.rglob("*")):
        name = file.relative_to(target)
        copy = fresh / name
        if file.is_symlink() or copy.exists() or not may_stand_beside(name.as_posix()):
            continue
        if file.is_dir():
            copy.mkdir(parents=True)  # git needs its empty folders too
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        _fsync(copy)
        _fsync(copy.parent)


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
    target = Path(os.path.realpath(located(path)))
    fresh = target.with_name(f".{target.name}.saving-{secrets.token_hex(4)}")
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield fresh
            _fsync(fresh)
            os.replace(fresh, target)
            _fsync(target.parent)
        finally:
            fresh.unlink(missing_ok=True)


def _refuse_to_overwrite(target: Path) -> None:
    empty = target.is_dir() and all(
        may_stand_beside(entry.relative_to(target).as_posix()) and not entry.is_symlink()
        for entry in target.rglob("*")
        if entry.is_symlink() or not entry.is_dir()
    )
    if target.exists() and not empty and not (target / MANIFEST).is_file():
        raise ArtefactError(
            f"{target}: expected nothing, an empty folder or an older save, got something else, which is left alone; choose "
            "another path"
        )


def _remove_leftovers(target: Path) -> None:
    """What saves that were killed left beside the target; a day old, so that it is nobody's work in progress."""
    _discard(_previous(target))
    names = (f".{target.name}.saving-", f".{target.name}.previous-")
    for folder in target.parent.iterdir():
        if folder.name.startswith(names) and time.time() - folder.stat().st_mtime > 86_400:
            shutil.rmtree(folder, ignore_errors=True)
