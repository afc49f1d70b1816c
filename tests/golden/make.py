"""Write the golden folders and their answers anew: `python tests/golden/make.py`, from the root of the checkout.

recommender/, known_scenes/ and new_scene/ are saved by today's code over a tiny transformer with random weights; answers.json
holds what they answered before they were saved. Until the tag v0.1.0 they may be written anew whenever what is saved changes.
From that tag on these are files of layout 1 that every later release must load: they are never written again, and a new layout
gets folders of its own.
"""

from __future__ import annotations

import json
import os
import string
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import torch  # noqa: E402
from golden.answers import plain  # noqa: E402
from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: E402

from llmrec import LoraSettings, OuterSettings, Recommender, Scenes, Settings, TrainSettings, Weights  # noqa: E402
from llmrec.encoder import precision  # noqa: E402
from llmrec.index.candidates import Sources  # noqa: E402
from llmrec.ranking.ranker import RankerSettings  # noqa: E402
from llmrec.scenes.learning import LearnSettings, MixSettings  # noqa: E402

ITEMS, GROUPS, VISITS = 30, 3, 6
WORDS = ("red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap")
SMALL = Settings(
    adapter="lora",
    user_encoder="pretrained",
    layers=None,
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
    blend_features=(),
    lora=LoraSettings(r=2, lora_alpha=4.0, inner_steps=2, inner_lr=1.0, meta_batch_size=8, b_std=0.2),
    outer=OuterSettings(episodes=4),
    counts_ranker=RankerSettings(hidden=4, max_steps=20),
    blend=RankerSettings(hidden=2, max_steps=20),
    sources=Sources(text_k=6, knn_k=4, popular_k=3),
    ranking_tasks=60,
)
FEW = LearnSettings(sizes=(16, 64), draws=1, queries=120, mix=MixSettings(bends=4, steps=40))


def transformer(folder: Path) -> Weights:
    """A BERT of one block, width 16, with random weights and a vocabulary of a few words."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *string.ascii_lowercase]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    BertTokenizerFast(vocab={piece: place for place, piece in enumerate(pieces)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=128,
    )
    torch.manual_seed(11)
    BertModel(config).save_pretrained(folder)
    return Weights.folder(folder)


def tables(seed: int, users: int) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Events and items of a shop whose users each like one group of its items; nobody buys anything twice."""
    rng = np.random.default_rng(seed)
    group, liked = rng.integers(0, GROUPS, ITEMS), rng.gamma(0.5, size=ITEMS) + 0.02
    rows: dict[str, list[Any]] = {"user_id": [], "item_id": [], "timestamp": [], "price": []}
    for user in range(users):
        weight = liked * np.where(group == rng.integers(GROUPS), 1.0, 0.02)
        for visit, item in enumerate(rng.choice(ITEMS, VISITS, replace=False, p=weight / weight.sum())):
            rows["user_id"].append(f"u{seed}-{user}")
            rows["item_id"].append(f"i{item:02}")
            rows["timestamp"].append(1.6e9 + 86_400.0 * visit + user)
            rows["price"].append(2.5 + float(item))
    titles = [f"{WORDS[i % 5]} {WORDS[5 + i // 5 % 5]}" for i in range(ITEMS)]
    return rows, {"item_id": [f"i{item:02}" for item in range(ITEMS)], "title": titles}


def of(events: dict[str, list[Any]], first: int, last: int) -> dict[str, list[Any]]:
    """Events of the users first:last."""
    return {name: values[VISITS * first : VISITS * last] for name, values in events.items()}


def main() -> None:
    torch.set_num_threads(1)
    precision._product = lambda dtype, device: 0.0  # float32, whatever is faster here
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LLMREC_CACHE"] = str(Path(scratch) / "cache")
        weights = transformer(Path(scratch) / "weights")
        events, items = tables(0, 28)
        known, asked = of(events, 0, 24), of(events, 24, 28)
        recommender = Recommender(weights, SMALL).fit(known, items)
        recommender.save_pretrained(HERE / "recommender", histories=True)
        told: dict[str, Any] = {"asked": asked, "users": known["user_id"][:: 5 * VISITS]}
        told["recommender"] = {
            "known": plain(recommender.recommend(told["users"], k=8)),
            "histories": plain(recommender.recommend(histories=asked, k=8)),
            "adapted": plain(recommender.recommend(histories=asked, k=8, steps=2)),
        }
        scenes = Scenes(weights, FEW).fit({f"shop {seed}": tables(seed, 140) for seed in (1, 2, 3)})
        scenes.save_pretrained(HERE / "known_scenes")
        told["gains"] = {name: list(map(float, scenes.validation_gains[name])) for name in ("customers", "gain", "spread")}
        events, items = tables(4, 80)
        scene = scenes.open(items).adapt(of(events, 0, 64))
        if not scene.customers:
            raise SystemExit("The new scene stays at zero steps: change the shop, so that its folder has everything in it.")
        scene.save_pretrained(HERE / "new_scene")
        told["visitors"] = of(events, 76, 80)
        told["new_scene"] = {
            "adapted": plain(scene.recommend(histories=told["visitors"], k=8)),
            "zero steps": plain(scene.reset().recommend(histories=told["visitors"], k=8)),
        }
    (HERE / "answers.json").write_text(json.dumps(told, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
