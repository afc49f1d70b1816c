"""Episodes from the slot model: the support and query losses of users, or of scenes, under any adapters.

By user: one task is one history. Its support loss asks every slot for the support's own later items; its query loss asks the
last slot for what the user took next. By scene: one task is many histories of many users in one scene, all under one adapter.
The scores are judged by a `Loss` of `losses.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from llmrec.adapters.lora import Adapter, lora_hook
from llmrec.data.tasks import Tasks
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.slots import Readouts, query_readouts, support_readouts
from llmrec.encoder.softmax import Targets, sampled_loss
from llmrec.encoder.users import Prompts, prompts, states
from llmrec.meta.inner import SupportLoss
from llmrec.meta.losses import Loss, mean_by, softmax
from llmrec.meta.outer import Episode


@dataclass(frozen=True)
class EpisodeSettings:
    """Which blocks the adapters change, and how long prompts and support targets are.

    n_adapted_blocks: blocks, counted from the top, whose linear layers are adapted. max_slots: slots of a prompt.
    horizon: baskets that a slot predicts.
    reads: slots of a support that predict, at most.
    """

    n_adapted_blocks: int = 1
    max_slots: int = 64
    horizon: int = 3
    reads: int = 8


def user_support(
    model: SlotModel, items: Items, tasks: Tasks, settings: EpisodeSettings
) -> tuple[Prompts, SupportLoss[Adapter]]:
    """The prompts of T users and their support loss (T,), which looks at nothing but the supports. It can be differentiated
    once, in the adapter alone: for steps that nothing is learned through."""
    made = prompts(model, items, tasks, settings.max_slots, settings.n_adapted_blocks)

    @cache
    def asked() -> tuple[Tensor, Tensor, Targets]:  # without a step nobody asks for them
        return _targets(model, items, support_readouts(tasks, made.batch, settings.horizon, settings.reads), len(tasks))

    def support(adapter: Adapter) -> Tensor:
        found, (task, place, targets) = states(model, made, lora_hook(adapter)), asked()
        if not len(targets.owner):  # as in `_support`
            return found.sum() * torch.zeros(len(tasks), device=found.device)
        stride, some = items.compared
        each = sampled_loss(model.temperature * found[task, place], some.vectors, some.bias, targets, stride)
        return each.new_zeros(len(tasks)).index_add(0, task, each)

    return made, support


def user_episode(
    model: SlotModel, items: Items, tasks: Tasks, settings: EpisodeSettings, loss: Loss = softmax
) -> Episode[Adapter]:
    """An episode of T users: one forward pass gives both losses."""
    made = prompts(model, items, tasks, settings.max_slots, settings.n_adapted_blocks)
    support, query = support_readouts(tasks, made.batch, settings.horizon, settings.reads), query_readouts(tasks, made.batch)

    def both(adapter: Adapter) -> tuple[Tensor, Tensor]:
        found = states(model, made, lora_hook(adapter))
        after = model.scores(found, items, made.batch, query.task, query.slot)
        return _support(model, items, found, support, len(tasks), loss), judged(loss, after, query)

    return Episode(len(tasks), both)


@dataclass(frozen=True)
class SceneRows:
    """Histories whose query lies in scenes: row i belongs to scene `owner[i]` of S, with its items `allowed[owner[i]]`.

    tasks: T histories. owner: int64 (T,). allowed: bool (S, N).
    """

    tasks: Tasks
    owner: np.ndarray
    allowed: np.ndarray


def scene_loss(
    model: SlotModel, items: Items, rows: SceneRows, settings: EpisodeSettings, loss: Loss = softmax
) -> SupportLoss[Adapter]:
    """Loss (S,) of S scenes under S adapters: what its users take next among the scene's own items, mean over users."""
    made = prompts(model, items, rows.tasks, settings.max_slots, settings.n_adapted_blocks)
    reads = inside(query_readouts(rows.tasks, made.batch), rows)
    owner = torch.from_numpy(rows.owner).to(made.lower.device)
    among = torch.from_numpy(rows.allowed).to(made.lower.device)[owner]

    def mean(adapter: Adapter) -> Tensor:
        found = states(model, made, lora_hook(adapter.take(owner)))
        after = model.scores(found, items, made.batch, reads.task, reads.slot)
        return mean_by(judged(loss, after, reads, among), owner, len(adapter))

    return mean


