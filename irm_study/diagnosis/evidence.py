"""Evidence sources: where a run's accuracy under the reversed colour is read from.

A predictor's accuracy is linear in the flip of the environment that it meets, so what is measured at one flip tells
what would be measured at another. One source is the test environment, which a choice should not look at; the others
make do without it, but for `unseen`, a second test environment, of digits by which nothing is chosen. To add one, write
a function and name it in `EVIDENCE_SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irm_study.config import NEEDED_KEYS, EnvironmentSpec
from irm_study.diagnosis.curves import Curves


def reversed_flip(environments: EnvironmentSpec) -> float:
    """The flip at which colour counts as reversed: the test environment's, or where that reverses less (or nothing),
    the mirror of the training ones' mean."""
    known, test = environments.mean_flip, environments.test_flip
    mirrored = 1 - known
    return test if (test - mirrored) * (mirrored - known) >= 0 else mirrored


def from_test(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """Accuracy in the test environment, extrapolated to `reversed_flip` where it reverses less."""
    return _extrapolated(curves, environments, "test", environments.test_flip)


def from_unseen(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """As `from_test`, on the digits' own test set."""
    return _extrapolated(curves, environments, "unseen", environments.test_flip)


def from_validation(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """Accuracy at `reversed_flip`, extrapolated from the training environments' and a fourth one's."""
    return _extrapolated(curves, environments, "validation", environments.validation_flip)


def from_recoloured(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """Accuracy on training images whose colours were swapped: an environment with the flips 1 - p. It presumes that one
    knows which feature is the spurious one."""
    return curves.swapped_accuracy


def from_heldout(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """Accuracy at `reversed_flip` on the line through those of the parts held out of the training environments, by
    least squares over their flips. It presumes that one knows the flips, and not which feature is the spurious one."""
    accuracy = np.stack([curves.accuracy_in(name) for name in environments.heldout_names], axis=1)
    flips = np.asarray(environments.train_flips) - environments.mean_flip
    slope: np.ndarray = accuracy @ flips / (flips @ flips)
    line = accuracy.mean(1) + slope * (reversed_flip(environments) - environments.mean_flip)
    return np.asarray(np.clip(line, 0, 1))


def available_sources(environments: EnvironmentSpec) -> list[str]:
    """The evidence sources that some environments have."""
    needed = {name: NEEDED_KEYS.get(name) for name in EVIDENCE_SOURCES}
    return [name for name, key in needed.items() if key is None or getattr(environments, key) is not None]


EVIDENCE_SOURCES: dict[str, Callable[[Curves, EnvironmentSpec], np.ndarray]] = {
    "test": from_test,
    "validation": from_validation,
    "heldout": from_heldout,
    "recoloured": from_recoloured,
    "unseen": from_unseen,
}
"""(curves, environments) → accuracy under the reversed colour at every checkpoint, (checkpoints,); NaN where it was not
measured."""


def _extrapolated(curves: Curves, environments: EnvironmentSpec, name: str, flip: float | None) -> np.ndarray:
    there, known, wanted = curves.accuracy_in(name), environments.mean_flip, reversed_flip(environments)
    if flip is None or flip == wanted:
        return there
    train: np.ndarray = curves.accuracy[:, curves.train].mean(1)
    extrapolated: np.ndarray = train + (there - train) * (wanted - known) / (flip - known)
    return extrapolated
