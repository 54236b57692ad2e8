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
from irm_study.results import confirmed_rate, counted, mode_counts

MEASURES = {"success": "success rate", "score": "score", "test_accuracy": "test accuracy"}
"""What pairs are compared in: success rates unpaired, the two others on the seeds that both sides have."""
PAIRED = ("score", "test_accuracy")


def outcomes(sides: Sequence[Side]) -> pd.DataFrame:
    """A row per side: name, stage, trial, chosen_of, n, successes, rate, low, high (`confirmed_rate`), and the means
    over its runs, each with its bootstrap interval (`_low`, `_high`): score, train_accuracy (lowest environment),
    test_accuracy. Intervals are of the best of so many as the side was chosen of.

    A run that diverged has no accuracy and counts as 0.
    """
    rows = []
    for side in sides:
        count, n = successes(side.runs), len(side.runs)
        rate, (low, high) = confirmed_rate(count, n, side.chosen_of)
        row: dict[str, Any] = {"name": side.name, "stage": side.stage, "trial": side.trial}
        row |= {"chosen_of": side.chosen_of, "n": n}
        row |= {"successes": count, "rate": float(rate), "low": low, "high": high}
        for key, column in (("score",) * 2, ("train_accuracy", "train_accuracy_min"), ("test_accuracy",) * 2):
            values = counted(side.runs[column])
            interval = statistics.bootstrap_interval(values, np.mean, np.random.default_rng(0), _confidence(side))
            row |= {key: float(values.mean()), f"{key}_low": interval.low, f"{key}_high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows)


def pairs(sides: Sequence[Side]) -> pd.DataFrame:
    """A row per pair of sides and measure: first, second, measure, n_first, n_second (of `success`: each side's runs;
    of the others: shared seeds), difference (first minus second), low, high, p_value, p_holm.

    Success rates by Boschloo's test, as if seeds were not shared; score and test accuracy by sign flips on the shared
    seeds, NaN without any. p_value: times the number of configurations that the better side is the best of, for that
    choice has flattered it. p_holm: Holm's correction over all pairs and measures.
    """
    rows = []
    for first, second in itertools.combinations(sides, 2):
        (k1, n1), (k2, n2) = ((successes(side.runs), len(side.runs)) for side in (first, second))
        confidence = max(_confidence(first), _confidence(second))
        compared = statistics.compare_success(k1, n1, k2, n2, confidence)
        rows.append(_pair(first, second, "success", (n1, n2), compared))
        shared = first.runs.merge(second.runs, on="seed", suffixes=("_first", "_second"))
        for measure in PAIRED:
            paired = None
            if len(shared):
                ours, theirs = (counted(shared[f"{measure}_{end}"]) for end in ("first", "second"))
                paired = statistics.compare_paired(ours, theirs, np.random.default_rng(0), confidence)
            rows.append(_pair(first, second, measure, (len(shared),) * 2, paired))
    columns = ["first", "second", "measure", "n_first", "n_second", "difference", "low", "high", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = math.nan
    tested = table["p_value"].notna()
    table.loc[tested, "p_holm"] = statistics.holm(table.loc[tested, "p_value"])
    return table


def _pair(
    first: Side, second: Side, measure: str, n: tuple[int, int], compared: statistics.Comparison | None
) -> tuple[Any, ...]:
    if compared is None:
        return first.name, second.name, measure, *n, *(math.nan,) * 4
    difference, (low, high), p_value = compared
    chosen_of = (first if difference > 0 else second).chosen_of
    return first.name, second.name, measure, *n, float(difference), low, high, min(1.0, p_value * chosen_of)


def _confidence(side: Side) -> float:
    """At which intervals of the best of so many are 95% for all of them."""
    return 1 - statistics.SIGNIFICANT / side.chosen_of


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
