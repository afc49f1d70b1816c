"""Rules over one catalogue: masks, logs of factors and groups of its items, computed once and read by every answer."""

from __future__ import annotations

import math
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.errors import DataError, SchemaError
from llmrec.rules.columns import Values, by_user, column, groups, seconds_of
from llmrec.rules.expressions import parse
from llmrec.rules.rules import Rules

MOST = 8  # rules kept for a catalogue, each with a few numbers an item
QUANTILES = (0.5, 0.9, 0.99)  # items with higher factors than these shares of the catalogue are candidates of their own
DISTINCT = 0.99  # of two nested sets of items: above it the smaller one is not searched on its own

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Limit:
    """At most `most` items of one value of a column. code: int64 (N,), the group of each item, -1 for none."""

    column: str
    most: int
    code: np.ndarray

    @cached_property
    def groups(self) -> int:
        return int(self.code.max(initial=-1)) + 1

    def bound(self, allowed: np.ndarray | None) -> int:
        """How many of the allowed items (bool (N,), None for all) an answer can hold under this limit alone."""
        code = self.code if allowed is None else self.code[allowed]
        counts = np.bincount(code[code >= 0], minlength=self.groups)
        return int(np.minimum(counts, self.most).sum() + np.count_nonzero(code < 0))


@dataclass(frozen=True, eq=False)
class CatalogueRules:
    """What rules mean for the N items of a catalogue.

    allowed: bool (N,), the items that pass every filter; None for all. passing: each filter and how many items pass it.
    log_factor: float32 (N,), the logs of each item's factors added up; None where all are 0.
    tiers: bool (N,) each, nested sets of items with high factors, which are candidates of their own.
    limits: those of `at_most`. pins: (place, item), ascending. diversity: from 0 to 1.
    owner: text of a user id -> int64, the items with that user in `block.column`. listed: user id -> int64, of `block.users`.
    notes: what of the rules changes nothing, such as a pinned item that the catalogue does not hold.
    there: how many items there are, without removed ones and, in a scene, without others'; None for all.
    """

    n_items: int
    allowed: np.ndarray | None = None
    passing: tuple[tuple[str, int], ...] = ()
    log_factor: np.ndarray | None = None
    tiers: tuple[np.ndarray, ...] = ()
    limits: tuple[Limit, ...] = ()
    pins: tuple[tuple[int, int], ...] = ()
    diversity: float = 0.0
    owner: dict[str, np.ndarray] | None = None
    listed: dict[Any, np.ndarray] | None = None
    notes: tuple[str, ...] = ()
    there: int | None = None

    @property
    def reranks(self) -> bool:
        """Whether an answer is more than the best of what the filters and blocks leave."""
        return bool(self.limits or self.pins or self.diversity) or self.log_factor is not None

    @property
    def blocks(self) -> bool:
        """Whether single users must not get some items."""
        return self.owner is not None or self.listed is not None

    def barred(self, asked: Ids) -> sparse.csr_array | None:
        """bool (A, N): the items that each of A users must not get; None where nothing is blocked for any of them.

        Raises DataError where users of `block.users` are numbers and those asked for are text, which never match.
        """
        if not self.blocks:
            return None
        found, listed = [], self._listed_for(asked)
        for user in asked.values:
            mine = [items for items in ((self.owner or {}).get(str(user)), listed.get(user)) if items is not None]
            found.append(np.unique(np.concatenate(mine)) if mine else np.zeros(0, np.int64))
        start = np.concatenate([[0], np.cumsum([len(items) for items in found])]).astype(np.int64)
        if not start[-1]:
            return None
        items = np.concatenate(found)
        return sparse.csr_array((np.ones(len(items), bool), items, start), shape=(len(asked), self.n_items))

    def _listed_for(self, asked: Ids) -> dict[Any, np.ndarray]:
        """`listed` by ids of the type of those asked for."""
        if not self.listed or not len(asked):
            return {}
        found: dict[Any, np.ndarray] = {}
        for given, items in self.listed.items():  # 1 and "1" are one user where ids are numbers
            user = _as_kind(given, asked, f"block.users: {given!r}")
            found[user] = np.concatenate([found[user], items]) if user in found else items
        return found

    def shortage(self, blocked: bool) -> str:
        """Which rules leave how many items, for a user who gets too few; "" where none leaves out any.

        blocked: whether something is blocked for that user.
        """
        there = self.n_items if self.there is None else self.there
        parts = [f"filter {text!r} leaves {left:,}" for text, left in self.passing if left < there]
        if len(parts) > 1 and self.allowed is not None:
            parts.append(f"all filters leave {np.count_nonzero(self.allowed):,}")
        most = self.n_items if self.allowed is None else int(np.count_nonzero(self.allowed))
        for limit in self.limits:
            if (bound := limit.bound(self.allowed)) < most:
                parts.append(f"at_most {limit.column}={limit.most} leaves {bound:,}")
        parts += ["block leaves out more for this user"] if blocked else []
        return f"{', '.join(parts)} of {there:,} items" if parts else ""


