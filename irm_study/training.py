"""The trainer: runs, from their seeds to their curves, as one tensor program.

The authors' protocol: loss = risk + L2 weight · squared norm of all parameters + penalty weight ·
penalty, divided by the penalty weight where that is above 1; Adam, never reset. Losses are summed over
runs, so no run's gradient depends on who trains beside it. What is measured goes to `Curves`; what it
means is judged elsewhere.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from irm_study.config import FROM_ANNEAL, EnvironmentSpec, RunConfig
from irm_study.curves import PROBES, QUANTITIES, Curves
from irm_study.digits import Digits
from irm_study.environments import GREY, Environments, Examples, build_environments, stream
from irm_study.networks import Network, network_for, runs_in_memory
from irm_study.penalties import PENALTIES, risks, signed_gradients
from irm_study.ramps import penalty_weights
from irm_study.stopping import reason_to_stop

PROBED_LEAST, PROBED_MOST = 100, 2500
"""Training examples of each environment on which the probes are measured."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's, as torch's defaults."""
BEFORE_ANNEAL = ("initial_weight", "learning_rate", "l2_weight", "initial_seed")
"""Hyperparameters that matter from the first epoch and may differ between runs that train side by side, as may
FROM_ANNEAL. All others shape the program."""


def train(
    configs: Sequence[RunConfig],
    seeds: Sequence[int],
    digits: Digits,
    environments: EnvironmentSpec,
    device: torch.device | str = "cpu",
    share_prefix: bool = True,
) -> list[Curves]:
    """Train run i from configs[i] and seeds[i]; returns their curves in that order.

    Runs of one program train side by side, as many as memory holds. Those of one seed that agree in
    everything before their anneal epochs train those epochs once, unless `share_prefix` is off; their
    curves are the same.
    """
    programs: dict[tuple, dict[tuple, list[int]]] = defaultdict(lambda: defaultdict(list))
    for run, (config, seed) in enumerate(zip(configs, seeds, strict=True)):
        start = tuple(getattr(config, name) for name in BEFORE_ANNEAL)
        programs[program(config)][seed, start, None if share_prefix else run].append(run)
    curves: dict[int, Curves] = {}

    def side_by_side(members: list[list[int]]) -> None:
        try:
            data = build_environments(digits, environments, [seeds[runs[0]] for runs in members], device)
            curves.update(Trainer(data, configs[members[0][0]], configs, seeds).train(members))
        except RuntimeError as error:
            if len(members) == 1 or not _is_out_of_memory(error):
                raise
            half = len(members) // 2
            side_by_side(members[:half])
            side_by_side(members[half:])

    for trunks in programs.values():
        members = list(trunks.values())
        width = runs_in_memory(configs[members[0][0]], digits, environments, device)
        for first in range(0, len(members), width):
            side_by_side(members[first : first + width])
    return [curves[run] for run in range(len(configs))]


def program(config: RunConfig) -> tuple:
    """What runs must share to train side by side."""
    return tuple((name, value) for name, value in config if name not in BEFORE_ANNEAL + FROM_ANNEAL)


def checkpoints(config: RunConfig) -> list[int]:
    """Epochs after which a run is measured: 0, every `checkpoint_every`, and the last."""
    return [*range(0, config.epochs, config.checkpoint_interval), config.epochs]


