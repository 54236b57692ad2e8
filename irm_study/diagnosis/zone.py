"""The target zone: whether a run is in it, and by how much.

Success rate, failure modes, criteria and stopping rules all ask here.
"""

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
    return zone_margin(curves, environments, source) >= 0


def zone_margin(curves: Curves, environments: EnvironmentSpec, source: str = "test") -> np.ndarray:
    """How far inside the target zone a run is at each checkpoint, or outside (below 0): (checkpoints,), a fraction.

    The smaller of two distances: of the lowest training accuracy, and of the accuracy under the reversed colour, to
    what the zone asks of each.
    """
    levels = reference_levels(environments)
    train: np.ndarray = curves.accuracy[:, curves.train].min(1)
    reversed_accuracy = EVIDENCE_SOURCES[source](curves, environments)
    return np.minimum(train - levels.target_train, reversed_accuracy - levels.target_test)
