"""The signature of a window: one vector of what is bought, how similar the items are, how often, at what price and when.

Axis convention: `W` windows of `n` events, `E` events, `N` items, `K` axes of text, `F` features of a signature. Everything is
counted over the window's own events and what came before them; nothing looks at what follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.features import SLOT_FEATURES
from llmrec.drift.windows import Windows

DAY = 86_400.0
AXES = 32  # principal axes of text whose mean and variance count
CORRELATED = 6  # of these, the first whose correlations do: more are noise in a window of 100 events
SPREAD = ("log_days_since_basket", "log_times_before", "log_quantity", "log_price", "rating")  # mean and deviation of these
_CHUNK = 1 << 22  # numbers held at once


@dataclass(frozen=True)
class Space:
    """What a signature is measured by, learned on known events.

    axes: float32 (N, K), item text on the principal axes of the known events, of unit variance over these.
    price: float32 (N,), the mean of log(1 + price) that was paid for the item, NaN where unknown.
    popularity: float32 (N,), log share of the known events, smoothed.
    """

    axes: np.ndarray
    price: np.ndarray
    popularity: np.ndarray


def fit_space(dataset: Dataset, text: np.ndarray, known: np.ndarray, axes: int = AXES) -> Space:
    """The space of known events.

    text: float32 (N, d), frozen and centred vectors of the catalogue. known: which events, int indices or bool (E,).
    """
    item = dataset.item[known]
    count = np.bincount(item, minlength=dataset.n_items).astype(np.float64)
    share = count / max(count.sum(), 1)
    centred = text - share @ text
    spread, turn = np.linalg.eigh((centred * share[:, None]).T @ centred)
    spread, turn = spread[::-1][:axes], turn[:, ::-1][:, :axes]
    scaled = centred @ turn / np.sqrt(np.maximum(spread, 1e-6 * max(spread[0], 1e-12)))  # an axis of no width stays near 0
    smoothed = (count + 0.5) / (count.sum() + 0.5 * len(count))
    price = dataset.attributes.get("price")
    paid = np.full(len(item), np.nan) if price is None else np.log1p(np.maximum(price[known].astype(np.float64), 0))
    there = ~np.isnan(paid)
    priced = np.bincount(item[there], minlength=dataset.n_items)
    total = np.bincount(item[there], paid[there], minlength=dataset.n_items)
    usual = np.where(priced > 0, total / np.maximum(priced, 1), np.nan)
    return Space(scaled.astype(np.float32), usual.astype(np.float32), np.log(smoothed).astype(np.float32))


def names(axes: int = AXES) -> tuple[str, ...]:
    """What each of the F features is."""
    few = min(CORRELATED, axes)
    pairs = [f"text {i} with {j}" for i in range(few) for j in range(i + 1, few)]
    spread = [f"{kind} of {name}" for name in SPREAD for kind in ("mean", "deviation")]
    return (
        *(f"mean of text {i}" for i in range(axes)),
        *(f"log variance of text {i}" for i in range(axes)),
        *pairs,
        *spread,
        "share of first baskets",
        "share of repeats",
        "usual price",
        "price paid beside the usual",
        "mean of popularity",
        "deviation of popularity",
        *(f"{wave} of {period}" for period in ("day", "week") for wave in ("sine", "cosine")),
        "log baskets",
        "log distinct items",
    )


def signatures(space: Space, dataset: Dataset, events: np.ndarray, windows: Windows) -> np.ndarray:
    """float64 (W, F), named by `names`; a feature of which a window knows nothing is 0.

    events: `data.features.slot_attributes(dataset)`, float32 (E, ...), which a caller with many windows computes once.
    """
    width = len(names(space.axes.shape[1]))
    result = np.zeros((len(windows), width))
    step = max(1, _CHUNK // max(windows.rows.shape[1] * space.axes.shape[1], 1))
    for first in range(0, len(windows), step):
        result[first : first + step] = _some(space, dataset, events, windows.rows[first : first + step])
    return result


def _some(space: Space, dataset: Dataset, events: np.ndarray, rows: np.ndarray) -> np.ndarray:
    item = dataset.item[rows]
    axes = space.axes[item].astype(np.float64)  # (W, n, K)
    covariance = shrunk_covariance(axes[:, :, :CORRELATED])
    deviation = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 1e-12))
    above, right = np.triu_indices(covariance.shape[-1], 1)
    correlation = covariance[:, above, right] / (deviation[:, above] * deviation[:, right])
    parts = [axes.mean(1), np.log(np.maximum(axes.var(1), 1e-4)), correlation]
    for name in SPREAD:
        parts += _moments(_feature(events, name, rows))
    gap, paid = _feature(events, "log_days_since_basket", rows), _feature(events, "log_price", rows)
    usual, popularity = space.price[item], space.popularity[item].astype(np.float64)
    parts += [np.isnan(gap).mean(1), _moments(_feature(events, "repeat", rows))[0]]
    parts += [_moments(usual)[0], _moments(paid - usual)[0], popularity.mean(1), popularity.std(1)]
    for period in (DAY, 7 * DAY):
        angle = 2 * np.pi * (dataset.time[rows] % period) / period
        parts += [np.sin(angle).mean(1), np.cos(angle).mean(1)]
    basket = dataset.user[rows].astype(np.int64) * (int(dataset.basket.max()) + 1) + dataset.basket[rows]
    parts += [_log_distinct(basket), _log_distinct(item)]
    return np.concatenate([part if part.ndim == 2 else part[:, None] for part in parts], axis=1)


def _feature(events: np.ndarray, name: str, rows: np.ndarray) -> np.ndarray:
    return events[:, SLOT_FEATURES.index(name)][rows].astype(np.float64)


def _moments(values: np.ndarray) -> list[np.ndarray]:
    """Mean and deviation (W,) over what is known of (W, n); 0 where nothing is."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(1), 1)
    values = np.where(known, values, 0)
    mean = values.sum(1) / count
    return [mean, np.sqrt((np.where(known, values - mean[:, None], 0) ** 2).sum(1) / count)]


def _log_distinct(codes: np.ndarray) -> np.ndarray:
    return np.log1p((np.diff(np.sort(codes, axis=1)) != 0).sum(1))


def shrunk_covariance(values: np.ndarray) -> np.ndarray:
    """Covariance (..., F, F) of samples (..., n, F), shrunk towards its mean variance times the identity by as much as its own
    noise asks for: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004)."""
    n, width = values.shape[-2:]
    centred = values - values.mean(-2, keepdims=True)
    sample = np.swapaxes(centred, -1, -2) @ centred / n
    target = np.trace(sample, axis1=-2, axis2=-1)[..., None, None] / width * np.eye(width)
    distance = ((sample - target) ** 2).sum((-1, -2))
    noise = (((centred**2).sum(-1) ** 2).mean(-1) - (sample**2).sum((-1, -2))) / n
    share = np.clip(noise / np.maximum(distance, 1e-300), 0, 1)[..., None, None]
    return share * target + (1 - share) * sample
