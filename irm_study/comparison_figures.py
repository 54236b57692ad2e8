"""One function per picture of a comparison: tidy tables in (made by `comparison`), a matplotlib Figure out.

As in `figures`, nothing is computed here but places on the paper. Seeds and profiles of the sides are drawn by
`figures.seed_stability` and `figures.performance_profile`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from irm_study.drawing import (
    FAINT,
    INK,
    MODE_COLOURS,
    NARROW,
    PAPER,
    WIDE,
    crowd,
    fade,
    legend,
    mark_runs,
    mode_bars,
    mode_handles,
    nothing,
    p_text,
    picture,
    plain,
)

DASHES = {"train": "-", "test": (0, (2.5, 1.2))}
LONGEST = 30
"""Letters of a side's name."""


@picture
def success_rates(outcomes: pd.DataFrame) -> Figure:
    """Share of each side's runs in the target zone, with Wilson's 95% interval.

    outcomes: name, stage, n, successes, rate, low, high. Rates on the seeds of the search are hollow.
    """
    figure = Figure((NARROW, 0.75 + 0.36 * len(outcomes)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(outcomes.itertuples()):
        ax.hlines(place, row.low, row.high, color=INK, linewidth=1.4)
        face = PAPER if row.stage == "search" else INK
        ax.scatter(row.rate, place, s=34, facecolor=face, edgecolor=INK, zorder=3, clip_on=False)
        ax.annotate(
            f"{row.successes} of {row.n}", (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7
        )
    _sides(ax, outcomes["name"], 18)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    ax.set_xlabel("runs in the target zone (%)")
    return figure


@picture
def side_modes(modes: pd.DataFrame) -> Figure:
    """How each side's runs ended, as one bar. modes: name, failure_mode, runs."""
    names = list(dict.fromkeys(modes["name"]))
    figure = Figure((WIDE, 0.75 + 0.34 * len(names)), layout="constrained")
    ax = figure.subplots()
    mode_bars(ax, [modes[modes["name"] == name] for name in names])
    _sides(ax, names)
    legend(figure, mode_handles(modes["failure_mode"], patches=True), columns=8, above=True)
    return figure


@picture
def differences(pairs: pd.DataFrame) -> Figure:
    """What the first of each pair has more than the second, with 95% intervals; filled where p (Holm) is below 0.05.

    pairs: first, second, measure (success | score | test_accuracy), n_first, n_second, difference, low, high, p_holm.
    """
    titles = {"success": "success rate", "score": "score", "test_accuracy": "test accuracy"}
    rows = list(dict.fromkeys(zip(pairs["first"], pairs["second"], strict=True)))
    figure = Figure((WIDE, 0.85 + 0.4 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    reach = max(0.02, float(np.nanmax(np.abs(pairs[["low", "high", "difference"]].to_numpy(dtype=float)))))
    for ax, (measure, title) in zip(panels, titles.items(), strict=True):
        own = pairs[pairs["measure"] == measure].set_index(["first", "second"])
        ax.axvline(0, color=FAINT, linewidth=0.9)
        for place, key in enumerate(rows):
            row = own.loc[key]
            if not math.isfinite(row["difference"]):
                ax.annotate("no shared seeds", (0, place), ha="center", va="center", fontsize=7, color=FAINT)
                continue
            ends = [value for value in (row["low"], row["high"], row["difference"]) if math.isfinite(value)]
            ax.hlines(place, min(ends), max(ends), color=INK, linewidth=1.4)
            face = INK if row["p_holm"] < 0.05 else PAPER
            ax.scatter(row["difference"], place, s=30, facecolor=face, edgecolor=INK, zorder=3)
            n = row["n_first"] if measure != "success" else f"{row['n_first']} and {row['n_second']}"
            text = f"n = {n}, {p_text(row['p_holm'])}"
            ax.annotate(
                text, (row["difference"], place), (0, 6), textcoords="offset points", ha="center", fontsize=6.5,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
        ax.set_xlim(-1.5 * reach, 1.5 * reach)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.3g}" if value else "0"))
        ax.set_title(title)
        ax.grid(False, axis="y")
    panels[0].set_yticks(
        range(len(rows)), [f"{plain(first, LONGEST)}\n− {plain(second, LONGEST)}" for first, second in rows]
    )
    panels[0].set_ylim(len(rows) - 0.5, -0.6)
    figure.supxlabel("difference (points), first minus second", fontsize=8)
    return figure


@picture
def side_curves(lines: pd.DataFrame, bands: pd.DataFrame) -> Figure:
    """Training (solid) and test (dashed) accuracy over epochs, a panel for each side.

    lines: name, run, failure_mode, environment (train | test), epoch, accuracy, anneal_epoch; each in its mode's
    colour. bands: name, environment, epoch, low, median, high.
    """
    names = list(dict.fromkeys(lines["name"]))
    columns = min(len(names), 3)
    height = math.ceil(len(names) / columns)
    figure = Figure((WIDE, 0.75 + (1.75 * height if height > 1 else 1.95)), layout="constrained")
    panels = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, name in zip(panels, names, strict=False):
        own = lines[(lines["name"] == name) & np.isfinite(lines["accuracy"])]
        alpha = fade(own["run"].nunique()) * 0.7
        for (environment, _), run in own.groupby(["environment", "run"]):
            colour = MODE_COLOURS[run["failure_mode"].iloc[0]]
            ax.plot(run["epoch"], run["accuracy"], color=colour, linestyle=DASHES[environment], linewidth=0.7,
                    alpha=alpha)  # fmt: skip
        for environment, rows in bands[bands["name"] == name].groupby("environment"):
            ax.fill_between(rows["epoch"], rows["low"], rows["high"], color=INK, alpha=0.1, linewidth=0)
            ax.plot(rows["epoch"], rows["median"], color=INK, linewidth=1.3, linestyle=DASHES[environment])
        anneal = lines.loc[lines["name"] == name, "anneal_epoch"].iloc[0]
        ax.axvline(float(anneal), color=FAINT, linewidth=0.8, zorder=1.5)
        ax.set_title(plain(name, LONGEST))
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for index, ax in enumerate(panels):
        ax.set_visible(index < len(names))
        ax.tick_params(labelbottom=index + columns >= len(names))
    figure.supxlabel("epoch", fontsize=8)
    figure.supylabel("accuracy (%)", fontsize=8)
    handles = [
        Line2D([], [], color=INK, label="training (mean of environments)"),
        Line2D([], [], color=INK, linestyle=DASHES["test"], label="test"),
        Line2D([], [], color=FAINT, linewidth=0.8, label="anneal epoch"),
    ]
    if len(bands):
        handles.append(Patch(color=INK, alpha=0.13, linewidth=0, label="median, middle 80% of runs"))
    legend(figure, [*handles, *mode_handles(lines["failure_mode"])], columns=4, above=True)
    return figure


@picture
def side_searches(searches: pd.DataFrame) -> Figure:
    """The objective value of every trial of each study, with the median. searches: name, trial, value, failure_mode."""
    if searches.empty:
        return nothing("no two studies with one criterion")
    names = list(dict.fromkeys(searches["name"]))
    figure = Figure((WIDE, 0.85 + 0.5 * len(names)), layout="constrained")
    ax = figure.subplots()
    size, alpha = crowd(len(searches))
    for place, name in enumerate(names):
        own = searches[searches["name"] == name]
        # Multiples of the golden ratio fill the strip evenly, and the same way each time.
        offset = 0.6 * (np.arange(len(own)) * 0.618 % 1 - 0.5) if len(own) > 2 else 0.0
        mark_runs(ax, own.assign(place=place + offset), "value", "place", size, alpha=max(alpha, 0.6))
        ax.plot([own["value"].median()] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.6, zorder=2.5)
        ax.annotate(
            f"{len(own)} trials", (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7
        )  # fmt: skip
    _sides(ax, names)
    ax.margins(x=0.05)
    ax.set_xlabel("objective value")
    handles = [*mode_handles(searches["failure_mode"])]
    handles.append(Line2D([], [], color=INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="none"))
    handles[-1].set_label("median")
    legend(figure, handles)
    return figure


def _sides(ax: Axes, names: Iterable[str], longest: int = LONGEST) -> None:
    """A row for each side, the first on top."""
    names = list(names)
    ax.set_yticks(range(len(names)), [plain(name, longest) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(False, axis="y")


COMPARISON_FIGURES: dict[str, Callable[..., Figure]] = {
    "success_rates": success_rates,
    "side_modes": side_modes,
    "differences": differences,
    "side_curves": side_curves,
    "side_searches": side_searches,
}
