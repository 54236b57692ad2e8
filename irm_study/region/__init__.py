"""Where in a search space runs succeed: a model of the probability, a box in which it is high, and its proof."""

from irm_study.region.box import along, part, proof_points, proof_runs, proven
from irm_study.region.found import find_region, fitted

__all__ = [
    "along",
    "find_region",
    "fitted",
    "part",
    "proof_points",
    "proof_runs",
    "proven",
]
