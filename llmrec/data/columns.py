"""Column names: what the library calls them, what others call them, and the errors when one is missing or ambiguous."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import pyarrow as pa

from llmrec.errors import SchemaError

EVENT_REQUIRED = ("user_id", "item_id", "timestamp")
EVENT_OPTIONAL = ("rating", "weight", "event_type", "basket_id", "scene", "price", "quantity")
NUMBERS = ("rating", "weight", "price", "quantity")  # columns of events
ITEM_REQUIRED = ("item_id", "title")
# Read from the events only when there is no item table.
EVENT_ITEM_TEXT = ("title", "text", "category")

MEANING = {
    "user_id": "the user",
    "item_id": "the item's id: str, int or UUID",
    "timestamp": "when it happened",
    "title": "the item's short text",
}

# Other people's names, folded (lower case, letters and digits only). "score" and "value" are left out: they mean anything.
EVENT_ALIASES = {
    "user_id": ("userid", "user", "uid", "customerid", "customer", "visitorid", "memberid", "householdid", "reviewerid"),
    "item_id": ("itemid", "item", "iid", "productid", "product", "movieid", "bookid", "articleid", "asin", "parentasin", "sku"),
    "timestamp": ("timestamp", "datetime", "date", "time", "ts", "eventtime", "createdat", "unixreviewtime", "invoicedate"),
    "rating": ("rating", "ratings", "stars", "overall"),
    "weight": ("weight",),
    "event_type": ("eventtype", "event", "action", "behavior", "behaviour"),
    "basket_id": ("basketid", "orderid", "invoiceno", "invoice", "transactionid"),
    "scene": ("scene",),
    "price": ("price", "unitprice"),
    "quantity": ("quantity", "qty", "units"),
    "title": ("title", "name", "itemname", "productname", "movietitle"),
    "text": ("text", "description"),
    "category": ("category", "categoryname"),
}
# Names that mean it where no other does, as RePlay's; "relevance" only beside its ids.
LESSER_ALIASES = {"user_id": ("useridx", "queryid"), "item_id": ("itemidx",), "rating": ("relevance",)}
OF_PARENT = ("asin", "parentasin")  # Amazon's reviews of 2023 have both ids, and the table of items the second alone
OF_REVIEWS = ("reviewtext", "reviewtitle", "reviewbody", "helpfulvote", "verifiedpurchase")  # their title is not the item's
_RECBOLE = re.compile(r":(token|token_seq|float|float_seq)$")
_AVAILABLE = ("hidden", "stock", "available", "active", "visible", "enabled", "discontinued")
ITEM_ALIASES = {
    "item_id": (*EVENT_ALIASES["item_id"], "id"),
    "title": EVENT_ALIASES["title"],
    "text": EVENT_ALIASES["text"],
    "category": EVENT_ALIASES["category"],
    "price": EVENT_ALIASES["price"],
    "image": ("image", "imageurl", "imagepath"),
}


def event_columns(
    table: pa.Table, mapping: Mapping[str, str] | None = None, with_item_text: bool = False
) -> tuple[pa.Table, tuple[str, ...]]:
    """Event table under the library's names, and a note for every column renamed.

    mapping: theirs -> ours; it wins over the known aliases, and "" leaves a column out. with_item_text: title, text and
        category are wanted too.
    Raises SchemaError when a required column is missing, when two columns would get one name, or when `mapping` is wrong.
    """
    known = EVENT_REQUIRED + EVENT_OPTIONAL + (EVENT_ITEM_TEXT if with_item_text else ())
    aliases = {ours: EVENT_ALIASES[ours] for ours in known}
    mapping = mapping or {}
    said: tuple[str, ...] = ()
    if with_item_text and any(fold(name) in OF_REVIEWS for name in table.column_names):
        own = [name for name in table.column_names if fold(name) in ("title", "text") and name not in mapping]
        table = table.drop_columns(own)
        said = (f"events: {_quoted(own)} of the reviews are not read as the items' title and text",) if own else ()
    # A user's map for both tables may name item columns that are only read from events without an item table.
    table, notes = _rename(table, "events", "columns", EVENT_REQUIRED, aliases, mapping, known + EVENT_ITEM_TEXT)
    return table, (*notes, *said)


def item_columns(
    table: pa.Table,
    mapping: Mapping[str, str] | None = None,
    required: tuple[str, ...] = ITEM_REQUIRED,
    argument: str = "item_columns",
) -> tuple[pa.Table, tuple[str, ...]]:
    """Item table under the library's names, and a note for every column renamed; see `event_columns`.

    Columns that the library does not know are kept as they are: a prompt template may use them. argument: what `mapping` is
    called in messages.
    """
    return _rename(table, "items", argument, required, ITEM_ALIASES, mapping or {}, None)


def user_columns(table: pa.Table, mapping: Mapping[str, str] | None = None) -> tuple[pa.Table, tuple[str, ...]]:
    """Table of users under the library's names, and a note for a column renamed; see `event_columns`.

    Only `user_id` has a name of the library's; all other columns are attributes.
    """
    aliases = {"user_id": (*EVENT_ALIASES["user_id"], "id")}
    return _rename(table, "users", "columns", ("user_id",), aliases, mapping or {}, None)


def unread_columns(table: pa.Table, what: str, argument: str, with_item_text: bool = False) -> tuple[str, ...]:
    """A note that names the columns of a table (under the library's names) that nothing reads, and what they may be meant as.

    argument: `columns` or `item_columns`. with_item_text: as in `event_columns`.
    """
    items = what == "items"
    known = set(ITEM_ALIASES) if items else {*EVENT_REQUIRED, *EVENT_OPTIONAL, *(EVENT_ITEM_TEXT if with_item_text else ())}
    unread = [name for name in table.column_names if name not in known]
    if not unread:
        return ()
    free = {alias: ours for ours in sorted(known - set(table.column_names)) for alias in (fold(ours), *_aliases(items)[ours])}
    like = {name: close for name in unread if (close := difflib.get_close_matches(fold(name), free, n=1, cutoff=0.75))}
    guess = "".join(
        f" {name!r} looks like {free[close[0]]!r}: {argument}={{{name!r}: {free[close[0]]!r}}}." for name, close in like.items()
    )
    if not guess and (optional := sorted(known - set(table.column_names))):
        guess = f" To have a column read as one of {_quoted(optional)}, map it: {argument}={{'ITS NAME': {optional[0]!r}}}."
    verb, them = ("columns {} are not read", "them") if len(unread) > 1 else ("column {} is not read", "it")
    use = f", except by a prompt template or a rule that names {them}" if items else ""
    hidden = [name for name in unread if any(word in fold(name) for word in _AVAILABLE)]
    stock = (
        f" If {hidden[0]!r} tells which items can be recommended, hide the others with hide_items, or choose at each call by "
        "items_to_recommend or by a rule: Rules(filters=[...])."
        if hidden
        else ""
    )
    return (f"{what}: {verb.format(_quoted(unread))}{use}.{guess}{stock}",)


def _aliases(items: bool) -> Mapping[str, tuple[str, ...]]:
    return ITEM_ALIASES if items else EVENT_ALIASES


def _rename(
    table: pa.Table,
    what: str,
    argument: str,
    required: tuple[str, ...],
    aliases: Mapping[str, tuple[str, ...]],
    mapping: Mapping[str, str],
    allowed: tuple[str, ...] | None,
) -> tuple[pa.Table, tuple[str, ...]]:
    _check_mapping(mapping, table.column_names, what, argument, allowed)
    left_out = [theirs for theirs, ours in mapping.items() if not ours]
    table, mapping = table.drop_columns(left_out), {theirs: ours for theirs, ours in mapping.items() if ours}
    came = table.column_names
    target = {theirs: ours for theirs, ours in mapping.items() if theirs != ours}
    taken = set(mapping.values()) | (set(came) - set(mapping))  # an exact name needs no alias
    replay = any(fold(theirs) in ("useridx", "itemidx") for theirs in came)
    parents: tuple[str, ...] = ()
    for ours, folded in aliases.items():
        if ours in taken:
            continue
        free = [theirs for theirs in came if theirs not in mapping]
        found = [theirs for theirs in free if fold(untagged(theirs)) in folded]
        if not found and (replay or ours != "rating"):
            found = [theirs for theirs in free if fold(theirs) in LESSER_ALIASES.get(ours, ())]
        if ours == "item_id" and {fold(theirs) for theirs in found} == set(OF_PARENT):
            found = [theirs for theirs in found if fold(theirs) == OF_PARENT[1]]
            parents += (f"{what}: {of_parent(found[0])}",)
        if len(found) > 1:
            raise SchemaError(
                f"{what}: columns {_quoted(found)} could each be {ours!r}, expected one. "
                f"Say which: {argument}={{{found[0]!r}: {ours!r}}}"
            )
        target.update(dict.fromkeys(found, ours))
    names = [target.get(theirs, theirs) for theirs in came]
    for ours in names:
        if names.count(ours) > 1:
            sources = [theirs for theirs, name in zip(came, names, strict=True) if name == ours]
            raise SchemaError(
                f"{what}: columns {_quoted(sources)} would all be {ours!r}, expected one. "
                "Drop or rename one of them before the call"
            )
    for ours in required:
        if ours not in names:
            raise SchemaError(_missing(ours, names, came, what, argument, required, aliases))
    notes = tuple(f"{what}: column {theirs!r} is read as {ours!r}" for theirs, ours in target.items())
    notes += (f"{what}: {_quoted(left_out)}: not read, as {argument} says",) if left_out else ()
    return table.rename_columns(names), (*notes, *parents)


def of_parent(name: str) -> str:
    """A note on which of Amazon's two ids is read."""
    return f"of two ids {name!r} is read, which the table of items has; the other is of a variant, such as a colour"


def untagged(name: str) -> str:
    """A name without the type that RecBole writes behind it: "item_id" of "item_id:token"."""
    return _RECBOLE.sub("", name)


def _check_mapping(
    mapping: Mapping[str, str], came: list[str], what: str, argument: str, allowed: tuple[str, ...] | None
) -> None:
    for theirs, ours in mapping.items():
        if theirs not in came:
            if ours in came:
                hint = f" The map goes from your name to the library's: {argument}={{{ours!r}: {theirs!r}}}"
            else:
                hint = _closest(theirs, came)
            raise SchemaError(f"{argument} names {theirs!r}, which {what} does not have; it has {_quoted(came)}.{hint}")
        if allowed is not None and ours and ours not in allowed:
            raise SchemaError(
                f"{argument} maps {theirs!r} to {ours!r}, expected one of {_quoted(allowed)}.{_closest(ours, list(allowed))}"
            )
    for ours in mapping.values():
        twice = [theirs for theirs, name in mapping.items() if name == ours != ""]
        if len(twice) > 1:
            raise SchemaError(f"{argument} maps {_quoted(twice)} to the one name {ours!r}; keep one of them")


def _missing(
    ours: str,
    names: list[str],
    came: list[str],
    what: str,
    argument: str,
    required: tuple[str, ...],
    aliases: Mapping[str, tuple[str, ...]],
) -> str:
    free = [theirs for theirs, name in zip(came, names, strict=True) if name not in aliases]
    by_fold = {fold(theirs): theirs for theirs in free if 2 * len(fold(theirs)) > len(theirs)}  # else of another script
    close = difflib.get_close_matches(fold(ours), by_fold, n=1, cutoff=0.6)
    for other in aliases.get(ours, ()):
        close = close or difflib.get_close_matches(other, by_fold, n=1, cutoff=0.8)
    guess = by_fold[close[0]] if close else None
    meaning = f" ({MEANING[ours]})" if ours in MEANING else ""
    hint = f" Did you mean {guess!r}?" if guess else ""
    example = guess or "your column"
    return (
        f"{what} has no column {ours!r}{meaning}; expected {_quoted(required)}, got {_quoted(came) or 'no column'}.{hint} "
        f"Rename it or pass {argument}={{{example!r}: {ours!r}}}"
    )


def _closest(name: str, choices: list[str]) -> str:
    by_fold = {fold(choice): choice for choice in choices}
    close = difflib.get_close_matches(fold(name), by_fold, n=1)
    return f" Did you mean {by_fold[close[0]]!r}?" if close else ""


def fold(name: str) -> str:
    """A name in lower case, its letters from a to z and its digits alone, as the aliases are written."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _quoted(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)
