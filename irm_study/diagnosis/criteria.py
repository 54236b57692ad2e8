"""Criteria: how one run is scored, and what they look at; aggregates: a trial's objective value from its runs' scores.

A criterion that looks at the test environment is an oracle, and says so in its name and on every page.
To add one, write a function and name it in `CRITERIA`, likewise in `AGGREGATES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from irm_study.config import EnvironmentSpec
from irm_study.diagnosis.curves import Curves
from irm_study.diagnosis.modes import has_diverged
from irm_study.diagnosis.zone import in_zone
from irm_study.statistics import iqm

WORST = 0.0
"""The score of a run that diverged: a finding, not a failure of the trial."""


def score(criterion: str, curves: Curves, environments: EnvironmentSpec) -> float:
    """The run's score at its last checkpoint, in [0, 1], higher is better."""
    if has_diverged(curves):
        return WORST
    return float(CRITERIA[criterion].function(curves, environments))


def oracle_min(curves: Curves, environments: EnvironmentSpec) -> float:
    """The lowest of the training accuracies and the test accuracy (Arjovsky et al. 2019)."""
    return min(_train(curves), float(curves.accuracy_in("test")[-1]))


def oracle_success(curves: Curves, environments: EnvironmentSpec) -> float:
    """1 in the target zone, else 0: averaged over seeds, the success rate."""
    return float(in_zone(curves, environments)[-1])


def validation_min(curves: Curves, environments: EnvironmentSpec) -> float:
    """The lowest of the training accuracies and that of a fourth environment, held out (reiinakano)."""
    return min(_train(curves), float(curves.accuracy_in("validation")[-1]))


def train_only(curves: Curves, environments: EnvironmentSpec) -> float:
    """The lowest of the training accuracies and that on training images whose colour was swapped.

    No other environment is looked at: swapping the colours of an environment with flip p makes one with flip
    1 - p, of the same digits. What it needs to know is which feature is the spurious one.
    """
    return min(_train(curves), float(curves.swapped_accuracy[-1]))


@dataclass(frozen=True)
class Criterion:
    """function: (curves, environments) → the run's score, in [0, 1]. sees: the environment that it looks at beside
    the training ones; one that looks at the test environment is an oracle. tie_break: the name of a finer criterion
    that looks at no more than this one, by which configurations of equal value are ordered."""

    function: Callable[[Curves, EnvironmentSpec], float]
    sees: Literal["test", "validation"] | None = None
    tie_break: str | None = None

    @property
    def is_oracle(self) -> bool:
        return self.sees == "test"


CRITERIA: dict[str, Criterion] = {
    "oracle_min": Criterion(oracle_min, sees="test"),
    "oracle_success": Criterion(oracle_success, sees="test", tie_break="oracle_min"),
    "validation_min": Criterion(validation_min, sees="validation"),
    "train_only": Criterion(train_only),
}


def criteria_for(environments: EnvironmentSpec) -> list[str]:
    """The criteria that these environments allow."""
    return [
        name
        for name, criterion in CRITERIA.items()
        if environments.validation_flip is not None or criterion.sees != "validation"
    ]


AGGREGATES: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda scores: float(np.mean(scores)),
    "median": lambda scores: float(np.median(scores)),
    "iqm": lambda scores: float(iqm(scores)),
    "worst_seed": lambda scores: float(np.min(scores)),
    "lower_quartile": lambda scores: float(np.quantile(scores, 0.25)),
    "lower_decile": lambda scores: float(np.quantile(scores, 0.1)),
}


def evidence_used(criterion: str) -> str:
    """What a choice by the criterion looked at, in words."""
    if CRITERIA[criterion].is_oracle:
        return "oracle: the choice looked at the test environment"
    if CRITERIA[criterion].sees == "validation":
        return "a fourth environment, held out from training; the test environment was not looked at"
    return "the training environments alone"


def _train(curves: Curves) -> float:
    return float(curves.accuracy[-1, curves.train].min())
