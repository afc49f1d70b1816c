"""PEFT's files both ways: what it reads of ours and what we read of its own give the same states."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from llmrec.adapters.lora import Adapter, init_lora, lora_hook
from llmrec.adapters.peft_format import CONFIG, PREFIX, TENSORS, fingerprint, load_adapter, save_adapter
from llmrec.encoder.backbone import Backbone, load_body, save_model
from llmrec.encoder.weights import Weights
from llmrec.errors import AdapterError

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
peft_asks = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def adapter(body: Backbone) -> Adapter:
    generator = torch.Generator().manual_seed(3)
    start = init_lora(body.linear_paths(1), 3, 1.5, generator)
    return start.map(lambda tensor: 0.3 * torch.randn(tensor.shape, generator=generator))


@pytest.fixture
def embeds(body: Backbone) -> torch.Tensor:
    return torch.randn(3, 8, body.width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def saved(body: Backbone, adapter: Adapter, tmp_path: Path) -> Path:
    save_adapter(tmp_path / "adapter", adapter, body)
    return tmp_path / "adapter"


def last_state(model, embeds: torch.Tensor) -> torch.Tensor:
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    with torch.no_grad():
        return model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[:, -1]


@peft_asks
def test_peft_reads_what_is_saved(body, adapter, embeds, saved, tmp_path):
    save_model(body.model, tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(tmp_path / "base"), saved).eval()
    ours = body(embeds, lora_hook(adapter))[:, -1]
    torch.testing.assert_close(last_state(theirs, embeds), ours, **CLOSE)
    assert (ours - body(embeds)[:, -1]).abs().max() > 0.05


@peft_asks
@pytest.mark.parametrize("rslora", [False, True])
def test_what_peft_saves_is_read(body, embeds, tmp_path, rslora):
    save_model(body.model, tmp_path / "base")
    targets = ["query", "value", "intermediate.dense"] if body.model.config.model_type == "bert" else ["q_proj", "down_proj"]
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets, use_rslora=rslora)
    theirs = peft.get_peft_model(AutoModel.from_pretrained(tmp_path / "base"), config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    theirs.save_pretrained(tmp_path / "adapter")
    found = load_adapter(tmp_path / "adapter", body, foreign=True)
    assert len(found.paths) == len(targets) * body.n_blocks
    torch.testing.assert_close(body(embeds, lora_hook(found))[:, -1], last_state(theirs, embeds), **CLOSE)
    with pytest.raises(AdapterError, match="foreign=True"):
        load_adapter(tmp_path / "adapter", body)


def test_what_is_saved_is_loaded(body, adapter, saved):
    again = load_adapter(saved, body)
    assert set(again.paths) == set(adapter.paths)
    assert again.scale == pytest.approx(adapter.scale)
    for path in adapter.paths:
        assert torch.equal(again.a[path], adapter.a[path]) and torch.equal(again.b[path], adapter.b[path])
    assert {file.name for file in saved.iterdir()} == {CONFIG, TENSORS}


def test_a_body_that_was_saved_is_the_same_base(body, adapter, saved, tmp_path):
    save_model(body.model, tmp_path / "base")
    again = load_body(Weights.folder(tmp_path / "base"))
    assert fingerprint(again) == fingerprint(body)
    assert len(load_adapter(saved, again)) == 1


def test_equal_adapters_are_equal_files(body, adapter, tmp_path):
    files = []
    for number in range(6):  # in a random order of two entries five repetitions would differ 31 times of 32
        save_adapter(tmp_path / str(number), adapter, body)
        files.append((tmp_path / str(number) / TENSORS).read_bytes())
    assert len(set(files)) == 1


def test_only_one_user_is_saved(body, adapter, tmp_path):
    with pytest.raises(AdapterError, match="got 3"):
        save_adapter(tmp_path, adapter.expand(3), body)


def test_another_base(body, saved):
    with torch.no_grad():
        next(body.model.parameters())[0, 0] += 1e-3
    for foreign in (False, True):
        with pytest.raises(AdapterError, match="belongs to the base"):
            load_adapter(saved, body, foreign)


# ---------------------------------------------------------------------------------------------------- files that are wrong


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(folder / TENSORS)), folder / TENSORS, metadata={"format": "pt"})


def configure(folder: Path, **changes: object) -> None:
    """None takes a key out."""
    config = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def test_a_wrong_prefix(body, saved):
    rewrite(saved, lambda tensors: {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()})
    with pytest.raises(AdapterError, match=r"names no layer of this base; expected base_model\.model\."):
        load_adapter(saved, body, foreign=True)


def test_a_layer_that_the_base_does_not_have(body, saved):
    rewrite(
        saved,
        lambda tensors: {
            name.replace(body.block_path(body.n_blocks - 1), body.block_path(17)): t for name, t in tensors.items()
        },
    )
    with pytest.raises(AdapterError, match=r"\.17\..* names no layer"):
        load_adapter(saved, body, foreign=True)


@pytest.mark.parametrize("name", ["r", "lora_alpha"])
@pytest.mark.parametrize("value", [None, 0, -1, "8", True, float("nan"), float("inf")])
def test_a_rank_or_alpha_that_is_none(body, saved, name, value):
    configure(saved, **{name: value})
    with pytest.raises(AdapterError, match=f"{CONFIG}: expected a number above 0 in '{name}', got"):
        load_adapter(saved, body)


@pytest.mark.parametrize("option", ["use_dora", "fan_in_fan_out", "lora_bias", "rank_pattern", "alpha_pattern", "use_qalora"])
def test_what_is_not_plain_lora(body, saved, option):
    configure(saved, **{option: {"query": 16} if option.endswith("pattern") else True})
    with pytest.raises(AdapterError, match=f"uses {option}, which is not plain LoRA"):
        load_adapter(saved, body)


@pytest.mark.parametrize("begun", ["pissa", "pissa_niter_4", "olora", "loftq"])
def test_a_start_that_changes_the_base(body, saved, begun):
    configure(saved, init_lora_weights=begun)
    with pytest.raises(AdapterError, match=f"initialised as '{begun}', which changes the base"):
        load_adapter(saved, body)


@pytest.mark.parametrize("kind", [None, "IA3"])
def test_another_kind_of_adapter(body, saved, kind):
    configure(saved, peft_type=kind)
    with pytest.raises(AdapterError, match="expected peft_type 'LORA'"):
        load_adapter(saved, body)


def test_another_rank_than_the_tensors_have(body, saved):
    configure(saved, r=8)
    with pytest.raises(AdapterError, match=r"has shape \(3, 32\), expected \(8, 32\)|has shape .*, expected"):
        load_adapter(saved, body)


def test_a_side_that_is_missing(body, saved):
    lost = next(name for name in load_file(saved / TENSORS) if "lora_B" in name)
    rewrite(saved, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != lost})
    with pytest.raises(AdapterError, match="only one of lora_A and lora_B"):
        load_adapter(saved, body, foreign=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(body, saved, value):
    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        next(iter(tensors.values()))[0, 0] = value
        return tensors

    rewrite(saved, spoil)
    with pytest.raises(AdapterError, match="not finite"):
        load_adapter(saved, body, foreign=True)


def test_no_tensors(body, saved):
    rewrite(saved, lambda tensors: {})
    with pytest.raises(AdapterError, match="holds no tensors"):
        load_adapter(saved, body, foreign=True)


@pytest.mark.parametrize("name", [CONFIG, TENSORS])
def test_a_file_that_is_cut_short_or_missing(body, saved, name):
    file = saved / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(AdapterError, match=str(file)):
        load_adapter(saved, body)
    file.unlink()
    with pytest.raises(AdapterError, match=str(file)):
        load_adapter(saved, body)
