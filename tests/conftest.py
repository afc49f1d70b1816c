"""Small worlds for everything that runs a transformer: two families with random weights on disk, and histories as lists.

torch is imported by the fixtures that need it, so that tests without them start at once.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

ROOT = Path(__file__).resolve().parents[1]
WORDS = ("red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap", "history", "of", "category", ":", ".")
WIDTH, HEADS, LONGEST = 32, 4, 256
History = Sequence[Sequence[Sequence[int]]]
LONG = ("test_notebook.py",)  # files of long tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first: of two processes none ends the run alone with one of them."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def exact() -> Iterator[None]:
    """One thread, and float32 wherever the library would choose the faster of two types: laws then hold to 1e-5."""
    import torch

    from llmrec.encoder import precision

    torch.set_num_threads(1)
    precision.faster_dtype.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "_product", lambda dtype, device: 0.0)  # a draw, which float32 wins
        yield
    precision.faster_dtype.cache_clear()


def _bert(folder: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *string.ascii_lowercase]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    BertTokenizerFast(vocab={piece: place for place, piece in enumerate(pieces)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=48,
        max_position_embeddings=LONGEST,
    )
    BertModel(config).save_pretrained(folder)


def _llama(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate(["<unk>", "<s>", *WORDS])}
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [vocabulary["<s>"]], "tokens": ["<s>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    file = folder / "words.json"
    file.write_text(json.dumps(whole), encoding="utf-8")
    PreTrainedTokenizerFast(tokenizer_file=str(file), unk_token="<unk>", bos_token="<s>").save_pretrained(folder)
    file.unlink()
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=LONGEST,
    )
    LlamaModel(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_folders(exact: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a BERT of 2 blocks and a Llama of 3, width 32, random weights, a vocabulary of a few words."""
    import torch

    folders = {}
    for family, make in {"bert": _bert, "llama": _llama}.items():
        folders[family] = tmp_path_factory.mktemp(family)
        with torch.random.fork_rng():
            torch.manual_seed(11)
            make(folders[family])
    return folders


