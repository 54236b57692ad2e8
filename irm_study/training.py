"""The trainer: a batch of runs, from their seeds to their curves, as one tensor program.

The authors' protocol: loss = risk + L2 weight · squared norm of all parameters + penalty weight ·
penalty, divided by the penalty weight where that is above 1; Adam, never reset. Losses are summed over
runs, so no run's gradient depends on who trains beside it. What is measured goes to `Curves`; what it
means is judged elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.curves import QUANTITIES, Curves
from irm_study.digits import Digits
from irm_study.environments import Environments, Examples, build_environments, stream
from irm_study.networks import Network, network_for
from irm_study.penalties import PENALTIES, risks, signed_gradients
from irm_study.ramps import penalty_weights

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's, as torch's defaults."""
PER_RUN = ("penalty_weight", "initial_weight", "anneal_epoch", "ramp", "ramp_epochs", "ramp_exponent",
           "learning_rate", "l2_weight")  # fmt: skip
"""Hyperparameters that may differ between the runs of one batch; all others shape the program."""


def program(config: RunConfig) -> tuple:
    """What runs must share to train in one batch."""
    return tuple((name, value) for name, value in config if name not in PER_RUN)


def train(
    configs: Sequence[RunConfig],
    seeds: Sequence[int],
    digits: Digits,
    environments: EnvironmentSpec,
    device: torch.device | str = "cpu",
) -> list[Curves]:
    """Train run i from configs[i] and seeds[i], all in one batch; returns their curves in that order.

    Raises ValueError when the configurations differ in more than `PER_RUN`.
    """
    if len({program(config) for config in configs}) != 1 or len(configs) != len(seeds):
        raise ValueError(f"one batch needs a seed for each configuration, which may differ only in {PER_RUN}")
    started = time.perf_counter()
    data = build_environments(digits, environments, seeds, device)
    trainer = Trainer(configs, seeds, data)
    return trainer.run(started)


