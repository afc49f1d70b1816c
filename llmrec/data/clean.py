"""Cleaning: small pure steps over Arrow tables. Each returns the table and a Step that says what it did; nothing is dropped
without being counted, so the rows out of one step are the rows into the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.files import ID_NAMES, MISSING
from llmrec.data.frames import coded, id_column
from llmrec.data.report import CleaningReport, Step, counted, said_of_lost
from llmrec.data.times import DAY, seconds
from llmrec.data.values import numbers, repeated
from llmrec.errors import DataError

__all__ = ["Cleaning", "CleaningReport", "Step"]


@dataclass(frozen=True)
class Cleaning:
    """How events and items are cleaned.

    text_cap: most characters of an item's title or text.
    drop_duplicates: rows equal in every column are one event.
    drop_cancelled_purchases: also drop the purchase that a cancelled order cancels.
    outlier_spread: a price or quantity above `median * max(95th percentile / median, 3) ** outlier_spread` becomes NaN;
        the event stays. None keeps all values.
    drop_bots: drop users whose activity is far beyond all others'; they are reported in any case.
    on_duplicate: catalogue rows that share an id and differ: "error", or "first" to keep the first row.
    """

    text_cap: int = 2000
    drop_duplicates: bool = True
    drop_cancelled_purchases: bool = False
    outlier_spread: float | None = 4.0
    drop_bots: bool = False
    on_duplicate: Literal["error", "first"] = "error"


def read_ids(table: pa.Table, names: tuple[str, ...], what: str) -> tuple[pa.Table, Step]:
    """Columns of ids or names as int64, text or UUID; whole-numbered floats become ints again, empty text becomes null."""
    changed, said = 0, []
    for name in names:
        column = table.column(name)
        if name not in ("user_id", "item_id") and (pa.types.is_temporal(column.type) or pa.types.is_boolean(column.type)):
            column = column.cast(pa.large_string())  # a day as basket, a flag as scene
        column, repaired = id_column(column, name, what)
        table = table.set_column(table.column_names.index(name), name, column)
        said += [f"{name}: {count:,} {kind}" for kind, count in repaired.items()]
        changed = max(changed, sum(repaired.values()))
        if pa.types.is_large_string(column.type):
            marks = column.filter(pc.is_in(column, pa.array(MISSING, column.type)))
            if len(marks):
                kept = "ids; use null for a missing id" if name in ID_NAMES else "names; use null for a missing one"
                said.append(f"{name}: {len(marks):,} are texts such as {marks[0].as_py()!r}, kept as {kept}")
            if len(twice := _also_whole(column)):
                said.append(
                    f"{name}: {len(twice):,} such as {twice[0].as_py()!r} are other ids than those without .0, which are there "
                    "too; write them alike"
                )
    return table, Step("ids", what, len(table), 0, changed, "; ".join(said))


def _also_whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text ids such as "17850.0" where "17850" is there too, as in files that were joined, one of them with missing ids."""
    whole = column.filter(pc.match_substring_regex(column, r"^-?[0-9]+\.0$"))
    return whole.filter(pc.is_in(pc.replace_substring(whole, ".0", ""), column.unique())) if len(whole) else whole


def drop_missing(table: pa.Table, names: tuple[str, ...], what: str) -> tuple[pa.Table, Step]:
    """Rows without a value in one of the columns are dropped."""
    keep, said = np.ones(len(table), bool), []
    for name in names:
        there = pc.is_valid(table.column(name)).to_numpy()
        if pa.types.is_floating(table.column(name).type):
            there = there & ~np.isnan(table.column(name).to_numpy())
        if not there.all():
            said.append(f"{name}: {int((~there).sum()):,}")
        keep &= there
    return _filtered(table, keep, "missing values", what, "; ".join(said))


def parse_times(events: pa.Table) -> tuple[pa.Table, Step]:
    """`timestamp` becomes float64 seconds; rows that do not parse are dropped, and a DataError is raised if none does."""
    original = events.column("timestamp")
    time, how = seconds(original)
    bad = np.isnan(time)
    examples = ", ".join(repr(value) for value in original.filter(bad).slice(0, 3).to_pylist())
    if bad.all() and len(events):
        raise DataError(
            f"events: no value of 'timestamp' is a time, expected datetimes, ISO 8601 text or numbers since 1970, "
            f"got {examples}. Convert the column first, for instance with pandas.to_datetime(column, format=...)"
        )
    events = events.set_column(events.column_names.index("timestamp"), "timestamp", pa.chunked_array([time]))
    detail = f"read as {how}" + (f"; not a time: {examples}" if bad.any() else "")
    return _filtered(events, ~bad, "timestamps", "events", detail)


