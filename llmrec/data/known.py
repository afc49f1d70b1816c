"""Users known by id with their events: newer events lie in layers over those that were fitted, so that adding one moves few."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.ids import Ids
from llmrec.data.merge import already_known, merge, overlaid, stacked

OBSERVED = "observed"  # in `Dataset.attributes`: 1 for an event that was observed, NaN for one that was fitted


def as_observed(later: Dataset) -> Dataset:
    """The same events, told from those that were fitted."""
    return replace(later, attributes={**later.attributes, OBSERVED: np.ones(later.n_events, np.float32)})


@dataclass(frozen=True, eq=False)
class KnownUsers:
    """Histories by user. Replacing some gives another value, and the two share what they have in common.

    layers: one dataset or more over the same catalogue. The first holds the users that were fitted or loaded. Each later one
        holds the whole histories of its users and hides what earlier layers have of them. Every layer has at least twice as
        many events as the next: `with_histories` unites layers until that is so. There are thus at most log2(E) layers, and
        an event that was added is moved about as often, whatever else is stored.
    """

    layers: tuple[Dataset, ...]

    @property
    def first(self) -> Dataset:
        """The lowest layer. Users that were fitted keep their places in it; it may lack events that were added since."""
        return self.layers[0]

    @property
    def latest(self) -> float:
        """Time of the newest event, seconds; minus infinity without events. A layer is searched once."""
        return max(layer.latest for layer in self.layers)

    @cached_property
    def dataset(self) -> Dataset:
        """All users with all their events: those that were fitted, then the others in the order they were added. Made when it
        is first asked for, in time that grows with the number of all events."""
        whole = self.layers[-1]
        for layer in self.layers[-2::-1]:
            whole = overlaid(layer, whole)
        return whole

    def of(self, users: Ids) -> Dataset:
        """The histories of those of `users` who are known, each once, in any order."""
        left, parts = users, []
        for layer in reversed(self.layers):
            place = layer.users.find(left.values)
            parts.append(layer.take(np.unique(place[place >= 0])))
            left = left.take(np.flatnonzero(place < 0))
        return stacked(parts)

    def knows(self, users: Ids) -> np.ndarray:
        """bool (len(users),): who is known, with or without events."""
        return np.any([layer.users.find(users.values) >= 0 for layer in self.layers], axis=0)

    def joined(self, users: Ids, later: Dataset) -> tuple[Dataset, Dataset]:
        """The histories of `users` with the events of `later`, and of `later` the events that are not stored yet.

        users: all users of `later`, and any others. An event that is stored and in `later` is there once, see `already_known`.
        Users whose ids are of another kind (str, int, UUID) than the known ones are not known.
        """
        stored = self.of(users)
        if not stored.n_users:
            return later, later
        again = already_known(stored, later)
        fresh = later.keep(~again) if again.any() else later
        return merge(stored, fresh), fresh

    def with_histories(self, histories: Dataset) -> KnownUsers:
        """With the whole histories of some users in place of what was known of them, such as `joined` gives them."""
        layers = [*self.layers, histories]
        while len(layers) > 1 and layers[-2].n_events < 2 * layers[-1].n_events:
            layers[-2:] = [overlaid(*layers[-2:])]
        return KnownUsers(tuple(layers))

    def without(self, users: Ids) -> KnownUsers:
        """Without some users and all of their events. The first layer stays, also where nobody is left in it."""
        left = []
        for layer in self.layers:
            keep = users.find(layer.users.values) < 0
            left.append(layer if keep.all() else layer.take(np.flatnonzero(keep)))
        found = KnownUsers((left[0],))
        for layer in left[1:]:
            found = found.with_histories(layer) if layer.n_users else found
        return found

    def over(self, catalogue: Catalogue) -> KnownUsers:
        """The same events over a catalogue whose first items are those of this one, in the same order."""
        return KnownUsers(tuple(replace(layer, catalogue=catalogue) for layer in self.layers))
