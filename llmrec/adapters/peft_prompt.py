"""Soft prompts in PEFT's files for prompt tuning: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from llmrec.adapters.peft_format import (
    CONFIG,
    TENSORS,
    checked_base,
    fingerprint,
    in_one_order,
    one_tensor,
    read_config,
    read_tensors,
)
from llmrec.adapters.soft_prompt import SoftPrompt
from llmrec.errors import AdapterError
from llmrec.language.model import LanguageModel
from llmrec.store import save_json

KEY = "prompt_embeddings"


def save_soft_prompt(folder: Path, prompt: SoftPrompt, language_model: LanguageModel) -> None:
    """Write one user's soft prompt (U = 1) so that `peft.PeftModel.from_pretrained` loads it over the saved model.

    Raises AdapterError when U is not 1.
    """
    if len(prompt) != 1:
        raise AdapterError(f"expected the soft prompt of one user, got {len(prompt)}: save `prompt.take(...)` of one at a time")
    tokens, config = prompt.tokens[0].detach().cpu().contiguous(), language_model.model.config
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "llmrec_base": fingerprint(language_model)}
    (folder / TENSORS).write_bytes(in_one_order(save({KEY: tokens}, metadata)))
    save_json(
        folder / CONFIG,
        {
            "peft_type": "PROMPT_TUNING",
            "task_type": "CAUSAL_LM",
            "num_virtual_tokens": len(tokens),
            "token_dim": tokens.shape[1],
            "num_transformer_submodules": 1,
            "num_attention_heads": config.num_attention_heads,
            "num_layers": config.num_hidden_layers,
            "prompt_tuning_init": "RANDOM",
            "inference_mode": True,
            "base_model_name_or_path": None,
        },
    )


def load_soft_prompt(folder: Path, language_model: LanguageModel, foreign: bool = False) -> SoftPrompt:
    """The soft prompt (U = 1) of a folder in PEFT's format, checked against the model it is to stand in front of.

    foreign: accept one that does not say which model it belongs to (PEFT's own files do not); its shape is checked.
    Raises AdapterError, which names the file and the key.
    """
    config = read_config(folder, "PROMPT_TUNING", ("num_virtual_tokens", "token_dim"))
    if (parts := config.get("num_transformer_submodules") or 1) != 1:
        raise AdapterError(f"{folder / CONFIG}: expected num_transformer_submodules 1, got {parts}; only decoders are read")
    base, tensors = read_tensors(folder)
    checked_base(folder, base, language_model, foreign)
    shape = config["num_virtual_tokens"], language_model.width
    return SoftPrompt(one_tensor(folder, tensors, KEY, shape)[None])
