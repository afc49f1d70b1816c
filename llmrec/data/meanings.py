"""What the columns of a file mean, told by their names; two names for one meaning, or none for one that is needed, is an
error that asks."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmrec.data.columns import EVENT_REQUIRED, ITEM_REQUIRED, MEANING, OF_PARENT, of_parent, untagged
from llmrec.data.meaning_words import EVENT_WORDS, ITEM_NOUNS, ITEM_WORDS, REVIEW_WORDS
from llmrec.errors import SchemaError

_BRACKETS = re.compile(r"[(\[（【<].*?[)\]）】>]")
_LINKS = frozenset(re.findall(r"\w+", "de del du des d l la le el der die das of the per pro por par in en"))
_OF_DAY = frozenset({"time", "zeit", "uhrzeit", "heure", "hora", "时间"})  # of a column beside that of the date
_DAY = frozenset({"day", "jour"})
_PARTS = frozenset({"year", "month", "jahr", "monat", "annee", "mois", "ano", "mes", "年", "月"})  # of a date
_CURRENCIES = frozenset({"eur", "euro", "euros", "usd", "gbp", "chf", "cny", "rmb", "dollar", "dollars", "yuan"})


@dataclass(frozen=True)
class Meanings:
    """pairs: a column's name in the file and the library's, for those understood. unread: the others. notes: what is to be
    known of the choice. parts: columns of a year or month beside one of a day, which nobody named as the timestamp."""

    pairs: tuple[tuple[str, str], ...]
    unread: tuple[str, ...]
    notes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def folded(name: str) -> str:
    """A name without case, accents, signs, linking words, brackets and a currency behind: "N° de Client" is "nclient"."""
    bare = _BRACKETS.sub(" ", untagged(name.strip())) if not _BRACKETS.fullmatch(name.strip()) else name
    bare = bare.replace("#", " no ")
    bare = re.sub(r"(?<=[a-zäöüß])(?=[A-Z][a-z])", " ", bare)
    plain = "".join(c for c in unicodedata.normalize("NFKD", bare.casefold()) if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", plain)
    while len(words) > 1 and words[-1] in _CURRENCIES:
        words.pop()
    return "".join(word for word in words if word not in _LINKS) or "".join(words)


def known_names(names: list[str]) -> int:
    """How many of the meanings of events and items some names have together."""
    found: set[str] = set()
    for name in {folded(name) for name in names}:
        for words in (EVENT_WORDS, ITEM_WORDS):
            found.update(ours for ours, sets in words.items() if any(_in(name, some) for some in sets))
    return len(found)


def has_required(names: list[str], what: str) -> bool:
    """Whether some names have every meaning that a table of events, items or users needs."""
    words, found = _words(what), {folded(name) for name in names}
    return all(any(_in(name, some) for name in found for some in words[ours]) for ours in _required(what))


def example_names(what: str, count: int) -> list[str]:
    """Names for the columns of a file of events, items or users that has none, for a message: those that are needed come
    first."""
    first = _required(what)
    return [*first, *(f"column{place}" for place in range(len(first) + 1, count + 1))]


def column_meanings(
    names: list[str], what: str, given: tuple[tuple[str, str], ...] = (), required: tuple[str, ...] | None = None
) -> Meanings:
    """What the columns of a table of events, items or users mean; of users only `user_id` is looked for.

    names: of the columns in the file. what: "events", "items" or "users". given: pairs that a person named; they win. A column
        with the meaning "" is not read. required: see `reading.read`.
    Raises SchemaError that lists the candidates and asks for `--columns`.
    """
    items = what == "items"
    words = _words(what)
    option = {"items": "--item-columns", "users": "--user-columns"}.get(what, "--columns")
    _check_given(names, given, what, option, tuple(words))
    left_out = [theirs for theirs, ours in given if not ours]
    names = [name for name in names if name not in left_out]
    chosen: dict[str, str] = {ours: theirs for theirs, ours in given if ours}
    reviews = any(folded(name) in REVIEW_WORDS for name in names)
    notes = [f"{_quoted(left_out)}: not read, as {option} says"] if left_out else []
    parts: tuple[str, ...] = ()
    for ours, sets in words.items():
        if ours in chosen:
            continue
        if reviews and not items and ours in ("title", "text"):
            continue  # of the review
        free = [name for name in names if name not in chosen.values() and not _unnamed(name)]
        exact = [name for name in free if untagged(name.strip()) == ours]
        found = exact or next((some for part in sets if (some := [name for name in free if _in(folded(name), part)])), [])
        if ours == "item_id" and {folded(name) for name in found} == set(OF_PARENT):
            found = [name for name in found if folded(name) == OF_PARENT[1]]
            notes.append(of_parent(found[0]))
        if len(found) > 1:
            first, more = found[0], ""
            if ours == "timestamp" and (days := [name for name in found if folded(name) not in _OF_DAY]) and days != found:
                first, more = (
                    days[0],
                    " (the other is then not read; join the two in the export to keep the order within a day)",
                )
            raise SchemaError(
                f"{what}: columns {_quoted(found)} could each be {ours}{_meant(ours)}, expected one. "
                f"Say which: {option} {_quote(first, ours)}{more}"
            )
        if found:
            chosen[ours] = found[0]
        if ours == "timestamp" and found and folded(found[0]) in _DAY:
            parts = tuple(name for name in free if folded(name) in _PARTS)
    needed = _required(what) if required is None else required
    wanted = "title" in (words if required is None else required)  # a change of items without titles keeps them
    chosen, said = _title(chosen, names, (items or not reviews) and wanted)
    notes += said
    for ours in needed:
        if ours not in chosen:
            raise SchemaError(_missing(ours, names, chosen, what, option))
    order = {theirs: ours for ours, theirs in chosen.items()}
    pairs = tuple((name, order[name]) for name in names if name in order)
    unread = tuple(name for name in names if name not in order and not _unnamed(name))
    return Meanings(pairs, unread, tuple(notes), parts)


def _words(what: str) -> Mapping[str, Sequence[set[str]]]:
    """Words for the meanings that are looked for in a table."""
    if what == "users":
        *better, email = EVENT_WORDS["user_id"]
        return {"user_id": (*better, {"id"}, email)}
    return ITEM_WORDS if what == "items" else EVENT_WORDS


def _required(what: str) -> tuple[str, ...]:
    return {"items": ITEM_REQUIRED, "users": ("user_id",)}.get(what, EVENT_REQUIRED)


def _title(chosen: dict[str, str], names: list[str], wanted: bool) -> tuple[dict[str, str], list[str]]:
    """The title where no column is named so: a column named after the item beside its id, else the text."""
    if "title" in chosen or not wanted:
        return chosen, []
    nouns = [name for name in names if name not in chosen.values() and folded(name) in ITEM_NOUNS]
    if len(nouns) == 1 and "item_id" in chosen:
        return chosen | {"title": nouns[0]}, [f"{nouns[0]!r} is read as title, because the id is {chosen['item_id']!r}"]
    if "text" in chosen:
        rest = {ours: theirs for ours, theirs in chosen.items() if ours != "text"}
        return rest | {"title": chosen["text"]}, [f"{chosen['text']!r} is read as title, because no column is named as one"]
    return chosen, []


def _check_given(
    names: list[str], given: tuple[tuple[str, str], ...], what: str, option: str, allowed: tuple[str, ...]
) -> None:
    for theirs, ours in given:
        if theirs not in names:
            close = difflib.get_close_matches(theirs, names, n=1, cutoff=0.5)
            turned = f" The file's name comes first: {_quote(ours, theirs)}." if ours in names else ""
            if turned and ours in allowed and theirs not in allowed:
                turned = f" {ours!r} is understood as it is; leave the option out."
            hint = f" Did you mean {close[0]!r}?" if close and not turned else turned
            raise SchemaError(f"{option} names {theirs!r}, which {what} does not have; its columns are {_quoted(names)}.{hint}")
        if ours and what != "items" and ours not in allowed:
            close = difflib.get_close_matches(ours, allowed, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise SchemaError(f"{option} reads {theirs!r} as {ours!r}, expected one of {', '.join(allowed)}.{hint}")
    for place in (0, 1):
        parts = [pair[place] for pair in given if pair[place]]
        if twice := [part for part in parts if parts.count(part) > 1]:
            raise SchemaError(
                f"{option} names {twice[0]!r} twice, expected each column and each meaning once; keep one of them"
            )


def _missing(ours: str, names: list[str], chosen: dict[str, str], what: str, option: str) -> str:
    left = [name for name in names if name not in chosen.values() and not _unnamed(name)]
    every = [word for part in _words(what)[ours] for word in sorted(part)]
    close = [name for name in left if difflib.get_close_matches(folded(name), every, n=1, cutoff=0.75)]
    known = "; ".join(f"{theirs!r} is {name}" for name, theirs in chosen.items())
    hint = f" Perhaps it is {close[0]!r}." if close else ""
    if ours == "item_id" and not close and "title" in chosen:
        close = [chosen["title"]]
        hint = f" Where titles tell the items apart, {close[0]!r} can be the id."
    example = close[0] if close else "NAME IN THE FILE"
    rest = f"columns not understood: {_quoted(left)}" if left else "no column is left over"
    header = ""
    if not chosen:
        order = example_names(what, len(names))
        remedy = f"say --names {','.join(order)}" if what == "events" else f"write names above it: {', '.join(order)}"
        header = f". If the first line holds values and not names, {remedy}"
    return (
        f"{what}: no column could be read as {ours}{_meant(ours)}; {rest}{f' ({known})' if known else ''}.{hint} "
        f"Say which: {option} {_quote(example, ours)}{header}"
    )


def _meant(ours: str) -> str:
    return f" ({MEANING[ours]})" if ours in MEANING else ""


def _in(name: str, words: set[str]) -> bool:
    """Whether a folded name is among the words, in the singular or plural, with umlauts written out or not."""
    return any(form in words for form in (name, name.removesuffix("s"), re.sub("([aou])e", r"\1", name)))


def _unnamed(name: str) -> bool:
    return not name.strip()


def _quote(theirs: str, ours: str) -> str:
    return f'"{theirs}={ours}"'


def _quoted(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
