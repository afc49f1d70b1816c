"""A language model's adapter as a folder: LoRA and the soft prompt each in PEFT's format, in a folder of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llmrec.adapters.peft_format import CONFIG, load_adapter, save_adapter
from llmrec.adapters.peft_prompt import load_soft_prompt, save_soft_prompt
from llmrec.adapters.soft_prompt import LanguageAdapter
from llmrec.errors import AdapterError
from llmrec.language.model import LanguageModel

LORA, SOFT_PROMPT = "lora", "soft_prompt"


def save_language_adapter(folder: Path, adapter: LanguageAdapter, language_model: LanguageModel) -> None:
    """Write the parts of one user's adapter (U = 1). Raises AdapterError when U is not 1."""
    if adapter.lora is not None:
        save_adapter(folder / LORA, adapter.lora, language_model)
    if adapter.prompt is not None:
        save_soft_prompt(folder / SOFT_PROMPT, adapter.prompt, language_model)


def load_language_adapter(folder: Path, language_model: LanguageModel) -> LanguageAdapter:
    """The parts that are in the folder, at least one, checked against the model that they belong to.

    Raises AdapterError, which names the file, for a folder without either part, and as `load_adapter` and `load_soft_prompt`.
    """
    lora, prompt = ((folder / name / CONFIG).exists() for name in (LORA, SOFT_PROMPT))
    if not lora and not prompt:
        raise AdapterError(
            f"{folder}: expected a folder {LORA} or {SOFT_PROMPT} in it, got neither; give the --output_dir of "
            "training/llm_train.py"
        )
    return LanguageAdapter(
        load_adapter(folder / LORA, language_model) if lora else None,
        load_soft_prompt(folder / SOFT_PROMPT, language_model) if prompt else None,
    )


def adapter_hash(adapter: LanguageAdapter) -> str:
    """SHA-256 of its numbers."""
    digest = hashlib.sha256()
    for kind, part in ((LORA, adapter.lora), (SOFT_PROMPT, adapter.prompt)):
        for leaf in part.leaves() if part is not None else ():
            digest.update(f"{kind}{tuple(leaf.shape)}".encode())
            digest.update(leaf.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
