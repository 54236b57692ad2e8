"""What the rules say of one run: its failure mode by each evidence source, and its score by each criterion.

The rules and criteria themselves are `diagnosis`'; which of this the table of runs shows is declared in `columns`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.diagnosis import Curves, Diagnosis, Skill, available_sources, criteria_for, diagnose, score, skill


@dataclass(frozen=True)
class JudgedRun:
    """One run with its diagnoses and scores: what derived columns are computed from.

    criterion: the one that scores the study. diagnoses: by evidence source, of those that the environments have.
    skill: S, B and M with the test environment as evidence. scores: by criterion, of those that the environments
    allow.
    """

    config: RunConfig
    curves: Curves
    environments: EnvironmentSpec
    criterion: str
    diagnoses: Mapping[str, Diagnosis]
    skill: Skill
    scores: Mapping[str, float]

    @property
    def diagnosis(self) -> Diagnosis:
        """With the test environment as evidence."""
        return self.diagnoses["test"]

    @property
    def score(self) -> float:
        """By the study's criterion."""
        return self.scores[self.criterion]

    def mode(self, source: str) -> str:
        """The failure mode by an evidence source; "" where the environments lack it."""
        return self.diagnoses[source].mode if source in self.diagnoses else ""

    def score_by(self, criterion: str) -> float:
        """NaN where the environments do not allow the criterion."""
        return self.scores.get(criterion, math.nan)

    def accuracy(self, environment: str) -> float:
        """At the end of the run, a fraction; NaN of a run that diverged, or where it was not measured."""
        index = self.curves.of(environment)
        return (
            math.nan if index is None or self.diagnosis.mode == "diverged" else float(self.curves.accuracy[-1, index])
        )

    def last_skill(self, name: str) -> float:
        """S, B, M or their residual at the end of the run; NaN of a run that diverged."""
        return math.nan if self.diagnosis.mode == "diverged" else float(getattr(self.skill, name)[-1])

    def probe(self, name: str) -> float:
        """One of `PROBES` at the end of the run."""
        return float(getattr(self.curves, name)[-1])

    @property
    def train_accuracies(self) -> np.ndarray:
        """As `accuracy`, of the training environments: (training environments,)."""
        last = self.curves.accuracy[-1, self.curves.train]
        return np.full_like(last, math.nan) if self.diagnosis.mode == "diverged" else last


def judged(config: RunConfig, curves: Curves, environments: EnvironmentSpec, criterion: str) -> JudgedRun:
    """Apply every rule and criterion that the environments allow to one run."""
    return JudgedRun(
        config=config,
        curves=curves,
        environments=environments,
        criterion=criterion,
        diagnoses={
            source: diagnose(curves, environments, config, source) for source in available_sources(environments)
        },
        skill=skill(curves, environments),
        scores={name: score(name, curves, environments) for name in criteria_for(environments)},
    )
