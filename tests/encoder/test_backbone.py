"""The gate to transformers: run block by block, it is the Hugging Face model; and it is causal."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModel

from llmrec.encoder.backbone import Backbone, load_body, load_text, save_model, small_body
from llmrec.encoder.weights import Weights
from llmrec.errors import WeightsError

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def embeds(body: Backbone) -> torch.Tensor:
    return torch.randn(3, 9, body.width, generator=torch.Generator().manual_seed(1))


def test_it_is_the_hugging_face_model(body, embeds, tmp_path):
    save_model(body.model, tmp_path)
    plain = AutoModel.from_pretrained(tmp_path)  # its own attention, its own mask
    with torch.no_grad():
        whole = plain(inputs_embeds=embeds, attention_mask=torch.ones(3, 9, dtype=torch.long)).last_hidden_state
        torch.testing.assert_close(body(embeds), whole, **CLOSE)
        for upper in range(body.n_blocks + 1):
            torch.testing.assert_close(body.upper(body.lower(embeds, upper), upper), whole, **CLOSE)


def test_what_is_saved_is_what_is_loaded(body, embeds, tmp_path):
    save_model(body.model, tmp_path)
    again = load_body(Weights.folder(tmp_path))
    assert torch.equal(again(embeds), body(embeds))
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_no_state_depends_on_a_later_slot(body, embeds):
    before = body(embeds)
    for place in range(1, 9):
        changed = embeds.clone()
        changed[:, place:] = 7 * torch.randn(3, 9 - place, body.width)
        after = body(changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], **CLOSE)
        assert (after[:, place] - before[:, place]).abs().max() > 1e-2


def test_no_state_depends_on_padding_or_on_other_rows(body, embeds):
    together = body(embeds)
    for row in range(3):
        for length in (1, 4, 9):
            torch.testing.assert_close(body(embeds[row : row + 1, :length]), together[row : row + 1, :length], **CLOSE)


def test_earlier_slots_are_looked_at(body, embeds):
    changed = embeds.clone()
    changed[:, 0] += torch.randn(body.width)
    assert (body(changed) - body(embeds))[:, -1].abs().max() > 1e-3


def test_every_linear_path_is_there(body):
    modules = dict(body.model.named_modules())
    for upper in range(body.n_blocks + 1):
        found = body.linear_paths(upper)
        inside = [body.block_path(i) + "." for i in range(body.n_blocks - upper, body.n_blocks)]
        expected = {
            path: module
            for path, module in modules.items()
            if isinstance(module, nn.Linear) and any(path.startswith(block) for block in inside)
        }
        assert found == {path: (module.in_features, module.out_features) for path, module in expected.items()}
        assert len(found) == upper * (6 if body.model.config.model_type == "bert" else 7)


def test_more_upper_blocks_than_there_are_is_all_of_them(body, embeds):
    more = body.n_blocks + 1
    assert body.linear_paths(more) == body.linear_paths(body.n_blocks)
    assert torch.equal(body.lower(embeds, more), body.lower(embeds, body.n_blocks))
    assert torch.equal(body.upper(embeds, more), body.upper(embeds, body.n_blocks))


def test_a_delta_is_added_where_it_says_and_only_then(body, embeds):
    path, (_, d_out) = next(iter(body.linear_paths(1).items()))
    bias = torch.randn(d_out)
    seen = []

    def delta(name, x):
        seen.append(name)
        return bias.expand(*x.shape[:-1], d_out) if name == path else None

    base, added = body(embeds), body(embeds, delta)
    assert set(seen) == set(body.linear_paths(body.n_blocks))
    assert not torch.allclose(added, base)
    assert torch.equal(body(embeds), base)
    layer = body.model.get_submodule(path)
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros(d_out))
    with torch.no_grad():
        layer.bias += bias
    torch.testing.assert_close(body(embeds), added, **CLOSE)


@pytest.mark.parametrize("fails", [False, True])
def test_a_delta_is_gone_afterwards(body, embeds, fails):
    """Also from calls that take none, and when it failed."""
    base, lower = body(embeds), body.lower(embeds, 0)

    def delta(name, x):
        if fails and name.startswith(body.block_path(1)):
            raise RuntimeError("in the middle")
        return torch.ones(body.model.get_submodule(name).out_features)

    with pytest.raises(RuntimeError, match="in the middle") if fails else nullcontext():
        body(embeds, delta)
    assert torch.equal(body.lower(embeds, 0), lower)
    assert torch.equal(body(embeds), base)


def test_fewer_layers_are_the_first_ones(tiny_weights, embeds):
    whole, first = load_body(tiny_weights), load_body(tiny_weights, 1)
    assert first.n_blocks == 1 < whole.n_blocks
    kept = whole.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in first.state_dict().items())
    states = whole.lower(embeds, whole.n_blocks - 1)
    if hasattr(whole.model, "norm"):
        states = whole.model.norm(states)
    torch.testing.assert_close(first(embeds), states, **CLOSE)


def test_more_layers_than_there_are(tiny_weights):
    for layers in (0, 4):
        with pytest.raises(WeightsError, match=f"blocks, {layers} were asked for"):
            load_body(tiny_weights, layers)


def test_a_small_body_is_its_seed_s_causal_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    one, same, other = (small_body(32, 2, 4, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    embeds = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(embeds), same(embeds))
    assert not torch.allclose(one(embeds), other(embeds))
    assert torch.equal(one.train()(embeds), one.eval()(embeds))  # no dropout in it, as there is none in the pretrained one
    changed = embeds.clone()
    changed[:, 5:] = 0
    torch.testing.assert_close(one(changed)[:, :5], one(embeds)[:, :5], **CLOSE)


def test_training_mode_changes_nothing(body, embeds):
    assert torch.equal(body.train()(embeds), body.eval()(embeds))


def test_words_are_rows_of_the_embedding_table(body):
    ids = torch.tensor([[3, 1, 4]])
    assert torch.equal(body.words(ids), body.model.get_input_embeddings().weight[ids])
    assert body.max_length == 256


# ------------------------------------------------------------------------------------------------------------- text


def test_pooling_is_the_mean_over_a_texts_own_tokens(tiny_weights):
    model = load_text(tiny_weights)
    rows = model.tokenize(["red mug", "large blue tent of rope"], 64)
    assert len(rows[0]) < len(rows[1])
    plain = AutoModel.from_pretrained(tiny_weights.location).eval()
    for row, vector in zip(rows, model.pool(rows), strict=True):
        with torch.no_grad():
            states = plain(input_ids=torch.tensor([row])).last_hidden_state[0]
        torch.testing.assert_close(vector, states.mean(0), **CLOSE)


def test_a_text_without_tokens_is_zero_and_disturbs_nobody(tiny_weights):
    model = load_text(tiny_weights)
    row = model.tokenize(["red mug"], 64)[0]
    found = model.pool([row, []])
    torch.testing.assert_close(found[:1], model.pool([row]), **CLOSE)
    assert torch.equal(found[1], torch.zeros(model.width))
    assert torch.equal(model.pool([[], []]), torch.zeros(2, model.width))


def test_texts_are_cut_at_max_tokens(tiny_weights):
    model = load_text(tiny_weights)
    assert [len(row) for row in model.tokenize(["red " * 100, "red"], 8)] == [8, len(model.tokenize(["red"], 8)[0])]


def test_words_of_a_prompt_have_no_special_tokens(tiny_weights):
    model = load_text(tiny_weights)
    assert len(model.words("history of red")) == 3
    assert set(model.words("history of red")) < set(model.tokenize(["history of red"], 64)[0])


def test_the_text_model_is_frozen(tiny_weights):
    model = load_text(tiny_weights)
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert not model.model.training


# ---------------------------------------------------------------------------------------------- weights that are not there


def test_a_missing_folder_and_one_without_a_model(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(WeightsError, match=r"config\.json.*Weights\.hub"):
            Weights.folder(folder)


def test_a_family_that_is_not_supported(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    for load in (load_body, load_text):
        with pytest.raises(WeightsError, match="'gpt2' model; expected one of bert, llama"):
            load(Weights.folder(tmp_path))


def test_a_config_that_is_no_config(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot load AutoConfig"):
        load_body(Weights.folder(tmp_path))


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_a_file(tiny_weights, tmp_path, missing):
    for file in Path(tiny_weights.location).iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(WeightsError, match=str(tmp_path)):
        load_text(Weights.folder(tmp_path))


def test_weights_cut_short(tiny_weights, tmp_path):
    for file in Path(tiny_weights.location).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot load AutoModel"):
        load_body(Weights.folder(tmp_path))


def test_weights_that_lack_a_tensor_are_not_made_up(body, tmp_path):
    from safetensors.torch import load_file, save_file

    save_model(body.model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    lost = sorted(name for name in tensors if name.endswith("weight"))[-1]
    del tensors[lost]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 1 tensors, such as"):
        load_body(Weights.folder(tmp_path))


def test_a_name_on_the_hub_is_not_asked_for_when_offline(monkeypatch):
    def connect(*args):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(WeightsError, match="nobody/nothing"):
        load_body(Weights.hub("nobody/nothing"))


def test_a_folder_is_never_looked_for_on_the_hub(tiny_weights, monkeypatch):
    def connect(*args):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    load_body(tiny_weights)
    load_text(tiny_weights)


def test_a_lack_of_memory_is_no_damaged_file(tiny_folders, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("llmrec.encoder.backbone.AutoModel.from_pretrained", full)
    with pytest.raises(MemoryError):
        load_body(Weights.folder(tiny_folders["bert"]))
