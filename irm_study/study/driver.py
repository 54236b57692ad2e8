"""The driver: the one process that has runs trained, writes them, and judges them.

What is to be trained is decided elsewhere: trial by trial in `search_stage`, on fresh seeds in `confirm_stage`, one
configuration in `run`. A run that is in the table already is never trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from irm_study.config import RunConfig, StudySpec, TrainSpec, loaded_plugins
from irm_study.diagnosis import Curves
from irm_study.execution import Batch, Workers, split
from irm_study.results import (
    STAGES,
    judge,
    judged_runs,
    read_parts,
    restage,
    rows_as_read,
    run_row,
    runs_table,
)
from irm_study.study.folder import check_room
from irm_study.study.settings import Settings, Watcher

TRAIN_CRITERION = "zone_margin"
"""Scores the runs of `train`, which belong to no study that names a criterion."""
RUNS_OF_A_BATCH = 4
"""At most, where runs are trained that no trial waits for: an interruption costs little."""


class RequestedRun(NamedTuple):
    """A run that is to be in the table. trial: of the search; the run's may be shared by several."""

    trial: int
    config: RunConfig
    digest: str
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        return self.digest, self.seed


class Driver:
    """Has the runs of one study, or of one configuration, trained, writes and judges them.

    folder: where its table of runs is; None: nothing is written, and the table begins empty. workers: an open
    `Workers`. scored: every run of the table without its curves, by (digest, seed). underway: runs that are being
    trained, likewise: of two trials with one configuration, the second waits for them. trained: how many runs this
    driver had trained.
    """

    def __init__(
        self, spec: StudySpec | TrainSpec, folder: Path | None, settings: Settings, watcher: Watcher, workers: Workers
    ):
        self.spec, self.folder, self.settings, self.watcher, self.workers = spec, folder, settings, watcher, workers
        self.criterion = spec.study.criterion if isinstance(spec, StudySpec) else TRAIN_CRITERION
        self.scored: dict[tuple[str, int], dict[str, Any]] = {}
        self.underway: set[tuple[str, int]] = set()
        self.trained, self.room_checked = 0, False
        self.table: RunTable = RowsInMemory()
        if folder is not None:
            self.table = parts = runs_table(folder, spec.environments)
            stored = read_parts(folder, spec.digits, spec.environments, move_aside=True)
            for row in self._judged(stored).to_dict("records"):
                self._score(row)
            parts.adopt()

    def train(self, stage: str, requested: Sequence[RequestedRun], later: int = 0) -> None:
        """Have the runs of one stage trained, those that are not in the table. later: runs of the stages after it."""
        before = [self.scored[run.key] for run in requested if run.key in self.scored]
        configurations = len({run.digest for run in requested})
        self.watcher.begin(stage, configurations, len(requested), before, later, jobs=self.settings.jobs)
        self._take_over(stage, requested)
        self.submit_in_parts(stage, requested)
        while self.workers.pending:
            self.collect()

    def submit_in_parts(self, stage: str, requested: Sequence[RequestedRun]) -> None:
        """As batches of a few runs, those of them that are not in the table."""
        missing = [run for run in requested if run.key not in self.scored]
        jobs = self.settings.jobs
        rounds = -(-len(missing) // (RUNS_OF_A_BATCH * jobs))
        for part in split(missing, rounds * jobs) if missing else []:
            self.submit(stage, part)

    def submit(self, stage: str, requested: Sequence[RequestedRun]) -> None:
        """As one batch, those of the runs that are neither trained nor being trained."""
        missing = [run for run in requested if run.key not in self.scored and run.key not in self.underway]
        if missing:
            if self.folder is not None and not self.room_checked:
                check_room(self.folder)
                self.room_checked = True
            self.workers.submit(self._batch(stage, missing))
            self.underway |= {run.key for run in missing}

    def collect(self) -> None:
        """Write and judge the batches that are finished: all that are, as one part, even where one of them failed."""
        done: list[tuple[Batch, list[Curves]]] = []
        try:
            done.extend(self.workers.finished())
        finally:
            if done:
                self._keep(done)

    def is_trained(self, digest: str, seeds: Sequence[int]) -> bool:
        return all((digest, seed) in self.scored for seed in seeds)

    def judged_so_far(self) -> pd.DataFrame:
        """The table of runs as `StudyRecord.runs`, without curves, from memory."""
        columns = None if self.scored else ["digest", "seed", "score"]
        return pd.DataFrame(list(self.scored.values()), columns=columns)

    def runs(self) -> pd.DataFrame:
        """The table of runs, read back and judged, as `StudyRecord.runs`."""
        if isinstance(self.table, RowsInMemory):
            return self._judged(rows_as_read(self.table.rows, self.spec.environments))
        assert self.folder is not None
        return self._judged(read_parts(self.folder, self.spec.digits, self.spec.environments))

    def _judged(self, stored: pd.DataFrame) -> pd.DataFrame:
        return judged_runs(stored, self.spec.name, self.spec.environments, self.criterion)

    def _batch(self, stage: str, requested: Sequence[RequestedRun]) -> Batch:
        """For a worker, with what the runs' rows will need as its tag."""
        return Batch(
            configs=tuple(run.config for run in requested),
            seeds=tuple(run.seed for run in requested),
            digits=self.spec.digits,
            environments=self.spec.environments,
            data_root=self.settings.data_root,
            device=self.settings.device,
            share_prefix=self.settings.share_prefix,
            plugins=loaded_plugins(),
            tag=(stage, tuple(requested)),
        )

    def _keep(self, done: Sequence[tuple[Batch, list[Curves]]]) -> None:
        rows = [row for batch, curves in done for row in _rows(batch, curves)]
        self.table.add(rows)
        pairs = [pair for batch, curves in done for pair in zip(batch.configs, curves, strict=True)]
        judged = [
            {"study": self.spec.name, **row} | judge(config, each, self.spec.environments, self.criterion)
            for row, (config, each) in zip(rows, pairs, strict=True)
        ]
        for row in judged:
            self._score(row)
            self.underway.discard((row["digest"], row["seed"]))
        self.trained += len(judged)
        self.watcher.runs_finished(judged)

    def _score(self, row: Mapping[str, Any]) -> None:
        """Keep a judged run without its curves: those of thousands do not fit in memory."""
        kept = {name: value for name, value in row.items() if not name.startswith("curve_")}
        self.scored[row["digest"], row["seed"]] = kept

    def _take_over(self, stage: str, requested: Sequence[RequestedRun]) -> None:
        """Runs that an earlier command trained for a lesser stage are this one's now."""
        rank = STAGES.index
        taken = [
            run for run in requested if run.key in self.scored and rank(self.scored[run.key]["stage"]) > rank(stage)
        ]
        if taken and self.folder is not None:
            restage(self.folder, stage, {run.key: run.trial for run in taken}, self.spec)
            for run in taken:
                self.scored[run.key] |= {"stage": stage, "trial": run.trial}


class RunTable(Protocol):
    """Where finished runs go."""

    def add(self, rows: list[dict[str, Any]]) -> object: ...


class RowsInMemory:
    """A table of runs that is not written: its rows as they came."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        self.rows.extend(rows)


def _rows(batch: Batch, curves: Sequence[Curves]) -> list[dict[str, Any]]:
    """Of a batch that is trained, the rows of the table of runs."""
    stage, requested = batch.tag
    return [
        run_row(stage, run.trial, run.seed, run.digest, run.config, each, batch.device)
        for run, each in zip(requested, curves, strict=True)
    ]
