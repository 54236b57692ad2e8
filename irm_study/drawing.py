"""What pictures are drawn with: the colours, markers and hatches of failure modes, the style, axes and legends.

The pictures themselves are in `figures`. The colours stay apart under the three kinds of colour blindness,
the markers and hatches in grey print; a mode has the same ones everywhere, on the page too.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from irm_study.records import write_bytes, write_text

MODE_COLOURS = {
    "invariant": "#00ca6a",
    "relapsed": "#90a9ff",
    "partial": "#f4a700",
    "memorised": "#bcb2ac",
    "erm_like": "#dd3300",
    "anti_colour": "#0e4fd4",
    "collapsed": "#80537c",
    "diverged": "#aa2d40",
}
"""In the order in which modes are shown, from the target to the worst. Chosen by search: every pair is at least
27 apart (CIE 1976 colour difference) under simulated protanopia, deuteranopia and tritanopia, and each stands out
at least 2 : 1 from a white and from a dark page."""

MODE_MARKERS = {
    "invariant": "o",
    "relapsed": "p",
    "partial": "D",
    "memorised": "h",
    "erm_like": "^",
    "anti_colour": "v",
    "collapsed": "s",
    "diverged": "X",
}

MODE_HATCHES = {
    "invariant": "",
    "relapsed": "||||",
    "partial": "//",
    "memorised": "+++",
    "erm_like": "/////",
    "anti_colour": "\\\\\\\\",
    "collapsed": "xxxx",
    "diverged": "----",
}
"""Of straight lines alone: hatches of circles weigh half a megabyte in an SVG."""

MODE_NAMES = {mode: mode.replace("_", "-").replace("erm", "ERM") for mode in MODE_COLOURS}

STAGE_SEEDS = {"search": "search seeds", "confirm": "fresh seeds", "train": "seeds"}

ZONE = {"color": MODE_COLOURS["invariant"], "alpha": 0.13, "linewidth": 0}
"""The shade of the target zone, in which a run is called invariant."""

INK, FAINT, GRID, PAPER = "#1f2328", "#6b7480", "#dce1e7", "#ffffff"
"""The four colours that are no data; the page replaces them by its own, light or dark."""

DPI = 200
WIDE, NARROW = 6.75, 3.3
"""Inches: the text width and the column width of a two-column paper."""

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.05,
}


def picture(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws under this module's style, whatever the notebook's is."""

    @functools.wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def svg_and_png(figure: Figure, name: str) -> tuple[str, bytes]:
    """A figure as SVG text and as PNG bytes, the same each time."""
    # Text stays text in the SVG: smaller, searchable, and read out; ids follow from the name alone.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.set_dpi(DPI)  # letters are wider where they are drawn finer: the room for them is measured so
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def write_figure(figure: Figure, folder: Path, name: str) -> str:
    """Write NAME.svg and NAME.png into a folder; returns the SVG."""
    svg, png = svg_and_png(figure, name)
    write_text(folder / f"{name}.svg", svg)
    write_bytes(folder / f"{name}.png", png)
    return svg


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
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
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


def nothing(why: str) -> Figure:
    figure = Figure((NARROW, 0.6))
    figure.text(0.5, 0.5, f"Nothing to show: {why}.", ha="center", va="center", color=FAINT)
    return figure


