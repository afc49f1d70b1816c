"""Layouts of a saved recommender, and the migrations between them; see `llmrec.layouts`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmrec.layouts import Migration, Saved


def _one_pair_of_rankers(saved: Saved) -> Saved:
    """Layout 1 had one pair of rankers for all answers, and the pretrained transformer always read the histories."""
    pair = {f"unseen_{name}": values for name, values in saved.arrays.items() if name.startswith(("ranker.", "blend."))}
    return replace(saved, arrays=saved.arrays | pair, settings={**saved.settings, "user_encoder": "pretrained"})


def _lora_alone_without_attributes(saved: Saved) -> Saved:
    """Layout 2 had LoRA's initialisation always and no core, and knew nothing of users and requests beside the events. Its
    approximate index was tuned on lists with other centres, so it is tuned anew."""
    more = {"user_attributes": None, "context": None, "tuned": None}
    return replace(saved, meta=saved.meta | more, settings={**saved.settings, "adapter": "lora"})


def _skips_not_counted(saved: Saved) -> Saved:
    """Layout 3 did not count who skipped a cold item, and the score of cold items had six weights."""
    cold = {name: np.append(values, np.zeros(2)) for name, values in saved.arrays.items() if name.startswith("cold.")}
    none = {"skipped_row": np.zeros(0, np.int64), "skipped_column": np.zeros(0, np.int64), "skipped_value": np.zeros(0)}
    sold = saved.arrays.get("buyers.sold")
    skips = {} if sold is None else {f"buyers.{name}": some for name, some in (none | {"skipped": np.zeros(len(sold))}).items()}
    return replace(saved, arrays=saved.arrays | cold | skips)


LAYOUT = 4  # one more whenever what is saved changes its names or its meaning; then MIGRATIONS leads up to it
MIGRATIONS: dict[int, Migration] = {
    1: _one_pair_of_rankers,
    2: _lora_alone_without_attributes,
    3: _skips_not_counted,
}  # layout k -> what makes layout k + 1 out of it
