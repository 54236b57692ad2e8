"""A Dask cluster as the standard library's executor. Nothing of Dask is imported until a scheduler is named.

TLS, time limits and the like are Dask's own configuration: its files, or DASK_DISTRIBUTED__… variables.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from irm_study.config import ConfigError

CONNECT = 10.0
"""Seconds for one try to reach a scheduler."""


class ClusterLost(RuntimeError):
    """The scheduler does not answer any more; what was submitted to it is gone."""


class Cluster(Executor):
    """Tasks on a scheduler's workers. A task is tried once: that it is tried again is the driver's business."""

    def __init__(self, client: Any):
        self.client = client
        self.executor = client.get_executor(pure=False, retries=0)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future:
        try:
            return self.executor.submit(function, *arguments, **keywords)
        except Exception as error:  # Dask's own errors, of a client that was closed
            raise ClusterLost(str(error)) from error

    def slots(self) -> int:
        """How many tasks the workers that are there train at once."""
        return sum(self.client.nthreads().values())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self.executor.shutdown(wait=wait)
        with contextlib.suppress(Exception):
            self.client.close(timeout=2)


def open_cluster(address: str, patience: float = 0.0) -> Cluster:
    """Connect to a scheduler, which may take `patience` seconds to be there.

    Raises ConfigError when it cannot be had.
    """
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError:
        raise ConfigError('--scheduler needs Dask: pip install "irm-study[cluster]"') from None

    class Connection(Client):
        """Closed by `shutdown` alone: Dask's finalizer of a client that failed to begin takes a lock, and collected
        while another client begins, which holds it, it would wait for ever."""

        def __del__(self) -> None:
            pass

    # What Dask says of lost connections is said by the driver, in one line.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    until = time.monotonic() + patience
    while True:
        try:
            # A client that fails to begin leaves a thread behind: none is begun where nobody listens.
            socket.create_connection(get_address_host_port(address), timeout=CONNECT).close()
            return Cluster(Connection(address, timeout=CONNECT, set_as_default=False))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            if time.monotonic() >= until or not isinstance(error, OSError):
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(f"--scheduler {address}: cannot be reached: {reason}") from None
        time.sleep(min(1.0, patience))
