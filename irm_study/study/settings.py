"""How a study is run, as opposed to what it is; and who watches it run.

What a study is stands in its file (`irm_study.config`). Settings change no number of its table of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from irm_study.config import StudySpec, TrainSpec, checked, read_stored_study
from irm_study.errors import ConfigError, DigitsError
from irm_study.execution import bfloat16_instructions, check_cluster, check_work, default_jobs

Spec = TypeVar("Spec", StudySpec, TrainSpec)

FEWEST_HIDDEN = 64
"""Units for which `auto` takes bfloat16: with fewer, what is no product takes the time that products save."""


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


def with_precision(spec: Spec, folder: Path, device: str = "cpu", scheduler: str | None = None) -> Spec:
    """What is to be trained, its precision settled where that is `auto`: a study's as its folder has it already; else
    bfloat16 where this processor has it, the configuration can be trained in it, and is large enough to gain by it.

    What is on a cluster's workers is not known here: for them `auto` is float32.
    """
    if spec.run.precision != "auto":
        return spec
    stored = folder / "study.toml"
    if isinstance(spec, StudySpec) and stored.is_file():
        return _in(spec, read_stored_study(stored).run.precision)
    known = device == "cpu" and scheduler is None and bfloat16_instructions()
    if not known or spec.run.hidden < FEWEST_HIDDEN:
        return _in(spec, "float32")
    try:
        return checked(_in(spec, "bfloat16"))
    except ConfigError:  # a rule that it breaks, or that a point of its search does
        return _in(spec, "float32")


def _in(spec: Spec, precision: str) -> Spec:
    return spec.model_copy(update={"run": spec.run.model_copy(update={"precision": precision})})


def _precisions(spec: StudySpec | TrainSpec) -> tuple[str, ...]:
    """Those in which runs are trained."""
    searched = spec.search.get("precision") if isinstance(spec, StudySpec) else None
    return searched if isinstance(searched, tuple) else (spec.run.precision,)


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
    needed = (spec.digits, spec.environments, device, root, _precisions(spec))
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
