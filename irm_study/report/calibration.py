"""How runs made to fail were diagnosed: the table, its sentence and its figure, and how many verdicts were right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from irm_study.diagnosis import FAILURE_MODES
from irm_study.files import write_csv
from irm_study.report.exhibit import Exhibit
from irm_study.report.marks import mode_cells, nothing
from irm_study.report.style import MODE_NAMES, WIDE, StyledFigure, styled, write_figure
from irm_study.report.text import plural, printable
from irm_study.statistics import success_rate

SOURCES = {"test": "failure_mode", "recoloured": "failure_mode_recoloured"}
"""Evidence source, and the column of the table of runs that holds the verdict from it."""


def write_confusion(folder: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """Write confusion.csv and its figure into a folder; returns the table."""
    described = CONFUSION.describe(runs)
    table: pd.DataFrame = described.tables[0]
    write_csv(folder / f"{CONFUSION.csv}.csv", table)
    write_figure(described.figure(), folder, CONFUSION.name)
    return table


def agreement(runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each evidence source: how many runs got the mode that they were made for, of how many, and the share with
    its 95% interval (Wilson). `between`: how many got the same mode from both."""
    counts = {source: int((runs[column] == runs["intended"]).sum()) for source, column in SOURCES.items()}
    counts["between"] = int((runs["failure_mode"] == runs["failure_mode_recoloured"]).sum())
    summary = {}
    for name, count in counts.items():
        share, interval = success_rate(count, len(runs))
        summary[name] = {"right": count, "runs": len(runs), "share": share, "low": interval.low, "high": interval.high}
    return summary


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


def _confusion_sentence(table: pd.DataFrame) -> str:
    if table.empty:
        return "No runs."
    total = int(table.loc[table["evidence_source"] == "test", "runs"].sum())
    right = table[table["failure_mode"] == table["intended"]].groupby("evidence_source")["runs"].sum()
    return (
        f"Of {plural(total, 'run')}, {right.get('test', 0)} got the mode that they were made for with the test "
        f"environment, and {right.get('recoloured', 0)} from recoloured training images."
    )


@styled
def draw_confusion(table: pd.DataFrame) -> Figure:
    """How runs made to fail were diagnosed: ways to fail by modes, a panel for each evidence source.

    table: as `confusion`. A frame marks the mode that a way was made for.
    """
    if table.empty:
        return nothing("no runs")
    intended = dict(zip(table["way"], table["intended"], strict=True))
    names = [printable(way, 40) for way in intended]
    modes = [mode for mode in MODE_NAMES if (table["failure_mode"] == mode).any() or mode in intended.values()]
    figure = StyledFigure((WIDE, 1.25 + 0.23 * len(intended)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"test": "with the test environment", "recoloured": "from recoloured training images"}
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
    table=lambda runs: (confusion(runs),),
    sentence=_confusion_sentence,
    draw=draw_confusion,
    csv="confusion",
)
