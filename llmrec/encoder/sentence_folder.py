"""A text encoder in the folder layout of sentence-transformers, which loads it with equal vectors.

    tokens -> transformer -> mean over tokens -> less the mean of the catalogue -> unit length

The mean is taken off by a dense layer with the identity as weight and minus the mean as bias; its activation is the identity.
Layout: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmrec.encoder.backbone import ENCODERS, TextModel, save_text
from llmrec.encoder.items import MAX_TOKENS, Centring
from llmrec.store import save_arrays, save_json

POOLING, DENSE, NORMALIZE = "1_Pooling", "2_Dense", "3_Normalize"
_MODULES = {"": "Transformer", POOLING: "Pooling", DENSE: "Dense", NORMALIZE: "Normalize"}


def save_sentence_transformer(folder: Path, model: TextModel, centring: Centring) -> None:
    """Write what `sentence_transformers.SentenceTransformer(folder)` loads into an empty folder: its `encode(texts)` gives the
    centred text vectors of unit length, float32 (T, d), up to the rounding of the number type."""
    width = model.width
    save_text(model, folder)
    names = [(path, f"sentence_transformers.models.{kind}") for path, kind in _MODULES.items()]
    modules = [{"idx": place, "name": str(place), "path": path, "type": kind} for place, (path, kind) in enumerate(names)]
    save_json(folder / "modules.json", modules)
    save_json(folder / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
    reads: dict[str, object] = {"max_seq_length": MAX_TOKENS, "do_lower_case": False}
    if model.model.config.model_type in ENCODERS:
        reads["model_args"] = {"add_pooling_layer": False}  # there is none, and transformers would make one at random
    save_json(folder / "sentence_bert_config.json", reads)
    for name in (POOLING, DENSE):  # there is nothing to say of the last
        (folder / name).mkdir()
    modes = {f"pooling_mode_{name}": False for name in ("cls_token", "max_tokens", "mean_sqrt_len_tokens")}
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True, **modes}
    save_json(folder / POOLING / "config.json", pooling)
    dense: dict[str, object] = {"in_features": width, "out_features": width, "bias": True}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"
    save_json(folder / DENSE / "config.json", dense)
    shift = {"linear.weight": np.eye(width, dtype=np.float32), "linear.bias": -centring.mean.astype(np.float32)}
    save_arrays(folder / DENSE / "model.safetensors", shift)
