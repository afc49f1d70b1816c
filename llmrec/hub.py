"""The Hugging Face hub: saved folders pushed to it and fetched from it, and files of its data sets."""

from __future__ import annotations

import glob
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmrec.errors import ArtefactError, DataError, LlmrecError
from llmrec.manifest import MANIFEST, may_stand_beside
from llmrec.store import is_there, library_version, located

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"hf:/+(?=[^/])")  # a Path has lost one of the two slashes
_SHOWN = 3  # files of a data set in a message
NOT_READ = "of addresses on the web only hf://datasets/owner/name is read: download the file first"


def is_address(source: Any) -> bool:
    """Whether a table is given by an address on the hub, such as hf://datasets/owner/name."""
    return isinstance(source, (str, Path)) and _ADDRESS.match(str(source)) is not None


def address(source: str | Path) -> str:
    """The address as text, with both slashes of hf://."""
    return _ADDRESS.sub("hf://", str(source), count=1)


def is_name(text: str) -> bool:
    """Whether the hub could have a repository of this name, such as owner/name; nothing is asked."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class DataFile:
    """A file of a data set on the hub. repo_id: "owner/name". path: of the file in the repository; "" for the whole data set.
    revision: a branch, a tag or a commit; None for the main branch."""

    repo_id: str
    path: str = ""
    revision: str | None = None


def data_file(uri: str, named: str) -> DataFile:
    """What `hf://datasets/owner/name[@revision][/path]` means. named: the table in messages. Raises DataError for any other
    address."""
    from huggingface_hub import parse_hf_uri
    from huggingface_hub.errors import HfUriError

    expected = f"{named}: expected an address such as hf://datasets/owner/name or hf://datasets/owner/name/events.csv"
    try:
        found = parse_hf_uri(uri)
    except HfUriError as error:
        raise DataError(f"{expected} ({first_line(error)})") from error
    if found.type != "dataset":
        raise DataError(f"{expected}, got that of a {found.type}")
    return DataFile(found.id, found.path_in_repo.strip("/"), found.revision)


def newest_commit(of: DataFile, named: str) -> str:
    """The commit that the revision of a data set stands for now. Raises DataError as `fetched_file`."""
    from huggingface_hub import HfApi

    with hub_errors(of, named):
        api = HfApi(library_name="llmrec", library_version=library_version())
        return str(api.dataset_info(of.repo_id, revision=of.revision).sha)


def fetched_file(of: DataFile, named: str) -> Path:
    """A file of a data set, downloaded to the hub's cache with the token of `hf auth login` or HF_TOKEN.

    Without a connection, or with HF_HUB_OFFLINE=1, a copy in the cache is taken.
    Raises DataError where there is no such data set, revision or file, where it may not be read, and where the hub is out of
    reach and no copy is cached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with hub_errors(of, named):
        try:
            found = hf_hub_download(
                of.repo_id,
                of.path,
                repo_type="dataset",
                revision=of.revision,
                library_name="llmrec",
                library_version=library_version(),
            )
        except LocalEntryNotFoundError:  # the hub is out of reach
            raise
        except EntryNotFoundError as error:
            there = files_of(of)
            below = [name for name in there if name.startswith(f"{of.path}/")]
            came = "a folder" if below else "no file of that name"
            raise DataError(
                f"{named}: expected a file of the data set {of.repo_id!r}, got {came}; give one, as in "
                f"{some_addresses(of, below or there)}"
            ) from error
    return Path(found)


def files_of(of: DataFile) -> list[str]:
    """Paths of all files of a data set but README.md and the like. Raises errors of the hub's library; see `hub_errors`."""
    from huggingface_hub import HfApi

    api = HfApi(library_name="llmrec", library_version=library_version())
    return _own(api.list_repo_files(of.repo_id, revision=of.revision, repo_type="dataset"))


