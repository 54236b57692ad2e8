"""Means that outliers do not rule, and the interval of any statistic of one sample of runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from irm_study.statistics.checks import Interval, check_confidence, finite, sample

FEWEST_VALUES = 8
"""Values below which there is no interval: no end lies beyond the lowest and the highest value, and in simulations a
95% interval of the mean of 6 normal values held the true one in 91.5% of 2,000 samples, of 8 in 93 to 95%."""

Statistic = Callable[..., Any]
"""Called as statistic(values, axis=-1): reduces the last axis. np.mean, np.median, iqm."""


def iqm(values: ArrayLike, axis: int = -1) -> float | np.ndarray:
    """Interquartile mean: the mean after a quarter of the values, rounded down, is cut off at each end.

    values: (..., runs). Returns (...). Less noisy than the median, and one ruined run does not move
    it. Source: Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice".
    """
    values = np.moveaxis(finite(values, "values"), axis, -1)
    count = values.shape[-1]
    cut = count // 4
    mean: float | np.ndarray = np.partition(values, (cut, count - cut - 1))[..., cut : count - cut].mean(axis=-1)[()]
    return mean


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Interval of a statistic of one sample of runs, by the expanded percentile bootstrap.

    values: (runs,). Percentiles of the resampled statistic, taken further out by the factor by which
    Student's t for n - 1 degrees of freedom is wider than the plain percentiles of so few values: of 8
    seeds a plain 95% interval covers less than 90%. BCa corrects for skewness and not for this, and
    its acceleration can be undefined where values tie. No end lies beyond the smallest or the largest value, so that
    fewer than FEWEST_VALUES give no interval, (NaN, NaN); equal values give that value twice. Not for a minimum, below
    which no resample goes: `share_above_minimum`. Source: Hesterberg 2015, "What teachers should know about the
    bootstrap" (the expanded percentile interval).
    """
    values = sample(values, "values")
    check_confidence(confidence)
    n = len(values)
    if n < FEWEST_VALUES:
        return Interval(np.nan, np.nan)
    if values.min() == values.max():
        same = float(statistic(values, axis=-1))
        return Interval(same, same)
    resampled = statistic(values[rng.integers(n, size=(resamples, n))], axis=-1)
    tail = special.ndtr(special.stdtrit(n - 1, (1 - confidence) / 2) * np.sqrt(n / (n - 1)))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(float(low), float(high))
