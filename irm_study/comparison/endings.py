"""How the runs of each side ended, and how they came there: failure modes, training curves, searches behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from irm_study.comparison.sides import LONGEST, Side
from irm_study.report import (
    FAINT,
    INK,
    LINE_STYLES,
    LINES,
    MODE_COLOURS,
    MODE_NAMES,
    WIDE,
    Exhibit,
    StyledFigure,
    accuracy_curves,
    crowd,
    curve_handles,
    evenly,
    fade,
    legend,
    mark_runs,
    mode_bars,
    mode_handles,
    nothing,
    panels,
    percent,
    percent_axis,
    plural,
    printable,
    progress,
    quantile_band,
    rows_axis,
    strewn,
    styled,
    tick_handle,
)
from irm_study.results import mode_counts

FEWEST_IN_A_BAND = 3
"""Runs from which on a side's curves have quantiles."""

# How the runs ended


def modes(sides: Sequence[Side]) -> pd.DataFrame:
    """name, failure_mode, runs: how each side's runs ended."""
    rows = [
        {"name": side.name, "failure_mode": mode, "runs": count}
        for side in sides
        for mode, count in mode_counts(side.runs).items()
    ]
    return pd.DataFrame(rows, columns=["name", "failure_mode", "runs"])


def _modes_sentence(modes: pd.DataFrame) -> str:
    parts = []
    for name, own in modes.groupby("name", sort=False):
        row = own.loc[own["runs"].idxmax()]
        parts.append(f"{name} {MODE_NAMES[row['failure_mode']]} ({row['runs']} of {own['runs'].sum()})")
    return f"The commonest ending: {', '.join(parts)}."


@styled
def draw_modes(modes: pd.DataFrame) -> Figure:
    """How each side's runs ended, as one bar. modes: as `modes`."""
    names = list(dict.fromkeys(modes["name"]))
    figure = StyledFigure((WIDE, 0.75 + 0.34 * len(names)), layout="constrained")
    ax = figure.subplots()
    mode_bars(ax, [modes[modes["name"] == name] for name in names])
    rows_axis(ax, [printable(name, LONGEST) for name in names])
    legend(figure, mode_handles(modes["failure_mode"], patches=True), columns=8, above=True)
    return figure


SIDE_MODES: Exhibit[Sequence[Side]] = Exhibit(
    name="side_modes",
    title="How the runs ended",
    shows="Every run, by the first failure mode whose rule applies at its end.",
    table=lambda sides: (modes(sides),),
    sentence=_modes_sentence,
    draw=draw_modes,
)


# Training curves


