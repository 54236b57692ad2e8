"""Runs made to fail on purpose, and what the rules say of them: how far a failure mode can be trusted.

A calibration file names ways to fail (or to succeed), each with the mode it was made for. Every way is a
folder of `train`, so runs are kept and go on as any others. Nothing here changes a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd

from irm_study import figures, records
from irm_study.config import TrainSpec
from irm_study.drawing import write_figure
from irm_study.driver import Settings, Watcher
from irm_study.failures import FAILURE_MODES
from irm_study.statistics import success_rate
from irm_study.study import train_runs
from irm_study.studyfile import run_digest

EYES = {"test": "failure_mode", "train": "failure_mode_train"}
"""Whose verdict, and the column of the table of runs that holds it."""


def calibrate(
    ways: Mapping[str, tuple[str, TrainSpec]],
    seeds: Sequence[int],
    folder: Path,
    settings: Settings,
    watch: Callable[[str], AbstractContextManager[Watcher]],
) -> pd.DataFrame:
    """Train every way over the seeds, what is missing of it; write runs.csv, and confusion.csv with its picture.

    ways: the mode that each was made for, and its configuration. watch: who watches what of that name is trained.
    Returns the runs, judged, with the columns way and intended.
    """
    tables = []
    for number, (name, (intended, spec)) in enumerate(ways.items(), start=1):
        with watch(f"way {number} of {len(ways)}, {name}") as watcher:
            runs, _ = train_runs(spec, seeds, folder / _folder(name), settings, watcher)
        own = runs["digest"] == run_digest(spec.digits, spec.environments, spec.run)
        tables.append(runs[own & runs["seed"].isin(seeds)].assign(way=name, intended=intended))
    runs = pd.concat(tables, ignore_index=True)
    records.write_runs_csv(folder, runs)
    table = confusion(runs)
    records.write_text(folder / "confusion.csv", table.to_csv(index=False, lineterminator="\n"))
    write_figure(figures.confusion(table), folder, "confusion")
    return runs


def confusion(runs: pd.DataFrame) -> pd.DataFrame:
    """way, intended, eyes (test | train), failure_mode, runs: a row for each mode that was diagnosed."""
    rows = []
    for way, group in runs.groupby("way", sort=False):
        for eyes, column in EYES.items():
            counts = group[column].value_counts()
            rows += [
                {"way": way, "intended": group["intended"].iloc[0], "eyes": eyes, "failure_mode": mode,
                 "runs": int(counts[mode])}
                for mode in FAILURE_MODES if mode in counts
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=["way", "intended", "eyes", "failure_mode", "runs"])


def agreement(runs: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each pair of eyes: how many runs got the mode that they were made for, of how many, and the share with its
    95% interval (Wilson). `between`: how many got the same mode from both."""
    counts = {eyes: int((runs[column] == runs["intended"]).sum()) for eyes, column in EYES.items()}
    counts["between"] = int((runs["failure_mode"] == runs["failure_mode_train"]).sum())
    told = {}
    for name, count in counts.items():
        share, interval = success_rate(count, len(runs))
        told[name] = {"right": count, "runs": len(runs), "share": share, "low": interval.low, "high": interval.high}
    return told


def _folder(way: str) -> str:
    return "-".join(way.split())
