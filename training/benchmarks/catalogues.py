"""One model over several catalogues: all that it learns is shared, and items are known by their texts alone.

A catalogue is a task of its own: each step reads histories of one of them, and its softmax is over that one's items only. So
what is learned is how to tell apart what stands side by side in one shop, whichever it is, and `llmrec.encoder.catalogues.over`
puts the model onto a catalogue that it has never seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import Training, TrainSettings, finalize, init_state, train_step, trainable
from llmrec.errors import DataError


def begin_together(models: Sequence[SlotModel], settings: TrainSettings, warmup: bool = True) -> list[Training]:
    """Training at step 0 of models that `over` made of one: of each, with one optimiser, one average and one list of losses.

    The first holds all that is learned, for a checkpoint. Raises DataError where the models do not share it.
    """
    first = init_state(models[0], settings, warmup)
    mine = [id(parameter) for _, parameter in trainable(models[0])]
    for place, model in enumerate(models):
        model.train()
        if [id(parameter) for _, parameter in trainable(model)] != mine:
            raise DataError(f"models[{place}]: expected one that shares all it learns with the first; make both by `over`")
    return [Training(model, first.optimiser, first.ema, first.dtype, warmup, first.losses) for model in models]


def advance_together(
    trainings: Sequence[Training],
    datasets: Sequence[Dataset],
    users: Sequence[np.ndarray],
    settings: TrainSettings,
    seed: int,
) -> float:
    """One step on one catalogue, each in its turn; returns the loss. datasets, users: of each, in the order of `trainings`."""
    turn = trainings[0].step % len(trainings)
    return train_step(trainings[turn], datasets[turn], users[turn], settings, seed)


def finish_together(trainings: Sequence[Training]) -> None:
    """Put the averaged weights, if there are any, into all models, and take them out of training mode."""
    finalize(trainings[0])
    for training in trainings:
        training.model.eval()
