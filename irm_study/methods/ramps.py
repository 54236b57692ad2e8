"""Ramps: the shape in which the penalty weight rises from its initial to its full value.

A ramp is a function of progress, which is 1 / ramp_epochs in the anneal epoch and 1 from the last of the ramp epochs
on; so every ramp over one epoch is the step. Before the anneal epoch no ramp acts. To add a ramp, write one function,
name it in `RAMPS`, and declare there which hyperparameters it uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from irm_study.config import RunConfig


@dataclass(frozen=True)
class Ramp:
    """function: (progress in (0, 1], configuration) → the penalty weight there; an array to an array.

    uses: the hyperparameters beside the initial and the full weight that act on it; a change of any other leaves it as
    it is.
    """

    function: Callable[[np.ndarray, RunConfig], np.ndarray]
    uses: tuple[str, ...] = ("ramp_epochs",)


def penalty_weights(config: RunConfig) -> np.ndarray:
    """The penalty weight at every epoch: (epochs,), float64.

    Before the anneal epoch it is `initial_weight` (the authors' 1, reiinakano's 0).
    """
    epoch = np.arange(config.epochs)
    progress = np.clip((epoch - config.anneal_epoch + 1) / config.ramp_epochs, 0.0, 1.0)
    weights = np.full(config.epochs, config.initial_weight)
    rising = epoch >= config.anneal_epoch
    weights[rising] = RAMPS[config.ramp].function(progress[rising], config)
    return weights


def step(progress: np.ndarray, config: RunConfig) -> np.ndarray:
    """The full weight from the anneal epoch on (Arjovsky et al. 2019)."""
    return np.full_like(progress, config.penalty_weight)


def linear(progress: np.ndarray, config: RunConfig) -> np.ndarray:
    """The same rise in every epoch."""
    return _between(progress, config)


def power(progress: np.ndarray, config: RunConfig) -> np.ndarray:
    """progress ** ramp_exponent; with exponent 1.6 from weight 0 at epoch 0, reiinakano's schedule."""
    return _between(progress**config.ramp_exponent, config)


def exponential(progress: np.ndarray, config: RunConfig) -> np.ndarray:
    """Geometric in 1 + weight, so that it may start at 0."""
    low, high = 1.0 + config.initial_weight, 1.0 + config.penalty_weight
    return low * (high / low) ** progress - 1.0


def cosine(progress: np.ndarray, config: RunConfig) -> np.ndarray:
    """Half a wave: flat at both ends."""
    return _between((1.0 - np.cos(np.pi * progress)) / 2.0, config)


def sigmoid(progress: np.ndarray, config: RunConfig) -> np.ndarray:
    """A logistic curve over ±6, stretched so that it ends at the full weight."""
    low, high = 1 / (1 + np.exp(6.0)), 1 / (1 + np.exp(-6.0))
    return _between((1 / (1 + np.exp(-12.0 * (progress - 0.5))) - low) / (high - low), config)


RAMPS: dict[str, Ramp] = {
    "step": Ramp(step, uses=()),
    "linear": Ramp(linear),
    "power": Ramp(power, uses=("ramp_epochs", "ramp_exponent")),
    "exponential": Ramp(exponential),
    "cosine": Ramp(cosine),
    "sigmoid": Ramp(sigmoid),
}


def _between(share: np.ndarray, config: RunConfig) -> np.ndarray:
    """share: 0 at the initial weight, 1 at the full one."""
    return config.initial_weight + (config.penalty_weight - config.initial_weight) * share