def checkpoints(config: RunConfig) -> list[int]:
    """Epochs after which a run is measured: 0, every `checkpoint_every`, and the last."""
    every = config.checkpoint_every or max(1, config.epochs // 50)
    return [*range(0, config.epochs, every), config.epochs]


@dataclass
class Trainer:
    """One batch in training."""

    configs: Sequence[RunConfig]
    seeds: Sequence[int]
    data: Environments

    def run(self, started: float) -> list[Curves]:
        config = self.configs[0]
        device = self.data.pixels.device
        network = network_for(config, self.data)
        parameters = network.initial(self.seeds)
        adam = Adam(parameters, self._column("learning_rate"))
        decay = 2.0 * self._column("l2_weight")
        schedule = np.stack([penalty_weights(each) for each in self.configs]).astype(np.float32)
        weights = torch.from_numpy(schedule).to(device)
        scales = 1.0 / weights.clamp(min=1.0) if config.rescale else torch.ones_like(weights)
        objective = objective_of(config)

        full = network.inputs(self.data.train) if config.batch_size is None else None
        measured = {name: network.inputs(examples) for name, examples in self.data.measured.items()}
        due = checkpoints(config)
        records: list[np.ndarray] = []
        for epoch in range(config.epochs + 1):
            step = network.forward(parameters, full) if full is not None else None
            if epoch in due:
                train = step[0] if step else network.logits(parameters, network.inputs(self.data.train))
                records.append(self._measure(network, parameters, train, measured))
            if epoch == config.epochs:
                break
            weight, scale = weights[:, epoch], scales[:, epoch]
            batches = [(self.data.train.labels, step)] if step else self._batches(network, parameters, epoch)
            for labels, (logits, pullback) in batches:
                cotangent = logits_gradient(objective, logits, labels, weight, scale)
                gradient = pullback(cotangent)
                gradient.addcmul_(parameters, decay * scale[:, None])
                adam.step(parameters, gradient)
        return self._curves(records, due, schedule, time.perf_counter() - started)

    def _column(self, name: str) -> Tensor:
        """A hyperparameter of every run: (runs, 1)."""
        values = [float(getattr(config, name)) for config in self.configs]
        return torch.tensor(values, dtype=torch.float32, device=self.data.pixels.device)[:, None]

    def _batches(self, network: Network, parameters: Tensor, epoch: int):
        """Minibatches of one epoch: as many examples of each environment, in an order that each run draws."""
        train, size = self.data.train, self.configs[0].batch_size
        environments, count = train.rows.shape[1:]
        order = np.stack([
            [stream(seed, f"batches, {epoch}, {number}").permutation(count) for number in range(environments)]
            for seed in self.seeds
        ])
        order = torch.from_numpy(order).to(train.rows.device)
        for batch in order.split(size, dim=2):
            if batch.shape[2] < min(size, count):
                break
            examples = Examples(*(part.gather(2, batch) for part in (train.rows, train.labels, train.colours)))
            yield examples.labels, network.forward(parameters, network.inputs(examples))

    def _measure(self, network: Network, parameters: Tensor, train: Tensor, measured: dict) -> np.ndarray:
        """(quantities, runs, environments)"""
        parts = [measure(train, self.data.train.labels)]
        for name, inputs in measured.items():
            logits = network.logits(parameters, inputs)
            parts.append(measure(logits.unsqueeze(1), self.data.measured[name].labels.unsqueeze(1)))
        return torch.cat(parts, dim=2).cpu().numpy()

    def _curves(
        self, records: list[np.ndarray], due: list[int], schedule: np.ndarray, seconds: float
    ) -> list[Curves]:
        history = np.stack(records, axis=2)  # (quantities, runs, checkpoints, environments)
        epoch = np.asarray(due)
        return [
            Curves(
                environments=self.data.spec.names,
                epoch=epoch,
                penalty_weight=schedule[run, np.minimum(epoch, schedule.shape[1] - 1)],
                **{quantity: history[index, run] for index, quantity in enumerate(QUANTITIES)},
                seconds=seconds / len(self.seeds),
            )
            for run in range(len(self.seeds))
        ]


def objective_of(config: RunConfig) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(logits, labels) → risk and penalty of each run, over environments as the configuration says."""
    penalty = PENALTIES[config.penalty]

    def objective(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        times = logits.shape[1] if config.across == "sum" else 1
        return times * risks(logits, labels).mean(1), times * penalty(logits, labels)

    return objective


def logits_gradient(
    objective: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    logits: Tensor,
    labels: Tensor,
    weight: Tensor,
    scale: Tensor,
) -> Tensor:
    """Gradient of scale · (risk + weight · penalty), summed over runs, with respect to the logits.

    The scale (one over the weight, above 1) keeps the gradients that Adam sees of one size across the
    jump, as the authors do.
    """
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        risk, penalty = objective(logits, labels)
        return torch.autograd.grad((scale * risk + scale * weight * penalty).sum(), logits)[0]


def measure(logits: Tensor, labels: Tensor) -> Tensor:
    """(quantities, runs, environments) from (runs, environments, examples), in the order of QUANTITIES."""
    positive = logits > 0
    return torch.stack([
        risks(logits, labels),
        (positive == (labels > 0.5)).float().mean(-1),
        signed_gradients(logits, labels),
        logits.std(-1),
        positive.float().mean(-1),
    ])


class Adam:
    """Adam with a learning rate for each run (Kingma & Ba 2015, as torch.optim.Adam computes it)."""

    def __init__(self, parameters: Tensor, learning_rate: Tensor):
        self.learning_rate = learning_rate
        self.mean, self.square = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = 0

    def step(self, parameters: Tensor, gradient: Tensor) -> None:
        self.steps += 1
        self.mean.lerp_(gradient, 1 - BETA1)
        self.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        correction1, correction2 = 1 - BETA1**self.steps, 1 - BETA2**self.steps
        denominator = self.square.sqrt().div_(correction2**0.5).add_(EPSILON)
        parameters.addcdiv_(self.mean * (-self.learning_rate / correction1), denominator)
