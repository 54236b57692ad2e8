"""Where the variance between runs comes from: the draw of data, or the initialisation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from irm_study.statistics.checks import Interval, check_confidence, finite


class VarianceShares(NamedTuple):
    """Fractions that add up to 1."""

    data: float
    initialisation: float
    rest: float


def variance_shares(values: ArrayLike) -> VarianceShares:
    """How much of the variance between runs comes from the data draw, from the initialisation, from the rest.

    values: (data draws, initialisations): every data draw was trained from every initialisation. Balanced two-way
    random effects, by equating mean squares with their expectations; a negative component is 0. The rest is the
    interaction of the two. Without any variance all three are NaN. Source: Searle, Casella and McCulloch 1992, ch. 4.
    """
    values = _crossed(values)
    if _is_constant(values):
        return VarianceShares(np.nan, np.nan, np.nan)
    return VarianceShares(*map(float, _shares(_mean_squares(values), values.shape)))


def variance_share_intervals(
    values: ArrayLike, rng: np.random.Generator, confidence: float = 0.95, draws: int = 10_000
) -> tuple[Interval, Interval, Interval]:
    """An interval of each of `variance_shares`, in their order; NaN without any variance.

    Of normal effects each mean square is its expectation times a chi-squared variable over its degrees of freedom, so
    that dividing the observed ones by drawn ones gives expectations, and shares, that are as likely. In simulations
    with 3 to 10 draws they hold the true shares in 94 to 98% of studies (the rest in 90%, where it is all there is);
    few draws give wide ones, 4 times 4 about 70 points. Sources: Weerahandi 1993, "Generalized confidence intervals";
    Burdick, Borror and Montgomery 2005, chapter 3.
    """
    values = _crossed(values)
    check_confidence(confidence)
    if _is_constant(values):
        return (Interval(np.nan, np.nan),) * 3
    rows, columns = values.shape
    freedom = (rows - 1, columns - 1, (rows - 1) * (columns - 1))
    expected = [
        square * df / rng.chisquare(df, draws) for square, df in zip(_mean_squares(values), freedom, strict=True)
    ]
    ends = np.quantile(_shares(np.array(expected), values.shape), [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    data, initialisation, rest = (Interval(float(low), float(high)) for low, high in ends.T)
    return data, initialisation, rest


def _mean_squares(values: np.ndarray) -> np.ndarray:
    """Of rows, of columns, of their interaction: (3,)."""
    rows, columns = values.shape
    row_means, column_means = values.mean(axis=1), values.mean(axis=0)
    interaction = values - row_means[:, np.newaxis] - column_means + values.mean()
    return np.array(
        [
            columns * row_means.var(ddof=1),
            rows * column_means.var(ddof=1),
            (interaction**2).sum() / ((rows - 1) * (columns - 1)),
        ]
    )


def _shares(mean_squares: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """mean_squares: (3, …). Returns the shares (3, …) of the variance components that have them as expectations."""
    rows, columns = shape
    of_rows, of_columns, interaction = mean_squares
    parts = np.array(
        [
            np.maximum(0, of_rows - interaction) / columns,
            np.maximum(0, of_columns - interaction) / rows,
            interaction,
        ]
    )
    shares: np.ndarray = parts / parts.sum(axis=0)
    return shares


def _is_constant(values: np.ndarray) -> bool:
    """A table of equal numbers leaves rounding errors behind, whose shares would mean nothing."""
    return bool(values.var() <= (np.finfo(float).eps * np.abs(values).max()) ** 2 * values.size)


def _crossed(values: ArrayLike) -> np.ndarray:
    values = finite(values, "values")
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(
            f"values must be (data draws, initialisations), at least two of each; got shape {np.shape(values)}"
        )
    return values
