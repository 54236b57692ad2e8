"""A study as far as it has come: what is read from its folder, and what every figure and summary is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from irm_study.config import StudyRegion, StudySpec
from irm_study.results.baselines import baselines_table
from irm_study.results.curves import tidy_curves
from irm_study.results.html import record_html
from irm_study.results.hyperparameters import Along
from irm_study.results.ideals import ideals_table


@dataclass(frozen=True)
class StudyRecord:
    """A study as far as it has come.

    runs: a row for each run, in the order of stage, trial and seed; its columns are declared, each with its meaning,
    in `columns` (`columns_markdown` lists them). trials: a row for each trial, as `configurations.trials_table` has
    them. importance: what hyperparameters have to do with the objective value, as `importance` makes it of the trials;
    empty of too few. provenance: command, versions and hardware, for the part of the page that says how the study was
    made. region: the box that `irm-study region` found; None where it was not asked for. ideals: what the draws of its
    fresh seeds ask for, as `ideals_table`; empty until `irm-study ideal` computes them. baselines: the winner's
    training without a penalty, and without colour, as `baselines_table`; empty unless the study asks for them.
    """

    folder: Path
    spec: StudySpec
    runs: pd.DataFrame
    trials: pd.DataFrame
    importance: dict[str, Along]
    provenance: dict[str, Any]
    region: StudyRegion | None = None
    ideals: pd.DataFrame = field(default_factory=ideals_table)
    baselines: pd.DataFrame = field(default_factory=baselines_table)

    @property
    def finished(self) -> int:
        """How many trials are finished: complete or pruned."""
        return int(self.trials["state"].isin(["complete", "pruned"]).sum()) if len(self.trials) else 0

    @property
    def planned(self) -> int:
        """How many trials the search has at its end: the study's budget, or more where more are finished already."""
        return max(self.spec.budget, self.finished)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row per run, checkpoint and environment, as `tidy_curves`; runs are told apart by stage, trial, digest and
        seed."""
        return tidy_curves(self.runs, self.spec.environments, ("stage", "trial", "digest", "seed"))

    def _repr_html_(self) -> str:
        return record_html(self)
