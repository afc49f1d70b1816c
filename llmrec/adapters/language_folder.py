"""A language model's adapter as a folder: LoRA and the soft prompt in PEFT's formats, and the head, each in its own folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.adapters.linear_head import load_linear_head, save_linear_head
from llmrec.adapters.peft_format import CONFIG, TENSORS, load_adapter, save_adapter
from llmrec.adapters.peft_prompt import load_soft_prompt, save_soft_prompt
from llmrec.errors import AdapterError
from llmrec.language.model import LanguageModel

LORA, SOFT_PROMPT, HEAD = "lora", "soft_prompt", "linear_head"


def save_language_adapter(folder: Path, adapter: LanguageAdapter, language_model: LanguageModel) -> None:
    """Write the parts of one user's adapter (U = 1) into an open folder. Raises AdapterError when U is not 1."""
    if adapter.lora is not None:
        save_adapter(folder / LORA, adapter.lora, language_model)
    if adapter.prompt is not None:
        save_soft_prompt(folder / SOFT_PROMPT, adapter.prompt, language_model)
    if adapter.head is not None:
        save_linear_head(folder / HEAD, adapter.head, language_model)


def load_language_adapter(folder: Path, language_model: LanguageModel, foreign: bool = False) -> LanguageAdapter:
    """The parts that are in the folder, at least one, checked against the model that they belong to.

    foreign: accept LoRA and a soft prompt that do not say which model they belong to (PEFT's own files do not).
    Raises AdapterError, which names the file, for a folder without any part, and as `load_adapter`, `load_soft_prompt` and
    `load_linear_head`.
    """
    lora, prompt = ((folder / name / CONFIG).exists() for name in (LORA, SOFT_PROMPT))
    head = (folder / HEAD / TENSORS).exists()
    if not (lora or prompt or head):
        raise AdapterError(
            f"{folder}: expected a folder {LORA}, {SOFT_PROMPT} or {HEAD} in it, got none; copy it again, or save the adapter "
            "again"
        )
    return LanguageAdapter(
        load_adapter(folder / LORA, language_model, foreign) if lora else None,
        load_soft_prompt(folder / SOFT_PROMPT, language_model, foreign) if prompt else None,
        load_linear_head(folder / HEAD, language_model) if head else None,
    )


def adapter_hash(adapter: LanguageAdapter) -> str:
    """SHA-256 of its numbers by their names, and of LoRA's scale."""
    digest, lora = hashlib.sha256(), adapter.lora
    named = {} if adapter.prompt is None else {SOFT_PROMPT: adapter.prompt.tokens}
    named |= {} if adapter.head is None else {HEAD: adapter.head.weight}
    if lora is not None:
        digest.update(f"scale {lora.scale!r}".encode())
        for side, leaves in (("A", lora.a), ("B", lora.b)):
            named |= {f"{path}.{side}": leaf for path, leaf in leaves.items()}
    for name, leaf in sorted(named.items()):
        digest.update(f"{name}{tuple(leaf.shape)}".encode())
        digest.update(leaf.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
