"""A fitted recommender on held-out users, beside popularity, most frequent, item kNN and EASE."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.numbers import check_seed, check_whole
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.encoder.users import Read, Reading
from llmrec.errors import DataError
from llmrec.evaluation.comparison import METRICS, Arm, Cell, cells, compare
from llmrec.evaluation.controls import LARGEST, fit_tuned_controls
from llmrec.evaluation.summary import ITEMS, OURS, ZERO, baskets, label, losses, sentence, table_text
from llmrec.index.forks import check_process
from llmrec.metrics.report import Result
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.given import attributes_of, events_to_evaluate, user_table
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.state import State
from llmrec.screen import PLAIN, Screen, paragraph

BENCHMARK = "held-out users"
KNOWN = (1, 3, 5)
LEAST_USERS = 20  # in a setting
REPEATS = 0.02  # share of the relevant items that the user has had, from which all items are ranked, too


@dataclass(frozen=True)
class Evaluation:
    """What came out, and how. `print` it.

    rows: means of all methods, and paired differences of ours from each other one, with 95% intervals. Settings are
        `known=K,all` and `known=K,new`, see `summary`. protocol: what was done, as JSON values.
    """

    rows: tuple[Result, ...]
    protocol: dict[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        """ "all" where people take items again, and "new"; the first is what matters most."""
        return tuple(self.protocol["items"])

    def __str__(self) -> str:
        return evaluation_text(self)

    @property
    def verdict(self) -> tuple[str, ...]:
        """Sentences on who is ahead; then the losses."""
        return (*(_said(which, sentence(self.rows, "basket", which)) for which in self.kinds), *self.losses)

    @property
    def losses(self) -> tuple[str, ...]:
        """A sentence for every control that is clearly better somewhere."""
        return tuple(_said(which, one) for which in self.kinds for one in losses(self.rows, "basket", which))


def evaluation_text(found: Evaluation, screen: Screen = PLAIN) -> str:
    """What came out as text for a screen."""
    told = found.protocol
    most = max(setting["users"] for setting in told["settings"])
    lines = [
        f"{most:,} held-out users, {told['items_ranked']:,} items: NDCG@10 on the items of their next "
        f"{baskets(told['horizon'])}.",
        "Beside a method: whether it is below (▼), level with (=) or above (▲) llmrec, and the difference's 95% interval.",
    ]
    parts = ["\n".join(paragraph(line, screen) for line in lines)]
    parts += [f"{ITEMS[which]}:\n{table_text(found.rows, 'basket', which, screen)}" for which in found.kinds]
    return "\n\n".join([*parts, "\n".join(paragraph(one, screen) for one in found.verdict)])


def evaluate_held_out(
    recommender: Recommender,
    events: Any = None,
    known: Sequence[int] = KNOWN,
    columns: dict[str, str] | None = None,
    users: Any = None,
    seed: int = 0,
) -> Evaluation:
    """Compare llmrec with tuned controls on the next baskets of held-out users, given their first `known` baskets.

    events: histories of held-out users, as a table or a Dataset; None for `recommender.held_out`. columns,
        users: as in `Recommender.recommend`. known: numbers of known baskets, one setting each; settings with fewer than
        LEAST_USERS users with long enough histories are left out. seed: of random draws.
    The controls are fitted on the recommender's training users, with hyperparameters chosen on a tenth of them, 300 at most:
    held-out users are only measured. Events observed since `fit` do not count, hidden items are ranked like all others, and
    removed ones are not ranked. If users repeat purchases, all items are ranked, and separately only items new
    to the user; otherwise only new ones. With thousands of users and items, fitting the controls takes most of the time.
    Raises DataError without held-out users, if no setting has enough of them, and for a recommender saved without
    histories, since it has no users to fit controls on.
    """
    check_seed(seed)
    for number in known:
        check_whole("known", number, 1)
    state = recommender.state
    if events is None and recommender.held_out is None:
        raise DataError("no users were held out of fit: pass events of others, or call fit(..., held_out_users='auto')")
    if state.left_out or not state.trained:
        raise DataError(
            "the users that were trained on are not stored here, and the controls are fitted on them: save the recommender "
            "with histories=True, or call Recommender.evaluate, which needs none"
        )
    began = time.perf_counter()
    held = events_to_evaluate(state, recommender.held_out if events is None else events, columns)
    told = None if users is None else user_table(state, users, columns)
    held = replace(held, user_attributes=attributes_of(state, held.users, told))
    check_process()
    rng = np.random.default_rng(seed)
    horizon = state.settings.train.horizon
    tasks = asked(held, known, horizon)
    fitted = state.as_fitted
    train = state.known.first.take(np.arange(state.trained))
    controls, constants = fit_tuned_controls(train, list(tasks), horizon, rng)
    arms = controls | {OURS: recommender_arm(fitted, None)}
    adapts = any(choice.steps for part in tasks.values() for choice in fitted.adapting.choices(part))
    if adapts:  # where nobody's adapter takes a step, zero steps are the same
        arms = {ZERO: recommender_arm(fitted, 0)} | arms
    share = repeat_share(tasks[max(tasks)])
    settings = measurable(tasks, share >= REPEATS, fitted.offered)
    kinds = [kind for kind in ITEMS if any(cell.setting.endswith(f",{kind}") for cell in settings)]
    rows = compare(settings, arms, OURS, (OURS, ZERO), seed, rng)
    protocol = {
        "held_out_users": held.n_users,
        "trained_users": train.n_users,
        "items_ranked": fitted.n_offered,
        "horizon": horizon,
        "settings": [{"known": number, "users": len(part)} for number, part in tasks.items()],
        "left_out": [number for number in known if number not in tasks],
        "items": kinds,
        "repeat_share": share,
        "adapters_take_steps": adapts,
        "metrics": list(METRICS),
        "controls": {name: {kind: constants[name][kind] for kind in kinds} for name in constants},
        "ease_items": min(held.n_items, LARGEST),
        "methods": {name: label(name) for name in arms},
        "interval": "95%, bootstrap over users, 2,000 draws; differences are paired by user",
        "seed": seed,
        "seconds": time.perf_counter() - began,
    }
    return Evaluation(tuple(rows), protocol)


def asked(held: Dataset, known: Sequence[int], horizon: int) -> dict[int, Tasks]:
    """Known baskets -> tasks of the users who have `horizon` more; numbers with fewer than LEAST_USERS are left out.

    Raises DataError where that leaves none.
    """
    everybody = np.arange(held.n_users)
    found = {number: first_baskets(held, everybody, number, horizon) for number in sorted(set(known))}
    enough = {number: tasks for number, tasks in found.items() if len(tasks) >= LEAST_USERS}
    if not enough:
        counts = ", ".join(f"{len(tasks)} with {number} + {horizon} baskets" for number, tasks in found.items())
        raise DataError(
            f"events: expected at least {LEAST_USERS} held-out users, got {counts or 'no number in `known`'}; bring more "
            "users, longer histories or a smaller `known`"
        )
    return enough


def measurable(tasks: Mapping[int, Tasks], repeats: bool, offered: np.ndarray | None = None) -> list[Cell]:
    """The settings to measure in: new items, and with `repeats` all items; without those in which nothing is relevant to
    anybody, such as new items where everybody takes the same again. offered: bool (N,), the items that are ranked; None for
    all. Raises DataError where none is left."""
    every = [_among(cell, offered) for cell in cells(BENCHMARK, tasks) if cell.new or repeats]
    found = [cell for cell in every if any(map(len, cell.relevant))]
    if not found:
        raise DataError("events: later events of held-out users all have weight 0, expected some above 0")
    return found


def _among(cell: Cell, offered: np.ndarray | None) -> Cell:
    """The cell with only the items that are offered to rank and to find."""
    if offered is None:
        return cell
    allowed = np.tile(offered, (len(cell.tasks), 1)) if cell.allowed is None else cell.allowed & offered
    return replace(cell, relevant=[items[offered[items]] for items in cell.relevant], allowed=allowed)


def repeat_share(tasks: Tasks) -> float:
    """Share of the relevant items of all tasks that their users have had."""
    every, new = (sum(map(len, tasks.relevant(new_only))) for new_only in (False, True))
    return 1.0 - new / every if every else 0.0


def recommender_arm(state: State, steps: int | None) -> Arm:
    """Scores of the whole chain for all items, and for new ones; histories are read once for both.

    steps: inner steps for everybody; None for as many as the gate says.
    """
    read = _remembering(state.adapting.reader(steps))

    def every(tasks: Tasks) -> np.ndarray:
        return chain_scores(state, tasks, steps, read=read)

    def new(tasks: Tasks) -> np.ndarray:
        return chain_scores(state, tasks, steps, filter_viewed=True, read=read)

    return every, new


def _remembering(read: Read) -> Read:
    """The same, which keeps what was read last of each dataset's tasks."""
    kept: dict[tuple[bytes, bytes], Reading] = {}
    of: list[Dataset] = []

    def remembered(tasks: Tasks) -> Reading:
        if not of or of[0] is not tasks.dataset:
            of[:] = [tasks.dataset]
            kept.clear()
        key = tasks.start.tobytes(), tasks.split.tobytes()
        if key not in kept:
            kept[key] = read(tasks)
        return kept[key]

    return remembered


def _said(which: str, text: str) -> str:
    return f"{ITEMS[which]}: {text[:1].lower()}{text[1:]}"
