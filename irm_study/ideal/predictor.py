"""The ideal of a draw: logit = α · shape evidence + β · colour, with α and β that minimise a configuration's own
objective on the training examples of one seed.

Two numbers are all that is fitted: no network, no optimizer, no initialisation. What the ideal's accuracies do from
seed to seed is therefore the draws' doing. The objective is risk + penalty weight · penalty at the full weight, by the
trainer's own functions and on all examples; L2, which acts on a network's parameters, has no part in it.

With a high weight the objective has several minima (the constant, α = β = 0, is one for IRMv1). Training comes from the
ERM solution, and so does this: the weight rises from 0 in steps of STEP, each from the minimum before.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.data import build_environments, load_digits
from irm_study.errors import ConfigError
from irm_study.ideal.evidence import shape_evidence
from irm_study.methods import PENALTIES, needs_of
from irm_study.training import Objective, objective_of

STEP = 10.0
"""Factor between penalty weights on the way from 1 to the full one. Factors of 2, and going there at once, gave the
same minima on eleven draws of MNIST at weights from 1e3 to 9e4."""


class Ideal(NamedTuple):
    """The ideal of one draw under one configuration. Accuracies are fractions.

    alpha: of the evidence in units of its standard deviation; beta: of the colour (+1: the colour that goes with label
    1 where none is flipped). shape_skill, colour_reliance: S and B on the test environment's digits, in expectation
    over label noise and colours, so that they have no sampling error of those. train_accuracy (mean over the training
    environments) and test_accuracy: on the examples that a run of that seed is measured on.
    """

    alpha: float
    beta: float
    shape_skill: float
    colour_reliance: float
    train_accuracy: float
    test_accuracy: float


def ideal_of(
    config: RunConfig, seed: int, digits: str, spec: EnvironmentSpec, data_root: str | Path | None = None
) -> Ideal:
    """The ideal of one seed's draw. digits, data_root: as `load_digits` takes them.

    Raises ConfigError where the environments have no colour or the objective needs more than logits, ValueError where
    the digits are too few for the environments.
    """
    if needed := needs_of(config):
        key = "penalty" if PENALTIES[config.penalty].beside else "bottleneck_weight"
        raise ConfigError(
            f"run.{key}: {getattr(config, key)!r} needs a network's {' and '.join(needed)}, and an ideal has no network"
        )
    if spec.channels == "grey":
        raise ConfigError("environments.channels: 'grey' has no colour, which an ideal weighs against the shape")
    evidence, below_five = shape_evidence(digits, spec.resolution, data_root)
    data = build_environments(load_digits(digits, data_root), spec, [seed])
    unit = evidence[data.train.rows.numpy()].std()
    shape = torch.from_numpy(evidence / unit)
    alpha, beta = fitted(config, shape[data.train.rows], _signs(data.train.colours), data.train.labels.double())
    test = data.measured["test"]
    rows = test.rows[0].numpy()
    skill, reliance = skill_and_reliance(alpha * evidence[rows] / unit, beta, below_five[rows], spec.label_noise)
    return Ideal(
        alpha, beta, skill, reliance,
        train_accuracy=_accuracy(alpha * shape[data.train.rows] + beta * _signs(data.train.colours), data.train.labels),
        test_accuracy=_accuracy(alpha * shape[test.rows] + beta * _signs(test.colours), test.labels),
    )  # fmt: skip


def fitted(config: RunConfig, shape: Tensor, colour: Tensor, labels: Tensor) -> tuple[float, float]:
    """α and β at the minimum that is reached from the ERM solution as the weight rises.

    shape, colour, labels: (1, environments, examples), float64.
    """
    objective = objective_of(config)
    rising = int(np.ceil(np.log(max(config.penalty_weight, 1.0)) / np.log(STEP)))
    weights = [0.0, *np.geomspace(1.0, config.penalty_weight, rising + 1)[:-1]] if rising else [0.0]
    found = np.ones(2)
    for weight in (*weights, config.penalty_weight):
        found = _minimum(objective, weight, (shape, colour, labels), found, PENALTIES[config.penalty].smooth)
    return float(found[0]), float(found[1])


def skill_and_reliance(shape: np.ndarray, beta: float, label: np.ndarray, noise: float) -> tuple[float, float]:
    """S and B of the predictor shape + beta · colour > 0, in expectation over label noise and colours.

    shape, label (without noise): (examples,). S is accuracy at a flip of 0.5; B is by how much accuracy falls as the
    flip goes from 0 to 1.
    """

    def accuracy(agrees: bool) -> float:
        """Where every colour agrees with the label, or none does."""
        right = [((shape + np.where(given == agrees, beta, -beta) > 0) == given).mean() for given in (label, ~label)]
        return float((1 - noise) * right[0] + noise * right[1])

    unflipped, flipped = accuracy(True), accuracy(False)
    return (unflipped + flipped) / 2, unflipped - flipped


def _minimum(
    objective: Objective, weight: float, examples: tuple[Tensor, Tensor, Tensor], start: np.ndarray, smooth: bool
) -> np.ndarray:
    shape, colour, labels = examples

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        both = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        risk, penalty = objective({"logits": both[0] * shape + both[1] * colour}, labels)
        value = ((risk + weight * penalty) / max(weight, 1.0)).sum()
        return value.item(), torch.autograd.grad(value, both)[0].numpy()

    found: np.ndarray = optimize.minimize(value_and_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-10}).x
    if not smooth:  # in a kink, where gradients lead to one side and the other, values alone are compared
        tight = {"xatol": 1e-7, "fatol": 1e-12}
        found = optimize.minimize(lambda at: value_and_gradient(at)[0], found, method="Nelder-Mead", options=tight).x
    return found


def _signs(colours: Tensor) -> Tensor:
    return 2.0 * colours.double() - 1.0


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float(((logits > 0) == (labels > 0.5)).double().mean())