def read_numbers(table: pa.Table, names: tuple[str, ...], what: str) -> tuple[pa.Table, Step]:
    """The named columns, where they exist, as float64; text that holds no number becomes NaN and is counted."""
    changed, said = np.zeros(len(table), bool), []
    for name in names:
        if name not in table.column_names:
            continue
        values, lost, example = numbers(table.column(name), name, what)
        if lost.any():
            said.append(f"{name}: {said_of_lost(lost, 'number')}, such as {example!r}, now unknown")
        changed |= lost
        table = table.set_column(table.column_names.index(name), name, pa.chunked_array([values]))
    return table, Step("numbers", what, len(table), 0, int(changed.sum()), "; ".join(said))


def drop_duplicates(events: pa.Table) -> tuple[pa.Table, Step]:
    """Of rows that are equal in every column one is kept."""
    return _filtered(events, ~repeated(events), "exact duplicates", "events", "")


def drop_cancelled(events: pa.Table, with_purchases: bool, negative: tuple[str, ...] = ()) -> tuple[pa.Table, Step]:
    """Cancelled orders: a basket id that starts with C and a digit, and a negative quantity.

    with_purchases: a cancelled row also takes the latest earlier purchase of the same user, item and quantity with it.
    negative: event types that say that an item is not liked; their rows are kept, see `read_returns`.
    """
    names = set(events.column_names)
    if not {"basket_id", "quantity"} <= names or not pa.types.is_large_string(events.column("basket_id").type):
        return events, Step("cancelled orders", "events", len(events))
    quantity = events.column("quantity").to_numpy()
    named = pc.match_substring_regex(events.column("basket_id"), r"^[Cc][0-9]").fill_null(False).to_numpy()
    cancelled = named & (quantity < 0) & ~_of_types(events, negative)
    purchase = _cancelled_purchases(events, cancelled) if with_purchases and cancelled.any() else np.zeros(len(events), bool)
    detail = f"{int(purchase.sum()):,} of them the purchases cancelled" if with_purchases else ""
    return _filtered(events, ~(cancelled | purchase), "cancelled orders", "events", detail)


def read_returns(events: pa.Table, negative: tuple[str, ...]) -> tuple[pa.Table, Step]:
    """Events of types that say that an item is not liked, such as returns, are often booked with a negative quantity or price:
    the absolute value counts, and a quantity of 0 is unknown."""
    mine, changed, said = _of_types(events, negative), np.zeros(len(events), bool), []
    for name in ("quantity", "price"):
        if name not in events.column_names:
            continue
        values = events.column(name).to_numpy()
        wrong = mine & ((values < 0) | ((values == 0) & (name == "quantity")))
        if wrong.any():
            said.append(f"{name}: {int(wrong.sum()):,}")
            read = np.where(values == 0, np.nan, np.abs(values))
            column = pa.chunked_array([np.where(wrong, read, values)])
            events = events.set_column(events.column_names.index(name), name, column)
        changed |= wrong
    detail = f"{', '.join(map(repr, negative))} kept, without the sign of {'; '.join(said)}" if said else ""
    return events, Step("returns", "events", len(events), 0, int(changed.sum()), detail)


def drop_impossible(events: pa.Table) -> tuple[pa.Table, Step]:
    """Rows whose quantity is zero, negative or infinite, whose price is negative or infinite, or whose weight is infinite, are
    dropped."""
    keep, said = np.ones(len(events), bool), []
    for name in ("quantity", "price", "weight"):
        if name in events.column_names:
            values = events.column(name).to_numpy()
            least = -np.inf if name == "weight" else 0
            wrong = np.isinf(values) | (values < least) | ((values == 0) if name == "quantity" else False)
            if wrong.any():
                said.append(f"{name}: {int(wrong.sum()):,}")
            keep &= ~wrong
    return _filtered(events, keep, "impossible values", "events", "; ".join(said))


def read_dislikes(events: pa.Table) -> tuple[pa.Table, Step]:
    """A weight below 0 is a dislike and becomes 0: nothing is learned in favour of the item, and the event stays in its user's
    history."""
    if "weight" not in events.column_names:
        return events, Step("dislikes", "events", len(events))
    values = events.column("weight").to_numpy()
    below = values < 0
    if below.any():
        place = events.column_names.index("weight")
        events = events.set_column(place, "weight", pa.chunked_array([np.where(below, 0.0, values)]))
    detail = f"weight: {int(below.sum()):,} below 0, kept and counted 0" if below.any() else ""
    return events, Step("dislikes", "events", len(events), 0, int(below.sum()), detail)


