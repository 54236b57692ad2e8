"""Whether configurations differ: two by two on seeds of their own or shared ones, and corrected for many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from irm_study.statistics.checks import Interval, check_count, finite, sample
from irm_study.statistics.means import bootstrap_interval
from irm_study.statistics.rates import success_rate

BOSCHLOO_CELLS = 100_000
"""Outcomes (n1 times n2) up to which Boschloo's test is computed: about a second."""


class Comparison(NamedTuple):
    difference: float
    """First minus second."""
    interval: Interval
    p_value: float
    """Two-sided, of no difference."""


def compare_success(k1: int, n1: int, k2: int, n2: int, confidence: float = 0.95) -> Comparison:
    """Success rate of the first, k1 of n1 runs, minus that of the second, k2 of n2; seeds not shared.

    The p-value is Boschloo's exact one: like Fisher's it never rejects too often, and it finds more.
    Its cost grows with the square of n1 * n2, so above BOSCHLOO_CELLS Fisher's is given, which is
    then nearly the same. The interval is Newcombe's hybrid score one, made of the two Wilson intervals;
    near the edge the two may disagree. A side without runs gives a NaN difference, the interval
    (-1, 1) and p = 1. Sources: Boschloo 1970; Newcombe 1998, method 10.
    """
    check_count(k1, n1, "k1", "n1")
    check_count(k2, n2, "k2", "n2")
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
    first, second = sample(first, "first"), sample(second, "second")
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


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values of a family of tests, adjusted so that one false finding in the family stays as rare as said.

    p_values: (tests,). Returns (tests,) in the same order. Source: Holm 1979.
    """
    p_values = finite(p_values, "p_values", empty=True)
    if p_values.ndim != 1 or ((p_values < 0) | (p_values > 1)).any():
        raise ValueError(f"p_values must be one row of numbers in [0, 1]; got {p_values}")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    capped: np.ndarray = np.minimum(adjusted, 1.0)
    return capped


def best_of_several(scores: ArrayLike, chosen: int, rng: np.random.Generator, resamples: int = 4999) -> float:
    """p-value of: the best of some configurations is no better than the chosen one.

    scores: (configurations, seeds), on shared seeds; chosen: which row. The statistic is the best mean minus the chosen
    one's, which is above 0 by chance alone; where all are alike the configurations of each seed could be exchanged, so
    it is held against exchanging them at random, seed by seed. That corrects for the number compared. Source: the
    randomisation of a block design (Fisher 1935).
    """
    scores = finite(scores, "scores")
    if scores.ndim != 2 or not 0 <= chosen < len(scores):
        raise ValueError(f"scores must be (configurations, seeds), chosen a row; got {scores.shape} and {chosen}")
    observed = scores.mean(axis=1).max() - scores.mean(axis=1)[chosen]
    means = rng.permuted(np.broadcast_to(scores, (resamples, *scores.shape)), axis=1).mean(axis=2)
    regrets = means.max(axis=1) - means[:, chosen]
    return float((1 + (regrets >= observed - 1e-12).sum()) / (resamples + 1))
