"""Build a Dataset from tables: clean, encode, and sort every user's events into canonical order.

The result does not depend on the order of the rows that came: events that share a time are ordered by a seeded hash of what
they are, which is a shuffle to a model and the same for the same data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data import clean
from llmrec.data.attributes import Encoding
from llmrec.data.clean import Cleaning, CleaningReport, Step
from llmrec.data.clean_items import clean_items
from llmrec.data.columns import ITEM_ALIASES, NUMBERS, unread_columns
from llmrec.data.context import context_codes, fit_context
from llmrec.data.dataset import Catalogue, Dataset, EventWeights
from llmrec.data.derived import derived_items
from llmrec.data.features import SLOT_FEATURES, fit_scaler, slot_attributes
from llmrec.data.frames import coded
from llmrec.data.ids import Ids
from llmrec.data.item_attributes import with_item_attributes
from llmrec.data.matching import find_across, look_alike
from llmrec.data.places import placed_or_frame, untyped
from llmrec.data.report import counted, warn_of_losses
from llmrec.data.requests import query_users
from llmrec.data.tables import read_events, read_items
from llmrec.data.times import time_notes
from llmrec.data.values import mixed
from llmrec.errors import DataError, SchemaError, UnknownItemError

KEYS = ("user_id", "item_id", "timestamp")


def build(
    events: Any,
    items: Any = None,
    columns: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
    seed: int = 0,
    event_weights: Mapping[str, float] | None = None,
    context: Sequence[str] = (),
    item_attributes: Sequence[str] = (),
    negative: Sequence[str] = (),
) -> tuple[Dataset, CleaningReport]:
    """A Dataset from a table of events and, if there is one, a table of items.

    events, items: pandas, polars, pyarrow, dict, path or Hugging Face dataset, see `frames.to_arrow`; or an address on its hub,
        such as hf://datasets/owner/name, see `hub_tables.fetched_table`.
    columns, item_columns: names in the table -> names of the library, for those that the known aliases do not cover; "" for a
        column that is not to be read.
    seed: of the shuffle among events that share a time.
    event_weights: event type -> sample weight of events of that type as targets, such as `{"view": 0.1}`; 1 for types not
        named; use 0 for events that do not count for their item, such as dislikes. It is multiplied by the column `weight`,
        if there is one; a weight below 0 is read as a dislike and becomes 0. An event of sample weight 0 is in its user's
        history and read by the transformer, but never predicted or counted.
    context: columns of the events that are known at request time, such as device or page, and "hour" and "weekday" (in UTC,
        of the timestamp, if no column has that name).
    item_attributes: columns of the items that the model reads in addition to their text, such as brand, category and price.
    negative: event types of dislikes, as in `SignedFeedback`. Such an event has sample weight 0 unless `event_weights` names
        its type. It is not read as a cancelled order, and a quantity below 0 loses its sign.

    Without `items` the catalogue is made from title, text, category and price in the events: the most frequent value, and the
    median price. Users are ascending by id; items keep the catalogue's order (ascending by id without `items`).

    Text ids lose white space and unseen signs around them and are normalised to Unicode's form NFC. Ids of a CSV file are ints
    if ints keep them as written, and otherwise text ("007" stays "007"); NA, null, (null), None, nan, - and an empty field are
    a missing id there. To keep such an id, read the file yourself and pass the frame.

    Without `basket_id` each event is a basket of its own. Where timestamps are whole days, the order of a user's events within
    a day is therefore shuffled by the seed, and rows of a day that are equal in every column count once; the report notes it.

    Raises SchemaError and DataError that name the column, the values and the remedy. A DataLossWarning names each step that
    leaves out more than a fifth of the events: missing values, unreadable timestamps, items that are not in `items`.
    """
    events, items = placed_or_frame(events, "events"), placed_or_frame(items, "items")
    table, notes = read_events(events, columns, with_item_text=items is None, context=context or ())
    rest = table.drop_columns([name for name in context if name in table.column_names]) if context else table
    notes += unread_columns(rest, "events", "columns", with_item_text=items is None)
    if items is None and item_columns:
        raise SchemaError("item_columns is given without items; names in the event table go into columns")
    steps: tuple[Step, ...] = ()
    if items is not None:
        catalogue, told = read_catalogue(items, item_columns, cleaning, item_attributes)
        notes, steps = notes + told.notes, told.steps
    table, ids_read = _with_ids(table)
    table, event_steps, time_said = _clean_rows(table, ids_read, cleaning, negative)
    notes += time_said
    if cleaning.outlier_spread is not None:
        table, step = clean.clip_outliers(table, cleaning.outlier_spread)
        event_steps += (step,)
    table, step = clean.find_bots(table, cleaning.drop_bots)
    event_steps += (step,)
    steps = event_steps + steps
    if items is None:
        item_table, note = derived_items(table)
        notes += (note,)
        catalogue, item_steps = _cleaned(item_table, cleaning)
        steps += item_steps
    table, item, step = _located(table, catalogue, untyped(events) or untyped(items))
    steps += (step,)
    if not len(table):
        came, kind = table.schema.field("item_id").type, catalogue.table.schema.field("item_id").type
        check = "" if came == kind else ". Check that both are str or both are int"
        raise DataError(
            f"events: no item_id is in items: events hold {came} ({step.detail}), items hold {kind} such as "
            f"{', '.join(map(repr, catalogue.ids.values[:3]))}; expected the same ids in both{check}\n"
            f"{CleaningReport(steps, notes)}"
        )
    warn_of_losses(steps)
    encoding: Encoding | None = None
    codes: dict[str, np.ndarray] = {}
    if context:
        encoding, codes, told_of_context = fit_context(table, context)
        notes += told_of_context
    dataset = replace(_assemble(table, item, catalogue, None, None, seed, codes), context=encoding)
    dataset = replace(dataset, event_weights=_worth(dataset, event_weights or {}, negative))
    if item_attributes:
        dataset, told_of_items = with_item_attributes(dataset, item_attributes)
        notes += told_of_items
    return dataset, CleaningReport((*steps, _features(dataset)), notes)


def read_catalogue(
    items: Any,
    columns: Mapping[str, str] | None = None,
    cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
    item_attributes: Sequence[str] = (),
) -> tuple[Catalogue, CleaningReport]:
    """A table of items alone, as `build` reads it; see there. item_attributes: columns of which no note says that nothing reads
    them."""
    table, notes = read_items(items, columns)
    read = [name for name in item_attributes or () if name in table.column_names and name not in ITEM_ALIASES]
    notes += unread_columns(table.drop_columns(read), "items", "item_columns")
    catalogue, steps = _cleaned(table, cleaning)
    return catalogue, CleaningReport(steps, notes)


def events_for(
    catalogue: Catalogue,
    events: Any,
    columns: Mapping[str, str] | None = None,
    event_types: tuple[str, ...] = (),
    scenes: tuple[str, ...] = (),
    cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
    seed: int = 0,
    context: Encoding | None = None,
    negative: Sequence[str] = (),
) -> tuple[Dataset, CleaningReport]:
    """A Dataset of other users' histories over a catalogue that exists.

    event_types, scenes: the names that a model knows; others become unknown (NaN and -1) and are noted. context: how a model
    encodes the context of events. negative: as in `build`.
    Events with items outside the catalogue are dropped and counted, and so are users who have no other; UnknownItemError is
    raised when no event is left. Limits that depend on the whole table (outliers, bots) are not applied, so that one user
    alone and among others gives the same history.
    """
    found, report, _ = asked_for(catalogue, events, columns, event_types, scenes, cleaning, seed, context, negative)
    check_some_known(found, report)
    return found, report


def asked_for(
    catalogue: Catalogue,
    events: Any,
    columns: Mapping[str, str] | None = None,
    event_types: tuple[str, ...] = (),
    scenes: tuple[str, ...] = (),
    cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
    seed: int = 0,
    context: Encoding | None = None,
    negative: Sequence[str] = (),
) -> tuple[Dataset, CleaningReport, Ids]:
    """As `events_for`, and the users of the table in order of appearance, also those without any event that can be used.

    Where no event is left the dataset is empty; UnknownItemError is raised where the item ids are also of another kind than
    those of the catalogue.
    """
    events = placed_or_frame(events, "events")
    table, notes = read_events(events, columns, context=context.names if context else ())
    table, ids_read = _with_ids(table)
    asked = query_users(table.column("user_id"))
    table, steps, time_said = _clean_rows(table, ids_read, cleaning, negative)
    everyone, item_kind = coded(table.column("user_id"))[1], type(coded(table.column("item_id"))[1][0])
    table, item, step = _located(table, catalogue, untyped(events))
    steps += (step,)
    if not len(table) and item_kind is not type(next(iter(catalogue.ids.values), None)):
        raise _none_known(catalogue, step.detail)
    codes, said_of_context = context_codes(table, context)
    notes += said_of_context
    dataset = replace(_assemble(table, item, catalogue, event_types, scenes, seed, codes), context=context)
    if dataset.n_users < len(everyone):
        left = set(dataset.users.values)
        lost = [user for user in everyone if user not in left]
        notes += (f"events: {counted(len(lost), 'user')} without a known item, such as {', '.join(map(repr, lost[:3]))}",)
    for name, known in (("event_type", event_types), ("scene", scenes)):
        if name in table.column_names:
            new = sorted({str(value) for value in coded(table.column(name))[1]} - set(known))
            if new:
                notes += (f"events: {name} {', '.join(map(repr, new[:3]))} is not among {known!r} and is left unknown",)
    return dataset, CleaningReport(steps, notes + time_said), asked


def check_some_known(events: Dataset, report: CleaningReport) -> None:
    """Raises UnknownItemError for events that were read and hold no item of the catalogue. report: of `asked_for`."""
    if not events.n_events and report.steps:
        raise _none_known(events.catalogue, report.steps[-1].detail)


def _none_known(catalogue: Catalogue, detail: str) -> UnknownItemError:
    there = len(catalogue) - len(catalogue.ids.gone)
    return UnknownItemError(
        f"events: none of the item ids is in the catalogue of {counted(there, 'item')} ({detail}). Check the ids; a "
        "recommender learns of new items by add_items"
    )


def _cleaned(items: pa.Table, cleaning: Cleaning) -> tuple[Catalogue, tuple[Step, ...]]:
    table, steps = clean_items(items, cleaning)
    return Catalogue(Ids(table.column("item_id").to_pylist()), table), steps


def _worth(dataset: Dataset, event_weights: Mapping[str, float], negative: Sequence[str]) -> EventWeights:
    """What events count, with the mean weight of the table as the unit; negative types that are not named count 0. Raises
    DataError for a type that is not there, for a factor that is no number from 0 on, and where nothing counts."""
    known = dataset.event_types
    if missing := sorted(set(event_weights) - set(known)):
        there = f"event_type holds {', '.join(map(repr, known))}" if known else "events have no column event_type"
        raise DataError(f"event_weights: {there}, got a weight for {missing[0]!r}; name a type that is there, or leave it out")
    for name, factor in event_weights.items():
        number: object = factor  # a table of settings may hold anything
        if not (isinstance(number, (int, float)) and 0 <= number < np.inf):
            raise DataError(f"event_weights[{name!r}]: expected a number from 0 on, got {factor!r}; the default is 1")
    factors = {**{name: 0.0 for name in known if name in negative}, **event_weights}
    types = tuple(float(factors.get(name, 1)) for name in known) if factors else ()
    weight = dataset.attributes.get("weight")
    given = weight[~np.isnan(weight)] if weight is not None else np.ones(1)
    worth = EventWeights(types, float(given.mean()) if given.any() else 1.0)
    counted = replace(dataset, event_weights=worth).sample_weight
    if counted is not None and not counted.any():
        named = ", or leave a type out of SignedFeedback.negative" if set(negative) & set(known) else ""
        raise DataError(f"events: every event has sample weight 0, expected some above 0; raise one{named}")
    return worth


def _features(dataset: Dataset) -> Step:
    """What the features of the events look like: mean and spread, and how many are unknown."""
    values = slot_attributes(dataset)
    scaler, unknown = fit_scaler(values), np.isnan(values).mean(0)
    told = [
        f"{name} {mean:.2f} ± {scale:.2f}" + (f" ({share:.0%} unknown)" if share else "")
        for name, mean, scale, share in zip(SLOT_FEATURES, scaler.mean, scaler.scale, unknown, strict=True)
        if share < 1
    ]
    return Step("features", "events", dataset.n_events, detail=", ".join(told))


def _with_ids(table: pa.Table) -> tuple[pa.Table, Step]:
    """Events with ids as the library holds them. Raises DataError for a table without rows."""
    if not len(table):
        raise DataError("events is empty, expected at least one row; check the path or the filter that made it")
    names = ("user_id", "item_id", *(name for name in ("basket_id", "event_type", "scene") if name in table.column_names))
    return clean.read_ids(table, names, "events")


def _clean_rows(
    table: pa.Table, first: Step, cleaning: Cleaning, negative: Sequence[str]
) -> tuple[pa.Table, tuple[Step, ...], tuple[str, ...]]:
    """The steps after `first`, that of `_with_ids`, that look at rows one by one (and at exact copies), and notes on times."""
    table, second = clean.drop_missing(table, KEYS, "events")
    if not len(table):
        raise DataError(f"events: no row has user_id, item_id and timestamp, expected all three ({second.detail} missing)")
    came = table.column("timestamp")
    table, third = clean.parse_times(table)
    time, user = table.column("timestamp").to_numpy(), table.column("user_id")
    notes = time_notes(came, time, user, "basket_id" in table.column_names)
    table, fourth = clean.read_numbers(table, NUMBERS, "events")
    steps = [first, second, third, fourth]
    if cleaning.drop_duplicates:
        table, step = clean.drop_duplicates(table)
        steps.append(step)
    table, step = clean.drop_cancelled(table, cleaning.drop_cancelled_purchases, tuple(negative))
    steps.append(step)
    if negative:
        table, step = clean.read_returns(table, tuple(negative))
        steps.append(step)
    table, step = clean.drop_impossible(table)
    steps.append(step)
    table, step = clean.read_dislikes(table)
    steps.append(step)
    if not len(table):
        raise DataError(f"events: no row is left after cleaning, expected at least one:\n{CleaningReport(tuple(steps))}")
    return table, tuple(steps), notes


def _located(table: pa.Table, catalogue: Catalogue, untyped_ids: bool) -> tuple[pa.Table, np.ndarray, Step]:
    """Events with a known item, and int64 (rows,) internal indices of those items."""
    code, ids = coded(table.column("item_id"))
    place, said = find_across(catalogue.ids, ids, untyped_ids)
    item = place[code]
    known = item >= 0
    table, step = clean.drop_unknown_items(table, known)
    if not known.all():
        alike = look_alike(catalogue.ids, [ids[i] for i in np.flatnonzero(place < 0)])
        return table, item[known], replace(step, detail="; ".join(filter(None, (step.detail, said, alike))))
    return table, item[known], replace(step, detail=said)


def _assemble(
    table: pa.Table,
    item: np.ndarray,
    catalogue: Catalogue,
    event_types: tuple[str, ...] | None,
    scenes: tuple[str, ...] | None,
    seed: int,
    context: Mapping[str, np.ndarray],
) -> Dataset:
    user, users = coded(table.column("user_id"))
    time = table.column("timestamp").to_numpy()
    attributes = {name: table.column(name).to_numpy().astype(np.float32) for name in NUMBERS if name in table.column_names}
    scene = None
    if "event_type" in table.column_names:
        code, event_types = _labels(table.column("event_type"), event_types)
        attributes["event_type"] = np.where(code < 0, np.nan, code).astype(np.float32)
    attributes |= context
    if "scene" in table.column_names:
        code, scenes = _labels(table.column("scene"), scenes)
        scene = code.astype(np.int32)

    distinct, place = np.unique(item, return_inverse=True)
    content = [_hashed(users)[user], _hashed(catalogue.ids.take(distinct).values)[place], time.view(np.uint64)]
    content += [values.view(np.uint32).astype(np.uint64) for values in attributes.values()]
    content += [scene.astype(np.uint64)] if scene is not None else []
    shuffle = np.full(len(item), seed % 2**64, np.uint64)
    for part in content:
        shuffle = mixed(shuffle ^ part)

    label = coded(table.column("basket_id"))[0] if "basket_id" in table.column_names else None
    order, basket = _canonical(user, time, shuffle, label)
    start = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(users)))]).astype(np.int64)
    return Dataset(
        users=Ids(users),
        catalogue=catalogue,
        start=start,
        item=item[order].astype(np.int32),
        time=time[order],
        basket=(basket - np.repeat(basket[start[:-1]], np.diff(start))).astype(np.int32),
        attributes={name: values[order] for name, values in attributes.items()},
        event_types=event_types or (),
        scene=None if scene is None else scene[order],
        scenes=scenes or (),
    )


def _canonical(
    user: np.ndarray, time: np.ndarray, shuffle: np.ndarray, label: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Order of the rows (user, first time of the basket, basket, time, shuffle) and the basket's rank in that order."""
    if label is None:
        return np.lexsort((shuffle, time, user)), np.arange(len(user))
    # A row without a basket id is a basket of its own.
    alone = label < 0
    width = int(label.max()) + 1 + int(alone.sum())
    label = np.where(alone, width - np.cumsum(alone), label)
    pair, basket = np.unique(user * width + label, return_inverse=True)
    first = np.full(len(pair), np.inf)
    np.minimum.at(first, basket, time)
    together = np.zeros(len(pair), np.uint64)
    np.add.at(together, basket, shuffle)  # a sum does not depend on the order of the rows
    rank = np.empty(len(pair), np.int64)
    rank[np.lexsort((mixed(together), first, pair // width))] = np.arange(len(pair))
    order = np.lexsort((shuffle, time, rank[basket]))
    return order, rank[basket][order]


def _labels(column: pa.ChunkedArray, known: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes into the names, -1 where null or not known; without known names, into those found, ascending."""
    code, values = coded(column)
    names = [str(value) for value in values]
    if known is None:
        return code, tuple(names)
    place = {name: index for index, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names] + [-1], np.int64)[code], known


def _hashed(labels: list) -> np.ndarray:
    """uint64 (len(labels),): a hash of each id that is the same in every process."""
    digests = b"".join(hashlib.blake2b(str(label).encode(), digest_size=8).digest() for label in labels)
    return np.frombuffer(digests, "<u8").astype(np.uint64)
