"""How runs fail, continued: where in the search space, by penalty weight and anneal epoch, by each hyperparameter."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from irm_study.diagnosis import MODES
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import (
    by_mode,
    legend,
    log_ticks,
    mark_runs,
    mode_handles,
    nothing,
    panels,
    percent_axis,
    power,
    widened,
)
from irm_study.report.runs import runs_of, share_of
from irm_study.report.style import FAINT, GRID, MODE_COLOURS, MODE_MARKERS, MODE_NAMES, PAPER, WIDE, styled
from irm_study.report.text import percent, plural, printable, short, words
from irm_study.results import StudyRecord

BINS = 4
"""Into how many bins a searched number is cut."""

# Failure map


def map_marks(record: StudyRecord) -> pd.DataFrame:
    """Every run of the search: trial, penalty_weight, anneal_epoch (epochs), ramp, failure_mode, place, n.

    place: 0, 1, … among the trial's n runs, those of one mode beside each other.
    """
    runs = runs_of(record)
    runs = runs[runs["stage"] == "search"][["trial", "penalty_weight", "anneal_epoch", "ramp", "failure_mode"]]
    runs = runs.sort_values(["trial", "failure_mode"], ignore_index=True)
    runs["place"] = runs.groupby("trial").cumcount()
    runs["n"] = runs.groupby("trial")["place"].transform("size")
    return runs


def _map_sentence(marks: pd.DataFrame) -> str:
    if marks.empty:
        return "No runs of the search."
    medians = marks.groupby("failure_mode")["penalty_weight"].median()
    shown = [mode for mode in ("erm_like", "invariant", "collapsed") if mode in medians]
    mixed = int((marks.groupby("trial")["failure_mode"].nunique() > 1).sum())
    trials = marks["trial"].nunique()
    text = f"In {mixed} of {plural(trials, 'trial')} the seed alone changed how a run ended."
    if len(shown) > 1 and marks["penalty_weight"].nunique() > 1:
        each = ", ".join(f"{MODE_NAMES[mode]} {short(medians[mode])}" for mode in shown)
        text += f" Median penalty weight of runs that ended {each}."
    return text


@styled
def draw_map(marks: pd.DataFrame) -> Figure:
    """Failure modes over penalty weight and anneal epoch, a panel for each ramp; each trial is a cluster of its seeds.

    marks: as `map_marks`.
    """
    if marks.empty:
        return nothing("no runs of the search")
    ramps = sorted(marks["ramp"].unique(), key=str)
    columns = min(len(ramps), 3 if len(ramps) in (3, 5, 6) else 2)
    figure, axes = panels(len(ramps), columns, lambda rows: 0.9 + 2.1 * rows)
    weights, epochs = marks["penalty_weight"].astype(float), marks["anneal_epoch"].astype(float)
    # A weight of 0 (ERM) has no logarithm: it stands half a decade below the smallest other.
    floor = weights[weights > 0].min() / math.sqrt(10) if (weights > 0).any() else 1.0
    x = np.log10(weights.clip(lower=floor))
    x_limits = widened(x, 0.07, 0.6 if x.nunique() == 1 else 0.15)
    y_limits = widened(epochs, 0.12, 3)
    diameter = float(np.clip(42 / math.sqrt(max(marks["trial"].nunique(), 1)), 2.2, 5.5))
    right, up = _spiral(marks, diameter)
    panel_points = (72 * (WIDE - 0.8) / columns, 72 * 1.75)
    placed = marks.assign(
        x=10 ** (x + right * (x_limits[1] - x_limits[0]) / panel_points[0]),
        y=epochs + up * (y_limits[1] - y_limits[0]) / panel_points[1],
    )
    for ax, ramp in zip(axes, ramps, strict=True):
        rows = placed[placed["ramp"] == ramp]
        mark_runs(ax, rows, "x", "y", diameter**2, edge=0.3)
        ax.set_xscale("log")
        ax.set_xlim(10 ** x_limits[0], 10 ** x_limits[1])
        ax.set_ylim(*y_limits)
        trials = rows["trial"].nunique()
        ax.set_title(f"{printable(ramp, 14)} ramp: {trials} {'trial' if trials == 1 else 'trials'}")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        log_ticks(ax, x_limits)
        if (weights == 0).any():
            _tick_zero(ax, floor)
    figure.supxlabel("penalty weight", fontsize=8)
    figure.supylabel("anneal epoch", fontsize=8)
    legend(figure, mode_handles(marks["failure_mode"]), above=True)
    return figure


def _spiral(marks: pd.DataFrame, diameter: float) -> tuple[pd.Series, pd.Series]:
    """Within a trial, seeds lie on a sunflower's spiral, a mark's breadth apart: points to the right, and up."""
    distance = diameter * 0.72 * np.sqrt(marks["place"] + (marks["n"] > 1) * 0.5) * (marks["n"] > 1)
    turn = marks["place"] * math.pi * (3 - math.sqrt(5))
    return distance * np.cos(turn), distance * np.sin(turn)


def _tick_zero(ax: Axes, floor: float) -> None:
    ax.set_xticks([floor, *[tick for tick in ax.get_xticks() if tick > floor * 2]])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == floor else power(value)))


FAILURE_MAP: Exhibit[StudyRecord] = Exhibit(
    name="failure_map",
    title="Failure map",
    shows="Where in (penalty weight, anneal epoch) runs end how. Each cluster is a trial, each mark one of its "
    "seeds: a cluster of one colour is a configuration whose outcome the seed does not change.",
    table=lambda record: (map_marks(record),),
    sentence=_map_sentence,
    draw=draw_map,
)


# Failure modes along each hyperparameter


def failure_shares(record: StudyRecord) -> pd.DataFrame:
    """Share of each mode along each searched hyperparameter, over the runs of the search.

    hyperparameter, bin (0, 1, …), label, low_edge, high_edge (texts), n, failure_mode, runs, share, low, high.
    Numbers are cut at their quantiles into BINS bins, choices and numbers of few values stay as they are (their
    edges are "").
    """
    runs = runs_of(record)
    runs = runs[runs["stage"] == "search"]
    present = [mode for mode in MODES if (runs["failure_mode"] == mode).any()]
    rows = []
    for key in record.spec.search:
        if key not in runs or runs.empty:
            continue
        bins, labels = _bins(runs[key])
        for index, (label, low_edge, high_edge) in enumerate(labels):
            modes = runs.loc[bins == index, "failure_mode"]
            for mode in present:
                count = int((modes == mode).sum())
                rows.append(
                    {"hyperparameter": key, "bin": index, "label": label, "low_edge": low_edge,
                     "high_edge": high_edge, "n": len(modes), "failure_mode": mode, "runs": count,
                     **share_of(count, len(modes))}
                )  # fmt: skip
    columns = ["hyperparameter", "bin", "label", "low_edge", "high_edge", "n", "failure_mode", "runs"]
    return pd.DataFrame(rows, columns=[*columns, "share", "low", "high"])


def _bins(values: pd.Series) -> tuple[np.ndarray, list[tuple[str, str, str]]]:
    """The bin of each value (-1 where there is none), and of each bin the label and the edges."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    distinct = sorted(values.dropna().unique(), key=None if numeric else str)
    if not numeric or len(distinct) <= BINS:
        index = {value: place for place, value in enumerate(distinct)}
        labels = [(short(value), "", "") for value in distinct]
        return np.array([index.get(value, -1) for value in values]), labels
    # Quantiles of the distinct values: every trial counts once, however many seeds it has.
    edges = np.unique(np.quantile(np.array(distinct, dtype=float), np.linspace(0, 1, BINS + 1)))
    bins = np.clip(np.searchsorted(edges, values.to_numpy(dtype=float), side="right") - 1, 0, len(edges) - 2)
    texts = [short(edge) for edge in edges]
    return bins, [(f"{low}–{high}", low, high) for low, high in itertools.pairwise(texts)]


