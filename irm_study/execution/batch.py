"""A batch of runs and what a worker does with it, and what is checked before the first. Where workers are is not here.

A worker is a pure function of a batch: it reads the digits, trains, and returns curves. torch is imported by workers
alone, inside functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from irm_study import __version__
from irm_study.config import EnvironmentSpec, Plugin, RunConfig, have_loaded, place_in_plugin
from irm_study.diagnosis import Curves
from irm_study.errors import ConfigError, ExecutionError
from irm_study.execution.gpus import device_of_worker
from irm_study.execution.precision import check_precisions

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Runs for one worker: run i has configs[i] and seeds[i]. plugins: the driver's. tag: the driver's own mark."""

    configs: tuple[RunConfig, ...]
    seeds: tuple[int, ...]
    digits: str
    environments: EnvironmentSpec
    data_root: str | None = None
    device: str = "cpu"
    share_prefix: bool = True
    plugins: tuple[Plugin, ...] = ()
    tag: Any = None

    def __str__(self) -> str:
        """As a message names it: the seeds, and what differs from the defaults."""
        changed = self.configs[0].model_dump(exclude_defaults=True)
        values = ", ".join(f"{name} = {value!r}" for name, value in changed.items())
        return f"seeds {list(self.seeds)} of the configuration {{ {values} }}"


def train_batch(batch: Batch, threads: int | None = None, version: str = __version__) -> list[Curves]:
    """What a worker does: the curves of each run. threads: torch's; None leaves them as they are.

    version: the driver's. Raises ValueError where the worker's is another, which would train by other rules, and
    ConfigError where its processor lacks the precision, and ExecutionError where the code of a plugin fails.
    """
    import torch

    from irm_study.data import load_digits
    from irm_study.training import train

    if version != __version__:
        raise ValueError(f"the worker has irm-study {__version__}, the driver {version}: install the same")
    if threads:
        torch.set_num_threads(threads)
    have_loaded(batch.plugins)
    device = device_of_worker() or batch.device
    check_precisions({config.precision for config in batch.configs}, device)
    digits = load_digits(batch.digits, batch.data_root)
    try:
        return train(batch.configs, batch.seeds, digits, batch.environments, device, batch.share_prefix)
    except Exception as error:
        if place := place_in_plugin(error):
            raise ExecutionError(f"{place}: {type(error).__name__}: {error}") from None
        raise


def split(items: Sequence[T], parts: int) -> list[Sequence[T]]:
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


def check_work(
    digits: str, environments: EnvironmentSpec, device: str, data_root: str | None, precisions: Sequence[str] = ()
) -> None:
    """Whether a worker could begin here. Raises ConfigError or DigitsError, and ValueError for the environments."""
    from irm_study.data import build_environments, load_digits

    check_device(device)
    check_precisions(precisions, device)
    build_environments(load_digits(digits, data_root), environments, [0])
