"""The searched hyperparameters as exhibits and the page show them: which matter most, their values, names and places.

What a hyperparameter is follows from the study's entry of it, a list of choices or a range, and never from the values
that came up: a choice stays one of a list, in the declared order, whatever it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from irm_study.config import Range, StudySpec, is_whole
from irm_study.files import plain
from irm_study.report.text import distinct_names, short
from irm_study.results import StudyRecord

NOT_APPLICABLE = "–"
"""What stands for the value of a hyperparameter that cannot act beside a trial's others."""


@dataclass(frozen=True)
class Searched:
    """A searched hyperparameter. entry: its choices, or the range that it was sampled from."""

    key: str
    entry: tuple[Any, ...] | Range

    @property
    def choices(self) -> tuple[Any, ...]:
        """In the declared order; of a range none."""
        return () if isinstance(self.entry, Range) else self.entry

    @property
    def log(self) -> bool:
        return isinstance(self.entry, Range) and self.entry.log

    @property
    def varies(self) -> bool:
        """Whether the search had more than one value to try."""
        return self.entry.low < self.entry.high if isinstance(self.entry, Range) else len(self.entry) > 1

    def value(self, value: Any) -> Any:
        """As the study file has it: a table's column of whole numbers with gaps holds floats."""
        value = plain(value)
        return int(value) if isinstance(value, float) and is_whole(self.key) else value

    def place(self, value: Any) -> float:
        """Where a value stands: a choice's place in the list, a number of a range, of a logarithmic one its decimal
        logarithm. NaN where the hyperparameter does not apply."""
        value = self.value(value)
        if not isinstance(self.entry, Range):
            return float(self.entry.index(value)) if value in self.entry else math.nan
        if value is None:
            return math.nan
        return math.log10(value) if self.log else float(value)

    def name(self, value: Any) -> str:
        """A value in a few characters; choices that differ have names that do."""
        place = self.place(value)
        if math.isnan(place):
            return NOT_APPLICABLE
        return distinct_names(self.choices)[int(place)] if self.choices else short(value)


def searched(record: StudyRecord) -> dict[str, Searched]:
    """The searched hyperparameters by key, in the study's order."""
    return of_spec(record.spec)


def of_spec(spec: StudySpec) -> dict[str, Searched]:
    return {key: Searched(key, entry) for key, entry in spec.search.items()}


def by_importance(record: StudyRecord) -> list[Searched]:
    """Those with more than one value, the most important first, then those of unknown importance in the study's
    order."""
    own = [each for each in searched(record).values() if each.varies]
    return sorted(own, key=lambda each: -_share(record, each.key))


def _share(record: StudyRecord, key: str) -> float:
    return record.importance[key].share.value if key in record.importance else -1.0


def applicable(record: StudyRecord, runs: pd.DataFrame, each: Searched) -> pd.Series:
    """Whether a hyperparameter acts in each of some runs, by the trials' table, which leaves out a value that does not.

    A run's own column has the value that it was given all the same. None may be a choice; then it is a value.
    """
    trials = record.trials
    if None in each.choices or each.key not in trials or runs.empty:
        return pd.Series(True, index=runs.index)
    silent = trials.loc[trials[each.key].isna(), "digest"]
    return ~runs["digest"].isin(silent)


def places(record: StudyRecord, runs: pd.DataFrame, each: Searched) -> np.ndarray:
    """`Searched.place` of each of some runs: (runs,)."""
    of_value = {plain(value): each.place(value) for value in runs[each.key].map(plain).unique()}
    found = np.array([of_value[plain(value)] for value in runs[each.key]], dtype=float)
    return np.where(applicable(record, runs, each), found, math.nan)