def _shares_sentence(shares: pd.DataFrame) -> str:
    own = shares[shares["failure_mode"] == "invariant"]
    spans = own.groupby("hyperparameter")["share"].agg(lambda share: share.max() - share.min())
    if spans.empty or spans.max() == 0:
        return "No bin has more invariant runs than another." if len(shares) else "Nothing to compare."
    name = spans.idxmax()
    rows = own[own["hyperparameter"] == name]
    worst, best = rows.loc[rows["share"].idxmin()], rows.loc[rows["share"].idxmax()]
    apart = worst["high"] < best["low"]
    return (
        f"Invariant runs vary most along {words(name)}: {percent(worst['share'])} at {worst['label']}, "
        f"{percent(best['share'])} at {best['label']}; "
        + ("the intervals do not overlap." if apart else "the intervals overlap, so this may be chance.")
    )


@styled
def draw_shares(shares: pd.DataFrame) -> Figure:
    """Share of each failure mode along each searched hyperparameter, with 95% Wilson intervals.

    shares: as `failure_shares`. Modes that did not occur in a bin are faint.
    """
    if shares.empty:
        return nothing("no runs of the search, or nothing searched")
    names = list(dict.fromkeys(shares["hyperparameter"]))
    figure, axes = panels(len(names), min(len(names), 2), lambda rows: 0.5 + 1.85 * rows, share_x=False)
    modes = [mode for mode, _ in by_mode(shares)]
    for ax, name in zip(axes, names, strict=True):
        own = shares[shares["hyperparameter"] == name]
        _share_marks(ax, own, modes)
        _bin_axis(ax, own.drop_duplicates("bin").sort_values("bin"))
        ax.set_title(words(name))
        ax.set_ylim(0, 1.14)
        ax.set_yticks(np.linspace(0, 1, 5))
        percent_axis(ax, "y")
    figure.supylabel("share of runs (%)", fontsize=8)
    legend(figure, mode_handles(shares["failure_mode"]), above=True)
    return figure