def curves(sides: Sequence[Side]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy over epochs: lines (name, run: its place among the side's, failure_mode, environment, epoch, accuracy,
    anneal_epoch) of at most LINES runs a side, evenly taken, and bands (name, environment, epoch, low, median, high:
    the middle 80% of its runs) of sides with FEWEST_IN_A_BAND runs or more."""
    lines, bands = [], []
    for side in sides:
        measured = [accuracy_curves(run) for run in side.runs.to_dict("records")]
        for environment in ("train", "test"):
            for index in evenly(len(measured), LINES):
                own = measured[index]
                line = pd.DataFrame({"epoch": own["epoch"], "accuracy": own[environment]})
                mode = side.runs["failure_mode"].iloc[index]
                lines.append(
                    line.assign(name=side.name, run=index, failure_mode=mode, environment=environment,
                                anneal_epoch=side.run.anneal_epoch)
                )  # fmt: skip
            if len(measured) >= FEWEST_IN_A_BAND:
                bands.append(quantile_band(measured, environment, True).assign(name=side.name))
    columns = ["name", "environment", "epoch", "low", "median", "high"]
    return (
        pd.concat(lines, ignore_index=True),
        pd.concat(bands, ignore_index=True)[columns] if bands else pd.DataFrame(columns=columns),
    )


def _curves_shown(sides: Sequence[Side]) -> str:
    ending = f"; at most {LINES} runs each." if any(len(side.runs) > LINES for side in sides) else "."
    return (
        "Training (solid) and test accuracy (dashed) of every run, in the colour of the mode in which it ended" + ending
    )


def _curves_sentence(lines: pd.DataFrame, bands: pd.DataFrame) -> str:
    last = bands[bands["environment"] == "test"].groupby("name", sort=False).tail(1)
    if last.empty:
        return "Too few runs for a median."
    each = ", ".join(f"{name} {percent(median)}" for name, median in zip(last["name"], last["median"], strict=True))
    return f"Median test accuracy at the end: {each}."


@styled
def draw_curves(lines: pd.DataFrame, bands: pd.DataFrame) -> Figure:
    """Training (solid) and test (dashed) accuracy over epochs, a panel for each side, runs in their mode's colour.

    lines, bands: as `curves`.
    """
    names = list(dict.fromkeys(lines["name"]))
    figure, axes = panels(len(names), min(len(names), 3), lambda rows: 0.75 + (1.75 * rows if rows > 1 else 1.95))
    for ax, name in zip(axes, names, strict=True):
        _side_curves(ax, lines[lines["name"] == name], bands[bands["name"] == name])
        ax.set_title(printable(name, LONGEST))
        ax.set_ylim(0, 1)
        percent_axis(ax, "y")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supxlabel("epoch", fontsize=8)
    figure.supylabel("accuracy (%)", fontsize=8)
    handles = curve_handles()
    if len(bands):
        handles.append(Patch(color=INK, alpha=0.13, linewidth=0, label="median, middle 80% of runs"))
    legend(figure, [*handles, *mode_handles(lines["failure_mode"])], columns=4, above=True)
    return figure


def _side_curves(ax: Axes, lines: pd.DataFrame, bands: pd.DataFrame) -> None:
    finite = lines[np.isfinite(lines["accuracy"])]
    alpha = fade(finite["run"].nunique()) * 0.7
    for (environment, _), run in finite.groupby(["environment", "run"]):
        colour = MODE_COLOURS[run["failure_mode"].iloc[0]]
        style = LINE_STYLES[environment]
        ax.plot(run["epoch"], run["accuracy"], color=colour, linestyle=style, linewidth=0.7, alpha=alpha)
    for environment, rows in bands.groupby("environment"):
        ax.fill_between(rows["epoch"], rows["low"], rows["high"], color=INK, alpha=0.1, linewidth=0)
        ax.plot(rows["epoch"], rows["median"], color=INK, linewidth=1.3, linestyle=LINE_STYLES[environment])
    ax.axvline(float(lines["anneal_epoch"].iloc[0]), color=FAINT, linewidth=0.8, zorder=1.5)


SIDE_CURVES: Exhibit[Sequence[Side]] = Exhibit(
    name="side_curves",
    title="Training curves",
    shows=_curves_shown,
    table=curves,
    sentence=_curves_sentence,
    draw=draw_curves,
)


# The searches that they come from


def searches(sides: Sequence[Side]) -> pd.DataFrame:
    """Every finished trial of the studies whose best is compared: name, trial, value, failure_mode (the commonest).

    Only of studies with one criterion and one aggregate, else none: their values would not be comparable."""
    records = {side.name: side.record for side in sides if side.record is not None and side.best}
    if len({(record.spec.study.criterion, record.spec.study.aggregate) for record in records.values()}) == 1:
        found = [progress(record).assign(name=name) for name, record in records.items()]
        table = pd.concat(found, ignore_index=True)
        return table.loc[np.isfinite(table["value"]), ["name", "trial", "value", "failure_mode"]]
    return pd.DataFrame(columns=["name", "trial", "value", "failure_mode"])


def _searches_sentence(searches: pd.DataFrame) -> str:
    if searches.empty:
        return "There is nothing to compare."
    spread = searches.groupby("name", sort=False)["value"].agg(["median", "max", "size"])
    each = "; ".join(
        f"{name} median {row['median']:.3f}, best {row['max']:.3f} ({plural(int(row['size']), 'trial')})"
        for name, row in spread.iterrows()
    )
    return f"Objective values: {each}."


@styled
def draw_searches(searches: pd.DataFrame) -> Figure:
    """The objective value of every trial of each study, with the median. searches: as `searches`."""
    if searches.empty:
        return nothing("no two studies with one criterion")
    names = list(dict.fromkeys(searches["name"]))
    figure = StyledFigure((WIDE, 0.85 + 0.5 * len(names)), layout="constrained")
    ax = figure.subplots()
    size, alpha = crowd(len(searches))
    for place, name in enumerate(names):
        own = searches[searches["name"] == name]
        placed = own.assign(place=place + strewn(len(own), few=2))
        mark_runs(ax, placed, "value", "place", size, alpha=max(alpha, 0.6))
        ax.plot([own["value"].median()] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.6, zorder=2.5)
        ax.annotate(
            f"{len(own)} trials", (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7
        )  # fmt: skip
    rows_axis(ax, [printable(name, LONGEST) for name in names])
    ax.margins(x=0.05)
    ax.set_xlabel("objective value")
    legend(figure, [*mode_handles(searches["failure_mode"]), tick_handle("median")])
    return figure


SIDE_SEARCHES: Exhibit[Sequence[Side]] = Exhibit(
    name="side_searches",
    title="The searches that they come from",
    shows="The objective value of every trial of each study, marked by the mode most of its runs ended in: a method "
    "whose trials lie close to its best forgives its hyperparameters.",
    table=lambda sides: (searches(sides),),
    sentence=_searches_sentence,
    draw=draw_searches,
)


EXHIBITS = (SIDE_MODES, SIDE_CURVES, SIDE_SEARCHES)
