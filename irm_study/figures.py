"""One function per picture: tidy tables in (made by `tables`, intervals included), a matplotlib Figure out.

Nothing is computed here but places on the paper, so a picture can be drawn in a notebook from any
table with the columns that its docstring names. Figures are made without pyplot and leave its state
and the global style alone. A failure mode has one colour, one marker and one hatch in all of them:
the colours stay apart under the three kinds of colour blindness, the markers and hatches in grey print.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from irm_study.failures import Landmarks

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
    "relapsed": "ooo",
    "partial": "...",
    "memorised": "++++",
    "erm_like": "////",
    "anti_colour": "\\\\\\\\",
    "collapsed": "xxxx",
    "diverged": "----",
}

MODE_NAMES = {mode: mode.replace("_", "-").replace("erm", "ERM") for mode in MODE_COLOURS}

INK, FAINT, GRID, PAPER = "#1f2328", "#6b7480", "#dce1e7", "#ffffff"
"""The four colours that are no data; the page replaces them by its own, light or dark."""

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
}


def picture(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws under this module's style, whatever the notebook's is."""

    @functools.wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


# Which configurations are stable


@picture
def seed_stability(points: pd.DataFrame, summary: pd.DataFrame, zones: Landmarks) -> Figure:
    """Every seed of the leading configurations, in training and in test, with the target zone shaded.

    points: configuration, rank, stage (search | confirm), environment (train | test), failure_mode, accuracy.
    summary: configuration, rank, stage, environment, iqm, low, high. Fresh seeds are filled, search seeds hollow.
    """
    if points.empty:
        return _nothing("no finished configuration")
    names = points.drop_duplicates("rank").sort_values("rank")["configuration"].tolist()
    figure = Figure((WIDE, 1.3 + 0.5 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"train": "training (lowest environment)", "test": "test environment"}
    targets = {"train": zones.target_train, "test": zones.target_test}
    for ax, environment in zip(panels, titles, strict=True):
        rows = points[points["environment"] == environment]
        nowhere = _accuracy_axis(ax, "x", [*rows["accuracy"], targets[environment]])
        ax.axvspan(targets[environment], 1.01, color=MODE_COLOURS["invariant"], alpha=0.13, linewidth=0)
        for stage, offset in (("search", -0.19), ("confirm", 0.19)):
            stage_rows = rows[rows["stage"] == stage]
            order = stage_rows.groupby("rank").cumcount()
            # Seeds side by side on a narrow strip: three lanes keep near-equal accuracies apart.
            y = stage_rows["rank"] + offset + 0.07 * (order % 3 - 1)
            placed = stage_rows.assign(x=_placed(stage_rows["accuracy"], nowhere), y=y)
            _marks(ax, placed, "x", "y", 24, filled=stage == "confirm")
            for row in summary[(summary["environment"] == environment) & (summary["stage"] == stage)].itertuples():
                height = row.rank + offset
                if math.isfinite(row.low):
                    ax.plot([row.low, row.high], [height] * 2, color=INK, linewidth=1, zorder=4)
                ax.plot([row.iqm] * 2, [height - 0.13, height + 0.13], color=INK, linewidth=1.8, zorder=4)
        ax.set_title(titles[environment])
        ax.set_xlabel("accuracy at the end (%)")
    panels[0].set_yticks(range(len(names)), [_plain(name) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for ax in panels:
        ax.grid(False, axis="y")
        for rank in range(1, len(names)):
            ax.axhline(rank - 0.5, color=GRID, linewidth=0.6)
    handles = [*_mode_handles(points["failure_mode"]), *_stage_handles(points["stage"])]
    handles.append(Line2D([], [], color=INK, marker="|", markersize=8, markeredgewidth=1.8, linewidth=1))
    handles[-1].set_label("IQM, 95% interval")
    handles.append(Patch(color=MODE_COLOURS["invariant"], alpha=0.13, linewidth=0, label="target zone"))
    _legend(figure, handles)
    return figure


@picture
def trade_off(runs: pd.DataFrame, zones: Landmarks) -> Figure:
    """Training against test accuracy of every run: the front along which IRM trades the one for the other.

    runs: stage, failure_mode, train (lowest training environment), test.
    """
    if runs.empty:
        return _nothing("no runs")
    figure = Figure((NARROW, 3.3), layout="constrained")
    ax = figure.subplots()
    nowhere_x = _accuracy_axis(ax, "x", [*runs["train"], zones.target_train, zones.shape])
    nowhere_y = _accuracy_axis(ax, "y", [*runs["test"], zones.target_test, zones.shape])
    ax.add_patch(
        Rectangle((zones.target_train, zones.target_test), 1, 1, color=MODE_COLOURS["invariant"], alpha=0.13, lw=0)
    )
    ax.plot(zones.shape, zones.shape, marker="+", color=INK, markersize=8, linestyle="none")
    ax.annotate("shape alone", (zones.shape, zones.shape), (5, 4), textcoords="offset points", fontsize=7)
    placed = runs.assign(x=_placed(runs["train"], nowhere_x), y=_placed(runs["test"], nowhere_y))
    size, alpha = _crowd(len(runs))
    _marks(ax, placed[placed["stage"] == "search"], "x", "y", size, filled=False, alpha=alpha)
    _marks(ax, placed[placed["stage"] == "confirm"], "x", "y", size, alpha=alpha)
    ax.set_xlabel("training accuracy, lowest environment (%)")
    ax.set_ylabel("test accuracy (%)")
    _legend(figure, [*_mode_handles(runs["failure_mode"]), *_stage_handles(runs["stage"])], columns=3)
    return figure


@picture
def performance_profile(profile: pd.DataFrame, zones: Landmarks) -> Figure:
    """Share of a configuration's runs with a test accuracy above a threshold, for every threshold.

    profile: configuration, rank, stage, n, threshold, share, low, high. Bands hold at one threshold at a time.
    """
    if profile.empty:
        return _nothing("no finished configuration")
    figure = Figure((NARROW, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(zones.target_test, 1, color=MODE_COLOURS["invariant"], alpha=0.13, linewidth=0)
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
    for rank, rows in profile.groupby("rank"):
        first = rows.iloc[0]
        seeds = f"{first['n']} {'fresh' if first['stage'] == 'confirm' else 'search'} seeds"
        # The leading configuration in ink with its interval, the others behind it.
        colour = INK if rank == 0 else FAINT
        if rank == 0:
            ax.fill_between(rows["threshold"], rows["low"], rows["high"], color=INK, alpha=0.12, linewidth=0)
        ax.plot(
            rows["threshold"], rows["share"], color=colour, linestyle=styles[int(rank) % len(styles)],
            linewidth=1.6 if rank == 0 else 1.0, label=f"{_plain(first['configuration'])} ({seeds})",
            drawstyle="steps-post", zorder=3 if rank == 0 else 2,
        )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.02, 1.02)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=""))
    ax.set_xlabel("test accuracy (%)")
    ax.set_ylabel("runs above it (%)")
    figure.legend(loc="outside lower center", ncols=1)
    return figure


# How the others fail


@picture
def mode_bar(counts: pd.DataFrame) -> Figure:
    """All runs by failure mode, as one bar. counts: failure_mode, runs."""
    if counts.empty:
        return _nothing("no runs")
    figure = Figure((WIDE, 0.95), layout="constrained")
    ax = figure.subplots()
    total, left = counts["runs"].sum(), 0
    for mode, rows in _by_mode(counts):
        number = int(rows["runs"].sum())
        ax.barh(0, number, left=left, **_bar(mode))
        if number / total > 0.025:
            box = {"facecolor": PAPER, "edgecolor": "none", "boxstyle": "round,pad=0.2"}
            ax.text(left + number / 2, 0, str(number), ha="center", va="center", bbox=box)
        left += number
    ax.set_xlim(0, total)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(f"runs ({total} in all)")
    _legend(figure, _mode_handles(counts["failure_mode"], patches=True), columns=8, above=True)
    return figure


@picture
def curves(lines: pd.DataFrame, bands: pd.DataFrame) -> Figure:
    """Training (solid) and test (dashed) accuracy over epochs of every seed, a panel for each failure mode.

    lines: run, failure_mode, environment (train | test), epoch, since_anneal, anneal_epoch, accuracy, n.
    bands: failure_mode, environment, epoch, since_anneal, low, median, high, n; for modes of many runs, whose
    single lines then fade. Where runs differ in their anneal epoch, the axis counts from it.
    """
    if lines.empty:
        return _nothing("no runs")
    anneal = lines["anneal_epoch"].unique()
    axis = "epoch" if len(anneal) == 1 else "since_anneal"
    modes = [mode for mode, _ in _by_mode(lines)]
    columns = min(len(modes), 4 if len(modes) > 6 else 3)
    height = math.ceil(len(modes) / columns)
    figure = Figure((WIDE, 0.75 + 1.65 * height if height > 1 else 2.6), layout="constrained")
    panels = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False).ravel()
    dashes = {"train": "", "test": (2.5, 1.2)}
    for ax, mode in zip(panels, modes, strict=False):
        own, band = lines[lines["failure_mode"] == mode], bands[bands["failure_mode"] == mode]
        crowded = len(band) > 0
        finite = own[np.isfinite(own["accuracy"])]
        sns.lineplot(
            finite, x=axis, y="accuracy", units="run", style="environment", style_order=["train", "test"],
            dashes=dashes, estimator=None, color=MODE_COLOURS[mode], ax=ax, legend=False, sort=False,
            linewidth=0.5 if crowded else 0.9, alpha=0.3 if crowded else _fade(own["run"].nunique()),
        )  # fmt: skip
        for environment, rows in band.groupby("environment"):
            ax.fill_between(rows[axis], rows["low"], rows["high"], color=MODE_COLOURS[mode], alpha=0.25, linewidth=0)
            ax.plot(
                rows[axis], rows["median"], color=INK, linewidth=1.2,
                linestyle="-" if environment == "train" else (0, dashes["test"]),
            )  # fmt: skip
        ax.axvline(float(anneal[0]) if axis == "epoch" else 0, color=FAINT, linewidth=0.8, zorder=1.5)
        count = int(own["n"].iloc[0])
        ax.set_title(f"{MODE_NAMES[mode]}: {count} {'run' if count == 1 else 'runs'}")
        ax.set_xlabel("")
        ax.set_ylabel("")
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for index, ax in enumerate(panels):
        ax.set_visible(index < len(modes))
        # A panel above an empty place keeps its own tick labels.
        ax.tick_params(labelbottom=index + columns >= len(modes))
    figure.supxlabel("epoch" if axis == "epoch" else "epochs after the anneal epoch", fontsize=8)
    figure.supylabel("accuracy (%)", fontsize=8)
    handles = [
        Line2D([], [], color=INK, label="training (mean of environments)"),
        Line2D([], [], color=INK, linestyle=(0, dashes["test"]), label="test"),
        Line2D([], [], color=FAINT, linewidth=0.8, label="anneal epoch"),
    ]
    if len(bands):
        handles.append(Patch(color=FAINT, alpha=0.3, linewidth=0, label="median, middle 80% of runs"))
    _legend(figure, handles, above=True)
    return figure


@picture
def failure_map(marks: pd.DataFrame) -> Figure:
    """Failure modes over penalty weight and anneal epoch, a panel for each ramp; each trial is a cluster of its seeds.

    marks: trial, penalty_weight, anneal_epoch, ramp, failure_mode, place (0, 1, … within the trial), n.
    """
    if marks.empty:
        return _nothing("no runs of the search")
    ramps = sorted(marks["ramp"].unique(), key=str)
    columns = min(len(ramps), 3 if len(ramps) in (3, 5, 6) else 2)
    height = math.ceil(len(ramps) / columns)
    figure = Figure((WIDE, 0.9 + 2.1 * height), layout="constrained")
    panels = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False).ravel()
    weights, epochs = marks["penalty_weight"].astype(float), marks["anneal_epoch"].astype(float)
    # A weight of 0 (ERM) has no logarithm: it stands half a decade below the smallest other.
    floor = weights[weights > 0].min() / math.sqrt(10) if (weights > 0).any() else 1.0
    x = np.log10(weights.clip(lower=floor))
    margin = max(0.06 * (x.max() - x.min()), 0.15)
    x_limits = (x.min() - margin, x.max() + margin)
    margin = max(0.08 * (epochs.max() - epochs.min()), 2)
    y_limits = (epochs.min() - margin, epochs.max() + margin)
    # Within a trial, seeds lie on a sunflower's spiral, a mark's breadth apart.
    diameter = float(np.clip(42 / math.sqrt(max(marks["trial"].nunique(), 1)), 2.2, 5.5))
    spiral = diameter * 0.72 * np.sqrt(marks["place"] + (marks["n"] > 1) * 0.5) * (marks["n"] > 1)
    turn = marks["place"] * math.pi * (3 - math.sqrt(5))
    panel_points = (72 * (WIDE - 0.8) / columns, 72 * 1.75)
    placed = marks.assign(
        x=10 ** (x + spiral * np.cos(turn) * (x_limits[1] - x_limits[0]) / panel_points[0]),
        y=epochs + spiral * np.sin(turn) * (y_limits[1] - y_limits[0]) / panel_points[1],
    )
    for ax, ramp in zip(panels, ramps, strict=False):
        rows = placed[placed["ramp"] == ramp]
        _marks(ax, rows, "x", "y", diameter**2, edge=0.3)
        ax.set_xscale("log")
        ax.set_xlim(10 ** x_limits[0], 10 ** x_limits[1])
        ax.set_ylim(*y_limits)
        trials = rows["trial"].nunique()
        ax.set_title(f"{_plain(ramp)} ramp: {trials} {'trial' if trials == 1 else 'trials'}")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        _log_ticks(ax, x_limits)
        if (weights == 0).any():
            ax.set_xticks([floor, *[tick for tick in ax.get_xticks() if tick > floor * 2]])
            labels = {floor: "0"}
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _, labels=labels: labels.get(value, _power(value))))
    for index, ax in enumerate(panels):
        ax.set_visible(index < len(ramps))
        ax.tick_params(labelbottom=index + columns >= len(ramps))
    figure.supxlabel("penalty weight", fontsize=8)
    figure.supylabel("anneal epoch", fontsize=8)
    _legend(figure, _mode_handles(marks["failure_mode"]), above=True)
    return figure