def _share_marks(ax: Axes, shares: pd.DataFrame, modes: list[str]) -> None:
    step = 0.74 / max(len(modes), 1)
    for place, mode in enumerate(modes):
        rows = shares[shares["failure_mode"] == mode].sort_values("bin")
        x = rows["bin"] + (place - (len(modes) - 1) / 2) * step
        for occurs, alpha in ((rows["share"] > 0, 1.0), (rows["share"] == 0, 0.3)):
            at, own = x[occurs], rows[occurs]
            ax.vlines(at, own["low"], own["high"], color=MODE_COLOURS[mode], linewidth=1.2, alpha=alpha)
            ax.scatter(at, own["share"], s=20, marker=MODE_MARKERS[mode], color=MODE_COLOURS[mode],
                       alpha=alpha, edgecolor=PAPER, linewidth=0.4, zorder=3, clip_on=False)  # fmt: skip


def _bin_axis(ax: Axes, bins: pd.DataFrame) -> None:
    """bins: a row for each bin, in order. Numbers have their edges between the bins, choices their names below."""
    cut = [*bins["low_edge"], bins["high_edge"].iloc[-1]]
    if all(cut):
        ax.set_xticks(np.arange(len(cut)) - 0.5, cut)
    else:
        ax.set_xticks(bins["bin"], [printable(label, 14) for label in bins["label"]])
    if len(bins) > 5:
        ax.tick_params("x", labelsize=6.5, rotation=30)
    for place, n in zip(bins["bin"], bins["n"], strict=True):
        ax.text(place, 1.08, f"n = {n}", ha="center", va="center", fontsize=6.5, color=FAINT)
    ax.set_xlim(-0.5, bins["bin"].max() + 0.5)
    for edge in bins["bin"].iloc[1:]:
        ax.axvline(edge - 0.5, color=GRID, linewidth=0.6)
    ax.grid(False, axis="x")


FAILURE_SHARES: Exhibit[StudyRecord] = Exhibit(
    name="failure_shares",
    title="Failure modes along each hyperparameter",
    shows="Share of the search's runs in each mode, numbers cut at their quantiles, with 95% Wilson intervals. "
    "Seeds of a trial are not independent and the sampler favours good regions, so true intervals are wider.",
    table=lambda record: (failure_shares(record),),
    sentence=_shares_sentence,
    draw=draw_shares,
)


EXHIBITS = (FAILURE_MAP, FAILURE_SHARES)
