"""Rules as a value: read from YAML or a dict, checked in form; what they mean for a catalogue is in `applied.py`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from llmrec.data.ids import plain
from llmrec.data.numbers import check_number, check_whole
from llmrec.data.requests import as_ids
from llmrec.errors import DataError
from llmrec.rules.expressions import parse
from llmrec.yaml_file import yaml_values

_RANGES = {"boost": "1 and more", "bury": "numbers above 0, up to 1"}


@dataclass(frozen=True)
class Factor:
    """Items for which the condition `where` is true are raised (above 1) or lowered (below 1) by a factor."""

    where: str
    factor: float


@dataclass(frozen=True)
class Block:
    """Items that are never shown to some users.

    column: a column of the catalogue that holds user ids, such as the item's seller. users: (user, its items) pairs.
    """

    column: str | None = None
    users: tuple[tuple[Any, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Freshness:
    """Items lose half of their odds for every `half_life_days` that they are older than another, by a column of dates."""

    column: str
    half_life_days: float


@dataclass(frozen=True)
class Rules:
    """Rules of a shop, for `recommend(rules=...)` of a recommender or a scene, for `similar_items(rules=...)` and, as a file,
    for the option `--rules` of `llmrec recommend` and `llmrec similar`.

    | key | value | what it does |
    |---|---|---|
    | `filters` | list of conditions | only items for which each condition is true are recommended |
    | `block` | `column`, `users` | never shows an item to the user in its `column`; `users` lists more, user: items |
    | `at_most` | column: number | at most so many items of one value; items without a value are not counted |
    | `boost` | list of `where`, `factor` | multiplies the odds of items by a factor of 1 or more |
    | `bury` | list of `where`, `factor` | the same with a factor between 0 and 1 |
    | `freshness` | `column`, `half_life_days` | halves the odds of an item for every half-life of its age |
    | `pin` | place: item id | puts an item in a place, 1 for the first |
    | `diversity` | number from 0 to 1 | trades score for difference to the items above; 0 is the order by score |

        filters: ["price < 50", in_stock, "category in ['Wine', 'Beer']", not discontinued]
        block: {column: seller_id}
        at_most: {category: 2, brand: 1}
        boost: [{where: on_sale, factor: 1.5}]
        bury: [{where: "category == 'Clearance'", factor: 0.5}]
        freshness: {column: added_on, half_life_days: 30}
        pin: {1: item-7}
        diversity: 0.3

    Conditions name columns of the catalogue. They know `< <= > >= == !=`, `in`, `not in`, `is None`, `and`, `or`, `not` and
    parentheses; `'organic' in tags` searches a list or a text. Dates are compared with text such as '2026-04-03'. A name alone
    is true for a true flag and for a number above 0. Names with spaces stand in backticks. A missing value makes a
    condition fail, also behind `not`.

    Which rule wins. Filters, blocks, `items_to_recommend` and `filter_viewed` come first: items that they leave out are never
    shown, even if pinned. Then `at_most`, which counts pinned items, then `pin`, then the order by score. An
    IgnoredInputWarning says which pinned item is not shown, and a ShortAnswerWarning which rule leaves fewer than k items.

    Scores. A fitted ranker's score is a log-likelihood, up to a constant for each user, so a factor adds its logarithm:
    `factor: 2` doubles the odds of an item against all others, whatever the sign of its score. Factors of several rules are
    multiplied. Popularity, the score for users without a history, is multiplied itself. The column `score` of an answer
    holds the score with all factors. A ranker of your own should score in the same way for a factor to mean this. Items whose
    odds are raised over those of others are candidates of their own, besides the usual ones, and get the place that their score
    gives them: a hardly trained ranker (`Settings.quick`) may put one first that would not otherwise be a candidate.

    `freshness`: dates are compared with the latest one of the catalogue; another reference would change no order. An item
    without a date counts as the oldest.

    `pin`: `source` of the item is "pinned". A place above k is not used; in a shorter list the item moves up to its end.

    `diversity`: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). The next item has the highest (1 - d) *
    relevance - d * similarity, where relevance is the score, from 0 for the lowest candidate of the user to 1 for the
    highest, and similarity the largest cosine of item vectors with an item that is in the list already.

    Similar items follow all rules except `block`, because they are the same for every user; an IgnoredInputWarning says so. The
    cosine of an item is multiplied by its factors, and divided by them where it is below 0: no factor makes unlike items alike.
    A pinned item is not shown beside itself. In a scene, conditions name columns of the table that it was opened with,
    and only its own items are shown and counted.

    Lists and dicts given to the constructor are kept as tuples, so that equal rules are one value.
    Raises DataError for values of another form. Columns are checked when the rules are applied to a catalogue.
    """

    filters: Any = ()
    block: Any = None
    at_most: Any = ()
    boost: Any = ()
    bury: Any = ()
    freshness: Any = None
    pin: Any = ()
    diversity: float = 0.0

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "filters": _filters(self.filters),
            "block": _block(self.block),
            "at_most": _at_most(self.at_most),
            "boost": _factors("boost", self.boost),
            "bury": _factors("bury", self.bury),
            "freshness": _freshness(self.freshness),
            "pin": _pins(self.pin),
            "diversity": _between("diversity", self.diversity),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    def __hash__(self) -> int:  # computed once: lists of blocked items may be long
        return self._hash

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rules:
        """Rules from a dict, as YAML and JSON give them. Raises DataError, with the nearest known key, for an unknown one."""
        if isinstance(values, Rules):
            return values
        return cls(**_checked_keys("rules", values, [field.name for field in fields(cls)], "rule"))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Rules:
        """Rules from a YAML file. Raises DataError, which names the file and the key."""
        file, values = yaml_values(path, "rules", "rule")
        try:
            return cls.from_dict({} if values is None else values)
        except DataError as error:
            raise DataError(f"{file}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The rules that are set, as `from_dict` reads them and YAML and JSON write them."""
        found = {
            "filters": [*self.filters],
            "block": _without_nothing(self.block and {"column": self.block.column, "users": _listed(self.block.users)}),
            "at_most": dict(self.at_most),
            "boost": [{"where": one.where, "factor": one.factor} for one in self.boost],
            "bury": [{"where": one.where, "factor": one.factor} for one in self.bury],
            "freshness": self.freshness and {"column": self.freshness.column, "half_life_days": self.freshness.half_life_days},
            "pin": dict(self.pin),
            "diversity": self.diversity,
        }
        return _without_nothing(found)


