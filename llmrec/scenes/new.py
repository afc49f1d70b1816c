"""A new category or shop as a value: recommend, adapt to the first customers, reset, save.

Axis convention: `T` askers, `N` items of the catalogue, `D` designs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from llmrec.data.build import asked_for, events_for
from llmrec.data.dataset import Catalogue, Dataset, empty_dataset
from llmrec.data.frames import empty_frame, frame_kind, to_native
from llmrec.data.ids import Ids
from llmrec.data.requests import (
    allowed_items,
    answer_table,
    as_ids,
    check_count,
    check_users,
    warn_if_short,
    with_titles,
)
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError, UnknownItemError
from llmrec.hub import fetched, push
from llmrec.rules.answers import passing, pins_shown, row_of, shortage, warn_of_rules
from llmrec.rules.applied import CatalogueRules, KnownRules
from llmrec.rules.filling import PINNED, flat
from llmrec.rules.rules import Rules, checked_rules
from llmrec.scenes.choosing import choose
from llmrec.scenes.columns import event_names, with_scene
from llmrec.scenes.comparing import comparison, held_ndcg
from llmrec.scenes.learned import ZERO
from llmrec.scenes.opening import Scene, zero_steps
from llmrec.scenes.reranked import reranked
from llmrec.scenes.ruled import filled
from llmrec.scenes.saving import opened, scene_arrays, scene_from, write_scene
from llmrec.scenes.shelf import Shelf
from llmrec.store import from_one_save, load_ids, load_table, save_ids, save_table, write_folder

if TYPE_CHECKING:
    from llmrec.ranking.rankers import CandidateRanker

KIND = "new scene"
STRANGER = "(no history)"
_TASKS = 128  # asked at once


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of a scene, beside the histories.

    k: items for each user. filter_viewed: leave out items of the history. allowed: bool (N,), items that may be recommended.
    rules: of the shop, over the scene's items; None for none. barred: csr bool (A, N), items that single askers must not get;
    None for none.
    """

    k: int
    filter_viewed: bool
    allowed: np.ndarray
    rules: CatalogueRules | None = None
    barred: sparse.csr_array | None = None


