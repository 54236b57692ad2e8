"""The driver: the one process that has a study's runs trained, writes them, judges them and tells the search.

A run that is in the table already is never trained again, and every ask depends on the trials finished
before it alone, so that an interrupted study equals an uninterrupted one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from irm_study import records
from irm_study.config import ConfigError, RunConfig, StudySpec, TrainSpec
from irm_study.confirmation import choices, choosers, draws, fresh_seeds, neighbours
from irm_study.curves import Curves
from irm_study.execution import Batch, ExecutionError, Workers, log, split
from irm_study.search import Asked, Search, StorageDamaged, StorageLost, open_search
from irm_study.studyfile import run_digest

AHEAD = 2
"""How many trials are asked for each that the workers can train at once."""
PATIENCE = 600
"""Seconds to wait for a database server."""
GRID_GROUP = 4
"""Points of a grid that are asked at once: their runs share trunks, and nothing is lost by not waiting."""


@dataclass(frozen=True)
class Settings:
    """How a study is run, as opposed to what it is."""

    jobs: int = 1
    device: str = "cpu"
    data_root: str | None = None
    storage: str | None = None
    scheduler: str | None = None
    share_prefix: bool = True


class Watcher(Protocol):
    """Told what happens, to show it."""

    def begin(
        self, stage: str, trials: int, runs: int, before: Sequence[Mapping[str, Any]], later: int = 0,
        best: float | None = None, jobs: int = 1,
    ) -> None:  # fmt: skip
        """before: the stage's runs that are in the table already. later: runs that other stages will ask for.
        jobs: workers that train at once."""

    def runs_finished(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def runs_spared(self, count: int) -> None:
        """Of those that begin() told, for a trial that was pruned."""

    def trial_finished(self, trial: int, value: float, best: float) -> None: ...


class Wanted(NamedTuple):
    """A run that a trial asks for."""

    trial: int
    config: RunConfig
    digest: str
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        return self.digest, self.seed


@dataclass
class Driver:
    """The one process that asks, has trained, writes, judges and tells. `run` searches, then `confirm`."""

    folder: Path
    spec: StudySpec
    settings: Settings
    watcher: Watcher
    trained: int = 0
    scored: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """What the judges said of every run that is in the table, by (digest, seed)."""
    underway: set[tuple[str, int]] = field(default_factory=set)
    """Runs that are being trained, likewise: of two trials with one configuration, the second waits for them."""
    others: pd.DataFrame | None = None
    """What other criteria choose and nobody else does, once the search is done; where that is asked for."""

    def __post_init__(self) -> None:
        self.table = records.runs_table(self.folder, self.spec.environments)
        for row in stored_runs(self.folder, self.spec, move_aside=True).to_dict("records"):
            self._score(row)
        self.table.adopt()
        self.search = self._open_search()
        if not self.search.numbers and self.scored:  # a new storage, or one that was moved aside
            self._restore()

    def _restore(self) -> None:
        trials = records.trials_from_runs(self._judged(), self.spec)
        if self.search.races:
            # A trial that stopped after a wave may have lost, or have been about to go on: all race anew, in their
            # order, which ends each where it ended and trains only what is missing.
            trials = trials.assign(state="running")
        seeds = self.spec.study.seed_list
        scores = {
            digest: [self.scored[digest, seed]["score"] for seed in seeds if (digest, seed) in self.scored]
            for digest in trials["digest"]
        }
        self.search.restore(trials, scores)
        log.warning("%s: made again from the table of runs: %d trials", self.search.where, len(self.search.numbers))

    def _open_search(self) -> Search:
        try:
            return open_search(self.spec, self.folder, self.settings.storage)
        except StorageDamaged as error:
            aside = self.folder / f"damaged-{time.time_ns()}-study.db"
            os.replace(self.folder / "study.db", aside)
            for rest in ("study.db-wal", "study.db-shm"):
                if (self.folder / rest).exists():
                    os.replace(self.folder / rest, aside.with_name(aside.name.replace("study.db", rest)))
            log.warning("%s; moved to %s", error, aside.name)
            return open_search(self.spec, self.folder, None)

    def run(self, workers: Workers) -> None:
        """Ask, train and tell until the budget is spent; a database server that went away is waited for."""
        while True:
            try:
                self._search(workers)
                return
            except StorageLost as error:
                self._reopen(error)

    def _search(self, workers: Workers) -> None:
        """Trials are told in the order in which they were asked, and a new one is asked only when all but
        the last `window` are told: what the sampler knows then depends on no worker's speed. Where there are
        several workers, the window holds twice the trials that they can train at once, so that none waits
        for the slowest run of a trial, nor for the driver.
        """
        seeds, jobs, search = self.spec.study.seed_list, self.settings.jobs, self.search
        group = GRID_GROUP if search.points is not None else 1
        first = seeds[: self.spec.study.looks[0]]
        window = max(group, -(-jobs // len(first))) * (AHEAD if jobs > 1 else 1)
        before = [row for row in self.scored.values() if row["stage"] == "search"]
        best = search.best_value
        spared = sum((digest, seed) not in self.scored for digest in search.pruned_digests for seed in seeds)
        runs, later = self.spec.budget * len(seeds) - spared, self._later("search")
        self.watcher.begin("search", self.spec.budget, runs, before, later, best, jobs)
        self._train_lost(workers)
        asked: list[Asked] = []
        while search.finished < self.spec.budget:
            while len(asked) <= window - group and search.finished + len(asked) < self.spec.budget:
                fresh = [search.ask() for _ in range(min(group, self.spec.budget - search.finished - len(asked)))]
                self._submit_trials(workers, fresh, first)
                asked += fresh
            self._race(workers, asked[0])
            asked.pop(0)

    def _race(self, workers: Workers, asked: Asked) -> None:
        """Train a trial wave by wave until it is complete, or loses to the best trial so far.

        Trials behind it in the window have their first wave trained meanwhile; they are judged when they are the first.
        """
        seeds, seen = self.spec.study.seed_list, 0
        for look in self.spec.study.looks:
            if seen:
                self._submit_trials(workers, [asked], seeds[seen:look])
            seen = look
            while not self._is_trained(asked.digest, seeds[:seen]):
                self._collect(workers)
            runs = [self.scored[asked.digest, seed] for seed in seeds[:seen]]
            if seen < len(seeds) and self.search.is_losing([run["score"] for run in runs]):
                break
        self._tell(asked, runs, pruned=seen < len(seeds))
        self.watcher.runs_spared(len(seeds) - seen)

    def _train_lost(self, workers: Workers) -> None:
        """Train again the runs of finished trials that are in the table no more, as after a part was damaged."""
        seeds = self.spec.study.seed_list
        lost = [
            Wanted(number, config, digest, seed)
            for number, config, digest, seen in self.search.told()
            for seed in seeds[:seen]
            if (digest, seed) not in self.scored
        ]
        lost = list({run.key: run for run in lost}.values())
        for part in parts_of(lost, self.settings.jobs):
            self._submit(workers, "search", part)
        while any(run.key not in self.scored for run in lost):
            self._collect(workers)

    def _submit_trials(self, workers: Workers, asked: Sequence[Asked], seeds: Sequence[int]) -> None:
        """A batch for every job: of the seeds first, of the trials where there are more jobs than seeds."""
        parts = split(seeds, self.settings.jobs)
        for trials in split(asked, -(-self.settings.jobs // len(parts))):
            for seeds in parts:
                wanted = [Wanted(each.number, each.config, each.digest, seed) for each in trials for seed in seeds]
                self._submit(workers, "search", wanted)

    def _tell(self, asked: Asked, runs: Sequence[Mapping[str, Any]], pruned: bool) -> None:
        scores = [run["score"] for run in runs]
        value = records.aggregate(scores, self.spec)
        self.search.tell(asked, value, records.trial_attributes(runs), scores, pruned)
        self.watcher.trial_finished(asked.number, value, self.search.best_value)

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
                self.search = open_search(self.spec, self.folder, self.settings.storage)
                break
            except ConfigError as again:
                if time.monotonic() > until:
                    raise ExecutionError(f"{again}; what was trained is kept: run the same command again") from error
                time.sleep(1)
        found, open_ = self.search.finished, len(self.search.interrupted)
        log.warning("%s: answers again; %d trials are told, %d are taken up again", self.search.where, found, open_)

    # Confirmation

    def confirm(self, workers: Workers) -> None:
        """Train the best configurations on seeds that the search never saw; then, where the study asks for it, what
        other criteria would have chosen, and the winner's neighbours and draws."""
        self._train_lost(workers)
        judged, asked = self._judged(), self.spec.confirm
        trials = self.search.trials(judged, self.spec)
        chosen = records.best_trials(trials, asked.top)
        seeds = fresh_seeds(self.spec)
        configs = {row["digest"]: records.config_of(row) for row in self.scored.values()}

        def on_fresh_seeds(table: pd.DataFrame) -> list[Wanted]:
            pairs = zip(table["trial"], table["digest"], strict=True)
            return [Wanted(int(trial), configs[digest], digest, seed) for trial, digest in pairs for seed in seeds]

        if asked.criteria:
            others = choices(trials, judged, self.spec).drop_duplicates("digest")
            self.others = others[~others["digest"].isin(chosen["digest"])]
        self._train(workers, "confirm", on_fresh_seeds(chosen))
        if self.others is not None:
            self._train(workers, "criterion", on_fresh_seeds(self.others))
        confirmed = records.confirmed(self._judged(), self.spec)
        if confirmed.empty:
            return
        winner, config = int(confirmed["trial"].iloc[0]), configs[confirmed["digest"].iloc[0]]

        def of_winner(changed: RunConfig, seed: int) -> Wanted:
            return Wanted(winner, changed, run_digest(self.spec.digits, self.spec.environments, changed), seed)

        if asked.neighbours:
            near = neighbours(self.spec, config)
            self._train(workers, "neighbour", [of_winner(each.config, seed) for each in near for seed in seeds])
        if asked.draws:
            crossed = draws(self.spec, config)
            self._train(workers, "draws", [of_winner(changed, seed) for seed, _, changed in crossed])

    def _train(self, workers: Workers, stage: str, wanted: Sequence[Wanted]) -> None:
        """Have runs of one stage trained, those that are not in the table."""
        before = [self.scored[run.key] for run in wanted if run.key in self.scored]
        configurations = len({run.digest for run in wanted})
        self.watcher.begin(stage, configurations, len(wanted), before, self._later(stage), jobs=self.settings.jobs)
        self._take_over(stage, wanted)
        for part in parts_of([run for run in wanted if run.key not in self.scored], self.settings.jobs):
            self._submit(workers, stage, part)
        while workers.pending:
            self._collect(workers)

    def _later(self, stage: str) -> int:
        """How many runs the stages after this one will ask for, as far as that can be known before."""
        asked, order = self.spec.confirm, records.STAGES.index
        near = sum(1 for _ in neighbours(self.spec, self.spec.run)) if asked.neighbours else 0
        runs = {"confirm": asked.top * asked.seeds, "criterion": self._others() * asked.seeds,
                "neighbour": near * asked.seeds, "draws": asked.draws**2}  # fmt: skip
        return sum(count for name, count in runs.items() if order(name) > order(stage))

    def _others(self) -> int:
        """How many configurations other criteria choose that are not confirmed anyway; of a search that is not done,
        half as many as there are other choosers (3 or 4 of 7 in eleven studies)."""
        if not self.spec.confirm.criteria:
            return 0
        return len(choosers(self.spec)) // 2 if self.others is None else len(self.others)

    def _take_over(self, stage: str, wanted: Sequence[Wanted]) -> None:
        """Runs that an earlier command trained for a lesser stage are this one's now."""
        rank = records.STAGES.index
        taken = [run for run in wanted if run.key in self.scored and rank(self.scored[run.key]["stage"]) > rank(stage)]
        if taken:
            records.restage(self.folder, stage, {run.key: run.trial for run in taken}, self.spec.environments)
            for run in taken:
                self.scored[run.key] |= {"stage": stage, "trial": run.trial}

    # Both

    def _submit(self, workers: Workers, stage: str, wanted: Sequence[Wanted]) -> None:
        """One batch: those of the runs that are neither trained nor being trained."""
        missing = [run for run in wanted if run.key not in self.scored and run.key not in self.underway]
        if missing:
            workers.submit(batch_of(self.spec, self.settings, stage, missing))
            self.underway |= {run.key for run in missing}

    def _collect(self, workers: Workers) -> None:
        """Write and judge the batches that are finished: all that are, as one part, even where one of them failed."""
        done: list[tuple[Batch, list[Curves]]] = []
        try:
            done.extend(workers.finished())
        finally:
            if done:
                self._keep(done)

    def _keep(self, done: Sequence[tuple[Batch, list[Curves]]]) -> None:
        rows = [row for batch, curves in done for row in rows_of(batch, curves)]
        self.table.add(rows)
        pairs = [pair for batch, curves in done for pair in zip(batch.configs, curves, strict=True)]
        judged = [
            {"study": self.spec.name, **row}
            | records.judge(config, each, self.spec.environments, self.spec.study.criterion)
            for row, (config, each) in zip(rows, pairs, strict=True)
        ]
        for row in judged:
            self._score(row)
            self.underway.discard((row["digest"], row["seed"]))
        self.trained += len(judged)
        self.watcher.runs_finished(judged)

    def _score(self, row: Mapping[str, Any]) -> None:
        """Keep what the judges said of a run, without its curves: those of thousands do not fit in memory."""
        kept = {name: value for name, value in row.items() if not name.startswith("curve_")}
        self.scored[row["digest"], row["seed"]] = kept

    def _is_trained(self, digest: str, seeds: Sequence[int]) -> bool:
        return all((digest, seed) in self.scored for seed in seeds)

    def _judged(self) -> pd.DataFrame:
        columns = None if self.scored else ["digest", "seed", "score"]
        return pd.DataFrame(list(self.scored.values()), columns=columns)

    def close(self) -> None:
        self.search.close()


