"""Numbers from numbers: rates, means that outliers don't rule, intervals, tests, shares of variance.

Every function takes arrays and gives numbers, never a table or a picture. Whatever is random draws
from a generator that the caller passes. Values must be finite: a run that diverged has its worst
finite score or is counted as a failure before it comes here, so a NaN is a mistake and raises
ValueError with the argument's name. NaN is returned in three places only, each said below: the rate
of no runs, an interval from one value, and shares of no variance. Intervals are two-sided, each end
leaving out half of `1 - confidence`. scipy.stats takes a second to import, so the tests that need it
import it themselves, and a study is read and summed up without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

Statistic = Callable[..., Any]
"""Called as statistic(values, axis=-1): reduces the last axis. np.mean, np.median, iqm, worst_decile."""

BOSCHLOO_CELLS = 100_000
"""Outcomes (n1 times n2) up to which Boschloo's test is computed: about a second."""


class Interval(NamedTuple):
    low: float
    high: float


class Estimate(NamedTuple):
    value: float
    interval: Interval


class Comparison(NamedTuple):
    difference: float
    """First minus second."""
    interval: Interval
    p_value: float
    """Two-sided, of no difference."""


class Profile(NamedTuple):
    """Arrays of one shape, a number for each threshold."""

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


class VarianceShares(NamedTuple):
    """Fractions that add up to 1."""

    data: float
    initialisation: float
    rest: float


# One configuration


def success_rate(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Share of `n` runs that succeeded, with Wilson's score interval.

    It stays within 0 and 1 and keeps a width at 0 of n and n of n, where the normal interval has none.
    No runs: the rate is NaN, and everything from 0 to 1 is possible. Source: Wilson 1927.
    """
    _check_count(successes, n, "successes", "n")
    _check_confidence(confidence)
    if n == 0:
        return Estimate(np.nan, Interval(0.0, 1.0))
    rate = successes / n
    z = special.ndtri(0.5 + 0.5 * confidence)
    centre = (2 * n * rate + z**2) / (2 * (n + z**2))
    half = z / (2 * (n + z**2)) * np.sqrt(4 * n * rate * (1 - rate) + z**2)
    low, high = 0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half
    return Estimate(float(rate), Interval(float(low), float(high)))


def iqm(values: ArrayLike, axis: int = -1) -> float | np.ndarray:
    """Interquartile mean: the mean after a quarter of the values, rounded down, is cut off at each end.

    values: (..., runs). Returns (...). Less noisy than the median, and one ruined run does not move
    it. Source: Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice".
    """
    values = np.moveaxis(_finite(values, "values"), axis, -1)
    count = values.shape[-1]
    cut = count // 4
    mean: float | np.ndarray = np.partition(values, (cut, count - cut - 1))[..., cut : count - cut].mean(axis=-1)[()]
    return mean


def worst_decile(values: ArrayLike, axis: int = -1) -> float | np.ndarray:
    """Mean of the lowest tenth of the values (rounded down, at least one): what bad luck gives.

    values: (..., runs). Returns (...). Below 20 values it is the minimum.
    """
    values = np.moveaxis(_finite(values, "values"), axis, -1)
    count = max(1, values.shape[-1] // 10)
    mean: float | np.ndarray = np.partition(values, count - 1)[..., :count].mean(axis=-1)[()]
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
    its acceleration can be undefined where values tie. Even so no end lies beyond the smallest or the largest
    value, so that 95% are not reached below 6 values; and where the statistic is itself a minimum
    (`worst_decile` of less than 20) the resamples cannot go below it: read its upper end only.
    One value gives (NaN, NaN); equal values give that value twice. Source: Hesterberg 2015, "What
    teachers should know about the bootstrap" (the expanded percentile interval).
    """
    values = _sample(values, "values")
    _check_confidence(confidence)
    n = len(values)
    if n == 1:
        return Interval(np.nan, np.nan)
    if values.min() == values.max():
        same = float(statistic(values, axis=-1))
        return Interval(same, same)
    resampled = statistic(values[rng.integers(n, size=(resamples, n))], axis=-1)
    tail = special.ndtr(special.stdtrit(n - 1, (1 - confidence) / 2) * np.sqrt(n / (n - 1)))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(float(low), float(high))


def performance_profile(values: ArrayLike, thresholds: ArrayLike, confidence: float = 0.95) -> Profile:
    """Share of runs whose value is above each threshold, with Wilson's interval at each.

    values: (runs,); thresholds: (thresholds,). Returns three arrays (thresholds,). The band holds at
    one threshold at a time, not for the whole curve at once. Source: Agarwal et al. 2021 (rliable).
    """
    ordered = np.sort(_sample(values, "values"))
    above = len(ordered) - np.searchsorted(ordered, _finite(thresholds, "thresholds", empty=True), side="right")
    counts, which = np.unique(above, return_inverse=True)
    rates = [success_rate(count, len(ordered), confidence) for count in counts]
    table = np.array([(rate, *interval) for rate, interval in rates], float).reshape(-1, 3)
    share, low, high = table[which.reshape(above.shape)].T
    return Profile(share, low, high)


# Two configurations


def compare_success(k1: int, n1: int, k2: int, n2: int, confidence: float = 0.95) -> Comparison:
    """Success rate of the first, k1 of n1 runs, minus that of the second, k2 of n2; seeds not shared.

    The p-value is Boschloo's exact one: like Fisher's it never rejects too often, and it finds more.
    Its cost grows with the square of n1 * n2, so above BOSCHLOO_CELLS Fisher's is given, which is
    then nearly the same. The interval is Newcombe's hybrid score one, made of the two Wilson intervals;
    near the edge the two may disagree. A side without runs gives a NaN difference, the interval
    (-1, 1) and p = 1. Sources: Boschloo 1970; Newcombe 1998, method 10.
    """
    _check_count(k1, n1, "k1", "n1")
    _check_count(k2, n2, "k2", "n2")
    rate1, (low1, high1) = success_rate(k1, n1, confidence)
    rate2, (low2, high2) = success_rate(k2, n2, confidence)
    if n1 == 0 or n2 == 0:
        return Comparison(np.nan, Interval(-1.0, 1.0), 1.0)
    difference = rate1 - rate2
    interval = Interval(
        float(difference - np.hypot(rate1 - low1, high2 - rate2)),
        float(difference + np.hypot(high1 - rate1, rate2 - low2)),
    )
    from scipy import stats

    table = [[k1, k2], [n1 - k1, n2 - k2]]
    test = stats.boschloo_exact if n1 * n2 <= BOSCHLOO_CELLS else stats.fisher_exact
    return Comparison(difference, interval, float(test(table).pvalue))


def compare_paired(
    first: ArrayLike,
    second: ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 9999,
) -> Comparison:
    """Mean of `first` - `second`, run by run on shared seeds: sign-flip permutation test, bootstrap interval.

    first, second: (seeds,), in the same order of seeds. All sign patterns are tried where there are
    no more than `resamples` of them (up to 13 seeds), else that many at random, the one observed
    counted among them. With n seeds the p-value is 2 / 2^n at the least: 6 seeds are the fewest
    that can reach 0.05. Source: Fisher 1935.
    """
    first, second = _sample(first, "first"), _sample(second, "second")
    if len(first) != len(second):
        raise ValueError(f"first and second must be of the same seeds; got {len(first)} and {len(second)} values")
    differences = first - second
    interval = bootstrap_interval(differences, np.mean, rng, confidence)
    if len(differences) == 1:  # either sign is as likely; scipy refuses a single value
        return Comparison(float(differences[0]), interval, 1.0)
    from scipy import stats

    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=resamples, vectorized=True, rng=rng
    )
    return Comparison(float(differences.mean()), interval, float(test.pvalue))


