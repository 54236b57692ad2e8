"""Runs made to fail on purpose, and what the rules say of them: how far a failure mode can be trusted.

A calibration file names ways to fail (or to succeed), each with the mode it was made for. Every way is a
folder of `train`, so runs are kept and go on as any others. Nothing here changes a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd

from irm_study.config import TrainSpec, run_digest
from irm_study.results import write_runs_csv
from irm_study.study.run import train_runs
from irm_study.study.settings import Settings, Watcher


def calibrate(
    ways: Mapping[str, tuple[str, TrainSpec]],
    seeds: Sequence[int],
    folder: Path,
    settings: Settings,
    watch: Callable[[str], AbstractContextManager[Watcher]],
) -> pd.DataFrame:
    """Train every way to fail over the seeds, what is missing of it; write runs.csv.

    ways: the mode that each was made for, and its configuration. watch: makes a watcher for the way of that name.
    Returns the runs, judged, with the columns way and intended.
    """
    tables = []
    for number, (name, (intended, spec)) in enumerate(ways.items(), start=1):
        with watch(f"way {number} of {len(ways)}, {name}") as watcher:
            runs, _ = train_runs(spec, seeds, folder / "-".join(name.split()), settings, watcher)
        own = runs["digest"] == run_digest(spec.digits, spec.environments, spec.run)
        tables.append(runs[own & runs["seed"].isin(seeds)].assign(way=name, intended=intended))
    runs = pd.concat(tables, ignore_index=True)
    write_runs_csv(folder, runs)
    return runs
