"""How runs fail, continued: where in the search space, over two of the searched hyperparameters.

The axes follow what was searched. Where marks stand is in `map_places`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from irm_study.config import is_whole
from irm_study.errors import ConfigError
from irm_study.report.exhibit import Exhibit
from irm_study.report.map_places import MapAxis, map_axis, placed
from irm_study.report.marks import legend, log_ticks, mark_runs, mode_handles, nothing, panels
from irm_study.report.runs import runs_of
from irm_study.report.searched import NOT_APPLICABLE, Searched, by_importance, places, searched
from irm_study.report.style import GRID, INK, WIDE, styled
from irm_study.report.text import ASLANT, distinct_names, plural, printable, shortened, tick_names, words
from irm_study.results import StudyRecord

MOST_PANELS = 6
"""Choices of a hyperparameter that has a panel for each."""
Y_ROOM = 75.0
"""Points that the names of a vertical axis' choices may take."""


@dataclass(frozen=True)
class MapKeys:
    """What the map shows: two hyperparameters as axes (the second None where one alone was searched, both where none
    was), and a third that is a choice, with a panel for each."""

    x: Searched | None
    y: Searched | None
    panel: Searched | None


# What is shown


def map_keys(record: StudyRecord, x: str | None = None, y: str | None = None) -> MapKeys:
    """The two hyperparameters with the largest importance, or those that the user names, and of the rest the choice
    with the largest.

    Raises ConfigError for a key that was not searched.
    """
    known = searched(record)
    for key in (x, y):
        if key is not None and key not in known:
            raise ConfigError(f"{key!r} was not searched in this study; one of: {', '.join(known) or 'none'}")
    if x is not None and x == y:
        raise ConfigError(f"the map needs two hyperparameters; got {x!r} twice")
    axes = [known[key] for key in (x, y) if key is not None]
    ranking = by_importance(record)
    axes += [each for each in ranking if each not in axes][: 2 - len(axes)]
    panel = next((each for each in ranking if each not in axes and 1 < len(each.choices) <= MOST_PANELS), None)
    first, second = [*axes, None, None][:2]
    return MapKeys(first, second, panel)


def map_marks(record: StudyRecord, x: str | None = None, y: str | None = None) -> tuple[pd.DataFrame, MapKeys]:
    """Every run of the search, and what the map shows.

    trial, x, y, panel (places, as `Searched.place`; NaN where a hyperparameter does not apply, 0 where there is no such
    axis), failure_mode, place, n. place: 0, 1, … among the n runs at the same x, y and panel, those of a trial beside
    each other.
    """
    keys = map_keys(record, x, y)
    runs = runs_of(record)
    runs = runs[runs["stage"] == "search"]
    marks = runs[["trial", "failure_mode"]].copy()
    for name, each in (("x", keys.x), ("y", keys.y), ("panel", keys.panel)):
        marks[name] = places(record, runs, each) if each is not None and len(runs) else 0.0
    marks = marks.sort_values(["trial", "failure_mode"], ignore_index=True)
    alike = marks.groupby(["x", "y", "panel"], dropna=False)
    return marks.assign(place=alike.cumcount(), n=alike["trial"].transform("size")), keys


def _map_sentence(marks: pd.DataFrame, keys: MapKeys) -> str:
    if marks.empty:
        return "No runs of the search."
    mixed = int((marks.groupby("trial")["failure_mode"].nunique() > 1).sum())
    text = f"In {mixed} of {plural(marks['trial'].nunique(), 'trial')} the seed alone changed how a run ended."
    for name, each in (("x", keys.x), ("y", keys.y)):
        if each is None:
            continue
        silent = int(marks[name].isna().sum())
        if silent:
            text += f" {words(each.key).capitalize()} does not apply to {plural(silent, 'run')}, at {NOT_APPLICABLE}."
    return text


# The figure


