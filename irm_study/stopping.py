"""Stopping rules: whether a run ends before its last epoch, and with whose eyes.

`STOPPING_RULES` are chosen by a configuration; each is asked at every checkpoint with the run's curves
so far. `given_up` is asked too unless the configuration says otherwise: it ends runs whose end is known.
To add a rule, write one function and name it in `STOPPING_RULES`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.curves import Curves
from irm_study.failures import collapses, landmarks

PLATEAU_CHECKPOINTS = 5
PLATEAU_CHANGE = 0.002
"""Nats of mean training NLL: less than this over the last checkpoints is a plateau."""
COLLAPSED_CHECKPOINTS = 5
"""Checkpoints in a row, at the full penalty weight, after which a collapse to a constant is taken to be for good:
of 90 such runs none recovered, while of 41 that merely predicted one class 13 did (reports/published/collapse)."""


def none(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """Train to the last epoch."""
    return False


def oracle_target(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """All training accuracies and the test accuracy are in the target zone (reiinakano's rule).

    It looks at the test environment: an oracle.
    """
    return _in_zone(curves, environments, "test")


def validation_target(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """The same with a fourth, held-out environment in place of the test environment."""
    return _in_zone(curves, environments, "validation")


def train_plateau(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """The penalty weight is full and the mean training NLL has stopped moving; looks at training alone."""
    recent = curves.nll[-PLATEAU_CHECKPOINTS:, curves.train].mean(1)
    since = curves.epoch[-PLATEAU_CHECKPOINTS:][0]
    return (
        len(recent) == PLATEAU_CHECKPOINTS
        and since >= full_weight_epoch(config)
        and float(np.ptp(recent)) < PLATEAU_CHANGE
    )


STOPPING_RULES: dict[str, Callable[[Curves, EnvironmentSpec, RunConfig], bool]] = {
    "none": none,
    "oracle_target": oracle_target,
    "validation_target": validation_target,
    "train_plateau": train_plateau,
}


def reason_to_stop(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> str:
    """Why a run ends at its latest checkpoint; "" when it goes on."""
    if config.give_up and (why := given_up(curves, config)):
        return why
    return config.stop if STOPPING_RULES[config.stop](curves, environments, config) else ""


def given_up(curves: Curves, config: RunConfig) -> str:
    """`diverged` or `collapsed` for runs that nothing more will come of, else ""."""
    if not np.isfinite(curves.nll[-1]).all():
        return "diverged"
    return "collapsed" if _stays_collapsed(collapses(curves)[1], curves, config) else ""


def first_collapse(curves: Curves, config: RunConfig, constant: bool) -> int | None:
    """The checkpoint at which the first collapse began that lasted COLLAPSED_CHECKPOINTS at the full weight.

    constant: only where the logits themselves are constant, for which a run is given up; otherwise also
    where they differ and one class is predicted all the same. None without such a collapse.
    """
    found = collapses(curves)[1 if constant else 0]
    for count in range(COLLAPSED_CHECKPOINTS, len(found) + 1):
        if _stays_collapsed(found[:count], curves, config):
            first = count - COLLAPSED_CHECKPOINTS
            while first > 0 and found[first - 1]:
                first -= 1
            return first
    return None


def _stays_collapsed(found: np.ndarray, curves: Curves, config: RunConfig) -> bool:
    """Whether the last checkpoints of `found` (checkpoints so far,) are all collapsed, at the full penalty weight."""
    begin = len(found) - COLLAPSED_CHECKPOINTS
    return begin >= 0 and bool(found[begin:].all()) and int(curves.epoch[begin]) >= full_weight_epoch(config)


def full_weight_epoch(config: RunConfig) -> int:
    """The epoch from which on the penalty weight is full."""
    return config.anneal_epoch + (0 if config.ramp == "step" else config.ramp_epochs - 1)


def _in_zone(curves: Curves, environments: EnvironmentSpec, name: str) -> bool:
    zones = landmarks(environments)
    train, other = curves.accuracy[-1, curves.train], curves.accuracy[-1, curves.of(name)]
    return bool((train > zones.target_train).all() and other > zones.target_test)
