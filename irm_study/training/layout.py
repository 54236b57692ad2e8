"""The layout of parameters: where each parameter of a network lies in the flat tensor of a run.

Which parameters there are, and what they mean, is each network's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """shapes: of each parameter of one run, by name, in the order in which they lie."""

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """Numbers of one run."""
        return sum(prod(shape) for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """(runs, size) → each parameter by name, (runs, …), as a view."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + prod(shape)
            views[name] = flat[:, start:stop].view(len(flat), *shape)
            start = stop
        return views

    def flatten(self, runs: Sequence[Mapping[str, np.ndarray]], device: torch.device) -> Tensor:
        """Each run's parameters by name → (runs, size)."""
        flat = [np.concatenate([run[name].reshape(-1) for name in self.shapes]) for run in runs]
        return torch.from_numpy(np.stack(flat)).to(device)
