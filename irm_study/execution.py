"""Where batches of runs are trained: in this process, in local processes, on a cluster. One interface.

A worker is a pure function of a batch, so nothing is lost with a worker but its batch, which is
submitted again. What a batch's curves mean, and where they are stored, is the driver's business.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import platform
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from joblib.externals.loky import get_reusable_executor

from irm_study import __version__
from irm_study.cluster import Cluster, ClusterLost, open_cluster
from irm_study.config import ConfigError, EnvironmentSpec, RunConfig
from irm_study.curves import Curves

log = logging.getLogger("irm_study")
"""What went wrong and what was done about it; without a handler it is printed on stderr."""
PATIENCE = 600
"""Seconds to wait for a scheduler that went away."""
OWN: dict[str, Any] = {}
"""Of a worker process on a machine with several GPUs: its device."""
ATTEMPTS = 5
"""How often a batch is submitted whose worker dies, before the study gives up on it."""

GATHER = 0.05
"""Of the time that was waited for a batch: how much longer to wait, for others that are written and told with it."""


class ExecutionError(RuntimeError):
    """The work failed, not the input."""


class WorkerDied(RuntimeError):
    """A batch was lost with its worker."""


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


def train_batch(batch: Batch, threads: int | None = None, version: str = __version__) -> list[Curves]:
    """What a worker does. version: the driver's; a worker of another would train by other rules."""
    import torch

    from irm_study.digits import load_digits
    from irm_study.training import train

    if version != __version__:
        raise ValueError(f"the worker has irm-study {__version__}, the driver {version}: install the same")
    if threads:
        torch.set_num_threads(threads)
    device = OWN.get("device", batch.device)
    digits = load_digits(batch.digits, batch.data_root)
    return train(batch.configs, batch.seeds, digits, batch.environments, device, batch.share_prefix)


class Workers:
    """Trains batches here (one job, as on a GPU), in local processes of one thread each, or on a Dask cluster."""

    def __init__(self, jobs: int, device: str = "cpu", scheduler: str | None = None):
        self.jobs, self.device, self.scheduler = jobs, device, scheduler
        self.pending: dict[Future, tuple[Batch, int]] = {}
        self.executor: Executor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        if isinstance(self.executor, Here | Cluster):
            self.executor.shutdown(wait=exception[0] is None)
        elif self.executor is not None:
            self.executor.shutdown(wait=exception[0] is None, kill_workers=True)

    def submit(self, batch: Batch, attempt: int = 1) -> None:
        """Have a batch trained; a scheduler that went away is waited for. attempt: of ATTEMPTS, which one it is.

        Raises ConfigError where nothing can be opened, ExecutionError where a scheduler stays away.
        """
        here = self.jobs == 1 and self.scheduler is None
        threads = None if here else 1
        if self.executor is None:
            self.executor = self._open()
        try:
            future = self.executor.submit(train_batch, batch, threads, __version__)
        except (BrokenProcessPool, ClusterLost) as error:
            if isinstance(error, ClusterLost):
                self._wait_for_scheduler()
            else:
                self.executor = self._open()
            future = self.executor.submit(train_batch, batch, threads, __version__)
        self.pending[future] = batch, attempt

    def finished(self) -> Iterator[tuple[Batch, list[Curves]]]:
        """Wait for at least one of the submitted batches, and a little for others; yield those that are done.

        Raises ExecutionError when a batch cannot be trained.
        """
        if isinstance(self.executor, Here):
            self.executor.work()
        began = time.monotonic()
        wait(self.pending, return_when=FIRST_COMPLETED)
        done, _ = wait(self.pending, timeout=GATHER * (time.monotonic() - began))
        again, lost = [], False
        for future in done:
            batch, attempt = self.pending.pop(future)
            if future.cancelled():  # with the connection to the scheduler; no fault of the batch
                again.append((batch, attempt))
                lost = True
                continue
            try:
                curves = _result(batch, future)
            except WorkerDied as error:
                if attempt == ATTEMPTS:
                    raise ExecutionError(
                        f"a worker process died {ATTEMPTS} times while training {_described(batch)}: most often memory "
                        "is short; try fewer --jobs"
                    ) from error
                again.append((batch, attempt + 1))
                continue
            yield batch, curves
        if lost:
            again += self.pending.values()
            self.pending.clear()
        if again:
            self._submit_again(again, lost)

    def _submit_again(self, again: Sequence[tuple[Batch, int]], lost: bool) -> None:
        runs = sum(len(batch.seeds) for batch, _ in again)
        if lost:
            self._wait_for_scheduler()
            log.warning("%s: %d runs that were being trained are submitted again", self.scheduler, runs)
        else:
            log.warning("a worker process died; %d runs that were being trained are submitted again", runs)
        for batch, attempt in again:
            self.submit(batch, attempt)

    def _wait_for_scheduler(self) -> None:
        log.warning("%s: the scheduler went away; waiting up to %d minutes for it", self.scheduler, PATIENCE // 60)
        self.executor.shutdown(wait=False)
        self.executor = self._open(PATIENCE)
        log.warning("%s: answers again", self.scheduler)

    def _open(self, patience: float = 0) -> Executor:
        if self.scheduler is not None:
            try:
                return open_cluster(self.scheduler, patience)
            except ConfigError as error:
                if not patience:
                    raise
                raise ExecutionError(f"{error}; what was trained is kept: run the same command again") from error
        return Here() if self.jobs == 1 else local_processes(self.jobs, self.device)


class Here(Executor):
    """This process. A batch is trained when its result is waited for: what was trained before is written by then."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future, Callable[[], Any]]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future:
        future: Future = Future()
        self.waiting.append((future, lambda: function(*arguments, **keywords)))
        return future

    def work(self) -> None:
        future, work = self.waiting.pop(0)
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.waiting.clear()


def _result(batch: Batch, future: Future) -> list[Curves]:
    try:
        return future.result()
    except Exception as error:
        if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":
            raise WorkerDied from error
        if not isinstance(error, RuntimeError | ValueError | MemoryError | OSError | ImportError):
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


def check_device(device: str) -> None:
    """Raise ConfigError where torch cannot use a device."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {device}: torch cannot use it: {str(error).splitlines()[0]}") from None