class KnownRules:
    """The last rules that were asked for, applied to one catalogue, or to its items `among`; any number of threads may ask. A
    copy begins empty."""

    def __init__(self, catalogue: Catalogue, among: np.ndarray | None = None) -> None:
        self.catalogue = catalogue
        self.among = among
        self.lock = threading.Lock()
        self.known: OrderedDict[Rules, CatalogueRules] = OrderedDict()

    def __reduce__(self) -> tuple[type, tuple[Catalogue, np.ndarray | None]]:
        return KnownRules, (self.catalogue, self.among)

    def over(self, rules: Rules) -> CatalogueRules:
        """`applied`, from memory where it was asked for before."""
        with self.lock:
            if rules in self.known:
                self.known.move_to_end(rules)
                return self.known[rules]
        found = applied(rules, self.catalogue, self.among)
        with self.lock:
            self.known[rules] = found
            while len(self.known) > MOST:
                self.known.popitem(last=False)
        return found


def applied(rules: Rules, catalogue: Catalogue, among: np.ndarray | None = None) -> CatalogueRules:
    """Apply rules to a catalogue. among: bool (N,), the items of a scene, the only ones that may be shown; None for all.

    Raises SchemaError, which names the rule and lists the columns, for a column that is not there or has values of another
    type, and DataError for item ids of another type than the catalogue's and for an item that is pinned twice.
    """
    notes: list[str] = []
    masks = [_mask(f"filters[{place}]", text, catalogue) for place, text in enumerate(rules.filters)]
    there = _there(catalogue, among)
    if there is not None:
        masks = [mask & there for mask in masks]
    allowed = np.logical_and.reduce(masks) if masks else there
    if allowed is not None and allowed.all():
        allowed = None
    log_factor = _log_factor(rules, catalogue)
    limits = []
    for name, most in rules.at_most:
        code, _ = _told(f"at_most.{name}", partial(_groups, catalogue, name))
        limits.append(Limit(name, most, code))
    pins = []
    for place, item in rules.pin:
        index = _find(catalogue, item, f"pin {place}", notes)
        if index >= 0 and among is not None and not among[index]:
            notes.append(f"pin {place}: {item!r} is not shown, because it is not an item of the scene")
        elif index >= 0 and allowed is not None and not allowed[index]:
            failed = next(text for text, mask in zip(rules.filters, masks, strict=True) if not mask[index])
            notes.append(f"pin {place}: {item!r} is not shown, because the filter {failed!r} leaves it out")
        elif index >= 0:
            pins.append((place, index))
    if len({index for _, index in pins}) < len(pins):  # 7 and "7" are one item where ids are numbers
        raise DataError(f"rules: pin: expected each item once, got {[item for _, item in rules.pin]!r}")
    owner = listed = None
    if rules.block is not None and rules.block.column is not None:
        name = rules.block.column
        owner = _told("block.column", lambda: by_user(catalogue, name))
    if rules.block is not None and rules.block.users:
        listed = {}
        for user, items in rules.block.users:
            mine = [_find(catalogue, item, f"block.users[{user!r}]", notes) for item in items]
            listed[user] = np.array([index for index in mine if index >= 0], np.int64)
    return CatalogueRules(
        len(catalogue),
        allowed,
        tuple((text, int(np.count_nonzero(mask))) for text, mask in zip(rules.filters, masks, strict=True)),
        log_factor,
        _tiers(log_factor, allowed),
        tuple(limits),
        tuple(pins),
        rules.diversity,
        owner,
        listed,
        tuple(notes),
        None if there is None else int(np.count_nonzero(there)),
    )