@picture
def failure_shares(shares: pd.DataFrame) -> Figure:
    """Share of each failure mode along each searched hyperparameter, with 95% Wilson intervals.

    shares: hyperparameter, bin (0, 1, …), label, n, failure_mode, share, low, high.
    """
    if shares.empty:
        return _nothing("no runs of the search, or nothing searched")
    names = list(dict.fromkeys(shares["hyperparameter"]))
    columns = min(len(names), 2)
    height = math.ceil(len(names) / columns)
    figure = Figure((WIDE, 0.5 + 1.85 * height), layout="constrained")
    panels = figure.subplots(height, columns, sharey=True, squeeze=False).ravel()
    modes = [mode for mode, _ in _by_mode(shares)]
    step = 0.74 / max(len(modes), 1)
    for ax, name in zip(panels, names, strict=False):
        own = shares[shares["hyperparameter"] == name]
        for place, mode in enumerate(modes):
            rows = own[own["failure_mode"] == mode].sort_values("bin")
            x = rows["bin"] + (place - (len(modes) - 1) / 2) * step
            ax.vlines(x, rows["low"], rows["high"], color=MODE_COLOURS[mode], linewidth=1.2, alpha=0.75)
            ax.scatter(x, rows["share"], s=20, marker=MODE_MARKERS[mode], color=MODE_COLOURS[mode],
                       edgecolor=PAPER, linewidth=0.4, zorder=3)  # fmt: skip
        bins = own.drop_duplicates("bin").sort_values("bin")
        ax.set_xticks(bins["bin"], [f"{_plain(row.label, 14)}\n(n = {row.n})" for row in bins.itertuples()])
        if len(bins) > 5:
            ax.tick_params("x", labelsize=6.5, rotation=30)
        ax.set_xlim(-0.5, bins["bin"].max() + 0.5)
        for edge in bins["bin"].iloc[1:]:
            ax.axvline(edge - 0.5, color=GRID, linewidth=0.6)
        ax.grid(False, axis="x")
        ax.set_title(_words(name))
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    figure.supylabel("share of runs (%)", fontsize=8)
    _legend(figure, _mode_handles(shares["failure_mode"]), above=True)
    return figure


