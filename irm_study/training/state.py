"""Runs in training side by side: which they are, and how far they have come.

Values only; what moves them on is in `step` and `program`, and which runs are side by side is decided in `trainer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irm_study.config import RunConfig


@dataclass(frozen=True)
class Run:
    """One training of one configuration with one seed. number: its place among the runs that `train` was given."""

    number: int
    config: RunConfig
    seed: int


@dataclass
class TrainingState:
    """Runs at the same epoch. Tensors have a leading run axis; lists have an entry for each run, in the same order."""

    runs: list[Run]
    positions: list[int]
    """Of each run: where its examples lie along the run axis of the trainer's data."""
    epoch: int
    """How many epochs are done."""
    steps: list[int]
    """Adam's steps since it began, or was reset."""
    parameters: Tensor
    mean: Tensor
    square: Tensor
    """Adam's moving averages of the gradient and of its square; (runs, size) as the parameters."""
    history: list[list[tuple[np.ndarray, np.ndarray]]]
    """Measurements at every checkpoint so far: (quantities, environments), and (probes,)."""
    seconds: list[float]
    shared_epochs: list[int]
    """How many of the run's first epochs were trained as those of another run, from whose state it went on."""

    def take(self, places: Sequence[int]) -> TrainingState:
        """A copy of some of the runs, by their places in the lists."""
        index = torch.as_tensor(places, device=self.parameters.device)
        return TrainingState(
            [self.runs[place] for place in places],
            [self.positions[place] for place in places],
            self.epoch,
            [self.steps[place] for place in places],
            self.parameters[index],
            self.mean[index],
            self.square[index],
            [list(self.history[place]) for place in places],
            [self.seconds[place] for place in places],
            [self.shared_epochs[place] for place in places],
        )

    def reset_optimizer(self, places: Sequence[int]) -> None:
        """Let Adam begin anew for some of the runs."""
        index = torch.as_tensor(places, device=self.parameters.device)
        self.mean[index] = 0.0
        self.square[index] = 0.0
        for place in places:
            self.steps[place] = 0
