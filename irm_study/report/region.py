"""Which configurations are stable, continued: the region, ranges of hyperparameters in which runs succeed, with proof.

How it is found is `irm_study.region`'s. A study that was not asked for one has no such exhibit on its page.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from irm_study.config import Range, StudyRegion, is_whole
from irm_study.region import along, fitted, part, proof_runs, proven
from irm_study.report.exhibit import Exhibit, empty
from irm_study.report.marks import legend, log_ticks, mark_runs, mode_handles, nothing, panels, percent_axis
from irm_study.report.runs import all_runs, successes
from irm_study.report.searched import Searched, places, searched
from irm_study.report.style import FAINT, INK, PAPER, WIDE, ZONE, styled
from irm_study.report.text import ASLANT, distinct_names, interval, percent, plural, tick_names, words
from irm_study.results import StudyRecord

COLUMNS = 3
"""Panels side by side."""
ABOVE, BELOW = 1.1, -0.1
"""Where the proof's runs stand: those in the target zone, and the others."""

Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[Searched], StudyRegion | None]


def sides(record: StudyRecord) -> pd.DataFrame:
    """The region along each searched hyperparameter, and how its proof went: in all, and with each choice.

    hyperparameter ("" for the whole region), choice ("" of a range), low, high (of the region; NaN of choices),
    searched_low, searched_high, share (of what was searched; of a choice 1 inside the region and 0 outside), n and
    successes (of the proof's runs), rate, rate_low, rate_high (as `region.proven`). Empty where there is no region.
    """
    columns = ["hyperparameter", "choice", "low", "high", "searched_low", "searched_high", "share", "n", "successes",
               "rate", "rate_low", "rate_high"]  # fmt: skip
    if record.region is None:
        return pd.DataFrame(columns=columns)
    box, proof = record.region.box, _proof(record)
    no_ends = (math.nan,) * 4
    attempt = record.region.found.attempt
    rows = [("", "", *no_ends, record.region.found.share, *_rate(proof, attempt))]
    for key, each in searched(record).items():
        own = box[key]
        if isinstance(own, Range) and isinstance(each.entry, Range):
            ends = (own.low, own.last, each.entry.low, each.entry.last)
            rows.append((key, "", *ends, part(key, own, each.entry), *_rate(proof, attempt)))
            continue
        where = places(record, proof, each)
        for index, name in enumerate(distinct_names(each.choices)):
            inside = float(each.choices[index] in box_choices(own))
            rows.append((key, name, *no_ends, inside, *_rate(proof[where == index], attempt)))
    return pd.DataFrame(rows, columns=columns)


def box_choices(side: Range | tuple[Any, ...]) -> tuple[Any, ...]:
    return () if isinstance(side, Range) else side


def _proof(record: StudyRecord) -> pd.DataFrame:
    runs = all_runs(record)
    return runs.iloc[:0] if record.region is None else proof_runs(record.spec, record.region, runs)


def _rate(runs: pd.DataFrame, attempt: int) -> tuple[int, int, float, float, float]:
    rate, interval = proven(successes(runs), len(runs), attempt)
    return len(runs), successes(runs), rate, interval.low, interval.high


def _tables(record: StudyRecord) -> Tables:
    """`sides`; what is predicted, as `region.along` with x (a place of `Searched`); the proof's runs once for each
    hyperparameter that acts: hyperparameter, x, failure_mode; the hyperparameters that vary; the region."""
    known = [each for each in searched(record).values() if each.varies]
    region, proof = record.region, _proof(record)
    columns = ["hyperparameter", "x", "failure_mode"]
    marks = []
    for row in proof.to_dict("records"):
        acting = record.spec.acting({key: each.value(row[key]) for key, each in searched(record).items()})
        marks += [(each.key, each.place(row[each.key]), row["failure_mode"]) for each in known if each.key in acting]
    return sides(record), _predicted(record), pd.DataFrame(marks, columns=columns), known, region


