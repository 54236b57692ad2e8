"""The target zone: whether a run is in it. Success rate, failure modes, criteria and stopping rules all ask here."""

from __future__ import annotations

import numpy as np

from irm_study.config import EnvironmentSpec
from irm_study.diagnosis.curves import Curves
from irm_study.diagnosis.evidence import EVIDENCE_SOURCES
from irm_study.diagnosis.levels import reference_levels


def in_zone(curves: Curves, environments: EnvironmentSpec, source: str = "test") -> np.ndarray:
    """At which checkpoints a run is in the target zone: (checkpoints,), bool.

    Every training accuracy, and the accuracy under the reversed colour as one of EVIDENCE_SOURCES has it, must reach
    what the zone asks. A number that is not finite reaches nothing.
    """
    levels = reference_levels(environments)
    train: np.ndarray = curves.accuracy[:, curves.train].min(1)
    reversed_accuracy = EVIDENCE_SOURCES[source](curves, environments)
    return np.logical_and(train >= levels.target_train, reversed_accuracy >= levels.target_test)
