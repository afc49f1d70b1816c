"""The only module that imports transformers: load pretrained weights of any family and run them block by block.

Two families stand behind one small interface. Encoders (BERT) read item text with attention both ways; for histories the same
weights run with a causal mask, as `config.is_decoder` makes transformers itself do, so that a saved body behaves the same in
`AutoModel` and under PEFT. Decoders (Llama, Mistral, Qwen2) are causal for both jobs.

A causal mask and padding on the right: no state depends on a later slot, on padding, or on the rows beside it.

Causal language models with their heads are loaded here too, and used in `llmrec.language`.
"""

from __future__ import annotations

import copy
import importlib.util
import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, BertConfig
from transformers.utils import logging as transformers_logging

from llmrec.encoder.bert import LoraHook, block_states
from llmrec.encoder.weights import Weights
from llmrec.errors import MissingExtraError, WeightsError
from llmrec.hub import cached_commit

# Which delta the running forward pass adds. A context variable, so that threads that serve different users never see each
# other's adapters, and so that nothing has to be attached to or removed from the shared modules.
_DELTA: ContextVar[LoraHook | None] = ContextVar("llmrec_delta", default=None)

ENCODERS = ("bert",)
DECODERS = ("llama", "mistral", "qwen2")


class Backbone(nn.Module):
    """A causal transformer over input embeddings, run in two parts: lower blocks (shared, cacheable) and upper blocks.

    model: the Hugging Face model; its state dict is the body's, under `model.`.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        if not self._is_encoder:  # blocks of BERT are computed here
            _hear_deltas(model)

    @property
    def width(self) -> int:
        """Size d of an input embedding and of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def max_length(self) -> int:
        """Longest prompt, in tokens and slots."""
        return int(self.model.config.max_position_embeddings)

    @property
    def n_blocks(self) -> int:
        return len(self._blocks)

    def words(self, ids: Tensor) -> Tensor:
        """Input embeddings (..., d) of token ids."""
        return self.model.get_input_embeddings()(ids)

    def forward(self, embeds: Tensor, delta: LoraHook | None = None) -> Tensor:
        """Last hidden states (T, L, d) of input embeddings (T, L, d)."""
        return self.upper(self.lower(embeds, self.n_blocks), self.n_blocks, delta)

    def lower(self, embeds: Tensor, n_adapted_blocks: int) -> Tensor:
        """States (T, L, d) below the last `n_adapted_blocks` blocks; more than there are is all of them, here and below."""
        return self._run(range(self._first(n_adapted_blocks)), self._enter(embeds))

    def upper(self, hidden: Tensor, n_adapted_blocks: int, delta: LoraHook | None = None) -> Tensor:
        """Last hidden states (T, L, d) from the states below the last `n_adapted_blocks` blocks; `delta` is added where it
        applies."""
        return self._leave(self._run(range(self._first(n_adapted_blocks), self.n_blocks), hidden, delta))

    def block_path(self, index: int) -> str:
        """Path of block `index` in the model's own names, as PEFT writes it."""
        return f"{'encoder.layer' if self._is_encoder else 'layers'}.{index}"

    def linear_paths(self, n_adapted_blocks: int) -> dict[str, tuple[int, int]]:
        """Paths of the linear layers in the last `n_adapted_blocks` blocks -> (d_in, d_out)."""
        wanted = tuple(self.block_path(i) + "." for i in range(self._first(n_adapted_blocks), self.n_blocks))
        return {
            path: (module.in_features, module.out_features)
            for path, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and path.startswith(wanted)
        }

    def _first(self, n_adapted_blocks: int) -> int:
        return max(0, self.n_blocks - n_adapted_blocks)  # a negative one would count from the end

    @property
    def _is_encoder(self) -> bool:
        return self.model.config.model_type in ENCODERS

    @property
    def _blocks(self) -> Any:
        return self.model.encoder.layer if self._is_encoder else self.model.layers

    def _enter(self, embeds: Tensor) -> Tensor:
        return self.model.embeddings(inputs_embeds=embeds) if self._is_encoder else embeds

    def _leave(self, hidden: Tensor) -> Tensor:
        return hidden if self._is_encoder else self.model.norm(hidden)

    def _run(self, places: range, hidden: Tensor, delta: LoraHook | None = None) -> Tensor:
        length = hidden.shape[1]
        # Eager attention adds this mask to its logits. SDPA would have a slow bf16 backward on CPU and no double backward.
        mask = torch.full((length, length), torch.finfo(torch.float32).min, device=hidden.device).triu(1)[None, None]
        if self._is_encoder:
            for place in places:
                hidden = block_states(self._blocks[place], hidden, mask, self.block_path(place), delta)
            return hidden
        position = torch.arange(length, device=hidden.device)[None]
        rotary = self.model.rotary_emb(hidden, position_ids=position)
        with adding(delta):
            for place in places:
                block = self._blocks[place]
                hidden = block(hidden, attention_mask=mask, position_ids=position, position_embeddings=rotary)
        return hidden


