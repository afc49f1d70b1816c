"""The manifest of a saved folder: its kind, its values, and size and SHA-256 of every file.

Hashes find damage (a copy cut short, a disk that lies); they are no signature and do not stop somebody who wants to deceive.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmrec.errors import ArtefactError

MANIFEST = "manifest.json"
REPORT, FIGURE = "report.json", "report.png"  # what `llmrec fit` measured, for people: nothing here is read from it
BESIDE = frozenset(
    {".gitattributes", ".gitignore", ".DS_Store", "Thumbs.db", "desktop.ini", "LICENSE", REPORT, FIGURE}
)  # and *.md
TOOLS = (".git", ".cache/huggingface")  # folders that git and the Hugging Face hub keep in a copy of a folder


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """The manifest's only spelling, with its own hash in it: any other byte sequence is damage."""
    text = json.dumps(manifest, sort_keys=True, allow_nan=False)
    seal = hashlib.sha256(text.encode()).hexdigest()
    return (json.dumps({**manifest, "seal": seal}, sort_keys=True, indent=1) + "\n").encode()


def read_manifest(target: Path) -> dict[str, Any]:
    """The manifest of a folder. Raises ArtefactError where there is none, or one that was changed."""
    file = target / MANIFEST
    if not file.is_file():
        what = "a folder without one" if target.is_dir() else "nothing there" if not target.exists() else "a file"
        raise ArtefactError(f"{target}: expected a saved folder with a {MANIFEST}, got {what}; check the path")
    raw = file.read_bytes()
    try:
        manifest = json.loads(raw)
        manifest.pop("seal")
        whole = sealed(manifest) == raw
    except (ValueError, KeyError, AttributeError, TypeError):  # not JSON, no seal, no object
        whole = False
    if not whole:
        raise ArtefactError(
            f"{file}: expected the manifest as it was saved, got other bytes; copy the folder again, or save it again"
        )
    return manifest


def peek(folder: Path) -> dict[str, Any]:
    """What a manifest says, without a check that it is as it was saved; empty where there is none or it is damaged."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative POSIX path -> size in bytes and SHA-256, of every file under a folder."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_symlink():
            raise ValueError(f"{file.name} is a link: a saved folder must hold files of its own")
        if file.is_file():
            files[file.relative_to(folder).as_posix()] = {"size": file.stat().st_size, "sha256": _sha256(file)}
    return files


def check_files(target: Path, expected: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ArtefactError where a file of `expected`, see `files_of`, is missing or was changed, or another one was added."""
    remedy = "copy the folder again, or save it again"
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


def may_stand_beside(name: str) -> bool:
    """Whether a file, named by its relative POSIX path, may be in a saved folder without having been saved."""
    last = name.rpartition("/")[2]
    return last in BESIDE or last.lower().endswith(".md") or any(name == tool or name.startswith(f"{tool}/") for tool in TOOLS)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
