"""What figures are made of: panels, axes of accuracies, marks of runs, bars and cells of failure modes, legends.

What several exhibits draw alike is here; what one draws stands beside its table. Colours and sizes are in `style`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from irm_study.report.style import (
    BASELINE_STYLES,
    FAINT,
    INK,
    LINE_STYLES,
    MODE_COLOURS,
    MODE_HATCHES,
    MODE_MARKERS,
    MODE_NAMES,
    NARROW,
    PAPER,
    STAGE_SEEDS,
    WIDE,
    StyledFigure,
)

# Figures


def panels(
    count: int, columns: int, height: Callable[[int], float], width: float = WIDE, share_x: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, row by row, with one y axis; `height` is a function of the number of rows.

    Spare places of the last row are empty; where the x axis is shared, a panel above one keeps its own tick labels.
    """
    rows = math.ceil(count / columns)
    figure = StyledFigure((width, height(rows)), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=share_x, sharey=True, squeeze=False).ravel()
    for index, ax in enumerate(axes):
        ax.set_visible(index < count)
        if share_x:
            ax.tick_params(labelbottom=index + columns >= count)
    return figure, list(axes[:count])


def nothing(why: str) -> Figure:
    """A figure that says why it is empty."""
    figure = StyledFigure((NARROW, 0.6))
    figure.text(0.5, 0.5, f"Nothing to show: {why}.", ha="center", va="center", color=FAINT)
    return figure


# Axes


def percent_axis(ax: Axes, direction: str) -> None:
    """Ticks of fractions in percent, without the sign."""
    axis = ax.xaxis if direction == "x" else ax.yaxis
    axis.set_major_formatter(PercentFormatter(1, symbol=""))


def accuracy_axis(ax: Axes, direction: str, values: Iterable[float]) -> float:
    """Limits and percent for an axis of accuracies; returns where a run without a finite accuracy stands."""
    every = np.asarray(list(values), dtype=float)
    finite = every[np.isfinite(every)]
    low = float(max(min(finite.min(), 0.5) - 0.04, -0.02))
    high = float(min(finite.max() + 0.06, 1.02))
    nowhere = low
    ticks = [tick for tick in MaxNLocator(6, steps=[1, 2, 5]).tick_values(low, high) if low <= tick <= high]
    labels = {tick: f"{100 * tick:.0f}" for tick in ticks}
    if len(finite) < len(every):
        nowhere = low - 0.08 * (high - low)
        low = nowhere - 0.05 * (high - low)
        labels = {nowhere: "NaN"} | {tick: text for tick, text in labels.items() if tick > nowhere + 0.1 * (high - low)}
    axis = ax.xaxis if direction == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(list(labels)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: labels.get(value, "")))
    (ax.set_xlim if direction == "x" else ax.set_ylim)(low, high)
    return nowhere


def placed_at(accuracy: pd.Series, nowhere: float) -> np.ndarray:
    """Where runs stand on an axis that `accuracy_axis` made."""
    values = accuracy.to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, nowhere)


def rows_axis(ax: Axes, names: Iterable[str]) -> None:
    """A row for each name, the first on top, without lines between them."""
    names = list(names)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(False, axis="y")


def widened(values: pd.Series, share: float, least: float) -> tuple[float, float]:
    """Limits of an axis: the values' own, and a margin of a share of their span on each side."""
    margin = max(share * (values.max() - values.min()), least)
    return values.min() - margin, values.max() + margin


def log_ticks(limits: tuple[float, float]) -> dict[float, str]:
    """Ticks between two decimal logarithms: where they stand (a logarithm), and their labels."""
    decades = limits[1] - limits[0]
    locator = LogLocator(10, subs=(1.0,) if decades > 1.5 else (1.0, 2.0, 5.0))
    values = locator.tick_values(10 ** limits[0], 10 ** limits[1])
    return {math.log10(value): power(value) for value in values if limits[0] <= math.log10(value) <= limits[1]}


def power(value: float) -> str:
    """A tick's label: powers of ten as such, from 1000 on and below 1."""
    exponent = round(math.log10(value), 6)
    if exponent == int(exponent):
        return str(int(value)) if 0 <= exponent < 3 else f"$10^{{{int(exponent)}}}$"
    return f"{value:g}" if 0.001 <= value < 10_000 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


