"""Whether to believe the search, continued: what other criteria would have chosen, and how that does on fresh seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from irm_study import statistics
from irm_study.diagnosis import CRITERIA, evidence_used
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import face_handles, legend, nothing, rows_axis
from irm_study.report.runs import runs_of, share_of, successes, trials_of
from irm_study.report.style import INK, PAPER, WIDE, StyledFigure, styled
from irm_study.report.text import p_text, words
from irm_study.results import StudyRecord, centre_of, choices

REFERENCE = "zone_margin"
"""The score by which choices are compared: what one would have wanted, had the test environment been allowed."""


def regret(record: StudyRecord) -> pd.DataFrame:
    """What each criterion would have chosen, and how that configuration does on fresh seeds; the study's own first.

    criterion, aggregate, evidence_source, trial, n (fresh runs), score, score_low, score_high (mean distance to the
    target zone with its bootstrap interval), successes, rate, low, high (Wilson), regret (the best choice's
    score minus this one's; NaN without fresh runs), regret_low, regret_high (its 95% bootstrap interval over the seeds
    that both have), p_value (that the best of the choices is better than this one by chance alone, on the seeds that
    all of them have; NaN without such seeds).
    """
    columns = ["criterion", "aggregate", "evidence_source", "trial", "n", "score", "score_low", "score_high",
               "successes", "rate", "low", "high", "regret", "regret_low", "regret_high", "p_value"]  # fmt: skip
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
    table = pd.DataFrame(rows, columns=columns[:-4])
    if not table["score"].notna().any():
        return table.assign(**dict.fromkeys(columns[-4:], math.nan))
    best = table.loc[table["score"].idxmax()]
    digests = trials_of(record).set_index("trial")["digest"]
    scores = {trial: _reference(fresh, digests[trial]) for trial in table["trial"]}
    lost = [(scores[best["trial"]] - scores[trial]).dropna() for trial in table["trial"]]
    lows, highs = zip(*(centre_of(each, np.mean)[1:] for each in lost), strict=True)
    table = table.assign(regret=best["score"] - table["score"], regret_low=lows, regret_high=highs)
    return table.assign(p_value=table["trial"].map(_p_values(fresh[fresh["trial"].isin(table["trial"])])).astype(float))


def _reference(fresh: pd.DataFrame, digest: str) -> pd.Series:
    """A configuration's REFERENCE scores on fresh seeds, by seed."""
    own = fresh[fresh["digest"] == digest].drop_duplicates("seed").set_index("seed")[f"score_{REFERENCE}"]
    return own.astype(float)


def _p_values(fresh: pd.DataFrame) -> dict[int, float]:
    """Of each trial: that the best of all is better than it by chance alone. fresh: their runs on fresh seeds."""
    scores = fresh.pivot_table(index="trial", columns="seed", values=f"score_{REFERENCE}").dropna(axis="columns")
    if min(scores.shape) < 2:
        return {}
    values = scores.to_numpy(dtype=float)
    return {
        int(trial): statistics.best_of_several(values, place, np.random.default_rng(0))
        for place, trial in enumerate(scores.index)
    }


def _regret_sentence(table: pd.DataFrame) -> str:
    tried = table[table["n"] > 0]
    if tried.empty:
        return "No choice was tried on fresh seeds."
    own = table.iloc[0]
    if own["n"] == 0:
        return f"The study's own choice, trial {own['trial']}, was not tried on fresh seeds."
    text = f"The study's own choice, trial {own['trial']}, has a regret of {_points(own)}"
    if own["regret"] > 0 and math.isfinite(own["p_value"]):
        shown = own["p_value"] < statistics.SIGNIFICANT
        several = f"what the best of {tried['trial'].nunique()} gives by chance ({p_text(own['p_value'])})"
        text += f", {'more than' if shown else 'not shown to be more than'} {several}"
    blind = tried[~tried["criterion"].map(lambda name: CRITERIA[name].is_oracle)]
    if len(blind) and not blind.index.equals(tried.index[:1]):
        best = blind.loc[blind["regret"].idxmin()]
        text += (
            f"; the best choice without the test environment ({words(best['criterion'])}, "
            f"{words(best['aggregate'])}) was trial {best['trial']}, with {_points(best)}"
        )
    return f"{text}."


def _points(row: pd.Series) -> str:
    text = f"{100 * row['regret']:.1f} points"
    if row["regret"] == 0 or not math.isfinite(row["regret_low"]):
        return text
    return f"{text} (95% interval {100 * row['regret_low']:.1f} to {100 * row['regret_high']:.1f}, paired by seed)"


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
    ax.set_xlabel("distance to the target zone on fresh seeds, inside above 0 (points)")
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
    shows="Each criterion's choice among this study's complete trials, on fresh seeds: its distance "
    "to the target zone, mean with 95% bootstrap interval. The distance to the dashed line is its regret.",
    table=lambda record: (regret(record),),
    sentence=_regret_sentence,
    draw=draw_regret,
    left_out=_too_few,
    csv="regret",
)


EXHIBITS = (REGRET,)
