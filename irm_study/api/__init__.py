"""irm-study from Python: what `from irm_study import …` offers, and what its functions accept and return."""

from irm_study.api.arguments import folder_of
from irm_study.api.functions import compare, confirm_study, diagnose, read_study, run_study, train
from irm_study.api.returned import Comparison, TrainedRuns

__all__ = [
    "Comparison",
    "TrainedRuns",
    "compare",
    "confirm_study",
    "diagnose",
    "folder_of",
    "read_study",
    "run_study",
    "train",
]
