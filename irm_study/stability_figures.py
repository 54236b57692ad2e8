"""One function per picture of what fresh seeds prove: tidy tables in (made by `stability`), a matplotlib Figure out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from irm_study.drawing import (
    INK,
    MODE_COLOURS,
    MODE_NAMES,
    NARROW,
    PAPER,
    WIDE,
    cells,
    legend,
    nothing,
    picture,
    plain,
    words,
)

SEES_TEST = "oracle"


@picture
def regret(table: pd.DataFrame) -> Figure:
    """What each chooser's choice scores on fresh seeds, with its 95% bootstrap interval.

    table: criterion, aggregate, trial, n, score, score_low, score_high, successes. Choosers that look at the test
    environment are filled.
    """
    table = table[table["n"] > 0]
    if table.empty:
        return nothing("no choice was tried on fresh seeds")
    figure = Figure((WIDE, 1.0 + 0.24 * len(table)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(table.to_dict("records")):
        if math.isfinite(row["score_low"]):
            ax.hlines(place, row["score_low"], row["score_high"], color=INK, linewidth=1.1)
        face = INK if row["criterion"].startswith(SEES_TEST) else PAPER
        ax.scatter(row["score"], place, s=28, facecolor=face, edgecolor=INK, zorder=3)
    names = [f"{words(row.criterion)}, {words(row.aggregate)}" for row in table.itertuples()]
    ax.set_yticks(range(len(table)), names)
    ax.set_ylim(len(table) - 0.5, -0.5)
    outcomes = [f"trial {row.trial}: {row.successes} of {row.n} in zone" for row in table.itertuples()]
    right = ax.twinx()
    right.set_yticks(range(len(table)), outcomes)
    right.set_ylim(ax.get_ylim())
    right.tick_params(length=0)
    right.grid(False)
    for side in right.spines.values():
        side.set_visible(False)
    ax.axvline(table["score"].max(), color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    ax.grid(False, axis="y")
    ax.margins(x=0.06)
    ax.set_xlabel("accuracy on fresh seeds, the lowest of training and test (%)")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
    handles = [
        Line2D([], [], marker="o", linestyle="none", markerfacecolor=face, markeredgecolor=INK, label=label)
        for face, label in ((INK, "chosen with the test environment"), (PAPER, "chosen without it"))
    ]
    legend(figure, handles)
    return figure


@picture
def neighbourhood(table: pd.DataFrame) -> Figure:
    """Success rate as each hyperparameter of the winner is multiplied, with Wilson's 95% interval.

    table: hyperparameter, factor, n, share, low, high, score.
    """
    if table.empty:
        return nothing("no neighbour was trained")
    keys = list(dict.fromkeys(table["hyperparameter"]))
    columns = min(4, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = Figure((WIDE if columns > 1 else NARROW, 0.35 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax, key in zip(panels.flat, keys, strict=False):
        own = table[table["hyperparameter"] == key]
        ax.vlines(own["factor"], own["low"], own["high"], color=INK, linewidth=1.1)
        ax.plot(own["factor"], own["share"], color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        for row in own.to_dict("records"):
            face = INK if row["factor"] == 1 else PAPER
            ax.scatter(row["factor"], row["share"], s=26, facecolor=face, edgecolor=INK, zorder=3, clip_on=False)
        ax.set_xscale("log")
        ax.set_xlim(0.44, 2.3)
        ax.xaxis.set_major_locator(FixedLocator([0.5, 0.8, 1, 1.25, 2]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: {0.5: "½", 1: "1", 2: "2"}.get(value, "")))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_ylim(-0.03, 1.03)
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        ax.set_title(words(key))
    for ax in panels.flat[len(keys) :]:
        ax.set_visible(False)
    for ax in panels[:, 0]:
        ax.set_ylabel("in the target zone (%)")
    figure.supxlabel("times the winner's value", fontsize=8)
    return figure


@picture
def eyes(table: pd.DataFrame) -> Figure:
    """Verdicts with the test environment (rows) against those without it (columns).

    table: eyes, failure_mode, seen_as, runs. Agreement lies on the diagonal, framed in the mode's colour.
    """
    if table.empty:
        return nothing("no runs")
    present = set(table["failure_mode"]) | set(table["seen_as"])
    modes = [mode for mode in MODE_NAMES if mode in present]
    blind = list(dict.fromkeys(table["eyes"]))
    size = 0.34 * len(modes)
    figure = Figure(
        (max(NARROW, 1.3 + size) if len(blind) == 1 else WIDE, max(2.4, 1.5 + 0.24 * len(modes))), layout="constrained"
    )
    panels = figure.subplots(1, len(blind), sharey=True, squeeze=False)[0]
    titles = {"train": "training images alone", "validation": "a validation environment"}
    for ax, name in zip(panels, blind, strict=True):
        own = table[table["eyes"] == name]
        counts = own.pivot_table(index="failure_mode", columns="seen_as", values="runs", aggfunc="sum")
        counts = counts.reindex(index=modes, columns=modes).fillna(0)
        shares = counts.div(counts.sum(axis=1).replace(0, 1), axis=0)
        texts = counts.map(lambda runs: f"{runs:.0f}" if runs else "")
        cells(ax, shares, texts)
        for place, mode in enumerate(modes):
            ax.add_patch(Rectangle((place, place), 1, 1, fill=False, edgecolor=MODE_COLOURS[mode], linewidth=1.4))
        ax.set_xticks(np.arange(len(modes)) + 0.5, [MODE_NAMES[mode] for mode in modes], rotation=45, ha="right")
        ax.set_yticks(np.arange(len(modes)) + 0.5, [MODE_NAMES[mode] for mode in modes], rotation=0)
        ax.set_xlabel(f"verdict from {titles[name]}")
    panels[0].set_ylabel("with the test environment")
    return figure


@picture
def draws(table: pd.DataFrame) -> Figure:
    """Test accuracy for each draw of data (rows) and of the initialisation (columns). table: as `stability.crossed`."""
    if table.empty:
        return nothing("data and initialisation were not drawn apart")
    count = len(table)
    figure = Figure((NARROW, 0.9 + min(2.6, 0.32 * count)), layout="constrained")
    ax = figure.subplots()
    low, high = table.min().min(), table.max().max()
    texts = table.map(lambda value: f"{100 * value:.0f}" if count <= 10 else "")
    cells(ax, (table - low + 0.02) / (high - low + 0.02), texts)
    ax.set(xlabel="seed of the initialisation", ylabel="seed of the data")
    ax.set_yticks(np.arange(count) + 0.5, [plain(str(seed)) for seed in table.index], rotation=0)
    ax.set_xticks(np.arange(count) + 0.5, [plain(str(int(seed))) for seed in table.columns], rotation=90)
    return figure


STABILITY_FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "neighbourhood": neighbourhood,
    "draws": draws,
    "eyes": eyes,
    "regret": regret,
}
