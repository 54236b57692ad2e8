"""The fast network's parameters: the MLP's in the order and shape in which its loops want them.

The first layer has a row for its bias and for each pixel that any image lights, in each channel. Widths are padded with
zeros to the vector unit; activations map 0 to 0, so padded units stay 0, and their gradients are 0 too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from irm_study.config import RunConfig
from irm_study.data import GREY, WHITE
from irm_study.training.layout import Layout

VECTOR_WIDTH = 8
"""Single-precision numbers of a vector register: widths are padded to a multiple."""


class MlpParameters:
    """How the parameters of one run are arranged, and what of the first layer each colour uses.

    lit: the pixels that the first layer has rows for. hidden: the padded width. weights, biases: the names of the
    hidden layers' after the first, whose parameters are `first`; the output's are `last` and `last bias`.
    """

    def __init__(self, config: RunConfig, lit: Tensor, channels: int):
        self.config, self.lit, self.channels = config, lit, channels
        self.hidden = -(-config.hidden // VECTOR_WIDTH) * VECTOR_WIDTH
        upper = range(2, config.layers + 1)
        self.weights, self.biases = [f"weight{number}" for number in upper], [f"bias{number}" for number in upper]
        shapes: dict[str, tuple[int, ...]] = {"first": (1 + channels * len(lit), self.hidden)}
        for weight, bias in zip(self.weights, self.biases, strict=True):
            shapes |= {weight: (self.hidden, self.hidden), bias: (1, self.hidden)}
        self.layout = Layout(shapes | {"last": (self.hidden, 1), "last bias": (1, 1)})

    def arrange(self, drawn: Mapping[str, np.ndarray], image_channels: int) -> dict[str, np.ndarray]:
        """One run's parameters as `MODELS["mlp"]` draws them for images of so many channels → as `layout` has them."""
        by_channel = drawn["weight1"].reshape(image_channels, -1, self.config.hidden)
        first = by_channel[: self.channels, self.lit.cpu().numpy()].reshape(-1, self.config.hidden)
        last = self.config.layers + 1
        named = {
            **drawn,
            "first": np.concatenate([drawn["bias1"], first]),
            "last": drawn[f"weight{last}"],
            "last bias": drawn[f"bias{last}"],
        }
        return {name: _pad(named[name], shape) for name, shape in self.layout.shapes.items()}

    def first_by_colour(self, parameters: Tensor) -> dict[int, Tensor]:
        """The first layer's weights for the bytes of images of each colour: (runs, 1 + pixels, hidden), the bias
        first."""
        first = self.layout.views(parameters)["first"]
        bias, pixels = first[:, :1], first[:, 1:]
        by_channel = pixels.view(len(first), self.channels, -1, self.hidden) / WHITE
        by_colour = {channel: by_channel[:, channel] for channel in range(self.channels)} | {GREY: by_channel.mean(1)}
        return {colour: torch.cat([bias, weights], dim=1) for colour, weights in by_colour.items()}

    def new_first_gradient(self, parameters: Tensor) -> Tensor:
        """Zeros to add gradients of `first_by_colour` to, without grey: (runs, channels, 1 + pixels, hidden)."""
        return parameters.new_zeros(len(parameters), self.channels, 1 + len(self.lit), self.hidden)

    def fill_first_gradient(self, gradient: Tensor, by_channel: Tensor) -> None:
        """Write to `gradient`, of `first`, what gradients of `first_by_colour` come to."""
        gradient[:, :1] = by_channel[:, :, :1].sum(1)
        gradient[:, 1:] = by_channel[:, :, 1:].flatten(1, 2) / WHITE


def _pad(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(values, [(0, wanted - have) for have, wanted in zip(values.shape, shape, strict=True)])
