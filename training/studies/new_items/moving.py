"""A trained base, the user vectors before each purchase, and how the first purchases of every young item move its vector.

Axis convention: `Q` purchases, `Y` young items, `d` width of a user vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.users import batches, prompts, user_vectors
from llmrec.encoder.weights import Weights
from llmrec.progress import Stages
from llmrec.recommender.fit import fit_base
from llmrec.recommender.pipeline import frozen_items
from llmrec.recommender.run import Run
from llmrec.recommender.settings import Settings
from llmrec.store import cache_folder
from studies.new_items.posterior import ItemPrior, learned_axes, posterior_mode
from studies.new_items.replay import Replay, World, before

SETTINGS = Settings(cold_items=True, train=TrainSettings(epochs=3, text_only_rate=0.5))
AXES, SCALE, SPREAD = 32, 3.0, 1.5  # chosen on validation
BACKGROUND = 500
LEAST_EVENTS = 50.0
MOST = 40  # buyers after which an item is left as it is; nothing is asked beyond 10


@dataclass(frozen=True, eq=False)
class Moving:
    """What the base says. vectors: float32 (M, d), before the events that `place` (E,) gives rows to, else -1. items: the item
    side, young items by their texts alone. texts: float32 (N, e), of all items. temperature: of the scores. prior: of the
    young items."""

    vectors: np.ndarray
    place: np.ndarray
    items: Items
    texts: np.ndarray
    temperature: float
    prior: ItemPrior

    def scores(self, found: Replay) -> np.ndarray:
        """float32 (Q, Y): zero steps."""
        users = self.temperature * self.vectors[self.place[found.purchase]]
        return users @ self.items.vectors.numpy()[found.young].T + self.items.bias.numpy()[found.young]


def trained(here: World, seed: int, folder: Path) -> tuple[SlotModel, Settings]:
    """The base over the events before the cut, as `Recommender.fit` trains it, from the last checkpoint in `folder` on if there
    is one. Raises ArtefactError for checkpoints of other data, settings or seeds."""
    base = fit_base(here.train, Weights.packaged(), SETTINGS, seed, Stages(), cache_folder(), run=Run(folder))
    return base.model.eval().requires_grad_(False), base.settings


def read(here: World, found: Replay, model: SlotModel, plan: Settings, seed: int) -> Moving:
    """Vectors before the purchases of young items. The background are events of the last tenth before the cut."""
    items = frozen_items(model)
    whole, rng = here.whole, np.random.default_rng(seed)
    later = np.arange(whole.n_events) > whole.start[whole.user]
    recent = np.quantile(here.train.time, 0.9)
    earlier = np.flatnonzero(later & (whole.time < here.cut) & (whole.time >= recent))
    background = rng.permutation(earlier)[:BACKGROUND]
    events = np.unique(np.concatenate([found.purchase, background]))
    place = np.full(whole.n_events, -1)
    place[events] = np.arange(len(events))

    def vectors(part: np.ndarray) -> np.ndarray:
        tasks = batches(before(here, part))
        made = (prompts(model, items, some, plan.train.max_slots, plan.lora.n_adapted_blocks) for some in tasks)
        return np.concatenate([user_vectors(model, one).numpy() for one in made])

    every, temperature = vectors(events), float(model.temperature)
    users = every[place[background]].astype(np.float64)
    scores = temperature * users @ items.vectors.numpy().T + items.bias.numpy()
    highest = scores.max(1)
    log_partition = highest + np.log(np.exp(scores - highest[:, None]).sum(1))
    deltas = model.id_embedding.detach().numpy()[model.trained.numpy()]
    prior = ItemPrior(learned_axes(deltas, AXES) * SCALE, SPREAD, users, log_partition)
    return Moving(every, place, items, model.text.numpy(), temperature, prior)


def moved(here: World, found: Replay, base: Moving, whose: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """float32 (Q, Y) each: what delta and what beta add to the scores of zero steps, after the buyers of the days before.

    whose: int64 (Y,), the item whose buyers each is given in place of its own, as many as it has; None for its own. Buyers of
    another item may be later than the purchase that is asked for, the user who is asked among them.
    """
    whole = here.whole
    days = np.sort(whole.time[whole.time >= here.cut])
    users = base.temperature * base.vectors[base.place[found.purchase]].astype(np.float64)
    more, lift = np.zeros(found.known.shape, np.float32), np.zeros(found.known.shape, np.float32)
    for one, own in enumerate(found.buyers):
        when = whole.time[own]
        given = own if whose is None else np.resize(found.buyers[whose[one]], len(own))
        row = base.place[given]
        vector, bias = base.items.vectors.numpy()[found.young[one]], float(base.items.bias[found.young[one]])
        for day in np.unique(when):
            known = when <= day
            if known.sum() > MOST:
                break
            there = row[known & (row >= 0)]  # a user's first event has no vector before it
            events = max(np.searchsorted(days, day, "right") - np.searchsorted(days, when[0]), LEAST_EVENTS)
            total = base.vectors[there].sum(0)
            delta, beta = posterior_mode(base.prior, total, len(there), events, vector, bias, base.temperature)
            later = found.day > day
            more[later, one], lift[later, one] = users[later] @ delta, beta
    return more, lift
