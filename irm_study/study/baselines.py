"""The baselines of a study: plain risk minimisation and a grey oracle, trained beside the winner on its fresh seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from irm_study.config import TrainSpec, run_digest
from irm_study.results import (
    StudyRecord,
    baseline_specs,
    baselines_table,
    config_of,
    confirmed,
    write_baselines,
    write_tables,
)

Train = Callable[[TrainSpec, Sequence[int], Path], tuple[pd.DataFrame, int]]
"""(configuration, seeds, folder) → the folder's table of runs, and how many were trained."""


def with_baselines(record: StudyRecord, train: Train) -> tuple[StudyRecord, int]:
    """The record with the baselines of its winner, and how many runs were trained for them; nothing is done where the
    study asks for none, or nothing is confirmed."""
    ranked = confirmed(record.runs, record.spec)
    if not record.spec.confirm.baselines or ranked.empty:
        return record, 0
    own = record.runs[(record.runs["digest"] == ranked["digest"].iloc[0]) & (record.runs["stage"] == "confirm")]
    seeds, tables, trained = own["seed"].tolist(), [], 0
    for name, spec in baseline_specs(record.spec, config_of(own.iloc[0].to_dict())).items():
        runs, count = train(spec, seeds, record.folder / "baselines" / name.replace(" ", "-"))
        mine = runs["digest"] == run_digest(spec.digits, spec.environments, spec.run)
        tables.append(runs[mine & runs["seed"].isin(seeds)].assign(baseline=name))
        trained += count
    table = baselines_table(pd.concat(tables))
    write_baselines(record.folder, table)
    record = dataclasses.replace(record, baselines=table)
    write_tables(record)
    return record, trained
