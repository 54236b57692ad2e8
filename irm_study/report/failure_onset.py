"""How runs fail, continued: since when, whether they recover from a collapse, and what other evidence would say.

`recoveries` is a table without a figure; it stands here with what else is known of when failures begin.
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from irm_study.diagnosis import MODES, collapse_began, collapses, curves_from_row, first_collapse
from irm_study.report.exhibit import Exhibit, empty
from irm_study.report.marks import by_mode, crowd, mark_runs, mode_cells, nothing, rows_axis, strewn
from irm_study.report.runs import runs_of
from irm_study.report.style import FAINT, MODE_NAMES, NARROW, WIDE, StyledFigure, styled
from irm_study.report.text import plural
from irm_study.results import StudyRecord, config_of
from irm_study.statistics import mean_rate

# When failures begin


def onset(record: StudyRecord) -> pd.DataFrame:
    """Every run: trial, stage, seed, failure_mode, since (epoch), since_anneal (epochs after the anneal epoch)."""
    runs = runs_of(record)
    table = runs[["trial", "stage", "seed", "failure_mode"]].assign(since=runs["failure_since"])
    return table.assign(since_anneal=runs["failure_since"] - runs["anneal_epoch"]).reset_index(drop=True)


def _onset_sentence(onset: pd.DataFrame) -> str:
    failed = onset[onset["failure_mode"] != "invariant"]
    if failed.empty:
        return "No run failed." if len(onset) else "No runs."
    before = int((failed["since_anneal"] < 0).sum())
    later = failed.loc[failed["since_anneal"] >= 0, "since_anneal"]
    text = f"{before} of {plural(len(failed), 'failed run')} were in their final mode before the anneal epoch"
    if later.empty:
        return f"{text}."
    return f"{text}; the others entered it {later.median():.0f} epochs after it in the median."


@styled
def draw_onset(onset: pd.DataFrame) -> Figure:
    """Since when each run has been in the mode in which it ended, counted from its anneal epoch.

    onset: as `onset`.
    """
    if onset.empty:
        return nothing("no runs")
    modes = [mode for mode, _ in by_mode(onset)]
    figure = StyledFigure((WIDE, 0.7 + 0.36 * len(modes)), layout="constrained")
    ax = figure.subplots()
    size, alpha = crowd(len(onset))
    for place, mode in enumerate(modes):
        rows = onset[onset["failure_mode"] == mode]
        placed = rows.assign(place=place + strewn(len(rows), few=4))
        mark_runs(ax, placed, "since_anneal", "place", size, alpha=alpha)
    ax.axvline(0, color=FAINT, linewidth=0.8)
    ax.annotate(
        "anneal epoch", (0, 1), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="center", va="bottom", fontsize=7,
    )  # fmt: skip
    counts = onset["failure_mode"].value_counts()
    rows_axis(ax, [f"{MODE_NAMES[mode]} ({counts[mode]})" for mode in modes])
    low, high = onset["since_anneal"].min(), onset["since_anneal"].max()
    pad = max(0.04 * (high - low), 2)
    ax.set_xlim(min(low, 0) - pad, max(high, 0) + pad)
    ax.set_xlabel("in its final mode since (epochs after the anneal epoch)")
    return figure


WHEN_FAILURES_BEGIN: Exhibit[StudyRecord] = Exhibit(
    name="when_failures_begin",
    title="When failures begin",
    shows="For every run, since when it has been in the mode in which it ended.",
    table=lambda record: (onset(record),),
    sentence=_onset_sentence,
    draw=draw_onset,
)


# Verdicts without the test environment


BLIND = {
    "validation": "the validation environment",
    "heldout": "what is held out of the training environments",
    "recoloured": "recoloured training images",
}
"""Evidence sources that do without the test environment."""


def agreement(record: StudyRecord) -> pd.DataFrame:
    """How often runs get the same verdict without the test environment as with it.

    evidence_source (validation | heldout | recoloured), failure_mode (with the test environment),
    failure_mode_by_source, runs.
    """
    runs = runs_of(record)
    rows = []
    for source in BLIND:
        column = f"failure_mode_{source}"
        if column not in runs or not (runs[column] != "").any():
            continue
        counts = runs.groupby(["failure_mode", column]).size()
        rows += [
            {"evidence_source": source, "failure_mode": mode, "failure_mode_by_source": other,
             "runs": int(counts[mode, other])}
            for mode in MODES for other in MODES if (mode, other) in counts.index
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=["evidence_source", "failure_mode", "failure_mode_by_source", "runs"])


def _agreement_sentence(table: pd.DataFrame) -> str:
    sentences = []
    for source, own in table.groupby("evidence_source", sort=False):
        same = int(own.loc[own["failure_mode"] == own["failure_mode_by_source"], "runs"].sum())
        differ = own[own["failure_mode"] != own["failure_mode_by_source"]]
        text = f"From {BLIND[str(source)]}, {same} of {plural(int(own['runs'].sum()), 'run')} get the same verdict"
        if len(differ):
            most = differ.loc[differ["runs"].idxmax()]
            first, second = (MODE_NAMES[most[column]] for column in ("failure_mode", "failure_mode_by_source"))
            text += f"; the commonest difference: {first} called {second}"
        sentences.append(f"{text}.")
    return " ".join(sentences)


@styled
def draw_agreement(table: pd.DataFrame) -> Figure:
    """Verdicts with the test environment (rows) against those without it (columns).

    table: as `agreement`. Agreement lies on the diagonal, framed in the mode's colour.
    """
    if table.empty:
        return nothing("no runs")
    present = set(table["failure_mode"]) | set(table["failure_mode_by_source"])
    modes = [mode for mode in MODE_NAMES if mode in present]
    sources = list(dict.fromkeys(table["evidence_source"]))
    width = max(NARROW, 1.3 + 0.34 * len(modes)) if len(sources) == 1 else WIDE
    figure = StyledFigure((width, max(2.4, 1.5 + 0.24 * len(modes))), layout="constrained")
    axes = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    for ax, source in zip(axes, sources, strict=True):
        counts = table[table["evidence_source"] == source].pivot_table(
            index="failure_mode", columns="failure_mode_by_source", values="runs", aggfunc="sum"
        )
        mode_cells(ax, counts, modes, {mode: mode for mode in modes}, [MODE_NAMES[mode] for mode in modes], frame=1.4)
        ax.set_xlabel(f"verdict from {BLIND[source]}")
    axes[0].set_ylabel("with the test environment")
    return figure


EVIDENCE_SOURCES: Exhibit[StudyRecord] = Exhibit(
    name="evidence_sources",
    title="Verdicts without the test environment",
    shows="The failure mode that each run gets with the test environment (rows), and the one that it would get "
    "without it (columns).",
    table=lambda record: (agreement(record),),
    sentence=_agreement_sentence,
    draw=draw_agreement,
    left_out=empty,
    csv="agreement",
)


# Recoveries


def recoveries(record: StudyRecord) -> pd.DataFrame:
    """Whether runs recover from a collapse: by what collapsed, and of those when it began and the penalty weight.

    A row for each kind of collapse (began: "at any time"), then for each of its beginnings and decades of the penalty
    weight; columns collapsed ("constant": the logits themselves, for which a run is given up; "one class": one is
    predicted by logits that differ, or that draw apart again), began, weight_from, weight_below, configurations, runs
    (that were so for `stopping.COLLAPSED_CHECKPOINTS` checkpoints in a row at the full weight), recovered (at their
    last checkpoint no longer collapsed), share, low, high (mean of the configurations' rates, `mean_rate`). Only of
    runs that are not given up: of others it is not known.
    """
    rows = []
    for run in runs_of(record).to_dict("records"):
        if run["give_up"]:
            continue
        curves, config = curves_from_row(run), config_of(run)
        constant = first_collapse(curves, config, constant=True)
        first = first_collapse(curves, config, constant=False) if constant is None else constant
        if first is not None:
            began = collapse_began(int(curves.epoch[first]), first, config)
            decade = math.floor(math.log10(max(config.penalty_weight, 1.0)))
            recovered = not collapses(curves)[0][-1]
            rows.append(("one class" if constant is None else "constant", began, decade, run["digest"], recovered))
    found = pd.DataFrame(rows, columns=["collapsed", "began", "decade", "digest", "recovered"])
    counts = []
    for kind, own in found.groupby("collapsed"):
        counts.append({"collapsed": kind, "began": "at any time", **_recovered(own)})
        for (began, _), group in own.groupby(["began", "decade"]):
            counts.append({"collapsed": kind, "began": began, **_recovered(group)})
    return pd.DataFrame(counts)


def _recovered(collapsed: pd.DataFrame) -> dict[str, float]:
    """The columns of `recoveries` from weight_from on, of some collapsed runs."""
    rates = collapsed.groupby("digest")["recovered"].mean()
    share, (low, high) = mean_rate(rates)
    return {
        "weight_from": 10.0 ** collapsed["decade"].min(),
        "weight_below": 10.0 ** (collapsed["decade"].max() + 1),
        "configurations": len(rates),
        "runs": len(collapsed),
        "recovered": int(collapsed["recovered"].sum()),
        "share": share,
        "low": low,
        "high": high,
    }


EXHIBITS = (WHEN_FAILURES_BEGIN, EVIDENCE_SOURCES)
TABLES = {"recoveries": recoveries}
"""Tables with files of their own in the study's folder, and no figure."""
