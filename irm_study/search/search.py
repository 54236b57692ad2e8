"""The search: a configuration is asked for, and told the value that it came to.

What is asked next depends on the trials finished before and on those that are being trained, alone, so that an
interrupted search goes on as if it had not been. The storage is written by one driver, and is read once, when the
search is opened. What a search has come to is read off in `outcomes`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from optuna.trial import FrozenTrial, TrialState, create_trial

from irm_study.config import RunConfig, StudySpec, is_whole
from irm_study.files import plain
from irm_study.search.racing import loses
from irm_study.search.storage import StudyStorage, open_storage
from irm_study.search.trials import SILENT, STATES, KnownTrials


class AskedTrial(NamedTuple):
    """A trial that is to be trained. number: in the study; storage_id: in the storage; place: among KnownTrials."""

    number: int
    config: RunConfig
    digest: str
    storage_id: int
    place: int


class FinishedTrial(NamedTuple):
    """A trial that has its value. seeds: how many of the study's seeds it was trained on; None: all."""

    number: int
    config: RunConfig
    digest: str
    seeds: int | None


def open_search(spec: StudySpec, folder: Path, storage: str | None) -> Search:
    """The search in Optuna's storage, made where it is not there. storage: a URL; None: `study.db` in the folder.

    Raises StorageDamaged where `study.db` is no database any more, ConfigError where a storage cannot be used, holds
    another study, or is in use by another process.
    """
    opened = open_storage(spec, folder, storage)
    with opened.usable():
        return Search(spec, opened)