def scene_episode(
    model: SlotModel, items: Items, support: SceneRows, query: SceneRows, settings: EpisodeSettings, loss: Loss = softmax
) -> Episode[Adapter]:
    """An episode of S scenes; the users of `support` and of `query` must be others, which is the caller's to see to."""
    before, after = scene_loss(model, items, support, settings, loss), scene_loss(model, items, query, settings, loss)
    return Episode(len(support.allowed), lambda adapter: (before(adapter), after(adapter)))


def inside(reads: Readouts, rows: SceneRows) -> Readouts:
    """The readouts with only those targets that are items of the row's scene."""
    return reads.keep(rows.allowed[rows.owner[reads.task[reads.owner]], reads.target])


def _support(model: SlotModel, items: Items, found: Tensor, reads: Readouts, users: int, loss: Loss) -> Tensor:
    if not len(reads):  # supports of one event hold nothing to predict: the initialisation stays as it is
        return found.sum() * torch.zeros(users, device=found.device)
    task = torch.from_numpy(reads.task).to(found.device)
    vectors = found[task, len(model.prefix_ids) + torch.from_numpy(reads.slot).to(found.device)]
    # Without the repeat terms: inside one basket nothing comes twice, and a step must not unlearn what is bought again.
    if items.compared[0] == 1:
        return mean_by(judged(loss, model.logits(vectors, items), reads), task, users)
    return mean_by(judged(loss, *against_some(model, vectors, items, reads)), task, users)


def _targets(model: SlotModel, items: Items, reads: Readouts, users: int) -> tuple[Tensor, Tensor, Targets]:
    """Of M readouts the task and the place in its prompt, int64 (M,), and their targets; shares are such that the losses of a
    user add up to the mean over the readouts of `softmax`."""
    device, stride = items.vectors.device, items.compared[0]
    every = reads.task, reads.slot, reads.owner, reads.target, reads.place
    task, slot, owner, target, place = (torch.from_numpy(part).to(device) for part in every)
    weight = items.bias.new_ones(len(owner)) if reads.weight is None else torch.from_numpy(reads.weight).to(device)
    count = torch.bincount(task, minlength=users)[task] * torch.bincount(owner, minlength=len(reads))
    again = target % stride == 0
    known = torch.stack([owner[again], target[again] // stride])
    targets = Targets(owner, weight / count[owner], items.vectors[target], items.bias[target], place, known)
    return task, len(model.prefix_ids) + slot, targets


def against_some(model: SlotModel, vectors: Tensor, items: Items, reads: Readouts) -> tuple[Tensor, Readouts]:
    """Scores (M, S + W) of the S items of `Items.compared` and of each readout's own W targets at most, and the readouts with
    these columns as targets.

    Each of the S items stands for as many as the stride: the log of the stride is added to its score. Where a readout's own
    target is among them, it is compared there no more. vectors: (M, d), user vectors of the readouts.
    """
    stride, some = items.compared
    target, owner = (torch.from_numpy(part).to(vectors.device) for part in (reads.target, reads.owner))
    place = reads.place
    scores = model.logits(vectors, some) + math.log(stride)
    again = target % stride == 0
    scores = scores.index_put((owner[again], target[again] // stride), scores.new_tensor(-1e9))
    exact = (model.temperature * vectors[owner] * items.vectors[target]).sum(1).float() + items.bias[target]
    own = scores.new_full((len(vectors), int(place.max(initial=0)) + 1), -1e9)
    own = own.index_put((owner, torch.from_numpy(place).to(owner.device)), exact)
    return torch.cat([scores, own], 1), replace(reads, target=scores.shape[1] + place)


def judged(loss: Loss, scores: Tensor, reads: Readouts, among: Tensor | None = None) -> Tensor:
    """Loss (M,) of the readouts' scores (M, N); a target counts what its event does."""
    target, owner = (torch.from_numpy(part).to(scores.device) for part in (reads.target, reads.owner))
    weight = None if reads.weight is None else torch.from_numpy(reads.weight).to(scores.device)
    return loss(scores, target, owner, among, weight)