def probed(config: RunConfig, count: int) -> np.ndarray:
    """Positions of the examples of a training environment of `count` on which the probes are measured.

    So many that their two passes are less than a hundredth of the passes of training between two checkpoints.
    """
    passes = 3 * count * config.checkpoint_interval  # forward, and twice that backward
    many = min(count, max(PROBED_LEAST, min(PROBED_MOST, passes // 250)))
    return np.linspace(0, count - 1, many).astype(np.int64)


@dataclass
class Lanes:
    """Runs in training side by side, as far as they have come. Lists have an entry for each lane."""

    runs: list[int]
    """Whose curves these will be."""
    positions: list[int]
    """Along the run axis of the trainer's data."""
    epoch: int
    steps: int
    parameters: Tensor
    mean: Tensor
    square: Tensor
    """Adam's moving averages of the gradient and of its square; (lanes, size) as the parameters."""
    history: list[list[tuple[np.ndarray, np.ndarray]]]
    """For every checkpoint so far: (quantities, environments), and (probes,)."""
    seconds: list[float]
    shared_epochs: list[int]

    def take(self, keep: Sequence[int]) -> Lanes:
        """A copy of some lanes: a fork, or those that go on."""
        index = torch.as_tensor(keep, device=self.parameters.device)
        return Lanes(
            [self.runs[lane] for lane in keep],
            [self.positions[lane] for lane in keep],
            self.epoch,
            self.steps,
            self.parameters[index],
            self.mean[index],
            self.square[index],
            [list(self.history[lane]) for lane in keep],
            [self.seconds[lane] for lane in keep],
            [self.shared_epochs[lane] for lane in keep],
        )


class Trainer:
    """Trains runs of one program on some drawn environments: a trunk for each position of the data's run axis,
    and the runs that branch off it at their anneal epochs. `config` stands for what the runs share."""

    def __init__(self, data: Environments, config: RunConfig, configs: Sequence[RunConfig], seeds: Sequence[int]):
        self.data, self.config, self.configs, self.seeds = data, config, configs, seeds
        self.due = checkpoints(self.config)
        self.objective = objective_of(self.config)

    def train(self, members: list[list[int]]) -> Iterator[tuple[int, Curves]]:
        """members: for each position of the data's run axis, the runs that share its trunk.

        The run with the latest anneal epoch trains the trunk; at their own anneal epochs the others take
        a copy of its state, and go on from there when the trunk is done.
        """
        branches = [sorted(runs, key=lambda run: self.configs[run].anneal_epoch) for runs in members]
        trunks = self.start([runs[-1] for runs in branches])
        waiting = {run: lane for lane, runs in enumerate(branches) for run in runs[:-1]}
        forks: list[Lanes] = []

        def fork(lanes: Lanes) -> None:
            leaving = [run for run in waiting if self.configs[run].anneal_epoch == lanes.epoch]
            while leaving:
                # One branch of each trunk at a time: they train side by side, as the trunks do.
                taken = {waiting[run]: run for run in leaving}
                forked = lanes.take([lanes.positions.index(position) for position in taken])
                forked.runs = list(taken.values())
                forked.seconds = [0.0] * len(taken)
                forked.shared_epochs = [lanes.epoch] * len(taken)
                forks.append(forked)
                for run in forked.runs:
                    del waiting[run]
                    leaving.remove(run)

        for run, curves in self._advance(trunks, fork):
            yield run, curves
            for other in branches[self._position(run, branches)][:-1]:
                if other in waiting:  # the trunk ended before this one left it
                    del waiting[other]
                    yield other, replace(curves, seconds=0.0, shared_epochs=int(curves.epoch[-1]),
                                         penalty_weight=self._weights_at(other, curves.epoch))  # fmt: skip
        while forks:
            yield from self._advance(forks.pop(), lambda lanes: None)

    @staticmethod
    def _position(run: int, branches: list[list[int]]) -> int:
        return next(position for position, runs in enumerate(branches) if run in runs)

    def start(self, runs: list[int]) -> Lanes:
        """Lanes of these runs (places in `seeds`), all at epoch 0 with their first parameters."""
        network = network_for(self.config, self.data)
        initial = [self.configs[run].initial_seed for run in runs]
        parameters = network.initial(
            [self.seeds[run] if seed is None else seed for run, seed in zip(runs, initial, strict=True)]
        )
        zeros = torch.zeros_like(parameters)
        count = len(runs)
        return Lanes(
            runs, list(range(count)), 0, 0, parameters, zeros, zeros.clone(), [[] for _ in runs],
            [0.0] * count, [0] * count,
        )  # fmt: skip

    def _advance(self, lanes: Lanes, fork: Callable[[Lanes], None]) -> Iterator[tuple[int, Curves]]:
        """Train to the last epoch; yields each run's curves when it ends."""
        program = Program(self, lanes)
        clock = time.perf_counter()
        while True:
            fork(lanes)
            step = program.forward(lanes) if program.full is not None else None
            if lanes.epoch in self.due:
                train = step[0] if step else program.train_logits(lanes)
                for history, measured in zip(lanes.history, program.measure(lanes, train), strict=True):
                    history.append(measured)
                now = time.perf_counter()
                lanes.seconds = [seconds + (now - clock) / len(lanes.runs) for seconds in lanes.seconds]
                clock = now
                stopped = [self._reason_to_stop(lanes, lane) for lane in range(len(lanes.runs))]
                for lane, reason in enumerate(stopped):
                    if reason is not None:
                        yield lanes.runs[lane], self._curves(lanes, lane, reason)
                going = [lane for lane, reason in enumerate(stopped) if reason is None]
                if not going:
                    return
                if len(going) < len(stopped):
                    lanes = lanes.take(going)
                    program = Program(self, lanes)
                    step = program.forward(lanes) if program.full is not None else None
            program.epoch(lanes, step)
            lanes.epoch += 1

    def _reason_to_stop(self, lanes: Lanes, lane: int) -> str | None:
        """None: the run goes on; "": it has reached its last epoch."""
        if lanes.epoch == self.config.epochs:
            return ""
        curves = self._curves(lanes, lane, "")
        return reason_to_stop(curves, self.data.spec, self.configs[lanes.runs[lane]]) or None

    def _curves(self, lanes: Lanes, lane: int, stopped: str) -> Curves:
        measured, probed = zip(*lanes.history[lane], strict=True)
        epoch = np.asarray(self.due[: len(measured)])
        return Curves(
            environments=self.data.spec.names,
            epoch=epoch,
            penalty_weight=self._weights_at(lanes.runs[lane], epoch),
            **dict(zip(QUANTITIES, np.stack(measured, axis=1), strict=True)),
            **dict(zip(PROBES, np.stack(probed, axis=1), strict=True)),
            examples=self.data.counts,
            seconds=lanes.seconds[lane],
            stopped=stopped,
            shared_epochs=lanes.shared_epochs[lane],
        )

    def _weights_at(self, run: int, epoch: np.ndarray) -> np.ndarray:
        return penalty_weights(self.configs[run])[np.minimum(epoch, self.config.epochs - 1)]


class Program:
    """What stays the same from epoch to epoch while the same lanes train: network, inputs, schedules."""

    def __init__(self, trainer: Trainer, lanes: Lanes):
        data = trainer.data
        if lanes.positions != list(range(data.train.rows.shape[0])):
            data = data.runs(torch.as_tensor(lanes.positions, device=data.pixels.device))
        self.data, self.config, self.objective = data, trainer.config, trainer.objective
        configs = [trainer.configs[run] for run in lanes.runs]
        self.seeds = [trainer.seeds[run] for run in lanes.runs]
        self.network: Network = network_for(self.config, data)
        self.full = self.network.inputs(data.train) if self.config.batch_size is None else None
        self.probed, self.recoloured = self._probes()
        self.measured = {name: self.network.inputs(examples) for name, examples in data.measured.items()}
        schedule = np.stack([penalty_weights(config) for config in configs]).astype(np.float32)
        self.weights = torch.from_numpy(schedule).to(data.pixels.device)
        # One over the weight, above 1, keeps the gradients that Adam sees of one size across the jump.
        self.scales = 1.0 / self.weights.clamp(min=1.0) if self.config.rescale else torch.ones_like(self.weights)
        self.learning_rate = self._column([config.learning_rate for config in configs])
        self.decay = self._column([2.0 * config.l2_weight for config in configs])

    def forward(self, lanes: Lanes) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        with self.network.threads():
            return self.network.forward(lanes.parameters, self.full)

    def train_logits(self, lanes: Lanes) -> Tensor:
        return self.network.logits(lanes.parameters, self.network.inputs(self.data.train))

    def epoch(self, lanes: Lanes, step: tuple[Tensor, Callable[[Tensor], Tensor]] | None) -> None:
        """One pass over the training environments, in place; `step` is the full batch's, already forward."""
        weight, scale = self.weights[:, lanes.epoch], self.scales[:, lanes.epoch]
        with self.network.threads():
            for labels, (logits, pullback) in [(self.data.train.labels, step)] if step else self._batches(lanes):
                gradient = pullback(logits_gradient(self.objective, logits, labels, weight, scale))
                gradient.addcmul_(lanes.parameters, self.decay * scale[:, None])
                adam_step(lanes, gradient, self.learning_rate)

    def measure(self, lanes: Lanes, train: Tensor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each lane: (quantities, environments), and (probes,)."""
        with self.network.threads():
            parts = [measure(train, self.data.train.labels)]
            for name, inputs in self.measured.items():
                logits = self.network.logits(lanes.parameters, inputs)
                parts.append(measure(logits.unsqueeze(1), self.data.measured[name].labels.unsqueeze(1)))
            return zip(
                torch.cat(parts, dim=2).transpose(0, 1).cpu().numpy(),
                self.probe(lanes, train).cpu().numpy(),
                strict=True,
            )

    def _probes(self) -> tuple[Tensor, object]:
        """Which training examples are probed, and those in grey, then in the other colour."""
        train = self.data.train
        chosen = torch.from_numpy(probed(self.config, train.rows.shape[2])).to(train.rows.device)
        rows, labels, colours = (part[:, :, chosen] for part in (train.rows, train.labels, train.colours))
        recoloured = torch.cat([torch.full_like(colours, GREY), 1 - colours], dim=2)
        return chosen, self.network.inputs(Examples(rows.repeat(1, 1, 2), labels.repeat(1, 1, 2), recoloured))

    def probe(self, lanes: Lanes, train: Tensor) -> Tensor:
        """What training images alone tell at a checkpoint: (lanes, probes), in the order of PROBES.

        train: logits of the training environments."""
        labels = self.data.train.labels[:, :, self.probed] > 0.5
        seen = train[:, :, self.probed] > 0
        grey, swapped = (self.network.logits(lanes.parameters, self.recoloured) > 0).chunk(2, dim=2)
        answers = torch.stack([grey == labels, swapped == labels, swapped != seen], dim=1)
        return answers.float().mean((2, 3))

    def _batches(self, lanes: Lanes) -> Iterator[tuple[Tensor, tuple[Tensor, Callable[[Tensor], Tensor]]]]:
        """Minibatches: as many examples of each environment, in an order that each seed draws anew."""
        train = self.data.train
        environments, count = train.rows.shape[1:]
        size = min(self.config.batch_size, count)
        order = np.stack(
            [
                [stream(seed, f"batches, {lanes.epoch}, {number}").permutation(count) for number in range(environments)]
                for seed in self.seeds
            ]
        )
        order = torch.from_numpy(order).to(train.rows.device)
        for batch in order[..., : count - count % size].split(size, dim=2):
            examples = Examples(*(part.gather(2, batch) for part in (train.rows, train.labels, train.colours)))
            yield examples.labels, self.network.forward(lanes.parameters, self.network.inputs(examples))

    def _column(self, values: list[float]) -> Tensor:
        """(lanes, 1)"""
        return torch.tensor(values, dtype=torch.float32, device=self.data.pixels.device)[:, None]


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
    """Gradient of scale · (risk + weight · penalty), summed over runs, with respect to the logits."""
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        risk, penalty = objective(logits, labels)
        return torch.autograd.grad((scale * risk + scale * weight * penalty).sum(), logits)[0]


def measure(logits: Tensor, labels: Tensor) -> Tensor:
    """(quantities, runs, environments) from (runs, environments, examples), in the order of QUANTITIES."""
    positive, risk = logits > 0, risks(logits, labels)
    accuracy = (positive == (labels > 0.5)).float().mean(-1)
    return torch.stack(
        [
            risk,
            accuracy.where(risk.isfinite(), torch.nan),  # a number that is none lies on no side of 0
            signed_gradients(logits, labels),
            logits.std(-1),
            positive.float().mean(-1),
        ]
    )


def adam_step(lanes: Lanes, gradient: Tensor, learning_rate: Tensor) -> None:
    """Adam with a learning rate for each run (Kingma & Ba 2015, as torch.optim.Adam computes it)."""
    lanes.steps += 1
    lanes.mean.lerp_(gradient, 1 - BETA1)
    lanes.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    correction1, correction2 = 1 - BETA1**lanes.steps, 1 - BETA2**lanes.steps
    denominator = lanes.square.sqrt().div_(correction2**0.5).add_(EPSILON)
    lanes.parameters.addcdiv_(lanes.mean * (-learning_rate / correction1), denominator)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
