"""`irm-study bench --driver`: what the driver itself costs, in a study whose workers sleep in place of training.

Everything else is as in a study: Optuna proposes trials, the rows of their runs are written and judged, and Optuna gets
the objective values; at the end the study is read back and its page made. The driver's own work is its processor time;
where that is all of the time, more workers make a study no faster.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import psutil
from matplotlib.figure import Figure

from irm_study.bench.timing import begin_peak, peak
from irm_study.config import RunConfig, StudySpec
from irm_study.diagnosis import Curves
from irm_study.execution import Batch, Workers, processor, train_batch
from irm_study.files import write_text
from irm_study.report import INK, WIDE, StyledFigure, styled, write_figure, write_report
from irm_study.results import load_study
from irm_study.study import Settings, run_study

SEARCH = {
    "penalty_weight": {"low": 1e2, "high": 1e6, "log": True},
    "ramp": ["step", "linear", "exponential"],
    "anneal_epoch": {"low": 50, "high": 249},
    "learning_rate": {"low": 3e-4, "high": 3e-3, "log": True},
}
WEIGHTS = (0.0, 1e2, 1e4, 1e8)
"""Penalty weights of the few trainings whose curves all runs get: they end in several failure modes."""
MIB = 2**20
T = TypeVar("T")


class Sleepers(Workers):
    """Workers that sleep in place of training. Their runs get the curves of a few real ones, of 50 checkpoints, in
    turn."""

    def __init__(self, jobs: int, seconds: float, curves: Sequence[Curves]):
        super().__init__(jobs)
        self.seconds, self.curves = seconds, curves
        self.threads = ThreadPoolExecutor(jobs)

    def __exit__(self, *exception: object) -> None:
        self.threads.shutdown()

    def submit(self, batch: Batch, attempt: int = 1) -> None:
        self.pending[self.threads.submit(self._sleep, batch)] = batch, attempt

    def _sleep(self, batch: Batch) -> list[Curves]:
        time.sleep(self.seconds)
        turns = [config.anneal_epoch + seed for config, seed in zip(batch.configs, batch.seeds, strict=True)]
        return [self.curves[turn % len(self.curves)] for turn in turns]


class Marks:
    """Notes the driver's own seconds of processor time, and the memory, each time `every` trials have finished.

    Time counts from the first trial, when libraries are imported and the storage is open. A watcher of the study.
    """

    def __init__(self, every: int):
        self.every, self.finished = every, 0
        self.marks: list[dict[str, float]] = []

    def begin(self, stage: str, *arguments: Any, **named: Any) -> None:
        if stage == "search":
            self.began, self.own_began = time.perf_counter(), time.thread_time()

    def runs_finished(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def runs_spared(self, runs: int) -> None: ...

    def trial_finished(self, trial: int, value: float, best: float | None) -> None:
        self.finished += 1
        if self.finished % self.every == 0:
            self.marks.append(
                {
                    "trials": self.finished,
                    "wall_seconds": time.perf_counter() - self.began,
                    "own_seconds": time.thread_time() - self.own_began,
                    "memory_mib": psutil.Process().memory_info().rss / MIB,
                }
            )


def driver_load(trials: int, seeds: int, workers: int, seconds: float) -> dict[str, Any]:
    """Run a study of so many trials, of `seeds` runs that sleep `seconds` each.

    Returns the driver's own time and the memory while it ran, and what it takes to read and judge the study and to make
    its page; seconds, MiB and fractions.
    """
    spec = StudySpec.model_validate(
        {"name": "load", "run": {"hidden": 4}, "search": SEARCH, "study": {"trials": trials, "seeds": seeds},
         "confirm": {"top": 0}}
    )  # fmt: skip
    short = [RunConfig(hidden=4, epochs=100, anneal_epoch=50, penalty_weight=weight) for weight in WEIGHTS]
    curves = train_batch(Batch(tuple(short), (0,) * len(short), spec.digits, spec.environments))
    with tempfile.TemporaryDirectory() as name:
        folder, marks = Path(name), Marks(max(1, trials // 10))
        run_study(spec, folder, Settings(jobs=workers), marks, Sleepers(workers, seconds, curves))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MIB
        record, judge = _cost(lambda: load_study(folder))
        path, page = _cost(lambda: write_report(record))
        page["mib"] = path.stat().st_size / MIB
    last, before = marks.marks[-1], marks.marks[-2] if len(marks.marks) > 1 else {"own_seconds": 0.0, "trials": 0}
    latest = (last["own_seconds"] - before["own_seconds"]) / (last["trials"] - before["trials"])
    wall = last["wall_seconds"]
    return {
        "processor": processor(), "trials": trials, "seeds": seeds, "workers": workers, "seconds": seconds,
        "wall_seconds": wall, "own_fraction": last["own_seconds"] / wall, "own_milliseconds_at_the_end": latest * 1000,
        "kept_busy": trials * seeds * seconds / (wall * workers), "stored_mib": size,
        "judge": judge, "page": page, "marks": marks.marks,
    }  # fmt: skip


def write_load(load: dict[str, Any], folder: Path) -> None:
    """load.json, load.svg and load.png, into a folder. load: as `driver_load` returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "load.json", json.dumps(load, indent=2) + "\n")
    write_figure(driver_cost(load["marks"]), folder, "load")


@styled
def driver_cost(marks: Sequence[Mapping[str, float]]) -> Figure:
    """Memory and the driver's own time a trial, over the trials that have finished. marks: as `driver_load` returns
    them."""
    table = pd.DataFrame(marks)
    figure = StyledFigure((WIDE, 2.1), layout="constrained")
    memory, own = figure.subplots(1, 2)
    memory.plot(table["trials"], table["memory_mib"], color=INK, marker="o", markersize=3)
    memory.set(xlabel="trials stored", ylabel="memory (MiB)")
    memory.set_ylim(0, 1.15 * table["memory_mib"].max())
    per_trial = 1000 * table["own_seconds"].diff().fillna(table["own_seconds"].iloc[0]) / table["trials"].iloc[0]
    own.plot(table["trials"], per_trial, color=INK, marker="o", markersize=3)
    own.set(xlabel="trials stored", ylabel="own work (ms a trial)")
    own.set_ylim(0, 1.15 * per_trial.max())
    return figure


def _cost(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """What `work` returns; its seconds, and the highest memory use of the process while it ran."""
    begin_peak("cpu")
    began = time.perf_counter()
    result = work()
    return result, {"seconds": time.perf_counter() - began, "peak_mib": peak("cpu") / MIB}
