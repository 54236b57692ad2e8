"""Training: runs, from their seeds to their curves. What is beside `train` serves to measure the speed of an epoch."""

from irm_study.training.mlp_loops import compiled_loops
from irm_study.training.program import Program, initial_state
from irm_study.training.state import Run, TrainingState
from irm_study.training.step import Objective, objective_of
from irm_study.training.trainer import train

__all__ = ["Objective", "Program", "Run", "TrainingState", "compiled_loops", "initial_state", "objective_of", "train"]
