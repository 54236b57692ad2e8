"""One function per picture: tidy tables in (made by `tables`, intervals included), a matplotlib Figure out.

Nothing is computed here but places on the paper, so a picture can be drawn in a notebook from any
table with the columns that its docstring names. Figures are made without pyplot and leave its state
and the global style alone. What they have in common (one colour, marker and hatch per failure mode,
axes of accuracies, legends) is `drawing`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from irm_study.drawing import (
    FAINT,
    GRID,
    INK,
    MODE_COLOURS,
    MODE_MARKERS,
    MODE_NAMES,
    NARROW,
    PAPER,
    STAGE_SEEDS,
    WIDE,
    ZONE,
    accuracy_axis,
    bar,
    by_mode,
    cells,
    crowd,
    fade,
    legend,
    log_ticks,
    mark_runs,
    mode_bars,
    mode_handles,
    nothing,
    picture,
    placed_at,
    plain,
    power,
    stage_handles,
    widened,
    words,
)
from irm_study.failures import Landmarks

# Which configurations are stable


STAGE_NAMES = {
    "search": "search", "confirm": "confirmation", "criterion": "other criteria", "neighbour": "neighbours",
    "draws": "draws",
}  # fmt: skip


@picture
def seed_stability(points: pd.DataFrame, summary: pd.DataFrame, zones: Landmarks) -> Figure:
    """Every seed of the leading configurations, in training and in test, with the target zone shaded.

    points: configuration, rank, stage (search | confirm), environment (train | test), failure_mode, accuracy.
    summary: configuration, rank, stage, environment, n, successes, iqm, low, high. Fresh seeds are filled, search
    seeds hollow.
    """
    if points.empty:
        return nothing("no finished configuration")
    names = points.drop_duplicates("rank").sort_values("rank")["configuration"].tolist()
    figure = Figure((WIDE, 1.3 + 0.5 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"train": "training (lowest environment)", "test": "test environment"}
    targets = {"train": zones.target_train, "test": zones.target_test}
    for ax, environment in zip(panels, titles, strict=True):
        rows = points[points["environment"] == environment]
        nowhere = accuracy_axis(ax, "x", [*rows["accuracy"], targets[environment]])
        limits = ax.get_xlim()
        ax.axvspan(targets[environment], limits[1], **ZONE)
        for (rank, stage), seeds in rows.groupby(["rank", "stage"]):
            alone = rows.loc[rows["rank"] == rank, "stage"].nunique() == 1
            lane = rank + (0 if alone else -0.2 if stage == "search" else 0.2)
            # Seeds on three tracks of a narrow lane: near-equal accuracies stay apart.
            placed = pd.DataFrame(
                {"x": placed_at(seeds["accuracy"], nowhere), "y": lane + 0.08 * (np.arange(len(seeds)) % 3 - 1),
                 "failure_mode": seeds["failure_mode"]}
            )  # fmt: skip
            size, alpha = crowd(8 * len(seeds))
            mark_runs(ax, placed, "x", "y", size, filled=stage != "search", alpha=max(alpha, 0.6))
            row = summary[
                (summary["rank"] == rank) & (summary["stage"] == stage) & (summary["environment"] == environment)
            ].iloc[0]
            if math.isfinite(row["low"]):
                width = (max(row["low"], limits[0]), row["high"])
                ax.fill_between(width, lane - 0.15, lane + 0.15, color=INK, alpha=0.13, linewidth=0)
            ax.plot([row["iqm"]] * 2, [lane - 0.19, lane + 0.19], color=INK, linewidth=1.6, zorder=2.5)
            if environment == "test":
                text = f"{int(row['successes'])} of {int(row['n'])}"
                ax.annotate(text, (1.02, lane), xycoords=("axes fraction", "data"), va="center", fontsize=7)
        ax.set_title(titles[environment])
        ax.set_xlabel("accuracy at the end (%)")
    panels[1].annotate(
        "in zone", (1.02, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", va="bottom", fontsize=7
    )
    panels[0].set_yticks(range(len(names)), [plain(name) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for ax in panels:
        ax.grid(False, axis="y")
        for rank in range(1, len(names)):
            ax.axhline(rank - 0.5, color=GRID, linewidth=0.6)
    handles = [*mode_handles(points["failure_mode"]), *stage_handles(points["stage"])]
    handles.append(Line2D([], [], color=INK, marker="|", markersize=8, markeredgewidth=1.6, linestyle="none"))
    handles[-1].set_label("IQM")
    handles.append(Patch(color=INK, alpha=0.13, linewidth=0, label="its 95% interval"))
    handles.append(Patch(**ZONE, label="target zone"))
    legend(figure, handles)
    return figure


@picture
def trade_off(runs: pd.DataFrame, zones: Landmarks) -> Figure:
    """Training against test accuracy of every run: the front along which IRM trades the one for the other.

    runs: stage, failure_mode, train (lowest training environment), test.
    """
    if runs.empty:
        return nothing("no runs")
    figure = Figure((NARROW, 3.3), layout="constrained")
    ax = figure.subplots()
    nowhere_x = accuracy_axis(ax, "x", [*runs["train"], zones.target_train, zones.shape])
    nowhere_y = accuracy_axis(ax, "y", [*runs["test"], zones.target_test, zones.shape])
    ax.add_patch(Rectangle((zones.target_train, zones.target_test), 1, 1, **ZONE))
    ax.plot(zones.shape, zones.shape, marker="+", color=INK, markersize=8, linestyle="none")
    ax.annotate("shape alone", (zones.shape, zones.shape), (5, 4), textcoords="offset points", fontsize=7)
    placed = runs.assign(x=placed_at(runs["train"], nowhere_x), y=placed_at(runs["test"], nowhere_y))
    size, alpha = crowd(len(runs))
    mark_runs(ax, placed[placed["stage"] == "search"], "x", "y", size, filled=False, alpha=alpha)
    mark_runs(ax, placed[placed["stage"] == "confirm"], "x", "y", size, alpha=alpha)
    ax.set_xlabel("training accuracy, lowest environment (%)")
    ax.set_ylabel("test accuracy (%)")
    legend(figure, [*mode_handles(runs["failure_mode"]), *stage_handles(runs["stage"])], columns=3)
    return figure


@picture
def performance_profile(profile: pd.DataFrame, zones: Landmarks) -> Figure:
    """Share of a configuration's runs with a test accuracy above a threshold, for every threshold.

    profile: configuration, rank, stage, n, threshold, share, low, high. Bands hold at one threshold at a time.
    """
    if profile.empty:
        return nothing("no finished configuration")
    figure = Figure((NARROW, 2.9), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(zones.target_test, 1, **ZONE)
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
    for rank, rows in profile.groupby("rank"):
        first = rows.iloc[0]
        seeds = f"{first['n']} {STAGE_SEEDS[first['stage']]}"
        # The leading configuration in ink with its interval, the others behind it.
        colour = INK if rank == 0 else FAINT
        if rank == 0:
            ax.fill_between(rows["threshold"], rows["low"], rows["high"], color=INK, alpha=0.12, linewidth=0)
        ax.plot(
            rows["threshold"], rows["share"], color=colour, linestyle=styles[int(rank) % len(styles)],
            linewidth=1.6 if rank == 0 else 1.0, label=f"{plain(first['configuration'])} ({seeds})",
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
    """All runs by failure mode, a bar for the search and one for fresh seeds. counts: stage, failure_mode, runs."""
    if counts.empty:
        return nothing("no runs")
    stages = [stage for stage in ("search", "confirm") if (counts["stage"] == stage).any()]
    figure = Figure((WIDE, 0.6 + 0.36 * len(stages)), layout="constrained")
    ax = figure.subplots()
    mode_bars(ax, [counts[counts["stage"] == stage] for stage in stages])
    totals = counts.groupby("stage")["runs"].sum()
    names = {"search": "search", "confirm": "fresh seeds"}
    ax.set_yticks(range(len(stages)), [f"{names[stage]} ({totals[stage]} runs)" for stage in stages])
    legend(figure, mode_handles(counts["failure_mode"], patches=True), columns=8, above=True)
    return figure


@picture
def curves(lines: pd.DataFrame, bands: pd.DataFrame) -> Figure:
    """Training (solid) and test (dashed) accuracy over epochs of every seed, a panel for each failure mode.

    lines: run, failure_mode, environment (train | test), epoch, since_anneal, anneal_epoch, accuracy, n.
    bands: failure_mode, environment, epoch, since_anneal, low, median, high, n; for modes of many runs, whose
    single lines then fade. Where runs differ in their anneal epoch, the axis counts from it.
    """
    if lines.empty:
        return nothing("no runs")
    anneal = lines["anneal_epoch"].unique()
    axis = "epoch" if len(anneal) == 1 else "since_anneal"
    modes = [mode for mode, _ in by_mode(lines)]
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
            linewidth=0.5 if crowded else 0.9, alpha=0.3 if crowded else fade(own["run"].nunique()),
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
    legend(figure, handles, above=True)
    return figure


@picture
def failure_map(marks: pd.DataFrame) -> Figure:
    """Failure modes over penalty weight and anneal epoch, a panel for each ramp; each trial is a cluster of its seeds.

    marks: trial, penalty_weight, anneal_epoch, ramp, failure_mode, place (0, 1, … within the trial), n.
    """
    if marks.empty:
        return nothing("no runs of the search")
    ramps = sorted(marks["ramp"].unique(), key=str)
    columns = min(len(ramps), 3 if len(ramps) in (3, 5, 6) else 2)
    height = math.ceil(len(ramps) / columns)
    figure = Figure((WIDE, 0.9 + 2.1 * height), layout="constrained")
    panels = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False).ravel()
    weights, epochs = marks["penalty_weight"].astype(float), marks["anneal_epoch"].astype(float)
    # A weight of 0 (ERM) has no logarithm: it stands half a decade below the smallest other.
    floor = weights[weights > 0].min() / math.sqrt(10) if (weights > 0).any() else 1.0
    x = np.log10(weights.clip(lower=floor))
    x_limits = widened(x, 0.07, 0.6 if x.nunique() == 1 else 0.15)
    y_limits = widened(epochs, 0.12, 3)
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
        mark_runs(ax, rows, "x", "y", diameter**2, edge=0.3)
        ax.set_xscale("log")
        ax.set_xlim(10 ** x_limits[0], 10 ** x_limits[1])
        ax.set_ylim(*y_limits)
        trials = rows["trial"].nunique()
        ax.set_title(f"{plain(ramp, 14)} ramp: {trials} {'trial' if trials == 1 else 'trials'}")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        log_ticks(ax, x_limits)
        if (weights == 0).any():
            ax.set_xticks([floor, *[tick for tick in ax.get_xticks() if tick > floor * 2]])
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == floor else power(value)))
    for index, ax in enumerate(panels):
        ax.set_visible(index < len(ramps))
        ax.tick_params(labelbottom=index + columns >= len(ramps))
    figure.supxlabel("penalty weight", fontsize=8)
    figure.supylabel("anneal epoch", fontsize=8)
    legend(figure, mode_handles(marks["failure_mode"]), above=True)
    return figure


@picture
def failure_shares(shares: pd.DataFrame) -> Figure:
    """Share of each failure mode along each searched hyperparameter, with 95% Wilson intervals.

    shares: hyperparameter, bin (0, 1, …), label, low_edge, high_edge (texts; "" where a bin is one value), n,
    failure_mode, share, low, high. Modes that did not occur in a bin are faint.
    """
    if shares.empty:
        return nothing("no runs of the search, or nothing searched")
    names = list(dict.fromkeys(shares["hyperparameter"]))
    columns = min(len(names), 2)
    height = math.ceil(len(names) / columns)
    figure = Figure((WIDE, 0.5 + 1.85 * height), layout="constrained")
    panels = figure.subplots(height, columns, sharey=True, squeeze=False).ravel()
    modes = [mode for mode, _ in by_mode(shares)]
    step = 0.74 / max(len(modes), 1)
    for ax, name in zip(panels, names, strict=False):
        own = shares[shares["hyperparameter"] == name]
        for place, mode in enumerate(modes):
            rows = own[own["failure_mode"] == mode].sort_values("bin")
            x = rows["bin"] + (place - (len(modes) - 1) / 2) * step
            for found, alpha in ((rows["share"] > 0, 1.0), (rows["share"] == 0, 0.3)):
                at, own_rows = x[found], rows[found]
                ax.vlines(at, own_rows["low"], own_rows["high"], color=MODE_COLOURS[mode], linewidth=1.2, alpha=alpha)
                ax.scatter(at, own_rows["share"], s=20, marker=MODE_MARKERS[mode], color=MODE_COLOURS[mode],
                           alpha=alpha, edgecolor=PAPER, linewidth=0.4, zorder=3, clip_on=False)  # fmt: skip
        bins = own.drop_duplicates("bin").sort_values("bin")
        cut = [*bins["low_edge"], bins["high_edge"].iloc[-1]]
        if all(cut):
            ax.set_xticks(np.arange(len(cut)) - 0.5, cut)
        else:
            ax.set_xticks(bins["bin"], [plain(label, 14) for label in bins["label"]])
        if len(bins) > 5:
            ax.tick_params("x", labelsize=6.5, rotation=30)
        for place, n in zip(bins["bin"], bins["n"], strict=True):
            ax.text(place, 1.08, f"n = {n}", ha="center", va="center", fontsize=6.5, color=FAINT)
        ax.set_xlim(-0.5, bins["bin"].max() + 0.5)
        for edge in bins["bin"].iloc[1:]:
            ax.axvline(edge - 0.5, color=GRID, linewidth=0.6)
        ax.grid(False, axis="x")
        ax.set_title(words(name))
        ax.set_ylim(0, 1.14)
        ax.set_yticks(np.linspace(0, 1, 5))
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    figure.supylabel("share of runs (%)", fontsize=8)
    legend(figure, mode_handles(shares["failure_mode"]), above=True)
    return figure


@picture
def when_failures_begin(beginnings: pd.DataFrame) -> Figure:
    """Since when each run has been in the mode in which it ended, counted from its anneal epoch.

    beginnings: failure_mode, stage, since_anneal (epochs).
    """
    if beginnings.empty:
        return nothing("no runs")
    modes = [mode for mode, _ in by_mode(beginnings)]
    figure = Figure((WIDE, 0.7 + 0.36 * len(modes)), layout="constrained")
    ax = figure.subplots()
    size, alpha = crowd(len(beginnings))
    for place, mode in enumerate(modes):
        rows = beginnings[beginnings["failure_mode"] == mode]
        # Multiples of the golden ratio fill the strip evenly, and the same way each time.
        offset = 0.6 * (np.arange(len(rows)) * 0.618 % 1 - 0.5) if len(rows) > 4 else 0
        mark_runs(ax, rows.assign(place=place + offset), "since_anneal", "place", size, alpha=alpha)
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
        return nothing("no finished trial")
    figure = Figure((WIDE, 2.4), layout="constrained")
    ax = figure.subplots()
    best = progress[np.isfinite(progress["best"])]
    ax.plot(best["trial"], best["best"], drawstyle="steps-post", color=INK, linewidth=1.2)
    size, _ = crowd(len(scored))
    complete = scored["state"] == "complete"
    mark_runs(ax, scored[complete], "trial", "value", size, edge=0.4)
    mark_runs(ax, scored[~complete], "trial", "value", size, filled=False)
    ax.set_xlabel("trial")
    ax.set_ylabel(f"objective value ({plain(criterion)})")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.03, y=0.1)
    handles = [*mode_handles(scored["failure_mode"]), Line2D([], [], color=INK, label="best so far")]
    if not complete.all():
        handles.append(stage_handles(["search"])[0])
        handles[-1].set_label("not complete")
    legend(figure, handles)
    return figure


@picture
def search_vs_confirmation(scores: pd.DataFrame, criterion: str) -> Figure:
    """Mean score of each confirmed configuration on the seeds that chose it, and on fresh ones.

    scores: configuration, and for search and fresh: mean score, _low, _high (95% bootstrap interval), _n.
    """
    if scores.empty:
        return nothing("nothing confirmed on fresh seeds")
    figure = Figure((NARROW, 1.15 + 0.42 * len(scores)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(scores.to_dict("records")):
        for prefix, offset, filled in (("search", -0.14, False), ("fresh", 0.14, True)):
            if not math.isfinite(row[prefix]):
                continue
            if math.isfinite(row[f"{prefix}_low"]):
                ax.hlines(place + offset, row[f"{prefix}_low"], row[f"{prefix}_high"], color=INK, linewidth=1.1)
            ax.scatter(row[prefix], place + offset, s=30, facecolor=INK if filled else PAPER, edgecolor=INK, zorder=3)
    names = [f"{plain(row.configuration)}\n{row.search_n} + {row.fresh_n} seeds" for row in scores.itertuples()]
    ax.set_yticks(range(len(scores)), names)
    ax.set_ylim(len(scores) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.margins(x=0.08)
    ax.set_xlabel(f"mean score ({plain(criterion)})")
    handles = [
        Line2D([], [], marker="o", linestyle="none", markerfacecolor=face, markeredgecolor=INK, label=label)
        for face, label in ((PAPER, "search seeds"), (INK, "fresh seeds"))
    ]
    legend(figure, handles)
    return figure


@picture
def importance(table: pd.DataFrame) -> Figure:
    """Share of the objective's variation by hyperparameter. table: hyperparameter, importance, largest first."""
    if table.empty:
        return nothing("too few trials to tell")
    figure = Figure((NARROW, 0.6 + 0.24 * len(table)), layout="constrained")
    ax = figure.subplots()
    named = table.assign(hyperparameter=[words(name) for name in table["hyperparameter"]])
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
        return nothing("no runs")
    total = table.groupby("stage")["seconds"].sum().max()
    unit, name = (1, "seconds") if total < 300 else (60, "minutes") if total < 3 * 3600 else (3600, "hours")
    stages = [stage for stage in STAGE_NAMES if (table["stage"] == stage).any()]
    figure = Figure((WIDE, 1.0 + 0.32 * len(stages)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, column, scale, label in ((panels[0], "runs", 1, "runs"), (panels[1], "seconds", unit, f"time ({name})")):
        left = dict.fromkeys(stages, 0.0)
        for mode, rows in by_mode(table):
            for row in rows.to_dict("records"):
                width = row[column] / scale
                ax.barh(stages.index(row["stage"]), width, left=left[row["stage"]], **bar(mode))
                left[row["stage"]] += width
        ax.set_xlabel(label)
        ax.grid(False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=column == "runs"))
    panels[0].set_yticks(range(len(stages)), [STAGE_NAMES[stage] for stage in stages])
    panels[0].set_ylim(len(stages) - 0.5, -0.5)
    legend(figure, mode_handles(table["failure_mode"], patches=True), above=True)
    return figure


@picture
def confusion(table: pd.DataFrame) -> Figure:
    """How runs made to fail were diagnosed: ways by modes, a panel for each pair of eyes.

    table: way, intended, eyes (test | train), failure_mode, runs. A frame marks the mode that a way was made for.
    """
    if table.empty:
        return nothing("no runs")
    ways = list(dict.fromkeys(table["way"]))
    intended = dict(zip(table["way"], table["intended"], strict=True))
    modes = [mode for mode in MODE_NAMES if (table["failure_mode"] == mode).any() or mode in intended.values()]
    figure = Figure((WIDE, 1.25 + 0.23 * len(ways)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"test": "with the test environment", "train": "from training images alone"}
    for ax, (eyes, title) in zip(panels, titles.items(), strict=True):
        counts = table[table["eyes"] == eyes].pivot_table(index="way", columns="failure_mode", values="runs")
        counts = counts.reindex(index=ways, columns=modes).fillna(0)
        shares = counts.div(counts.sum(axis=1), axis=0).fillna(0)
        texts = counts.map(lambda runs: f"{runs:.0f}" if runs else "")
        cells(ax, shares, texts)
        for row, way in enumerate(ways):
            place = (modes.index(intended[way]), row)
            ax.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=MODE_COLOURS[intended[way]], linewidth=1.6))
        ax.set_xticks(np.arange(len(modes)) + 0.5, [MODE_NAMES[mode] for mode in modes], rotation=45, ha="right")
        ax.set_yticks(np.arange(len(ways)) + 0.5, [plain(way, 40) for way in ways], rotation=0)
        ax.set(xlabel="", ylabel="", title=title)
        ax.grid(False)
        ax.tick_params(length=0)
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
