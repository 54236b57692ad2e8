"""A search space as numbers: where configurations stand in it, and what a model of the success probability is given.

A place is a row with a number for each searched hyperparameter: in a range from 0 (its low end) to 1 (its high end),
along its logarithm where the range is logarithmic; of a list of choices the choice's index; NaN where the
hyperparameter cannot act beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from irm_study.config import Range, Space, StudySpec, is_whole


def place(entry: Range | tuple[Any, ...], value: Any) -> float:
    """Where a value stands in a range, or in a list of choices."""
    if not isinstance(entry, Range):
        return float(entry.index(value))
    if entry.low == entry.last:
        return 0.5
    if entry.log:
        return math.log(value / entry.low) / math.log(entry.last / entry.low)
    return float((value - entry.low) / (entry.last - entry.low))


def value_at(key: str, entry: Range, where: float) -> float | int:
    """The value at a place in [0, 1] of a range: a whole number where the hyperparameter is one, or the next step."""
    low, high = entry.low, entry.last
    value = low * (high / low) ** where if entry.log else low + where * (high - low)
    if entry.step is not None:
        value = low + round((value - low) / entry.step) * entry.step
    value = min(max(value, low), high)
    return round(value) if is_whole(key) else float(value)


def places(spec: StudySpec, parameters: list[dict[str, Any]]) -> np.ndarray:
    """The places of some configurations: (configurations, searched). parameters: the searched values of each."""
    rows = []
    for each in parameters:
        acting = spec.acting(each)
        rows.append([place(entry, each[key]) if key in acting else math.nan for key, entry in spec.search.items()])
    return np.array(rows, dtype=float).reshape(len(parameters), len(spec.search))


def silenced(spec: StudySpec, where: np.ndarray) -> np.ndarray:
    """Places with NaN where the choices among them leave a hyperparameter without effect. where: (points, searched)."""
    entries = spec.search
    chosen = [column for column, entry in enumerate(entries.values()) if not isinstance(entry, Range)]
    found = where.copy()
    for choice in np.unique(where[:, chosen], axis=0):
        silent = _silent(spec, tuple(int(index) for index in choice))
        rows = (where[:, chosen] == choice).all(axis=1)
        found[np.ix_(rows, [column for column, key in enumerate(entries) if key in silent])] = math.nan
    return found


def features(search: Space, where: np.ndarray) -> np.ndarray:
    """What models are given: a column for each range, one for each choice of a list. where: (points, searched).

    Of what has no effect, the middle of its range, and no choice.
    """
    columns = []
    for column, entry in enumerate(search.values()):
        if isinstance(entry, Range):
            columns.append(np.nan_to_num(where[:, column], nan=0.5))
        else:
            columns += [(where[:, column] == index).astype(float) for index in range(len(entry))]
    return np.column_stack(columns)


def _silent(spec: StudySpec, chosen: tuple[int, ...]) -> set[str]:
    """What cannot act beside some choices, the numbers being in the middle of their ranges."""
    indices = iter(chosen)
    middle: Mapping[str, Any] = {
        key: value_at(key, entry, 0.5) if isinstance(entry, Range) else entry[next(indices)]
        for key, entry in spec.search.items()
    }
    return set(middle) - set(spec.acting(middle))