class TextModel:
    """Tokenizer and transformer for item texts.

    width: size of a text vector.
    """

    def __init__(self, model: Any, tokenizer: Any):
        self.model = model
        self.tokenizer = tokenizer
        self.width = int(model.config.hidden_size)

    def tokenize(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        """Token ids of each text, cut at `max_tokens`."""
        return self.tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"] if texts else []

    def words(self, text: str) -> list[int]:
        """Token ids of a piece of a prompt, without the model's special tokens."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def pool(self, rows: list[list[int]]) -> Tensor:
        """Mean of the last hidden states over each row's own tokens, float32 (T, d); zero for a row without tokens."""
        device = self.model.device
        length = torch.tensor([len(row) for row in rows], device=device)
        # One column at least and whole numbers always, also where no text of the batch has a token.
        ids = torch.zeros(len(rows), max(1, int(length.max())), dtype=torch.long)
        for place, row in zip(ids, rows, strict=True):
            place[: len(row)] = torch.tensor(row, dtype=torch.long)
        ids = ids.to(device)
        mask = torch.arange(ids.shape[1], device=device)[None] < length[:, None]
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        return (states * mask[..., None]).sum(1) / length[:, None].clamp(min=1)


def load_text(weights: Weights, device: str = "cpu") -> TextModel:
    """The pretrained transformer as it was trained, frozen, for item texts. Raises WeightsError."""
    model = _model(weights, {}).eval().requires_grad_(False).to(device)
    return TextModel(model, _tokenizer(weights))


def load_causal(weights: Weights, model_types: Collection[str], dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """A causal language model with its head, frozen, on the CPU, and its tokenizer. Its linear layers add what `adding` says.

    model_types: those that are expected, as `config.json` names them. Of weights on the hub the config keeps the commit.

    Raises WeightsError.
    """
    found = _pretrained(AutoConfig, weights).model_type
    if found not in model_types:
        raise WeightsError(f"{weights.location!r} is a {found!r} model; expected one of {', '.join(sorted(model_types))}")
    model = _complete(AutoModelForCausalLM, weights, {"dtype": dtype})
    _hear_deltas(model)
    if weights.from_hub:
        model.config._commit_hash = cached_commit(weights.location, weights.revision)
    return model.eval().requires_grad_(False), _tokenizer(weights)


def read_gguf(file: Path) -> tuple[Any, Any]:
    """The causal language model of a GGUF file in float32, and its tokenizer; both can be saved.

    Raises MissingExtraError without the package gguf, WeightsError for a file that is missing or that transformers cannot read.
    """
    if not file.is_file():
        raise WeightsError(f"cannot read {file}: no such file; expected a GGUF file")
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("reading a GGUF file needs gguf: pip install 'llmrec[llm]'")
    folder, where = str(file.parent), {"gguf_file": file.name, "local_files_only": True}
    remedy = "expected a GGUF file of Llama, Mistral, Qwen or Gemma 3"
    with redirect_stderr(io.StringIO()), _told(f"cannot read {file}", remedy):
        found: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **where)
        tokenizer = AutoTokenizer.from_pretrained(folder, **where)
    model, report = found
    _check_complete(file, report)
    # transformers refuses to save what it takes for a quantised model; the weights are plain float32 by now.
    model.is_quantized, model.hf_quantizer = False, None
    del model.config.quantization_config
    return model.eval().requires_grad_(False), tokenizer


def _tokenizer(weights: Weights) -> Any:
    tokenizer = _pretrained(AutoTokenizer, weights)
    # transformers makes up an empty vocabulary where the tokenizer's files are missing: every text would be the same text.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise WeightsError(
            f"{weights.location!r} has no tokenizer: expected its files, such as tokenizer.json, beside the model"
        )
    return tokenizer


