"""What a study, or a configuration, will cost: runs, time and memory, before anything is trained.

From the arithmetic of its epochs and the speed of a matrix product on one core now. Runs that are given up, pruned or
share epochs take less, so it is what the work takes at most; where other work keeps the cores busy, it takes longer.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from irm_study.config import EnvironmentSpec, Range, RunConfig, StudySpec, TrainSpec, takes_fast_network
from irm_study.execution import available_cores
from irm_study.study.confirm_stage import runs_after

PRODUCT_ROWS = 1024
LIT = 110
"""Pixels of a 14 × 14 image that the fast network multiplies, in the mean."""
CHANNELS = {"grey": 1, "two": 2, "rgb": 3}
FAST, OTHER = 0.9, 0.2
"""Speed over that of the matrix product, of the fast network (hidden layers that are not wide less: `_speed`) and of
any other; measured on an AMD EPYC (Zen 4, AVX-512): .85 at hidden 390, .65 at 83, and .2 of the convolutional one."""
NARROW = 40
"""Units of a hidden layer at which half of the speed is lost."""
PROCESS_BYTES = 700 * 2**20
"""Of a worker, before it has data: Python and its libraries."""


class Estimate(NamedTuple):
    """runs: how many are trained at most. seconds: of all, on so many cores at once. memory_bytes: of all workers."""

    runs: int
    seconds: float
    memory_bytes: float


def product_speed() -> float:
    """Floating-point operations a second of a single-precision matrix product on one core."""
    left = np.random.default_rng(0).random((PRODUCT_ROWS, PRODUCT_ROWS), dtype=np.float32)
    seconds = []
    with threadpool_limits(1):
        left @ left
        for _ in range(5):
            began = time.perf_counter()
            left @ left
            seconds.append(time.perf_counter() - began)
    return 2.0 * PRODUCT_ROWS**3 / statistics.median(seconds)


def estimate(spec: StudySpec | TrainSpec, speed: float, jobs: int | None = None, seeds: int = 1) -> Estimate:
    """What a study costs, or one configuration on some seeds. speed: as `product_speed`. jobs: None for every core."""
    jobs = jobs or available_cores()
    runs, widest = seeds, spec.run
    if isinstance(spec, StudySpec):
        runs = spec.budget * len(spec.study.seed_list) + runs_after("search", spec)
        widest = spec.configure({key: _largest(entry) for key, entry in spec.search.items() if key in WORK})
    images = _images(spec)
    seconds = _operations(widest, spec.environments, images) / (speed * _share(widest, spec.environments))
    side_by_side = min(jobs, available_cores(), runs)
    memory = min(jobs, runs) * (PROCESS_BYTES + images * _bytes_of_an_example(widest, spec.environments))
    return Estimate(runs, runs * seconds / side_by_side, memory)


WORK = ("epochs", "hidden", "layers", "model")
"""Hyperparameters that decide what an epoch costs; of a range that is searched the largest counts."""


def _largest(entry: Range | tuple[Any, ...]) -> Any:
    if isinstance(entry, Range):
        return entry.high
    return max(entry) if all(isinstance(each, int) for each in entry) else entry[0]


def _images(spec: StudySpec | TrainSpec) -> int:
    if spec.digits != "embedded":
        return 60_000
    return 20_000 if spec.environments.resolution == 14 else 5_000


def _operations(run: RunConfig, environments: EnvironmentSpec, images: int) -> float:
    """Floating-point operations of a run: forward and twice as much back on what is trained on, forward on what is
    measured."""
    measured = environments.test_examples or images // (6 if images == 60_000 else 5)
    passes = 3 * run.epochs * (images - measured) + 3 * measured * (run.epochs / run.checkpoint_interval)
    return 2.0 * passes * _multiplications(run, environments)


def _multiplications(run: RunConfig, environments: EnvironmentSpec) -> float:
    """Of one example on its way through the network."""
    pixels = CHANNELS[environments.channels] * environments.resolution**2
    hidden = run.hidden * (run.layers - 1) * run.hidden + run.hidden
    if run.model == "convnet":
        return 25 * (24**2 * CHANNELS[environments.channels] * 20 + 8**2 * 20 * 50) + 800 * run.hidden + hidden
    lit = LIT * (environments.resolution / 14) ** 2 if takes_fast_network(environments, run) else pixels
    return lit * run.hidden + hidden


def _share(run: RunConfig, environments: EnvironmentSpec) -> float:
    """Of a matrix product's speed."""
    return FAST * run.hidden / (run.hidden + NARROW) if takes_fast_network(environments, run) else OTHER


def _bytes_of_an_example(run: RunConfig, environments: EnvironmentSpec) -> float:
    """Its image, and where training is not in minibatches what is kept of its hidden layers between the two passes."""
    kept = 4.0 * run.layers * run.hidden if run.batch_size is None else 0.0
    return environments.resolution**2 + kept