def checked_rules(rules: Any) -> Rules | None:
    """The rules of a call. Raises DataError for what are none."""
    if rules is None or isinstance(rules, Rules):
        return rules
    raise DataError(f"rules is {rules!r}; expected Rules: say Rules.from_dict({{...}}) or Rules.from_yaml(path)")


def _listed(users: tuple[tuple[Any, tuple[Any, ...]], ...]) -> dict[Any, list[Any]]:
    return {user: [*items] for user, items in users}


def _without_nothing(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if value}


def _checked_keys(name: str, values: object, known: Sequence[str], one: str) -> dict[str, Any]:
    """A mapping with known keys alone; keys without a value are left out."""
    if not isinstance(values, Mapping):
        raise DataError(f"{name}: expected {', '.join(known)} with their values, got {values!r}")
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1, 0.5)
            guess = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(f"{name}: {key!r} is no {one}; {guess}Expected {', '.join(known)}")
    return {key: value for key, value in values.items() if value is not None}


def _filters(values: object) -> tuple[str, ...]:
    texts = (values,) if isinstance(values, str) else values
    if not isinstance(texts, Sequence):
        raise DataError(f'filters: expected a list of conditions, such as ["price < 50", "in_stock"], got {values!r}')
    return tuple(_condition(f"filters[{place}]", text) for place, text in enumerate(texts))


