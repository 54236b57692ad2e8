"""A box in a search space: grown to where a model predicts success, measured, and drawn from.

A box is a search space of its own: a narrower range, or some of the choices, for each hyperparameter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from irm_study.config import Range, RunConfig, Space, StudyRegion, StudySpec, is_whole, run_digest
from irm_study.region.coordinates import place, silenced, value_at
from irm_study.statistics import Estimate, success_rate

STEP = 0.05
"""Of a range's width, by which a side of a box is moved at a time."""
POINTS = 512
"""Of a box at which its predictions are looked at."""
PROOF_SEEDS_FROM = 1_000_000
"""A proof takes its seeds from here on, far from those of any search or confirmation."""

Side = Range | tuple[Any, ...]
"""Of a box, or of a search space, along one hyperparameter."""
Sides = tuple[tuple[float, ...], ...]
"""A box in places: of a range its two ends, of choices their indices."""
AtPlaces = Callable[[np.ndarray], np.ndarray]
"""Places, (points, searched) → probabilities of success, (points,)."""


def grown(spec: StudySpec, predict: AtPlaces, start: Sequence[float], rate: float) -> tuple[Space, float] | None:
    """The box around a point in which success is predicted above a rate at each of POINTS points, and the lowest
    prediction there; None where that is so nowhere around the point.

    Greedily: of all the ways to move a side by STEP of its range, or to take in another choice, the one that leaves the
    lowest prediction the highest, as long as any leaves it above the rate. start: (searched,), as `places`.
    """
    entries = list(spec.search.values())
    points = _spread(entries)

    def lowest(sides: Sides) -> float:
        return float(predict(silenced(spec, _within(entries, sides, points))).min())

    sides = tuple(_first(entry, where) for entry, where in zip(entries, start, strict=True))
    least = lowest(sides)
    if least < rate:
        return None
    while True:
        wider = [(lowest(each), each) for each in _wider(entries, sides)]
        best = max(wider, key=lambda each: each[0], default=(-1.0, sides))
        if best[0] < rate:
            return _entries(spec.search, sides, start), least
        least, sides = best


def share(box: Space, search: Space) -> float:
    """The box's part of the search space's volume."""
    return math.prod(part(key, box[key], entry) for key, entry in search.items())


def part(key: str, own: Side, entry: Side) -> float:
    """What a side takes of a range or of a list of choices; of a logarithmic range the logarithm counts."""
    if not isinstance(entry, Range) or not isinstance(own, Range):
        return len(tuple(own)) / len(tuple(entry))
    if entry.step is not None or (is_whole(key) and not entry.log):
        return _count(own) / _count(entry)
    return place(entry, own.high) - place(entry, own.low) if entry.low < entry.high else 1.0


def along(spec: StudySpec, box: Space, predict: AtPlaces, steps: int = 41) -> pd.DataFrame:
    """Predicted success along each hyperparameter, the others anywhere in the box: hyperparameter, place, value, inside
    (whether in the box), mean, low, high (the least and the most that is predicted)."""
    entries = list(spec.search.values())
    sides = tuple(_side(entry, box[key]) for key, entry in spec.search.items())
    around = _within(entries, sides, _spread(entries))
    rows = []
    for column, (key, entry) in enumerate(spec.search.items()):
        steps_here = np.linspace(0, 1, steps) if isinstance(entry, Range) else np.arange(len(entry), dtype=float)
        for where in steps_here:
            points = around.copy()
            points[:, column] = where
            known = silenced(spec, points)
            acts = ~np.isnan(known[:, column])
            predicted = predict(known)[acts] if acts.any() else np.array([math.nan])
            value = value_at(key, entry, float(where)) if isinstance(entry, Range) else entry[int(where)]
            inside = sides[column][0] <= where <= sides[column][-1] if isinstance(entry, Range) else value in box[key]
            rows.append((key, float(where), value, inside, predicted.mean(), predicted.min(), predicted.max()))
    return pd.DataFrame(rows, columns=["hyperparameter", "place", "value", "inside", "mean", "low", "high"])


# Drawn from


def first_seed(runs: pd.DataFrame) -> int:
    """Where the seeds of a new proof begin: behind those of earlier ones."""
    earlier = runs.loc[runs["stage"] == "region", "seed"]
    return max(PROOF_SEEDS_FROM, int(earlier.max()) + 1) if len(earlier) else PROOF_SEEDS_FROM


def proof_points(spec: StudySpec, region: StudyRegion, count: int) -> list[tuple[int, RunConfig, str]]:
    """So many seeds that the study never used, each with a configuration drawn from the region, and its digest."""
    searched = set(spec.study.seed_list)
    seeds = (seed for seed in itertools.count(region.found.first_seed) if seed not in searched)
    return [(seed, *configuration(spec, region.box, seed)) for seed in itertools.islice(seeds, count)]


def configuration(spec: StudySpec, box: Space, seed: int) -> tuple[RunConfig, str]:
    """The configuration that a seed draws from a box, and its digest; of a logarithmic range the logarithm is drawn."""
    random = np.random.default_rng(seed)
    drawn = {key: _drawn(key, entry, random) for key, entry in box.items()}
    config = spec.configure(spec.acting(drawn))
    return config, run_digest(spec.digits, spec.environments, config)


