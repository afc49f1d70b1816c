"""Write recommend.json anew: the answers of a recommender that is fitted on packaged data. Only where answers are to change.

OMP_NUM_THREADS=1 python tests/golden/packaged.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from golden.answers import plain, rounding  # noqa: E402

from llmrec import OuterSettings, Recommender, Settings, TrainSettings  # noqa: E402
from llmrec.data.journey import load_journey  # noqa: E402

SHOWN = 5  # users of each answer that are written down
SETTINGS = Settings(
    adapter="lora",
    user_encoder="pretrained",
    layers=2,
    train=TrainSettings(
        12, 24, known=(1, 4), horizon=3, max_slots=24, learning_rate=3e-4, text_only_rate=0.15, dropout=0.0, ema_decay=0.0
    ),
    blend_features=(),
    outer=OuterSettings(episodes=4),
    ranking_tasks=300,
)


def answers() -> dict[str, list[dict[str, Any]]]:
    """Five kinds of question to a recommender fitted on 300 households, as `plain` values of the first users."""
    events, items = (table.to_pandas() for table in load_journey(buyers=200))
    order = np.random.default_rng(0).permutation(events["user_id"].unique())
    train, held = order[:300], order[300:330]
    fitted = Recommender(settings=SETTINGS, seed=0).fit(events[events["user_id"].isin(train)], items)
    first = events[events["user_id"].isin(held)].sort_values("timestamp").groupby("user_id").head(8)
    some = items["item_id"][:40].tolist()
    found = {
        "known": fitted.recommend(train[:20], k=10),
        "histories": fitted.recommend(histories=first, k=10),
        "adapted": fitted.recommend(histories=first, k=10, steps=3, filter_viewed=False),
        "unknown": fitted.recommend([10**9], k=10),
        "allowed": fitted.recommend(histories=first, k=10, items_to_recommend=some),
    }
    return {name: plain(answer)[:SHOWN] for name, answer in found.items()}


def main() -> None:
    import torch

    from llmrec.encoder import precision

    torch.set_num_threads(1)
    precision._product = lambda dtype, device: 0.0  # float32, whatever is faster here
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LLMREC_CACHE"] = scratch
        told = {"rounding": rounding(), "answers": answers()}
    (HERE / "recommend.json").write_text(json.dumps(told, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