def _condition(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise DataError(f'{name}: expected a condition as text, such as "price < 50", got {text!r}; put it in quotes')
    try:
        parse(text)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return text


def _factors(name: str, values: object) -> tuple[Factor, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataError(f'{name}: expected a list, such as [{{where: "on_sale", factor: 1.5}}], got {values!r}')
    found = []
    for place, one in enumerate(values):
        here = f"{name}[{place}]"
        given = {"where": one.where, "factor": one.factor} if isinstance(one, Factor) else one
        known = _checked_keys(here, given, ("where", "factor"), f"part of {name}")
        if set(known) != {"where", "factor"}:
            raise DataError(f"{here}: expected where and factor, got {given!r}")
        factor = known["factor"]
        check_number(f"{here}.factor", factor, 0, above=True)
        if (factor < 1) if name == "boost" else (factor > 1):
            other = "bury" if name == "boost" else "boost"
            raise DataError(f"{here}.factor is {factor!r}; {name} takes {_RANGES[name]}: write it under {other}")
        found.append(Factor(_condition(f"{here}.where", known["where"]), float(factor)))
    return tuple(found)


def _pairs(name: str, values: object, example: str) -> list[tuple[Any, Any]]:
    """The pairs of a mapping, or of a sequence of pairs; each key once."""
    pairs = [*values.items()] if isinstance(values, Mapping) else values
    if not isinstance(pairs, Sequence) or isinstance(pairs, str) or not all(_is_pair(pair) for pair in pairs):
        raise DataError(f"{name}: expected {example}, got {values!r}")
    found = [(plain(key), value) for key, value in pairs]
    if len(dict(found)) < len(found):
        raise DataError(f"{name}: expected each key once, got {[key for key, _ in found]!r}")
    return found


def _is_pair(pair: object) -> bool:
    return isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2


def _at_most(values: object) -> tuple[tuple[str, int], ...]:
    found = []
    for name, most in _pairs("at_most", values, "a number for each column, such as {brand: 1}"):
        if not isinstance(name, str):
            raise DataError(f"at_most: expected the name of a column, got {name!r}; put it in quotes")
        check_whole(f"at_most.{name}", most, 1)
        found.append((name, int(most)))
    return tuple(sorted(found))


def _block(values: object) -> Block | None:
    if values is None:
        return None
    given = {"column": values.column, "users": values.users} if isinstance(values, Block) else values
    known = _checked_keys("block", given, ("column", "users"), "part of block")
    name, users = known.get("column"), known.get("users", ())
    if not (name is None or isinstance(name, str)):
        raise DataError(f"block.column: expected the name of a column that holds user ids, got {name!r}")
    listed = []
    for user, items in _pairs("block.users", users, "lists of items by user, such as {u1: [i1, i2]}"):
        as_ids([user], "block.users")
        listed.append((user, tuple(as_ids(items, f"block.users[{user!r}]").values)))
    return Block(name, tuple(sorted(listed, key=lambda pair: str(pair[0])))) if name or listed else None


def _freshness(values: object) -> Freshness | None:
    if values is None:
        return None
    given = {"column": values.column, "half_life_days": values.half_life_days} if isinstance(values, Freshness) else values
    known = _checked_keys("freshness", given, ("column", "half_life_days"), "part of freshness")
    if not isinstance(known.get("column"), str) or "half_life_days" not in known:
        raise DataError(f"freshness: expected column, a column of dates, and half_life_days, got {given!r}")
    check_number("freshness.half_life_days", known["half_life_days"], 0, above=True)
    return Freshness(known["column"], float(known["half_life_days"]))


def _pins(values: object) -> tuple[tuple[int, Any], ...]:
    found: list[tuple[int, Any]] = []
    for place, item in _pairs("pin", values, "an item for each place, such as {1: item-7}"):
        number = int(place) if isinstance(place, str) and place.isdecimal() else place  # keys of JSON are texts
        check_whole("pin: the place", number, 1)
        found.append((int(number), as_ids([item], f"pin[{number}]")[0]))
    for what, several in (("place", [place for place, _ in found]), ("item", [item for _, item in found])):
        if len(set(several)) < len(several):
            raise DataError(f"pin: expected each {what} once, got {several!r}")
    return tuple(sorted(found, key=lambda pair: pair[0]))


def _between(name: str, value: object) -> float:
    check_number(name, value, 0, most=1)
    return float(value)  # type: ignore[arg-type]
