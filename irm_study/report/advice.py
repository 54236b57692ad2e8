"""Advice that was tried: how often each failure mode's change made runs better, its table, its sentence and figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from irm_study.diagnosis import FAILURE_MODES, MEASURES, measure_of
from irm_study.files import write_csv
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import legend, nothing, rows_axis, shape_handles
from irm_study.report.style import FAINT, INK, MODE_NAMES, PAPER, WIDE, StyledFigure, styled, write_figure
from irm_study.report.text import plural
from irm_study.results import centre_of, counted
from irm_study.statistics import success_rate

ALL = "all"
"""In the column digits: of all digits together."""
DIFFERENCES = (*MEASURES, "shape_skill", "colour_reliance")
HOLDS = 2 / 3
"""Share of configurations that a change must help for advice to be given, as `diagnosis.Advice.holds` has it."""
MARKERS = ("o", "s", "D", "^")
"""Of digits, in turn."""


def write_advice(folder: Path, pairs: pd.DataFrame) -> pd.DataFrame:
    """Write advice.csv, advice_summary.csv and its figure into a folder; returns the summary. pairs: as
    `study.try_changes` returns them."""
    pairs = with_differences(pairs)
    described = TRIED.describe(pairs)
    table: pd.DataFrame = described.tables[0]
    write_csv(folder / "advice.csv", pairs)
    write_csv(folder / f"{TRIED.csv}.csv", table)
    write_figure(described.figure(), folder, TRIED.name)
    return table


def with_differences(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs with before_ and after_min_accuracy (the lower of training and test accuracy; 0 of a run that
    diverged), and whether the run is better by it, and nearer to the target zone."""
    for when in ("before", "after"):
        accuracies = np.column_stack([counted(pairs[f"{when}_{name}_accuracy"]) for name in ("train", "test")])
        pairs = pairs.assign(**{f"{when}_min_accuracy": accuracies.min(1)})
    return pairs.assign(
        better=pairs["after_min_accuracy"] > pairs["before_min_accuracy"],
        nearer=pairs["after_zone_margin"] > pairs["before_zone_margin"],
    )


def advice_summary(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row for each mode, change and digits, and for all digits together where there are several.

    failure_mode, key, factor, change, digits, configurations, runs, better and nearer (configurations whose runs are it
    in the mean: by the lower of training and test accuracy, and by the distance to the target zone), measure (the
    mode's, as `measure_of`), share (of the configurations that are better by that measure) with its 95% interval low,
    high (Wilson), each of DIFFERENCES (mean over the configurations of after minus before) with its 95% bootstrap
    interval NAME_low, NAME_high, and in_zone (runs in the target zone afterwards). Where S or B is not known of a run,
    it is left out of that mean.
    """
    rows = []
    several = pairs["digits"].nunique() > 1
    for (mode, key, factor, change), own in pairs.groupby(["failure_mode", "key", "factor", "change"], sort=False):
        named = {"failure_mode": mode, "key": key, "factor": factor, "change": change}
        for digits in [*own["digits"].unique(), *[ALL] * several]:
            kept = own if digits == ALL else own[own["digits"] == digits]
            rows.append(named | {"digits": digits} | _numbers(kept, measure_of(str(mode))))
    return pd.DataFrame(rows)


def _numbers(pairs: pd.DataFrame, measure: str) -> dict[str, Any]:
    """Of the pairs of one row of `advice_summary`; the unit of every interval is the configuration."""
    differences = pd.DataFrame({name: pairs[f"after_{name}"] - pairs[f"before_{name}"] for name in DIFFERENCES})
    means = differences.groupby(pairs["digest"]).mean()
    helped = {name: int((means[name] > 0).sum()) for name in MEASURES}
    share, interval = success_rate(helped[measure], len(means))
    numbers: dict[str, Any] = {
        "configurations": len(means), "runs": len(pairs), "better": helped["min_accuracy"],
        "nearer": helped["zone_margin"], "measure": measure, "share": share, "low": interval.low,
        "high": interval.high,
    }  # fmt: skip
    for name in DIFFERENCES:
        value, low, high = centre_of(means[name].dropna(), np.mean)
        numbers |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return numbers | {"in_zone": int((pairs["after_mode"] == "invariant").sum())}


def totals(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `advice_summary` that hold all digits of a change together."""
    return table[table["digits"] == ALL] if (table["digits"] == ALL).any() else table


def _sentence(table: pd.DataFrame) -> str:
    if table.empty:
        return "No runs."
    every = totals(table)
    holding = int((every["share"] >= HOLDS).sum())
    runs = int(every["runs"].sum())
    return (
        f"Of {plural(len(every), 'change')} tried on {plural(runs, 'failing run')}, {holding} helped at least two "
        "thirds of the configurations."
    )


@styled
def draw_advice(table: pd.DataFrame) -> Figure:
    """Which share of configurations each mode's change helped, and by how much, with 95% intervals.

    table: as `advice_summary`. Digits have marks of their own, filled where two thirds or more were helped.
    """
    if table.empty:
        return nothing("no runs")
    own = table[table["digits"] != ALL]
    modes = {mode: place for place, mode in enumerate(FAILURE_MODES)}
    kinds = sorted(
        set(own[["failure_mode", "change"]].itertuples(index=False, name=None)), key=lambda kind: modes[kind[0]]
    )
    digits = list(own["digits"].unique())
    figure = StyledFigure((WIDE, 0.9 + 0.4 * len(kinds)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for row in own.to_dict("records"):
        number = digits.index(row["digits"])
        place = kinds.index((row["failure_mode"], row["change"])) + 0.3 * (number - (len(digits) - 1) / 2)
        face = INK if row["share"] >= HOLDS else PAPER
        for ax, name, low, high in (
            (left, "share", "low", "high"),
            (right, row["measure"], f"{row['measure']}_low", f"{row['measure']}_high"),
        ):
            ax.hlines(place, 100 * row[low], 100 * row[high], color=INK, linewidth=1)
            ax.scatter(100 * row[name], place, s=20, marker=MARKERS[number % len(MARKERS)], facecolor=face,
                       edgecolor=INK, linewidth=0.9, zorder=3)  # fmt: skip
    rows_axis(left, [f"{MODE_NAMES[mode]}:\n{change}" for mode, change in kinds])
    left.axvline(100 * HOLDS, color=FAINT, linewidth=0.8, zorder=1.5)
    right.axvline(0, color=FAINT, linewidth=0.8, zorder=1.5)
    left.set_xlim(-2, 102)
    left.set_xlabel("configurations that it helped (%)")
    right.set_xlabel("mean change (points)")
    legend(figure, shape_handles({name: MARKERS[place % len(MARKERS)] for place, name in enumerate(digits)}))
    return figure


TRIED: Exhibit[pd.DataFrame] = Exhibit(
    name="advice",
    title="Advice that was tried",
    shows="Failing runs, trained again on the same seeds with the one change that their failure mode advises: which "
    "share of configurations it helped, and the mean change, with 95% intervals. By the lower of training and test "
    "accuracy; near-miss and relapsed by the distance to the target zone. Filled where it helped two thirds.",
    table=lambda pairs: (advice_summary(pairs),),
    sentence=_sentence,
    draw=draw_advice,
    csv="advice_summary",
)
