"""Whether to believe the search, continued: what other criteria would have chosen, and how that does on fresh seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from irm_study.diagnosis import CRITERIA, evidence_used
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import face_handles, legend, nothing, rows_axis
from irm_study.report.runs import runs_of, share_of, successes, trials_of
from irm_study.report.style import INK, PAPER, WIDE, StyledFigure, styled
from irm_study.report.text import words
from irm_study.results import StudyRecord, centre_of, choices

REFERENCE = "oracle_min"
"""The score by which choices are compared: what one would have wanted, had the test environment been allowed."""


def regret(record: StudyRecord) -> pd.DataFrame:
    """What each criterion would have chosen, and how that configuration does on fresh seeds; the study's own first.

    criterion, aggregate, evidence_source, trial, n (fresh runs), score, score_low, score_high (mean of oracle_min with
    its bootstrap interval), successes, rate, low, high (Wilson), regret (the best choice's score minus this one's; NaN
    without fresh runs).
    """
    columns = ["criterion", "aggregate", "evidence_source", "trial", "n", "score", "score_low", "score_high",
               "successes", "rate", "low", "high", "regret"]  # fmt: skip
    runs = runs_of(record)
    if runs.empty:
        return pd.DataFrame(columns=columns)
    fresh = record.runs[record.runs["stage"].isin(["confirm", "criterion"])]
    rows = []
    for choice in choices(trials_of(record), runs[runs["stage"] == "search"], record.spec).to_dict("records"):
        own = fresh[fresh["digest"] == choice["digest"]]
        score, low, high = centre_of(own[f"score_{REFERENCE}"], np.mean)
        count = successes(own)
        share = share_of(count, len(own)) if len(own) else dict.fromkeys(("share", "low", "high"), math.nan)
        rows.append(
            {"criterion": choice["criterion"], "aggregate": choice["aggregate"],
             "evidence_source": evidence_used(choice["criterion"]), "trial": int(choice["trial"]), "n": len(own),
             "score": score, "score_low": low, "score_high": high, "successes": count, "rate": share["share"],
             "low": share["low"], "high": share["high"]}
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=columns[:-1])
    return table.assign(regret=table["score"].max() - table["score"])


def _regret_sentence(table: pd.DataFrame) -> str:
    tried = table[table["n"] > 0]
    if tried.empty:
        return "No choice was tried on fresh seeds."
    own = table.iloc[0]
    if own["n"] == 0:
        return f"The study's own choice, trial {own['trial']}, was not tried on fresh seeds."
    text = f"The study's own choice, trial {own['trial']}, has a regret of {100 * own['regret']:.1f} points"
    blind = tried[~tried["criterion"].map(lambda name: CRITERIA[name].is_oracle)]
    if len(blind) and not blind.index.equals(tried.index[:1]):
        best = blind.loc[blind["regret"].idxmin()]
        text += (
            f"; the best choice without the test environment ({words(best['criterion'])}, "
            f"{words(best['aggregate'])}) was trial {best['trial']}, with {100 * best['regret']:.1f}"
        )
    return f"{text}."


@styled
def draw_regret(table: pd.DataFrame) -> Figure:
    """What each criterion's choice scores on fresh seeds, with its 95% bootstrap interval.

    table: as `regret`. Criteria that look at the test environment are filled.
    """
    table = table[table["n"] > 0]
    if table.empty:
        return nothing("no choice was tried on fresh seeds")
    figure = StyledFigure((WIDE, 1.0 + 0.24 * len(table)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(table.to_dict("records")):
        if math.isfinite(row["score_low"]):
            ax.hlines(place, row["score_low"], row["score_high"], color=INK, linewidth=1.1)
        face = INK if CRITERIA[row["criterion"]].is_oracle else PAPER
        ax.scatter(row["score"], place, s=28, facecolor=face, edgecolor=INK, zorder=3)
    rows_axis(ax, [f"{words(row.criterion)}, {words(row.aggregate)}" for row in table.itertuples()])
    _right_axis(ax, [f"trial {row.trial}: {row.successes} of {row.n} in zone" for row in table.itertuples()])
    ax.axvline(table["score"].max(), color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    ax.margins(x=0.06)
    ax.set_xlabel("accuracy on fresh seeds, the lowest of training and test (%)")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
    legend(figure, face_handles(filled="chosen with the test environment", hollow="chosen without it"))
    return figure


def _right_axis(ax: Axes, texts: list[str]) -> None:
    right = ax.twinx()
    right.set_yticks(range(len(texts)), texts)
    right.set_ylim(ax.get_ylim())
    right.tick_params(length=0)
    right.grid(False)
    for side in right.spines.values():
        side.set_visible(False)


def _too_few(table: pd.DataFrame) -> bool:
    return int((table["n"] > 0).sum()) < 2


REGRET: Exhibit[StudyRecord] = Exhibit(
    name="regret",
    title="What other criteria would have chosen",
    shows="Each criterion's choice among this study's complete trials, on fresh seeds: the lowest of its training "
    "and test accuracies, mean with 95% bootstrap interval. The distance to the dashed line is its regret.",
    table=lambda record: (regret(record),),
    sentence=_regret_sentence,
    draw=draw_regret,
    left_out=_too_few,
    csv="regret",
)


EXHIBITS = (REGRET,)
