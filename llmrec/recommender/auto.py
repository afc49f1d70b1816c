"""Settings chosen from the data by six rules: facts in, one setting out, each with what it rests on.

The rules were written on Amazon beauty, MovieLens-1M and the Complete Journey, on validation users. They replace recipes,
settings that were tuned on validation for each of these data sets and chosen by its name; commit 42d4fb1 is the last that has
them. `training/LOG.md` has the figures that the rules reach together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.recommender.settings import BlendSettings, Settings

LEAST_STEPS = 300  # of base training: fewer leave even a small catalogue unlearned
LONGEST_PROMPT = 128  # slots
SHORT_HISTORY, LONG_HISTORY = 20, 40  # baskets
MANY_USERS = 10_000
LARGE_BLEND_FROM, MOST_LEFT_OUT = 3_000, 10_000  # users
LEARNING_RATES = {"small": 1e-3, "pretrained": 4e-4}
FOR_COLD_ITEMS = ("text_knn",)
BLEND_FEATURES = (
    "purchased",
    "n_baskets",
    "popularity",
    "item_knn",
    "item_knn_decayed",
    "ease",
    "ease_decayed",
    "tfidf",
    "text_cca",
    "markov_short",
    "markov_long",
    "position_popularity",
    "recent_position_popularity",
)


@dataclass(frozen=True)
class Facts:
    """What the rules know of the data.

    users: with at least one event. histories: the same, where a history of more than LONG_HISTORY baskets counts once for
    every LONG_HISTORY of them. baskets: median number of baskets of a user. basket_size: mean number of events in a
    basket. long_history: events of a user whom 5% of the users exceed. item_events: mean number of events of a purchased item.
    longer: users who keep a window to train on when their last baskets are left out. blend_users: users to be held out for the
    blend. attributes: whether attributes of users are known.
    """

    users: int
    histories: float
    baskets: float
    basket_size: float
    long_history: float
    item_events: float
    longer: int
    blend_users: int
    attributes: bool = False

    def __str__(self) -> str:
        return (
            f"{self.users:,} users, median history {self.baskets:g} baskets of {self.basket_size:.1f} events, "
            f"{self.item_events:.0f} events an item, {self.blend_users:,} users held out for the blend"
        )


def facts(dataset: Dataset, blend_users: int) -> Facts:
    """The facts of a data set of which so many users are held out for the blend."""
    events = np.diff(dataset.start)
    some = events > 0
    n_baskets = dataset.n_baskets[some]
    baskets = float(np.median(n_baskets)) if some.any() else 0.0
    return Facts(
        users=int(some.sum()),
        histories=float(np.maximum(n_baskets / LONG_HISTORY, 1).sum()),
        baskets=baskets,
        basket_size=dataset.n_events / max(int(n_baskets.sum()), 1),
        long_history=float(np.quantile(events[some], 0.95)) if some.any() else 0.0,
        item_events=dataset.n_events / max(len(np.unique(dataset.item)), 1),
        longer=int((n_baskets >= 1 + 2 * _ahead(baskets)).sum()),
        blend_users=blend_users,
        attributes=dataset.user_attributes is not None,
    )


def horizon(facts: Facts) -> int:
    """Baskets that count as next: a tenth of a median history, 1 to 10.

    The recipes have 1 for beauty (median 4 baskets), 10 for MovieLens (92) and 3 for the Complete Journey (42); this gives 1, 9
    and 4, with which the figures of the log were reached.
    """
    return _ahead(facts.baskets)


def max_slots(facts: Facts) -> int:
    """Slots of a prompt: nearly all histories fit, in steps of 16, up to LONGEST_PROMPT.

    The recipes have 50 for beauty, 110 for MovieLens and 128 for the Complete Journey; a longer prompt costs time in every
    answer.
    """
    return int(np.clip(16 * np.ceil(facts.long_history / 16), 16, LONGEST_PROMPT))


def max_steps(facts: Facts, epochs: float, batch_size: int) -> int:
    """Steps of base training: `epochs` windows for each user, more for long histories, LEAST_STEPS at least.

    Without more for long histories MovieLens lost .029 to .032 NDCG@10 at 10 and 20 known films. Nothing bounds the steps of a
    large shop: `fit(minutes=)` does.
    """
    return max(LEAST_STEPS, round(epochs * facts.histories / batch_size))


def dropout(facts: Facts) -> float:
    """Dropout of the slots: .5 where an item has few events to learn from, else .3.

    The recipes have .5 for beauty, which has 13 events an item, and .3 for MovieLens and the Complete Journey, which have
    hundreds. The two were not compared on their own.
    """
    return 0.5 if facts.item_events < 50 else 0.3


def blend_features(facts: Facts, cold_items: bool = False) -> tuple[str, ...]:
    """What the blend reads beside the two scores: counts where at least 400 users teach it, else nothing; for cold items also
    FOR_COLD_ITEMS.

    So have the recipes: 422 users of MovieLens and 2,000 of beauty teach it, and 172 households of the Complete Journey, where
    what the blend sees was chosen on training households. Where attributes of users are known, it reads counts by them as well.
    """
    if facts.blend_users < 400:
        return ()
    by_group = ("by_group",) if facts.attributes else ()
    return (*BLEND_FEATURES, *by_group, *(FOR_COLD_ITEMS if cold_items else ()))


def leave_last_out(facts: Facts, cold_items: bool = False) -> int:
    """How many users have their last baskets left out of training, for the blend to learn from. In shops of many users with
    short histories: a third of the users, at most MOST_LEFT_OUT. Elsewhere, and for cold items: none.

    Beauty, validation, NDCG@10: .0791 with 7,444 of them, the larger blend and fewer users held out, +.0032 [.0016, .0047].
    With only 2,000 such tasks the larger blend is no better than the small one. MovieLens and the Complete Journey, one fit
    each, showed no difference, so the rule leaves nothing out there.
    """
    if facts.baskets >= SHORT_HISTORY or facts.users < MANY_USERS or cold_items:
        return 0
    return min(MOST_LEFT_OUT, facts.users // 3, facts.longer // 2)


def resolve(settings: Settings, found: Facts) -> Settings:
    """The same settings with a value, chosen from the facts, for everything that is None. What has no rule of its own follows
    from another setting: supports in training have as many baskets as fill the prompt, and the blend grows with its tasks."""
    train = settings.train
    slots = max_slots(found) if train.max_slots is None else train.max_slots
    steps = max_steps(found, train.epochs, train.batch_size) if train.max_steps is None else train.max_steps
    chosen = replace(
        train,
        max_slots=slots,
        max_steps=steps,
        horizon=horizon(found) if train.horizon is None else train.horizon,
        known=(1, max(2, int(slots / max(found.basket_size, 1)))) if train.known is None else train.known,
        dropout=dropout(found) if train.dropout is None else train.dropout,
        ema_decay=max(0.0, 1 - 1.6 / steps) if train.ema_decay is None else train.ema_decay,
        learning_rate=LEARNING_RATES[settings.user_encoder] if train.learning_rate is None else train.learning_rate,
    )
    features = blend_features(found, settings.cold_items) if settings.blend_features is None else settings.blend_features
    last = leave_last_out(found, settings.cold_items) if settings.leave_last_out is None else settings.leave_last_out
    given, sized = settings.blend, _blend(0 if settings.cold_items else min(last, found.longer))
    blend = replace(
        given,
        hidden=sized.hidden if given.hidden is None else given.hidden,
        max_steps=sized.max_steps if given.max_steps is None else given.max_steps,
        learning_rate=sized.learning_rate if given.learning_rate is None else given.learning_rate,
    )
    return replace(settings, train=chosen, leave_last_out=last, blend=blend, blend_features=features)


def _blend(left_out: int) -> BlendSettings:
    """Sizes of the blend: larger and trained for longer where it learns from at least LARGE_BLEND_FROM left-out users, as in
    the recipe of beauty."""
    if left_out < LARGE_BLEND_FROM:
        return BlendSettings(hidden=4, max_steps=300, learning_rate=2e-2)
    return BlendSettings(hidden=16, max_steps=1200, learning_rate=1e-2)


def _ahead(baskets: float) -> int:
    return int(np.clip(round(baskets / 10), 1, 10))
