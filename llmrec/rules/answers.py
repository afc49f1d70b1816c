"""What all answers under rules have in common: the last check of their rows, and warnings of what rules leave out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.errors import IgnoredInputWarning
from llmrec.index.filters import isin_sorted
from llmrec.rules.applied import CatalogueRules

FOR_USERS = (
    "it is hidden or not in items_to_recommend, or it is blocked for them or in their history (filter_viewed), or at_most has "
    "no room for it"
)
FOR_ITEMS = "it is hidden, or it is the item that is asked about, or at_most has no room for it"


def both(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """bool (N,): the items in both masks, of which None is all items."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def row_of(barred: sparse.csr_array | None, row: int) -> np.ndarray:
    """int64: the items in one row of bool (A, N); none where `barred` is None."""
    if barred is None:
        return np.zeros(0, np.int64)
    return barred.indices[barred.indptr[row] : barred.indptr[row + 1]].astype(np.int64)


def passing(
    asker: np.ndarray, item: np.ndarray, rank: np.ndarray, allowed: np.ndarray | None, barred: sparse.csr_array | None
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of an answer that no filter and no block leaves out, and their ranks, both int64; sorted by asker and rank where
    any row is left out. Every path keeps to the rules on its own; this holds for all of them, also for those written later.

    asker, item, rank: int (rows,). allowed: bool (N,); None for all. barred: csr bool (A, N), what single askers must not get.
    """
    keep = np.ones(len(item), bool) if allowed is None else allowed[item]
    if barred is not None:
        n = barred.shape[1]
        pairs = np.repeat(np.arange(barred.shape[0]), np.diff(barred.indptr)) * n + barred.indices
        keep = keep & ~isin_sorted(asker.astype(np.int64) * n + item, np.sort(pairs))
    if keep.all():
        return np.arange(len(item)), rank
    kept = np.flatnonzero(keep)
    kept = kept[np.lexsort((rank[kept], asker[kept]))]
    first = np.searchsorted(asker[kept], asker[kept])
    return kept, np.arange(len(kept)) - first + 1


def shortage(asker: np.ndarray, asked: Ids, k: int, rules: CatalogueRules | None) -> str:
    """Which rules leave too few items for the first user who gets fewer than k; "" where no rule leaves out any.

    asker: int (rows,), the row in `asked` of the user of each row of an answer.
    """
    short = np.flatnonzero(np.bincount(asker, minlength=len(asked)) < k)
    if rules is None or not len(short):
        return ""
    return rules.shortage(rules.barred(asked.take(short[:1])) is not None)


def pins_shown(asker: np.ndarray, item: np.ndarray, rules: CatalogueRules | None) -> np.ndarray:
    """int64 (pins,): in how many askers' answers each pinned item is. Counts of batches of askers add up."""
    pins = () if rules is None else rules.pins
    return np.array([len(np.unique(asker[item == one])) for _, one in pins], np.int64)


def warn_of_rules(
    catalogue: Catalogue,
    rules: CatalogueRules | None,
    k: int,
    asked: Ids,
    shown: np.ndarray,
    stacklevel: int = 3,
    one: str = "user",
    why: str = FOR_USERS,
    more: Sequence[str] = (),
) -> None:
    """IgnoredInputWarning where parts of the rules changed nothing, for all askers or for some: pinned items above all.

    shown: as `pins_shown` counts. stacklevel: 3 is the line that called the caller. one: what each of `asked` is called. why:
    what may keep a pinned item out of its answer. more: what else of the rules changed nothing.
    """
    if rules is None:
        return
    lines, count = [*more, *rules.notes], len(asked)
    for (place, item), times in zip(rules.pins, shown.tolist(), strict=True):
        if place <= k and times < count:
            who = f"{count - times:,} of {count:,} {one}s" if count > 1 else f"{one} {asked[0]!r}"
            lines.append(f"pin {place}: {catalogue.ids[item]!r} is not shown to {who}: {why}")
    if lines:
        warnings.warn(f"rules: {'; '.join(lines)}", IgnoredInputWarning, stacklevel=stacklevel)
