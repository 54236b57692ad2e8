"""Measuring time and memory: of calls that may run on a GPU, and of this process.

What is measured is in `trainer` and `driver`.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SPAN_SECONDS = 0.5
"""`steady_seconds` times calls for so long, at least: within less, what else the machine does would count too much."""


def seconds_of(call: Callable[[], Any], device: str) -> float:
    """Seconds of one call, to the end of what it started on the device."""
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def steady_seconds(call: Callable[[], Any], device: str) -> float:
    """Seconds of one call: the median of calls in a row that last SPAN_SECONDS together."""
    seconds: list[float] = []
    while sum(seconds) < SPAN_SECONDS:
        seconds.append(seconds_of(call, device))
    return statistics.median(seconds)


def begin_peak(device: str) -> int:
    """Forget the highest memory use so far; returns the present one, in bytes."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError):  # only Linux can forget it; elsewhere it is the highest since the process began
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    return 0


def peak(device: str) -> int:
    """The highest memory use of this process so far, on the device, in bytes."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(field: str) -> int:
    """Bytes, from what the kernel reports of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")
