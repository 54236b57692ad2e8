"""The search: Optuna's side, by ask and tell. Nothing else imports Optuna.

A search asks for configurations, and is told one number for each. What it asks next depends on the
trials told before and on those that are being trained, alone, so that an interrupted search goes on as
if it had not been. The storage is written by one driver, and is read once, when the search is opened:
the sampler looks at trials in memory, because a storage answers too slowly when it holds thousands.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import optuna
import pandas as pd
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import WilcoxonPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from irm_study import records
from irm_study.config import FROM_ANNEAL, ConfigError, Range, RunConfig, StudySpec, is_whole
from irm_study.locks import this_process
from irm_study.studyfile import run_digest, study_digest, without_password

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}
BEST_SEEN, LATEST_SEEN = 50, 200
"""Of more finished trials a sampler sees the best and the latest. TPE compares the best 25 with all others,
in a time that grows with them: 10,000 took 0.2 s to be looked at, for each ask."""
STORAGE_ERRORS = (SQLAlchemyError, ImportError, ValueError, RuntimeError, optuna.exceptions.OptunaError)


class StorageLost(RuntimeError):
    """The storage does not answer any more."""


class StorageDamaged(ConfigError):
    """The folder's own storage is no database any more."""


class Asked(NamedTuple):
    """A trial that is to be trained. number: in the study; key: in the storage; place: in memory."""

    number: int
    config: RunConfig
    digest: str
    key: int
    place: int


