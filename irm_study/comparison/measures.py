"""Sides in numbers: each by itself, and pair by pair with tests on seeds; the same as scripts read it.

What the numbers say in sentences, and how they are drawn, stands in the exhibits and in `verdict`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from irm_study import statistics
from irm_study.comparison.sides import Side
from irm_study.report import successes
from irm_study.results import counted, mode_counts

MEASURES = {"success": "success rate", "score": "score", "test_accuracy": "test accuracy"}
"""What pairs are compared in: success rates unpaired, the two others on the seeds that both sides have."""
PAIRED = ("score", "test_accuracy")
SIGNIFICANT = 0.05
"""p (Holm) below which a difference is claimed."""
FEWEST_SHARED = 6
"""Shared seeds below which sign flips cannot reach p = 0.05."""


def outcomes(sides: Sequence[Side]) -> pd.DataFrame:
    """A row per side: name, stage, trial, n, successes, rate, low, high (Wilson), and the means over its runs, each
    with its bootstrap interval (`_low`, `_high`): score, train_accuracy (lowest environment), test_accuracy.

    A run that diverged has no accuracy and counts as 0.
    """
    rows = []
    for side in sides:
        count, n = successes(side.runs), len(side.runs)
        rate, (low, high) = statistics.success_rate(count, n)
        row: dict[str, Any] = {"name": side.name, "stage": side.stage, "trial": side.trial, "n": n}
        row |= {"successes": count, "rate": float(rate), "low": low, "high": high}
        for key, column in (("score",) * 2, ("train_accuracy", "train_accuracy_min"), ("test_accuracy",) * 2):
            values = counted(side.runs[column])
            interval = statistics.bootstrap_interval(values, np.mean, np.random.default_rng(0))
            row |= {key: float(values.mean()), f"{key}_low": interval.low, f"{key}_high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows)


def pairs(sides: Sequence[Side]) -> pd.DataFrame:
    """A row per pair of sides and measure: first, second, measure, n_first, n_second (of `success`: each side's runs;
    of the others: shared seeds), difference (first minus second), low, high, p_value, p_holm.

    Success rates by Boschloo's test, as if seeds were not shared; score and test accuracy by sign flips on the shared
    seeds, NaN without any. p_holm: Holm's correction over the pairs, each measure a family of its own.
    """
    rows = []
    for first, second in itertools.combinations(sides, 2):
        (k1, n1), (k2, n2) = ((successes(side.runs), len(side.runs)) for side in (first, second))
        rows.append(_pair(first, second, "success", (n1, n2), statistics.compare_success(k1, n1, k2, n2)))
        shared = first.runs.merge(second.runs, on="seed", suffixes=("_first", "_second"))
        for measure in PAIRED:
            compared = None
            if len(shared):
                ours, theirs = (counted(shared[f"{measure}_{end}"]) for end in ("first", "second"))
                compared = statistics.compare_paired(ours, theirs, np.random.default_rng(0))
            rows.append(_pair(first, second, measure, (len(shared),) * 2, compared))
    columns = ["first", "second", "measure", "n_first", "n_second", "difference", "low", "high", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = math.nan
    for _, family in table[table["p_value"].notna()].groupby("measure"):
        table.loc[family.index, "p_holm"] = statistics.holm(family["p_value"])
    return table


def _pair(
    first: Side, second: Side, measure: str, n: tuple[int, int], compared: statistics.Comparison | None
) -> tuple[Any, ...]:
    numbers = (math.nan,) * 4 if compared is None else (compared.difference, *compared.interval, compared.p_value)
    return first.name, second.name, measure, *n, *map(float, numbers)


def summary(sides: Sequence[Side]) -> dict[str, Any]:
    """The comparison as scripts read it (comparison.json): criterion, sides, pairs."""
    compared = pairs(sides)
    return {
        "criterion": sides[0].criterion,
        "sides": [
            {"folder": str(side.folder), "digits": side.digits, **row}
            | {"parameters": side.run.model_dump(mode="json"), "failure_modes": mode_counts(side.runs)}
            for side, row in zip(sides, outcomes(sides).to_dict("records"), strict=True)
        ],
        "pairs": [
            {"first": first, "second": second}
            | {row.pop("measure"): row for row in group.drop(columns=["first", "second"]).to_dict("records")}
            for (first, second), group in compared.groupby(["first", "second"], sort=False)
        ],
    }


def signed(value: float) -> str:
    """A difference of fractions in points."""
    return f"{100 * value:+.1f}".replace("-", "−") if round(100 * value, 1) else "0"
