"""Layouts of a saved recommender, and the migrations between them; see `llmrec.layouts`."""

from __future__ import annotations

from dataclasses import replace

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


LAYOUT = 3  # one more whenever what is saved changes its names or its meaning; then MIGRATIONS leads up to it
MIGRATIONS: dict[int, Migration] = {
    1: _one_pair_of_rankers,
    2: _lora_alone_without_attributes,
}  # layout k -> what makes layout k + 1 out of it
