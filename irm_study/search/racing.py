"""Racing: whether a trial is so far behind the best that the rest of its seeds need not be trained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.pruners import WilcoxonPruner
from optuna.trial import TrialState, create_trial


def loses(scores: Sequence[float], best: Sequence[float], below: float) -> bool:
    """Whether Wilcoxon's test finds a trial's scores, on its first seeds, below the best trial's on the same seeds.

    best: on all seeds. below: the p-value that it must be below. The test is that of Optuna's WilcoxonPruner.
    """
    race = optuna.create_study(direction="maximize")
    race.add_trial(
        create_trial(value=0.0, intermediate_values=dict(enumerate(best)))
    )  # the only one: any value is best
    running = create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(scores)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = WilcoxonPruner(p_threshold=below)
    return pruner.prune(race, running)
