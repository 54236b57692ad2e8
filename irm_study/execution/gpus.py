"""A GPU for each local worker process, on a machine with several.

`--device cuda` names none of them. Each process takes one that no other process of the same driver has, and keeps it
by a lock file, which the system frees when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import filelock


class OwnDevice(NamedTuple):
    """A device of one worker process, and the lock that keeps it."""

    device: str
    lock: filelock.BaseFileLock


_taken: list[OwnDevice] = []
"""In a worker process: what it has taken, once it has."""


def gpus() -> tuple[str, ...]:
    """The devices that `--device cuda` stands for: a worker for each."""
    import torch

    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))


def device_of_worker() -> str | None:
    """The device that this process has taken; None where it has taken none."""
    return _taken[0].device if _taken else None


def take_device(driver: int, devices: Sequence[str]) -> None:
    """In a worker process: have one of the devices for this process alone. driver: the driver's process id."""
    _taken.append(own_device(driver, devices))


def own_device(driver: int, devices: Sequence[str]) -> OwnDevice:
    """The first of the devices that no other worker of this driver has; waits for one while there is none.

    Raises ValueError where there are no devices at all.
    """
    for device in itertools.cycle(devices):
        lock = filelock.FileLock(Path(tempfile.gettempdir()) / f"irm-study-{driver}-{device.replace(':', '-')}.lock")
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=0.05)
            return OwnDevice(device, lock)
    raise ValueError("no devices")