@picture
def when_failures_begin(beginnings: pd.DataFrame) -> Figure:
    """Since when each run has been in the mode in which it ended, counted from its anneal epoch.

    beginnings: failure_mode, stage, since_anneal (epochs).
    """
    if beginnings.empty:
        return _nothing("no runs")
    modes = [mode for mode, _ in _by_mode(beginnings)]
    figure = Figure((WIDE, 0.7 + 0.36 * len(modes)), layout="constrained")
    ax = figure.subplots()
    size, alpha = _crowd(len(beginnings))
    for place, mode in enumerate(modes):
        rows = beginnings[beginnings["failure_mode"] == mode]
        lanes = 5 if len(rows) > 4 else 1
        offset = (np.arange(len(rows)) * 2 % lanes - (lanes - 1) / 2) * 0.6 / 5
        _marks(ax, rows.assign(place=place + offset), "since_anneal", "place", size, alpha=alpha)
    ax.axvline(0, color=FAINT, linewidth=0.8)
    ax.annotate(
        "anneal epoch", (0, 1), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="center", va="bottom", fontsize=7,
    )  # fmt: skip
    counts = beginnings["failure_mode"].value_counts()
    ax.set_yticks(range(len(modes)), [f"{MODE_NAMES[mode]} ({counts[mode]})" for mode in modes])
    ax.set_ylim(len(modes) - 0.5, -0.5)
    ax.grid(False, axis="y")
    low, high = beginnings["since_anneal"].min(), beginnings["since_anneal"].max()
    pad = max(0.04 * (high - low), 2)
    ax.set_xlim(min(low, 0) - pad, max(high, 0) + pad)
    ax.set_xlabel("in its final mode since (epochs after the anneal epoch)")
    return figure


