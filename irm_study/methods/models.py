"""Models: networks as plain functions of parameters that carry a leading run axis.

A model is two functions: `initial` draws one run's parameters, `features` applies many runs' parameters to many runs'
images, up to the last hidden layer; the layer after it, which makes logits of the features, is the same for all. Losses
and training are not here. To add a model, write the two functions and name them in `MODELS`; an activation likewise in
`ACTIVATIONS`. torch is imported inside functions, so that names can be checked without it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from irm_study.config import RunConfig

if TYPE_CHECKING:
    from torch import Tensor

ImageShape = tuple[int, int, int]
"""(channels, height, width)"""


@dataclass(frozen=True)
class Model:
    """initial: (configuration, image shape, random generator) → one run's parameters by name, float32; those of the
    last layer have the names that `last_layer` says.

    features: (configuration, parameters (runs, …) by name, images (runs, examples, channels, height, width)) → (runs,
    examples, features), what the last layer takes. resolution: the only one that the model takes; None: it takes any.
    """

    initial: Callable[[RunConfig, ImageShape, np.random.Generator], dict[str, np.ndarray]]
    features: Callable[[RunConfig, dict[str, Tensor], Tensor], Tensor]
    resolution: int | None = None


def last_layer(config: RunConfig, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Weights (runs, features, 1) and bias (runs, 1, 1) of the layer that makes logits of features."""
    number = config.layers + 1
    return parameters[f"weight{number}"], parameters[f"bias{number}"]


def logits_of(config: RunConfig, parameters: dict[str, Tensor], features: Tensor) -> Tensor:
    """The last layer, linear: features (runs, examples, features) → logits (runs, examples)."""
    weight, bias = last_layer(config, parameters)
    return bias.baddbmm(features, weight).squeeze(-1)


def mlp_initial(config: RunConfig, image: ImageShape, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Xavier-uniform weights, zero biases (the authors' initialisation)."""
    widths = [prod(image), *[config.hidden] * config.layers, 1]
    parameters: dict[str, np.ndarray] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), start=1):
        bound = sqrt(6.0 / (inputs + outputs))
        parameters[f"weight{number}"] = rng.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
        parameters[f"bias{number}"] = np.zeros((1, outputs), dtype=np.float32)
    return parameters


def mlp_features(config: RunConfig, parameters: dict[str, Tensor], images: Tensor) -> Tensor:
    """Fully connected layers, each followed by the activation."""
    activation = ACTIVATIONS[config.activation]
    hidden = images.flatten(2)
    for number in range(1, config.layers + 1):
        hidden = activation(parameters[f"bias{number}"].baddbmm(hidden, parameters[f"weight{number}"]))
    return hidden


CONVOLUTIONS = (20, 50)
"""Channels of the two 5 × 5 convolutions, each followed by 2 × 2 max-pooling."""


def convnet_initial(config: RunConfig, image: ImageShape, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Uniform in ±1/sqrt(fan in), weights and biases: torch's default for its layers, as reiinakano's."""

    def uniform(*shape: int, fan_in: int) -> np.ndarray:
        bound = 1.0 / sqrt(fan_in)
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    parameters = {}
    channels, height, width = image
    for number, outputs in enumerate(CONVOLUTIONS, start=1):
        fan_in = channels * 25
        parameters[f"kernel{number}"] = uniform(outputs, channels, 5, 5, fan_in=fan_in)
        parameters[f"offset{number}"] = uniform(outputs, fan_in=fan_in)
        channels, height, width = outputs, (height - 4) // 2, (width - 4) // 2
    widths = [channels * height * width, *[config.hidden] * config.layers, 1]
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), start=1):
        parameters[f"weight{number}"] = uniform(inputs, outputs, fan_in=inputs)
        parameters[f"bias{number}"] = uniform(1, outputs, fan_in=inputs)
    return parameters


def convnet_features(config: RunConfig, parameters: dict[str, Tensor], images: Tensor) -> Tensor:
    """reiinakano's network: two convolutions with pooling, then fully connected layers.

    The runs lie side by side as groups of channels, so that one convolution serves all of them.
    """
    from torch.nn import functional

    runs, examples = images.shape[:2]
    activation = ACTIVATIONS[config.activation]
    maps = images.transpose(0, 1).flatten(1, 2)
    for number in range(1, len(CONVOLUTIONS) + 1):
        kernel, offset = parameters[f"kernel{number}"], parameters[f"offset{number}"]
        maps = functional.conv2d(maps, kernel.flatten(0, 1), offset.flatten(), groups=runs)
        maps = functional.max_pool2d(activation(maps), 2)
    seen = maps.reshape(examples, runs, -1).transpose(0, 1).reshape(runs, examples, 1, 1, -1)
    return mlp_features(config, parameters, seen)


MODELS: dict[str, Model] = {
    "mlp": Model(mlp_initial, mlp_features),
    "convnet": Model(convnet_initial, convnet_features, resolution=28),
}


def _torch_function(name: str) -> Callable[[Tensor], Tensor]:
    def activation(values: Tensor) -> Tensor:
        from torch.nn import functional

        activated: Tensor = getattr(functional, name)(values)
        return activated

    return activation


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: _torch_function(name) for name in ("relu", "tanh", "elu", "gelu", "silu")
}