class KnowingSampler(TPESampler):
    """TPE that is told the search space, which Optuna's own makes out from all trials at every ask."""

    def __init__(self, seed: int, distributions: Mapping[str, BaseDistribution]):
        super().__init__(seed=seed)
        self.space = {key: each for key, each in sorted(distributions.items()) if not each.single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.space


class Memory(InMemoryStorage):
    """What the sampler sees of a study. seen: places of the finished trials that it is shown; None: of all."""

    seen: frozenset[int] | None = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Sequence[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, states)
        if self.seen is None:
            return trials
        return [trial for trial in trials if trial.state not in FINISHED or trial.number in self.seen]


@dataclass
class Search:
    """A study in Optuna's storage, asked and told by its one driver."""

    spec: StudySpec
    where: str
    """The storage as a message names it."""
    storage: RDBStorage
    study_id: int
    held: sqlalchemy.Connection | contextlib.ExitStack | None = None
    """What holds the study for this driver: a connection to a database server, or a file's lock. Ends with close()."""
    interrupted: list[Asked] = field(default_factory=list)
    """Trials that an earlier driver asked for and did not tell."""

    def __post_init__(self) -> None:
        self.points = _grid(self.spec) if self.spec.study.sampler == "grid" else None
        self.distributions = {key: _distribution(key, entry) for key, entry in self.spec.search.items()}
        self.memory_storage = Memory()
        self.memory = optuna.create_study(storage=self.memory_storage, direction="maximize")
        self.values: dict[int, float] = {}
        """Of the finished trials, by their places."""
        self.pruned: set[int] = set()
        self.scores: dict[int, Sequence[float]] = {}
        """Each finished trial's scores, seed by seed, by its place; where trials race."""
        self.numbers: set[int] = set()
        self.first_free = 0
        stored = self.storage.get_all_trials(self.study_id, deepcopy=False, states=tuple(STATES))
        for trial in sorted(stored, key=lambda trial: trial.user_attrs.get("trial", trial.number)):
            if trial.params.keys() == self.spec.search.keys() and "digest" in trial.user_attrs:
                self._remember(trial)

    @property
    def on_server(self) -> bool:
        return self.storage.engine.dialect.name != "sqlite"

    @property
    def finished(self) -> int:
        """How many trials are told."""
        return len(self.values)

    @property
    def best_value(self) -> float | None:
        """Of the complete trials: a pruned one's value is of a part of its seeds. None before the first."""
        return max((value for place, value in self.values.items() if place not in self.pruned), default=None)

    @property
    def pruned_digests(self) -> list[str]:
        trials = self.memory.get_trials(deepcopy=False)
        return [trial.user_attrs["digest"] for trial in trials if trial.number in self.pruned]

    def ask(self) -> Asked:
        """A trial to be trained: one that was interrupted, else a new one, in the storage before it is returned."""
        if self.interrupted:
            return self.interrupted.pop(0)
        number = next(number for number in itertools.count(self.first_free) if number not in self.numbers)
        trial = self._sample(number)
        config = self.spec.configure(trial.params)
        digest = run_digest(self.spec.digits, self.spec.environments, config)
        attributes = {"trial": number, "digest": digest}
        for name, attribute in attributes.items():
            trial.set_user_attr(name, attribute)
        stored = create_trial(
            state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions, user_attrs=attributes
        )
        with storage_answers(self.where):
            key = self.storage.create_new_trial(self.study_id, stored)
        self.numbers.add(number)
        self.first_free = number + 1
        return Asked(number, config, digest, key, trial.number)

    def told(self) -> Iterator[tuple[int, RunConfig, str, int | None]]:
        """Number, configuration and digest of every finished trial, and how many of the seeds it had; None: all."""
        for trial in self.memory.get_trials(deepcopy=False, states=FINISHED):
            known = trial.user_attrs
            seen = len(self.scores[trial.number]) if trial.number in self.scores else None
            yield known["trial"], self.spec.configure(trial.params), known["digest"], seen

    def tell(
        self, asked: Asked, value: float, attributes: Mapping[str, Any], scores: Sequence[float], pruned: bool = False
    ) -> None:
        """attributes: of the trial, for any Optuna tool to show. scores: seed by seed. pruned: it lost, and `value` is
        of the seeds that it had; the sampler learns from it all the same."""
        with storage_answers(self.where):
            for name, attribute in attributes.items():
                self.storage.set_trial_user_attr(asked.key, name, attribute)
            for seed, score in enumerate(scores if self.races else ()):
                self.storage.set_trial_intermediate_value(asked.key, seed, score)
            state = TrialState.PRUNED if pruned else TrialState.COMPLETE
            self.storage.set_trial_state_values(asked.key, state, [value])
        self.memory.tell(asked.place, value)
        self._finish(asked.place, value, scores, pruned)

    def is_losing(self, scores: Sequence[float]) -> bool:
        """Whether Wilcoxon's test finds a trial's scores, on its first seeds, below the best trial's on the same."""
        complete = self.scores.keys() - self.pruned
        if not complete:
            return False
        best = max(sorted(complete), key=lambda place: self.values[place])
        race = optuna.create_study(direction="maximize")
        race.add_trial(create_trial(value=self.values[best], intermediate_values=dict(enumerate(self.scores[best]))))
        running = create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(scores)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = WilcoxonPruner(p_threshold=self.spec.study.prune_below)
        return pruner.prune(race, running)

    @property
    def races(self) -> bool:
        return len(self.spec.study.looks) > 1

    def restore(self, trials: pd.DataFrame, scores: Mapping[str, Sequence[float]]) -> None:
        """Trials, as `records.trials_from_runs` tells them, into a storage that has none. scores: of each digest,
        seed by seed."""
        states = {name: state for state, name in STATES.items()}
        for row in trials.to_dict("records"):
            trial = create_trial(
                state=states[row["state"]],
                value=row["value"] if states[row["state"]] in FINISHED else None,
                params={key: records.plain(row[key]) for key in self.spec.search},
                distributions=self.distributions,
                intermediate_values=dict(enumerate(scores[row["digest"]])) if self.races else None,
                user_attrs={"trial": int(row["trial"]), "digest": row["digest"]},
            )
            with storage_answers(self.where):
                key = self.storage.create_new_trial(self.study_id, trial)
            self._remember(self.storage.get_trial(key))

    def trials(self, runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
        """`StudyRecord.trials`: trials as Optuna knows them, their values from the runs as `spec` aggregates them."""
        values = {
            digest: records.aggregate(group["score"], spec)
            for digest, group in runs[runs["seed"].isin(spec.study.seed_list)].groupby("digest")
        }
        rows = []
        for trial in self.memory.get_trials(deepcopy=False):
            digest = trial.user_attrs["digest"]
            rows.append(
                {
                    "trial": trial.user_attrs["trial"],
                    "digest": digest,
                    "state": "pruned" if trial.number in self.pruned else STATES[trial.state],
                    "value": values.get(digest, float("nan")) if trial.state in FINISHED else float("nan"),
                    **trial.params,
                }
            )
        columns = ["trial", "digest", "state", "value", *self.spec.search]
        return pd.DataFrame(rows, columns=columns).sort_values("trial", kind="stable").reset_index(drop=True)

    def importance(self) -> dict[str, float]:
        """Share of the objective's variation by hyperparameter (PED-ANOVA); empty where it cannot be told."""
        if len(set(self.values.values())) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                shares = optuna.importance.get_param_importances(self.memory)
                return {key: float(share) for key, share in shares.items()}
            except (ValueError, RuntimeError):
                return {}

    def close(self) -> None:
        if self.held is not None:
            with contextlib.suppress(SQLAlchemyError):
                self.held.close()
        self.storage.engine.dispose()

    def _sample(self, number: int) -> optuna.Trial:
        if self.points is not None:
            self.memory.enqueue_trial(self.points[number])
        if len(self.values) > BEST_SEEN + LATEST_SEEN:
            best = heapq.nlargest(BEST_SEEN, self.values, key=self.values.__getitem__)
            latest = itertools.islice(reversed(self.values), LATEST_SEEN)
            self.memory_storage.seen = frozenset(best) | frozenset(latest)
        self.memory.sampler = _sampler(self.spec, self.distributions, number)
        trial = self.memory.ask(self.distributions)
        self.memory_storage.seen = None
        return trial

    def _remember(self, trial: FrozenTrial) -> None:
        """A trial of the storage joins those in memory."""
        number, digest = trial.user_attrs["trial"], trial.user_attrs["digest"]
        place = len(self.memory.get_trials(deepcopy=False))
        self.numbers.add(number)
        self.memory.add_trial(
            create_trial(
                # A pruned trial is a finished one to the sampler, which would rank it below all others otherwise.
                state=TrialState.COMPLETE if trial.state is TrialState.PRUNED else trial.state,
                value=trial.value,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={"trial": number, "digest": digest},
            )
        )
        if trial.state in FINISHED:
            scores = [score for _, score in sorted(trial.intermediate_values.items())]
            self._finish(place, trial.value, scores, trial.state is TrialState.PRUNED)
        else:
            config = self.spec.configure(trial.params)
            self.interrupted.append(Asked(number, config, digest, trial._trial_id, place))

    def _finish(self, place: int, value: float, scores: Sequence[float], pruned: bool) -> None:
        self.values[place] = value
        if pruned:
            self.pruned.add(place)
        if self.races:
            self.scores[place] = scores


def open_search(spec: StudySpec, folder: Path, storage: str | None) -> Search:
    """The search in Optuna's storage, made when it is not there.

    Raises ConfigError when the storage cannot be used, or holds another study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = storage or f"sqlite:///{(folder / 'study.db').resolve()}"
    where = str(folder / "study.db") if storage is None else f"--storage {without_password(storage)}"
    try:
        with contextlib.ExitStack() as failing:
            url = sqlalchemy.make_url(url)
            if url.drivername == "postgresql":
                url = url.set(drivername="postgresql+psycopg")
            opened = RDBStorage(url.render_as_string(hide_password=False))
            failing.callback(opened.engine.dispose)
            if opened.engine.dialect.name == "sqlite":
                sqlalchemy.event.listen(opened.engine, "connect", _write_ahead)
                opened.engine.dispose()
                _check_pages(opened)
            study_id = _study_id(opened, spec.name)
            held = None
            if opened.engine.dialect.name == "postgresql":
                held = failing.enter_context(_hold(opened, study_id, spec.name, where))
            elif storage is not None and opened.engine.url.database:
                held = _hold_file(opened, study_id, spec.name, where)
                failing.callback(held.close)
            digest, stored = study_digest(spec), opened.get_study_user_attrs(study_id).get("digest")
            if stored is None:
                opened.set_study_user_attr(study_id, "digest", digest)
                # As Study.set_metric_names does, which warns of being experimental.
                named = f"{spec.study.criterion}, {spec.study.aggregate}"
                opened.set_study_system_attr(study_id, "study:metric_names", [named])
            if stored in (None, digest):
                search = Search(spec, where, opened, study_id, held)
                failing.pop_all()
                return search
    except ConfigError:
        raise
    except STORAGE_ERRORS as error:
        reason = " ".join(str(error.__cause__ or error).split())
        if storage is not None:
            reason = reason.replace(storage, without_password(storage))
        kind = StorageDamaged if storage is None and _is_damage(error) else ConfigError
        raise kind(f"{where}: cannot be used as Optuna's storage: {reason}") from None
    raise ConfigError(
        f"{where.removeprefix('--storage ')}: holds a study {spec.name!r} made by another study file "
        f"(digest {stored}, not {digest}); give the new study another name, or another storage"
    )


@contextlib.contextmanager
def storage_answers(where: str) -> Iterator[None]:
    """Raise StorageLost where the storage does not answer within."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise StorageLost(f"{where}: does not answer: {reason}") from error


def _study_id(storage: RDBStorage, name: str) -> int:
    with contextlib.suppress(KeyError):
        return storage.get_study_id_from_name(name)
    return storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], name)


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite waits for the disk at checkpoints only: a killed driver loses nothing by it, and the runs themselves,
    from which trials can be told again, are not in this file."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _check_pages(storage: RDBStorage) -> None:
    with storage.engine.connect() as connection:
        told = connection.scalar(sqlalchemy.text("PRAGMA quick_check(1)"))
    if told != "ok":
        raise sqlalchemy.exc.DatabaseError(None, None, sqlite3.DatabaseError(told))