# Runs


def by_mode(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each failure mode that occurs, in the modes' order."""
    for mode in MODE_COLOURS:
        rows = table[table["failure_mode"] == mode]
        if len(rows):
            yield mode, rows


def mark_runs(
    ax: Axes, table: pd.DataFrame, x: str, y: str, size: float | pd.Series, filled: bool = True, alpha: float = 1.0,
    edge: float = 0.3,
) -> None:  # fmt: skip
    """A mark per row, in its mode's colour and shape; size in square points, one for all or by row."""
    for mode, rows in by_mode(table):
        colour, own = MODE_COLOURS[mode], size if isinstance(size, float) else size[rows.index]
        ax.scatter(
            rows[x], rows[y], s=own, marker=MODE_MARKERS[mode], alpha=alpha, zorder=3, clip_on=False,
            facecolor=colour if filled else PAPER, edgecolor=PAPER if filled else colour,
            linewidth=edge if filled else 1.0,
        )  # fmt: skip


def crowd(marks: int) -> tuple[float, float]:
    """Size (square points) and opacity with which so many marks stay readable."""
    return float(np.clip(1600 / max(marks, 1), 7, 26)), float(np.clip(200 / max(marks, 1), 0.35, 1.0))


def fade(lines: int) -> float:
    """Opacity with which so many lines stay readable."""
    return float(np.clip(6 / max(lines, 1), 0.45, 1.0))


def strewn(count: int, few: int) -> np.ndarray | float:
    """Offsets across a strip that keep marks apart, none for a few of them.

    Multiples of the golden ratio fill the strip evenly, and the same way each time.
    """
    return 0.6 * (np.arange(count) * 0.618 % 1 - 0.5) if count > few else 0.0


# Bars and cells


def bar(mode: str) -> dict[str, Any]:
    """How a bar of a failure mode is drawn."""
    return {"facecolor": MODE_COLOURS[mode], "edgecolor": PAPER, "hatch": MODE_HATCHES[mode], "linewidth": 0.6}


def mode_bars(ax: Axes, bars: Iterable[pd.DataFrame]) -> None:
    """A bar for each table, from the top, of the shares of its runs by failure mode, with their numbers.

    bars: failure_mode, runs.
    """
    ends = 0
    for place, counts in enumerate(bars):
        total, left = counts["runs"].sum(), 0.0
        for mode, rows in by_mode(counts):
            number = int(rows["runs"].sum())
            ax.barh(place, number / total, left=left, height=0.7, **bar(mode))
            if number / total > 0.025:
                box = {"facecolor": PAPER, "edgecolor": "none", "boxstyle": "round,pad=0.2"}
                ax.text(left + number / total / 2, place, str(number), ha="center", va="center", bbox=box)
            left += number / total
        ends = place
    ax.set_ylim(ends + 0.5, -0.5)
    ax.set_xlim(0, 1)
    percent_axis(ax, "x")
    ax.grid(False)
    ax.set_xlabel("share of runs (%)")


def cells(ax: Axes, shares: pd.DataFrame, texts: pd.DataFrame) -> None:
    """A cell for each number, darker for more, with its text; none for 0. The shades are of a colour that the page
    replaces by its own, so that the texts stay readable, light or dark."""
    for row, column in zip(*np.nonzero(shares.to_numpy()), strict=True):
        shade = 0.1 + 0.4 * shares.iloc[row, column]
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=FAINT, alpha=shade, linewidth=0))
        ax.text(column + 0.5, row + 0.5, texts.iloc[row, column], ha="center", va="center", fontsize=7.5)
    ax.set_xlim(0, shares.shape[1])
    ax.set_ylim(shares.shape[0], 0)
    ax.grid(False)
    ax.tick_params(length=0)