@styled
def draw_map(marks: pd.DataFrame, keys: MapKeys) -> Figure:
    """Failure modes over two hyperparameters, a panel for each choice of a third.

    marks, keys: as `map_marks`.
    """
    if marks.empty:
        return nothing("no runs of the search")
    if keys.x is None:
        return nothing("nothing was searched")
    shown = sorted(marks["panel"].unique(), key=lambda place: math.inf if math.isnan(place) else place)
    columns = min(len(shown), 3 if len(shown) in (3, 5, 6) else 2)
    figure, axes = panels(len(shown), columns, lambda rows: 0.9 + 2.1 * rows)
    x = map_axis(keys.x, marks["x"], 72 * (WIDE - 0.8) / columns)
    y = map_axis(keys.y, marks["y"], 72 * 1.75)
    every = placed(marks, x, y)
    for ax, panel in zip(axes, shown, strict=True):
        rows = every[(every["panel"] == panel) | (every["panel"].isna() & math.isnan(panel))]
        mark_runs(ax, rows, "right", "up", rows["diameter"] ** 2)
        if not x.in_bands and not y.in_bands:
            several = rows[(rows["n"] > 1) & (rows["diameter"] > 4)].drop_duplicates(["x", "y"]).dropna()
            ax.scatter(several["at_x"], several["at_y"], s=1.2, color=INK, linewidth=0, zorder=4, clip_on=False)
        ax.set_xlim(x.low, x.high)
        ax.set_ylim(y.low, y.high)
        _ticks(ax, "x", x)
        _ticks(ax, "y", y)
        trials = plural(rows["trial"].nunique(), "trial")
        ax.set_title(trials if keys.panel is None else f"{_panel_name(keys.panel, panel)}: {trials}")
    figure.supxlabel(words(keys.x.key), fontsize=8)
    if keys.y is not None:
        figure.supylabel(words(keys.y.key), fontsize=8)
    legend(figure, mode_handles(marks["failure_mode"]), above=True)
    return figure


def _panel_name(each: Searched, place: float) -> str:
    names = shortened(distinct_names(each.choices), 16)
    return f"{words(each.key)} {NOT_APPLICABLE if math.isnan(place) else printable(names[int(place)])}"


def _ticks(ax: Axes, direction: str, axis: MapAxis) -> None:
    set_ticks = ax.set_xticks if direction == "x" else ax.set_yticks
    if not axis.in_bands:
        labels = _number_ticks(axis)
        set_ticks(list(labels), list(labels.values()))
        if not math.isnan(axis.nowhere):
            edge = 2 * axis.nowhere - axis.high
            (ax.axvline if direction == "x" else ax.axhline)(edge, color=GRID, linewidth=1.2)
        return
    names = [] if axis.each is None else distinct_names(axis.each.choices)
    texts, aslant = tick_names(names, axis.points if direction == "x" else Y_ROOM)
    texts += [NOT_APPLICABLE] * (not math.isnan(axis.nowhere))
    set_ticks(range(len(texts)), texts, **(ASLANT if aslant else {}))
    ax.grid(False, axis="x" if direction == "x" else "y")
    line = ax.axvline if direction == "x" else ax.axhline
    for place in range(1, round(axis.high - axis.low)):
        line(axis.low + place, color=GRID, linewidth=0.6)


def _number_ticks(axis: MapAxis) -> dict[float, str]:
    """Ticks of numbers that a range was sampled from: where they stand, and their labels."""
    assert axis.each is not None
    high = axis.high if math.isnan(axis.nowhere) else 2 * axis.nowhere - axis.high
    if axis.each.log:
        labels = log_ticks((axis.low, high))
    else:
        values = MaxNLocator(6, integer=is_whole(axis.each.key)).tick_values(axis.low, high)
        labels = {value: f"{value:.6g}" for value in values if axis.low <= value <= high}
    return labels if math.isnan(axis.nowhere) else labels | {axis.nowhere: NOT_APPLICABLE}


FAILURE_MAP: Exhibit[StudyRecord] = Exhibit(
    name="failure_map",
    title="Failure map",
    shows="Where in the search space runs end how, over the two hyperparameters with the largest shares of the "
    "objective's variance (of few trials the first two), or those named with --map. Each mark is a run; marks at "
    "the same values stand around them, nearer than to any others that were tried.",
    table=map_marks,
    sentence=_map_sentence,
    draw=draw_map,
)

EXHIBITS = (FAILURE_MAP,)
