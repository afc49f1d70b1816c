"""The Hugging Face hub: saved folders are pushed to it, and fetched from it by the name of a repository."""

from __future__ import annotations

import glob
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from llmrec.errors import ArtefactError, DataError
from llmrec.store import MANIFEST, library_version, located, may_stand_beside

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_LOG_IN = "log in with `hf auth login`, or pass token="


def fetched(folder: str | Path, revision: str | None = None, token: str | None = None) -> Path:
    """A saved folder on this machine: the folder of that name, or, where there is none and the name is text such as
    "name/shop", the repository of that name on the Hugging Face hub, downloaded to its cache.

    revision: branch, tag or commit of the repository; None for the main branch. token: for a private repository; None for that
    of `hf auth login` or HF_TOKEN. A folder that was never there is for the caller to refuse.
    Without a connection, or with HF_HUB_OFFLINE=1, a copy that is complete in the cache is taken.
    Raises ArtefactError where there is no such repository or revision, it may not be read, or the hub is out of reach and no
    copy is cached; DataError for a revision of a folder on this machine.
    """
    path = located(folder)
    there = path.exists() or path.with_name(f".{path.name}.previous").exists()  # as a killed save leaves it
    if there or not isinstance(folder, str) or not _NAME.fullmatch(folder):
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
        raise ArtefactError(f"{folder!r}: there is no such folder here, and {_why(error, folder, revision)}") from error


def push(
    save: Callable[[Path], None],
    repo_id: str,
    beside: Path | None = None,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> str:
    """Push what `save(folder)` saves to a repository on the Hugging Face hub, in one commit; the address of the commit.

    beside: a folder whose texts, such as README.md, are pushed along. private: for a repository that is not there yet; None
    for the default of the account. revision: a branch, which is made if need be; None for the main one.
    Files of an older save that are no longer there are deleted; README.md and other texts of the repository stay.
    Raises ArtefactError for a repository that holds something else than a saved folder, which is left alone, for a name that
    the hub does not allow, and where it refuses or is out of reach.
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
            raise ArtefactError(f"{repo_id!r} is not pushed: {_why(error, repo_id, revision)}") from error
        return str(commit.commit_url)


def _own(names: Iterable[str]) -> list[str]:
    """Of relative POSIX paths in a saved folder, those of the save itself: all but what may stand beside it."""
    return sorted(name for name in names if not may_stand_beside(name))


def _copy_texts(beside: Path, folder: Path) -> None:
    """Copy the files that stand beside a save, such as README.md; not hidden ones, which are of tools on this machine."""
    names = {file.relative_to(beside).as_posix() for file in beside.rglob("*") if file.is_file()}
    for name in sorted(names - set(_own(names))):
        if not any(part.startswith(".") for part in name.split("/")) and not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(beside / name, folder / name)


def _why(error: Exception, name: str, revision: str | None) -> str:
    """What the hub refused, and the remedy."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return f"the repository on the hub is restricted: ask for access on its page, and {_LOG_IN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"no repository on the Hugging Face hub that may be read; check the name, and for a private one {_LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository on the hub has no revision {revision!r}; expected a branch, a tag or a commit of it"
    if isinstance(error, HFValidationError):
        return f"the hub allows no such name; expected one such as 'name/shop' ({error})"
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        return f"the hub refuses it; {_LOG_IN}, with the right to write where you push ({_first_line(error)})"
    return (
        "the Hugging Face hub cannot be reached or fails, and no complete copy is in its cache; check the connection and "
        f"HF_HUB_OFFLINE, or give the path of a folder ({_first_line(error)})"
    )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
