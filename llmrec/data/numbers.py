"""Arguments and settings that are numbers: each is checked where it comes in, by name."""

from __future__ import annotations

import math

import numpy as np

from llmrec.errors import DataError


def check_whole(name: str, value: object, least: int) -> None:
    """Raises DataError unless `value` is a whole number of at least `least`."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if value >= least:
            return
        raise DataError(f"{name} is {value}; expected at least {least}")
    raise DataError(f"{name} is {value!r}; expected a whole number, at least {least}")


def check_number(
    name: str, value: object, least: float, below: float = math.inf, most: float = math.inf, above: bool = False
) -> None:
    """Raises DataError unless `least <= value < below` and `value <= most`; `above` asks for more than `least`.

    NaN, infinity and values that are no numbers are refused as well.
    """
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        number = float(value)
        if (least < number if above else least <= number) and number < below and number <= most:
            return
    ends = f", below {below:g}" if below < math.inf else f", at most {most:g}" if most < math.inf else ""
    raise DataError(f"{name} is {value!r}; expected a number {'above' if above else 'from'} {least:g}{ends}")


def check_seed(seed: object) -> None:
    """Raises DataError for a seed that is no whole number from 0 on."""
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0:
        return
    raise DataError(f"seed is {seed!r}; expected a whole number from 0 on, which makes a run repeatable")
