"""A fit that tests start and kill: python fit_worker.py BERT_FOLDER GIVEN OUTPUT_DIR PART STEP

GIVEN is a folder with tables.json, settings.yaml and a cache. The process says so and waits to be killed when it has taken STEP
steps of PART, which is `base` or `meta`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmrec import Recommender, Settings, Weights
from llmrec.encoder import precision
from llmrec.meta import resumable
from llmrec.pretraining import loop


def main(bert: str, given: str, folder: str, part: str, step: int) -> None:
    os.environ["LLMREC_CACHE"] = given
    precision._product = lambda dtype, device: 0.0  # float32, as the fixture `exact` has it
    module: Any = {"base": loop, "meta": resumable}[part]
    module.train_step = waiting(module.train_step, step)
    recommender = Recommender(Weights.folder(Path(bert)), Settings.from_yaml(Path(given) / "settings.yaml"))
    tables = json.loads((Path(given) / "tables.json").read_text(encoding="ascii"))
    recommender.fit(*tables, output_dir=folder, minutes=1e6)


def waiting(take: Callable[..., Any], step: int) -> Callable[..., Any]:
    taken = 0

    def one(*given: Any) -> Any:
        nonlocal taken
        if taken == step:
            print("here", flush=True)
            time.sleep(600)
        taken += 1
        return take(*given)

    return one


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
