"""The order of configurations by their objective values, and which of them are tied.

Values that are equal are no ranking: they are ordered by a second criterion of the same evidence source, where there is
one, and whoever shows the first of them says that it is tied (`Tie.text`). What the values are is `configurations`'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from irm_study.config import StudySpec
from irm_study.diagnosis import AGGREGATES, CRITERIA

EQUAL_DIGITS = 12
"""Digits after the point to which values are compared: the same scores in another order may differ behind them."""


@dataclass(frozen=True)
class Tie:
    """The configurations that share the highest objective value, two at least.

    criterion: of the value. configurations: how many share it. ordered_by: what puts one of them first, in words; empty
    where nothing does. unresolved: how many are alike by that as well, the first of them included; 1: none is.
    """

    criterion: str
    value: float
    configurations: int
    ordered_by: tuple[str, ...]
    unresolved: int

    @property
    def is_open(self) -> bool:
        """Whether nothing but the trial's number puts one of the tied first."""
        return self.unresolved > 1

    @property
    def text(self) -> str:
        """The tie as a part of a sentence, wherever the first of the tied is shown."""
        text = f"{self.configurations} configurations tied on {self.criterion} at {self.value:.3f}"
        if self.ordered_by:
            text += f"; ordered by {', then '.join(self.ordered_by)}"
        if self.is_open:
            who = f"{self.unresolved} of them are" if self.ordered_by else "they are"
            text += f"; {who} alike otherwise too, and listed by trial number"
        return text


def measures(spec: StudySpec) -> list[tuple[str, str]]:
    """By what configurations are ordered, each where all before it are equal: (criterion, aggregate).

    The study's own first; then its criterion's tie-break with the study's aggregate, and both in the mean over seeds.
    """
    criterion, aggregate = spec.study.criterion, spec.study.aggregate
    criteria = [criterion] if CRITERIA[criterion].tie_break is None else [criterion, CRITERIA[criterion].tie_break]
    return list(dict.fromkeys((each, by) for by in (aggregate, "mean") for each in criteria if each is not None))


def ordered(table: pd.DataFrame, runs: pd.DataFrame, spec: StudySpec) -> tuple[pd.DataFrame, Tie | None]:
    """Some configurations, the best first, and the tie for the first place (None: there is none).

    table: trial, digest, value, and any other columns; each configuration once. runs: those that the values are of.
    What nothing tells apart is in the order of trials.
    """
    table = table.sort_values("trial", kind="stable", ignore_index=True)
    keys = pd.DataFrame({0: table["value"].astype(float).round(EQUAL_DIGITS)})
    names = measures(spec)
    for place, (criterion, aggregate) in enumerate(names[1:], 1):
        alike = keys.duplicated(keep=False) & keys[0].notna()
        if not alike.any():
            break
        keys[place] = _values(table["digest"].where(alike), runs, criterion, aggregate)
    order = keys.sort_values(list(keys), ascending=False, kind="stable", na_position="last").index
    tie = _tie(keys.loc[order], names, spec.study.aggregate)
    return table.loc[order].reset_index(drop=True), tie


def _values(digests: pd.Series, runs: pd.DataFrame, criterion: str, aggregate: str) -> pd.Series:
    own = runs[runs["digest"].isin(set(digests.dropna()))]
    function = AGGREGATES[aggregate]
    values = own.groupby("digest")[f"score_{criterion}"].agg(lambda scores: function(scores.to_numpy(dtype=float)))
    return digests.map(values).astype(float).round(EQUAL_DIGITS)


def _tie(keys: pd.DataFrame, names: list[tuple[str, str]], aggregate: str) -> Tie | None:
    """keys: values by each of `names`, as far as they were needed; the first row leads."""
    if keys.empty or pd.isna(keys[0].iloc[0]):
        return None
    counts = list(_alike_with_the_first(keys))
    if counts[0] == 1:
        return None
    deciding = [
        criterion if by == aggregate else f"{criterion} in the mean over seeds"
        for (criterion, by), before, after in zip(names[1:], counts, counts[1:], strict=False)
        if after < before
    ]
    return Tie(names[0][0], float(keys[0].iloc[0]), counts[0], tuple(deciding), counts[-1])


def _alike_with_the_first(keys: pd.DataFrame) -> Iterator[int]:
    """How many rows equal the first one in the first column, in the first two, …"""
    alike = pd.Series(True, index=keys.index)
    for column in keys:
        first = keys[column].iloc[0]
        alike &= (keys[column] == first) | (keys[column].isna() & pd.isna(first))
        yield int(alike.sum())
