"""What this machine has: cores, GPUs, and its processor's name; how many workers that makes."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

import joblib

from irm_study.execution.gpus import gpus


def default_jobs(device: str) -> int:
    """A process for each core, or for each GPU."""
    if device == "cpu":
        return available_cores()
    return max(1, len(gpus())) if device == "cuda" else 1


def available_cores() -> int:
    """Cores that this process may use: its affinity and its container's CPU quota count."""
    return int(joblib.cpu_count())


def processor() -> str:
    """The name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
