"""Where batches of runs are trained: in this process, or in local processes. One interface.

A worker is a pure function of a batch, so nothing is lost with a worker but its batch, which is
submitted again. What a batch's curves mean, and where they are stored, is the driver's business.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
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
    """Runs for one worker: run i has configs[i] and seeds[i]. tag: the driver's own mark."""

    configs: tuple[RunConfig, ...]
    seeds: tuple[int, ...]
    digits: str
    environments: EnvironmentSpec
    data_root: str | None = None
    device: str = "cpu"
    share_prefix: bool = True
    tag: Any = None


def train_batch(batch: Batch, threads: int | None = None) -> list[Curves]:
    """What a worker does."""
    import torch

    from irm_study.digits import load_digits
    from irm_study.training import train

    if threads:
        torch.set_num_threads(threads)
    digits = load_digits(batch.digits, batch.data_root)
    return train(batch.configs, batch.seeds, digits, batch.environments, batch.device, batch.share_prefix)


class Workers:
    """Trains batches on `jobs` local processes of one thread each, or here (as on a GPU) when jobs is 1."""

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
        if self.jobs == 1:
            # Trained when its result is asked for: what was trained before it is written by then.
            self.pending[Future()] = batch, attempt
            return
        if self.executor is None:
            self.executor = local_processes(self.jobs)
        try:
            future = self.executor.submit(train_batch, batch, 1)
        except BrokenProcessPool:
            self.executor = local_processes(self.jobs)
            future = self.executor.submit(train_batch, batch, 1)
        self.pending[future] = batch, attempt

    def finished(self) -> Iterator[tuple[Batch, list[Curves]]]:
        """Wait for at least one of the submitted batches, and yield those that are done.

        Raises ExecutionError when a batch cannot be trained.
        """
        if self.jobs == 1:
            future = next(iter(self.pending))
            batch, _ = self.pending.pop(future)
            yield batch, _result(batch, lambda: train_batch(batch))
            return
        done, _ = wait(self.pending, return_when=FIRST_COMPLETED)
        again = []
        for future in done:
            batch, attempt = self.pending.pop(future)
            try:
                curves = _result(batch, future.result)
            except BrokenProcessPool as error:
                if attempt == ATTEMPTS:
                    raise ExecutionError(
                        f"a worker process died {ATTEMPTS} times while training {_described(batch)}: most often memory "
                        "is short; try fewer --jobs"
                    ) from error
                again.append((batch, attempt + 1))
                continue
            yield batch, curves
        for batch, attempt in again:
            self.submit(batch, attempt)


def _result(batch: Batch, curves: Callable[[], list[Curves]]) -> list[Curves]:
    """A batch's curves, or why they cannot be had, in one message."""
    try:
        return curves()
    except (RuntimeError, ValueError, MemoryError, OSError) as error:
        if isinstance(error, BrokenProcessPool):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ExecutionError(f"training {_described(batch)} failed: {reason}") from error


def _described(batch: Batch) -> str:
    changed = batch.configs[0].model_dump(exclude_defaults=True)
    values = ", ".join(f"{name} = {value!r}" for name, value in changed.items())
    return f"seeds {list(batch.seeds)} of the configuration {{ {values} }}"


def split(items: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    """Into at most so many parts of nearly one size."""
    parts = max(1, min(parts, len(items)))
    bounds = [round(part * len(items) / parts) for part in range(parts + 1)]
    return [items[start:stop] for start, stop in itertools.pairwise(bounds)]


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def local_processes(jobs: int) -> Executor:
    return get_reusable_executor(
        max_workers=jobs,
        timeout=600,
        initializer=_begin_worker,
        initargs=(os.getpid(),),
        env={name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    )


def _begin_worker(driver: int) -> None:
    """Ctrl-C reaches every process of the terminal, and the driver alone decides what ends; but a driver
    that was killed decides nothing any more, and its workers would train on beside those of the next."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