def mode_cells(
    ax: Axes, counts: pd.DataFrame, modes: list[str], framed: Mapping[str, str], names: Iterable[str], frame: float
) -> None:
    """Numbers of runs by row and failure mode, shaded by their share of the row; none for 0.

    counts: a row for each key of `framed`, a column for each mode that occurs. framed: row → the mode whose cell has a
    frame in the mode's colour, `frame` points wide. names: of the rows.
    """
    counts = counts.reindex(index=list(framed), columns=modes).fillna(0)
    shares = counts.div(counts.sum(axis=1).replace(0, 1), axis=0)
    cells(ax, shares, counts.map(lambda runs: f"{runs:.0f}" if runs else ""))
    for row, mode in enumerate(framed.values()):
        place = (modes.index(mode), row)
        ax.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=MODE_COLOURS[mode], linewidth=frame))
    ax.set_xticks(np.arange(len(modes)) + 0.5, [MODE_NAMES[mode] for mode in modes], rotation=45, ha="right")
    ax.set_yticks(np.arange(len(framed)) + 0.5, list(names), rotation=0)


# Legends


def mode_handles(modes: Iterable[str], patches: bool = False) -> list[Any]:
    """Of each mode that occurs, a mark (or, of bars, a patch) with its name."""
    present = set(modes)
    return [
        Patch(**bar(mode), label=MODE_NAMES[mode])
        if patches
        else Line2D([], [], linestyle="none", marker=MODE_MARKERS[mode], markerfacecolor=MODE_COLOURS[mode],
                    markeredgecolor=PAPER, markeredgewidth=0.3, markersize=5.5, label=MODE_NAMES[mode])
        for mode in MODE_COLOURS
        if mode in present
    ]  # fmt: skip


def stage_handles(stages: Iterable[str]) -> list[Line2D]:
    """Of each stage that occurs, a mark with the name of its seeds: hollow for those of the search."""
    present = set(stages)
    return [
        Line2D([], [], linestyle="none", marker="o", markeredgecolor=FAINT, markersize=5, label=label,
               markerfacecolor=PAPER if stage == "search" else FAINT)
        for stage, label in STAGE_SEEDS.items()
        if stage in present
    ]  # fmt: skip


def face_handles(filled: str, hollow: str, filled_first: bool = True) -> list[Line2D]:
    """A filled and a hollow mark in ink, with what they mean."""
    handles = [
        Line2D([], [], marker="o", linestyle="none", markerfacecolor=face, markeredgecolor=INK, label=label)
        for face, label in ((INK, filled), (PAPER, hollow))
    ]
    return handles if filled_first else handles[::-1]


def shape_handles(markers: Mapping[str, str]) -> list[Line2D]:
    """A mark in ink for each name, of its own shape."""
    return [
        Line2D([], [], marker=marker, linestyle="none", color=INK, markersize=4.5, label=name)
        for name, marker in markers.items()
    ]


def tick_handle(label: str) -> Line2D:
    """The upright stroke that marks a centre."""
    return Line2D([], [], color=INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="none", label=label)


def baseline_marks(ax: Axes, means: Iterable[tuple[str, float, float]]) -> None:
    """A named cross at the mean of each baseline. means: (name, x, y)."""
    for name, x, y in means:
        ax.plot(x, y, marker="x", color=INK, markersize=6, linestyle="none", zorder=4)
        left = x > sum(ax.get_xlim()) / 2
        ax.annotate(name, (x, y), (-6 if left else 6, 4), textcoords="offset points", fontsize=7,
                    ha="right" if left else "left", zorder=4)  # fmt: skip


def baseline_handles(baselines: pd.DataFrame) -> list[Line2D]:
    """Of the lines at the means of baselines. baselines: as `results.baseline_means`."""
    return [
        Line2D([], [], color=INK, linewidth=1.0, linestyle=BASELINE_STYLES[name], label=f"{name} (mean)")
        for name in baselines["baseline"]
    ]


def curve_handles() -> list[Any]:
    """What the lines of training curves mean."""
    return [
        Line2D([], [], color=INK, label="training (mean of environments)"),
        Line2D([], [], color=INK, linestyle=LINE_STYLES["test"], label="test"),
        Line2D([], [], color=FAINT, linewidth=0.8, label="anneal epoch"),
    ]


def legend(figure: Figure, handles: list[Any], columns: int = 7, above: bool = False) -> None:
    """Below the axes, or above, in as few rows as `columns` allow."""
    place: Literal["outside upper center", "outside lower center"]
    place = "outside upper center" if above else "outside lower center"
    rows = math.ceil(len(handles) / columns)
    figure.legend(handles=handles, loc=place, ncols=math.ceil(len(handles) / max(rows, 1)))
