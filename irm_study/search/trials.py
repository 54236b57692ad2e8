"""A study's trials in memory, where the sampler reads them: a storage answers too slowly when it holds thousands.

Here each trial has a value for every searched hyperparameter, because TPE compares whole points. To everyone else it
has those that act beside its other values; the rest stand apart in the storage (`SILENT`), so that a study that is
resumed goes on as one that was not interrupted.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from irm_study.config import RunConfig, StudySpec, run_digest
from irm_study.search.sampler import sampler_for, search_space

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}
"""Optuna's states that a trial of a study may have, and their names in the table of trials."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
SILENT = "irm_study:without_effect"
"""Of a trial in the storage, the attribute with the values that were drawn for hyperparameters that cannot act."""
BEST_VISIBLE, LATEST_VISIBLE = 50, 200
"""Of more finished trials the sampler sees the best and the latest. TPE compares the best 25 with all others, in a time
that grows with them: with 10,000 trials, 0.2 s for each ask."""


class VisibleTrials(InMemoryStorage):
    """Trials in memory. visible: the numbers there of the finished trials that the sampler is shown; None: all."""

    visible: frozenset[int] | None = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, states)
        if self.visible is None:
            return trials
        return [trial for trial in trials if trial.state not in FINISHED or trial.number in self.visible]


class KnownTrials:
    """Trials asked and finished, in the order in which they came; each is known by its place in that order.

    study: Optuna's, in memory, for what reads a study. values: of the finished trials, in the order in which they
    finished. pruned: those of them that lost a race. scores: seed by seed, of a study that races. best: the complete
    trial with the highest value, of several the first; a pruned one's value is of a part of its seeds.
    """

    def __init__(self, spec: StudySpec):
        self.spec = spec
        self.space = search_space(spec)
        self.storage = VisibleTrials()
        self.study = optuna.create_study(storage=self.storage, direction="maximize")
        self.values: dict[int, float] = {}
        self.pruned: set[int] = set()
        self.best: int | None = None
        self.scores: dict[int, Sequence[float]] = {}

    @property
    def races(self) -> bool:
        return len(self.spec.study.looks) > 1

    def all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    def sample(self, number: int, point: dict[str, Any] | None) -> optuna.Trial:
        """A new trial, which depends on the trials so far and on its number alone. point: of a grid."""
        if number < len(self.spec.study.enqueue):
            point = self.spec.study.enqueue[number]
        if point is not None:
            self.study.enqueue_trial(point)
        if len(self.values) > BEST_VISIBLE + LATEST_VISIBLE:
            best = heapq.nlargest(BEST_VISIBLE, self.values, key=self.values.__getitem__)
            latest = itertools.islice(reversed(self.values), LATEST_VISIBLE)
            self.storage.visible = frozenset(best) | frozenset(latest)
        self.study.sampler = sampler_for(self.spec, self.space, number)
        trial = self.study.ask(self.space)
        self.storage.visible = None
        return trial

    def configuration(self, params: Mapping[str, Any]) -> tuple[RunConfig, str]:
        """What a trial trains, and its digest. params: of all hyperparameters, or of those that act."""
        config = self.spec.configure(self.spec.acting(params))
        return config, run_digest(self.spec.digits, self.spec.environments, config)

    def split(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A whole point: its values that act, and the others."""
        acting = self.spec.acting(params)
        return acting, {key: value for key, value in params.items() if key not in acting}

    def completed(self, number: int, acting: Mapping[str, Any]) -> dict[str, Any]:
        """A whole point, as far as the values that act tell it; the others as a sampler draws them without trials."""
        study = optuna.create_study(sampler=sampler_for(self.spec, self.space, number))
        if number < len(self.spec.study.enqueue):
            study.enqueue_trial(self.spec.study.enqueue[number])
        return {**study.ask(self.space).params, **acting}

    def belongs(self, stored: FrozenTrial) -> bool:
        """Whether a trial of the storage is one of this study's."""
        return _point(stored).keys() == self.space.keys() and "trial" in stored.user_attrs

    def add(self, stored: FrozenTrial) -> int:
        """A trial of the storage; returns its place. Its digest is that of its values: earlier versions had others."""
        place = len(self.all())
        params = _point(stored)
        self.study.add_trial(
            create_trial(
                # A pruned trial is a finished one to the sampler, which would rank it below all others otherwise.
                state=TrialState.COMPLETE if stored.state is TrialState.PRUNED else stored.state,
                value=stored.value,
                params=params,
                distributions=self.space,
                user_attrs={"trial": stored.user_attrs["trial"], "digest": self.configuration(params)[1]},
            )
        )
        if stored.value is not None:
            scores = [score for _, score in sorted(stored.intermediate_values.items())]
            self._note(place, stored.value, scores, stored.state is TrialState.PRUNED)
        return place

    def finish(self, place: int, value: float, scores: Sequence[float], pruned: bool) -> None:
        """scores: seed by seed. pruned: it lost a race, and has a part of them."""
        self.study.tell(place, value)
        self._note(place, value, scores, pruned)

    def _note(self, place: int, value: float, scores: Sequence[float], pruned: bool) -> None:
        self.values[place] = value
        if pruned:
            self.pruned.add(place)
        elif self.best is None or (value, -place) > (self.values[self.best], -self.best):
            self.best = place
        if self.races:
            self.scores[place] = scores


def _point(stored: FrozenTrial) -> dict[str, Any]:
    """Every value that was drawn for a trial of the storage."""
    return {**stored.params, **stored.system_attrs.get(SILENT, {})}
