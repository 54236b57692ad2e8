"""Intervals and estimates, and what arrays and counts must be before a number is made of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

SIGNIFICANT = 0.05
"""The p-value, corrected for the number of tests, below which a difference is claimed."""


class Interval(NamedTuple):
    low: float
    high: float


class Estimate(NamedTuple):
    value: float
    interval: Interval


def finite(values: ArrayLike, name: str, empty: bool = False) -> np.ndarray:
    array = np.asarray(values, float)
    if not array.size and not empty:
        raise ValueError(f"{name} must hold at least one number; got shape {array.shape}")
    if not np.isfinite(array).all():
        wrong = array[~np.isfinite(array)]
        raise ValueError(f"{name} must be finite; got {wrong.size} of {array.size} that are not, first {wrong[0]}")
    return array


def sample(values: ArrayLike, name: str) -> np.ndarray:
    array = finite(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one row of numbers; got shape {array.shape}")
    return array


def check_count(successes: int, n: int, successes_name: str, n_name: str) -> None:
    if not (0 <= successes <= n < np.inf and successes == int(successes) and n == int(n)):
        raise ValueError(
            f"{successes_name} and {n_name} must be whole numbers, 0 <= {successes_name} <= {n_name}; "
            f"got {successes} and {n}"
        )


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1); got {confidence}")