def some_addresses(of: DataFile, paths: Sequence[str]) -> str:
    """The first addresses of some paths of a data set, in a message."""
    start = f"hf://datasets/{of.repo_id}" + (f"@{of.revision}" if of.revision else "")
    return ", ".join(f"{start}/{path}" for path in paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")


@contextmanager
def hub_errors(of: DataFile, named: str) -> Iterator[None]:
    """Errors of the hub become a DataError with the remedy."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except LlmrecError:
        raise
    except (HTTPError, OSError, ValueError) as error:
        raise DataError(f"{named}: {_why(error, of.revision, 'data set')}") from error


def fetched(folder: str | Path, revision: str | None = None, token: str | None = None) -> Path:
    """A saved folder on this machine: the folder of that name or, if there is none and the name is text such as
    "name/shop", the repository of that name on the Hugging Face hub, downloaded to its cache.

    revision: branch, tag or commit of the repository; None for the main branch. token: for a private repository; None for that
    of `hf auth login` or HF_TOKEN. The caller must check whether a folder exists.
    Without a connection, or with HF_HUB_OFFLINE=1, a complete copy in the cache is used.
    Raises ArtefactError if there is no such repository or revision, if it may not be read, and if the hub cannot be reached
    and no copy is cached; DataError for a revision of a folder on this machine.
    """
    path = located(folder)
    if is_there(path) or not isinstance(folder, str) or not is_name(folder):
        if revision is not None:
            raise DataError(
                f"revision is {revision!r}, expected None for a folder on this machine, which {str(folder)!r} is read as; a "
                'repository on the hub has a name such as "name/shop"'
            )
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    try:
        return Path(
            snapshot_download(folder, revision=revision, token=token, library_name="llmrec", library_version=library_version())
        )
    except (HTTPError, OSError, ValueError) as error:
        raise ArtefactError(f"{folder!r}: there is no such folder here, and {_why(error, revision)}") from error


def cached_commit(name: str, revision: str | None = None) -> str | None:
    """The commit of a repository whose config.json lies in the hub's cache; None where it does not. Nothing is asked."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def push(
    save: Callable[[Path], None],
    repo_id: str,
    beside: Path | None = None,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> str:
    """Push the folder of `save(folder)` to a repository on the Hugging Face hub, in one commit; returns its address.

    beside: a folder whose texts, such as README.md, are pushed too. private: for a new repository; None
    for the default of the account. revision: a branch, created if needed; None for the main one.
    Files of an older save that are no longer there are deleted; README.md and other texts of the repository stay.
    Raises ArtefactError for a repository that holds something other than a saved folder, which is not changed, for a name that
    the hub does not allow, and if it refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "saved"
        save(folder)
        if beside is not None:
            _copy_texts(beside, folder)
        here = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        api = HfApi(token=token, library_name="llmrec", library_version=library_version())
        try:
            repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision is not None:
                api.create_branch(repository, branch=revision, exist_ok=True)
            there = api.list_repo_files(repository, revision=revision)
            if _own(there) and MANIFEST not in there:
                raise ArtefactError(
                    f"{repository!r} on the hub: expected an empty repository or one with a saved folder, got files such as "
                    f"{_own(there)[0]!r}, which are left alone; choose another name"
                )
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=f"Upload with llmrec {library_version()}",
                revision=revision,
                delete_patterns=[glob.escape(name) for name in _own(there) if name not in here],
            )
        except ArtefactError:
            raise
        except (HTTPError, OSError, ValueError) as error:
            raise ArtefactError(f"{repo_id!r} is not pushed: {_why(error, revision)}") from error
        return str(commit.commit_url)


def _own(names: Iterable[str]) -> list[str]:
    """Of relative POSIX paths in a saved folder, those of the save itself: all but what may stand beside it."""
    return sorted(name for name in names if not may_stand_beside(name))


def _copy_texts(beside: Path, folder: Path) -> None:
    """Copy the files that stand beside a save, such as README.md; not hidden ones, which belong to tools on this machine."""
    names = {file.relative_to(beside).as_posix() for file in beside.rglob("*") if file.is_file()}
    for name in sorted(names - set(_own(names))):
        if not any(part.startswith(".") for part in name.split("/")) and not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(beside / name, folder / name)


def _why(error: Exception, revision: str | None, kind: Literal["repository", "data set"] = "repository") -> str:
    """What the hub refused, and the remedy."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    saved = kind == "repository"
    log_in = f"log in with `hf auth login`, or {'pass token=' if saved else 'set HF_TOKEN'}"
    if isinstance(error, GatedRepoError):
        return f"the {kind} on the hub is restricted: ask for access on its page, and {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"no {kind} of that name on the Hugging Face hub that you may read; check the name, and for a private one {log_in}"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the {kind} on the hub has no revision {revision!r}; expected a branch, a tag or a commit of it"
    if isinstance(error, HFValidationError):
        return f"the hub does not allow such a name; expected one such as 'name/shop' ({error})"
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        right = ", with the right to write where you push" if saved else ""
        return f"the hub refuses it; {log_in}{right} ({first_line(error)})"
    return (
        "the Hugging Face hub cannot be reached or fails, and no complete copy is in its cache; check the connection and "
        f"HF_HUB_OFFLINE, or give the path of a {'folder' if saved else 'file'} ({first_line(error)})"
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message that is not empty, or the name of its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
