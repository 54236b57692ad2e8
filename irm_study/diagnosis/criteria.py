"""Criteria: how one run is scored, and what they look at; aggregates: a trial's objective value from its runs' scores.

A criterion that looks at the test environment is an oracle, and says so in its name and on every page.
To add one, write a function and name it in `CRITERIA`, likewise in `AGGREGATES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from irm_study.config import NEEDED_KEYS, EnvironmentSpec
from irm_study.diagnosis.curves import Curves
from irm_study.diagnosis.history import has_diverged, knows_nothing
from irm_study.diagnosis.zone import in_zone, zone_margin
from irm_study.statistics import iqm


def score(criterion: str, curves: Curves, environments: EnvironmentSpec) -> float:
    """The run's score at its last checkpoint, higher is better.

    A run that diverged, or knows nothing in training, counts as accuracy 0 in every environment: a constant, which
    guesses right half of the time, must not score above an honest run.
    """
    function = CRITERIA[criterion].function
    if has_diverged(curves) or knows_nothing(curves)[-1]:
        nothing = {name: np.zeros_like(getattr(curves, name)) for name in ("accuracy", "swapped_accuracy")}
        curves = replace(curves, **nothing)
    return float(function(curves, environments))


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
    """function: (curves, environments) → the run's score. sees: the environment that it looks at beside the training
    ones; one that looks at the test environment is an oracle. tie_break: the name of a finer criterion that looks at no
    more than this one, by which configurations of equal value are ordered. wants_zone: whether its order is that of the
    distance to the target zone, so that what it prefers is what counts as success. knows_the_feature: whether it
    presumes that one knows which feature is the spurious one."""

    function: Callable[[Curves, EnvironmentSpec], float]
    sees: Literal["test", "validation", "heldout"] | None = None
    tie_break: str | None = None
    wants_zone: bool = False
    knows_the_feature: bool = False

    @property
    def is_oracle(self) -> bool:
        return self.sees == "test"


def _margin(source: str, meaning: str) -> Callable[[Curves, EnvironmentSpec], float]:
    """`zone_margin` at the last checkpoint, as an evidence source shows it. meaning: what it then says of itself."""

    def margin(curves: Curves, environments: EnvironmentSpec) -> float:
        return float(zone_margin(curves, environments, source)[-1])

    margin.__doc__ = meaning
    return margin


CRITERIA: dict[str, Criterion] = {
    "zone_margin": Criterion(
        _margin("test", "How far inside the target zone: the smaller of the distances to its edges, below 0 outside."),
        sees="test",
        wants_zone=True,
    ),
    "zone_margin_validation": Criterion(
        _margin("validation", "As `zone_margin`, by the validation environment in place of the test environment."),
        sees="validation",
        wants_zone=True,
    ),
    "zone_margin_heldout": Criterion(
        _margin("heldout", "As `zone_margin`, by what is held out of the training environments, extrapolated."),
        sees="heldout",
        wants_zone=True,
    ),
    "zone_margin_recoloured": Criterion(
        _margin("recoloured", "As `zone_margin`, by recoloured training images."),
        wants_zone=True,
        knows_the_feature=True,
    ),
    "oracle_min": Criterion(oracle_min, sees="test"),
    "oracle_success": Criterion(oracle_success, sees="test", tie_break="zone_margin", wants_zone=True),
    "validation_min": Criterion(validation_min, sees="validation"),
    "train_only": Criterion(train_only, knows_the_feature=True),
}


def criteria_for(environments: EnvironmentSpec) -> list[str]:
    """The criteria that these environments allow."""
    needed = {name: NEEDED_KEYS.get(criterion.sees) for name, criterion in CRITERIA.items()}
    return [name for name, key in needed.items() if key is None or getattr(environments, key) is not None]


@dataclass(frozen=True)
class Aggregate:
    """function: (scores of a trial's seeds) → its objective value. meaning: in words, for the documentation.
    of_low_end: whether it is higher of fewer seeds for that alone."""

    function: Callable[[np.ndarray], float]
    meaning: str
    of_low_end: bool = False

    def __call__(self, scores: np.ndarray) -> float:
        return float(self.function(scores))


AGGREGATES: dict[str, Aggregate] = {
    "mean": Aggregate(np.mean, "The mean."),
    "median": Aggregate(np.median, "The median."),
    "iqm": Aggregate(lambda scores: float(iqm(scores)), "The mean of the middle half."),
    "worst_seed": Aggregate(np.min, "The lowest score.", of_low_end=True),
    "lower_quartile": Aggregate(lambda scores: np.quantile(scores, 0.25), "The quantile at 25%.", of_low_end=True),
    "lower_decile": Aggregate(lambda scores: np.quantile(scores, 0.1), "The quantile at 10%.", of_low_end=True),
}


def evidence_used(criterion: str) -> str:
    """What a choice by the criterion looked at, in words."""
    if CRITERIA[criterion].is_oracle:
        return "oracle: the choice looked at the test environment"
    if CRITERIA[criterion].sees == "validation":
        return "a fourth environment, held out from training; the test environment was not looked at"
    if CRITERIA[criterion].sees == "heldout":
        return "a part held out of the training environments, extrapolated over their flips"
    return "the training environments alone, recoloured: it is presumed to be known which feature is spurious"


def _train(curves: Curves) -> float:
    return float(curves.accuracy[-1, curves.train].min())
