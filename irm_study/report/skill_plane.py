"""How runs fail, continued: what each run knows of the shape, and how far it leans on colour.

Every run in the plane of colour reliance B and shape skill S, to which its accuracies come down (`diagnosis.skills`);
and how both moved over the epochs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from irm_study.config import EnvironmentSpec
from irm_study.diagnosis import curves_from_row, reference_levels, skill
from irm_study.report.accuracy import evenly
from irm_study.report.exhibit import Exhibit, empty
from irm_study.report.marks import (
    baseline_marks,
    by_mode,
    crowd,
    fade,
    legend,
    mark_runs,
    mode_handles,
    nothing,
    panels,
    stage_handles,
)
from irm_study.report.runs import runs_of
from irm_study.report.style import FAINT, INK, MODE_COLOURS, MODE_NAMES, NARROW, ZONE, StyledFigure, styled
from irm_study.report.text import plural
from irm_study.results import StudyRecord, baseline_means

LINES, POINTS = 8, 30
"""Runs of a mode whose S and B are drawn over the epochs, and checkpoints of each."""
SHAPES_TOLD = {"mnist": 0.954, "embedded": 0.92}
"""Share of test digits whose shape a network tells that sees no colour: its accuracies were .727 and .71 with a quarter
of the labels wrong (studies/grey-oracle.toml)."""

# The plane


def plane(record: StudyRecord) -> pd.DataFrame:
    """trial, stage, seed, failure_mode, colour_reliance (B), shape_skill (S), memorisation (M), skill_residual: a row
    for each run that has finite accuracies."""
    columns = ["trial", "stage", "seed", "failure_mode", "colour_reliance", "shape_skill", "memorisation",
               "skill_residual"]  # fmt: skip
    runs = runs_of(record)
    if runs.empty:
        return pd.DataFrame(columns=columns)
    return runs.loc[np.isfinite(runs["shape_skill"].astype(float)), columns].reset_index(drop=True)


def _plane_sentence(runs: pd.DataFrame, environments: EnvironmentSpec, digits: str, baselines: pd.DataFrame) -> str:
    outside = runs[runs["failure_mode"] != "invariant"]
    if outside.empty:
        return f"All of {plural(len(runs), 'run')} are in the target zone."
    levels = reference_levels(environments)
    least = _zone_corner(environments)[1]
    unable = int((outside["shape_skill"] < least).sum())
    return (
        f"Of {plural(len(outside), 'run')} outside the zone, {unable} know too little of the shape to be in it with "
        f"any colour reliance (S below {least:.3f}); the best predictor has S = {levels.shape:.2f}. In the median S is "
        f"{outside['shape_skill'].median():.3f} and B {outside['colour_reliance'].median():.3f}."
    )


@styled
def draw_plane(runs: pd.DataFrame, environments: EnvironmentSpec, digits: str, baselines: pd.DataFrame) -> Figure:
    """Every run by B and S, the target zone shaded, lines of equal training and of equal test accuracy.

    runs: as `plane`. digits: their name, by which the grey oracle is marked where it was measured. baselines: as
    `results.baseline_means`; their marks take the place of the oracle's.
    """
    if runs.empty:
        return nothing("no runs with finite accuracies")
    figure = StyledFigure((NARROW, 3.5), layout="constrained")
    ax = figure.subplots()
    levels, flip = reference_levels(environments), environments.mean_flip
    low_b, high_b = min(-0.15, runs["colour_reliance"].min() - 0.05), max(1.05, runs["colour_reliance"].max() + 0.05)
    low_s, high_s = min(0.47, runs["shape_skill"].min() - 0.02), levels.shape + 0.05
    ax.set_xlim(low_b, high_b)
    ax.set_ylim(low_s, high_s)
    for accuracy in np.arange(0.1, 1.0, 0.1):
        for at, style in ((flip, "-"), (environments.test_flip, (0, (2.5, 1.2)))):
            ends = np.array([low_b, high_b])
            ax.plot(ends, accuracy - (0.5 - at) * ends, color=FAINT, linewidth=0.4, linestyle=style, zorder=0.5)
    ax.add_patch(Polygon(_zone(environments, high_b), **ZONE))
    for name, (colour, shape), place in _landmarks(environments, digits if baselines.empty else ""):
        ax.plot(colour, shape, marker="+", color=INK, markersize=7, linestyle="none")
        ax.annotate(name, (colour, shape), place, textcoords="offset points", fontsize=7,
                    ha="left" if place[0] > 0 else "right")  # fmt: skip
    means = baselines[["baseline", "colour_reliance", "shape_skill"]].dropna()
    baseline_marks(ax, means.itertuples(index=False, name=None))
    size, alpha = crowd(len(runs))
    mark_runs(ax, runs[runs["stage"] == "search"], "colour_reliance", "shape_skill", size, filled=False, alpha=alpha)
    mark_runs(ax, runs[runs["stage"] == "confirm"], "colour_reliance", "shape_skill", size, alpha=alpha)
    ax.set_xlabel("colour reliance B")
    ax.set_ylabel("shape skill S")
    legend(figure, [*mode_handles(runs["failure_mode"]), *stage_handles(runs["stage"])], columns=3)
    return figure


def _zone(environments: EnvironmentSpec, high_b: float) -> list[tuple[float, float]]:
    """The corners (B, S) of the target zone, a wedge that opens upwards, as far as accuracies go (S to 1)."""
    levels, flip = reference_levels(environments), environments.mean_flip
    left = (levels.target_train - 1) / (0.5 - flip)
    right = (levels.target_test - 1) / (0.5 - environments.test_flip)
    return [_zone_corner(environments), (left, 1.0), (right, 1.0)]


def _zone_corner(environments: EnvironmentSpec) -> tuple[float, float]:
    """The point (B, S) of the target zone with the least S: where both accuracies are what the zone asks."""
    levels, flip, test = reference_levels(environments), environments.mean_flip, environments.test_flip
    colour = (levels.target_train - levels.target_test) / (test - flip)
    return colour, levels.target_train - (0.5 - flip) * colour


def _landmarks(environments: EnvironmentSpec, digits: str) -> list[tuple[str, tuple[float, float], tuple[int, int]]]:
    """Name, (B, S), and where the name stands (points). Of predictors in the population: one that is constant, one that
    goes by colour alone, as plain risk minimisation nearly does, and the best by shape alone. Measured: a network that
    cannot see colour."""
    levels = reference_levels(environments)
    direction = 1.0 if environments.mean_flip < 0.5 else -1.0
    marks = [
        ("constant", (0.0, 0.5), (5, 3)),
        ("colour alone (ERM)", (direction, 0.5), (-5, -9)),
        ("shape alone", (0.0, levels.shape), (5, 3)),
    ]
    if digits in SHAPES_TOLD:
        noise, told = environments.label_noise, SHAPES_TOLD[digits]
        marks.append(("grey oracle", (0.0, told * (1 - noise) + (1 - told) * noise), (5, -4)))
    return marks


PLANE: Exhibit[StudyRecord] = Exhibit(
    name="skill_plane",
    title="Shape skill and colour reliance",
    shows="Each mark is a run: what it knows of the shape (S, accuracy where colour tells nothing), and how far it "
    "leans on colour (B). Thin lines join runs of equal training (solid) and of equal test accuracy (dashed), ten "
    "points apart; the target zone is shaded.",
    table=lambda record: (
        plane(record),
        record.spec.environments,
        record.spec.digits,
        baseline_means(record.baselines),
    ),
    sentence=_plane_sentence,
    draw=draw_plane,
    narrow=True,
    left_out=empty,
)


# Over the epochs


def skill_curves(record: StudyRecord) -> pd.DataFrame:
    """S and B over the epochs: run (its place among the mode's), failure_mode, n (runs of the mode), quantity (S or B),
    epoch, since_anneal, value; of at most LINES runs a mode and POINTS checkpoints a run, evenly taken."""
    lines = []
    for mode, group in runs_of(record).groupby("failure_mode"):
        rows = group.to_dict("records")
        for index in evenly(len(rows), LINES):
            curves = curves_from_row(rows[index])
            told, kept = skill(curves, record.spec.environments), evenly(len(curves.epoch), POINTS)
            epoch = curves.epoch[kept]
            for quantity, values in (("S", told.shape), ("B", told.colour)):
                line = pd.DataFrame({"epoch": epoch, "value": values[kept]})
                lines.append(
                    line.assign(run=index, failure_mode=mode, n=len(rows), quantity=quantity,
                                since_anneal=epoch - rows[index]["anneal_epoch"])
                )  # fmt: skip
    columns = ["run", "failure_mode", "n", "quantity", "epoch", "since_anneal", "value"]
    table = pd.concat(lines, ignore_index=True) if lines else pd.DataFrame(columns=columns)
    return table.loc[np.isfinite(table["value"].astype(float)), columns].reset_index(drop=True)


def _skill_curves_sentence(lines: pd.DataFrame) -> str:
    last = lines.sort_values("epoch").groupby(["failure_mode", "run", "quantity"])["value"].last().unstack()
    best = lines[lines["quantity"] == "S"].groupby(["failure_mode", "run"])["value"].max()
    lost = int((best - last["S"] > 0.03).sum())
    return f"{lost} of the {plural(len(last), 'run')} shown ended with a shape skill over .03 below their own highest."


@styled
def draw_skill_curves(lines: pd.DataFrame) -> Figure:
    """S (upper row) and B (lower row) over epochs after the anneal epoch, a column for each failure mode.

    lines: as `skill_curves`.
    """
    if lines.empty:
        return nothing("no runs")
    modes = [mode for mode, _ in by_mode(lines)]
    figure, axes = panels(len(modes), min(len(modes), 4), lambda rows: 0.9 + 1.5 * rows)
    for ax, mode in zip(axes, modes, strict=True):
        own = lines[lines["failure_mode"] == mode]
        _quantity(ax, own[own["quantity"] == "S"], MODE_COLOURS[mode], "-")
        _quantity(ax, own[own["quantity"] == "B"], MODE_COLOURS[mode], (0, (2.5, 1.2)))
        ax.axvline(0, color=FAINT, linewidth=0.8, zorder=1.5)
        ax.set_title(f"{MODE_NAMES[mode]} ({own['n'].iloc[0]})", fontsize=7.5)
        ax.set_ylim(-0.3, 1.1)
    figure.supxlabel("epochs after the anneal epoch", fontsize=8)
    figure.supylabel("S (solid), B (dashed)", fontsize=8)
    return figure


def _quantity(ax: Axes, lines: pd.DataFrame, colour: str, style: str | tuple[int, tuple[float, float]]) -> None:
    count = lines["run"].nunique()
    for _, line in lines.groupby("run"):
        ax.plot(line["since_anneal"], line["value"], color=colour, linewidth=0.9, alpha=fade(count), linestyle=style)


SKILL_CURVES: Exhibit[StudyRecord] = Exhibit(
    name="skill_curves",
    title="Shape skill and colour reliance over the epochs",
    shows="S (solid) and B (dashed) of single runs, a panel for each mode in which runs ended.",
    table=lambda record: (skill_curves(record),),
    sentence=_skill_curves_sentence,
    draw=draw_skill_curves,
    left_out=empty,
)


EXHIBITS = (PLANE, SKILL_CURVES)
