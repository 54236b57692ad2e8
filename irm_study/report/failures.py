"""How runs fail: all runs by failure mode, and the training curves that led there.

Where in the search space runs fail is in `failure_regions`; since when, and how sure the verdict is, in
`failure_onset`.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from irm_study.diagnosis import EXPLANATIONS
from irm_study.report.accuracy import LINES, accuracy_curves, evenly, quantile_band
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import (
    by_mode,
    curve_handles,
    fade,
    legend,
    mode_bars,
    mode_handles,
    nothing,
    panels,
    percent_axis,
)
from irm_study.report.runs import runs_of, share_of
from irm_study.report.style import FAINT, INK, LINE_STYLES, MODE_COLOURS, MODE_NAMES, WIDE, StyledFigure, styled
from irm_study.report.text import percent, plural
from irm_study.results import StudyRecord, mode_counts

# All runs by how they ended


def modes_by_stage(record: StudyRecord) -> pd.DataFrame:
    """stage (search | confirm), failure_mode, runs, share, low, high: a row for each mode that occurs in the stage."""
    rows = []
    for stage, runs in runs_of(record).groupby("stage", sort=False):
        for mode, count in mode_counts(runs).items():
            rows.append({"stage": stage, "failure_mode": mode, "runs": count, **share_of(count, len(runs))})
    return pd.DataFrame(rows, columns=["stage", "failure_mode", "runs", "share", "low", "high"])


def _modes_sentence(counts: pd.DataFrame) -> str:
    search = counts[counts["stage"] == "search"]
    if search.empty:
        return "No runs of the search."
    failed = search[search["failure_mode"] != "invariant"].sort_values("runs", ascending=False, kind="stable")
    total = int(search["runs"].sum())
    if failed.empty:
        return f"All {total} runs of the search ended in the target zone."
    row = failed.iloc[0]
    return (
        f"The commonest failure in the search is {MODE_NAMES[row['failure_mode']]}: {row['runs']} of "
        f"{plural(total, 'run')} ({percent(row['share'])}). "
        f"{EXPLANATIONS[row['failure_mode']]}"
    )


@styled
def draw_modes(counts: pd.DataFrame) -> Figure:
    """All runs by failure mode, a bar for the search and one for fresh seeds. counts: as `modes_by_stage`."""
    if counts.empty:
        return nothing("no runs")
    stages = [stage for stage in ("search", "confirm") if (counts["stage"] == stage).any()]
    shown = counts["failure_mode"].nunique()
    figure = StyledFigure((WIDE, 0.45 + 0.36 * len(stages) + 0.17 * math.ceil(shown / 5)), layout="constrained")
    ax = figure.subplots()
    mode_bars(ax, [counts[counts["stage"] == stage] for stage in stages])
    totals = counts.groupby("stage")["runs"].sum()
    names = {"search": "search", "confirm": "fresh seeds"}
    ax.set_yticks(range(len(stages)), [f"{names[stage]} ({totals[stage]} runs)" for stage in stages])
    legend(figure, mode_handles(counts["failure_mode"], patches=True), columns=5, above=True)
    return figure


MODE_BAR: Exhibit[StudyRecord] = Exhibit(
    name="mode_bar",
    title="All runs by how they ended",
    shows="Every run, by the first failure mode whose rule applies at its end.",
    table=lambda record: (modes_by_stage(record),),
    sentence=_modes_sentence,
    draw=draw_modes,
)


# Training curves of every seed


def curves(record: StudyRecord) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy over epochs of every run, as single lines and as quantile bands of each mode.

    lines: run (its place among the mode's), failure_mode, environment (train: mean over training environments, or
    test), epoch, accuracy, of at most LINES runs a mode, evenly taken. bands (of modes with more runs): failure_mode,
    environment, epoch, low, median, high (quantiles .1, .5, .9), where at least half of the mode's runs were measured.
    Both have `since_anneal`, epochs after the run's anneal epoch, which is the axis on which runs of
    different anneal epochs agree; `anneal_epoch` is the run's (lines only) and `n` the runs of the mode.
    """
    runs = runs_of(record)
    lines, bands = [], []
    shared = runs["anneal_epoch"].nunique() <= 1
    for mode, group in runs.groupby("failure_mode"):
        measured = [accuracy_curves(run) for run in group.to_dict("records")]
        for index in evenly(len(measured), LINES):
            run = measured[index]
            for environment in ("train", "test"):
                line = pd.DataFrame({"epoch": run["epoch"], "accuracy": run[environment]})
                line["since_anneal"] = run["epoch"] - run["anneal_epoch"]
                lines.append(
                    line.assign(run=index, failure_mode=mode, environment=environment,
                                anneal_epoch=run["anneal_epoch"], n=len(measured))
                )  # fmt: skip
        if len(measured) > LINES:
            for environment in ("train", "test"):
                bands.append(quantile_band(measured, environment, shared).assign(failure_mode=mode, n=len(measured)))
    columns = ["failure_mode", "environment", "epoch", "since_anneal", "n"]
    return (
        pd.concat(lines, ignore_index=True) if lines else pd.DataFrame(columns=[*columns, "run", "accuracy"]),
        pd.concat(bands, ignore_index=True) if bands else pd.DataFrame(columns=[*columns, "low", "median", "high"]),
    )


