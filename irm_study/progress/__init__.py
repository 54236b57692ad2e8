"""The progress of a study, shown while it runs: to the command line and, where it is asked for, from Python."""

from irm_study.progress.display import Display, duration
from irm_study.progress.remaining import RemainingTime

__all__ = ["Display", "RemainingTime", "duration"]
