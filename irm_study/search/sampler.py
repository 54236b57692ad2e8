"""What is tried next: the samplers, and the search space as Optuna has it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from irm_study.config import Range, StudySpec, is_whole


def sampler_for(spec: StudySpec, space: Mapping[str, BaseDistribution], number: int) -> BaseSampler:
    """The sampler of one trial, its randomness from the study's seed and the trial's number: a sampler's random state
    is not stored, so one that lives on would repeat itself when a study is resumed."""
    seed = int.from_bytes(hashlib.sha256(f"{spec.study.sampler_seed}, {number}".encode()).digest()[:4], "little")
    return TPEOfKnownSpace(seed, space) if spec.study.sampler == "tpe" else RandomSampler(seed=seed)


class TPEOfKnownSpace(TPESampler):
    """TPE that is given the search space, which Optuna's own works out from all trials at every ask."""

    def __init__(self, seed: int, space: Mapping[str, BaseDistribution]):
        super().__init__(seed=seed)
        self.space = {key: each for key, each in sorted(space.items()) if not each.single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.space


def search_space(spec: StudySpec) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each hyperparameter, in the study file's order."""
    return {key: _distribution(key, entry) for key, entry in spec.search.items()}


def _distribution(key: str, entry: Range | tuple[Any, ...]) -> BaseDistribution:
    if not isinstance(entry, Range):
        return CategoricalDistribution(entry)
    if is_whole(key):
        return IntDistribution(int(entry.low), int(entry.last), log=entry.log, step=int(entry.step or 1))
    return FloatDistribution(entry.low, entry.last, log=entry.log, step=entry.step)
