"""Which configurations are stable: every seed of the leading ones, training against test accuracy, profiles.

What fresh seeds show about the winner alone is in `winner`.
"""

from __future__ import annotations

import math

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
    crowd,
    legend,
    mark_runs,
    mode_handles,
    nothing,
    percent_axis,
    placed_at,
    stage_handles,
    tick_handle,
)
from irm_study.report.runs import leading, ranked, runs_of, successes
from irm_study.report.style import FAINT, GRID, INK, NARROW, STAGE_SEEDS, WIDE, ZONE, StyledFigure, styled
from irm_study.report.text import interval, percent, plural, printable
from irm_study.results import StudyRecord, centre_of, counted

# Every seed of the leading configurations


def seed_points(record: StudyRecord, trials: list[int]) -> pd.DataFrame:
    """Every seed of some configurations: configuration, rank, stage, seed, failure_mode, environment, accuracy.

    environment: `train` (the lowest of the training environments) or `test`.
    """
    long = ranked(record, trials).melt(
        ["configuration", "rank", "stage", "seed", "failure_mode"],
        ["train_accuracy_min", "test_accuracy"],
        "environment",
        "accuracy",
    )
    long["environment"] = long["environment"].map({"train_accuracy_min": "train", "test_accuracy": "test"})
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


def _seeds(record: StudyRecord) -> tuple[pd.DataFrame, pd.DataFrame, ReferenceLevels]:
    points = seed_points(record, leading(record))
    return points, seed_summary(points), reference_levels(record.spec.environments)


def _seeds_shown(record: StudyRecord) -> str:
    levels = reference_levels(record.spec.environments)
    zone = f"training ≥ {percent(levels.target_train)} and test ≥ {percent(levels.target_test)}"
    return (
        "Accuracy at the end of every run of the leading configurations, best first; "
        f"the shade is the target zone ({zone}), the numbers count runs inside it."
    )