# Whether to believe the search


@picture
def search_progress(progress: pd.DataFrame, criterion: str) -> Figure:
    """The objective value of every trial, marked by its commonest mode, and the best so far.

    progress: trial, state, value, best, failure_mode.
    """
    scored = progress[np.isfinite(progress["value"].astype(float))]
    if scored.empty:
        return _nothing("no finished trial")
    figure = Figure((WIDE, 2.4), layout="constrained")
    ax = figure.subplots()
    best = progress[np.isfinite(progress["best"])]
    ax.plot(best["trial"], best["best"], drawstyle="steps-post", color=INK, linewidth=1.2)
    size, _ = _crowd(len(scored))
    complete = scored["state"] == "complete"
    _marks(ax, scored[complete], "trial", "value", size, edge=0.4)
    _marks(ax, scored[~complete], "trial", "value", size, filled=False)
    ax.set_xlabel("trial")
    ax.set_ylabel(f"objective value ({_plain(criterion)})")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.03, y=0.1)
    handles = [*_mode_handles(scored["failure_mode"]), Line2D([], [], color=INK, label="best so far")]
    if not complete.all():
        handles.append(_stage_handles(["search"])[0])
        handles[-1].set_label("not complete")
    _legend(figure, handles)
    return figure


@picture
def search_vs_confirmation(scores: pd.DataFrame, criterion: str) -> Figure:
    """Mean score of each confirmed configuration on the seeds that chose it, and on fresh ones.

    scores: configuration, and for search and fresh: mean score, _low, _high (95% bootstrap interval), _n.
    """
    if scores.empty:
        return _nothing("nothing confirmed on fresh seeds")
    figure = Figure((NARROW, 1.15 + 0.42 * len(scores)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(scores.to_dict("records")):
        for prefix, offset, filled in (("search", -0.14, False), ("fresh", 0.14, True)):
            if not math.isfinite(row[prefix]):
                continue
            if math.isfinite(row[f"{prefix}_low"]):
                ax.hlines(place + offset, row[f"{prefix}_low"], row[f"{prefix}_high"], color=INK, linewidth=1.1)
            ax.scatter(row[prefix], place + offset, s=30, facecolor=INK if filled else PAPER, edgecolor=INK, zorder=3)
    names = [
        f"{_plain(row.configuration)}\n{row.search_n} + {row.fresh_n} seeds" for row in scores.itertuples()
    ]
    ax.set_yticks(range(len(scores)), names)
    ax.set_ylim(len(scores) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.margins(x=0.08)
    ax.set_xlabel(f"mean score ({_plain(criterion)})")
    handles = [
        Line2D([], [], marker="o", linestyle="none", markerfacecolor=face, markeredgecolor=INK, label=label)
        for face, label in ((PAPER, "search seeds"), (INK, "fresh seeds"))
    ]
    _legend(figure, handles)
    return figure


@picture
def importance(table: pd.DataFrame) -> Figure:
    """Share of the objective's variation by hyperparameter. table: hyperparameter, importance, largest first."""
    if table.empty:
        return _nothing("too few trials to tell")
    figure = Figure((NARROW, 0.6 + 0.24 * len(table)), layout="constrained")
    ax = figure.subplots()
    named = table.assign(hyperparameter=[_words(name) for name in table["hyperparameter"]])
    sns.barplot(named, x="importance", y="hyperparameter", color=FAINT, errorbar=None, ax=ax, saturation=1)
    for place, value in enumerate(table["importance"]):
        ax.annotate(f"{100 * value:.0f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    ax.set_xlim(0, max(0.05, table["importance"].max() * 1.15))
    ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    ax.grid(False, axis="y")
    ax.set_xlabel("share of the objective's variation (%)")
    ax.set_ylabel("")
    return figure


@picture
def cost(table: pd.DataFrame) -> Figure:
    """Runs and the time they took, by stage and by how they ended. table: stage, failure_mode, runs, seconds."""
    if table.empty:
        return _nothing("no runs")
    total = table.groupby("stage")["seconds"].sum().max()
    unit, name = (1, "seconds") if total < 300 else (60, "minutes") if total < 3 * 3600 else (3600, "hours")
    stages = [stage for stage in ("search", "confirm") if (table["stage"] == stage).any()]
    figure = Figure((WIDE, 1.0 + 0.32 * len(stages)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, column, scale, label in ((panels[0], "runs", 1, "runs"), (panels[1], "seconds", unit, f"time ({name})")):
        left = dict.fromkeys(stages, 0.0)
        for mode, rows in _by_mode(table):
            for row in rows.to_dict("records"):
                width = row[column] / scale
                ax.barh(stages.index(row["stage"]), width, left=left[row["stage"]], **_bar(mode))
                left[row["stage"]] += width
        ax.set_xlabel(label)
        ax.grid(False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=column == "runs"))
    panels[0].set_yticks(range(len(stages)), [{"confirm": "confirmation"}.get(stage, stage) for stage in stages])
    panels[0].set_ylim(len(stages) - 0.5, -0.5)
    _legend(figure, _mode_handles(table["failure_mode"], patches=True), above=True)
    return figure


FIGURES: dict[str, Callable[..., Figure]] = {
    "mode_bar": mode_bar,
    "seed_stability": seed_stability,
    "trade_off": trade_off,
    "performance_profile": performance_profile,
    "curves": curves,
    "failure_map": failure_map,
    "failure_shares": failure_shares,
    "when_failures_begin": when_failures_begin,
    "search_progress": search_progress,
    "search_vs_confirmation": search_vs_confirmation,
    "importance": importance,
    "cost": cost,
}


# Their parts


def _nothing(why: str) -> Figure:
    figure = Figure((NARROW, 0.6))
    figure.text(0.5, 0.5, f"Nothing to show: {why}.", ha="center", va="center", color=FAINT)
    return figure


def _by_mode(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for mode in MODE_COLOURS:
        rows = table[table["failure_mode"] == mode]
        if len(rows):
            yield mode, rows


def _marks(
    ax: Axes, table: pd.DataFrame, x: str, y: str, size: float, filled: bool = True, alpha: float = 1.0,
    edge: float = 0.3,
) -> None:  # fmt: skip
    """A mark per row, in its mode's colour and shape; size in square points."""
    for mode, rows in _by_mode(table):
        colour = MODE_COLOURS[mode]
        ax.scatter(
            rows[x], rows[y], s=size, marker=MODE_MARKERS[mode], alpha=alpha, zorder=3, clip_on=False,
            facecolor=colour if filled else PAPER, edgecolor=PAPER if filled else colour,
            linewidth=edge if filled else 1.0,
        )  # fmt: skip


def _bar(mode: str) -> dict[str, Any]:
    return {"facecolor": MODE_COLOURS[mode], "edgecolor": PAPER, "hatch": MODE_HATCHES[mode], "linewidth": 0.6}


def _mode_handles(modes: Iterable[str], patches: bool = False) -> list[Any]:
    present = set(modes)
    return [
        Patch(**_bar(mode), label=MODE_NAMES[mode])
        if patches
        else Line2D([], [], linestyle="none", marker=MODE_MARKERS[mode], markerfacecolor=MODE_COLOURS[mode],
                    markeredgecolor=PAPER, markeredgewidth=0.3, markersize=5.5, label=MODE_NAMES[mode])
        for mode in MODE_COLOURS
        if mode in present
    ]  # fmt: skip


def _stage_handles(stages: Iterable[str]) -> list[Line2D]:
    present = set(stages)
    return [
        Line2D([], [], linestyle="none", marker="o", markerfacecolor=face, markeredgecolor=FAINT, markersize=5,
               label=label)
        for stage, face, label in (("search", PAPER, "search seeds"), ("confirm", FAINT, "fresh seeds"))
        if stage in present
    ]  # fmt: skip


def _legend(figure: Figure, handles: list[Any], columns: int = 6, above: bool = False) -> None:
    place = "outside upper center" if above else "outside lower center"
    figure.legend(handles=handles, loc=place, ncols=min(columns, len(handles)))


def _accuracy_axis(ax: Axes, direction: str, values: Iterable[float]) -> float:
    """Limits and percent for an axis of accuracies; returns where a run without a finite accuracy stands."""
    values = np.asarray(list(values), dtype=float)
    finite = values[np.isfinite(values)]
    low, high = max(finite.min() - 0.04, -0.02), min(finite.max() + 0.06, 1.02)
    nowhere = low
    ticks = [tick for tick in MaxNLocator(6, steps=[1, 2, 5]).tick_values(low, high) if low <= tick <= high]
    labels = {tick: f"{100 * tick:.0f}" for tick in ticks}
    if len(finite) < len(values):
        nowhere = low - 0.08 * (high - low)
        low = nowhere - 0.05 * (high - low)
        labels = {nowhere: "none"} | {tick: text for tick, text in labels.items() if tick > nowhere + 0.08}
    axis = ax.xaxis if direction == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(list(labels)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: labels.get(value, "")))
    (ax.set_xlim if direction == "x" else ax.set_ylim)(low, high)
    return nowhere


def _placed(accuracy: pd.Series, nowhere: float) -> np.ndarray:
    values = accuracy.to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, nowhere)


def _crowd(marks: int) -> tuple[float, float]:
    """Size (square points) and opacity with which so many marks stay readable."""
    return float(np.clip(1600 / max(marks, 1), 7, 26)), float(np.clip(200 / max(marks, 1), 0.35, 1.0))


def _fade(lines: int) -> float:
    return float(np.clip(6 / max(lines, 1), 0.45, 1.0))


def _log_ticks(ax: Axes, limits: tuple[float, float]) -> None:
    decades = limits[1] - limits[0]
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if decades > 1.5 else (1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))


def _power(value: float) -> str:
    exponent = round(math.log10(value), 6)
    if exponent == int(exponent):
        return str(int(value)) if 0 <= exponent < 3 else f"$10^{{{int(exponent)}}}$"
    return f"{value:g}" if 0.001 <= value < 10_000 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def _words(name: str) -> str:
    return _plain(str(name).replace("_", " "), 40)


@functools.cache
def _plain(text: str, longest: int = 24) -> str:
    """A name as the picture's font can print it: no mathematics, no glyph that the font lacks, not too long."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    kept = "".join(letter if font.get_char_index(ord(letter)) else "\N{WHITE SQUARE}" for letter in str(text))
    kept = kept if len(kept) <= longest else f"{kept[: longest - 1]}…"
    return kept.replace("$", r"\$")
