"""Item knowledge: frozen states of a causal language model at the end of a sentence about each item.

A model that has read about an item shows it where it is about to go on: `The movie "Alien" (1979) is remembered today as`. The
state there says more about quality than a sentence encoder's vector of the same words. It is computed once for each text and
kept on disk. As a vector column of the items (`item_attributes`) it is part of item vectors, and read by `predict`; no language
model runs when a request comes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llmrec.data.frames import to_arrow
from llmrec.encoder.precision import faster_dtype
from llmrec.errors import ArtefactError, DataError, WeightsError
from llmrec.language.model import LanguageModel, load_language_model
from llmrec.language.weights import weights_of
from llmrec.progress import bar
from llmrec.prompts import Template, load_template
from llmrec.store import cache_folder, load_arrays, load_json, read_folder, save_arrays, save_json, write_folder

DEPTH = 0.73  # of the blocks: the last ones turn what is known of an item into the next word
MAX_TOKENS = 512  # of a sentence; of a longer one the end is read
TOKENS = 2048  # of a batch, with padding
KEPT_TOGETHER = 256  # texts of one entry of the cache: so many are lost at most where it is stopped
_DECIDING = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "tokenizer.model")
_KIND, _STATES, _TEXTS = "item states", "states.safetensors", "texts.json"


def item_states(
    source: str | Path,
    items: Any,
    template: Template | str | Path = "knowledge",
    cache: Path | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> np.ndarray:
    """float32 (N, d): the state of a language model at the last word of the template, for each row of a table of items.

    source: the model's folder in the Hugging Face layout, a file `*.gguf`, or the name of a packaged model; see
        `load_language_model`. It is loaded only for texts that are not in the cache.
    items: any table with the columns that the template names. template: one of the task `knowledge`, an unfinished
        sentence; a name, a file or a `Template`.
    cache: folder of cached states, by model and text; None for the cache folder of the library. device: in torch's terms.
    dtype: of the model; None for the faster one on the device. States of one column should be of one type: set it if items
        are added on another machine.

    >>> items["knowledge"] = list(item_states("smollm2", items))                              # doctest: +SKIP
    >>> Recommender().fit(events, items, item_attributes=["knowledge"])                       # doctest: +SKIP

    Raises TemplateError for a column that is missing, DataError for a table without rows, WeightsError and MissingExtraError as
    `load_language_model`.
    """
    template = template if isinstance(template, Template) else load_template(template)
    table = to_arrow(items, "items")
    if not len(table):
        raise DataError("items: expected at least one row, got none; check the path or the filter that made the table")
    there = [name for name in template.header.variables if name in table.column_names]
    texts = [text.rstrip() for text in template.render_columns({name: table.column(name).to_pylist() for name in there})]
    folder, dtype = Path(weights_of(source).location), faster_dtype(device) if dtype is None else dtype
    place = (cache_folder() if cache is None else cache) / "knowledge" / _model_key(folder, dtype)
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    known = _read(place)
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        language_model = load_language_model(folder, dtype, device)
        names = list(new)
        for some, states in read_states(language_model, list(new.values())):
            entry = {names[at]: states[row] for row, at in enumerate(some)}
            _write(place, entry)
            known |= entry
    return np.stack([known[key] for key in keys])


def read_states(language_model: LanguageModel, texts: Sequence[str]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Which of the texts, and their states float32 (n, d), entry by entry: shortest texts first."""
    rows = [(language_model.start(text) or [language_model.tokenizer.eos_token_id])[-MAX_TOKENS:] for text in texts]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # alike lengths side by side: nearly no padding
    body = _lower(language_model)
    with bar(desc="item states", total=sum(map(len, rows)), unit="tok") as progress, torch.inference_mode():
        for first in range(0, len(order), KEPT_TOGETHER):
            some, found = order[first : first + KEPT_TOGETHER], []
            for batch in _batches([rows[row] for row in some]):
                found.append(_last_states(body, batch, language_model.device))
                progress.update(sum(map(len, batch)))
            yield some, np.concatenate(found)


def _batches(rows: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Parts of rows of ascending lengths, of TOKENS with padding."""
    batch: list[list[int]] = []
    for row in rows:
        if batch and len(row) * (len(batch) + 1) > TOKENS:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _last_states(body: Any, batch: list[list[int]], device: torch.device) -> np.ndarray:
    """float32 (n, d), padded on the right, where no causal model looks."""
    length = torch.tensor([len(row) for row in batch])
    ids = torch.zeros(len(batch), int(length.max()), dtype=torch.long)
    for place, row in zip(ids, batch, strict=True):
        place[: len(row)] = torch.tensor(row)
    there = torch.arange(ids.shape[1])[None] < length[:, None]
    read = body(input_ids=ids.to(device), attention_mask=there.long().to(device), use_cache=False).last_hidden_state
    return read[torch.arange(len(batch)), length - 1].float().cpu().numpy()


def _lower(language_model: LanguageModel) -> Any:
    """The model's first blocks, up to DEPTH, without its last norm; its own modules are shared and left as they are."""
    whole = language_model.model.get_decoder()
    body, config = copy.copy(whole), copy.copy(whole.config)
    body._modules = dict(whole._modules)
    blocks = max(1, round(DEPTH * len(whole.layers)))
    body.layers, body.norm = whole.layers[:blocks], nn.Identity()
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:blocks]
    body.config = config
    return body


def _model_key(folder: Path, dtype: torch.dtype) -> str:
    """A hash of what decides the states: weights, configuration, tokenizer, how far the model is read, and in which type."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix == ".safetensors" or file.name in _DECIDING]
    if not any(file.suffix == ".safetensors" for file in files):
        raise WeightsError(f"{folder}: expected a model in safetensors, got none; see `llmrec weights`")
    digest = hashlib.sha256(json.dumps([DEPTH, MAX_TOKENS] + ([] if dtype == torch.float32 else [str(dtype)])).encode())
    for file in files:
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def _read(place: Path) -> dict[str, np.ndarray]:
    """Hash of a text -> its state, of all entries; one that is damaged is thrown away."""
    found: dict[str, np.ndarray] = {}
    for entry in sorted(place.glob("[0-9a-f]*")):  # not those that are being written
        try:
            found |= read_folder(entry, _KIND, _entry)
        except ArtefactError:
            shutil.rmtree(entry, ignore_errors=True)
    return found


def _entry(folder: Path, _: dict[str, Any]) -> dict[str, np.ndarray]:
    return dict(zip(load_json(folder / _TEXTS), load_arrays(folder / _STATES)["states"], strict=True))


def _write(place: Path, entry: dict[str, np.ndarray]) -> None:
    def write(folder: Path) -> None:
        save_json(folder / _TEXTS, list(entry))
        save_arrays(folder / _STATES, {"states": np.stack(list(entry.values()))})

    name = hashlib.sha256("".join(entry).encode()).hexdigest()[:32]
    write_folder(place / name, write, _KIND, {})
