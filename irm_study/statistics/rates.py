"""Rates: what share of runs succeeds, or is above a threshold, and between which bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from irm_study.statistics.checks import Estimate, Interval, check_confidence, check_count, finite, sample


class Profile(NamedTuple):
    """Arrays of one shape, a number for each threshold."""

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def success_rate(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Share of `n` runs that succeeded, with Wilson's score interval.

    It stays within 0 and 1 and keeps a width at 0 of n and n of n, where the normal interval has none.
    No runs: the rate is NaN, and everything from 0 to 1 is possible. Source: Wilson 1927.
    """
    check_count(successes, n, "successes", "n")
    check_confidence(confidence)
    if n == 0:
        return Estimate(np.nan, Interval(0.0, 1.0))
    return _wilson(successes / n, n, confidence)


def mean_rate(rates: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of some configurations' rates, with Wilson's score interval for so many configurations.

    rates: (configurations,), fractions, each of however many runs. Runs of one configuration tend to end alike, so the
    configuration is the unit: where they all do, this is Wilson's interval of as many coins. Otherwise it is wider than
    it need be: rates between 0 and 1 with mean m vary by m (1 - m) at most, which is the variance that it takes. Unlike
    a bootstrap it keeps a width where all rates are equal.
    """
    rates = sample(rates, "rates")
    check_confidence(confidence)
    if rates.min() < 0 or rates.max() > 1:
        raise ValueError(f"rates must be in [0, 1]; got {rates.min()} to {rates.max()}")
    return _wilson(float(rates.mean()), len(rates), confidence)


def _wilson(rate: float, n: int, confidence: float) -> Estimate:
    z = special.ndtri(0.5 + 0.5 * confidence)
    centre = (2 * n * rate + z**2) / (2 * (n + z**2))
    half = z / (2 * (n + z**2)) * np.sqrt(4 * n * rate * (1 - rate) + z**2)
    low, high = 0.0 if rate == 0 else centre - half, 1.0 if rate == 1 else centre + half
    return Estimate(float(rate), Interval(float(low), float(high)))


def anytime_success_rate(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Share of `n` runs that succeeded, with an interval that holds for every n at once.

    Runs may be added until one likes the interval: the chance that it ever leaves out the true rate, at whatever n one
    looks, is at most 1 - confidence. It holds the rates p under which the runs, in their order, are not less likely by
    1 / (1 - confidence) than under a rate that may be any from 0 to 1 (a mixture with a uniform weight, so that their
    ratio is a martingale with mean 1: Ville's inequality). Of the best of k configurations it is asked for with
    confidence 1 - 0.05 / k. It is wider than Wilson's: 36 of 50 runs are needed to exclude one half, not 32.
    No runs: the rate is NaN, and everything from 0 to 1 is possible. Sources: Robbins 1970, "Statistical methods
    related to the law of the iterated logarithm"; Howard et al. 2021, "Time-uniform confidence sequences".
    """
    check_count(successes, n, "successes", "n")
    check_confidence(confidence)
    if n == 0:
        return Estimate(np.nan, Interval(0.0, 1.0))
    rate = successes / n
    mixture = special.betaln(successes + 1, n - successes + 1)

    def excluded(p: float) -> bool:
        likelihood = special.xlogy(successes, p) + special.xlog1py(n - successes, -p)
        return bool(mixture - likelihood >= -np.log(1 - confidence))

    low = 0.0 if successes == 0 else _edge(excluded, 0.0, rate)
    return Estimate(rate, Interval(low, 1.0 if successes == n else _edge(excluded, 1.0, rate)))


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where the interval around `inside` ends towards `outside`, by bisection."""
    for _ in range(50):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if excluded(middle) else (outside, middle)
    return outside


def share_above_minimum(n: int, confidence: float = 0.95) -> float:
    """The share of all runs that, with this confidence, exceeds the lowest of `n` of them.

    Whatever the distribution: that all of n runs are among the best share q of all has the chance q^n, and only then
    does less than q exceed their lowest. 78% for 12 runs, 94% for 50; one-sided. Source: Wilks 1941.
    """
    check_count(n, n, "n", "n")
    check_confidence(confidence)
    return float((1 - confidence) ** (1 / n)) if n else 0.0


def performance_profile(values: ArrayLike, thresholds: ArrayLike, confidence: float = 0.95) -> Profile:
    """Share of runs whose value is above each threshold, with Wilson's interval at each.

    values: (runs,); thresholds: (thresholds,). Returns three arrays (thresholds,). The band holds at
    one threshold at a time, not for the whole curve at once. Source: Agarwal et al. 2021 (rliable).
    """
    ordered = np.sort(sample(values, "values"))
    above = len(ordered) - np.searchsorted(ordered, finite(thresholds, "thresholds", empty=True), side="right")
    counts, which = np.unique(above, return_inverse=True)
    rates = [success_rate(count, len(ordered), confidence) for count in counts]
    table = np.array([(rate, *interval) for rate, interval in rates], float).reshape(-1, 3)
    share, low, high = table[which.reshape(above.shape)].T
    return Profile(share, low, high)
