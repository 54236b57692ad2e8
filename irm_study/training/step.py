"""One step of training: the objective, its gradient with respect to the logits, and Adam.

The authors' protocol: loss = risk + L2 weight · squared norm of all parameters + penalty weight · penalty, divided by
the penalty weight where that is above 1. Losses are summed over runs, so that no run's gradient depends on the runs
beside it. How a gradient at the logits becomes one of the parameters is in the networks; what is measured is in
`measurement`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from irm_study.config import RunConfig
from irm_study.methods import PENALTIES, risks
from irm_study.training.state import TrainingState

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's, as torch's defaults."""

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(logits, labels), both (runs, environments, examples) → risk and penalty of each run, (runs,) each."""


def objective_of(config: RunConfig) -> Objective:
    """Risk and penalty of a configuration: averaged or summed over environments."""
    penalty = PENALTIES[config.penalty].function

    def objective(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        times = logits.shape[1] if config.across == "sum" else 1
        return times * risks(logits, labels).mean(1), times * penalty(logits, labels)

    return objective


def logits_gradient(objective: Objective, logits: Tensor, labels: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Gradient of scale · (risk + weight · penalty), summed over runs, with respect to the logits.

    logits, labels: (runs, environments, examples). weight, scale: (runs,).
    """
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        risk, penalty = objective(logits, labels)
        return torch.autograd.grad((scale * risk + scale * weight * penalty).sum(), logits)[0]


def adam_step(state: TrainingState, gradient: Tensor, learning_rate: Tensor) -> None:
    """Adam with a learning rate and a count of steps for each run, in place.

    gradient: (runs, size). learning_rate: (runs, 1). Source: Kingma & Ba 2015, as torch.optim.Adam computes it.
    """
    state.steps = [steps + 1 for steps in state.steps]
    state.mean.lerp_(gradient, 1 - BETA1)
    state.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    correction = _by_run([1 - BETA1**steps for steps in state.steps], gradient)
    root_correction = _by_run([(1 - BETA2**steps) ** 0.5 for steps in state.steps], gradient)
    denominator = state.square.sqrt().div_(root_correction).add_(EPSILON)
    state.parameters.addcdiv_(state.mean * (-learning_rate / correction), denominator)


def _by_run(numbers: Sequence[float], like: Tensor) -> float | Tensor:
    """Numbers to compute with, (runs, 1); one number where all are the same: no copy to the device at every step."""
    if len(set(numbers)) == 1:
        return numbers[0]
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)[:, None]
