"""How often sides reach the target zone, and how far apart they are: rates, profiles, differences, every seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from irm_study import statistics
from irm_study.comparison.measures import MEASURES, outcomes, pairs
from irm_study.comparison.sides import LONGEST, Side
from irm_study.diagnosis import ReferenceLevels, reference_levels
from irm_study.report import EXHIBITS as STUDY_EXHIBITS
from irm_study.report import (
    FAINT,
    INK,
    NARROW,
    PAPER,
    WIDE,
    Exhibit,
    StyledFigure,
    p_text,
    percent,
    percent_axis,
    plural,
    printable,
    rows_axis,
    seed_summary,
    styled,
)
from irm_study.results import baseline_means, baselines_table, counted
from irm_study.statistics import SIGNIFICANT

# Success rates


def _rates_sentence(outcomes: pd.DataFrame) -> str:
    top = outcomes.loc[outcomes["rate"].idxmax()]
    if top["rate"] == 0:
        return "No run of any configuration reached the target zone."
    return f"The highest is {top['name']}'s, {top['successes']} of {top['n']} ({percent(top['rate'])})."


@styled
def draw_rates(outcomes: pd.DataFrame) -> Figure:
    """Share of each side's runs in the target zone, with its 95% interval.

    outcomes: as `measures.outcomes`. Rates on the seeds of the search are hollow.
    """
    figure = StyledFigure((NARROW, 0.75 + 0.36 * len(outcomes)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(outcomes.itertuples()):
        ax.hlines(place, row.low, row.high, color=INK, linewidth=1.4)
        face = PAPER if row.stage == "search" else INK
        ax.scatter(row.rate, place, s=34, facecolor=face, edgecolor=INK, zorder=3, clip_on=False)
        ax.annotate(
            f"{row.successes} of {row.n}", (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7
        )
    rows_axis(ax, [printable(name, 18) for name in outcomes["name"]])
    ax.set_xlim(0, 1)
    percent_axis(ax, "x")
    ax.set_xlabel("runs in the target zone (%)")
    return figure


SUCCESS_RATES: Exhibit[Sequence[Side]] = Exhibit(
    name="success_rates",
    title="Success rates",
    shows="Share of each configuration's runs that ended in the target zone, with a 95% interval "
    "that holds at any number of seeds and for the best of as many configurations as it was chosen from; hollow "
    "where the seeds are those that chose it.",
    table=lambda sides: (outcomes(sides),),
    sentence=_rates_sentence,
    draw=draw_rates,
    narrow=True,
)


# Performance profile


def profiles(sides: Sequence[Side]) -> pd.DataFrame:
    """Share of a side's runs above each test accuracy: configuration (its name), rank, stage, n, threshold, share, low,
    high."""
    thresholds = np.linspace(0, 1, 101)
    parts = []
    for rank, side in enumerate(sides):
        shares = statistics.performance_profile(counted(side.runs["test_accuracy"]), thresholds)._asdict()
        part = pd.DataFrame(shares | {"threshold": thresholds})
        parts.append(part.assign(configuration=side.name, rank=rank, stage=side.stage, n=len(side.runs)))
    return pd.concat(parts, ignore_index=True)


def _profiles_sentence(profiles: pd.DataFrame, levels: ReferenceLevels) -> str:
    thresholds = profiles["threshold"].unique()
    nearest = thresholds[abs(thresholds - levels.target_test).argmin()]
    at = profiles[profiles["threshold"] == nearest]
    each = ", ".join(f"{row.configuration} {percent(row.share)}" for row in at.itertuples())
    return f"Runs above {percent(nearest)} in test: {each}."


PERFORMANCE_PROFILE: Exhibit[Sequence[Side]] = Exhibit(
    name="performance_profile",
    title="Performance profile",
    shows="How many of a configuration's runs beat each test accuracy; the band is a 95% interval of the first, at "
    "one threshold at a time. A steep line is a stable configuration.",
    table=lambda sides: (profiles(sides), reference_levels(sides[0].environments)),
    sentence=_profiles_sentence,
    draw=STUDY_EXHIBITS["performance_profile"].draw,
    narrow=True,
)


# Differences, pair by pair


def _differences_shown(sides: Sequence[Side]) -> str:
    return (
        "Success rates by Boschloo's test, seeds as if not shared; score and test accuracy run by run on shared "
        f"seeds, by sign flips. 95% intervals of each difference; filled where p, corrected by Holm over all of these "
        f"tests, is below {SIGNIFICANT}."
    )


def _differences_sentence(pairs: pd.DataFrame) -> str:
    parts = []
    for measure, name in MEASURES.items():
        own = pairs[pairs["measure"] == measure]
        tested = own[own["p_holm"].notna()]
        if tested.empty:
            parts.append(f"{name}: no shared seeds")
        else:
            parts.append(f"{name}: {int((tested['p_holm'] < SIGNIFICANT).sum())} of {plural(len(tested), 'pair')}")
    return f"Shown to differ in {'; '.join(parts)}."


@styled
def draw_differences(pairs: pd.DataFrame) -> Figure:
    """What the first of each pair has more than the second, with 95% intervals; filled where p (Holm) is below
    SIGNIFICANT.

    pairs: as `measures.pairs`.
    """
    rows = list(dict.fromkeys(zip(pairs["first"], pairs["second"], strict=True)))
    figure = StyledFigure((WIDE, 0.85 + 0.4 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharex=True, sharey=True)
    reach = max(0.02, float(np.nanmax(np.abs(pairs[["low", "high", "difference"]].to_numpy(dtype=float)))))
    for ax, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        own = pairs[pairs["measure"] == measure].set_index(["first", "second"])
        ax.axvline(0, color=FAINT, linewidth=0.9)
        for place, key in enumerate(rows):
            _difference(ax, place, own.loc[key], paired=measure != "success")
        ax.set_xlim(-1.5 * reach, 1.5 * reach)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.3g}" if value else "0"))
        ax.set_title(title)
        ax.grid(False, axis="y")
    names = [f"{printable(first, LONGEST)}\n− {printable(second, LONGEST)}" for first, second in rows]
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.5, -0.6)
    figure.supxlabel("difference (points), first minus second", fontsize=8)
    return figure


def _difference(ax: Axes, place: int, row: pd.Series, paired: bool) -> None:
    if not math.isfinite(row["difference"]):
        ax.annotate("no shared seeds", (0, place), ha="center", va="center", fontsize=7, color=FAINT)
        return
    ends = [value for value in (row["low"], row["high"], row["difference"]) if math.isfinite(value)]
    ax.hlines(place, min(ends), max(ends), color=INK, linewidth=1.4)
    face = INK if row["p_holm"] < SIGNIFICANT else PAPER
    ax.scatter(row["difference"], place, s=30, facecolor=face, edgecolor=INK, zorder=3)
    n = row["n_first"] if paired else f"{row['n_first']} and {row['n_second']}"
    ax.annotate(
        f"n = {n}, {p_text(row['p_holm'])}", (row["difference"], place), (0, 6), textcoords="offset points",
        ha="center", fontsize=6.5, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


DIFFERENCES: Exhibit[Sequence[Side]] = Exhibit(
    name="differences",
    title="Differences, pair by pair",
    shows=_differences_shown,
    table=lambda sides: (pairs(sides),),
    sentence=_differences_sentence,
    draw=draw_differences,
)


# Every seed


def seed_points(sides: Sequence[Side]) -> pd.DataFrame:
    """Every run of every side: configuration (its name), rank, stage, seed, failure_mode, environment (train: the
    lowest of the training environments | test), accuracy."""
    rows = []
    for rank, side in enumerate(sides):
        for environment, column in (("train", "train_accuracy_min"), ("test", "test_accuracy")):
            own = side.runs[["stage", "seed", "failure_mode"]].assign(accuracy=side.runs[column].astype(float))
            rows.append(own.assign(configuration=side.name, rank=rank, environment=environment))
    return pd.concat(rows, ignore_index=True).sort_values(["rank", "stage", "seed"], ignore_index=True)


def _seeds(sides: Sequence[Side]) -> tuple[pd.DataFrame, pd.DataFrame, ReferenceLevels, pd.DataFrame]:
    """The last table is of baselines: several sides have none in common."""
    points = seed_points(sides)
    return points, seed_summary(points), reference_levels(sides[0].environments), baseline_means(baselines_table())


def _seeds_shown(sides: Sequence[Side]) -> str:
    levels = reference_levels(sides[0].environments)
    alike = all(side.environments == sides[0].environments for side in sides)
    zone = f"training ≥ {percent(levels.target_train)}, test ≥ {percent(levels.target_test)}"
    whose = "" if alike else f", of {sides[0].name}"
    return (
        f"Accuracy at the end of every run; the shade is the target zone ({zone}{whose}), the numbers count runs "
        "inside it."
    )


def _seeds_sentence(
    points: pd.DataFrame, summary: pd.DataFrame, levels: ReferenceLevels, baselines: pd.DataFrame
) -> str:
    test = points[points["environment"] == "test"].assign(accuracy=lambda each: each["accuracy"].fillna(0.0))
    spread = test.groupby("configuration", sort=False)["accuracy"].agg(["min", "max"])
    each = ", ".join(f"{name} {100 * row['min']:.0f} to {percent(row['max'])}" for name, row in spread.iterrows())
    return f"Test accuracy over seeds: {each}."


SEED_STABILITY: Exhibit[Sequence[Side]] = Exhibit(
    name="seed_stability",
    title="Every seed",
    shows=_seeds_shown,
    table=_seeds,
    sentence=_seeds_sentence,
    draw=STUDY_EXHIBITS["seed_stability"].draw,
)


EXHIBITS = (SUCCESS_RATES, PERFORMANCE_PROFILE, DIFFERENCES, SEED_STABILITY)
