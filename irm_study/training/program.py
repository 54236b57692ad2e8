"""One epoch of training for runs side by side.

A `Program` holds what stays the same from epoch to epoch while the same runs train: the network, their examples in its
form, their schedules. Runs share a program where their configurations agree in what shapes it
(`trainer.shared_settings`). When a run starts and ends is decided in `trainer`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from irm_study.data import Environments, Examples, stream
from irm_study.methods import penalty_weights
from irm_study.training.measurement import Measurement
from irm_study.training.network import Network, Outputs, Pullback, network_for, outputs_of
from irm_study.training.state import Run, TrainingState
from irm_study.training.step import adam_step, objective_of, outputs_gradient

Step = tuple[Outputs, Pullback]
"""What the objective is computed from, the logits and what a penalty needs beside them, and its pullback."""


def initial_state(runs: Sequence[Run], data: Environments) -> TrainingState:
    """Runs at epoch 0 with their first parameters. data: the environments of the runs, in the same order."""
    network = network_for(runs[0].config, data)
    seeds = [run.seed if run.config.initial_seed is None else run.config.initial_seed for run in runs]
    parameters = network.initial(seeds)
    return TrainingState(
        runs=list(runs),
        positions=list(range(len(runs))),
        epoch=0,
        steps=[0] * len(runs),
        parameters=parameters,
        mean=torch.zeros_like(parameters),
        square=torch.zeros_like(parameters),
        history=[[] for _ in runs],
        seconds=[0.0] * len(runs),
        shared_epochs=[0] * len(runs),
    )


class Program:
    """Trains the runs of a state, epoch by epoch. data: environments in which the state has its positions."""

    def __init__(self, data: Environments, state: TrainingState):
        device = data.pixels.device
        if state.positions != list(range(len(data.train.rows))):
            data = data.take_runs(torch.as_tensor(state.positions, device=device))
        configs = [run.config for run in state.runs]
        self.data, self.config, self.seeds = data, configs[0], [run.seed for run in state.runs]
        self.objective = objective_of(self.config)
        self.network: Network[Any] = network_for(self.config, data)
        self.full_batch: Any = self.network.inputs(data.train) if self.config.batch_size is None else None
        self.measurement = Measurement(self.network, data, self.config)
        schedule = np.stack([penalty_weights(config) for config in configs]).astype(np.float32)
        self.weights = torch.from_numpy(schedule).to(device)
        # Division by a weight above 1 keeps the size of the gradients that Adam sees the same when the weight jumps.
        self.scales = 1.0 / self.weights.clamp(min=1.0) if self.config.rescale else torch.ones_like(self.weights)
        self.learning_rate = self._column([config.learning_rate for config in configs])
        self.decay = self._column([2.0 * config.l2_weight for config in configs])
        self.resets: dict[int, list[int]] = defaultdict(list)
        """By epoch, the places of the runs whose optimizer is reset before it."""
        for place, config in enumerate(configs):
            if config.reset_optimizer:
                self.resets[config.anneal_epoch].append(place)

    def forward(self, state: TrainingState) -> Step | None:
        """The full batch's outputs and their pullback; None where training is in minibatches."""
        if self.full_batch is None:
            return None
        with self.network.computing():
            return outputs_of(self.network, state.parameters, self.full_batch)

    def train_logits(self, state: TrainingState) -> Tensor:
        """Of the training environments: (runs, environments, examples)."""
        return self.network.logits(state.parameters, self.network.inputs(self.data.train))

    def epoch(self, state: TrainingState, step: Step | None) -> None:
        """One pass over the training environments; moves `state` on, in place. step: as `forward` returned it."""
        if places := self.resets.get(state.epoch):
            state.reset_optimizer(places)
        weight, scale = self.weights[:, state.epoch], self.scales[:, state.epoch]
        with self.network.computing():
            for labels, (outputs, pullback) in [(self.data.train.labels, step)] if step else self._minibatches(state):
                gradient = pullback(outputs_gradient(self.objective, outputs, labels, weight, scale))
                gradient.addcmul_(state.parameters, self.decay * scale[:, None])
                adam_step(state, gradient, self.learning_rate)
        state.epoch += 1

    def _minibatches(self, state: TrainingState) -> Iterator[tuple[Tensor, Step]]:
        """Labels and step of each minibatch: as many examples of each environment, in an order that each seed draws for
        each epoch."""
        train = self.data.train
        environments, count = train.rows.shape[1:]
        size = min(self.config.batch_size or count, count)
        orders = [
            [stream(seed, f"batches, {state.epoch}, {number}").permutation(count) for number in range(environments)]
            for seed in self.seeds
        ]
        order = torch.from_numpy(np.asarray(orders)).to(train.rows.device)
        for batch in torch.split(order[..., : count - count % size], size, dim=2):
            examples = Examples(*(part.gather(2, batch) for part in (train.rows, train.labels, train.colours)))
            yield examples.labels, outputs_of(self.network, state.parameters, self.network.inputs(examples))

    def _column(self, values: list[float]) -> Tensor:
        """(runs, 1)"""
        return torch.tensor(values, dtype=torch.float32, device=self.data.pixels.device)[:, None]
