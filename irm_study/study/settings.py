"""How a study is run, as opposed to what it is; and who watches it run.

What a study is stands in its file (`irm_study.config`). Settings change no number of its table of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from irm_study.config import StudySpec, TrainSpec
from irm_study.errors import ConfigError, DigitsError
from irm_study.execution import check_cluster, check_work, default_jobs


@dataclass(frozen=True)
class Settings:
    """jobs: workers that train at once. device: as torch names it. data_root: folder with MNIST/raw, as torchvision
    lays it out. storage: an Optuna storage's URL; None: study.db in the study's folder. scheduler: the address of a
    Dask cluster's scheduler; None: this machine. share_prefix: train once the epochs that runs have in common.
    command: what was called, as the page repeats it. timeout_seconds: after which no new trial
    begins; what was begun is finished, and the best so far is confirmed."""

    jobs: int = 1
    device: str = "cpu"
    data_root: str | None = None
    storage: str | None = None
    scheduler: str | None = None
    share_prefix: bool = True
    command: str = ""
    timeout_seconds: float | None = None


class Watcher(Protocol):
    """Is called as the work goes on, to show it."""

    def begin(
        self, stage: str, trials: int, runs: int, before: Sequence[Mapping[str, Any]], later: int = 0,
        best: float | None = None, jobs: int = 1,
    ) -> None:  # fmt: skip
        """A stage begins. trials, runs: how many it has. before: those of its runs that are in the table already.
        later: runs of the stages after it. best: the best objective value so far. jobs: workers that train at once."""

    def runs_finished(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """rows: of the table of runs, judged."""

    def runs_spared(self, count: int) -> None:
        """So many of the stage's runs are not trained, because their trial was pruned."""

    def trial_finished(self, trial: int, value: float, best: float | None) -> None:
        """value: the trial's objective value. best: the highest so far."""


def usable_settings(
    spec: StudySpec | TrainSpec,
    file: Path | None = None,
    *,
    jobs: int | None = None,
    device: str = "cpu",
    data_root: Path | str | None = None,
    storage: str | None = None,
    scheduler: str | None = None,
    share_prefix: bool = True,
    command: str = "",
    timeout_seconds: float | None = None,
) -> Settings:
    """The settings, after device, digits and environments were tried once where they will be used: mistakes show
    before any work. jobs: None for as many as this machine, or the cluster, trains at once.

    file: where the spec was read, for messages. Raises ConfigError or DigitsError.
    """
    root = None if data_root is None else str(data_root)
    needed = (spec.digits, spec.environments, device, root)
    slots = None
    try:
        if scheduler is None:
            check_work(*needed)
        else:
            slots = check_cluster(scheduler, *needed)
    except (ConfigError, DigitsError):
        raise
    except ValueError as error:  # environments that the digits are too few for
        raise ConfigError(str(error) if file is None else f"{file}: {error}") from None
    jobs = jobs or slots or default_jobs(device)
    return Settings(jobs, device, root, storage, scheduler, share_prefix, command, timeout_seconds)
