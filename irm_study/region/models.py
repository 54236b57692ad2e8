"""The model of the probability that a run succeeds, and how well it foresees configurations that it has not seen.

It is a Gaussian-process classifier of scikit-learn. Away from what was tried it goes back to a half, instead of going
on promising success. Logistic regressions on squares or splines, a random forest, and a process with longer lengths
were tried on studies made up and real: they foresaw less, or promised more than runs in such places kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from irm_study.statistics import compare_paired

Predict = Callable[[np.ndarray], np.ndarray]
"""Features, (points, columns) → probabilities of success, (points,)."""

LENGTHS, LARGEST = (0.1, 1.0), 25.0
"""Bounds of the process: how far in each column (a range is 1 wide) one run tells of another, and the variance of the
log odds."""
MOST_RUNS = 400
"""That it is fitted to: its time grows with the cube. Of more, so many at random."""
FOLDS = 10
SURE = 0.01, 0.99
"""What a prediction may be at the most when it is scored: a surprise then costs 4.6 nats, not infinitely many."""


@dataclass(frozen=True)
class Validated:
    """The model's cross-validated score: the mean over configurations, none of which it was fitted to, of the log loss
    of a run in nats; and that of the mean success rate of the others. p_value: of no difference."""

    loss: float
    base_loss: float
    p_value: float


def fit(columns: np.ndarray, success: np.ndarray) -> Predict:
    """The model fitted to runs. columns: (runs, columns); success: (runs,), both of True and False."""
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    count = columns.shape[1]
    if len(success) > MOST_RUNS:
        some = _some_of_both(success)
        columns, success = columns[some], success[some]
    kernel = ConstantKernel(4.0, (0.1, LARGEST)) * RBF([0.5] * count, [LENGTHS] * count)
    model: Any = GaussianProcessClassifier(kernel, random_state=0)
    with warnings.catch_warnings():  # of a length at its bound, which is meant
        warnings.simplefilter("ignore")
        model.fit(columns, success)

    def predict(points: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = model.predict_proba(points)[:, 1]
        return probabilities

    return predict


def validated(columns: np.ndarray, success: np.ndarray, configuration: np.ndarray) -> Validated:
    """The model's score. configuration: (runs,), of each run the number of its configuration: the runs of one are never
    on both sides, because they share what is predicted. The p-value is that of sign flips over configurations."""
    fold = _folds(success, configuration)

    def loss_of(predict: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        return _by_configuration(_losses(fold[configuration], success, predict), configuration)

    share = _by_configuration(success.astype(float), configuration)
    base = loss_of(lambda known, held: np.full(held.sum(), share[np.unique(configuration[known])].mean()))
    own = loss_of(lambda known, held: fit(columns[known], success[known])(columns[held]))
    compared = compare_paired(base, own, np.random.default_rng(0))
    return Validated(float(own.mean()), float(base.mean()), compared.p_value if compared.difference > 0 else 1.0)


def _some_of_both(success: np.ndarray) -> np.ndarray:
    """MOST_RUNS runs at random, one at least that succeeded and one that failed."""
    order = np.random.default_rng(0).permutation(len(success))
    first = [order[success[order] == ended][0] for ended in (True, False)]
    rest = order[~np.isin(order, first)]
    return np.array([*first, *rest[: MOST_RUNS - 2]])


def _folds(success: np.ndarray, configuration: np.ndarray) -> np.ndarray:
    """The fold of each configuration: they are dealt in the order of their success rates, so that every fold has some
    that work where there are as many."""
    share = _by_configuration(success.astype(float), configuration)
    shuffled = np.random.default_rng(0).permutation(len(share))
    order = shuffled[np.argsort(share[shuffled], kind="stable")]
    fold = np.empty(len(share), dtype=int)
    fold[order] = np.arange(len(share)) % FOLDS
    return fold


def _losses(
    fold: np.ndarray, success: np.ndarray, predict: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Log loss of each run in nats, predicted from the other folds. predict(known, held): of masks of runs."""
    losses = np.empty(len(success))
    for each in np.unique(fold):
        held = fold == each
        known = ~held
        alike = success[known].all() or not success[known].any()  # nothing to fit
        predicted = np.full(held.sum(), float(success[known].mean())) if alike else predict(known, held)
        predicted = np.clip(predicted, *SURE)
        losses[held] = -np.log(np.where(success[held], predicted, 1 - predicted))
    return losses


def _by_configuration(values: np.ndarray, configuration: np.ndarray) -> np.ndarray:
    return np.bincount(configuration, values) / np.bincount(configuration)