def by_mode(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for mode in MODE_COLOURS:
        rows = table[table["failure_mode"] == mode]
        if len(rows):
            yield mode, rows


def mark_runs(
    ax: Axes, table: pd.DataFrame, x: str, y: str, size: float, filled: bool = True, alpha: float = 1.0,
    edge: float = 0.3,
) -> None:  # fmt: skip
    """A mark per row, in its mode's colour and shape; size in square points."""
    for mode, rows in by_mode(table):
        colour = MODE_COLOURS[mode]
        ax.scatter(
            rows[x], rows[y], s=size, marker=MODE_MARKERS[mode], alpha=alpha, zorder=3, clip_on=False,
            facecolor=colour if filled else PAPER, edgecolor=PAPER if filled else colour,
            linewidth=edge if filled else 1.0,
        )  # fmt: skip


def bar(mode: str) -> dict[str, Any]:
    return {"facecolor": MODE_COLOURS[mode], "edgecolor": PAPER, "hatch": MODE_HATCHES[mode], "linewidth": 0.6}


def mode_handles(modes: Iterable[str], patches: bool = False) -> list[Any]:
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
    present = set(stages)
    return [
        Line2D([], [], linestyle="none", marker="o", markeredgecolor=FAINT, markersize=5, label=label,
               markerfacecolor=PAPER if stage == "search" else FAINT)
        for stage, label in STAGE_SEEDS.items()
        if stage in present
    ]  # fmt: skip


def legend(figure: Figure, handles: list[Any], columns: int = 7, above: bool = False) -> None:
    place = "outside upper center" if above else "outside lower center"
    rows = math.ceil(len(handles) / columns)
    figure.legend(handles=handles, loc=place, ncols=math.ceil(len(handles) / max(rows, 1)))


def accuracy_axis(ax: Axes, direction: str, values: Iterable[float]) -> float:
    """Limits and percent for an axis of accuracies; returns where a run without a finite accuracy stands."""
    values = np.asarray(list(values), dtype=float)
    finite = values[np.isfinite(values)]
    low, high = max(min(finite.min(), 0.5) - 0.04, -0.02), min(finite.max() + 0.06, 1.02)
    nowhere = low
    ticks = [tick for tick in MaxNLocator(6, steps=[1, 2, 5]).tick_values(low, high) if low <= tick <= high]
    labels = {tick: f"{100 * tick:.0f}" for tick in ticks}
    if len(finite) < len(values):
        nowhere = low - 0.08 * (high - low)
        low = nowhere - 0.05 * (high - low)
        labels = {nowhere: "NaN"} | {tick: text for tick, text in labels.items() if tick > nowhere + 0.1 * (high - low)}
    axis = ax.xaxis if direction == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(list(labels)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: labels.get(value, "")))
    (ax.set_xlim if direction == "x" else ax.set_ylim)(low, high)
    return nowhere


def widened(values: pd.Series, share: float, least: float) -> tuple[float, float]:
    margin = max(share * (values.max() - values.min()), least)
    return values.min() - margin, values.max() + margin


def placed_at(accuracy: pd.Series, nowhere: float) -> np.ndarray:
    values = accuracy.to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, nowhere)


def crowd(marks: int) -> tuple[float, float]:
    """Size (square points) and opacity with which so many marks stay readable."""
    return float(np.clip(1600 / max(marks, 1), 7, 26)), float(np.clip(200 / max(marks, 1), 0.35, 1.0))


def fade(lines: int) -> float:
    return float(np.clip(6 / max(lines, 1), 0.45, 1.0))


def log_ticks(ax: Axes, limits: tuple[float, float]) -> None:
    decades = limits[1] - limits[0]
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if decades > 1.5 else (1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))


def power(value: float) -> str:
    exponent = round(math.log10(value), 6)
    if exponent == int(exponent):
        return str(int(value)) if 0 <= exponent < 3 else f"$10^{{{int(exponent)}}}$"
    return f"{value:g}" if 0.001 <= value < 10_000 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def p_text(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def words(name: str) -> str:
    return plain(str(name).replace("_", " "), 40)


@functools.cache
def plain(text: str, longest: int = 24) -> str:
    """A name as the picture's font can print it: no mathematics, no glyph that the font lacks, not too long."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    kept = "".join(letter if font.get_char_index(ord(letter)) else "\N{WHITE SQUARE}" for letter in str(text))
    kept = kept if len(kept) <= longest else f"{kept[: longest - 1]}…"
    return kept.replace("$", r"\$")
