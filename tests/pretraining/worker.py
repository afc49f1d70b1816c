"""A process of a run that tests start and kill: python worker.py BERT_FOLDER RUN_FOLDER STEPS"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from llmrec.data.build import build
from llmrec.encoder import precision
from llmrec.encoder.backbone import load_body
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.weights import Weights
from llmrec.pretraining.loop import pretrain
from llmrec.pretraining.processes import described, launch
from llmrec.store import save_arrays


def main(bert: Path, folder: Path, steps: int) -> None:
    precision._product = lambda dtype, device: 0.0  # float32, as the fixture `exact` has it
    rng = np.random.default_rng(0)
    rows = [(user, int(item), 86_400.0 * day) for user in range(30) for day in range(8) for item in rng.integers(0, 40, 3)]
    events = {name: [row[column] for row in rows] for column, name in enumerate(("user_id", "item_id", "timestamp"))}
    dataset, _ = build(events)
    torch.manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(dataset.n_items, 32), dim=1)
    popularity = torch.from_numpy(np.bincount(dataset.item, minlength=dataset.n_items)).float()
    model = SlotModel(load_body(Weights.folder(bert)), torch.tensor([12, 13, 9]), text, popularity)
    settings = TrainSettings(
        max_steps=steps,
        batch_size=7,
        known=(1, 4),
        horizon=2,
        max_slots=9,
        learning_rate=1e-3,
        dropout=0.0,
        ema_decay=0.9,
    )
    processes = launch(True, "none", folder, {})
    if processes.main:
        print(*described(processes), sep="\n", flush=True)

    def watch(step: int, loss: float) -> None:
        print(f"{processes.share.rank}: step {step}", flush=True)

    done = pretrain(model, dataset, np.arange(dataset.n_users), settings, 5, folder, processes, 3, watch)
    if processes.main:
        save_arrays(folder / "losses.safetensors", {"losses": np.array(done.losses)})
        save_arrays(folder / "model.safetensors", {name: value.numpy() for name, value in model.state_dict().items()})
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