def _curves_shown(record: StudyRecord) -> str:
    crowded = (runs_of(record)["failure_mode"].value_counts() > LINES).any()
    ending = f"; {LINES} single runs and the quantiles of all where there are more." if crowded else "."
    return f"Training accuracy (solid) and test accuracy (dashed), a panel for each mode in which runs ended{ending}"


def _curves_sentence(lines: pd.DataFrame, bands: pd.DataFrame) -> str:
    if lines.empty:
        return "No runs."
    modes = lines["failure_mode"].nunique()
    if modes == 1:
        return f"All runs ended {MODE_NAMES[lines['failure_mode'].iloc[0]]}."
    epochs = lines["anneal_epoch"].nunique()
    aligned = "The axis counts from each run's anneal epoch. " if epochs > 1 else ""
    return f"{aligned}{modes} different endings; compare where the panels part from each other."


@styled
def draw_curves(lines: pd.DataFrame, bands: pd.DataFrame) -> Figure:
    """Training (solid) and test (dashed) accuracy over epochs of every seed, a panel for each failure mode.

    lines, bands: as `curves`; where a mode has a band, its single lines fade. Where runs differ in their anneal epoch,
    the axis counts from it.
    """
    if lines.empty:
        return nothing("no runs")
    anneal = lines["anneal_epoch"].unique()
    axis = "epoch" if len(anneal) == 1 else "since_anneal"
    modes = [mode for mode, _ in by_mode(lines)]
    columns = min(len(modes), 4 if len(modes) > 6 else 3)
    figure, axes = panels(len(modes), columns, lambda rows: 0.75 + 1.65 * rows if rows > 1 else 2.6)
    for ax, mode in zip(axes, modes, strict=True):
        own, band = lines[lines["failure_mode"] == mode], bands[bands["failure_mode"] == mode]
        _mode_curves(ax, own, band, axis, MODE_COLOURS[mode])
        ax.axvline(float(anneal[0]) if axis == "epoch" else 0, color=FAINT, linewidth=0.8, zorder=1.5)
        count = int(own["n"].iloc[0])
        ax.set_title(f"{MODE_NAMES[mode]}: {count} {'run' if count == 1 else 'runs'}")
        ax.set_xlabel("")
        ax.set_ylabel("")
        ax.set_ylim(0, 1)
        percent_axis(ax, "y")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supxlabel("epoch" if axis == "epoch" else "epochs after the anneal epoch", fontsize=8)
    figure.supylabel("accuracy (%)", fontsize=8)
    handles = curve_handles()
    if len(bands):
        handles.append(Patch(color=FAINT, alpha=0.3, linewidth=0, label="median, middle 80% of runs"))
    legend(figure, handles, above=True)
    return figure


def _mode_curves(ax: Axes, lines: pd.DataFrame, band: pd.DataFrame, axis: str, colour: str) -> None:
    crowded = len(band) > 0
    sns.lineplot(
        lines[np.isfinite(lines["accuracy"])], x=axis, y="accuracy", units="run", style="environment",
        style_order=["train", "test"], dashes={"train": "", "test": LINE_STYLES["test"][1]}, estimator=None,
        color=colour, ax=ax, legend=False, sort=False, linewidth=0.5 if crowded else 0.9,
        alpha=0.3 if crowded else fade(lines["run"].nunique()),
    )  # fmt: skip
    for environment, rows in band.groupby("environment"):
        ax.fill_between(rows[axis], rows["low"], rows["high"], color=colour, alpha=0.25, linewidth=0)
        ax.plot(rows[axis], rows["median"], color=INK, linewidth=1.2, linestyle=LINE_STYLES[environment])


CURVES: Exhibit[StudyRecord] = Exhibit(
    name="curves",
    title="Training curves of every seed",
    shows=_curves_shown,
    table=curves,
    sentence=_curves_sentence,
    draw=draw_curves,
)


EXHIBITS = (MODE_BAR, CURVES)
