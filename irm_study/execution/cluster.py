"""A Dask cluster as the standard library's executor. Nothing of Dask is imported until a scheduler is named.

TLS, time limits and the like are Dask's own configuration: its files, or DASK_DISTRIBUTED__… variables.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future
from typing import Any

from irm_study.config import EnvironmentSpec
from irm_study.errors import ConfigError
from irm_study.execution.batch import check_work

log = logging.getLogger("irm_study")
CONNECT_SECONDS = 10.0
"""For one try to reach a scheduler."""


class ClusterLost(RuntimeError):
    """The scheduler does not answer any more; what was submitted to it is gone."""


class Cluster(Executor):
    """Tasks on a scheduler's workers. A task is tried once: that it is tried again is the driver's business."""

    def __init__(self, client: Any):
        self.client = client
        self.executor = client.get_executor(pure=False, retries=0)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Raises ClusterLost where the scheduler is gone."""
        try:
            future: Future[Any] = self.executor.submit(function, *arguments, **keywords)
        except Exception as error:  # Dask's own errors, of a client that was closed
            raise ClusterLost(str(error)) from error
        return future

    def slots(self) -> int:
        """How many tasks the workers that are there train at once."""
        return int(sum(self.client.nthreads().values()))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self.executor.shutdown(wait=wait)
        with contextlib.suppress(Exception):
            self.client.close(timeout=2)


def open_cluster(address: str, patience_seconds: float = 0.0) -> Cluster:
    """Connect to a scheduler. patience_seconds: how long to try again while nobody listens at its address.

    Raises ConfigError where it cannot be had.
    """
    connect = _connection_class()
    # What Dask says of lost connections is said by the driver, in one line.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return Cluster(connect(address, timeout=CONNECT_SECONDS, set_as_default=False))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            if time.monotonic() >= until or not isinstance(error, OSError):
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(f"--scheduler {address}: cannot be reached: {reason}") from None
        time.sleep(min(1.0, patience_seconds))


def check_cluster(
    address: str, digits: str, environments: EnvironmentSpec, device: str, data_root: str | None,
    precisions: Sequence[str] = (),
) -> int:  # fmt: skip
    """`check_work` on a worker of the cluster, the first that is there; returns how many batches they train at once.

    Raises as `check_work` does, and ConfigError where the scheduler cannot be had.
    """
    cluster = open_cluster(address)
    try:
        if not cluster.slots():
            log.warning("%s: no worker yet; waiting for the first", address)
        try:
            cluster.submit(check_work, digits, environments, device, data_root, precisions).result()
        except (CancelledError, ClusterLost):
            raise ConfigError(f"--scheduler {address}: went away before any work") from None
        return max(1, cluster.slots())
    finally:
        cluster.shutdown(wait=False)


def _connection_class() -> Any:
    """Dask's client, made safe to fail. Raises ConfigError where Dask is not installed."""
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise ConfigError('--scheduler needs Dask: pip install "irm-study[cluster]"') from None

    class Connection(Client):
        """A client that failed to begin leaves a thread behind: none is begun where nobody listens. It is closed by
        `shutdown` alone: Dask's finalizer of it takes a lock, and collected while another client begins, which holds
        that lock, it would wait for ever."""

        def __init__(self, address: str, **options: Any):
            socket.create_connection(get_address_host_port(address), timeout=CONNECT_SECONDS).close()
            super().__init__(address, **options)  # type: ignore[no-untyped-call]  # Dask annotates it in part

        def __del__(self) -> None:
            pass

    return Connection