# Many configurations


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values of a family of tests, adjusted so that one false finding in the family stays as rare as said.

    p_values: (tests,). Returns (tests,) in the same order. Source: Holm 1979.
    """
    p_values = _finite(p_values, "p_values", empty=True)
    if p_values.ndim != 1 or ((p_values < 0) | (p_values > 1)).any():
        raise ValueError(f"p_values must be one row of numbers in [0, 1]; got {p_values}")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    capped: np.ndarray = np.minimum(adjusted, 1.0)
    return capped


def variance_shares(values: ArrayLike) -> VarianceShares:
    """How much of the variance between runs comes from the data draw, from the initialisation, from the rest.

    values: (data draws, initialisations) or (data draws, initialisations, replicates): every data
    draw was trained from every initialisation. Balanced two-way random effects, by equating mean
    squares with their expectations; a negative component is 0. The rest is the interaction of the
    two and, with replicates, what differs between them. Without any variance all three are NaN.
    Few draws give rough shares. Source: Searle, Casella and McCulloch 1992, chapter 4.
    """
    values = _finite(values, "values")
    values = values[..., np.newaxis] if values.ndim == 2 else values
    if values.ndim != 3 or min(values.shape[:2]) < 2 or values.shape[2] < 1:
        raise ValueError(
            "values must be (data draws, initialisations) or (data draws, initialisations, replicates) with at "
            f"least two of the first and the second; got shape {np.shape(values)}"
        )
    rows, columns, replicates = values.shape
    cells = values.mean(axis=2)
    row_means, column_means = cells.mean(axis=1), cells.mean(axis=0)
    interaction = cells - row_means[:, np.newaxis] - column_means + cells.mean()
    crossed = replicates * (interaction**2).sum() / ((rows - 1) * (columns - 1))
    within = values.var(axis=2, ddof=1).mean() if replicates > 1 else 0.0
    data = max(0.0, replicates * columns * row_means.var(ddof=1) - crossed) / (replicates * columns)
    initialisation = max(0.0, replicates * rows * column_means.var(ddof=1) - crossed) / (replicates * rows)
    rest = max(0.0, crossed - within) / replicates + within
    total = data + initialisation + rest
    # A table of equal numbers leaves rounding errors behind, whose shares would mean nothing.
    if total <= (np.finfo(float).eps * np.abs(values).max()) ** 2 * values.size:
        return VarianceShares(np.nan, np.nan, np.nan)
    return VarianceShares(float(data / total), float(initialisation / total), float(rest / total))


# Checks


def _finite(values: ArrayLike, name: str, empty: bool = False) -> np.ndarray:
    array = np.asarray(values, float)
    if not array.size and not empty:
        raise ValueError(f"{name} must hold at least one number; got shape {array.shape}")
    if not np.isfinite(array).all():
        wrong = array[~np.isfinite(array)]
        raise ValueError(f"{name} must be finite; got {wrong.size} of {array.size} that are not, first {wrong[0]}")
    return array


def _sample(values: ArrayLike, name: str) -> np.ndarray:
    array = _finite(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one row of numbers; got shape {array.shape}")
    return array


def _check_count(successes: int, n: int, successes_name: str, n_name: str) -> None:
    if not (0 <= successes <= n < np.inf and successes == int(successes) and n == int(n)):
        raise ValueError(
            f"{successes_name} and {n_name} must be whole numbers, 0 <= {successes_name} <= {n_name}; "
            f"got {successes} and {n}"
        )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1); got {confidence}")