def _is_damage(error: BaseException) -> bool:
    """Whether SQLite says that a file is no database; not that it is locked, or cannot be opened."""
    while error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def _hold(storage: RDBStorage, study_id: int, name: str, where: str) -> sqlalchemy.Connection:
    """The study for this driver alone: a lock that the server frees when its connection ends, however it ends."""
    connection = storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    key = int.from_bytes(hashlib.sha256(f"irm-study {name}".encode()).digest()[:8], "little", signed=True)
    if not connection.scalar(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
        connection.close()
        raise _held_already(storage, study_id, name, where)
    storage.set_study_user_attr(study_id, "holder", this_process())
    return connection


def _hold_file(storage: RDBStorage, study_id: int, name: str, where: str) -> contextlib.ExitStack:
    """The same for a study in an SQLite file outside of its folder: a lock beside the file."""
    database = storage.engine.url.database
    lock = filelock.FileLock(f"{database}.{hashlib.sha256(name.encode()).hexdigest()[:8]}.lock")
    held = contextlib.ExitStack()
    try:
        held.enter_context(lock.acquire(timeout=0.5))
    except filelock.Timeout:
        raise _held_already(storage, study_id, name, where) from None
    storage.set_study_user_attr(study_id, "holder", this_process())
    return held


def _held_already(storage: RDBStorage, study_id: int, name: str, where: str) -> ConfigError:
    holder = storage.get_study_user_attrs(study_id).get("holder", "unknown")
    return ConfigError(f"{where}: another process works on study {name!r} ({holder}); wait for it, or stop it")


def _sampler(spec: StudySpec, distributions: Mapping[str, BaseDistribution], number: int) -> BaseSampler:
    """The sampler for one ask, its randomness from the study's seed and the number of trials before it:
    a sampler's random state is not stored, so one that lives on would repeat itself after a resume."""
    seed = int.from_bytes(hashlib.sha256(f"{spec.study.sampler_seed}, {number}".encode()).digest()[:4], "little")
    return KnowingSampler(seed, distributions) if spec.study.sampler == "tpe" else RandomSampler(seed=seed)


def _distribution(key: str, entry: Range | tuple[Any, ...]) -> BaseDistribution:
    if not isinstance(entry, Range):
        return CategoricalDistribution(entry)
    if is_whole(key):
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return FloatDistribution(entry.low, entry.high, log=entry.log)


def _grid(spec: StudySpec) -> list[dict[str, Any]]:
    """Every combination, neighbours alike in all that matters before the anneal epoch: they share trunks."""
    keys = sorted(spec.search, key=FROM_ANNEAL.__contains__)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(spec.search[key] for key in keys))]
