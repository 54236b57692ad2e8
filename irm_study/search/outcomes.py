"""What a search has come to: its trials, and which hyperparameters matter."""

from __future__ import annotations

import warnings

import optuna
from optuna.trial import create_trial

from irm_study.results import ListedTrial
from irm_study.search.search import Search
from irm_study.search.trials import STATES


def listed_trials(search: Search) -> list[ListedTrial]:
    """Every trial as the storage has it, for `results.trials_table`."""
    return [
        ListedTrial(
            trial.user_attrs["trial"],
            trial.user_attrs["digest"],
            "pruned" if trial.number in search.known.pruned else STATES[trial.state],
        )
        for trial in search.known.all()
    ]


def hyperparameter_importance(search: Search) -> dict[str, float]:
    """Share of the objective's variation by hyperparameter (Optuna's PED-ANOVA); empty where it cannot be computed."""
    if len(set(search.known.values.values())) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shares = optuna.importance.get_param_importances(_conditional(search))
        except (ValueError, RuntimeError):
            return {}
    return {key: float(share) for key, share in shares.items()}


def _conditional(search: Search) -> optuna.Study:
    """The finished trials, each with those hyperparameters that act beside its other values."""
    study = optuna.create_study(direction="maximize")
    for trial in search.known.finished():
        acting, _ = search.known.split(trial.params)
        space = {key: trial.distributions[key] for key in acting}
        study.add_trial(create_trial(value=trial.value, params=acting, distributions=space))
    return study