def _predicted(record: StudyRecord) -> pd.DataFrame:
    predict = None if record.region is None else fitted(record.spec, record.runs, record.region.found)
    if record.region is None or predict is None or not record.spec.search:
        return pd.DataFrame(columns=["hyperparameter", "x", "inside", "mean", "low", "high"])
    slices, known = along(record.spec, record.region.box, predict), searched(record)
    x = [_x(known[row.hyperparameter], row.place) for row in slices.itertuples()]
    return slices.assign(x=x)


def _x(each: Searched, where: float) -> float:
    """A place in [0, 1] of a range as `Searched.place` has it; a choice's is the same in both."""
    if not isinstance(each.entry, Range):
        return where
    low, high = each.place(each.entry.low), each.place(each.entry.last)
    return low + where * (high - low)


# In words


def _sentence(
    table: pd.DataFrame, slices: pd.DataFrame, marks: pd.DataFrame, known: list[Searched], region: StudyRegion | None
) -> str:
    assert region is not None
    found, whole = region.found, table.iloc[0]
    text = (
        f"{percent_of(found.share)} of the search space, grown around trial {found.trial}. Over "
        f"{plural(found.configurations, 'configuration')}, each predicted from others, the model has a mean log loss "
        f"of {found.loss:.2f} nats a run; the success rate alone, {found.successes} of {plural(found.runs, 'run')}, "
        f"has {found.base_loss:.2f}. "
    )
    if not whole["n"]:
        return f"{text}Not proven yet."
    text += (
        f"Proof: {whole['successes']} of {plural(int(whole['n']), 'configuration')} drawn from the region, a fresh "
        f"seed each, ended in the target zone ({percent(whole['rate'])}, 95% interval "
        f"{interval(whole['rate_low'], whole['rate_high'])}{_corrected(found.attempt)}); "
    )
    if whole["rate_low"] > found.rate:
        text += f"that is more than the {percent(found.rate)} asked for."
    elif whole["rate_high"] < found.rate:
        text += (
            f"that is less than the {percent(found.rate)} asked for: the model promised too much, "
            "and '--again' has it learn from these runs."
        )
    else:
        text += f"whether it is above the {percent(found.rate)} asked for is open."
    return text + "".join(_by_choice(table, each) for each in known if each.choices)


def _corrected(attempt: int) -> str:
    return f", corrected for {attempt} attempts" if attempt > 1 else ""


def _by_choice(table: pd.DataFrame, each: Searched) -> str:
    """How the proof went with each of several choices, as a sentence."""
    rows = table[(table["hyperparameter"] == each.key) & (table["n"] > 0)]
    if len(rows) < 2:
        return ""
    counts = ", ".join(f"{row['successes']} of {row['n']} with {row['choice']}" for row in rows.to_dict("records"))
    return f" By {words(each.key)}: {counts}."


def percent_of(share: float) -> str:
    """A share as percent, of a small one the first two digits."""
    return percent(share) if share >= 0.1 else f"{100 * share:.2g}%"


# Drawn


@styled
def draw_region(
    table: pd.DataFrame, slices: pd.DataFrame, marks: pd.DataFrame, known: list[Searched], region: StudyRegion | None
) -> Figure:
    """Predicted success along each hyperparameter, the others anywhere in the region, with the region's side shaded and
    the proof's runs at the top (in the target zone) and the bottom. Arguments: as `_tables` returns them."""
    if region is None or not known:
        return nothing("no region was asked for")
    columns = min(len(known), COLUMNS if all(_fit(each, _length(COLUMNS)) for each in known) else 2)
    length = _length(columns)
    aslant = any(each.choices and _tick_names(each, length)[1] for each in known)
    figure, axes = panels(len(known), columns, lambda rows: 0.8 + (1.75 + 0.5 * aslant) * rows, share_x=False)
    for ax, each in zip(axes, known, strict=True):
        own = slices[slices["hyperparameter"] == each.key]
        _shade(ax, each, region)
        (_choices if each.choices else _line)(ax, own)
        _ticks(ax, each, length)
        ax.axhline(region.found.rate, color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)))
        _proof_marks(ax, marks[marks["hyperparameter"] == each.key], bool(each.choices))
        if own["mean"].isna().all() and len(own):
            ax.text(0.5, 0.3, "no effect in the region", transform=ax.transAxes, ha="center", color=FAINT)
        ax.set_title(words(each.key))
        ax.set_ylim(-0.19, 1.19)
        ax.set_yticks(np.linspace(0, 1, 5))
        percent_axis(ax, "y")
    figure.supylabel("predicted in the target zone (%)", fontsize=8)
    legend(figure, _handles(slices, marks, region), columns=4)
    return figure


