"""What a language model remembers of an item: its states at the end of a sentence about it, and the words it would go on with.

A small causal model has read about many of the films, and it shows in its states how they were received: more than a sentence
encoder's vector of the same words. It is knowledge of the world, later than the ratings: a report says which rows have it.

Axis convention: `N` texts, `L` tokens, `d` the model's width.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmrec.encoder.backbone import DECODERS, TextModel
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.errors import WeightsError
from llmrec.progress import bar
from llmrec.store import load_arrays, read_folder, save_arrays, write_folder

LAST, MEAN, WORDS = "memory, last", "memory, mean", "memory, words"
_KIND, _FILE = "language model's memory", "memory.safetensors"
_DEPTH = 0.73  # of the blocks: the last ones turn what is known of a film into the next word
_BATCH, _MAX_TOKENS = 32, 96
_GO_ON = "a one classic the great good best worst bad terrible forgotten failure masterpiece disaster popular acclaimed"


def remember(model: TextModel, texts: list[str], cache: Path | None = None) -> dict[str, np.ndarray]:
    """Name -> float32 (N, columns): the state after the last token, the mean of all states but the first, and as
    `memory, words` how surprising the text was (a token, in all) with the log-probability of some words to follow.

    cache: folder in which the result is kept under a hash of weights and tokens. Raises WeightsError for a model that is not
    causal.
    """
    config = model.model.config
    if config.model_type not in DECODERS:
        raise WeightsError(
            f"language model: expected one of {', '.join(DECODERS)}, got {config.model_type!r}; an encoder reads both ways and "
            "foretells no words"
        )
    rows = model.tokenize(texts, _MAX_TOKENS)
    words = [model.words(f" {word}")[-1] for word in _GO_ON.split()]
    place = None if cache is None else cache / "memory" / _key(model, rows)
    if place is not None and place.is_dir():
        return read_folder(place, _KIND, lambda folder, _: load_arrays(folder / _FILE))
    found = {LAST: np.zeros((len(rows), model.width), np.float32)}
    found |= {MEAN: np.zeros_like(found[LAST]), WORDS: np.zeros((len(rows), 2 + len(words)), np.float32)}
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # alike lengths side by side: nearly no padding
    device = str(model.model.device)
    with torch.inference_mode(), autocast(faster_dtype(device), device), bar(desc="memory", total=len(rows)) as progress:
        for first in range(0, len(rows), _BATCH):
            some = order[first : first + _BATCH]
            for name, values in zip((LAST, MEAN, WORDS), _states(model, [rows[row] for row in some], words), strict=True):
                found[name][some] = values.float().cpu().numpy()
            progress.update(len(some))
    if place is not None:
        write_folder(place, lambda folder: save_arrays(folder / _FILE, found), _KIND, {})
    return found


def _states(model: TextModel, rows: list[list[int]], words: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(n, d), (n, d) and (n, 2 + words) of a batch, padded on the right."""
    device = model.model.device
    length = torch.tensor([len(row) for row in rows], device=device)
    ids = torch.zeros(len(rows), int(length.max()), dtype=torch.long)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = torch.tensor(row)
    ids = ids.to(device)
    there = torch.arange(ids.shape[1], device=device)[None] < length[:, None]
    out = model.model(input_ids=ids, attention_mask=there.long(), output_hidden_states=True)
    deep = out.hidden_states[round(_DEPTH * model.model.config.num_hidden_layers)].float()
    each, last = torch.arange(len(rows), device=device), length - 1
    # the first state is the same for all texts and very large: attention's sink
    mean = (deep * there[..., None])[:, 1:].sum(1) / (length[:, None] - 1).clamp(min=1)
    # logits by the input embeddings, to which those of the small models are tied
    logits = torch.log_softmax((out.last_hidden_state @ model.model.get_input_embeddings().weight.T).float(), -1)
    surprise = -(logits[:, :-1].gather(2, ids[:, 1:, None])[..., 0] * there[:, 1:]).sum(1)
    said = torch.cat([(surprise / length)[:, None], surprise[:, None], logits[each, last][:, words]], 1)
    return deep[each, last], mean, said


def _key(model: TextModel, rows: list[list[int]]) -> str:
    digest = hashlib.sha256(json.dumps([rows, _DEPTH, _GO_ON]).encode())
    for name, tensor in sorted(model.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
