"""Where the marks of the failure map stand: a trial's near its values, and nearer to them than to any others tried.

What the map shows, and how it is drawn, is in `failure_map`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from irm_study.report.marks import widened
from irm_study.report.searched import Searched

BAND = 0.43
"""Share of the distance between two choices that marks keep to, on either side."""
LARGEST, SMALLEST = 5.5, 1.8
"""Diameters of a mark, in points."""
BREADTH, RING = 0.72, 0.6
"""Radius of a cluster of n marks, in diameters times the root of n; of a few of them on a ring, the share of it."""


@dataclass(frozen=True)
class MapAxis:
    """An axis: its limits, in places of `Searched`; the points that one unit takes; where runs stand to which the
    hyperparameter does not apply (beyond all values; NaN where there are none); and the points that a band has to
    either side of its middle, one of a choice or that of those runs."""

    each: Searched | None
    low: float
    high: float
    points: float
    nowhere: float
    band: float

    @property
    def in_bands(self) -> bool:
        """Whether it has a band for each choice, within which the place of a mark means nothing."""
        return self.each is None or bool(self.each.choices)


def map_axis(each: Searched | None, values: pd.Series, length: float) -> MapAxis:
    """length: of the axis, in points. Choices that no run has are left in: the list is what was searched."""
    known, gaps = values.dropna(), bool(values.isna().any())
    if each is None or each.choices:
        count = max(1, len(each.choices) if each is not None else 1)
        points = length / (count + gaps)
        return MapAxis(each, -0.5, count - 0.5 + gaps, points, float(count) if gaps else math.nan, BAND * points)
    if known.empty:
        return MapAxis(each, -0.5, 0.5, length, 0.0, BAND * length)
    low, high = widened(known, 0.09, 0.3 if each.log else max(abs(known.max()) * 0.05, 1e-12))
    margin = 0.18 * (high - low) if gaps else 0.0
    points = length / (high + margin - low)
    return MapAxis(each, low, high + margin, points, high + margin / 2 if gaps else math.nan, BAND * margin * points)


def placed(marks: pd.DataFrame, x: MapAxis, y: MapAxis) -> pd.DataFrame:
    """marks with right and up (where each stands, in the axes' units), at_x and at_y (its values), diameter (points).

    On an axis of numbers a mark keeps its value where the other axis has bands, over which marks are spread then.
    Between two axes of numbers those at the same values stand around them, nearer to them than to any others that were
    tried; between two axes of bands they stand in their cell.
    """
    marks = marks.assign(at_x=marks["x"].fillna(x.nowhere), at_y=marks["y"].fillna(y.nowhere))
    diameter = float(np.clip(42 / math.sqrt(max(marks["trial"].nunique(), 1)), 2.2, LARGEST))
    band_x, band_y = ((axis.in_bands | marks[name].isna()).rename(name) for name, axis in (("x", x), ("y", y)))
    parts = []
    for (in_x, in_y), own in marks.groupby([band_x, band_y]):
        if in_x and in_y:
            offsets = _in_cells(own, x.band, y.band)
        elif in_x or in_y:
            offsets = _across_bands(own, x.band if in_x else y.band, bool(in_x), diameter)
        else:
            offsets = _around_values(own, x, y, diameter)
        right, up, diameters = offsets
        parts.append(
            own.assign(right=own["at_x"] + right / x.points, up=own["at_y"] + up / y.points, diameter=diameters)
        )
    return pd.concat(parts).loc[marks.index]


Offsets = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each mark: points to the right, points up, its diameter."""


def _in_cells(marks: pd.DataFrame, wide: float, high: float) -> Offsets:
    """In cells of so many points to each side; marks are smaller where there are many."""
    diameter = float(np.clip(math.sqrt(wide * high / marks["n"].max()) / BREADTH, SMALLEST, LARGEST))
    every = np.ones(len(marks))
    right, up, _ = _clusters(marks, every * max(wide - diameter / 2, 0), every * max(high - diameter / 2, 0), diameter)
    return right, up, every * diameter


def _across_bands(marks: pd.DataFrame, room: float, upright: bool, diameter: float) -> Offsets:
    """Over the band of each choice, by multiples of the golden ratio: neighbours along the numbers stand far apart.

    upright: whether the bands stand side by side, so that marks are spread to the right and left.
    """
    band, number = ("at_x", "at_y") if upright else ("at_y", "at_x")
    groups = marks.sort_values([number, "trial", "place"], kind="stable").groupby([band, "panel"], dropna=False)
    count = groups.cumcount().reindex(marks.index).to_numpy()
    several = groups["trial"].transform("size").reindex(marks.index).to_numpy() > 1
    diameter = min(diameter, max(0.4 * room, SMALLEST))
    spread = 2 * max(room - diameter / 2, 0) * ((count * 0.618034 + 0.5) % 1 - 0.5)
    offset, still = np.where(several, spread, 0.0), np.zeros(len(marks))
    return (offset, still, still + diameter) if upright else (still, offset, still + diameter)


def _around_values(marks: pd.DataFrame, x: MapAxis, y: MapAxis, diameter: float) -> Offsets:
    """Around the values that they have in common, and closer where the next values are near."""
    wide, high = np.empty(len(marks)), np.empty(len(marks))
    ends = np.array([[x.low * x.points, y.low * y.points], [x.high * x.points, y.high * y.points]])
    for _, own in marks.groupby("panel", dropna=False):
        values = own[["at_x", "at_y"]].to_numpy() * [x.points, y.points]
        tried, which = np.unique(values, axis=0, return_inverse=True)
        rooms = np.minimum(_rooms(tried), np.minimum(tried - ends[0], ends[1] - tried))[which.ravel()]
        place = marks.index.get_indexer(own.index)
        wide[place], high[place] = rooms[:, 0], rooms[:, 1]
    right, up, share = _clusters(marks, wide, high, diameter)
    return right, up, np.clip(diameter * share, 2.2, diameter)


def _rooms(tried: np.ndarray) -> np.ndarray:
    """The half axes of the largest ellipse around each point that is nearer to it than to all others: a circle to half
    the distance to the next, or what lies between the next values on each axis, as in a grid. (points, 2); infinite
    where there is no other."""
    gaps = np.empty_like(tried)
    for axis in range(2):
        values, which = np.unique(tried[:, axis], return_inverse=True)
        steps = np.concatenate([[np.inf], np.diff(values), [np.inf]])
        gaps[:, axis] = np.minimum(steps[:-1], steps[1:])[which]
    nearest = np.empty(len(tried))
    for place, point in enumerate(tried):
        distances = np.hypot(*(tried - point).T)
        distances[place] = np.inf
        nearest[place] = distances.min()
    circles = np.column_stack([nearest, nearest])
    in_grid = gaps.prod(axis=1) > circles.prod(axis=1)
    rooms: np.ndarray = 0.48 * np.where(in_grid[:, None], gaps, circles)
    return rooms


def _clusters(marks: pd.DataFrame, wide: np.ndarray, high: np.ndarray, diameter: float) -> Offsets:
    """A few marks on a ring, more of them on a sunflower's spiral, a breadth apart where there is room.

    wide, high: the room to each side, in points. The last of the offsets is the share of its breadth that is left to
    each mark.
    """
    place, n = marks["place"].to_numpy(), marks["n"].to_numpy()
    natural = np.maximum(BREADTH * diameter * np.sqrt(n), 1e-9)
    up = np.minimum(natural, high)
    right = np.minimum(natural**2 / np.maximum(up, 1e-9), wide)  # what a flat room lacks in height it has in width
    up = np.minimum(natural**2 / np.maximum(right, 1e-9), high)
    ring = (n <= 6) & np.isclose(right, up)
    angle = np.where(ring, 2 * math.pi * place / n + math.pi / 4, place * math.pi * (3 - math.sqrt(5)))
    share = np.where(n == 1, 0.0, np.where(ring, RING, np.sqrt((place + 0.5) / n)))
    left = np.minimum(np.sqrt(right * up) / natural, 1)
    return right * share * np.cos(angle), up * share * np.sin(angle), left
