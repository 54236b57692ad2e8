"""How runs fail, continued: how often, along each searched hyperparameter. Over two of them at once: `failure_map`."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from irm_study.diagnosis import MODES
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import by_mode, legend, mode_handles, nothing, panels, percent_axis
from irm_study.report.runs import runs_of, share_of, trials_of
from irm_study.report.searched import Searched, places, searched
from irm_study.report.style import FAINT, GRID, MODE_COLOURS, MODE_MARKERS, PAPER, WIDE, styled
from irm_study.report.text import ASLANT, distinct_names, p_text, percent, plural, short, tick_names, words
from irm_study.results import StudyRecord, along
from irm_study.statistics import SIGNIFICANT_ALONG

BINS = 4
"""Into how many bins a range is cut."""

# Failure modes along each hyperparameter


def failure_shares(record: StudyRecord) -> pd.DataFrame:
    """Share of each mode along each searched hyperparameter, over the runs of the search to which it applies.

    hyperparameter, bin (0, 1, …), label, low_edge, high_edge (texts), n, without_it (runs to which the hyperparameter
    does not apply, which are in no bin), failure_mode, runs, share, low, high, p_value (of: the trials' shares of
    invariant runs have nothing to do with the hyperparameter; corrected for how many there are). A range is cut at its
    values' quantiles into BINS bins at most; each choice that was tried is a bin of its own, in the declared order (its
    edges are "").
    """
    runs = runs_of(record)
    runs = runs[runs["stage"] == "search"]
    present = [mode for mode in MODES if (runs["failure_mode"] == mode).any()]
    p_values = _p_values(record, runs)
    rows = []
    for key, each in searched(record).items():
        if key not in runs or runs.empty:
            continue
        placed = places(record, runs, each)
        bins, labels = _bins(placed, each)
        for index, (label, low_edge, high_edge) in enumerate(labels):
            modes = runs.loc[bins == index, "failure_mode"]
            for mode in present:
                count = int((modes == mode).sum())
                rows.append(
                    {"hyperparameter": key, "bin": index, "label": label, "low_edge": low_edge,
                     "high_edge": high_edge, "n": len(modes), "without_it": int(np.isnan(placed).sum()),
                     "failure_mode": mode, "runs": count, **share_of(count, len(modes)),
                     "p_value": p_values.get(key, 1.0)}
                )  # fmt: skip
    columns = ["hyperparameter", "bin", "label", "low_edge", "high_edge", "n", "without_it", "failure_mode", "runs"]
    return pd.DataFrame(rows, columns=[*columns, "share", "low", "high", "p_value"])


def _p_values(record: StudyRecord, runs: pd.DataFrame) -> dict[str, float]:
    """runs: of the search."""
    invariant = (runs["failure_mode"] == "invariant").groupby(runs["digest"]).mean()
    trials = trials_of(record).drop_duplicates("digest")
    trials = trials[trials["digest"].isin(invariant.index)]
    if trials.empty:
        return {}
    outcome = trials["digest"].map(invariant).to_numpy(dtype=float)
    return {key: each.p_value for key, each in along(trials, outcome, record.spec).items()}


def _bins(placed: np.ndarray, each: Searched) -> tuple[np.ndarray, list[tuple[str, str, str]]]:
    """The bin of each place (-1 where there is none), and of each bin the label and the edges."""
    distinct = np.unique(placed[~np.isnan(placed)])
    if each.choices:
        names = distinct_names(each.choices)
        bins = np.where(np.isnan(placed), -1, np.searchsorted(distinct, placed))
        return bins, [(names[int(place)], "", "") for place in distinct]
    if len(distinct) == 0:
        return np.full(len(placed), -1), []
    # Quantiles of the distinct values: every trial counts once, however many seeds it has.
    edges = np.quantile(distinct, np.linspace(0, 1, min(BINS, len(distinct)) + 1))
    bins = np.clip(np.searchsorted(edges, placed, side="right") - 1, 0, len(edges) - 2)
    texts = [short(10**edge if each.log else edge) for edge in edges]
    return np.where(np.isnan(placed), -1, bins), [
        (f"{low}–{high}", low, high) for low, high in itertools.pairwise(texts)
    ]


def _shares_sentence(shares: pd.DataFrame) -> str:
    own = shares[shares["failure_mode"] == "invariant"]
    if own.empty or own["share"].nunique() == 1:
        same = "No bin has more invariant runs than another." if len(shares) else "Nothing to compare."
        return same + _without(shares)
    name = own.loc[own["p_value"].idxmin(), "hyperparameter"]
    rows = own[own["hyperparameter"] == name]
    worst, best = rows.loc[rows["share"].idxmin()], rows.loc[rows["share"].idxmax()]
    p_value = f"{p_text(worst['p_value'])}, trials permuted"
    if worst["p_value"] >= SIGNIFICANT_ALONG:
        return f"No hyperparameter is shown to change how many runs are invariant ({p_value})." + _without(shares)
    return (
        f"Invariant runs go with {words(name)}: {percent(worst['share'])} at {worst['label']}, "
        f"{percent(best['share'])} at {best['label']} ({p_value})." + _without(shares)
    )


def _without(shares: pd.DataFrame) -> str:
    """Which hyperparameters do not apply to how many runs, as sentences."""
    counts = shares.drop_duplicates("hyperparameter").set_index("hyperparameter")["without_it"]
    each = [f"{words(key)} does not apply to {plural(int(n), 'run')}" for key, n in counts.items() if n]
    return f" {', '.join(each).capitalize()}." if each else ""


@styled
def draw_shares(shares: pd.DataFrame) -> Figure:
    """Share of each failure mode along each searched hyperparameter, with 95% Wilson intervals.

    shares: as `failure_shares`. Modes that did not occur in a bin are faint.
    """
    if shares.empty:
        return nothing("no runs of the search, or nothing searched")
    names = list(dict.fromkeys(shares["hyperparameter"]))
    columns = min(len(names), 2)
    length = 72 * (WIDE - 0.8) / columns
    bins = {name: own.drop_duplicates("bin").sort_values("bin") for name, own in shares.groupby("hyperparameter")}
    below = max(_room_below(each, length) for each in bins.values())
    figure, axes = panels(len(names), columns, lambda rows: 0.5 + (1.85 + below) * rows, share_x=False)
    modes = [mode for mode, _ in by_mode(shares)]
    for ax, name in zip(axes, names, strict=True):
        own = shares[shares["hyperparameter"] == name]
        _share_marks(ax, own, modes)
        _bin_axis(ax, bins[name], length)
        silent = int(own["without_it"].iloc[0])
        ax.set_title(f"{words(name)} (not in {plural(silent, 'run')})" if silent else words(name))
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


def _room_below(bins: pd.DataFrame, length: float) -> float:
    """Inches that names below an axis of so many points take, beyond a line of them."""
    names, aslant = tick_names(bins["label"].tolist(), length / len(bins))
    return 0.8 if aslant else 0.12 * max(name.count("\n") for name in names)


def _bin_axis(ax: Axes, bins: pd.DataFrame, length: float) -> None:
    """bins: a row for each bin, in order; length: of the axis, in points. Numbers have their edges between the bins,
    choices their names below."""
    room = length / len(bins)
    cut = [*bins["low_edge"], bins["high_edge"].iloc[-1]]
    if all(cut):
        ax.set_xticks(np.arange(len(cut)) - 0.5, cut)
    else:
        names, aslant = tick_names(bins["label"].tolist(), room)
        ax.set_xticks(bins["bin"], names, **(ASLANT if aslant else {}))
    for place, n in zip(bins["bin"], bins["n"], strict=True):
        text = f"n = {n}" if room > 38 else str(n)
        if room > 16:
            ax.text(place, 1.08, text, ha="center", va="center", fontsize=6.5, color=FAINT)
    ax.set_xlim(-0.5, bins["bin"].max() + 0.5)
    for edge in bins["bin"].iloc[1:]:
        ax.axvline(edge - 0.5, color=GRID, linewidth=0.6)
    ax.grid(False, axis="x")


FAILURE_SHARES: Exhibit[StudyRecord] = Exhibit(
    name="failure_shares",
    title="Failure modes along each hyperparameter",
    shows="Share of the search's runs in each mode, ranges cut at their quantiles, with 95% Wilson intervals. "
    "Seeds of a trial are not independent and the sampler favours good regions, so true intervals are wider; the "
    "sentence counts each trial once.",
    table=lambda record: (failure_shares(record),),
    sentence=_shares_sentence,
    draw=draw_shares,
)


EXHIBITS = (FAILURE_SHARES,)
