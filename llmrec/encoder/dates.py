"""Date features of an event: its position in the training period, the year, the week and the day."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

DAY = 86_400.0
YEAR = 365.2425 * DAY
WAVES = (0.5, 1.0, 2.0, 4.0, 8.0)  # over the training period: from one slow half wave to what tells a thirtieth of it apart
DATE_FEATURES = 2 * (len(WAVES) + 3)
KNOTS = 65


def moments(time: np.ndarray) -> Tensor:
    """Quantiles float64 (KNOTS,) of the training events' times (seconds): where the period is busy, it is told apart finely."""
    return torch.from_numpy(np.quantile(time, np.linspace(0, 1, KNOTS)) if len(time) else np.zeros(KNOTS))


def date_features(time: Tensor, knots: Tensor) -> Tensor:
    """float32 (..., DATE_FEATURES): sines and cosines of times float64 (...), in seconds.

    A time beyond the training period counts as its nearer end, since what came after it nobody has learned; the seasons of
    year, week and day go on.
    """
    right = torch.searchsorted(knots, time.contiguous(), right=True).clamp(1, len(knots) - 1)
    low, high = knots[right - 1], knots[right]
    within = ((time - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    place = (right - 1 + within) / (len(knots) - 1)
    turns = [place * wave for wave in WAVES] + [time / YEAR, time / (7 * DAY), time / DAY]
    angle = 2 * math.pi * torch.stack(turns, -1)
    return torch.cat([angle.sin(), angle.cos()], -1).float()
