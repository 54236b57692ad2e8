"""What hyperparameters have to do with an outcome of trials: how much of it goes with each, and whether that is shown.

Optuna's own importance (PED-ANOVA) looks at the best tenth of the trials, two of eighteen, and is no share of the
objective's variation; its fANOVA is one, without an interval, and leaves out hyperparameters that not all trials have.
Here a hyperparameter that does not apply to a trial puts it into a group of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from irm_study.config import Range, StudySpec
from irm_study.files import plain
from irm_study.statistics import FEWEST_TRIALS, Estimate, associations, explained_share, quantile_groups


class Along(NamedTuple):
    """An outcome of trials along one hyperparameter."""

    share: Estimate
    """Of the outcome's variance over the trials, what lies between values of the hyperparameter."""
    p_value: float
    """Of nothing to do with it, corrected for the number of hyperparameters."""


def importance(trials: pd.DataFrame, spec: StudySpec) -> dict[str, Along]:
    """How much of the objective value goes with each hyperparameter that varied, over the complete trials, each
    configuration once; empty of fewer than FEWEST_TRIALS.

    trials: as `StudyRecord.trials`.
    """
    if len(trials) < FEWEST_TRIALS:
        return {}
    known = np.isfinite(trials["value"].astype(float)) & (trials["state"] == "complete")
    complete = trials[known].drop_duplicates("digest")
    if len(complete) < FEWEST_TRIALS:
        return {}
    return along(complete, complete["value"].to_numpy(dtype=float), spec)


def along(trials: pd.DataFrame, outcome: np.ndarray, spec: StudySpec) -> dict[str, Along]:
    """An outcome along each searched hyperparameter of which the trials have more than one value.

    outcome: (trials,).
    """
    every = {key: trial_groups(trials[key], entry) for key, entry in spec.search.items() if key in trials}
    groups = {key: each for key, each in every.items() if len(set(each)) > 1}
    # The same generator each time, so that the same trials have the same p wherever they are shown.
    p_values = associations(list(groups.values()), outcome, np.random.default_rng(0))
    return {
        key: Along(explained_share(each, outcome), float(p_value))
        for (key, each), p_value in zip(groups.items(), p_values, strict=True)
    }


def trial_groups(values: pd.Series, entry: Range | tuple[object, ...]) -> np.ndarray:
    """The group of each trial along one hyperparameter: choices as they are, a range cut at quantiles; trials to which
    it does not apply are together. values: of the trials; entry: the study's. Returns (trials,) of whole numbers."""
    if isinstance(entry, Range):
        return quantile_groups(values.astype(float))
    choices = [plain(value) for value in values]
    return np.array([entry.index(value) if value in entry else -1 for value in choices], dtype=int)
