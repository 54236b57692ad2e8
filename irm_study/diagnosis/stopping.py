"""Stopping rules: whether a run ends before its last epoch, and what the rule looks at.

`STOPPING_RULES` are chosen by a configuration; each is asked at every checkpoint with the run's curves
so far. `given_up` is asked too unless the configuration says otherwise: it ends runs whose end is known.
To add a rule, write one function and name it in `STOPPING_RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.diagnosis.curves import Curves
from irm_study.diagnosis.history import collapses
from irm_study.diagnosis.zone import in_zone

PLATEAU_CHECKPOINTS = 5
PLATEAU_CHANGE = 0.002
"""Nats of mean training NLL: less than this over the last checkpoints is a plateau."""
COLLAPSED_CHECKPOINTS = 5
"""Checkpoints in a row, at the full penalty weight, after which a collapse to a constant is taken to be for good unless
its logits draw apart over them (reports/published/collapse has how many recovered)."""


def none(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """Train to the last epoch."""
    return False


def oracle_target(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """All training accuracies and the test accuracy are in the target zone (reiinakano's rule).

    It looks at the test environment: an oracle.
    """
    return bool(in_zone(curves, environments, "test")[-1])


def validation_target(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """The same, the accuracy under the reversed colour extrapolated from a fourth, held-out environment."""
    return bool(in_zone(curves, environments, "validation")[-1])


def train_plateau(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> bool:
    """The penalty weight is full and the mean training NLL has stopped moving; looks at training alone."""
    recent = curves.nll[-PLATEAU_CHECKPOINTS:, curves.train].mean(1)
    since = curves.epoch[-PLATEAU_CHECKPOINTS:][0]
    return (
        len(recent) == PLATEAU_CHECKPOINTS
        and since >= config.full_weight_epoch
        and float(np.ptp(recent)) < PLATEAU_CHANGE
    )


@dataclass(frozen=True)
class StoppingRule:
    """applies: (curves so far, environments, configuration) → whether the run ends here.
    sees: the environments that it looks at beside the training ones. asks_zone: whether it asks for the target zone, so
    that a run's training depends on the target."""

    applies: Callable[[Curves, EnvironmentSpec, RunConfig], bool]
    sees: Literal["test", "validation"] | None = None
    asks_zone: bool = False


STOPPING_RULES: dict[str, StoppingRule] = {
    "none": StoppingRule(none),
    "oracle_target": StoppingRule(oracle_target, sees="test", asks_zone=True),
    "validation_target": StoppingRule(validation_target, sees="validation", asks_zone=True),
    "train_plateau": StoppingRule(train_plateau),
}


def reason_to_stop(curves: Curves, environments: EnvironmentSpec, config: RunConfig) -> str:
    """Why a run ends at its latest checkpoint; "" when it goes on."""
    if config.give_up and (why := given_up(curves, config)):
        return why
    return config.stop if STOPPING_RULES[config.stop].applies(curves, environments, config) else ""


def given_up(curves: Curves, config: RunConfig) -> str:
    """`diverged` or `collapsed` for runs that nothing more will come of, else ""."""
    if not np.isfinite(curves.nll[-1]).all():
        return "diverged"
    return "collapsed" if _stays_collapsed(curves, config, constant=True)[-1] else ""


def first_collapse(curves: Curves, config: RunConfig, constant: bool) -> int | None:
    """The checkpoint at which the first collapse began that lasted COLLAPSED_CHECKPOINTS at the full weight.

    constant: only where the logits themselves are constant and do not draw apart again, for which a run is given up;
    otherwise also where one class is predicted all the same. None without such a collapse.
    """
    lasting = np.flatnonzero(_stays_collapsed(curves, config, constant))
    if not len(lasting):
        return None
    others = np.flatnonzero(~collapses(curves)[1 if constant else 0][: lasting[0]])
    return int(others[-1]) + 1 if len(others) else 0


def _stays_collapsed(curves: Curves, config: RunConfig, constant: bool) -> np.ndarray:
    """At which checkpoints it and those before it, COLLAPSED_CHECKPOINTS in all, are collapsed, at the full penalty
    weight; (checkpoints,), bool. constant: as in `first_collapse`."""
    found = collapses(curves)[1 if constant else 0]
    ends = np.arange(COLLAPSED_CHECKPOINTS - 1, len(found))
    begins = ends - (COLLAPSED_CHECKPOINTS - 1)
    since = np.cumsum(~found)
    lasting = np.zeros(len(found), bool)
    lasting[ends] = found[begins] & (since[ends] == since[begins]) & (curves.epoch[begins] >= config.full_weight_epoch)
    if constant:
        spread = curves.spread[:, curves.train].max(1)
        lasting[ends] &= spread[ends] <= spread[begins]
    return lasting
