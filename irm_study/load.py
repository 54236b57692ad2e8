"""What the driver itself costs: it runs a study whose training is a stand-in that sleeps.

All else is as in a study: trials are asked, their runs' rows written, judged and told. The driver's own work is its
processor time; where that fills the time, more workers bring nothing.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from matplotlib.figure import Figure

from irm_study.config import RunConfig, StudySpec
from irm_study.curves import Curves
from irm_study.drawing import INK, WIDE, picture, svg_and_png
from irm_study.driver import Driver, Settings
from irm_study.execution import Batch, Workers, processor, train_batch

SEARCH = {
    "penalty_weight": {"low": 1e2, "high": 1e6, "log": True},
    "ramp": ["step", "linear", "exponential"],
    "anneal_epoch": {"low": 50, "high": 249},
    "learning_rate": {"low": 3e-4, "high": 3e-3, "log": True},
}


class Sleepers(Workers):
    """Workers that sleep, and leave the curves of one real training of 50 checkpoints."""

    def __init__(self, jobs: int, seconds: float, curves: Curves):
        super().__init__(jobs)
        self.seconds, self.curves = seconds, curves
        self.executor = ThreadPoolExecutor(jobs)

    def __exit__(self, *exception: object) -> None:
        self.executor.shutdown()

    def submit(self, batch: Batch, attempt: int = 1) -> None:
        self.pending[self.executor.submit(self._sleep, len(batch.seeds))] = batch, attempt

    def _sleep(self, runs: int) -> list[Curves]:
        time.sleep(self.seconds)
        return [self.curves] * runs


class Marks:
    """Watches, and notes the driver's own seconds of processor time and the memory as trials are told."""

    def __init__(self, every: int):
        self.every, self.told, self.began = every, 0, time.thread_time()
        self.marks: list[dict[str, float]] = []

    def begin(self, *arguments: Any) -> None: ...
    def runs_finished(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def runs_spared(self, runs: int) -> None: ...

    def trial_finished(self, trial: int, value: float, best: float) -> None:
        self.told += 1
        if self.told % self.every == 0:
            own = time.thread_time() - self.began
            memory = psutil.Process().memory_info().rss / 2**20
            self.marks.append({"trials": self.told, "own_seconds": own, "memory_mib": memory})


@picture
def driver_cost(marks: Sequence[Mapping[str, float]]) -> Figure:
    """Memory, and the driver's own time, as trials are told. marks: as `driver_load` returns them."""
    table = pd.DataFrame(marks)
    figure = Figure((WIDE, 2.1), layout="constrained")
    memory, own = figure.subplots(1, 2)
    memory.plot(table["trials"], table["memory_mib"], color=INK, marker="o", markersize=3)
    memory.set(xlabel="trials stored", ylabel="memory (MiB)")
    memory.set_ylim(0, 1.15 * table["memory_mib"].max())
    per_trial = 1000 * table["own_seconds"].diff().fillna(table["own_seconds"].iloc[0]) / table["trials"].iloc[0]
    own.plot(table["trials"], per_trial, color=INK, marker="o", markersize=3)
    own.set(xlabel="trials stored", ylabel="own work (ms a trial)")
    own.set_ylim(0, 1.15 * per_trial.max())
    return figure


def driver_load(trials: int, seeds: int, workers: int, seconds: float) -> dict[str, Any]:
    """Run so many trials, each on so many seeds of so many seconds; the driver's own time, and the memory."""
    spec = StudySpec.model_validate(
        {"name": "load", "run": {"hidden": 4}, "search": SEARCH, "study": {"trials": trials, "seeds": seeds}}
    )
    short = RunConfig(hidden=4, epochs=100, anneal_epoch=50)
    [curves] = train_batch(Batch((short,), (0,), spec.digits, spec.environments))
    with tempfile.TemporaryDirectory() as folder, Sleepers(workers, seconds, curves) as sleepers:
        marks = Marks(max(1, trials // 10))
        began = time.perf_counter()
        with closing(Driver(Path(folder), spec, Settings(jobs=workers), marks)) as driver:
            driver.run(sleepers)
        wall = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**20
    last, before = marks.marks[-1], marks.marks[-2] if len(marks.marks) > 1 else {"own_seconds": 0.0, "trials": 0}
    latest = (last["own_seconds"] - before["own_seconds"]) / (last["trials"] - before["trials"])
    return {
        "processor": processor(), "trials": trials, "seeds": seeds, "workers": workers, "seconds": seconds,
        "wall_seconds": wall, "own_fraction": last["own_seconds"] / wall, "own_milliseconds_at_the_end": latest * 1000,
        "kept_busy": trials * seeds * seconds / (wall * workers), "stored_mib": size, "marks": marks.marks,
    }  # fmt: skip


def write_load(told: dict[str, Any], folder: Path) -> None:
    """load.json, and load.svg and load.png, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = svg_and_png(driver_cost(told["marks"]), "load")
    (folder / "load.json").write_text(json.dumps(told, indent=2) + "\n")
    (folder / "load.svg").write_text(svg)
    (folder / "load.png").write_bytes(png)