def _seeds_sentence(points: pd.DataFrame, summary: pd.DataFrame, levels: ReferenceLevels) -> str:
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
def draw_seeds(points: pd.DataFrame, summary: pd.DataFrame, levels: ReferenceLevels) -> Figure:
    """Every seed of some configurations, in training and in test, with the target zone shaded.

    points: as `seed_points`; summary: as `seed_summary`. Fresh seeds are filled, search seeds hollow.
    """
    if points.empty:
        return nothing("no finished configuration")
    names = points.drop_duplicates("rank").sort_values("rank")["configuration"].tolist()
    figure = StyledFigure((WIDE, 1.3 + 0.5 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"train": "training (lowest environment)", "test": "test environment"}
    targets = {"train": levels.target_train, "test": levels.target_test}
    for ax, (environment, title) in zip(panels, titles.items(), strict=True):
        own, centres = (table[table["environment"] == environment] for table in (points, summary))
        _seed_panel(ax, own, centres, targets[environment])
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
    legend(figure, handles)
    return figure


def _seed_panel(ax: Axes, points: pd.DataFrame, summary: pd.DataFrame, target: float) -> None:
    nowhere = accuracy_axis(ax, "x", [*points["accuracy"], target])
    limits = ax.get_xlim()
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


def _trade_off_sentence(runs: pd.DataFrame, levels: ReferenceLevels) -> str:
    if runs.empty:
        return "No runs."
    return f"{successes(runs)} of {plural(len(runs), 'run')} ended in the target zone."


@styled
def draw_trade_off(runs: pd.DataFrame, levels: ReferenceLevels) -> Figure:
    """Training against test accuracy of every run: the front along which IRM trades the one for the other.

    runs: stage, failure_mode, train (lowest training environment), test.
    """
    if runs.empty:
        return nothing("no runs")
    figure = StyledFigure((NARROW, 3.3), layout="constrained")
    ax = figure.subplots()
    nowhere_x = accuracy_axis(ax, "x", [*runs["train"], levels.target_train, levels.shape])
    nowhere_y = accuracy_axis(ax, "y", [*runs["test"], levels.target_test, levels.shape])
    ax.add_patch(Rectangle((levels.target_train, levels.target_test), 1, 1, **ZONE))
    ax.plot(levels.shape, levels.shape, marker="+", color=INK, markersize=8, linestyle="none")
    ax.annotate("shape alone", (levels.shape, levels.shape), (5, 4), textcoords="offset points", fontsize=7)
    placed = runs.assign(x=placed_at(runs["train"], nowhere_x), y=placed_at(runs["test"], nowhere_y))
    size, alpha = crowd(len(runs))
    mark_runs(ax, placed[placed["stage"] == "search"], "x", "y", size, filled=False, alpha=alpha)
    mark_runs(ax, placed[placed["stage"] == "confirm"], "x", "y", size, alpha=alpha)
    ax.set_xlabel("training accuracy, lowest environment (%)")
    ax.set_ylabel("test accuracy (%)")
    legend(figure, [*mode_handles(runs["failure_mode"]), *stage_handles(runs["stage"])], columns=3)
    return figure


TRADE_OFF: Exhibit[StudyRecord] = Exhibit(
    name="trade_off",
    title="Training against test accuracy",
    shows="Each mark is a run. Colour alone sits at the lower right, shape alone at the cross, a constant at 50/50.",
    table=lambda record: (final_accuracies(record), reference_levels(record.spec.environments)),
    sentence=_trade_off_sentence,
    draw=draw_trade_off,
    narrow=True,
)


# Performance profile


def profile(record: StudyRecord, trials: list[int]) -> pd.DataFrame:
    """Share of runs above a test accuracy: configuration, rank, stage, n, threshold, share, low, high.

    Of fresh seeds where a configuration has them, of its search seeds where not (stage says which).
    """
    thresholds = np.linspace(0, 1, 101)
    tables = []
    for (rank, name), group in ranked(record, trials).groupby(["rank", "configuration"]):
        stage = "confirm" if (group["stage"] == "confirm").any() else "search"
        accuracy = counted(group.loc[group["stage"] == stage, "test_accuracy"])
        shares = statistics.performance_profile(accuracy, thresholds)._asdict() | {"threshold": thresholds}
        tables.append(pd.DataFrame(shares).assign(configuration=name, rank=rank, stage=stage, n=len(accuracy)))
    columns = ["configuration", "rank", "stage", "n", "threshold", "share", "low", "high"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _profile_sentence(profile: pd.DataFrame, levels: ReferenceLevels) -> str:
    if profile.empty:
        return "No configuration is finished."
    own = profile[profile["rank"] == 0]
    row = own.iloc[int((own["threshold"] - levels.target_test).abs().argmin())]
    seeds = plural(int(row["n"]), f"{'fresh' if row['stage'] == 'confirm' else 'search'} seed")
    return (
        f"{percent(row['share'])} of {row['configuration']}'s runs ({seeds}) exceed {percent(levels.target_test)} in "
        f"test; 95% interval {interval(row['low'], row['high'])}."
    )


@styled
def draw_profile(profile: pd.DataFrame, levels: ReferenceLevels) -> Figure:
    """Share of a configuration's runs with a test accuracy above a threshold, for every threshold.

    profile: as `profile`. Bands hold at one threshold at a time.
    """
    if profile.empty:
        return nothing("no finished configuration")
    figure = StyledFigure((NARROW, 2.9), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(levels.target_test, 1, **ZONE)
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
            linewidth=1.6 if rank == 0 else 1.0, label=f"{printable(first['configuration'])} ({seeds})",
            drawstyle="steps-post", zorder=3 if rank == 0 else 2,
        )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.02, 1.02)
    percent_axis(ax, "x")
    percent_axis(ax, "y")
    ax.set_xlabel("test accuracy (%)")
    ax.set_ylabel("runs above it (%)")
    figure.legend(loc="outside lower center", ncols=1)
    return figure


PERFORMANCE_PROFILE: Exhibit[StudyRecord] = Exhibit(
    name="performance_profile",
    title="Performance profile",
    shows="How many of a configuration's runs beat each test accuracy; the band is a 95% interval of the first, "
    "at one threshold at a time. A steep line is a stable configuration.",
    table=lambda record: (profile(record, leading(record)[:4]), reference_levels(record.spec.environments)),
    sentence=_profile_sentence,
    draw=draw_profile,
    narrow=True,
)


EXHIBITS = (SEED_STABILITY, TRADE_OFF, PERFORMANCE_PROFILE)
