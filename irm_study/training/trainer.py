"""The trainer: runs, from their seeds to their curves.

Which runs train side by side, which share the epochs before their anneal epochs, when each is measured and when it
ends. What an epoch does is in `program`; what is measured goes to `Curves`, and what it means is decided in
`diagnosis`.

Shared prefixes. Runs of one seed that differ in nothing that acts before their anneal epochs have the same first
epochs, and these are trained once. The run with the latest anneal epoch is the *trunk*; at their own anneal epochs the
others *branch off*: each goes on from a copy of the trunk's state.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import torch

from irm_study.config import FROM_ANNEAL, EnvironmentSpec, RunConfig
from irm_study.data import Digits, Environments, build_environments
from irm_study.diagnosis import PROBES, QUANTITIES, Curves, reason_to_stop
from irm_study.methods import needs_of, penalty_weights
from irm_study.training.program import Program, Step, initial_state
from irm_study.training.state import Run, TrainingState

BEFORE_ANNEAL = ("initial_weight", "learning_rate", "l2_weight", "initial_seed")
"""Hyperparameters that act from the first epoch and may differ between runs that train side by side, as may
FROM_ANNEAL. All others shape the program."""


def train(
    configs: Sequence[RunConfig],
    seeds: Sequence[int],
    digits: Digits,
    environments: EnvironmentSpec,
    device: torch.device | str = "cpu",
    share_prefix: bool = True,
) -> list[Curves]:
    """The curves of runs, in their order: run i has configs[i] and seeds[i].

    Runs whose configurations shape one program train side by side, as many as memory holds. With `share_prefix` runs of
    one seed that agree in everything before their anneal epochs train these epochs once; their curves are the same.
    """
    runs = [Run(number, config, seed) for number, (config, seed) in enumerate(zip(configs, seeds, strict=True))]
    curves: dict[int, Curves] = {}
    for groups in _programs(runs, share_prefix):
        width = runs_in_memory(groups[0][0].config, digits, environments, device)
        for first in range(0, len(groups), width):
            curves |= _train_side_by_side(groups[first : first + width], digits, environments, device)
    return [curves[run.number] for run in runs]


def checkpoints(config: RunConfig) -> list[int]:
    """Epochs after which a run is measured: 0, every `checkpoint_every`, and the last."""
    return [*range(0, config.epochs, config.checkpoint_interval), config.epochs]


def shared_settings(config: RunConfig) -> tuple[tuple[str, Any], ...]:
    """What runs must share to train side by side: hyperparameters, with their values."""
    return tuple((name, value) for name, value in config if name not in BEFORE_ANNEAL + FROM_ANNEAL)


def runs_in_memory(config: RunConfig, digits: Digits, spec: EnvironmentSpec, device: torch.device | str) -> int:
    """How many runs train side by side in half of the memory that is free; one at least."""
    phases = digits.phases if spec.resolution == 14 else 1
    images, side = len(digits.images) * phases, spec.resolution
    batch = images if config.batch_size is None else config.batch_size * len(spec.train_flips)
    # An example takes: its image; in training also the image as numbers (MLP) or what the convolutions keep; and the
    # output of each hidden layer.
    maps = 100 * side * side if config.model == "convnet" else 2 * side * side
    kept = maps + (config.layers + 1) * config.hidden
    needed = needs_of(config)
    kept += 2 * config.hidden * ("features" in needed)  # they and their gradients, whole
    kept *= 3 if "gradients" in needed else 1  # derivatives are differentiated once more
    size = images * side * side + 4 * batch * kept
    if torch.device(device).type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    return max(1, int(free / 2 // size))


def _programs(runs: Sequence[Run], share_prefix: bool) -> list[list[list[Run]]]:
    """For each program the groups of runs that share a prefix; every run is in one group."""
    programs: dict[Hashable, dict[Hashable, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        start = tuple(getattr(run.config, name) for name in BEFORE_ANNEAL)
        programs[shared_settings(run.config)][run.seed, start, None if share_prefix else run.number].append(run)
    return [list(groups.values()) for groups in programs.values()]


def _train_side_by_side(
    groups: list[list[Run]], digits: Digits, environments: EnvironmentSpec, device: torch.device | str
) -> dict[int, Curves]:
    """Curves by the number of the run; where memory is short, of one half of the groups after the other."""
    try:
        data = build_environments(digits, environments, [runs[0].seed for runs in groups], device)
        return {run.number: curves for run, curves in Trainer(data, groups[0][0].config).train(groups)}
    except RuntimeError as error:
        if len(groups) == 1 or not _is_out_of_memory(error):
            raise
    half = len(groups) // 2
    curves = [_train_side_by_side(part, digits, environments, device) for part in (groups[:half], groups[half:])]
    return curves[0] | curves[1]


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class Trainer:
    """Trains runs of one program to their ends, on some drawn environments. config: stands for what the runs share."""

    def __init__(self, data: Environments, config: RunConfig):
        self.data, self.config = data, config
        self.checkpoints = checkpoints(config)

    def train(self, groups: Sequence[Sequence[Run]]) -> Iterator[tuple[Run, Curves]]:
        """The curves of each run, when it ends. groups: for each position along the data's run axis, the runs that
        share a prefix there."""
        ordered = [sorted(runs, key=lambda run: run.config.anneal_epoch) for runs in groups]
        waiting = {position: runs[:-1] for position, runs in enumerate(ordered)}
        states = [initial_state([runs[-1] for runs in ordered], self.data)]
        while states:
            yield from self._finish(states.pop(), waiting, states)

    def _finish(
        self, state: TrainingState, waiting: dict[int, list[Run]], branches: list[TrainingState]
    ) -> Iterator[tuple[Run, Curves]]:
        """Train until every run of the state has ended. waiting: as `branch_off` takes it; its states go to
        `branches`."""
        program, clock = Program(self.data, state), time.perf_counter()
        while True:
            branches.extend(branch_off(state, waiting))
            step = program.forward(state)
            if state.epoch in self.checkpoints:
                clock = _record(program, state, step, clock, last=state.epoch == self.config.epochs)
                reasons = [self._reason_to_end(state, place) for place in range(len(state.runs))]
                if stopped := [place for place, reason in enumerate(reasons) if reason]:
                    _probe_all(program, state, step, stopped)
                for place, reason in enumerate(reasons):
                    if reason is not None:
                        yield from self._ended(state, place, reason, waiting)
                staying = [place for place, reason in enumerate(reasons) if reason is None]
                if not staying:
                    return
                if len(staying) < len(reasons):
                    state = state.take(staying)
                    program = Program(self.data, state)
                    step = program.forward(state)
            program.epoch(state, step)

    def _ended(
        self, state: TrainingState, place: int, reason: str, waiting: dict[int, list[Run]]
    ) -> Iterator[tuple[Run, Curves]]:
        """A run that has ended, and the runs still waiting to branch off it: until here their curves are the same."""
        curves = self._curves(state, place, reason)
        yield state.runs[place], curves
        for run in waiting.pop(state.positions[place], []):
            yield run, replace(curves, seconds=0.0, shared_epochs=int(curves.epoch[-1]),
                               penalty_weight=self._weights_at(run, curves.epoch))  # fmt: skip

    def _reason_to_end(self, state: TrainingState, place: int) -> str | None:
        """None: the run goes on; "": it has trained its last epoch; else why it stops before."""
        if state.epoch == self.config.epochs:
            return ""
        return reason_to_stop(self._curves(state, place, ""), self.data.spec, state.runs[place].config) or None

    def _curves(self, state: TrainingState, place: int, stopped: str) -> Curves:
        quantities, probes = zip(*state.history[place], strict=True)
        epoch = np.asarray(self.checkpoints[: len(quantities)])
        return Curves(
            environments=self.data.spec.names,
            epoch=epoch,
            penalty_weight=self._weights_at(state.runs[place], epoch),
            **dict(zip(QUANTITIES, np.stack(quantities, axis=1), strict=True)),
            **dict(zip(PROBES, np.stack(probes, axis=1), strict=True)),
            examples=self.data.counts,
            seconds=state.seconds[place],
            stopped=stopped,
            shared_epochs=state.shared_epochs[place],
        )

    def _weights_at(self, run: Run, epoch: np.ndarray) -> np.ndarray:
        """The penalty weight of the epoch that follows each checkpoint; at the end, of the last one."""
        weights: np.ndarray = penalty_weights(run.config)[np.minimum(epoch, self.config.epochs - 1)]
        return weights


def branch_off(state: TrainingState, waiting: dict[int, list[Run]]) -> Iterator[TrainingState]:
    """The states of runs whose anneal epoch has come, copied from those of their trunks; they are taken out of
    `waiting`.

    waiting: by position along the run axis, runs in the order of their anneal epochs. Runs of different positions train
    side by side, as their trunks do; those of one position do so one after the other.
    """
    leaving: dict[int, list[Run]] = {}
    for place, position in enumerate(state.positions):
        runs = waiting.get(position, [])
        while runs and runs[0].config.anneal_epoch == state.epoch:
            leaving.setdefault(place, []).append(runs.pop(0))
    while leaving:
        taken = {place: runs.pop() for place, runs in leaving.items()}
        leaving = {place: runs for place, runs in leaving.items() if runs}
        branch = state.take(list(taken))
        branch.runs = list(taken.values())
        branch.seconds = [0.0] * len(taken)
        branch.shared_epochs = [state.epoch] * len(taken)
        yield branch


def _probe_all(program: Program, state: TrainingState, step: Step | None, places: Sequence[int]) -> None:
    """Probe runs that stop at a checkpoint on all their training examples, as at a run's last epoch."""
    train = step[0]["logits"] if step else program.train_logits(state)
    probes = program.measurement.probe_all(state.parameters, train)
    for place in places:
        quantities, _ = state.history[place][-1]
        state.history[place][-1] = quantities, probes[place]


def _record(program: Program, state: TrainingState, step: Step | None, clock: float, last: bool) -> float:
    """Add measurements to the runs' history, and the time since `clock` to their seconds; returns the time now."""
    train = step[0]["logits"] if step else program.train_logits(state)
    measured_runs = program.measurement.measure(state.parameters, train, last)
    for history, measured in zip(state.history, measured_runs, strict=True):
        history.append(measured)
    now = time.perf_counter()
    state.seconds = [seconds + (now - clock) / len(state.runs) for seconds in state.seconds]
    return now