@dataclass(frozen=True, repr=False)
class SceneRecommender:
    """A category or shop opened by `Scenes.open`. It never changes: `adapt` and `reset` return another one.

    scene: its items, and the counts of its customers. catalogue: the items that histories may hold, those to be recommended
    among them. repeat_purchases: whether purchased items may be recommended. seed: of random draws in `adapt`. evidence:
    float64 (4, D), `known, held, error, expected` of `llmrec.scenes.choosing.Chosen`; None until it is adapted. frame: empty,
    of the type of the answers. value: column of the events and its value, such as ("country", "France"), if these tell which
    events are of the scene.
    """

    scene: Scene
    catalogue: Catalogue
    repeat_purchases: bool = False
    seed: int = 0
    evidence: np.ndarray | None = None
    frame: Any = None
    value: tuple[str, str] | None = None

    def __repr__(self) -> str:
        items = f"{int(self.scene.shelf.among.sum()):,} items"
        return f"SceneRecommender({items}, {self.name!r}, {self.customers:,} customers)"

    @property
    def name(self) -> str:
        """How it is adapted: a design's name, or "zero steps"."""
        return self.scene.name

    @property
    def customers(self) -> int:
        """How many customers it is adapted to; 0 with zero steps."""
        return 0 if self.scene.few is None else self.scene.few.users

    @property
    def ranker_steps(self) -> int:
        """Gradient steps of its language model's adapter on the choices of these customers; 0 without an adapter."""
        steps = self.scene.learned.ranker_steps
        return 0 if steps is None or self.scene.adapted_ranker is None else steps.way(self.customers).steps

    def recommend(
        self,
        users: Iterable[Any] | None = None,
        k: int = 10,
        filter_viewed: bool | None = None,
        items_to_recommend: Iterable[Any] | None = None,
        histories: Any = None,
        columns: dict[str, str] | None = None,
        titles: bool = False,
        rules: Rules | None = None,
    ) -> Any:
        """The k best items of the scene for the users of a table of `histories`, or for some of them.

        An answer uses the history given here, whose events may have any item of the catalogue, also those outside the
        scene; the gate of the scene's recommender, if it has one, chooses the adapter steps on it. Histories are not stored.

        users: ids; None for all users of `histories`, in order of appearance. Users without events there get the same list as
            everybody. k: items, 1 or more. filter_viewed: leave out items already in the user's history; None does
            so unless `repeat_purchases` is set. items_to_recommend: ids that may be recommended. columns: names in
            `histories`, as in `Recommender.fit`. titles: add the column `title` of the items. rules: of the shop, see
            `llmrec.rules.Rules`; columns are those of the items table that the scene was opened with.

        Returns a frame `user_id, item_id, score, rank, source` in the type of `histories`, or of the items; best first.
        `source` is `name`, with "(no history)" if the answer is the same for everybody; scores of one user can be compared.
        A ShortAnswerWarning says which users get fewer than k items and why. Raises DataError without users and
        histories, or for users of another type than those of `histories`; UnknownItemError for an id in
        `items_to_recommend` that is not in the catalogue, and for `histories` whose item ids are all of another type;
        SchemaError for rules about a column that the table of items lacks.
        """
        if users is None and histories is None:
            raise DataError(
                "recommend needs histories (a table of events), or users (ids) to be answered without any, got none"
            )
        check_count(k)
        allowed = self.scene.shelf.among
        if items_to_recommend is not None:
            allowed = allowed & allowed_items(self.catalogue, items_to_recommend)
        skip = (not self.repeat_purchases) if filter_viewed is None else bool(filter_viewed)
        wanted = Wanted(k, skip, allowed)
        if (ruled := checked_rules(rules)) is not None:
            applied = self._known_rules.over(ruled)
            wanted = replace(wanted, rules=applied, allowed=allowed if applied.allowed is None else allowed & applied.allowed)
        if histories is None:
            known, asked = empty_dataset(self.catalogue), Ids([])
            frame = pa.table({}) if self.frame is None else self.frame
        else:
            shelf = self.scene.shelf
            known, _, asked = asked_for(self.catalogue, histories, columns, shelf.event_types, seed=self.seed)
            known = shelf.in_its_terms(known)
            frame = to_native(pa.table({}), histories)
        asked = asked if users is None else as_ids(users, "users")
        check_users(asked, known.users)
        wanted = wanted if wanted.rules is None else replace(wanted, barred=wanted.rules.barred(asked))
        asker, item, score, rank, source = self._answer(known, asked, wanted)
        kept, rank = passing(asker, item, rank, wanted.allowed, wanted.barred)
        asker, item, score, source = asker[kept], item[kept], score[kept], source[kept]
        warn_of_rules(self.catalogue, wanted.rules, k, asked, pins_shown(asker, item, wanted.rules))
        warn_if_short(asker, asked, k, skip, items_to_recommend is not None, shortage(asker, asked, k, wanted.rules))
        answer = answer_table(asked, self.catalogue, asker, item, score, rank, source.tolist())
        return to_native(with_titles(answer, self.catalogue, item) if titles else answer, frame)

    def adapt(self, events: Any, columns: dict[str, str] | None = None) -> SceneRecommender:
        """Adapt the scene to its first customers, if their own events show that this helps; see `selection_report`.

        events: all events so far of those customers, a table with `user_id, item_id, timestamp`, including those with items
        outside the scene; events with a `weight` of 0 or below, such as dislikes, are not read. Users without events in the
        scene are no customers. If a column of the events tells scenes apart and the table has it, events of other scenes are
        left out. Every design is tried on held-out events of these customers, and its gain is combined with its gain in known
        scenes; the best design is deployed if its expected gain is above zero by half of its uncertainty, and otherwise zero
        steps stay. An adapter of a language model then takes `ranker_steps`. With many more customers than in learning
        (hundreds), train a `Recommender` on them instead.

        Returns a new value, adapted from zero steps whatever this one is; this one does not change. Raises UnknownItemError
        if no event has an item of the scene, DataError if none is of the scene by its column.
        """
        dataset, users = self._first_customers(events, columns)
        rng = np.random.default_rng(self.seed)
        found = choose(zero_steps(self.scene), dataset, users, rng, self.repeat_purchases)
        return replace(self, scene=found.scene, evidence=np.stack([found.known, found.held, found.error, found.expected]))

    def compare(self, events: Any, columns: dict[str, str] | None = None) -> Any:
        """Compare the adapted scene, zero steps and popularity on each first customer's last purchases here: each quarter of
        the customers is held out in turn, and the scene is adapted to the rest.

        events, columns: as in `adapt`, which the comparison does not affect; it takes about five times as long.
        Returns a frame `method, ndcg@10, low, high, adapted_minus, minus_low, minus_high, customers` in the type of the items:
        the mean with its 95% interval, and the adapted scene minus the method, with an interval. Customers with
        only one basket are left out; no row if none remains. Raises as `adapt`.
        """
        dataset, users = self._first_customers(events, columns)
        rng = np.random.default_rng(self.seed)
        table = comparison(held_ndcg(self.scene, dataset, users, rng, self.repeat_purchases), rng)
        return to_native(table, pa.table({}) if self.frame is None else self.frame)

    @property
    def selection_report(self) -> Any:
        """Why this design was chosen: a frame `design, known, held, error, expected, deployed`, in the type of the items.

        One row for zero steps, and one for each design; gains are over zero steps, in nats per event. known: its gain in
        known scenes, with as many customers. held: its gain on held-out events of these customers, and error its
        standard error; NaN without such events. expected: both combined. All but `deployed` is NaN before `adapt`.
        """
        designs = [one.name for one in self.scene.learned.designs]
        told = np.full((4, len(designs)), np.nan) if self.evidence is None else self.evidence
        base = np.full(4, np.nan if self.evidence is None else 0.0)
        values = dict(zip(("known", "held", "error", "expected"), np.column_stack([base, told]), strict=True))
        names = [ZERO.name, *designs]
        table = {"design": names, **values, "deployed": [name == self.name for name in names]}
        return to_native(pa.table(table), pa.table({}) if self.frame is None else self.frame)

    def reset(self) -> SceneRecommender:
        """The scene as it was opened, zero steps. The gains in `selection_report` stay."""
        return replace(self, scene=zero_steps(self.scene))

    def save_pretrained(self, folder: str | Path) -> None:
        """Save everything needed to recommend and to adapt again, atomically, with a hash of every file, including its
        recommender, if it has one, over the scene's catalogue. Counts over its customers are saved, but no events and no ids.
        A ranker is saved as by `Recommender.save_pretrained`."""
        if self.scene.ranker is not None:
            from llmrec.recommender.saved_reranker import warn_if_own  # brings in torch

            warn_if_own(self.scene.ranker)
        (arrays, meta), table = scene_arrays(self.scene), self.catalogue.table
        if self.evidence is not None:
            arrays["evidence"] = self.evidence

        def write(to: Path) -> None:
            write_scene(to, self.scene, arrays)
            save_ids(to / "items.json", self.catalogue.ids.values)
            save_table(to / "items.arrow", table.drop_columns([name for name in ("item_id",) if name in table.column_names]))

        kind = frame_kind(pa.table({}) if self.frame is None else self.frame)
        meta |= {"repeat_purchases": self.repeat_purchases, "seed": self.seed, "frame": kind, "value": self.value}
        write_folder(folder, write, KIND, meta)

    def push_to_hub(
        self, repo_id: str, private: bool | None = None, token: str | None = None, revision: str | None = None
    ) -> str:
        """Save as `save_pretrained` does, to a repository on the Hugging Face hub; see `llmrec.hub.push`.

        Returns the address of the commit.
        """
        return push(self.save_pretrained, repo_id, None, private, token, revision)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        revision: str | None = None,
        token: str | None = None,
        ranker: CandidateRanker | str | Path | None = None,
    ) -> SceneRecommender:
        """Load what `save_pretrained` saved, from a folder or a name on the Hugging Face hub; see `llmrec.hub.fetched`.

        ranker: as in `Recommender.from_pretrained`. Without one it needs no weights and, unless it has a recommender, no
        torch. Frames that do not follow `histories` keep their type from before saving. Raises ArtefactError if
        a byte has changed since, and for another ranker WeightsError, TemplateError or ArtefactError.
        """

        def read(there: Path) -> tuple[Scene, dict[str, np.ndarray], dict[str, Any], Catalogue]:
            arrays, meta = opened(there, KIND)
            catalogue = Catalogue(Ids(load_ids(there / "items.json")), load_table(there / "items.arrow"))
            return scene_from(arrays, meta, there, ranker), arrays, meta, catalogue

        scene, arrays, meta, catalogue = from_one_save(fetched(folder, revision, token), read)
        frame = empty_frame(meta.get("frame", "pyarrow"))
        value = None if meta["value"] is None else (meta["value"][0], meta["value"][1])
        again, seed, evidence = meta["repeat_purchases"], meta["seed"], arrays.get("evidence")
        return cls(scene, catalogue, again, seed, evidence, frame, value)

    def _first_customers(self, events: Any, columns: dict[str, str] | None) -> tuple[Dataset, np.ndarray]:
        """The events that count, and int64 users who had something of the scene. Raises as `adapt`."""
        dataset = self._events(events, columns).counted
        users = customers(dataset, self.scene.shelf.among)
        if not len(users):
            raise UnknownItemError(
                f"events: expected some with one of the {int(self.scene.shelf.among.sum()):,} items of the scene, got "
                f"{dataset.n_events:,} events of {dataset.n_users:,} users with others; pass those of its own customers"
            )
        return dataset, users

    def _events(self, events: Any, columns: dict[str, str] | None) -> Dataset:
        """Of the scene's customers, without events that its column gives to another scene."""
        shelf = self.scene.shelf
        if self.value is None:
            return shelf.in_its_terms(events_for(self.catalogue, events, columns, shelf.event_types, seed=self.seed)[0])
        column, value = self.value
        if column in event_names(events, self.catalogue, columns):
            columns = with_scene(columns, column)
        found = events_for(self.catalogue, events, columns, shelf.event_types, (value,), seed=self.seed)[0]
        dataset = shelf.in_its_terms(found)
        if dataset.scene is None:
            return dataset
        if not (dataset.scene == 0).any():
            raise DataError(
                f"events: expected some whose {column!r} is {value!r}, got {dataset.n_events:,} events of other scenes; pass "
                f"those of the scene's own customers, or a table without {column!r}"
            )
        return dataset.keep(dataset.scene == 0)

    @cached_property
    def _known_rules(self) -> KnownRules:
        return KnownRules(self.catalogue, self.scene.shelf.among)

    def _answer(self, known: Dataset, asked: Ids, wanted: Wanted) -> tuple[np.ndarray, ...]:
        """Asker, item, score, rank and source of the best items for each of `asked`, in their order."""
        if not isinstance(self.scene.shelf, Shelf):
            from llmrec.scenes.ranked import answer_scene  # brings in torch, which a scene read by its texts does without

            k, skip = wanted.k, wanted.filter_viewed
            found = answer_scene(self.scene, known, asked, k, skip, wanted.allowed, wanted.rules)
            asker, item, score, rank = found.asker, found.item, found.score, found.rank
            pinned = np.array(found.source, object) == PINNED
        else:
            parts = [
                self._best(known, asked, np.arange(first, min(first + _TASKS, len(asked))), wanted)
                for first in range(0, len(asked), _TASKS)
            ]
            asker, item, score, rank, pinned = (
                np.concatenate([part[n] for part in parts] or [np.zeros(0, np.int64)]) for n in range(5)
            )
        there = known.users.find(asked.values) >= 0
        names = np.array([self.name if one else f"{self.name} {STRANGER}" for one in there], object)
        return asker, item, score, rank, np.where(pinned.astype(bool), PINNED, names[asker])

    def _best(self, known: Dataset, asked: Ids, who: np.ndarray, wanted: Wanted) -> tuple[np.ndarray, ...]:
        """Asker, item, score and rank of the best items for the askers `who`, int64 (T,) positions in `asked`, and whether each
        is pinned."""
        place = known.users.find(asked.take(who).values)
        tasks = _of(known, place)
        score = self.scene.scores(tasks.counted)
        score[:, ~wanted.allowed] = -np.inf
        for task, asker in enumerate(who):
            score[task, row_of(wanted.barred, asker)] = -np.inf
            if wanted.filter_viewed:
                score[task, known.item[tasks.support(task)]] = -np.inf
        score = reranked(self.scene.reranker, tasks, score, wanted.filter_viewed)
        if wanted.rules is not None and wanted.rules.reranks:
            row, item, value, rank, source = flat(filled(score, self.scene.shelf.vectors, wanted.rules, wanted.k, self.name))
            return who[row], item, value, rank, np.array(source, object) == PINNED
        best = np.argsort(-score, axis=1, kind="stable")[:, : wanted.k]
        found = np.take_along_axis(score, best, 1)
        row, column = np.nonzero(np.isfinite(found))
        return who[row], best[row, column], found[row, column], column + 1, np.zeros(len(row), bool)


def customers(dataset: Dataset, among: np.ndarray) -> np.ndarray:
    """int64: users who had something of the items `among`, bool (N,)."""
    return np.unique(dataset.user[among[dataset.item]]).astype(np.int64)


def _of(known: Dataset, place: np.ndarray) -> Tasks:
    """The whole history of each user, int64 (T,), as support; -1 has none."""
    start = np.where(place >= 0, known.start[place], 0)
    stop = np.where(place >= 0, known.start[place + 1], 0)
    return Tasks(known, start, stop, stop)
