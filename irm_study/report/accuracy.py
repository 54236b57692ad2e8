"""Accuracy over epochs of runs, as figures and the page take it: single curves, and the quantiles of many.

From rows of the table of runs; which runs are shown, and how they are drawn, stands beside each exhibit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

LINES = 16
"""Curves that are drawn one by one; with more runs, quantile bands carry the figure."""


def accuracy_curves(run: Mapping[str, Any]) -> dict[str, Any]:
    """Of a row of the table of runs: epoch, train (mean over training environments) and test, each (checkpoints,), NaN
    where a number is not finite; anneal_epoch.
    """
    names = [
        key
        for key, value in run.items()
        if key.startswith("curve_accuracy_train") and isinstance(value, list | tuple | np.ndarray)
    ]
    train = np.mean([np.asarray(run[name], dtype=float) for name in names], axis=0)
    test = np.asarray(run["curve_accuracy_test"], dtype=float)
    return {
        "epoch": np.asarray(run["curve_epoch"], dtype=float),
        "anneal_epoch": float(run["anneal_epoch"]),
        "train": np.where(np.isfinite(train), train, np.nan),
        "test": np.where(np.isfinite(test), test, np.nan),
    }


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many of `count` places, evenly taken, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def quantile_band(measured: Sequence[Mapping[str, Any]], environment: str, shared: bool) -> pd.DataFrame:
    """Quantiles .1, .5 and .9 of some runs' `accuracy_curves`: environment, epoch, since_anneal, low, median, high.

    shared: whether the runs have one anneal epoch; else `epoch` too counts from it.
    """
    shifts = [0.0 if shared else run["anneal_epoch"] for run in measured]
    axes = [run["epoch"] - shift for run, shift in zip(measured, shifts, strict=True)]
    grid = np.linspace(min(axis[0] for axis in axes), max(axis[-1] for axis in axes), 81)
    stacked = np.array(
        [
            np.interp(grid, axis, run[environment], left=np.nan, right=np.nan)
            for axis, run in zip(axes, measured, strict=True)
        ]
    )
    count = np.isfinite(stacked).sum(axis=0)
    # Runs that have just begun would pull the quantiles down: the band begins where nearly all have.
    begun = np.arange(len(grid)) >= np.argmax(count >= 0.9 * count.max())
    enough = begun & (count >= len(measured) / 2)
    low, median, high = (
        np.nanquantile(stacked[:, enough], [0.1, 0.5, 0.9], axis=0) if enough.any() else np.empty((3, 0))
    )
    anneal = measured[0]["anneal_epoch"] if shared else 0.0
    epoch = grid[enough]
    return pd.DataFrame(
        {"environment": environment, "epoch": epoch, "since_anneal": epoch - anneal if shared else epoch,
         "low": low, "median": median, "high": high}
    )  # fmt: skip
