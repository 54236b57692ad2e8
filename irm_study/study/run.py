"""What is done with a folder: a study is run, or confirmed, or its region is proven; a configuration is trained.

Each holds the folder's lock, has the driver do the work, and brings the derived files up to date.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from irm_study.config import StudySpec, TrainSpec, run_digest
from irm_study.errors import ConfigError
from irm_study.execution import Workers
from irm_study.results import (
    StudyRecord,
    importance,
    locked,
    read_baselines,
    read_ideals,
    read_stored_region,
    renew_digests,
    stored_summary,
    trials_table,
    write_runs_csv,
    write_tables,
)
from irm_study.search import Search, listed_trials
from irm_study.study.baselines import with_baselines
from irm_study.study.confirm_stage import confirm
from irm_study.study.driver import Driver, RequestedRun
from irm_study.study.folder import claim_for_study, claim_for_training, provenance
from irm_study.study.region_stage import find_and_prove
from irm_study.study.search_stage import SearchStage
from irm_study.study.settings import Settings, Watcher


def run_study(
    spec: StudySpec,
    folder: Path,
    settings: Settings,
    watcher: Watcher,
    workers: Workers | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[StudyRecord, int]:
    """Run a study to its end, or what is left of it; returns its record and how many runs were trained.

        workers: others than the settings name. clock: in seconds, for the settings' timeout. Raises ConfigError when
    the folder holds another study, or another driver has it.
    """
    until = None if settings.timeout_seconds is None else clock() + settings.timeout_seconds

    def may_ask() -> bool:
        return until is None or clock() < until

    with locked(folder):
        claim_for_study(folder, spec)
        done = _work(spec, folder, settings, watcher, workers or _workers(settings), confirm, may_ask)
        return _beside_baselines(*done, settings, watcher)


def confirm_study(spec: StudySpec, folder: Path, settings: Settings, watcher: Watcher) -> tuple[StudyRecord, int]:
    """Confirm the best trials so far on spec.confirm's seeds, training only what is missing; returns as `run_study`."""
    with locked(folder):
        _check_storage(folder, settings)
        done = _work(spec, folder, settings, watcher, _workers(settings), confirm)
        return _beside_baselines(*done, settings, watcher)


def prove_region(
    spec: StudySpec, folder: Path, rate: float | None, count: int, again: bool, settings: Settings, watcher: Watcher
) -> tuple[StudyRecord, int]:
    """Find the region of a study's trials so far, unless its folder has one, and train so many configurations drawn
    from it, those that are missing; returns as `run_study`. rate: above which success is to be predicted; None: the
    file's, or RATE. again: whether a region whose proof is whole is given up for another.

    Raises ConfigError and ExecutionError as `find_region`, and where the folder has a region of another rate.
    """
    with locked(folder):
        _check_storage(folder, settings)
        stage = functools.partial(find_and_prove, folder=folder, rate=rate, count=count, again=again)
        return _work(spec, folder, settings, watcher, _workers(settings), stage)


def train_runs(
    spec: TrainSpec, seeds: Sequence[int], folder: Path | None, settings: Settings, watcher: Watcher
) -> tuple[pd.DataFrame, int]:
    """Train one configuration; its runs join the table in the folder. Returns the table, judged, and the number of
    runs trained. folder: None to write nothing, and to have the table of these runs alone."""
    digest = run_digest(spec.digits, spec.environments, spec.run)
    return train_each(spec, [RequestedRun(0, spec.run, digest, seed) for seed in seeds], folder, settings, watcher)


def train_each(
    spec: TrainSpec, requested: Sequence[RequestedRun], folder: Path | None, settings: Settings, watcher: Watcher
) -> tuple[pd.DataFrame, int]:
    """As `train_runs`, of several configurations, with the digits and environments of one."""
    with locked(folder) if folder else contextlib.nullcontext():
        if folder:
            claim_for_training(folder, spec)
        with _workers(settings) as workers:
            driver = Driver(spec, folder, settings, watcher, workers)
            driver.train("train", requested)
        runs = driver.runs()
        if folder:
            renew_digests(folder, spec)
            write_runs_csv(folder, runs)
        return runs, driver.trained


def _work(
    spec: StudySpec,
    folder: Path,
    settings: Settings,
    watcher: Watcher,
    workers: Workers,
    after: Callable[[Driver, StudySpec, pd.DataFrame], None],
    may_ask: Callable[[], bool] | None = None,
) -> tuple[StudyRecord, int]:
    """Search, and what comes after it, given the trials. may_ask: whether there is time for a new trial; None: no
    search is asked for."""
    driver = Driver(spec, folder, settings, watcher, workers)
    with contextlib.closing(SearchStage(driver, spec, folder)) as stage:
        with workers:
            if may_ask is not None:
                stage.run(may_ask)
            stage.train_lost()
            after(driver, spec, trials_table(listed_trials(stage.search), driver.judged_so_far(), spec))
        return _record(driver, spec, folder, stage.search), driver.trained


def _beside_baselines(
    record: StudyRecord, trained: int, settings: Settings, watcher: Watcher
) -> tuple[StudyRecord, int]:
    """What `_work` returned, with the baselines that the study asks for."""

    def train(spec: TrainSpec, seeds: Sequence[int], folder: Path) -> tuple[pd.DataFrame, int]:
        return train_runs(spec, seeds, folder, settings, watcher)

    record, more = with_baselines(record, train)
    return record, trained + more


def _check_storage(folder: Path, settings: Settings) -> None:
    if settings.storage is None and not (folder / "study.db").is_file():
        raise ConfigError(
            f"{folder}: its trials are not here (no study.db); name the storage that 'run' was given with --storage"
        )


def _workers(settings: Settings) -> Workers:
    """Where the settings have runs trained."""
    return Workers(settings.jobs, settings.device, settings.scheduler)


def _record(driver: Driver, spec: StudySpec, folder: Path, search: Search) -> StudyRecord:
    """The study as far as it has come; tables and the winner's file are brought up to date."""
    runs, stored = driver.runs(), stored_summary(folder)
    # A driver that was killed after its last run left a summary of the time before.
    fresh = driver.trained > 0 or stored.get("runs") != len(runs) or stored.get("trials") != search.finished
    trials = trials_table(listed_trials(search), runs, spec)
    record = StudyRecord(
        folder, spec, runs, trials, importance=importance(trials, spec),
        provenance=provenance(driver.settings, stored) if fresh else stored.get("provenance") or {},
        region=read_stored_region(folder, spec),
        ideals=read_ideals(folder),
        baselines=read_baselines(folder),
    )  # fmt: skip
    write_tables(record)
    return record
