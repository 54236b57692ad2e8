"""The study: Optuna's side, by ask and tell, and the driver that is the only writer.

`run_study` opens a study or goes on with it, asks for configurations, has their runs trained, writes
them, judges them, and tells Optuna one number a trial; then it confirms the best on fresh seeds. A run
that is in the table already is never trained again, and every ask depends on the trials finished
before it alone, so that an interrupted study equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import platform
import shlex
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import filelock
import optuna
import pandas as pd
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from irm_study import records
from irm_study.config import (
    FROM_ANNEAL,
    ConfigError,
    Kinds,
    Range,
    RunConfig,
    StudySpec,
    TrainSpec,
    changed_fields,
    is_whole,
    read_stored_study,
    read_train,
    run_digest,
    study_digest,
    study_toml,
    train_toml,
)
from irm_study.curves import Curves
from irm_study.execution import Batch, Workers, processor, split
from irm_study.records import StudyRecord

FRESH_SEEDS_FROM = 1000
"""Confirmation takes its seeds from here on, leaving out any that the search names."""
GRID_GROUP = 4
"""Points of a grid that are asked at once: their runs share trunks, and nothing is lost by not waiting."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Settings:
    """How a study is run, as opposed to what it is."""

    jobs: int = 1
    device: str = "cpu"
    data_root: str | None = None
    storage: str | None = None
    share_prefix: bool = True


