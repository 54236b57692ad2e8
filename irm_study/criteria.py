"""Criteria: how one run is scored, and with whose eyes; aggregates: a trial's score from its seeds'.

A criterion that looks at the test environment is an oracle, and says so in its name and on every page.
To add one, write a function and name it in `CRITERIA`, likewise in `AGGREGATES`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irm_study.config import EnvironmentSpec
from irm_study.curves import Curves
from irm_study.failures import EYES, has_diverged, landmarks
from irm_study.statistics import iqm

WORST = 0.0
"""The score of a run that diverged: a finding, not a failure of the trial."""


def score(criterion: str, curves: Curves, environments: EnvironmentSpec) -> float:
    """The run's score at its last checkpoint, in [0, 1], higher is better."""
    if has_diverged(curves):
        return WORST
    return float(CRITERIA[criterion](curves, environments))


def oracle_min(curves: Curves, environments: EnvironmentSpec) -> float:
    """The lowest of the training accuracies and the test accuracy (Arjovsky et al. 2019)."""
    return min(_train(curves), _accuracy(curves, "test"))


def oracle_success(curves: Curves, environments: EnvironmentSpec) -> float:
    """1 in the target zone, else 0: averaged over seeds, the success rate."""
    zones = landmarks(environments)
    elsewhere = float(EYES["test"](curves, environments)[-1])
    return float(_train(curves) >= zones.target_train and elsewhere >= zones.target_test)


def validation_min(curves: Curves, environments: EnvironmentSpec) -> float:
    """The lowest of the training accuracies and that of a fourth environment, held out (reiinakano)."""
    return min(_train(curves), _accuracy(curves, "validation"))


def train_only(curves: Curves, environments: EnvironmentSpec) -> float:
    """The lowest of the training accuracies and that on training images whose colour was swapped.

    No other environment is looked at: swapping the colours of an environment with flip p makes one with flip
    1 - p, of the same digits. What it needs to know is which feature is the spurious one.
    """
    return min(_train(curves), float(curves.swapped_accuracy[-1]))


CRITERIA: dict[str, Callable[[Curves, EnvironmentSpec], float]] = {
    "oracle_min": oracle_min,
    "oracle_success": oracle_success,
    "validation_min": validation_min,
    "train_only": train_only,
}


def criteria_for(environments: EnvironmentSpec) -> list[str]:
    """The criteria that these environments allow."""
    return [name for name in CRITERIA if environments.validation_flip is not None or not name.startswith("validation")]


AGGREGATES: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda scores: float(np.mean(scores)),
    "median": lambda scores: float(np.median(scores)),
    "iqm": lambda scores: float(iqm(scores)),
    "worst_seed": lambda scores: float(np.min(scores)),
    "lower_quartile": lambda scores: float(np.quantile(scores, 0.25)),
    "lower_decile": lambda scores: float(np.quantile(scores, 0.1)),
}


def eyes(criterion: str) -> str:
    """Whose eyes choose: for the page."""
    if criterion.startswith("oracle"):
        return "oracle: the choice looked at the test environment"
    if criterion.startswith("validation"):
        return "a fourth environment, held out from training; the test environment was not looked at"
    return "the training environments alone"


def _train(curves: Curves) -> float:
    return float(curves.accuracy[-1, curves.train].min())


def _accuracy(curves: Curves, environment: str) -> float:
    return float(curves.accuracy[-1, curves.of(environment)])
