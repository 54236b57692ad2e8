"""Local worker processes of one thread each; with several GPUs, each has its own."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

# Not joblib's public interface: joblib.Parallel ends as a whole when one worker dies, with what others have finished.
from joblib.externals.loky import get_reusable_executor

from irm_study.errors import ExecutionError
from irm_study.execution.gpus import gpus, take_device

BATCHES_PER_PROCESS = 2
"""How many a pool is given for each process at a time, so that none waits for the driver. So few fit into the pool's
own queue, where nothing need be cancelled when the pool is shut down early."""
IDLE_SECONDS = 600
"""After which a process that has nothing to do ends."""
QUEUE_SECONDS = 1.0
"""What a pool needs at most to move what was submitted into its queue."""
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command."""


class LocalProcesses(Executor):
    """A pool of processes, killed when it is shut down.

    Where one dies, all that is in the pool ends with BrokenProcessPool, and nothing more can be submitted to it.
    Raises ExecutionError where processes cannot be started.
    """

    def __init__(self, jobs: int, device: str = "cpu"):
        with _starting():
            self.pool = get_reusable_executor(
                max_workers=jobs,
                timeout=IDLE_SECONDS,
                initializer=_begin_worker,
                initargs=(os.getpid(), gpus() if device == "cuda" else ()),
                env={name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
            )
        # Ctrl-C is raised in the main thread alone: a pool that is starting its processes in another is not cut short.
        self.submitter = ThreadPoolExecutor(1)
        self.latest: Future[Any] | None = None

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        return self.submitter.submit(self._submit, function, *arguments, **keywords).result()

    def _submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        with _starting():
            future: Future[Any] = self.pool.submit(function, *arguments, **keywords)
        self.latest = future
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Kill the processes and drop what they were given. At most BATCHES_PER_PROCESS of it should be unfinished: the
        pool's thread would fail over what is not in its queue by now."""
        self.submitter.shutdown()
        until = time.monotonic() + QUEUE_SECONDS
        while self.latest and not (self.latest.running() or self.latest.done()) and time.monotonic() < until:
            time.sleep(0.002)
        self.pool.shutdown(wait=wait, kill_workers=True)


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Processes are started. They begin with the signals blocked that end a command: these reach every process of its
    group, and one that dies of them before it can ignore them (loky's keeper of semaphores never ignores SIGHUP) leaves
    warnings behind. This process gets them all the same, by another thread."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    except OSError as error:  # a semaphore is a file in /dev/shm: the system's message would be taken for the disk's
        raise ExecutionError(
            f"worker processes cannot be started: {error.strerror or error}; they need room in shared memory "
            "(/dev/shm), which --jobs 1 does not"
        ) from error
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin_worker(driver: int, devices: Sequence[str]) -> None:
    """Ctrl-C and SIGHUP reach every process of the terminal, SIGTERM every process of a cluster's job, and the driver
    alone decides what ends; but a driver that was killed decides nothing any more, and its workers would train on
    beside those of the next."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    if devices:
        take_device(driver, devices)

    def follow() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