def load_body(weights: Weights, layers: int | None = None) -> Backbone:
    """The same weights as a causal transformer over slots, on the CPU in float32.

    layers: use only the first `layers` blocks; None for all. Raises WeightsError, also when there are fewer.
    """
    options = {} if layers is None else {"num_hidden_layers": layers}
    config = _pretrained(AutoConfig, weights)
    if layers is not None and not 0 < layers <= config.num_hidden_layers:
        raise WeightsError(
            f"{weights.location!r} has {config.num_hidden_layers} blocks, {layers} were asked for: expected 1 to that many"
        )
    return Backbone(_model(weights, options | ({"is_decoder": True} if config.model_type in ENCODERS else {})))


def small_body(width: int, layers: int, heads: int, seed: int) -> Backbone:
    """A body of BERT's kind from random weights, for slots alone; its few word embeddings are those of any vocabulary."""
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        is_decoder=True,
    )
    with torch.random.fork_rng(devices=[]):  # made on the CPU: no GPU's generator is touched
        torch.default_generator.manual_seed(seed)
        return Backbone(_without_dropout(AutoModel.from_config(config, attn_implementation="eager", add_pooling_layer=False)))


def _model(weights: Weights, options: dict) -> Any:
    config = _pretrained(AutoConfig, weights)
    if config.model_type not in ENCODERS + DECODERS:
        raise WeightsError(
            f"{weights.location!r} is a {config.model_type!r} model; expected one of {', '.join(ENCODERS + DECODERS)}"
        )
    if config.model_type in ENCODERS:
        options = options | {"add_pooling_layer": False}
    model = _complete(AutoModel, weights, options | {"attn_implementation": "eager", "dtype": torch.float32})
    return _without_dropout(model)


def _complete(kind: Any, weights: Weights, options: dict) -> Any:
    model, report = _pretrained(kind, weights, options | {"output_loading_info": True})
    _check_complete(weights.location, report)
    return model


def _check_complete(place: str | Path, report: Any) -> None:
    if lacking := sorted(report["missing_keys"]):  # transformers would fill them with random numbers and go on
        raise WeightsError(f"{str(place)!r} lacks {len(lacking)} tensors, such as {lacking[0]!r}: get the model's files again")


def _without_dropout(model: Any) -> Any:
    # Regularisation is ours (slot dropout): drawing dropout masks inside every block costs a third of a step on a CPU.
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def _pretrained(kind: Any, weights: Weights, options: dict | None = None) -> Any:
    where = {"revision": weights.revision} if weights.from_hub else {"local_files_only": True}
    said = f"cannot load {kind.__name__} from {weights.location!r}"
    with _told(said, "check the name or folder"):
        return kind.from_pretrained(weights.location, **where, **(options or {}))


@contextmanager
def _told(said: str, remedy: str) -> Iterator[None]:
    """Raises WeightsError for all errors of transformers but a lack of memory: damaged files lead it to errors of any type."""
    try:
        with _quiet():
            yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise WeightsError(f"{said}: {repr(error) if isinstance(error, KeyError) else error}; {remedy}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bar and load report: the pooling head, which we do not use, is 'unexpected' to it."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def adding(delta: LoraHook | None) -> Iterator[None]:
    """Inside the `with` block, and in this thread alone, linear layers of decoders add what `delta` says; None for nothing."""
    token = _DELTA.set(delta)
    try:
        yield
    finally:
        _DELTA.reset(token)


def _hear_deltas(model: Any) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(partial(_add_delta, path))


def _add_delta(path: str, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    delta = _DELTA.get()
    extra = delta(path, inputs[0]) if delta is not None else None
    return None if extra is None else output + extra


def save_model(model: Any, folder: Path) -> None:
    """Write a Hugging Face model (and nothing else) as config and safetensors."""
    with _quiet():
        model.save_pretrained(folder)


def save_text(model: TextModel, folder: Path) -> None:
    """Write a text model with its tokenizer, which pads on the right wherever it is loaded: by its first token where it has no
    token to pad with, for what stands there is masked."""
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    save_model(model.model, folder)
    tokenizer.save_pretrained(folder)
