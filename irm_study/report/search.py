"""Whether to believe the search: its progress, its scores on fresh seeds, what its hyperparameters matter, its cost.

What other criteria would have chosen is in `regret`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import (
    bar,
    by_mode,
    crowd,
    face_handles,
    legend,
    mark_runs,
    mode_handles,
    nothing,
    percent_axis,
    rows_axis,
    stage_handles,
)
from irm_study.report.runs import EVERY_TRIAL, all_runs, commonest, leading, ranked, runs_of, trials_of
from irm_study.report.style import INK, NARROW, PAPER, STAGE_NAMES, WIDE, StyledFigure, styled
from irm_study.report.text import duration, interval, p_text, percent, plural, printable, words
from irm_study.results import StudyRecord, centre_of, epochs_spent
from irm_study.statistics import FEWEST_TRIALS, SIGNIFICANT_ALONG

# Progress of the search


def progress(record: StudyRecord) -> pd.DataFrame:
    """Every trial in order: trial, state, value, best (so far, of the complete ones), failure_mode (the commonest)."""
    trials, runs = trials_of(record), runs_of(record)
    table = trials[["trial", "digest", "state", "value"]].astype({"value": float}).reset_index(drop=True)
    table["best"] = table["value"].where(table["state"] == "complete").cummax().ffill()
    common = runs[runs["stage"] == "search"].groupby("digest")["failure_mode"].agg(commonest)
    table["failure_mode"] = table["digest"].map(common)
    return table.drop(columns="digest")


def _progress_sentence(progress: pd.DataFrame, criterion: str) -> str:
    complete = progress[(progress["state"] == "complete") & progress["value"].notna()]
    if complete.empty:
        return "No trial is finished."
    row = complete.loc[complete["value"].idxmax()]
    after = int((complete["trial"] > row["trial"]).sum())
    equal = int((complete["value"] >= row["value"] - 1e-12).sum())
    if equal > 1:
        return f"The best value, {row['value']:.3f}, is that of {equal} trials, trial {row['trial']} the first of them."
    return (
        f"The best value, {row['value']:.3f}, came with trial {row['trial']}; "
        f"{plural(after, 'later trial')} did not better it."
    )


@styled
def draw_progress(progress: pd.DataFrame, criterion: str) -> Figure:
    """The objective value of every trial, marked by its commonest mode, and the best so far.

    progress: as `progress`.
    """
    scored = progress[np.isfinite(progress["value"].astype(float))]
    if scored.empty:
        return nothing("no finished trial")
    figure = StyledFigure((WIDE, 2.4), layout="constrained")
    ax = figure.subplots()
    best = progress[np.isfinite(progress["best"])]
    ax.plot(best["trial"], best["best"], drawstyle="steps-post", color=INK, linewidth=1.2)
    size, _ = crowd(len(scored))
    complete = scored["state"] == "complete"
    mark_runs(ax, scored[complete], "trial", "value", size, edge=0.4)
    mark_runs(ax, scored[~complete], "trial", "value", size, filled=False)
    ax.set_xlabel("trial")
    ax.set_ylabel(f"objective value ({printable(criterion)})")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.03, y=0.1)
    handles = [*mode_handles(scored["failure_mode"]), Line2D([], [], color=INK, label="best so far")]
    if not complete.all():
        handles.append(stage_handles(["search"])[0])
        handles[-1].set_label("not complete")
    legend(figure, handles)
    return figure


SEARCH_PROGRESS: Exhibit[StudyRecord] = Exhibit(
    name="search_progress",
    title="Progress of the search",
    shows=lambda record: (
        f"The objective value ({record.spec.study.criterion}, {record.spec.study.aggregate} over seeds) of each trial, "
        "marked by the mode most of its runs ended in."
    ),
    table=lambda record: (progress(record), record.spec.study.criterion),
    sentence=_progress_sentence,
    draw=draw_progress,
)


# Search score against confirmation


def search_and_confirmation(record: StudyRecord) -> pd.DataFrame:
    """Each confirmed configuration, best first: configuration, and for `search` and `fresh` seeds the mean score
    with its bootstrap interval and n: search, search_low, search_high, search_n, fresh, …"""
    runs = ranked(record, leading(record, EVERY_TRIAL))
    rows = []
    for (_, name), group in runs.groupby(["rank", "configuration"]):
        if not (group["stage"] == "confirm").any():
            continue
        row: dict[str, Any] = {"configuration": name}
        for prefix, stage in (("search", "search"), ("fresh", "confirm")):
            scores = group.loc[group["stage"] == stage, "score"]
            row[prefix], row[f"{prefix}_low"], row[f"{prefix}_high"] = centre_of(scores, np.mean)
            row[f"{prefix}_n"] = len(scores)
        rows.append(row)
    names = [f"{prefix}{end}" for prefix in ("search", "fresh") for end in ("", "_low", "_high", "_n")]
    return pd.DataFrame(rows, columns=["configuration", *names])


def _confirmation_sentence(scores: pd.DataFrame, criterion: str) -> str:
    if scores.empty:
        return "Nothing has been confirmed: what the search's own seeds promise is not tested."
    row = scores.iloc[0]
    if not math.isfinite(row["search"]):
        return f"{row['configuration'].capitalize()} scored {row['fresh']:.3f} on {row['fresh_n']} fresh seeds."
    return (
        f"The mean score of {row['configuration']} was {row['search']:.3f} on the seeds that chose it "
        f"(n = {row['search_n']}), which is too high on average, and is {row['fresh']:.3f} on fresh seeds "
        f"(n = {row['fresh_n']})."
    )


@styled
def draw_confirmation(scores: pd.DataFrame, criterion: str) -> Figure:
    """Mean score of each confirmed configuration on the seeds that chose it, and on fresh ones.

    scores: as `search_and_confirmation`.
    """
    if scores.empty:
        return nothing("nothing confirmed on fresh seeds")
    figure = StyledFigure((NARROW, 1.15 + 0.42 * len(scores)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(scores.to_dict("records")):
        for prefix, offset, filled in (("search", -0.14, False), ("fresh", 0.14, True)):
            if not math.isfinite(row[prefix]):
                continue
            if math.isfinite(row[f"{prefix}_low"]):
                ax.hlines(place + offset, row[f"{prefix}_low"], row[f"{prefix}_high"], color=INK, linewidth=1.1)
            ax.scatter(row[prefix], place + offset, s=30, facecolor=INK if filled else PAPER, edgecolor=INK, zorder=3)
    rows_axis(
        ax, [f"{printable(row.configuration)}\n{row.search_n} + {row.fresh_n} seeds" for row in scores.itertuples()]
    )
    ax.margins(x=0.08)
    ax.set_xlabel(f"mean score ({printable(criterion)})")
    legend(figure, face_handles(filled="fresh seeds", hollow="search seeds", filled_first=False))
    return figure


SEARCH_VS_CONFIRMATION: Exhibit[StudyRecord] = Exhibit(
    name="search_vs_confirmation",
    title="Search score against confirmation",
    shows="The mean score on the seeds that chose a configuration, and on seeds that the search never saw, "
    "with 95% bootstrap intervals from eight seeds on.",
    table=lambda record: (search_and_confirmation(record), record.spec.study.criterion),
    sentence=_confirmation_sentence,
    draw=draw_confirmation,
    narrow=True,
)


# Importance of the hyperparameters


def importance(record: StudyRecord) -> pd.DataFrame:
    """hyperparameter, importance (share of the objective's variance over the complete trials), low, high, p_value
    (corrected for the number of hyperparameters), the largest share first; trials (how many)."""
    rows = [
        (key, each.share.value, *each.share.interval, each.p_value)
        for key, each in sorted(record.importance.items(), key=lambda item: (-item[1].share.value, item[0]))
    ]
    complete = trials_of(record).query("state == 'complete'")["digest"].nunique()
    table = pd.DataFrame(rows, columns=["hyperparameter", "importance", "low", "high", "p_value"])
    return table.assign(trials=complete)


def _importance_sentence(table: pd.DataFrame) -> str:
    if table.empty:
        return f"Fewer than {FEWEST_TRIALS} finished trials, or nothing searched: nothing is said of importance."
    trials = plural(int(table["trials"].iloc[0]), "trial")
    found = table[table["p_value"] < SIGNIFICANT_ALONG]
    if found.empty:
        least = p_text(table["p_value"].min())
        return f"No hyperparameter is shown to matter, from {trials} (the smallest of {len(table)} is {least})."
    each = ", ".join(
        f"{words(row.hyperparameter)} ({percent(row.importance)}, 95% interval {interval(row.low, row.high)})"
        for row in found.itertuples()
    )
    return f"Shown to matter, from {trials}: {each}."


@styled
def draw_importance(table: pd.DataFrame) -> Figure:
    """Share of the objective's variance by hyperparameter, with its 95% interval. table: as `importance`."""
    if table.empty:
        return nothing("too few trials to tell")
    figure = StyledFigure((NARROW, 0.6 + 0.24 * len(table)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(table.to_dict("records")):
        if math.isfinite(row["low"]):
            ax.hlines(place, row["low"], row["high"], color=INK, linewidth=1.1)
        face = INK if row["p_value"] < SIGNIFICANT_ALONG else PAPER
        ax.scatter(row["importance"], place, s=30, facecolor=face, edgecolor=INK, zorder=3, clip_on=False)
    rows_axis(ax, [words(name) for name in table["hyperparameter"]])
    ax.set_xlim(0, 1)
    percent_axis(ax, "x")
    ax.set_xlabel("share of the objective's variance (%)")
    return figure


IMPORTANCE: Exhibit[StudyRecord] = Exhibit(
    name="importance",
    title="Importance of the hyperparameters",
    shows="How much of the variance of the objective value over the complete trials lies between values of each "
    "hyperparameter, ranges cut at their quartiles: adjusted for what chance gives, each by itself, with a 95% "
    f"interval from leaving out each trial in turn. Filled where p is below {SIGNIFICANT_ALONG}: values are permuted "
    "over the trials, and p is corrected for the number of hyperparameters.",
    table=lambda record: (importance(record),),
    sentence=_importance_sentence,
    draw=draw_importance,
    narrow=True,
)


# Cost


def cost(record: StudyRecord) -> pd.DataFrame:
    """stage, failure_mode, runs, seconds: what was trained, whatever for, and how it ended."""
    table = all_runs(record).groupby(["stage", "failure_mode"]).agg(runs=("seed", "size"), seconds=("seconds", "sum"))
    return table.reset_index()


def savings(record: StudyRecord) -> dict[str, float]:
    """Shares that were not trained: of all runs' epochs those that several runs share (shared) and those after runs
    were stopped or given up (stopped), and of the search's runs those that racing spared (spared)."""
    runs, spec = record.runs, record.spec
    if runs.empty:
        return {"shared": 0.0, "stopped": 0.0, "spared": 0.0}
    epochs = epochs_spent(runs)
    search = runs[runs["stage"] == "search"].groupby("digest").size()
    pruned = record.trials.loc[record.trials["state"] == "pruned", "digest"] if len(record.trials) else []
    spared = sum(max(0, len(spec.study.seed_list) - int(search.get(digest, 0))) for digest in pruned)
    planned = sum(epochs.values())
    return {
        "shared": epochs["shared"] / planned,
        "stopped": epochs["stopped"] / planned,
        "spared": spared / (spared + int(search.sum())) if len(search) else 0.0,
    }


def _cost_sentence(spent: pd.DataFrame, saved: Mapping[str, float]) -> str:
    if spent.empty:
        return "No runs."
    seconds = spent["seconds"].sum()
    lost = spent.loc[spent["failure_mode"] != "invariant", "seconds"].sum()
    share = f"; {percent(lost / seconds)} of the time went into runs that ended outside the zone" if seconds else ""
    return f"{plural(int(spent['runs'].sum()), 'run')}, {duration(seconds)} of computing{share}. {_saved(saved)}"


def _saved(saved: Mapping[str, float]) -> str:
    means = {
        "stopped": "of the epochs by ending runs early",
        "shared": "of the epochs by training once what runs share",
        "spared": "of the search's runs by racing",
    }
    each = [f"{percent(saved[key])} {text}" for key, text in means.items() if saved[key] > 0]
    return f"Saved: {', '.join(each)}." if each else "Nothing was saved by racing or by ending runs early."


@styled
def draw_cost(spent: pd.DataFrame, saved: Mapping[str, float]) -> Figure:
    """Runs and the time they took, by stage and by how they ended.

    spent: as `cost`; saved: for the sentence alone.
    """
    if spent.empty:
        return nothing("no runs")
    total = spent.groupby("stage")["seconds"].sum().max()
    unit, name = (1, "seconds") if total < 300 else (60, "minutes") if total < 3 * 3600 else (3600, "hours")
    stages = [stage for stage in STAGE_NAMES if (spent["stage"] == stage).any()]
    figure = StyledFigure((WIDE, 1.0 + 0.32 * len(stages)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, column, scale, label in ((panels[0], "runs", 1, "runs"), (panels[1], "seconds", unit, f"time ({name})")):
        left = dict.fromkeys(stages, 0.0)
        for mode, rows in by_mode(spent):
            for row in rows.to_dict("records"):
                width = row[column] / scale
                ax.barh(stages.index(row["stage"]), width, left=left[row["stage"]], **bar(mode))
                left[row["stage"]] += width
        ax.set_xlabel(label)
        ax.grid(False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=column == "runs"))
    panels[0].set_yticks(range(len(stages)), [STAGE_NAMES[stage] for stage in stages])
    panels[0].set_ylim(len(stages) - 0.5, -0.5)
    legend(figure, mode_handles(spent["failure_mode"], patches=True), above=True)
    return figure


COST: Exhibit[StudyRecord] = Exhibit(
    name="cost",
    title="Cost",
    shows="Runs and computing time, by how the runs ended.",
    table=lambda record: (cost(record), savings(record)),
    sentence=_cost_sentence,
    draw=draw_cost,
)


EXHIBITS = (SEARCH_PROGRESS, SEARCH_VS_CONFIRMATION, IMPORTANCE, COST)
