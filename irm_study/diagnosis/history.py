"""A run as the rules see it: its numbers at every checkpoint, by one evidence source.

And what is told of training alone, and asked while a run trains: whether it has diverged or collapsed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from irm_study.config import EnvironmentSpec
from irm_study.diagnosis.curves import Curves
from irm_study.diagnosis.evidence import EVIDENCE_SOURCES
from irm_study.diagnosis.levels import ReferenceLevels, reference_levels
from irm_study.diagnosis.skills import Skill, skill
from irm_study.diagnosis.zone import zone_margin

DIVERGED_NLL = 10 * math.log(2)
"""Nats; a network that knows nothing has a tenth of it, so only steps far too large lead here."""
CONSTANT_SPREAD = 0.05
"""Of logits that are the same for all examples; runs seldom come back from it (reports/published/collapse)."""
CONSTANT_NLL = 0.01
"""A constant's NLL is log 2 = 0.6931 nats; this near to it nothing is known of the labels."""
COLLAPSED_NLL = 0.02
"""How near to a constant's NLL nothing is known of the labels where accuracies say so too."""
NEAR_CHANCE = 0.1
"""Of an accuracy that knows nothing, whatever the environments."""
COLLAPSED_SHARE = 0.95
"""Of one class among the predictions."""


@dataclass(frozen=True)
class History:
    """A run at all its checkpoints, as one evidence source shows it. Arrays are (checkpoints,).

    skill: S, B and M. train, train_min: mean and lowest accuracy over the training environments. nll: mean over them.
    penalty: mean squared gradient, the IRMv1 penalty, whichever was trained. spread: largest logit spread; one_class:
    the larger share of one prediction. reversed_accuracy: accuracy under the reversed colour. margin: how far inside
    the target zone. heldout: accuracy on the test environment's digits, coloured as in training; None for sources that
    may not look at them.
    """

    curves: Curves
    levels: ReferenceLevels
    skill: Skill
    train: np.ndarray
    train_min: np.ndarray
    nll: np.ndarray
    penalty: np.ndarray
    spread: np.ndarray
    one_class: np.ndarray
    reversed_accuracy: np.ndarray
    margin: np.ndarray
    heldout: np.ndarray | None

    @property
    def in_zone(self) -> np.ndarray:
        return self.margin >= 0


def history_of(curves: Curves, environments: EnvironmentSpec, source: str) -> History:
    """A run as one of EVIDENCE_SOURCES shows it."""
    train = curves.train
    accuracy = curves.accuracy[:, train]
    spread, one_class, nll = _sameness(curves)
    return History(
        curves=curves,
        levels=reference_levels(environments, sum(curves.examples[index] for index in train)),
        skill=skill(curves, environments, source),
        train=accuracy.mean(1),
        train_min=accuracy.min(1),
        nll=nll,
        penalty=np.square(curves.gradient[:, train]).mean(1),
        spread=spread,
        one_class=one_class,
        reversed_accuracy=EVIDENCE_SOURCES[source](curves, environments),
        margin=zone_margin(curves, environments, source),
        heldout=curves.accuracy_in("heldout") if source == "test" else None,
    )


def has_diverged(curves: Curves) -> bool:
    """Whether `diverged` applies at the last checkpoint."""
    train = curves.train
    finite = np.isfinite(curves.nll[:, train]).all() and np.isfinite(curves.spread[:, train]).all()
    return not finite or float(curves.nll[-1, train].mean()) > DIVERGED_NLL


def knows_nothing(curves: Curves) -> np.ndarray:
    """At which checkpoints a run knows nothing of the labels in training: (checkpoints,), bool.

    Accuracy is near chance, and the logits are constant, one class is predicted, or the NLL is a constant's.
    """
    _, one_class, nll = _sameness(curves)
    near = np.abs(curves.accuracy[:, curves.train].mean(1) - 0.5) < NEAR_CHANCE
    nothing = collapses(curves)[0] | (one_class > COLLAPSED_SHARE) | (np.abs(nll - math.log(2)) < COLLAPSED_NLL)
    return np.asarray(nothing & near)


def collapses(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """At which checkpoints nothing is known in training: one class is predicted or the logits are constant, and
    accuracy is near chance; and at which of them the logits are constant. (checkpoints,) each."""
    spread, one_class, nll = _sameness(curves)
    chance = np.abs(curves.accuracy[:, curves.train].mean(1) - 0.5) < NEAR_CHANCE
    constant = is_constant(spread, nll) & chance
    return constant | ((one_class > COLLAPSED_SHARE) & chance), constant


def is_constant(spread: np.ndarray, nll: np.ndarray) -> np.ndarray:
    """Where the logits are constant at the NLL (nats) of knowing nothing."""
    return (spread < CONSTANT_SPREAD) & (np.abs(nll - math.log(2)) < CONSTANT_NLL)


def _sameness(curves: Curves) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`spread`, `one_class` and `nll` of a `History`."""
    train = curves.train
    share = curves.positive_share[:, train].mean(1)
    return curves.spread[:, train].max(1), np.maximum(share, 1 - share), curves.nll[:, train].mean(1)