def proof_runs(spec: StudySpec, region: StudyRegion, runs: pd.DataFrame) -> pd.DataFrame:
    """Those of a study's runs that are proof of a region: each has the configuration that its seed draws from it."""
    if "stage" not in runs:
        return runs.iloc[:0]
    own = runs[(runs["stage"] == "region") & (runs["seed"] >= region.found.first_seed)]
    pairs = zip(own["seed"], own["digest"], strict=True)
    drawn = [configuration(spec, region.box, int(seed))[1] == digest for seed, digest in pairs]
    return own[np.array(drawn, dtype=bool)]


def proven(successes: int, n: int, attempt: int) -> Estimate:
    """The success rate of a proof with its 95% interval (Wilson); of a later attempt as much wider as keeps 95% for all
    of them together (Bonferroni), because one looks again until one likes what one sees."""
    return success_rate(successes, n, 1 - 0.05 / attempt)


def middle(search: Space, box: Space, around: Sequence[float]) -> dict[str, Any]:
    """The box's middle; of choices the one that it was grown around. around: as `places`."""
    point = {}
    for (key, entry), where in zip(box.items(), around, strict=True):
        whole = search[key]
        known = not isinstance(entry, Range) and not math.isnan(where)
        point[key] = value_at(key, entry, 0.5) if isinstance(entry, Range) else whole[int(where)] if known else entry[0]  # type: ignore[index]
    return point


def _drawn(key: str, entry: Side, random: np.random.Generator) -> Any:
    if not isinstance(entry, Range):
        return entry[int(random.integers(len(entry)))]
    if entry.step is not None or (is_whole(key) and not entry.log):
        value = entry.low + int(random.integers(_count(entry))) * (entry.step or 1)
        return int(value) if is_whole(key) else min(float(value), float(entry.last))
    return value_at(key, entry, float(random.random()))


def _count(entry: Range) -> int:
    """Values of a range in steps; of whole numbers the step is 1."""
    return round((entry.last - entry.low) / (entry.step or 1)) + 1


# Sides


def _spread(entries: Sequence[Side]) -> np.ndarray:
    """Points of a unit cube, half of them spread evenly, half in its corners, where boxes are worst: (POINTS, columns).
    What stands for a choice is spread evenly in both."""
    from scipy.stats import qmc

    even: np.ndarray = qmc.Sobol(len(entries), rng=np.random.default_rng(0)).random(POINTS)
    corners = [column for column, entry in enumerate(entries) if isinstance(entry, Range)]
    even[1::2, corners] = even[1::2, corners] > 0.5
    return even


def _within(entries: Sequence[Side], sides: Sides, points: np.ndarray) -> np.ndarray:
    """Points of the unit cube as places in a box."""
    columns = []
    for entry, side, point in zip(entries, sides, points.T, strict=True):
        if isinstance(entry, Range):
            columns.append(side[0] + point * (side[1] - side[0]))
        else:
            columns.append(np.array(side)[np.minimum((point * len(side)).astype(int), len(side) - 1)])
    return np.column_stack(columns)


def _first(entry: Side, where: float) -> tuple[float, ...]:
    """The narrowest side around a place; all of it where the hyperparameter has no effect."""
    if not isinstance(entry, Range):
        return tuple(map(float, range(len(entry)))) if math.isnan(where) else (where,)
    if math.isnan(where) or entry.low == entry.high:
        return 0.0, 1.0
    return max(0.0, where - STEP / 2), min(1.0, where + STEP / 2)


def _wider(entries: Sequence[Side], sides: Sides) -> list[Sides]:
    """The boxes that are a step larger."""
    found = []
    changed: list[tuple[float, ...]]
    for column, (entry, side) in enumerate(zip(entries, sides, strict=True)):
        if isinstance(entry, Range):
            changed = [(max(0.0, side[0] - STEP), side[1])] * (side[0] > 0)
            changed += [(side[0], min(1.0, side[1] + STEP))] * (side[1] < 1)
        else:
            changed = [tuple(sorted({*side, float(index)})) for index in range(len(entry)) if index not in side]
        found += [(*sides[:column], each, *sides[column + 1 :]) for each in changed]
    return found


def _side(entry: Side, own: Side) -> tuple[float, ...]:
    if isinstance(entry, Range) and isinstance(own, Range):
        return place(entry, own.low), place(entry, own.high)
    return tuple(place(entry, choice) for choice in own)


def _entries(search: Space, sides: Sides, start: Sequence[float]) -> Space:
    """A box as ranges and lists of choices. Ends of a range are whole where they must be, or have 3 digits."""
    box: dict[str, Side] = {}
    for (key, entry), side, where in zip(search.items(), sides, start, strict=True):
        if not isinstance(entry, Range):
            box[key] = tuple(entry[int(index)] for index in side)
            continue
        centre = value_at(key, entry, where) if not math.isnan(where) else None
        low, high = (_end(key, entry, end, centre) for end in side)
        box[key] = entry.model_copy(update={"low": low, "high": high})
    return box


def _end(key: str, entry: Range, end: float, centre: float | int | None) -> float | int:
    """An end of a range that is grown to a place: inward to the next whole number or step, never past the centre."""
    if end in (0.0, 1.0):
        return entry.last if end else entry.low
    value = value_at(key, entry.model_copy(update={"step": None}), end)
    if is_whole(key) or entry.step is not None:
        step = entry.step or 1
        exact = entry.low * (entry.last / entry.low) ** end if entry.log else entry.low + end * (entry.last - entry.low)
        inward = math.ceil if centre is None or exact <= centre else math.floor
        value = entry.low + inward((exact - entry.low) / step - 1e-9 * (inward is math.ceil)) * step
        return int(value) if is_whole(key) else float(value)
    return min(max(float(f"{value:.3g}"), entry.low), entry.last)
