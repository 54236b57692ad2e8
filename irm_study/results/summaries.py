"""Numbers about runs: success rates, means, intervals and counts of a configuration's runs, as dictionaries.

A number that comes from numbers alone is `statistics`'; which runs make a configuration is decided in `configurations`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from irm_study.diagnosis import FAILURE_MODES
from irm_study.statistics import Statistic, bootstrap_interval, iqm, share_above_minimum, success_rate


def over_seeds(runs: pd.DataFrame) -> dict[str, Any]:
    """One configuration's runs in numbers: the success rate with its 95% interval (Wilson), means and sample
    standard deviations of the accuracies, the score (`centres`), counts of the failure modes; and where runs were
    measured on the digits' own test set, `unseen`: the same rate and accuracy there. A run that diverged counts as
    accuracy 0."""
    successes = int((runs["failure_mode"] == "invariant").sum())
    rate, interval = success_rate(successes, len(runs))
    train, test = (pd.Series(counted(runs[f"{name}_accuracy"])) for name in ("train", "test"))
    return {
        "seeds": len(runs),
        "successes": successes,
        "success_rate": rate,
        "low": interval.low,
        "high": interval.high,
        "train_accuracy": float(train.mean()),
        "train_deviation": float(train.std()),
        "test_accuracy": float(test.mean()),
        "test_deviation": float(test.std()),
        "score": centres(runs["score"]),
        "failure_modes": mode_counts(runs),
        **({"unseen": unseen_over_seeds(runs)} if len(runs) and (runs["failure_mode_unseen"] != "").all() else {}),
    }


def unseen_over_seeds(runs: pd.DataFrame) -> dict[str, Any]:
    """How often some runs are in the target zone where the digits' own test set takes the place of the test
    environment: successes, success_rate, low, high (Wilson); accuracy and deviation there."""
    successes = int((runs["failure_mode_unseen"] == "invariant").sum())
    rate, interval = success_rate(successes, len(runs))
    accuracy = pd.Series(counted(runs["unseen_accuracy"]))
    return {
        "successes": successes,
        "success_rate": rate,
        **interval._asdict(),
        "accuracy": float(accuracy.mean()),
        "deviation": float(accuracy.std()),
    }


CENTRES: dict[str, Statistic] = {"mean": np.mean, "iqm": iqm}
"""What stands for the runs of a configuration, beside the success rate and the lowest of them."""


def centres(values: Iterable[float]) -> dict[str, dict[str, float]]:
    """Of some runs, each of CENTRES: value, low, high, as `centre_of`; and `minimum`: value, and exceeded_by, the share
    of all runs that exceeds it at the least, with 95% confidence."""
    finite = counted(values)
    each = {
        name: dict(zip(("value", "low", "high"), centre_of(finite, statistic), strict=True))
        for name, statistic in CENTRES.items()
    }
    lowest = float(finite.min()) if len(finite) else math.nan
    return each | {"minimum": {"value": lowest, "exceeded_by": share_above_minimum(len(finite))}}


def centre_of(values: Iterable[float], statistic: Statistic) -> tuple[float, float, float]:
    """A statistic of some runs and its 95% interval; NaN where there are no runs (the interval: fewer than eight)."""
    finite = counted(values)
    if len(finite) == 0:
        return math.nan, math.nan, math.nan
    # The same generator each time, so that the same runs have the same interval wherever they are shown.
    interval = bootstrap_interval(finite, statistic, np.random.default_rng(0))
    return float(statistic(finite, axis=-1)), *interval


def counted(values: Iterable[float]) -> np.ndarray:
    """Runs without a finite number count as 0: to leave them out would make an unstable configuration look good."""
    array = np.asarray(list(values), dtype=float)
    return np.where(np.isfinite(array), array, 0.0)


def trial_attributes(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One trial's runs as attributes that a person reads in any Optuna tool.

    Few, because each is a transaction of its own in Optuna's storage.
    """
    modes = Counter(run["failure_mode"] for run in runs)
    train, test = (counted(run[name] for run in runs).mean() for name in ("train_accuracy", "test_accuracy"))
    each = [
        f"{run['seed']}: {run['failure_mode']}, score {run['score']:.3f}, train {run['train_accuracy']:.3f}, "
        f"test {run['test_accuracy']:.3f}"
        for run in runs
    ]
    return {
        "failure_modes": ", ".join(f"{mode} {modes[mode]}" for mode in FAILURE_MODES if mode in modes),
        "seeds": [*each, f"mean: train {train:.3f}, test {test:.3f}"],
    }


def mode_counts(runs: pd.DataFrame) -> dict[str, int]:
    """Runs by failure mode, in the modes' order, without those that did not occur."""
    counts = runs["failure_mode"].value_counts()
    return {mode: int(counts[mode]) for mode in FAILURE_MODES if mode in counts}


def epochs_spent(runs: pd.DataFrame) -> dict[str, int]:
    """Epochs of all runs: trained; taken over from a trunk that several runs share; left out because the
    run was given up or stopped."""
    shared, reached = int(runs["shared_epochs"].sum()), int(runs["epochs_trained"].sum())
    return {"trained": reached - shared, "shared": shared, "stopped": int(runs["epochs"].sum()) - reached}
