"""The search: Optuna's side, by ask and tell. Nothing else imports Optuna.

A search asks for configurations, and is told one number for each. What it asks next depends on the
trials finished before alone, so that one that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from irm_study import records
from irm_study.config import FROM_ANNEAL, ConfigError, Range, RunConfig, StudySpec, is_whole, run_digest, study_digest

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Asked(NamedTuple):
    """A trial that is to be trained. number: as the study counts, without those that were given up."""

    trial: optuna.Trial
    number: int
    config: RunConfig
    digest: str


@dataclass(frozen=True)
class Search:
    """A study in Optuna's storage, asked and told by its one driver."""

    spec: StudySpec
    study: optuna.Study
    points: list[dict[str, Any]] | None
    """A grid's, each once; None for the other samplers."""

    @property
    def budget(self) -> int:
        return self.spec.study.trials if self.points is None else min(self.spec.study.trials, len(self.points))

    @property
    def best_value(self) -> float:
        return self.study.best_value

    def finished(self) -> int:
        """How many trials are told."""
        return self._count(*FINISHED)

    def ask(self) -> Asked:
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
        return Asked(trial, number, config, digest)

    def tell(self, asked: Asked, value: float, attributes: Mapping[str, Any]) -> None:
        """attributes: of the trial, for any Optuna tool to show."""
        for name, attribute in attributes.items():
            asked.trial.set_user_attr(name, attribute)
        self.study.tell(asked.trial, value)

    def retry_interrupted(self) -> None:
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

    def trials(self, runs: pd.DataFrame) -> pd.DataFrame:
        """`StudyRecord.trials`: trials as Optuna knows them, their values from the runs."""
        values = {
            digest: records.aggregate(group, self.spec)
            for digest, group in runs[runs["seed"].isin(self.spec.study.seed_list)].groupby("digest")
        }
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}
        rows = []
        for trial in self.study.get_trials(deepcopy=False, states=tuple(states)):
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
        columns = ["trial", "digest", "state", "value", *self.spec.search]
        return pd.DataFrame(rows, columns=columns).sort_values("trial", kind="stable").reset_index(drop=True)

    def importance(self) -> dict[str, float]:
        """Share of the objective's variation by hyperparameter (PED-ANOVA); empty where it cannot be told."""
        complete: list[FrozenTrial] = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len({trial.value for trial in complete}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return {key: float(share) for key, share in optuna.importance.get_param_importances(self.study).items()}
            except (ValueError, RuntimeError):
                return {}

    def _count(self, *states: TrialState) -> int:
        return len(self.study.get_trials(deepcopy=False, states=states))


def open_search(spec: StudySpec, folder: Path, storage: str | None) -> Search:
    """The search in Optuna's storage, made when it is not there; raise ConfigError when it cannot be had."""
    return Search(spec, _open_storage(spec, folder, storage), _grid(spec) if spec.study.sampler == "grid" else None)


def _open_storage(spec: StudySpec, folder: Path, storage: str | None) -> optuna.Study:
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
