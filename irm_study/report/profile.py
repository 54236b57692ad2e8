"""Which configurations are stable, continued: the share of a configuration's runs that beat each accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from irm_study import statistics
from irm_study.diagnosis import ReferenceLevels, reference_levels
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import nothing, percent_axis
from irm_study.report.runs import leading, ranked
from irm_study.report.style import FAINT, INK, NARROW, STAGE_SEEDS, ZONE, StyledFigure, styled
from irm_study.report.text import interval, percent, plural, printable
from irm_study.results import StudyRecord, counted


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


EXHIBITS = (PERFORMANCE_PROFILE,)
