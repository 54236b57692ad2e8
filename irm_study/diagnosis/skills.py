"""The two numbers that a run's accuracies come down to, and a third.

A predictor's accuracy is linear in the flip p of the environment that it meets: accuracy(p) = S + (0.5 - p) B. *Shape
skill* S is what it knows of the shape (0.5: nothing), *colour reliance* B how far it leans on colour (0: not at all;
1: it is the colour; below 0: against it). *Memorisation* M is what it knows of the examples that it was trained on
alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irm_study.config import EnvironmentSpec
from irm_study.diagnosis.curves import Curves
from irm_study.diagnosis.evidence import EVIDENCE_SOURCES, reversed_flip


@dataclass(frozen=True)
class Skill:
    """Arrays are (checkpoints,); fractions.

    shape: S. colour: B. memorised: M, training accuracy less that on held-out examples with the same flips; NaN where
    there are none. residual: the largest distance of an environment's accuracy from what S, B and M say of it: of each
    training environment, and of a validation one. It is 0 up to sampling where accuracy is linear in the flip.
    """

    shape: np.ndarray
    colour: np.ndarray
    memorised: np.ndarray
    residual: np.ndarray

    def accuracy(self, flip: float) -> np.ndarray:
        """At a flip, on examples that were not trained on: (checkpoints,)."""
        return self.shape + (0.5 - flip) * self.colour


def skill(curves: Curves, environments: EnvironmentSpec, source: str = "test") -> Skill:
    """S, B and M of a run as an evidence source shows it.

    With the test environment, both accuracies that fix the line are of its digits: under the training flips (`heldout`)
    and in `test`, so that memorised examples do not enter. Any other source has training accuracy in place of the
    first, and M is NaN.
    """
    train: np.ndarray = curves.accuracy[:, curves.train].mean(1)
    at, to = environments.mean_flip, reversed_flip(environments)
    known, reversed_accuracy = train, EVIDENCE_SOURCES[source](curves, environments)
    memorised = np.full(len(train), np.nan)
    if source == "test":
        known, reversed_accuracy, to = curves.accuracy_in("heldout"), curves.accuracy_in("test"), environments.test_flip
        memorised = train - known
    colour = (known - reversed_accuracy) / (to - at)
    shape = known + (at - 0.5) * colour
    line = Skill(shape, colour, memorised, np.zeros(len(train)))
    extra = np.where(np.isfinite(memorised), memorised, 0.0)
    apart = [
        np.abs(curves.accuracy[:, place] - line.accuracy(flip) - extra)
        for place, flip in zip(curves.train, environments.train_flips, strict=True)
    ]
    if source == "test" and environments.validation_flip is not None:
        apart.append(np.abs(curves.accuracy_in("validation") - line.accuracy(environments.validation_flip)))
    return Skill(shape, colour, memorised, np.max(apart, axis=0))