@pytest.fixture(params=["bert", "llama"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tiny_weights(tiny_folders: dict[str, Path], family: str) -> Any:
    """`Weights` of each family in turn; never written to."""
    from llmrec.encoder.weights import Weights

    return Weights.folder(tiny_folders[family])


@pytest.fixture(scope="session")
def lively_bodies(tiny_folders: dict[str, Path]) -> dict[str, Any]:
    """A body of each family with larger weights than a fresh one has: attention then looks at something, and a mask that is
    wrong shows."""
    import torch

    from llmrec.encoder.backbone import load_body
    from llmrec.encoder.weights import Weights

    bodies, generator = {}, torch.Generator().manual_seed(5)
    for family, folder in tiny_folders.items():
        bodies[family] = load_body(Weights.folder(folder))
        with torch.no_grad():
            for parameter in bodies[family].parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return bodies


@pytest.fixture
def body(lively_bodies: dict[str, Any], family: str) -> Any:
    """A body of one's own, of each family in turn."""
    return copy.deepcopy(lively_bodies[family])


@pytest.fixture(scope="session")
def shop() -> Callable[..., Any]:
    """`shop(history, items, more)` -> Dataset, by way of `data.build`.

    history[user][basket] = items of the basket, in order, one event a second; basket `b` is on day 2^b, so that gaps differ.
    items: how many, or their titles. more: further columns of the events, name -> one value per event in order of `history`.
    """
    from llmrec.data.build import build
    from llmrec.data.clean import Cleaning

    def make(history: History, items: int | Sequence[str], more: Mapping[str, Sequence[float]] | None = None) -> Any:
        titles = [f"{WORDS[i % 5]} {WORDS[5 + i // 5 % 5]}" for i in range(items)] if isinstance(items, int) else list(items)
        rows = [
            (f"u{user:04}", f"i{item:04}", 1.6e9 + 86_400.0 * 2.0**basket + place, f"b{basket}")
            for user, baskets in enumerate(history)
            for basket, taken in enumerate(baskets)
            for place, item in enumerate(taken)
        ]
        names = ("user_id", "item_id", "timestamp", "basket_id")
        events = {name: [row[column] for row in rows] for column, name in enumerate(names)} | dict(more or {})
        catalogue = {"item_id": [f"i{item:04}" for item in range(len(titles))], "title": titles}
        cleaning = Cleaning(drop_duplicates=False, outlier_spread=None)
        return build(events, catalogue, cleaning=cleaning)[0]

    return make


@pytest.fixture(scope="session")
def random_shop(shop: Callable[..., Any]) -> Any:
    """20 users, 10 items, 2 to 7 baskets of 1 to 4 events with repeats inside and between baskets; every attribute is given,
    with holes."""
    rng = np.random.default_rng(3)
    history = [[rng.integers(0, 10, rng.integers(1, 5)).tolist() for _ in range(rng.integers(2, 8))] for _ in range(20)]
    n = sum(len(basket) for baskets in history for basket in baskets)

    def holes(values: np.ndarray) -> list[float | None]:
        return [None if rng.random() < 0.2 else float(value) for value in values]

    more = {
        "rating": holes(rng.integers(1, 6, n)),
        "weight": holes(rng.random(n)),
        "price": holes(rng.random(n) * 20),
        "quantity": holes(rng.integers(1, 4, n)),
        "event_type": [("view", "buy")[int(code)] for code in rng.integers(0, 2, n)],
    }
    return shop(history, 10, more)


@pytest.fixture
def slot_model(body: Any, random_shop: Any) -> Any:
    """A model over `random_shop` with every parameter moved off its start; item 9 was never trained on."""
    return make_slot_model(body, random_shop, untrained=(9,))


def make_slot_model(body: Any, dataset: Any, untrained: tuple[int, ...] = (), moved: bool = True) -> Any:
    import torch

    from llmrec.encoder.dates import moments
    from llmrec.encoder.model import SlotModel

    generator = torch.Generator().manual_seed(2)
    text = torch.nn.functional.normalize(torch.randn(dataset.n_items, WIDTH, generator=generator), dim=1)
    popularity = np.bincount(dataset.item, minlength=dataset.n_items).astype(np.float32)
    popularity[list(untrained)] = 0
    with torch.random.fork_rng():
        torch.manual_seed(4)
        kinds = len(dataset.event_types)
        model = SlotModel(body, torch.tensor([12, 13, 9]), text, torch.from_numpy(popularity), moments(dataset.time), kinds)
    if moved:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith("body."):
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="session")
def new_slot_model() -> Callable[..., Any]:
    """`new_slot_model(body, dataset, untrained=(), moved=True)` -> SlotModel with random text vectors."""
    return make_slot_model


@pytest.fixture(scope="session")
def tiny_settings() -> Any:
    """Every part is trained, for moments; sources are so small that the rest of the catalogue has to fill in."""
    from llmrec import LoraSettings, OuterSettings, Settings, TrainSettings
    from llmrec.index.candidates import Sources
    from llmrec.ranking.ranker import RankerSettings

    return Settings(
        user_encoder="pretrained",
        layers=None,
        adapter="lora",
        train=TrainSettings(
            max_steps=12,
            batch_size=16,
            known=(1, 8),
            horizon=3,
            max_slots=24,
            learning_rate=3e-4,
            text_only_rate=0.15,
            dropout=0.0,
            ema_decay=0.0,
        ),
        lora=LoraSettings(r=2, lora_alpha=4.0, inner_steps=2, inner_lr=1.0, meta_batch_size=8, b_std=0.2),
        outer=OuterSettings(episodes=4),
        counts_ranker=RankerSettings(hidden=4, max_steps=20),
        blend=RankerSettings(hidden=2, max_steps=20),
        sources=Sources(text_k=6, knn_k=4, popular_k=3),
        blend_features=(),
        leave_last_out=0,
        ranking_tasks=60,
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built by the project's own backend from a copy of the sources, which leaves no build folder in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("llmrec", "prompts", "tests", "training"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(out)], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the weights of SmolLM2 in float32, which all test processes share: making them takes a while."""
    from llmrec.language.weights import SMOLLM2, packaged_weights

    base = tmp_path_factory.getbasetemp()  # of this process; that above it is of all of them
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smollm2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder))
        packaged_weights(SMOLLM2)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An empty Hugging Face hub on this machine, `hubs.Hub`, and an empty cache of what was fetched from it."""
    from hubs import Hub
    from huggingface_hub import constants

    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "mine")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def data_hub(hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The same hub for the library `datasets` too, which keeps an address and folders of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)  # else it asks a server elsewhere
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "datasets" / "downloads")
    return hub