class Watcher(Protocol):
    """Told what happens, to show it."""

    def begin(self, stage: str, trials: int, runs: int, runs_done: int) -> None: ...
    def runs_finished(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def trial_finished(self, trial: int, value: float, best: float) -> None: ...


def kinds() -> Kinds:
    """The names that a study file may use, from the dictionaries that hold what they mean."""
    from irm_study.criteria import AGGREGATES, CRITERIA
    from irm_study.models import ACTIVATIONS, MODELS
    from irm_study.penalties import PENALTIES
    from irm_study.ramps import RAMPS
    from irm_study.stopping import STOPPING_RULES

    return {
        "model": MODELS.keys(),
        "activation": ACTIVATIONS.keys(),
        "penalty": PENALTIES.keys(),
        "ramp": RAMPS.keys(),
        "stop": STOPPING_RULES.keys(),
        "criterion": CRITERIA.keys(),
        "aggregate": AGGREGATES.keys(),
    }


def run_study(spec: StudySpec, folder: Path, settings: Settings, watcher: Watcher) -> tuple[StudyRecord, int]:
    """Run a study to its end, or what is left of it; returns its record and how many runs were trained.

    Raises ConfigError when the folder holds another study, or another driver has it.
    """
    with locked(folder):
        _claim(folder, spec)
        driver = Driver(folder, spec, settings, watcher)
        with Workers(settings.jobs) as workers:
            driver.search(workers)
            driver.confirm(workers)
        return driver.record(), driver.trained


def confirm_study(spec: StudySpec, folder: Path, settings: Settings, watcher: Watcher) -> tuple[StudyRecord, int]:
    """Confirm the best trials so far on spec.confirm's seeds, training only what is missing."""
    with locked(folder):
        if settings.storage is None and not (folder / "study.db").is_file():
            raise ConfigError(
                f"{folder}: its trials are not here (no study.db); name the storage that 'run' was given with --storage"
            )
        driver = Driver(folder, spec, settings, watcher)
        with Workers(settings.jobs) as workers:
            driver.confirm(workers)
        return driver.record(), driver.trained


def train_runs(
    spec: TrainSpec, seeds: Sequence[int], folder: Path, settings: Settings, watcher: Watcher
) -> tuple[pd.DataFrame, int]:
    """Train one configuration; its runs join the table in the folder. Returns the table, judged, and the
    number of runs trained."""
    with locked(folder):
        if (folder / "study.toml").exists():
            raise ConfigError(f"{folder}: holds a study; 'train' needs a folder of its own: name one with --out")
        _claim_training(folder, spec)
        stored = records.read_parts(folder, spec.environments)
        digest = run_digest(spec.digits, spec.environments, spec.run)
        have = set(stored.loc[stored["digest"] == digest, "seed"])
        missing = [seed for seed in seeds if seed not in have]
        watcher.begin("train", 1, len(seeds), len(seeds) - len(missing))
        with Workers(settings.jobs) as workers:
            for part in _parts([Wanted(0, spec.run, digest, seed) for seed in missing], settings.jobs):
                workers.submit(_batch(spec, settings, "train", part))
            while workers.pending:
                for batch, curves in workers.finished():
                    rows = _rows(batch, curves)
                    records.write_part(folder, rows, spec.environments)
                    watcher.runs_finished(
                        [
                            row | records.judge(spec.run, each, spec.environments, "oracle_min")
                            for row, each in zip(rows, curves, strict=True)
                        ]
                    )
        runs = records.judged_runs(
            records.read_parts(folder, spec.environments), spec.name, spec.environments, "oracle_min"
        )
        records.write_runs_csv(folder, runs)
        return runs, len(missing)


def load_study(folder: str | Path) -> StudyRecord:
    """A study's record from its folder: for `irm-study report`, and for notebooks.

    Raises ConfigError when the folder holds no study.
    """
    folder = Path(folder)
    spec = stored_spec(folder)
    runs = records.judged_runs(
        records.read_parts(folder, spec.environments), spec.name, spec.environments, spec.study.criterion
    )
    return StudyRecord(
        folder=folder,
        spec=spec,
        runs=runs,
        trials=_trials(folder, spec, runs),
        importance=_stored_summary(folder).get("importance") or {},
        provenance=_stored_summary(folder).get("provenance") or {},
    )


def stored_spec(folder: Path) -> StudySpec:
    """The study that a folder holds."""
    if not (folder / "study.toml").is_file():
        raise ConfigError(f"{folder}: holds no study (no study.toml); 'irm-study run' makes one")
    return read_stored_study(folder / "study.toml")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder for this driver alone. The system frees the lock when a process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        lock.acquire(timeout=0.5)  # `status` holds it for a moment
    except filelock.Timeout:
        raise ConfigError(
            f"{folder}: another process works on this study ({_read_holder(folder)}); wait for it, or stop it"
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        (folder / ".holder").write_text(f"process {os.getpid()} on {socket.gethostname()}, since {now}")
        yield
    finally:
        (folder / ".holder").unlink(missing_ok=True)
        lock.release()


def holder_of(folder: Path) -> str | None:
    """Who works on the study in a folder; None when nobody does."""
    if not (folder / ".lock").exists():
        return None
    try:
        with filelock.FileLock(folder / ".lock").acquire(timeout=0):
            return None
    except filelock.Timeout:
        return _read_holder(folder)
    except OSError:
        return None


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
    """The one process that asks, has trained, writes, judges and tells."""

    folder: Path
    spec: StudySpec
    settings: Settings
    watcher: Watcher
    trained: int = 0
    scored: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """What the judges said of every run that is in the table, by (digest, seed)."""
    underway: set[tuple[str, int]] = field(default_factory=set)
    """Runs that are being trained, likewise: of two trials with one configuration, the second waits for them."""

    def __post_init__(self) -> None:
        self.runs = records.judged_runs(
            records.read_parts(self.folder, self.spec.environments),
            self.spec.name, self.spec.environments, self.spec.study.criterion,
        )  # fmt: skip
        for row in self.runs.to_dict("records"):
            self.scored[row["digest"], row["seed"]] = row
        self.study = _open_storage(self.spec, self.folder, self.settings.storage)
        self.points = _grid(self.spec) if self.spec.study.sampler == "grid" else None

    # Search

    def search(self, workers: Workers) -> None:
        """Ask, train and tell until the budget is spent.

        Trials are told in the order in which they were asked, and a new one is asked only when all but
        the last `window` are told: what the sampler knows then depends on no worker's speed.
        """
        self._retry_interrupted()
        seeds = self.spec.study.seed_list
        budget = self.spec.study.trials if self.points is None else min(self.spec.study.trials, len(self.points))
        finished = self._count(*FINISHED)
        group = GRID_GROUP if self.points is not None else 1
        window = max(group, -(-self.settings.jobs // len(seeds)))
        done = sum(row["stage"] == "search" for row in self.scored.values())
        self.watcher.begin("search", budget, budget * len(seeds), min(done, budget * len(seeds)))
        asked: list[tuple[optuna.Trial, RunConfig, str]] = []
        while finished < budget:
            if len(asked) <= window - group:
                fresh = [self._ask() for _ in range(min(window, budget - finished) - len(asked))]
                self._submit_trials(workers, fresh)
                asked += fresh
            while not self._is_trained(asked[0][2], seeds):
                self._collect(workers)
            trial, _, digest = asked.pop(0)
            self._tell(trial, digest)
            finished += 1

    def _ask(self) -> tuple[optuna.Trial, RunConfig, str]:
        number = self._count(*FINISHED, TrialState.RUNNING)
        self.study.sampler = _sampler(self.spec, number)
        waiting = self._count(TrialState.WAITING)
        if self.points is not None and not waiting:
            self.study.enqueue_trial(self.points[number])
        trial = self.study.ask()
        config = self.spec.configure(_suggest(trial, self.spec.search))
        digest = run_digest(self.spec.digits, self.spec.environments, config)
        number = trial.user_attrs.get("trial", number)
        trial.set_user_attr("trial", number)
        trial.set_user_attr("digest", digest)
        return trial, config, digest

    def _submit_trials(self, workers: Workers, asked: Sequence[tuple[optuna.Trial, RunConfig, str]]) -> None:
        """A batch for every job: of the seeds first, of the trials where there are more jobs than seeds."""
        parts = split(self.spec.study.seed_list, self.settings.jobs)
        for trials in split(asked, -(-self.settings.jobs // len(parts))):
            for seeds in parts:
                wanted = [
                    Wanted(trial.user_attrs["trial"], config, digest, seed)
                    for trial, config, digest in trials
                    for seed in seeds
                ]
                self._submit(workers, "search", wanted)

    def _tell(self, trial: optuna.Trial, digest: str) -> None:
        runs = pd.DataFrame([self.scored[digest, seed] for seed in self.spec.study.seed_list])
        value = records.aggregate(runs, self.spec)
        shown = ["seed", "failure_mode", "score", "train_accuracy_min", "test_accuracy"]
        trial.set_user_attr("failure_modes", records.mode_counts(runs))
        trial.set_user_attr("seeds", records.finite(runs[shown].to_dict("records")))
        self.study.tell(trial, value)
        self.watcher.trial_finished(trial.user_attrs["trial"], value, self.study.best_value)

    def _retry_interrupted(self) -> None:
        """Trials that a killed driver left running are given up and asked again with what they had.

        A trial killed before all its hyperparameters were chosen is not asked again: the next ask, which
        depends on finished trials alone, chooses the same. The new trial comes before the old one is given
        up, so that a kill between the two steps loses nothing either.
        """
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        enqueued = {trial.user_attrs.get("retry_of") for trial in waiting}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            chosen = trial.system_attrs.get("fixed_params", {}) | trial.params
            if chosen.keys() == self.spec.search.keys() and trial.number not in enqueued:
                self.study.enqueue_trial(chosen, user_attrs=trial.user_attrs | {"retry_of": trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _count(self, *states: TrialState) -> int:
        return len(self.study.get_trials(deepcopy=False, states=states))

    # Confirmation

    def confirm(self, workers: Workers) -> None:
        """Train the best configurations on seeds that the search never saw."""
        trials = _trials(self.folder, self.spec, self._judged(), self.study)
        chosen = records.best_trials(trials, self.spec.confirm.top)
        seeds = fresh_seeds(self.spec)
        wanted = []
        for trial, digest in zip(chosen["trial"], chosen["digest"], strict=True):
            row = next(row for (known, _), row in self.scored.items() if known == digest)
            wanted += [Wanted(int(trial), records.config_of(row), digest, seed) for seed in seeds]
        missing = [run for run in wanted if run.key not in self.scored]
        self.watcher.begin("confirm", len(chosen), len(wanted), len(wanted) - len(missing))
        for part in _parts(missing, self.settings.jobs):
            self._submit(workers, "confirm", part)
        while workers.pending:
            self._collect(workers)

    # Both

    def _submit(self, workers: Workers, stage: str, wanted: Sequence[Wanted]) -> None:
        """One batch: those of the runs that are neither trained nor being trained."""
        missing = [run for run in wanted if run.key not in self.scored and run.key not in self.underway]
        if missing:
            workers.submit(_batch(self.spec, self.settings, stage, missing))
            self.underway |= {run.key for run in missing}

    def _collect(self, workers: Workers) -> None:
        """Write and judge the batches that are finished."""
        for batch, curves in workers.finished():
            rows = _rows(batch, curves)
            records.write_part(self.folder, rows, self.spec.environments)
            judged = [
                {"study": self.spec.name, **row}
                | records.judge(config, each, self.spec.environments, self.spec.study.criterion)
                for row, config, each in zip(rows, batch.configs, curves, strict=True)
            ]
            for row in judged:
                self.scored[row["digest"], row["seed"]] = row
                self.underway.discard((row["digest"], row["seed"]))
            self.trained += len(judged)
            self.watcher.runs_finished(judged)

    def _is_trained(self, digest: str, seeds: Sequence[int]) -> bool:
        return all((digest, seed) in self.scored for seed in seeds)

    def _judged(self) -> pd.DataFrame:
        return pd.DataFrame(list(self.scored.values())) if self.scored else self.runs

    def record(self) -> StudyRecord:
        """The study as far as it has come; tables and the winner's file are brought up to date."""
        runs = records.judged_runs(
            records.read_parts(self.folder, self.spec.environments),
            self.spec.name, self.spec.environments, self.spec.study.criterion,
        )  # fmt: skip
        trials = _trials(self.folder, self.spec, runs, self.study)
        stored = _stored_summary(self.folder)
        # A driver that was killed after its last run left a summary of the time before.
        fresh = self.trained > 0 or stored.get("runs") != len(runs) or stored.get("trials") != self._count(*FINISHED)
        record = StudyRecord(
            self.folder, self.spec, runs, trials,
            importance=_importance(self.study) if fresh else stored.get("importance") or {},
            provenance=_provenance(self.settings) if fresh else stored.get("provenance") or {},
        )  # fmt: skip
        records.write_tables(record)
        _write_best(record)
        return record


def fresh_seeds(spec: StudySpec) -> list[int]:
    searched = set(spec.study.seed_list)
    unseen = (seed for seed in itertools.count(FRESH_SEEDS_FROM) if seed not in searched)
    return list(itertools.islice(unseen, spec.confirm.seeds))


# Optuna


def _open_storage(spec: StudySpec, folder: Path, storage: str | None) -> optuna.Study:
    """The study in Optuna's storage, made when it is not there; raise ConfigError when it cannot be had."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = storage or f"sqlite:///{(folder / 'study.db').resolve()}"
    try:
        study = optuna.create_study(storage=url, study_name=spec.name, direction="maximize", load_if_exists=True)
        digest = study_digest(spec)
        stored = study.user_attrs.get("digest")
        if stored is None:
            study.set_user_attr("digest", digest)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError, optuna.exceptions.OptunaError) as error:
        where = f"--storage {storage}" if storage else str(folder / "study.db")
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"{where}: cannot be used as Optuna's storage: {reason}") from None
    if stored not in (None, digest):
        raise ConfigError(
            f"{storage or folder / 'study.db'}: holds a study {spec.name!r} made by another study file "
            f"(digest {stored}, not {digest}); give the new study another name, or another storage"
        )
    return study


def _sampler(spec: StudySpec, number: int) -> BaseSampler:
    """The sampler for one ask, its randomness from the study's seed and the number of trials before it:
    a sampler's random state is not stored, so one that lives on would repeat itself after a resume."""
    seed = int.from_bytes(hashlib.sha256(f"{spec.study.sampler_seed}, {number}".encode()).digest()[:4], "little")
    return TPESampler(seed=seed) if spec.study.sampler == "tpe" else RandomSampler(seed=seed)


def _suggest(trial: optuna.Trial, search: Mapping[str, Range | tuple[Any, ...]]) -> dict[str, Any]:
    values = {}
    for key, entry in search.items():
        if not isinstance(entry, Range):
            values[key] = trial.suggest_categorical(key, entry)
        elif is_whole(key):
            values[key] = trial.suggest_int(key, int(entry.low), int(entry.high), log=entry.log)
        else:
            values[key] = trial.suggest_float(key, entry.low, entry.high, log=entry.log)
    return values


def _grid(spec: StudySpec) -> list[dict[str, Any]]:
    """Every combination, neighbours alike in all that matters before the anneal epoch: they share trunks."""
    keys = sorted(spec.search, key=FROM_ANNEAL.__contains__)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(spec.search[key] for key in keys))]


def _trials(folder: Path, spec: StudySpec, runs: pd.DataFrame, study: optuna.Study | None = None) -> pd.DataFrame:
    """Trials as Optuna knows them, their values from the runs; from the runs alone where the storage is away."""
    if study is None:
        if not (folder / "study.db").is_file():
            return records.trials_from_runs(runs, spec)
        study = _open_storage(spec, folder, None)
    values = {
        digest: records.aggregate(group, spec)
        for digest, group in runs[runs["seed"].isin(spec.study.seed_list)].groupby("digest")
    }
    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}
    rows = []
    for trial in study.get_trials(deepcopy=False, states=tuple(states)):
        digest = trial.user_attrs.get("digest")
        if digest is None:
            continue
        finished = trial.state in FINISHED
        rows.append(
            {
                "trial": trial.user_attrs["trial"],
                "digest": digest,
                "state": states[trial.state],
                "value": values.get(digest, float("nan")) if finished else float("nan"),
                **trial.params,
            }
        )
    columns = ["trial", "digest", "state", "value", *spec.search]
    return pd.DataFrame(rows, columns=columns).sort_values("trial", kind="stable").reset_index(drop=True)


def _importance(study: optuna.Study) -> dict[str, float]:
    """Share of the objective's variation by hyperparameter (PED-ANOVA); empty where it cannot be told."""
    complete: list[FrozenTrial] = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return {key: float(share) for key, share in optuna.importance.get_param_importances(study).items()}
        except (ValueError, RuntimeError):
            return {}


# The folder


def _claim(folder: Path, spec: StudySpec) -> None:
    """Make the folder this study's; raise ConfigError when it holds another one."""
    path = folder / "study.toml"
    if path.exists():
        stored = read_stored_study(path)
        if study_digest(stored) != study_digest(spec):
            changes = "\n".join(f"  {change}" for change in changed_fields(stored, spec))
            raise ConfigError(
                f"{folder}: holds study {stored.name!r} made by another study file; changed since then:\n{changes}\n"
                "  give the new study another name, or another folder with --out"
            )
    elif (folder / "runs").exists():
        raise ConfigError(f"{folder}: holds runs of 'train'; a study needs a folder of its own: name one with --out")
    records.write_text(path, study_toml(spec))


def _claim_training(folder: Path, spec: TrainSpec) -> None:
    """Make the folder one of `train`, on these digits and environments alone: runs of others are judged otherwise."""
    path = folder / "train.toml"
    if path.exists():
        stored = read_train(path, {})
        if (stored.digits, stored.environments) != (spec.digits, spec.environments):
            raise ConfigError(
                f"{folder}: holds runs of other digits or environments (see {path}); name another folder with --out"
            )
    records.write_text(path, train_toml(spec, "The configuration last trained here."))


def _parts(wanted: Sequence[Wanted], jobs: int) -> list[Sequence[Wanted]]:
    """The runs of each batch: four at most, so that an interruption costs little."""
    rounds = -(-len(wanted) // (4 * jobs))
    return split(wanted, rounds * jobs) if wanted else []


def _batch(spec: StudySpec | TrainSpec, settings: Settings, stage: str, wanted: Sequence[Wanted]) -> Batch:
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


def _rows(batch: Batch, curves: Sequence[Curves]) -> list[dict[str, Any]]:
    stage, wanted = batch.tag
    return [
        records.run_row(stage, run.trial, run.seed, run.digest, run.config, each, batch.device)
        for run, each in zip(wanted, curves, strict=True)
    ]


def _write_best(record: StudyRecord) -> None:
    confirmed = records.confirmed_table(record)
    if not confirmed:
        return
    best = confirmed[0]
    row = record.runs[record.runs["digest"] == best["digest"]].iloc[0]
    spec = TrainSpec.model_construct(
        name=f"{record.spec.name[:190]}-best", digits=record.spec.digits, environments=record.spec.environments,
        run=records.config_of(row.to_dict()),
    )  # fmt: skip
    comment = (
        f"The winner of a study, confirmed on {best['seeds']} seeds that its search never saw: in the target zone in "
        f"{best['successes']} of them,\n95% interval of the rate {best['low']:.3f} to {best['high']:.3f} (Wilson).\n"
        f"Train it with: irm-study train {shlex.quote(str(record.folder / 'best.toml'))}"
    )
    records.write_text(record.folder / "best.toml", train_toml(spec, comment))


def _provenance(settings: Settings) -> dict[str, Any]:
    packages = ("irm-study", "torch", "optuna", "numpy", "pandas")
    return {
        "command": shlex.join(["irm-study", *sys.argv[1:]]),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
        "device": settings.device,
        "jobs": settings.jobs,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _stored_summary(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        return {}


def _read_holder(folder: Path) -> str:
    try:
        return (folder / ".holder").read_text()
    except OSError:
        return "unknown"
