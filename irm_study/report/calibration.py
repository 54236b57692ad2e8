"""How runs made to fail were diagnosed: the table, its sentence and its figure, and how many verdicts were right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from irm_study.diagnosis import FAILURE_MODES
from irm_study.files import write_csv
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import mode_cells
from irm_study.report.style import MODE_NAMES, WIDE, StyledFigure, styled, write_figure
from irm_study.report.text import plural, printable
from irm_study.statistics import mean_rate

SOURCES = {"test": "failure_mode", "recoloured": "failure_mode_recoloured"}
"""Evidence source, and the column of the table of runs that holds the verdict from it."""
NAMES = {
    "test": "got the mode that they were made for with the test environment",
    "recoloured": "got it from recoloured training images",
    "between": "the same mode from both",
}


def write_confusion(folder: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """Write confusion.csv and its figure into a folder; returns the table."""
    described = CONFUSION.describe(runs)
    table: pd.DataFrame = described.tables[0]
    write_csv(folder / f"{CONFUSION.csv}.csv", table)
    write_figure(described.figure(), folder, CONFUSION.name)
    return table


def agreement(runs: pd.DataFrame) -> dict[str, Any]:
    """How many runs got the mode that they were made for, from each evidence source, and how many got the same mode
    from both (`between`): right, of how many runs, of how many configurations, and as share the mean of the
    configurations' rates with its 95% interval (`mean_rate`). `modes`: a row for each mode that ways were made for:
    intended, configurations, runs, and right from each source."""
    agree = {source: runs[column] == runs["intended"] for source, column in SOURCES.items()}
    agree["between"] = runs["failure_mode"] == runs["failure_mode_recoloured"]
    summary: dict[str, Any] = {}
    for name, right in agree.items():
        rates = right.groupby(runs["way"]).mean()
        share, (low, high) = mean_rate(rates)
        counts = {"right": int(right.sum()), "runs": len(runs), "configurations": len(rates)}
        summary[name] = {**counts, "share": share, "low": low, "high": high}
    summary["modes"] = [
        {
            "intended": mode,
            "configurations": group["way"].nunique(),
            "runs": len(group),
            **{source: int((group[column] == mode).sum()) for source, column in SOURCES.items()},
        }
        for mode in FAILURE_MODES
        if len(group := runs[runs["intended"] == mode])
    ]
    return summary


def agreement_sentence(summary: dict[str, Any]) -> str:
    """summary: as `agreement`."""

    def told(name: str) -> str:
        row = summary[name]
        share, low, high = (100 * row[key] for key in ("share", "low", "high"))
        return f"{row['right']} {NAMES[name]} ({share:.1f}%, {low:.1f} to {high:.1f}%)"

    runs, configurations = (summary["test"][key] for key in ("runs", "configurations"))
    return (
        f"Of {plural(runs, 'run')} of {plural(configurations, 'configuration')}, {told('test')}, {told('recoloured')}, "
        f"and {told('between')}; in parentheses the mean of the configurations' rates, and its 95% interval over "
        "configurations."
    )


def confusion(runs: pd.DataFrame) -> pd.DataFrame:
    """way, intended, evidence_source (test | recoloured), failure_mode, runs: a row for each mode that was given."""
    rows = []
    for way, group in runs.groupby("way", sort=False):
        for source, column in SOURCES.items():
            counts = group[column].value_counts()
            rows += [
                {"way": way, "intended": group["intended"].iloc[0], "evidence_source": source, "failure_mode": mode,
                 "runs": int(counts[mode])}
                for mode in FAILURE_MODES if mode in counts
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=["way", "intended", "evidence_source", "failure_mode", "runs"])


@styled
def draw_confusion(table: pd.DataFrame, summary: dict[str, Any]) -> Figure:
    """How runs made to fail were diagnosed: ways to fail by modes, a panel for each evidence source.

    table: as `confusion`; summary: as `agreement`. A frame marks the mode that a way was made for.
    """
    intended = dict(zip(table["way"], table["intended"], strict=True))
    names = [printable(way, 40) for way in intended]
    modes = [mode for mode in MODE_NAMES if (table["failure_mode"] == mode).any() or mode in intended.values()]
    figure = StyledFigure((WIDE, 1.25 + 0.23 * len(intended)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"test": "with the test environment", "recoloured": "from recoloured images"}
    for ax, (source, title) in zip(panels, titles.items(), strict=True):
        own = table[table["evidence_source"] == source]
        counts = own.pivot_table(index="way", columns="failure_mode", values="runs")
        mode_cells(ax, counts, modes, intended, names, frame=1.6)
        ax.set_title(title)
    return figure


CONFUSION: Exhibit[pd.DataFrame] = Exhibit(
    name="confusion",
    title="Runs made to fail, and what they are called",
    shows="How runs made to fail were diagnosed, with the test environment and from recoloured training images; a "
    "frame marks the mode that a way was made for.",
    table=lambda runs: (confusion(runs), agreement(runs)),
    sentence=lambda table, summary: agreement_sentence(summary),
    draw=draw_confusion,
    csv="confusion",
)
