"""Batches handed to workers, wherever these are, and collected: in this process, in local processes, on a cluster.

Nothing is lost with a worker but the batches that it was at, which are submitted again. What a batch's curves mean, and
where they are stored, is the driver's business.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool

from irm_study import __version__
from irm_study.diagnosis import Curves
from irm_study.errors import ConfigError, ExecutionError
from irm_study.execution.batch import Batch, train_batch
from irm_study.execution.cluster import ClusterLost, open_cluster
from irm_study.execution.in_process import InProcess
from irm_study.execution.processes import BATCHES_PER_PROCESS, LocalProcesses

log = logging.getLogger("irm_study")
"""What went wrong and what was done about it; without a handler it is printed on stderr."""
SCHEDULER_WAIT_SECONDS = 600
"""How long a scheduler that went away is waited for."""
ATTEMPTS = 5
"""How often a batch is submitted whose worker dies, before the study gives up on it."""
GATHER_FRACTION = 0.05
"""Of the time that was waited for a batch: how much longer to wait, for others that are written with it."""


class Disconnected(RuntimeError):
    """A batch was lost with the connection to the scheduler."""


class WorkerDied(RuntimeError):
    """A batch was lost with its worker."""


class Workers:
    """Trains batches here (one job, as on a GPU), in local processes of one thread each, or on a Dask cluster.

    pending: what the executor has and has not returned: each batch, and which of its ATTEMPTS this is. waiting: what it
    is given when there is room, likewise; nothing waits while the executor has nothing.
    """

    def __init__(self, jobs: int, device: str = "cpu", scheduler: str | None = None):
        self.jobs, self.device, self.scheduler = jobs, device, scheduler
        self.room = math.inf if jobs == 1 or scheduler is not None else jobs * BATCHES_PER_PROCESS
        self.pending: dict[Future[list[Curves]], tuple[Batch, int]] = {}
        self.waiting: deque[tuple[Batch, int]] = deque()
        self.executor: Executor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=exception[0] is None)

    def submit(self, batch: Batch) -> None:
        """Have a batch trained; a scheduler that went away is waited for.

        Raises ConfigError where a scheduler cannot be had, ExecutionError where it stays away, or where no processes
        can be started.
        """
        self.waiting.append((batch, 1))
        self._hand_out()

    def finished(self) -> Iterator[tuple[Batch, list[Curves]]]:
        """Wait for at least one of the submitted batches, and a little for others; yield those that are trained.

        Raises ExecutionError where a batch cannot be trained, after the others; and what `submit` raises.
        """
        trained: list[tuple[Batch, list[Curves]]] = []
        again: list[tuple[Batch, int]] = []
        disconnected = False
        failure: Exception | None = None
        for future in self._wait():
            batch, attempt = self.pending.pop(future)
            try:
                trained.append((batch, _result(future, batch, attempt)))
            except Disconnected:
                disconnected = True
                again.append((batch, attempt))
            except WorkerDied:
                again.append((batch, attempt + 1))
            except Exception as error:
                failure = failure or error
        yield from trained
        if failure is not None:
            raise failure
        if again:
            self._take_back(again, disconnected)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give the executor what waits, as far as there is room."""
        while self.waiting and len(self.pending) < self.room:
            batch, attempt = self.waiting.popleft()
            if self.executor is None:
                self.executor = self._open()
            try:
                future = _submit(self.executor, batch)
            except (BrokenProcessPool, ClusterLost) as error:
                self.executor = self._wait_for_scheduler() if isinstance(error, ClusterLost) else self._open()
                future = _submit(self.executor, batch)
            self.pending[future] = batch, attempt

    def _wait(self) -> list[Future[list[Curves]]]:
        """The futures that are done, at least one, in the order in which they were submitted."""
        if isinstance(self.executor, InProcess):
            self.executor.train_next()
        began = time.monotonic()
        wait(self.pending, return_when=FIRST_COMPLETED)
        done = wait(self.pending, timeout=GATHER_FRACTION * (time.monotonic() - began)).done
        return [future for future in self.pending if future in done]

    def _take_back(self, again: list[tuple[Batch, int]], disconnected: bool) -> None:
        """Have what was lost wait, before all else; with the connection to a scheduler all is lost that it had."""
        if disconnected:
            again = [*again, *self.pending.values()]
            self.pending.clear()
        runs = sum(len(batch.seeds) for batch, _ in again)
        if disconnected:
            self.executor = self._wait_for_scheduler()
            log.warning("%s: %d runs that were being trained are submitted again", self.scheduler, runs)
        else:
            log.warning("a worker process died; %d runs that were being trained are submitted again", runs)
        self.waiting.extendleft(reversed(again))

    def _wait_for_scheduler(self) -> Executor:
        minutes = SCHEDULER_WAIT_SECONDS // 60
        log.warning("%s: the scheduler went away; waiting up to %d minutes for it", self.scheduler, minutes)
        if self.executor is not None:
            self.executor.shutdown(wait=False)
        executor = self._open(SCHEDULER_WAIT_SECONDS)
        log.warning("%s: answers again", self.scheduler)
        return executor

    def _open(self, patience_seconds: float = 0) -> Executor:
        if self.scheduler is None:
            return InProcess() if self.jobs == 1 else LocalProcesses(self.jobs, self.device)
        try:
            return open_cluster(self.scheduler, patience_seconds)
        except ConfigError as error:
            if not patience_seconds:
                raise
            raise ExecutionError(f"{error}; what was trained is kept: run the same command again") from error


def _submit(executor: Executor, batch: Batch) -> Future[list[Curves]]:
    threads = None if isinstance(executor, InProcess) else 1
    return executor.submit(train_batch, batch, threads, __version__)


def _result(future: Future[list[Curves]], batch: Batch, attempt: int) -> list[Curves]:
    """A batch's curves. Raises Disconnected or WorkerDied where they are lost, and may be had by another attempt;
    ExecutionError where they cannot be had."""
    if future.cancelled():
        raise Disconnected
    try:
        return future.result()
    except Exception as error:
        # Dask's KilledWorker is known by its name, so that Dask is not imported without a scheduler.
        if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":
            if attempt < ATTEMPTS:
                raise WorkerDied from error
            raise ExecutionError(
                f"a worker process died {ATTEMPTS} times while training {batch}: most often memory is short; "
                "try fewer --jobs"
            ) from error
        if isinstance(error, ExecutionError):  # of a plugin, in words already
            raise
        if not isinstance(error, RuntimeError | ValueError | MemoryError | OSError | ImportError):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ExecutionError(f"training {batch} failed: {reason}") from error
