"""What a benchmark is: whom to train on, what is known of whom, what is asked, and what is declared before test.

Axis convention: `T` tasks, `N` items. A method is anything with a name and `scores(tasks)`, float32 (T, N), from supports only
(`Baseline` in `llmrec.models.popularity`).

One rule for two fits: constants are chosen with `train` on validation tasks; what is measured on test is fitted on
`benchmark.final()`, which is the benchmark itself except where time moves on between validation and test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.errors import DataError
from llmrec.models.popularity import Baseline

Part = Literal["validation", "test"]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class ByPart(Generic[Thing]):
    """What is one thing when constants are chosen and another when test is measured."""

    validation: Thing
    test: Thing

    def of(self, part: Part) -> Thing:
        """That of a part."""
        return self.test if part == "test" else self.validation


@dataclass(frozen=True)
class Setting:
    """One question of a benchmark, asked of validation tasks and of test tasks.

    rank: "all" ranks the whole catalogue; with "unseen" the items of the support are not ranked and are not relevant.
    among: bool (N,), the only items that are ranked or relevant, such as those that were new then; None for no such limit.
    learn: what constants are chosen on where the tasks that are asked were chosen by their answer, which is nothing to learn;
        None for the validation tasks themselves.
    """

    name: str
    validation: Tasks
    test: Tasks
    rank: Literal["all", "unseen"]
    among: ByPart[np.ndarray] | None = None
    learn: Tasks | None = None

    def asked(self, part: Part) -> Tasks:
        """The tasks of a part."""
        return self.test if part == "test" else self.validation

    def only(self, part: Part) -> np.ndarray | None:
        """`among` of a part."""
        return None if self.among is None else self.among.of(part)

    def key(self, part: Part) -> str:
        """What is ranked and a hash of who is asked what: runs may be compared user by user where it is the same."""
        only = self.only(part)
        limit = "" if only is None else f" among {hashlib.sha256(np.packbits(only).tobytes()).hexdigest()[:16]}"
        return f"{self.rank} {fingerprint(self.asked(part))}{limit}"

    def relevant(self, tasks: Tasks, part: Part = "validation") -> list[np.ndarray]:
        """Per task of a part the items to be found, int32 ascending; none where everything asked for is in the support."""
        found, only = tasks.relevant(new_only=self.rank == "unseen"), self.only(part)
        return found if only is None else [items[only[items]] for items in found]

    def allowed(self, tasks: Tasks, part: Part = "validation") -> np.ndarray | None:
        """bool (T, N) of the items that are ranked for tasks of a part, None for all of them.

        Give a chunk of the tasks, not all of a benchmark."""
        only = self.only(part)
        if self.rank == "all" and only is None:
            return None
        shape = len(tasks), tasks.dataset.n_items
        mask = np.ones(shape, bool) if only is None else np.tile(only, (len(tasks), 1))
        if self.rank == "unseen":
            task, event = expand_ranges(tasks.start, tasks.split)
            mask[task, tasks.dataset.item[event]] = False
        return mask


@dataclass(frozen=True)
class Aim:
    """What the recommender should reach in one cell, declared with the benchmark.

    least: the figure itself or, with `times`, the factor by which the method of that name is to be beaten.
    times: "" for a figure, the name of a method, or "best control" for the strongest of the controls. From a comma on it is
        what follows the recommender's own name, as in ", trained with them" for its reference.
    """

    setting: str
    metric: str
    least: float
    times: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A protocol over data.

    users: int64, the users of `train` whose events may be trained on.
    settings: tasks may be over another Dataset than `train` (the whole one, of which `train` is a part), same catalogue.
    primary: (setting, metric) that was declared before test.
    train_final, users_final: what methods that are measured on test are fitted on; None where it is the same.
    reference: what the same method comes to where it may train on what is kept from it here; None without one.
    shops: other catalogues with their users, to train on where `users` are none; None elsewhere.
    """

    name: str
    train: Dataset
    users: np.ndarray
    settings: tuple[Setting, ...]
    primary: tuple[str, str]
    aims: tuple[Aim, ...] = ()
    train_final: Dataset | None = None
    users_final: np.ndarray | None = None
    reference: ByPart[Reference] | None = None
    shops: ByPart[tuple[Dataset, ...]] | None = None

    @property
    def by_text_alone(self) -> bool:
        """Whether items are asked for that nobody can be seen with in training."""
        return self.shops is not None or any(setting.among is not None for setting in self.settings)

    def setting(self, name: str) -> Setting:
        """The setting of that name. Raises DataError where there is none."""
        for setting in self.settings:
            if setting.name == name:
                return setting
        raise DataError(f"{self.name}: no setting {name!r}; there are {', '.join(setting.name for setting in self.settings)}")

    def final(self) -> Benchmark:
        """The benchmark whose `train` and `users` are those for the fit that is measured on test."""
        if self.train_final is None or self.users_final is None:
            return self
        return replace(self, train=self.train_final, users=self.users_final, train_final=None, users_final=None)


@dataclass(frozen=True)
class Reference:
    """What a method is held against that had more to train on.

    label: what it had, as in "Recommender, default, trained with them". folds: benchmarks with settings of the same names; each
    asks some of the tasks, and together they ask all, so that nobody is asked by a model that was trained on the answer. A
    single one may have other validation tasks, for constants of its own. controls: names of controls that are fitted on the
    folds as well.
    """

    label: str
    folds: tuple[Benchmark, ...]
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """Something fitted, ready to be measured.

    role: `ours`, `control` or `reference`, as in report rows.
    by_setting: setting's name -> what scores there; a setting that is missing is not measured.
    seconds: of fitting, without the search for constants.
    constants: setting's name -> the constants chosen for it, in words; for the report.
    """

    name: str
    role: str
    by_setting: Mapping[str, Baseline]
    seconds: float
    constants: Mapping[str, str] = field(default_factory=dict)


def everywhere(benchmark: Benchmark, control: Baseline, role: str, seconds: float) -> Method:
    """A method that is the same in all settings."""
    return Method(control.name, role, {setting.name: control for setting in benchmark.settings}, seconds)


def first_known(dataset: Dataset, users: np.ndarray, known: int, horizon: int, least: int) -> Tasks:
    """One task per user: the first `known` baskets are support, the next `horizon` the query, or as many as there are.

    Users with fewer than `known + least` baskets have no task.
    """
    users = np.asarray(users, np.int64)
    users = users[dataset.n_baskets[users] >= known + least]
    first, last = dataset.first_basket[users], dataset.first_basket[users + 1]
    edge = dataset.basket_start
    return Tasks(dataset, edge[first], edge[first + known], edge[np.minimum(first + known + horizon, last)])


def fingerprint(tasks: Tasks) -> str:
    """Hash of the tasks' users, supports and queries, in order."""
    digest = hashlib.sha256("\x1f".join(str(tasks.dataset.users[index]) for index in tasks.user.tolist()).encode())
    digest.update((tasks.split - tasks.start).astype("<i8").tobytes())
    digest.update((tasks.stop - tasks.split).astype("<i8").tobytes())
    digest.update(tasks.dataset.item[expand_ranges(tasks.start, tasks.stop)[1]].astype("<i4").tobytes())
    return digest.hexdigest()[:16]
