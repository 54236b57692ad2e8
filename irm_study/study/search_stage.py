"""The search of a study: trials are asked for, trained on their seeds, raced, and told to Optuna.

Every ask depends on the trials finished before it alone, so that an interrupted study equals an uninterrupted one.
What Optuna does is `irm_study.search`'s; how runs are trained and written is `driver`'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from irm_study.config import StudySpec
from irm_study.errors import ConfigError, ExecutionError
from irm_study.execution import log, split
from irm_study.results import aggregate, trial_attributes, trials_from_runs
from irm_study.search import AskedTrial, Search, StorageDamaged, StorageLost, open_search
from irm_study.study.confirm_stage import runs_after
from irm_study.study.driver import Driver, RequestedRun

AHEAD = 2
"""How many trials are asked for each that the workers can train at once."""
PATIENCE = 600
"""Seconds to wait for a database server."""
GRID_GROUP = 4
"""Points of a grid that are asked for at once: their runs share epochs, and nothing is lost by not waiting."""


class SearchStage:
    """The search of one study. It is opened, made again from the table of runs where its storage is new, and closed.

    search: Optuna's side; another object once a database server went away and came back.
    """

    def __init__(self, driver: Driver, spec: StudySpec, folder: Path):
        self.driver, self.spec, self.folder = driver, spec, folder
        self.search = self._open()
        if not self.search.numbers and driver.scored:  # a new storage, or one that was moved aside
            self._restore()

    def run(self, may_ask: Callable[[], bool]) -> None:
        """Ask, train and tell until the budget is spent, or no trial may be asked for any more and those that were are
        told; a database server that went away is waited for."""
        while True:
            try:
                self._search(may_ask)
                return
            except StorageLost as error:
                self._reopen(error)

    def train_lost(self) -> None:
        """Train again the runs of finished trials that are in the table no more, as after a part was damaged."""
        seeds, scored = self.spec.study.seed_list, self.driver.scored
        lost = [
            RequestedRun(number, config, digest, seed)
            for number, config, digest, count in self.search.finished_trials()
            for seed in seeds[:count]
            if (digest, seed) not in scored
        ]
        lost = list({run.key: run for run in lost}.values())
        self.driver.submit_in_parts("search", lost)
        while any(run.key not in scored for run in lost):
            self.driver.collect()

    def close(self) -> None:
        self.search.close()

    # The loop

    def _search(self, may_ask: Callable[[], bool]) -> None:
        """Trials are told in the order in which they were asked for, and a new one is asked for only when all but
        the last `window` are told: what the sampler knows then depends on no worker's speed. Where there are
        several workers, the window holds twice the trials that they can train at once, so that none waits
        for the slowest run of a trial, nor for the driver.
        """
        jobs, search, budget = self.driver.settings.jobs, self.search, self.search.budget
        group = GRID_GROUP if search.points is not None else 1
        first = self.spec.study.seed_list[: self.spec.study.looks[0]]
        window = max(group, -(-jobs // len(first))) * (AHEAD if jobs > 1 else 1)
        self._begin()
        self.train_lost()
        waiting: list[AskedTrial] = []
        while search.finished < budget:
            while len(waiting) <= window - group and search.finished + len(waiting) < budget and may_ask():
                count = min(group, budget - search.finished - len(waiting))
                asked = [search.ask() for _ in range(count)]
                self._submit_trials(asked, first)
                waiting += asked
            if not waiting:
                return  # the time is over
            self._race(waiting[0])
            waiting.pop(0)

    def _begin(self) -> None:
        """What the watcher shows at the start: runs that pruned trials never had are not expected."""
        seeds, scored, search = self.spec.study.seed_list, self.driver.scored, self.search
        before = [row for row in scored.values() if row["stage"] == "search"]
        spared = sum((digest, seed) not in scored for digest in search.pruned_digests for seed in seeds)
        trials = max(search.budget, search.finished)
        runs, later = trials * len(seeds) - spared, runs_after("search", self.spec)
        jobs = self.driver.settings.jobs
        self.driver.watcher.begin("search", trials, runs, before, later, search.best_value, jobs)

    def _race(self, trial: AskedTrial) -> None:
        """Train a trial rung by rung until it is complete, or loses to the best trial so far.

        Trials behind it in the window have their first rung trained meanwhile; they are judged when they are the first.
        """
        seeds, trained = self.spec.study.seed_list, 0
        for rung in self.spec.study.looks:
            if trained:
                self._submit_trials([trial], seeds[trained:rung])
            trained = rung
            while not self.driver.is_trained(trial.digest, seeds[:trained]):
                self.driver.collect()
            runs = [self.driver.scored[trial.digest, seed] for seed in seeds[:trained]]
            if trained < len(seeds) and self.search.is_losing([run["score"] for run in runs]):
                break
        self._tell(trial, runs, pruned=trained < len(seeds))
        self.driver.watcher.runs_spared(len(seeds) - trained)

    def _submit_trials(self, trials: Sequence[AskedTrial], seeds: Sequence[int]) -> None:
        """A batch for every job: of the seeds first, of the trials where there are more jobs than seeds."""
        jobs = self.driver.settings.jobs
        parts = split(seeds, jobs)
        for some in split(trials, -(-jobs // len(parts))):
            for part in parts:
                requested = [
                    RequestedRun(each.number, each.config, each.digest, seed) for each in some for seed in part
                ]
                self.driver.submit("search", requested)

    def _tell(self, trial: AskedTrial, runs: Sequence[Mapping[str, Any]], pruned: bool) -> None:
        scores = [run["score"] for run in runs]
        value = aggregate(scores, self.spec)
        self.search.tell(trial, value, trial_attributes(runs), scores, pruned)
        self.driver.watcher.trial_finished(trial.number, value, self.search.best_value)

    # The storage

    def _open(self) -> Search:
        try:
            return open_search(self.spec, self.folder, self.driver.settings.storage)
        except StorageDamaged as error:
            aside = self.folder / f"damaged-{time.time_ns()}-study.db"
            os.replace(self.folder / "study.db", aside)
            for rest in ("study.db-wal", "study.db-shm"):
                if (self.folder / rest).exists():
                    os.replace(self.folder / rest, aside.with_name(aside.name.replace("study.db", rest)))
            log.warning("%s; moved to %s", error, aside.name)
            return open_search(self.spec, self.folder, None)

    def _restore(self) -> None:
        """Make the trials of an empty storage again from the table of runs."""
        scored = self.driver.scored
        trials = trials_from_runs(self.driver.judged_so_far(), self.spec)
        if self.search.races:
            # A trial that stopped after a rung may have lost, or have been about to go on: all race anew, in their
            # order, which ends each where it ended and trains only what is missing.
            trials = trials.assign(state="running")
        seeds = self.spec.study.seed_list
        scores = {
            digest: [scored[digest, seed]["score"] for seed in seeds if (digest, seed) in scored]
            for digest in trials["digest"]
        }
        self.search.restore(trials, scores)
        log.warning("%s: made again from the table of runs: %d trials", self.search.where, len(self.search.numbers))

    def _reopen(self, error: StorageLost) -> None:
        """Wait for a database server that went away. Runs that are being trained meanwhile are not lost, and a
        trial that was half told is taken up as an interrupted one."""
        if not self.search.on_server:
            raise ExecutionError(f"{error}; what was trained is kept: run the same command again") from error
        log.warning("%s; waiting up to %d minutes for it", error, PATIENCE // 60)
        until = time.monotonic() + PATIENCE
        while True:
            self.search.close()
            try:
                self.search = open_search(self.spec, self.folder, self.driver.settings.storage)
                break
            except ConfigError as again:
                if time.monotonic() > until:
                    raise ExecutionError(f"{again}; what was trained is kept: run the same command again") from error
                time.sleep(1)
        finished, open_ = self.search.finished, len(self.search.interrupted)
        log.warning(
            "%s: answers again; %d trials are finished, %d are taken up again", self.search.where, finished, open_
        )