def _shade(ax: Axes, each: Searched, region: StudyRegion) -> None:
    side = region.box[each.key]
    if isinstance(side, Range):
        ax.axvspan(each.place(side.low), each.place(side.last), **ZONE)
    else:
        for choice in side:
            ax.axvspan(each.place(choice) - 0.5, each.place(choice) + 0.5, **ZONE)


def _line(ax: Axes, slices: pd.DataFrame) -> None:
    if slices.empty:
        return
    ax.fill_between(slices["x"], slices["low"], slices["high"], color=INK, alpha=0.13, linewidth=0)
    ax.plot(slices["x"], slices["mean"], color=INK)


def _choices(ax: Axes, slices: pd.DataFrame) -> None:
    ax.vlines(slices["x"], slices["low"], slices["high"], color=INK, alpha=0.3, linewidth=5)
    ax.scatter(slices["x"], slices["mean"], s=22, facecolor=PAPER, edgecolor=INK, zorder=3)


def _proof_marks(ax: Axes, marks: pd.DataFrame, choices: bool) -> None:
    """At the top and the bottom, spread so that they stay apart; over the band of a choice, too."""
    succeeded = marks["failure_mode"] == "invariant"
    for own, level in ((marks[succeeded], ABOVE), (marks[~succeeded], BELOW)):
        if len(own):
            order = np.arange(len(own))
            aside = 0.7 * ((order * 0.618034 + 0.5) % 1 - 0.5) if choices else 0.0
            mark_runs(ax, own.assign(x=own["x"] + aside, y=level + 0.03 * (order % 3 - 1)), "x", "y", 11.0)


def _length(columns: int) -> float:
    """Points that a panel is wide, of so many side by side."""
    return 72 * (WIDE - 0.8) / columns


def _fit(each: Searched, length: float) -> bool:
    """Whether the names of its choices have room in a line of so many points."""
    if not each.choices:
        return True
    names, aslant = _tick_names(each, length)
    return not aslant and not any("\n" in name for name in names)


def _tick_names(each: Searched, length: float) -> tuple[list[str], bool]:
    """As `tick_names`; the gap between panels is room, too."""
    return tick_names(distinct_names(each.choices), 1.1 * length / len(each.choices))


def _ticks(ax: Axes, each: Searched, length: float) -> None:
    if each.choices:
        names, aslant = _tick_names(each, length)
        ax.set_xticks(range(len(names)), names, **(ASLANT if aslant else {}))
        ax.set_xlim(-0.5, len(names) - 0.5)
        ax.grid(False, axis="x")
        return
    assert isinstance(each.entry, Range)
    low, high = each.place(each.entry.low), each.place(each.entry.last)
    ax.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    if each.log:
        ticks = log_ticks((low, high))
        ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
        ax.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=is_whole(each.key)))


def _handles(slices: pd.DataFrame, marks: pd.DataFrame, region: StudyRegion) -> list[Any]:
    handles: list[Any] = [Patch(**ZONE, label="the region")]
    if len(slices):
        handles += [
            Line2D([], [], color=INK, label="predicted, mean over the region"),
            Patch(color=INK, alpha=0.13, linewidth=0, label="lowest to highest in it"),
        ]
    handles.append(
        Line2D([], [], color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)), label=f"asked: {percent(region.found.rate)}")
    )
    return [*handles, *mode_handles(marks["failure_mode"])]


REGION: Exhibit[StudyRecord] = Exhibit(
    name="region",
    title="The region: ranges in which runs succeed",
    shows="Predicted success along each hyperparameter while the others are anywhere in the region, the shaded ranges, "
    "which was fixed before its proof. Marks are the proof's runs, at the top those in the target zone.",
    table=_tables,
    sentence=_sentence,
    draw=draw_region,
    left_out=empty,
    csv="region",
)


EXHIBITS = (REGION,)