class Search:
    """A study in Optuna's storage, asked and told by its one driver.

    interrupted: trials that an earlier driver asked for and did not tell; they are asked for again, first.
    points: of a grid, those that no trial has; None for other samplers.
    """

    def __init__(self, spec: StudySpec, storage: StudyStorage):
        self.spec, self.storage = spec, storage
        self.known = KnownTrials(spec)
        self.points: dict[str, dict[str, Any]] | None = None
        if spec.study.sampler == "grid":
            self.points = {self.known.configuration(point)[1]: point for point in spec.grid()}
        self.interrupted: list[AskedTrial] = []
        self.numbers: set[int] = set()
        self.first_free = 0
        stored = storage.database.get_all_trials(storage.study_id, deepcopy=False, states=tuple(STATES))
        for trial in sorted(stored, key=lambda trial: trial.user_attrs.get("trial", trial.number)):
            if self.known.belongs(trial):
                self._take_in(trial)

    @property
    def where(self) -> str:
        """The storage as a message names it."""
        return self.storage.where

    @property
    def on_server(self) -> bool:
        return self.storage.on_server

    @property
    def races(self) -> bool:
        return self.known.races

    @property
    def finished(self) -> int:
        """How many trials are finished."""
        return len(self.known.values)

    @property
    def budget(self) -> int:
        """How many trials it ends with: a grid with its last point, which an earlier version gave several trials."""
        trials = self.spec.study.trials
        return trials if self.points is None else min(trials, len(self.numbers) + len(self.points))

    @property
    def best_value(self) -> float | None:
        """The highest value of a complete trial; None before the first."""
        best = self.known.best
        return None if best is None else self.known.values[best]

    @property
    def pruned_digests(self) -> list[str]:
        return [trial.user_attrs["digest"] for trial in self.known.all() if trial.number in self.known.pruned]

    def ask(self) -> AskedTrial:
        """A trial to be trained: one that was interrupted, else a new one, in the storage before it is returned.

        Raises StorageLost where the storage does not answer.
        """
        if self.interrupted:
            return self.interrupted.pop(0)
        number = next(number for number in itertools.count(self.first_free) if number not in self.numbers)
        trial = self.known.sample(number, None if self.points is None else next(iter(self.points.values())))
        config, digest = self.known.configuration(trial.params)
        trial.set_user_attr("trial", number)
        trial.set_user_attr("digest", digest)
        stored = self._for_storage(number, trial.params, state=TrialState.RUNNING)
        with self.storage.answers():
            storage_id = self.storage.database.create_new_trial(self.storage.study_id, stored)
        self._count(number, digest)
        self.first_free = number + 1
        return AskedTrial(number, config, digest, storage_id, trial.number)

    def tell(
        self, asked: AskedTrial, value: float, attributes: Mapping[str, Any], scores: Sequence[float],
        pruned: bool = False,
    ) -> None:  # fmt: skip
        """attributes: of the trial, for any Optuna tool to show. scores: seed by seed. pruned: it lost, and `value` is
        of the seeds that it had; the sampler learns from it all the same.

        Raises StorageLost where the storage does not answer.
        """
        database = self.storage.database
        with self.storage.answers():
            for name, attribute in attributes.items():
                database.set_trial_user_attr(asked.storage_id, name, attribute)
            for seed, score in enumerate(scores if self.races else ()):
                database.set_trial_intermediate_value(asked.storage_id, seed, score)
            state = TrialState.PRUNED if pruned else TrialState.COMPLETE
            database.set_trial_state_values(asked.storage_id, state, [value])
        self.known.finish(asked.place, value, scores, pruned)

    def is_losing(self, scores: Sequence[float]) -> bool:
        """Whether a trial's scores, on its first seeds, are worse than the best trial's on the same seeds."""
        best = self.known.best
        return best is not None and loses(scores, self.known.scores[best], self.spec.study.prune_below)

    def finished_trials(self) -> Iterator[FinishedTrial]:
        """Every finished trial, in the order in which they were asked."""
        for trial in self.known.finished():
            seeds = len(self.known.scores[trial.number]) if self.races else None
            yield FinishedTrial(trial.user_attrs["trial"], *self.known.configuration(trial.params), seeds)

    def restore(self, trials: pd.DataFrame, scores: Mapping[str, Sequence[float]]) -> None:
        """Write trials into a storage that has none. trials: as `trials_from_runs` makes them of the table of runs.
        scores: of each digest, seed by seed.

        Raises StorageLost where the storage does not answer.
        """
        states = {name: state for state, name in STATES.items()}
        for row in trials.to_dict("records"):
            number, values = int(row["trial"]), {key: plain(row[key]) for key in self.spec.search}
            acting = {key: int(value) if is_whole(key) else value for key, value in values.items() if value is not None}
            trial = self._for_storage(
                number,
                self.known.completed(number, acting),
                state=states[row["state"]],
                value=row["value"] if row["state"] != "running" else None,
                intermediate_values=dict(enumerate(scores[row["digest"]])) if self.races else None,
            )
            with self.storage.answers():
                storage_id = self.storage.database.create_new_trial(self.storage.study_id, trial)
                self._take_in(self.storage.database.get_trial(storage_id))

    def close(self) -> None:
        """Let other drivers have the study."""
        self.storage.close()

    def _for_storage(self, number: int, params: dict[str, Any], **rest: Any) -> FrozenTrial:
        """A trial as the storage is to have it. params: of all hyperparameters."""
        acting, silent = self.known.split(params)
        return create_trial(
            params=acting,
            distributions={key: self.known.space[key] for key in acting},
            user_attrs={"trial": number, "digest": self.known.configuration(params)[1]},
            system_attrs={SILENT: silent} if silent else None,
            **rest,
        )

    def _take_in(self, trial: FrozenTrial) -> None:
        """A trial of the storage joins the known ones."""
        place = self.known.add(trial)
        known = self.known.all()[place]
        number, (config, digest) = known.user_attrs["trial"], self.known.configuration(known.params)
        self._count(number, digest)
        if trial.state is TrialState.RUNNING:
            database, study_id = self.storage.database, self.storage.study_id
            storage_id = database.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            self.interrupted.append(AskedTrial(number, config, digest, storage_id, place))

    def _count(self, number: int, digest: str) -> None:
        """A number is taken, and so is a point of a grid."""
        self.numbers.add(number)
        if self.points is not None:
            self.points.pop(digest, None)
