"""Encode item texts: template, transformer, mean over tokens. Each distinct text is encoded once and cached on disk.

Vectors are centred (the mean over the catalogue taken off) and brought to unit length: sentence encoders put all texts into a
narrow cone, and without centring the frozen control loses a quarter of its NDCG.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llmrec.data.dataset import Catalogue
from llmrec.encoder.backbone import TextModel
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.errors import ArtefactError
from llmrec.progress import bar
from llmrec.prompts import Template, load_template
from llmrec.store import load_arrays, read_folder, save_arrays, write_folder

TOKENS_A_BATCH = 4096  # enough to fill two cores; a batch of long texts holds fewer rows
MAX_TOKENS = 64


@dataclass(frozen=True)
class Centring:
    """The mean that is taken off raw text vectors, fitted once on the training catalogue. mean: float32 (d,)."""

    mean: np.ndarray

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Unit vectors (N, d) of raw text vectors (N, d)."""
        centred = raw - self.mean
        return (centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def catalogue_vectors(
    model: TextModel, catalogue: Catalogue, template: str = "item", cache: Path | None = None
) -> tuple[np.ndarray, Centring]:
    """Centred text vectors float32 (N, d) of a catalogue, and what they were centred by. template, cache: see `load_template`
    and `encode_texts`."""
    raw = encode_texts(model, item_texts(catalogue, load_template(template)), cache)
    centring = Centring(raw.mean(0))
    return centring(raw), centring


def item_texts(catalogue: Catalogue, template: Template) -> list[str]:
    """One text per item, length N. Raises TemplateError when the catalogue lacks a required column."""
    return template.render_columns({name: catalogue.column(name) for name in catalogue.table.column_names})


def encode_texts(model: TextModel, texts: list[str], cache: Path | None = None) -> np.ndarray:
    """Raw text vectors, float32 (N, d), in the order given.

    cache: folder in which the result is kept under a hash of the model's weights and the texts' tokens; None keeps nothing.
    """
    distinct = list(dict.fromkeys(texts))
    position = {text: i for i, text in enumerate(distinct)}
    rows, index = model.tokenize(distinct, MAX_TOKENS), [position[text] for text in texts]
    place = None if cache is None else cache / "texts" / _key(model, rows, index)
    if place is not None and place.is_dir():
        try:
            return read_folder(place, "text vectors", lambda folder, _: load_arrays(folder / "vectors.safetensors")["vectors"])
        except ArtefactError:
            shutil.rmtree(place)  # damaged: computed again and written anew below
    vectors = _encode(model, rows)[index]
    if place is not None:
        write_folder(
            place, lambda folder: save_arrays(folder / "vectors.safetensors", {"vectors": vectors}), "text vectors", {}
        )
    return vectors


def _encode(model: TextModel, rows: list[list[int]]) -> np.ndarray:
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # alike lengths side by side: nearly no padding
    found = np.zeros((len(rows), model.width), np.float32)
    dtype = faster_dtype(str(model.model.device))
    with torch.inference_mode(), autocast(dtype, str(model.model.device)), bar(desc="item texts", total=len(rows)) as progress:
        for batch in _batches(order, rows):
            found[batch] = model.pool([rows[i] for i in batch]).cpu().numpy()
            progress.update(len(batch))
    return found


def _batches(order: list[int], rows: list[list[int]]) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    for i in order:
        if batches[-1] and len(rows[i]) * (len(batches[-1]) + 1) > TOKENS_A_BATCH:
            batches.append([])
        batches[-1].append(i)
    return [batch for batch in batches if batch]


def _key(model: TextModel, rows: list[list[int]], index: list[int]) -> str:
    """Tokens rather than texts, for they are what the model reads: another tokenizer or another cut is another entry."""
    digest = _weights(model)
    digest.update(json.dumps([rows, index]).encode())
    return digest.hexdigest()


def fingerprint(model: TextModel) -> str:
    """A hash of the model's weights: vectors of two models cannot be compared."""
    return _weights(model).hexdigest()


def _weights(model: TextModel) -> hashlib._Hash:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest
