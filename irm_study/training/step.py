"""One step of training: the objective, its gradient with respect to a network's outputs, and Adam.

The authors' protocol: loss = risk + L2 weight · squared norm of all parameters + penalty weight · penalty, divided by
the penalty weight where that is above 1. Losses are summed over runs, so that no run's gradient depends on the runs
beside it. How a gradient at the outputs becomes one of the parameters is in the networks; what is measured is in
`measurement`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from irm_study.config import RunConfig
from irm_study.methods import PENALTIES, feature_variance, risks
from irm_study.training.network import Outputs
from irm_study.training.state import TrainingState

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's, as torch's defaults."""

Objective = Callable[[Outputs, Tensor], tuple[Tensor, Tensor]]
"""(outputs, labels (runs, environments, examples)) → risk and penalty of each run, (runs,) each."""


def objective_of(config: RunConfig) -> Objective:
    """Risk and penalty of a configuration, averaged or summed over environments; a bottleneck counts with the risk,
    because no ramp acts on it.

    The objective's outputs are the logits and what `needs_of(config)` names.
    """
    penalty = PENALTIES[config.penalty]

    def objective(outputs: Outputs, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = outputs["logits"]
        times = logits.shape[1] if config.across == "sum" else 1
        risk = times * risks(logits, labels).mean(1)
        if config.bottleneck_weight:
            risk = risk + times * config.bottleneck_weight * feature_variance(outputs["features"])
        return risk, times * penalty.function(logits, labels, *(outputs[name] for name in penalty.beside))

    return objective


def outputs_gradient(objective: Objective, outputs: Outputs, labels: Tensor, weight: Tensor, scale: Tensor) -> Outputs:
    """Gradient of scale · (risk + weight · penalty), summed over runs, with respect to each of the outputs.

    labels: (runs, environments, examples). weight, scale: (runs,).
    """
    with torch.enable_grad():
        leaves = {name: output.detach().requires_grad_() for name, output in outputs.items()}
        risk, penalty = objective(leaves, labels)
        loss = (scale * risk + scale * weight * penalty).sum()
        # Of what is needed and has no effect, such as the features of an infinite loss, the gradient is 0.
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(leaves, gradients, strict=True))


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