def _there(catalogue: Catalogue, among: np.ndarray | None) -> np.ndarray | None:
    """bool (N,): the items of `among` that were not removed; None for all."""
    found = np.ones(len(catalogue), bool) if among is None else among.copy()
    found[list(catalogue.ids.gone)] = False
    return None if found.all() else found


def _told(name: str, read: Callable[[], T]) -> T:
    """What `read` gives; its errors name the rule."""
    try:
        return read()
    except (DataError, SchemaError) as error:
        raise type(error)(f"rules: {name}: {error}") from error


def _groups(catalogue: Catalogue, name: str) -> tuple[np.ndarray, list]:
    return groups(column(catalogue, name))


def _mask(name: str, text: str, catalogue: Catalogue) -> np.ndarray:
    return _told(f"{name} {text!r}", lambda: parse(text).mask(catalogue))


def _log_factor(rules: Rules, catalogue: Catalogue) -> np.ndarray | None:
    """float32 (N,): logs of the factors of boost, bury and freshness; None where all are 0."""
    total = np.zeros(len(catalogue))
    for name, several in (("boost", rules.boost), ("bury", rules.bury)):
        for place, one in enumerate(several):
            total += math.log(one.factor) * _mask(f"{name}[{place}].where", one.where, catalogue)
    if (fresh := rules.freshness) is not None:
        time = _told("freshness.column", lambda: _times(column(catalogue, fresh.column)))
        total -= math.log(2) * (np.nanmax(time) - time) / (86_400.0 * fresh.half_life_days)
    return total.astype(np.float32) if total.any() else None


def _times(values: Values) -> np.ndarray:
    """float64 (N,): seconds, the earliest of them where the date is missing."""
    if values.kind == "nothing":
        raise SchemaError(f"{values.said} holds no date")
    found = seconds_of(values).data.to_numpy().astype(np.float64)
    return np.where(np.isnan(found), np.nanmin(found), found)


def _tiers(log_factor: np.ndarray | None, allowed: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Nested sets of the allowed items with high factors: as high as the median, above it, and above higher quantiles."""
    if log_factor is None or not len(log_factor):
        return ()
    inside = np.ones(len(log_factor), bool) if allowed is None else allowed
    if not inside.any():
        return ()
    found: list[np.ndarray] = []
    edges = np.quantile(log_factor[inside], QUANTILES)
    last = np.count_nonzero(inside)
    for mask in (log_factor >= edges[0], *(log_factor > edge for edge in edges)):
        mask &= inside
        if 0 < np.count_nonzero(mask) <= DISTINCT * last:
            found.append(mask)
            last = np.count_nonzero(mask)
    return tuple(found)


def _find(catalogue: Catalogue, item: Any, what: str, notes: list[str]) -> int:
    """The index of an item; -1, and a note, where the catalogue does not hold it, for items come and go."""
    if not len(catalogue):
        return -1
    index = int(catalogue.ids.find([_as_kind(item, catalogue.ids, what)])[0])
    if index < 0:
        notes.append(f"{what}: the catalogue holds no item {item!r}")
    return index


def _as_kind(value: Any, known: Sequence[Any] | Ids, what: str) -> Any:
    """An id as the type of the known ones: text of a number or a UUID, as keys of JSON are, is one where those are.

    Raises DataError for a number where the others are text: YAML reads 0101 as a number.
    """
    kind = type(known[0])
    if isinstance(value, kind):
        return value
    try:
        if isinstance(value, str) and kind is int and str(int(value)) == value:
            return int(value)
        if isinstance(value, str) and kind is uuid.UUID:
            return uuid.UUID(value)
    except ValueError:
        return value
    if isinstance(value, int) and kind is str:
        raise DataError(f"rules: {what}: expected text such as {known[0]!r}, got the number {value!r}; put the id in quotes")
    return value