def stored_runs(folder: Path, spec: StudySpec, move_aside: bool = False) -> pd.DataFrame:
    """`StudyRecord.runs` of a folder, judged anew."""
    stored = records.read_parts(folder, spec.environments, move_aside)
    return records.judged_runs(stored, spec.name, spec.environments, spec.study.criterion)


def parts_of(wanted: Sequence[Wanted], jobs: int) -> list[Sequence[Wanted]]:
    """The runs of each batch: four at most, so that an interruption costs little."""
    rounds = -(-len(wanted) // (4 * jobs))
    return split(wanted, rounds * jobs) if wanted else []


def batch_of(spec: StudySpec | TrainSpec, settings: Settings, stage: str, wanted: Sequence[Wanted]) -> Batch:
    """The runs as one batch for a worker, with what its rows will need as its tag."""
    return Batch(
        configs=tuple(run.config for run in wanted),
        seeds=tuple(run.seed for run in wanted),
        digits=spec.digits,
        environments=spec.environments,
        data_root=settings.data_root,
        device=settings.device,
        share_prefix=settings.share_prefix,
        tag=(stage, tuple(wanted)),
    )


def rows_of(batch: Batch, curves: Sequence[Curves]) -> list[dict[str, Any]]:
    """Of a batch that is trained, the rows of the table of runs."""
    stage, wanted = batch.tag
    return [
        records.run_row(stage, run.trial, run.seed, run.digest, run.config, each, batch.device)
        for run, each in zip(wanted, curves, strict=True)
    ]
