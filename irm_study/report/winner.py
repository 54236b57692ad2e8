"""Which configurations are stable, continued: what runs on fresh seeds show about the winner, where they were trained.

Its neighbours (each hyperparameter multiplied), and the draws of data and of first parameters crossed. Where the study
has no such runs, the page leaves the exhibit out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from irm_study import statistics
from irm_study.config import run_digest
from irm_study.report.exhibit import Exhibit, empty
from irm_study.report.marks import cells, nothing, panels, percent_axis
from irm_study.report.runs import share_of, successes
from irm_study.report.style import INK, NARROW, PAPER, WIDE, StyledFigure, styled
from irm_study.report.text import interval, p_text, percent, printable, words
from irm_study.results import StudyRecord, config_of, confirmed, counted, neighbours

TOLERATED = 0.2
"""By how much of the success rate a neighbour may be worse before the sentence stops saying that none is."""

# The winner's neighbourhood


def neighbourhood(record: StudyRecord) -> pd.DataFrame:
    """The winner and its neighbours on fresh seeds: hyperparameter, factor (1: the winner itself), value, n, successes,
    share, low, high (Wilson), score (mean, by the study's criterion), and of its difference from the winner's rate
    lowest (the lower end of Newcombe's 95% interval) and p_value (Boschloo's, seeds as if not shared, corrected by Holm
    for the number of neighbours). Empty where none of its neighbours was trained.
    """
    columns = ["hyperparameter", "factor", "value", "n", "successes", "share", "low", "high", "score", "lowest",
               "p_value"]  # fmt: skip
    best = confirmed(record.runs, record.spec)
    if best.empty or not (record.runs["stage"] == "neighbour").any():
        return pd.DataFrame(columns=columns)
    digest, spec = best["digest"].iloc[0], record.spec
    own = record.runs[(record.runs["digest"] == digest) & (record.runs["stage"] == "confirm")]
    winner = config_of(own.head(1).to_dict("records")[0])
    by_digest = dict(tuple(record.runs[record.runs["seed"].isin(own["seed"])].groupby("digest")))
    near = list(neighbours(spec, winner))
    rows = []
    for key in dict.fromkeys(each.hyperparameter for each in near):
        members = [(each.factor, each.value, run_digest(spec.digits, spec.environments, each.config))
                   for each in near if each.hyperparameter == key]  # fmt: skip
        for factor, value, member in sorted([*members, (1.0, float(getattr(winner, key)), digest)]):
            runs = by_digest.get(member, own.iloc[:0])
            if len(runs):
                rows.append(
                    {"hyperparameter": key, "factor": factor, "value": value, "n": len(runs),
                     "successes": successes(runs), **share_of(successes(runs), len(runs)),
                     "score": float(runs["score"].mean())}
                )  # fmt: skip
    if all(row["factor"] == 1 for row in rows):  # neighbours of another, which was the winner then
        rows = []
    return _against_the_winner(pd.DataFrame(rows, columns=columns))


def _against_the_winner(table: pd.DataFrame) -> pd.DataFrame:
    """`neighbourhood` with lowest and p_value of each neighbour; of the winner itself they are NaN."""
    near = table[table["factor"] != 1]
    if near.empty:
        return table
    centre = table[table["factor"] == 1].iloc[0]
    compared = [
        statistics.compare_success(row.successes, row.n, centre["successes"], centre["n"]) for row in near.itertuples()
    ]
    table.loc[near.index, "lowest"] = [each.interval.low for each in compared]
    table.loc[near.index, "p_value"] = statistics.holm([each.p_value for each in compared])
    return table


def _neighbourhood_sentence(table: pd.DataFrame) -> str:
    centre = table[table["factor"] == 1].iloc[0]
    others = table[table["factor"] != 1]
    lowest = others.loc[others["share"].idxmin()]
    text = (
        f"The winner: {centre['successes']} of {centre['n']}. Lowest beside it: {lowest['successes']} of {lowest['n']} "
        f"({interval(lowest['low'], lowest['high'])}) at {lowest['factor']:g} times its "
        f"{words(lowest['hyperparameter'])}."
    )
    if (others["lowest"] > -TOLERATED).all():
        return f"{text} No neighbour is worse by {percent(TOLERATED)} (95% interval of each difference)."
    better = others[(others["share"] > centre["share"]) & (others["p_value"] < statistics.SIGNIFICANT)]
    if len(better):
        best = better.loc[better["p_value"].idxmin()]
        return (
            f"{text} {best['factor']:g} times its {words(best['hyperparameter'])} did better than the winner "
            f"({p_text(best['p_value'])}, corrected for {len(others)} neighbours)."
        )
    return text


@styled
def draw_neighbourhood(table: pd.DataFrame) -> Figure:
    """Success rate as each hyperparameter of the winner is multiplied, with Wilson's 95% interval.

    table: as `neighbourhood`.
    """
    if table.empty:
        return nothing("no neighbour was trained")
    keys = list(dict.fromkeys(table["hyperparameter"]))
    columns = min(4, len(keys))
    width = WIDE if columns > 1 else NARROW
    figure, axes = panels(len(keys), columns, lambda rows: 0.35 + 1.75 * rows, width, share_x=False)
    for ax, key in zip(axes, keys, strict=True):
        _factors(ax, table[table["hyperparameter"] == key])
        ax.set_title(words(key))
    for ax in axes[::columns]:
        ax.set_ylabel("in the target zone (%)")
    figure.supxlabel("times the winner's value", fontsize=8)
    return figure


def _factors(ax: Axes, table: pd.DataFrame) -> None:
    ax.vlines(table["factor"], table["low"], table["high"], color=INK, linewidth=1.1)
    ax.plot(table["factor"], table["share"], color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    for row in table.to_dict("records"):
        face = INK if row["factor"] == 1 else PAPER
        ax.scatter(row["factor"], row["share"], s=26, facecolor=face, edgecolor=INK, zorder=3, clip_on=False)
    ax.set_xscale("log")
    ax.set_xlim(0.44, 2.3)
    ax.xaxis.set_major_locator(FixedLocator([0.5, 0.8, 1, 1.25, 2]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: {0.5: "½", 1: "1", 2: "2"}.get(value, "")))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-0.03, 1.03)
    percent_axis(ax, "y")


NEIGHBOURHOOD: Exhibit[StudyRecord] = Exhibit(
    name="neighbourhood",
    title="The winner's neighbourhood",
    shows="How often the winner ends in the target zone when one of its hyperparameters is multiplied, on the same "
    "fresh seeds; the filled mark is the winner itself, bars are 95% Wilson intervals.",
    table=lambda record: (neighbourhood(record),),
    sentence=_neighbourhood_sentence,
    draw=draw_neighbourhood,
    left_out=empty,
    csv="neighbourhood",
)


# What the seed changes


def crossed(record: StudyRecord) -> pd.DataFrame:
    """Test accuracy of the winner for each draw of data (rows: seeds) and of the initialisation (columns); empty where
    they were not trained. A run that diverged counts as 0."""
    best = confirmed(record.runs, record.spec)
    if best.empty or not (record.runs["stage"] == "draws").any():
        return pd.DataFrame()
    runs = record.runs[(record.runs["stage"] == "draws") & (record.runs["trial"] == best["trial"].iloc[0])]
    runs = runs.assign(test_accuracy=counted(runs["test_accuracy"]))
    table = runs.pivot_table(index="seed", columns="initial_seed", values="test_accuracy", dropna=False)
    # An extension that was interrupted leaves a table with holes: what is complete of it counts.
    for count in range(min(table.shape), 1, -1):
        if table.iloc[:count, :count].notna().all(axis=None):
            return table.iloc[:count, :count]
    return pd.DataFrame()


def _draws_sentence(table: pd.DataFrame) -> str:
    values = table.to_numpy(dtype=float)
    shares = statistics.variance_shares(values)
    if np.isnan(shares.data):
        return "All runs ended alike: there is no spread to share out."
    spans = statistics.variance_share_intervals(values, np.random.default_rng(0))
    names = ("the draw of data", "the initialisation", "neither alone")
    each = ", ".join(
        f"{percent(share)} ({interval(low, high)}) from {name}"
        for share, (low, high), name in zip(shares, spans, names, strict=True)
    )
    n = len(table)
    return f"Of the variance of test accuracy {each}; 95% intervals of each share, from {n} × {n} runs."


@styled
def draw_draws(table: pd.DataFrame) -> Figure:
    """Test accuracy for each draw of data (rows) and of the initialisation (columns). table: as `crossed`."""
    if table.empty:
        return nothing("no draws were crossed")
    count = len(table)
    figure = StyledFigure((NARROW, 0.9 + min(2.6, 0.32 * count)), layout="constrained")
    ax = figure.subplots()
    low, high = table.min().min(), table.max().max()
    texts = table.map(lambda value: f"{100 * value:.0f}" if count <= 10 else "")
    cells(ax, (table - low + 0.02) / (high - low + 0.02), texts)
    ax.set(xlabel="seed of the initialisation", ylabel="seed of the data")
    ax.set_yticks(np.arange(count) + 0.5, [printable(str(seed)) for seed in table.index], rotation=0)
    ax.set_xticks(np.arange(count) + 0.5, [printable(str(int(seed))) for seed in table.columns], rotation=90)
    return figure


DRAWS: Exhibit[StudyRecord] = Exhibit(
    name="draws",
    title="What the seed changes",
    shows="Test accuracy (%) of the winner for each draw of data and each draw of first parameters.",
    table=lambda record: (crossed(record),),
    sentence=_draws_sentence,
    draw=draw_draws,
    narrow=True,
    left_out=empty,
)


EXHIBITS = (NEIGHBOURHOOD, DRAWS)
