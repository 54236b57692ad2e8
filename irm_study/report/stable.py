"""Which configurations are stable: every seed of the leading ones, training against test accuracy.

What fresh seeds show about the winner alone is in `winner`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from irm_study import statistics
from irm_study.diagnosis import ReferenceLevels, reference_levels
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import (
    accuracy_axis,
    baseline_handles,
    baseline_marks,
    crowd,
    legend,
    mark_runs,
    mode_handles,
    nothing,
    placed_at,
    stage_handles,
    tick_handle,
)
from irm_study.report.runs import leading, ranked, runs_of, successes
from irm_study.report.style import (
    BASELINE_STYLES,
    GRID,
    INK,
    NARROW,
    WIDE,
    ZONE,
    StyledFigure,
    styled,
)
from irm_study.report.text import percent, plural, printable
from irm_study.results import StudyRecord, baseline_means, centre_of

SHOWN = {"train_accuracy_min": "train", "test_accuracy": "test"}
"""Columns of the table of runs, and the environments that they stand for here."""

# Every seed of the leading configurations


def seed_points(record: StudyRecord, trials: list[int]) -> pd.DataFrame:
    """Every seed of some configurations: configuration, rank, stage, seed, failure_mode, environment, accuracy.

    environment: `train` (the lowest of the training environments) or `test`.
    """
    long = ranked(record, trials).melt(
        ["configuration", "rank", "stage", "seed", "failure_mode"],
        list(SHOWN),
        "environment",
        "accuracy",
    )
    long["environment"] = long["environment"].map(SHOWN)
    return long.sort_values(["rank", "stage", "seed"], ignore_index=True)


def seed_summary(points: pd.DataFrame) -> pd.DataFrame:
    """Of `seed_points`: configuration, rank, stage, environment, n, successes (in the target zone), iqm, low, high.

    Accuracies that are not finite count as 0.
    """
    rows = []
    for (rank, name, stage, environment), group in points.groupby(
        ["rank", "configuration", "stage", "environment"], sort=True
    ):
        centre, low, high = centre_of(group["accuracy"], statistics.iqm)
        rows.append(
            {"configuration": name, "rank": rank, "stage": stage, "environment": environment, "n": len(group),
             "successes": successes(group), "iqm": centre, "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(
        rows, columns=["configuration", "rank", "stage", "environment", "n", "successes", "iqm", "low", "high"]
    )


def _seeds(record: StudyRecord) -> tuple[pd.DataFrame, pd.DataFrame, ReferenceLevels, pd.DataFrame]:
    points = seed_points(record, leading(record))
    baselines = baseline_means(record.baselines)
    return points, seed_summary(points), reference_levels(record.spec.environments), baselines


def _seeds_shown(record: StudyRecord) -> str:
    levels = reference_levels(record.spec.environments)
    zone = f"training ≥ {percent(levels.target_train)} and test ≥ {percent(levels.target_test)}"
    return (
        "Accuracy at the end of every run of the leading configurations, best first; "
        f"the shade is the target zone ({zone}), the numbers count runs inside it."
    )


def _seeds_sentence(
    points: pd.DataFrame, summary: pd.DataFrame, levels: ReferenceLevels, baselines: pd.DataFrame
) -> str:
    if points.empty:
        return "No configuration is finished."
    first = points[(points["rank"] == 0) & (points["environment"] == "test")]
    finite = first["accuracy"][np.isfinite(first["accuracy"].astype(float))]
    name = first["configuration"].iloc[0]
    if len(first) < 2:
        return f"{name.capitalize()} has one run: its spread over seeds is not known."
    if finite.empty:
        return f"No run of {name} ended with a finite accuracy."
    span = f"{percent(finite.min())} to {percent(finite.max())}"
    both = ", search and fresh," if first["stage"].nunique() > 1 else ""
    close = finite.max() - finite.min() <= 0.1 and len(finite) == len(first)
    return (
        f"The seeds of {name} alone span {span} in test accuracy; {successes(first)} of its {len(first)} runs{both} "
        f"end in the zone. {'They agree within ten points.' if close else 'One run says little.'}"
    )


@styled
def draw_seeds(points: pd.DataFrame, summary: pd.DataFrame, levels: ReferenceLevels, baselines: pd.DataFrame) -> Figure:
    """Every seed of some configurations, in training and in test, with the target zone shaded.

    points: as `seed_points`; summary: as `seed_summary`; baselines: as `results.baseline_means`. Fresh seeds are
    filled, search seeds hollow.
    """
    if points.empty:
        return nothing("no finished configuration")
    names = points.drop_duplicates("rank").sort_values("rank")["configuration"].tolist()
    figure = StyledFigure((WIDE, 1.3 + 0.5 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"train": "training (lowest environment)", "test": "test environment"}
    targets = {"train": levels.target_train, "test": levels.target_test}
    column_of = {environment: column for column, environment in SHOWN.items()}
    for ax, (environment, title) in zip(panels, titles.items(), strict=True):
        own, centres = (table[table["environment"] == environment] for table in (points, summary))
        _seed_panel(
            ax,
            own,
            centres,
            targets[environment],
            dict(zip(baselines["baseline"], baselines[column_of[environment]], strict=True)),
        )
        ax.set_title(title)
        ax.set_xlabel("accuracy at the end (%)")
    panels[1].annotate(
        "in zone", (1.02, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", va="bottom", fontsize=7
    )
    panels[0].set_yticks(range(len(names)), [printable(name) for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for ax in panels:
        ax.grid(False, axis="y")
        for rank in range(1, len(names)):
            ax.axhline(rank - 0.5, color=GRID, linewidth=0.6)
    handles = [*mode_handles(points["failure_mode"]), *stage_handles(points["stage"]), tick_handle("IQM")]
    handles.append(Patch(color=INK, alpha=0.13, linewidth=0, label="its 95% interval"))
    handles.append(Patch(**ZONE, label="target zone"))
    legend(figure, [*handles, *baseline_handles(baselines)])
    return figure


def _seed_panel(
    ax: Axes, points: pd.DataFrame, summary: pd.DataFrame, target: float, baselines: Mapping[str, float]
) -> None:
    nowhere = accuracy_axis(ax, "x", [*points["accuracy"], target, *baselines.values()])
    limits = ax.get_xlim()
    for name, accuracy in baselines.items():
        ax.axvline(accuracy, color=INK, linewidth=1.0, linestyle=BASELINE_STYLES[name], zorder=1)
    ax.axvspan(target, limits[1], **ZONE)
    for (rank, stage), seeds in points.groupby(["rank", "stage"]):
        alone = points.loc[points["rank"] == rank, "stage"].nunique() == 1
        y = rank + (0 if alone else -0.2 if stage == "search" else 0.2)
        # Seeds at three heights: near-equal accuracies stay apart.
        placed = pd.DataFrame(
            {"x": placed_at(seeds["accuracy"], nowhere), "y": y + 0.08 * (np.arange(len(seeds)) % 3 - 1),
             "failure_mode": seeds["failure_mode"]}
        )  # fmt: skip
        size, alpha = crowd(8 * len(seeds))
        mark_runs(ax, placed, "x", "y", size, filled=stage != "search", alpha=max(alpha, 0.6))
        row = summary[(summary["rank"] == rank) & (summary["stage"] == stage)].iloc[0]
        if math.isfinite(row["low"]):
            width = (max(row["low"], limits[0]), row["high"])
            ax.fill_between(width, y - 0.15, y + 0.15, color=INK, alpha=0.13, linewidth=0)
        ax.plot([row["iqm"]] * 2, [y - 0.19, y + 0.19], color=INK, linewidth=1.6, zorder=2.5)
        if row["environment"] == "test":
            text = f"{int(row['successes'])} of {int(row['n'])}"
            ax.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=7)


SEED_STABILITY: Exhibit[StudyRecord] = Exhibit(
    name="seed_stability",
    title="Every seed of the leading configurations",
    shows=_seeds_shown,
    table=_seeds,
    sentence=_seeds_sentence,
    draw=draw_seeds,
)


# Training against test accuracy


def final_accuracies(record: StudyRecord) -> pd.DataFrame:
    """Every run: trial, stage, seed, failure_mode, train (lowest of the training environments), test."""
    runs = runs_of(record).rename(columns={"train_accuracy_min": "train", "test_accuracy": "test"})
    return runs[["trial", "stage", "seed", "failure_mode", "train", "test"]].reset_index(drop=True)


def _trade_off_sentence(runs: pd.DataFrame, levels: ReferenceLevels, baselines: pd.DataFrame) -> str:
    if runs.empty:
        return "No runs."
    beside = "".join(
        f" On the winner's seeds {row.baseline} reaches {percent(row.train_accuracy_min)} in training and "
        f"{percent(row.test_accuracy)} in test (means, n = {row.n})."
        for row in baselines.itertuples()
    )
    return f"{successes(runs)} of {plural(len(runs), 'run')} ended in the target zone.{beside}"


@styled
def draw_trade_off(runs: pd.DataFrame, levels: ReferenceLevels, baselines: pd.DataFrame) -> Figure:
    """Training against test accuracy of every run: the front along which IRM trades the one for the other.

    runs: stage, failure_mode, train (lowest training environment), test. baselines: as `results.baseline_means`.
    """
    if runs.empty:
        return nothing("no runs")
    figure = StyledFigure((NARROW, 3.3), layout="constrained")
    ax = figure.subplots()
    nowhere_x = accuracy_axis(
        ax, "x", [*runs["train"], levels.target_train, levels.shape, *baselines["train_accuracy_min"]]
    )
    nowhere_y = accuracy_axis(ax, "y", [*runs["test"], levels.target_test, levels.shape, *baselines["test_accuracy"]])
    ax.add_patch(Rectangle((levels.target_train, levels.target_test), 1, 1, **ZONE))
    ax.plot(levels.shape, levels.shape, marker="+", color=INK, markersize=8, linestyle="none")
    ax.annotate("shape alone", (levels.shape, levels.shape), (5, 4), textcoords="offset points", fontsize=7)
    placed = runs.assign(x=placed_at(runs["train"], nowhere_x), y=placed_at(runs["test"], nowhere_y))
    size, alpha = crowd(len(runs))
    mark_runs(ax, placed[placed["stage"] == "search"], "x", "y", size, filled=False, alpha=alpha)
    mark_runs(ax, placed[placed["stage"] == "confirm"], "x", "y", size, alpha=alpha)
    baseline_marks(ax, baselines[["baseline", *SHOWN]].itertuples(index=False, name=None))
    ax.set_xlabel("training accuracy, lowest environment (%)")
    ax.set_ylabel("test accuracy (%)")
    legend(figure, [*mode_handles(runs["failure_mode"]), *stage_handles(runs["stage"])], columns=3)
    return figure


TRADE_OFF: Exhibit[StudyRecord] = Exhibit(
    name="trade_off",
    title="Training against test accuracy",
    shows="Each mark is a run. Colour alone sits at the lower right, shape alone at the cross, a constant at 50/50.",
    table=lambda record: (
        final_accuracies(record),
        reference_levels(record.spec.environments),
        baseline_means(record.baselines),
    ),
    sentence=_trade_off_sentence,
    draw=draw_trade_off,
    narrow=True,
)


EXHIBITS = (SEED_STABILITY, TRADE_OFF)