def check_work(digits: str, environments: EnvironmentSpec, device: str, data_root: str | None) -> None:
    """Whether a worker could begin here. Raises ConfigError or DigitsError, and ValueError for the environments."""
    from irm_study.digits import load_digits
    from irm_study.environments import build_environments

    check_device(device)
    build_environments(load_digits(digits, data_root), environments, [0])


def on_cluster(scheduler: str, *wanted: Any) -> int:
    """`check_work` on a worker of the cluster, the first that is there; returns how many batches it trains at once."""
    cluster = open_cluster(scheduler)
    try:
        if not cluster.slots():
            log.warning("%s: no worker yet; waiting for the first", scheduler)
        try:
            cluster.submit(check_work, *wanted).result()
        except (CancelledError, ClusterLost):
            raise ConfigError(f"--scheduler {scheduler}: went away before any work") from None
        return max(1, cluster.slots())
    finally:
        cluster.shutdown(wait=False)


def default_jobs(device: str) -> int:
    """A process for each core, or for each GPU."""
    if device == "cpu":
        return available_cores()
    return max(1, len(gpus())) if device == "cuda" else 1


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def local_processes(jobs: int, device: str = "cpu") -> Executor:
    """So many processes of one thread each; of `cuda` each with a GPU of its own."""
    return get_reusable_executor(
        max_workers=jobs,
        timeout=600,
        initializer=_begin_worker,
        initargs=(os.getpid(), gpus() if device == "cuda" else ()),
        env={name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    )


def gpus() -> tuple[str, ...]:
    """The devices that `--device cuda` stands for: a worker for each."""
    import torch

    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def _begin_worker(driver: int, devices: Sequence[str] = ()) -> None:
    """Ctrl-C reaches every process of the terminal, and the driver alone decides what ends; but a driver
    that was killed decides nothing any more, and its workers would train on beside those of the next."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if devices:
        OWN["device"], OWN["lock"] = own_device(driver, devices)

    def follow() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def own_device(driver: int, devices: Sequence[str]) -> tuple[str, filelock.FileLock]:
    """The first of the devices that no other worker of this driver has, and the lock that keeps it."""
    for device in itertools.cycle(devices):
        lock = filelock.FileLock(Path(tempfile.gettempdir()) / f"irm-study-{driver}-{device.replace(':', '-')}.lock")
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=0.05)
            return device, lock
    raise ValueError("no devices")