def clip_outliers(events: pa.Table, spread: float) -> tuple[pa.Table, Step]:
    """Prices and quantities above `median * max(95th percentile / median, 3) ** spread` become NaN."""
    changed, said = np.zeros(len(events), bool), []
    for name in ("quantity", "price"):
        if name not in events.column_names:
            continue
        values = events.column(name).to_numpy()
        positive = values[values > 0]
        if not len(positive):
            continue
        middle, high = np.quantile(positive, [0.5, 0.95])
        limit = middle * max(high / middle, 3.0) ** spread  # at least 3: where all buy one piece, two is no outlier
        far = values > limit
        if far.any():
            said.append(f"{name}: {int(far.sum()):,} above {limit:,.4g}, up to {values[far].max():,.6g}, now unknown")
            values = np.where(far, np.nan, values)
            events = events.set_column(events.column_names.index(name), name, pa.chunked_array([values]))
        changed |= far
    return events, Step("outliers", "events", len(events), 0, int(changed.sum()), "; ".join(said))


def find_bots(events: pa.Table, drop: bool) -> tuple[pa.Table, Step]:
    """Users with far more events in all, or on their busiest day, than other users; dropped only if asked."""
    user, users = coded(events.column("user_id"))
    day = np.floor(events.column("timestamp").to_numpy() / DAY).astype(np.int64)
    day -= day.min() if len(day) else 0
    width = int(day.max()) + 1 if len(day) else 1
    pairs, per_day = np.unique(user * width + day, return_counts=True)
    busiest = np.zeros(len(users), np.int64)
    np.maximum.at(busiest, pairs // width, per_day)
    total = np.bincount(user, minlength=len(users))
    bot = _far_above(total, floor=1000) | _far_above(busiest, floor=500)
    detail = ""
    if bot.any():
        loudest = np.flatnonzero(bot)[np.argsort(-total[bot], kind="stable")][:3]
        named = ", ".join(f"{users[index]!r} ({total[index]:,} events)" for index in loudest)
        many = int(bot.sum())
        alike = f"{counted(many, 'user')} {'looks like a bot' if many == 1 else 'look like bots'}"
        detail = f"{alike}{'' if drop else ', kept'}: {named}"
    return _filtered(events, ~(bot[user] & drop), "bot-like users", "events", detail)


def drop_unknown_items(events: pa.Table, known: np.ndarray) -> tuple[pa.Table, Step]:
    """Events whose item is not in the catalogue (`known` is False; bool (rows,)) are dropped."""
    detail = ""
    if not known.all():
        lost = coded(events.column("item_id").filter(~known))[1]
        detail = f"{counted(len(lost), 'item')}, such as {', '.join(repr(item) for item in lost[:3])}"
    return _filtered(events, known, "not in the catalogue", "events", detail)


def _of_types(events: pa.Table, types: tuple[str, ...]) -> np.ndarray:
    """bool (rows,): events of one of these types."""
    if not types or "event_type" not in events.column_names:
        return np.zeros(len(events), bool)
    named = events.column("event_type").cast(pa.large_string())
    return pc.is_in(named, pa.array(types, pa.large_string())).to_numpy()


def _far_above(counts: np.ndarray, floor: int) -> np.ndarray:
    """bool: above the upper quartile by more than six interquartile ranges of the logarithm, and above `floor`."""
    if not len(counts):
        return np.zeros(0, bool)
    logs = np.log(counts)
    low, high = np.quantile(logs, [0.25, 0.75])
    return (counts > floor) & (logs > high + 6 * max(high - low, 0.1))  # at least 0.1: one user alone is no outlier


def _cancelled_purchases(events: pa.Table, cancelled: np.ndarray) -> np.ndarray:
    """bool (rows,): purchases matched with a cancellation like brackets, within user, item and quantity, by time."""
    quantity = events.column("quantity").to_numpy()
    candidate = np.flatnonzero(cancelled | (quantity > 0))
    some = events.take(candidate)
    user, item = coded(some.column("user_id"))[0], coded(some.column("item_id"))[0]
    amount = np.unique(np.abs(quantity[candidate]), return_inverse=True)[1]
    key = (user * (item.max() + 1) + item) * (amount.max() + 1) + amount
    step = np.where(cancelled[candidate], -1, 1)
    order = np.lexsort((-step, some.column("timestamp").to_numpy(), key))
    key, step = key[order], step[order]
    depth = np.cumsum(step)  # of open purchases; that it runs on from key to key does no harm, as matches stay within a key
    level = np.where(step > 0, depth, depth + 1)  # the depth a purchase opens, or a cancellation closes
    by_level = np.lexsort((np.arange(len(key)), level, key))
    opened, closed = by_level[:-1], by_level[1:]
    match = (key[opened] == key[closed]) & (level[opened] == level[closed]) & (step[opened] > 0) & (step[closed] < 0)
    result = np.zeros(len(cancelled), bool)
    result[candidate[order[opened[match]]]] = True
    return result


def _filtered(table: pa.Table, keep: np.ndarray, name: str, what: str, detail: str) -> tuple[pa.Table, Step]:
    dropped = int((~keep).sum())
    return (table.filter(pa.array(keep)) if dropped else table), Step(name, what, len(keep), dropped, 0, detail)
