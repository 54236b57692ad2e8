"""Where batches of runs are trained: in this process, or in local processes. One interface.

A worker is a pure function of a batch, so nothing is lost with a worker but its batch, which is
submitted again. What a batch's curves mean, and where they are stored, is the driver's business.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from joblib.externals.loky import get_reusable_executor

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.curves import Curves

ATTEMPTS = 5
"""How often a batch is submitted whose worker dies, before the study gives up on it."""


class ExecutionError(RuntimeError):
    """The work failed, not the input."""


@dataclass(frozen=True)
class Batch:
    """Runs that train as one program: run i has configs[i] and seeds[i]. tag: the driver's own mark."""

    configs: tuple[RunConfig, ...]
    seeds: tuple[int, ...]
    digits: str
    environments: EnvironmentSpec
    data_root: str | None = None
    device: str = "cpu"
    tag: Any = None


def train_batch(batch: Batch, threads: int | None = None) -> list[Curves]:
    """What a worker does."""
    import torch

    from irm_study.digits import load_digits
    from irm_study.training import train

    if threads:
        torch.set_num_threads(threads)
    return train(
        batch.configs, batch.seeds, load_digits(batch.digits, batch.data_root), batch.environments, batch.device
    )


class InProcess(Executor):
    """Trains where it is called: with `--jobs 1`, and on a GPU."""

    def submit(self, function, /, *arguments, **keywords) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


class Workers:
    """Trains batches on `jobs` local processes of one thread each, or here when jobs is 1."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.pending: dict[Future, tuple[Batch, int]] = {}
        self.executor: Executor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.jobs > 1 and self.executor is not None:
            self.executor.shutdown(wait=exception[0] is None, kill_workers=True)

    def submit(self, batch: Batch, attempt: int = 1) -> None:
        if self.executor is None:
            self.executor = _local_processes(self.jobs) if self.jobs > 1 else InProcess()
        try:
            future = self.executor.submit(train_batch, batch, 1 if self.jobs > 1 else None)
        except BrokenProcessPool:
            self.executor = _local_processes(self.jobs)
            future = self.executor.submit(train_batch, batch, 1)
        self.pending[future] = batch, attempt

    def finished(self) -> Iterator[tuple[Batch, list[Curves]]]:
        """Wait for at least one of the submitted batches, and yield those that are done."""
        done, _ = wait(self.pending, return_when=FIRST_COMPLETED)
        again = []
        for future in done:
            batch, attempt = self.pending.pop(future)
            try:
                curves = future.result()
            except BrokenProcessPool as error:
                if attempt == ATTEMPTS:
                    raise ExecutionError(
                        f"a worker process died {ATTEMPTS} times while training seeds {list(batch.seeds)} of "
                        f"{batch.configs[0]}: most often memory is short; try fewer --jobs"
                    ) from error
                again.append((batch, attempt + 1))
                continue
            yield batch, curves
        for batch, attempt in again:
            self.submit(batch, attempt)


def split(items: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    """Into at most so many parts of nearly one size."""
    parts = max(1, min(parts, len(items)))
    bounds = [round(part * len(items) / parts) for part in range(parts + 1)]
    return [items[start:stop] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _local_processes(jobs: int) -> Executor:
    return get_reusable_executor(
        max_workers=jobs,
        timeout=600,
        initializer=_ignore_interrupts,
        env={name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    )


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; the driver alone decides what ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
