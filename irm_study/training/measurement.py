"""What is measured of runs in training at a checkpoint.

In every environment the `QUANTITIES`; on training images whose colour was changed the `PROBES`. What the numbers mean
is decided in `diagnosis`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from irm_study.config import RunConfig
from irm_study.data import GREY, Environments, Examples
from irm_study.methods import risks, signed_gradients
from irm_study.training.network import Network

PROBED_LEAST, PROBED_MOST = 100, 2500
"""Training examples of each environment on which the probes are measured."""


def measure(logits: Tensor, labels: Tensor) -> Tensor:
    """(quantities, runs, environments) from (runs, environments, examples), in the order of QUANTITIES."""
    positive, risk = logits > 0, risks(logits, labels)
    accuracy = (positive == (labels > 0.5)).float().mean(-1)
    return torch.stack(
        [
            risk,
            accuracy.where(risk.isfinite(), torch.nan),  # a logit that is not a number predicts neither class
            signed_gradients(logits, labels),
            logits.std(-1),
            positive.float().mean(-1),
        ]
    )


def probed(config: RunConfig, count: int) -> np.ndarray:
    """Positions of the examples, of `count` in a training environment, on which the probes are measured.

    They are so many that their two passes take less than a hundredth of the passes of training between two checkpoints.
    At the end of a run all are.
    """
    passes = 3 * count * config.checkpoint_interval  # forward, and twice as much backward
    many = min(count, max(PROBED_LEAST, min(PROBED_MOST, passes // 250)))
    return np.linspace(0, count - 1, many).astype(np.int64)


class Measurement:
    """Measures the runs whose environments are `data`, side by side. config: stands for what the runs share."""

    def __init__(self, network: Network[Any], data: Environments, config: RunConfig):
        self.network, self.data = network, data
        self.inputs = {name: network.inputs(examples) for name, examples in data.measured.items()}
        train = data.train
        self.probed = torch.from_numpy(probed(config, train.rows.shape[2])).to(train.rows.device)
        self.recoloured = self._recolour(self.probed)

    def _recolour(self, places: Tensor) -> Any:
        """The network's inputs of some training examples, in grey and then in the other colour. places: along them."""
        train = self.data.train
        rows, labels, colours = (part[:, :, places] for part in (train.rows, train.labels, train.colours))
        recoloured = torch.cat([torch.full_like(colours, GREY), 1 - colours], dim=2)
        return self.network.inputs(Examples(rows.repeat(1, 1, 2), labels.repeat(1, 1, 2), recoloured))

    def measure(self, parameters: Tensor, train: Tensor, last: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each run: (quantities, environments), and (probes,).

        parameters: (runs, size). train: the logits of the training environments, (runs, environments, examples). last:
        whether runs end here, so that all training examples are probed.
        """
        with self.network.computing():
            parts = [measure(train, self.data.train.labels)]
            for name, inputs in self.inputs.items():
                logits = self.network.logits(parameters, inputs)
                parts.append(measure(logits.unsqueeze(1), self.data.measured[name].labels.unsqueeze(1)))
            quantities = torch.cat(parts, dim=2).transpose(0, 1).cpu().numpy()
            return zip(quantities, self.probe(parameters, train, last).cpu().numpy(), strict=True)

    def probe_all(self, parameters: Tensor, train: Tensor) -> np.ndarray:
        """`probe` on all training examples, as a NumPy array."""
        with self.network.computing():
            return np.asarray(self.probe(parameters, train, last=True).cpu().numpy())

    def probe(self, parameters: Tensor, train: Tensor, last: bool) -> Tensor:
        """(runs, probes), in the order of PROBES: how predictions change when training images are recoloured.

        train, last: as `measure` takes them.
        """
        if not last:
            return self._probed(parameters, train, self.probed, self.recoloured)
        count = train.shape[2]
        parts = torch.split(torch.arange(count, device=train.device), PROBED_MOST)
        shares = [len(part) / count * self._probed(parameters, train, part, self._recolour(part)) for part in parts]
        return torch.stack(shares).sum(0)

    def _probed(self, parameters: Tensor, train: Tensor, places: Tensor, recoloured: Any) -> Tensor:
        labels = self.data.train.labels[:, :, places] > 0.5
        predicted = train[:, :, places] > 0
        grey, swapped = torch.chunk(self.network.logits(parameters, recoloured) > 0, 2, dim=2)
        return torch.stack([grey == labels, swapped == labels, swapped != predicted], dim=1).float().mean((2, 3))
