"""The table of runs in a folder: rows written, read back, and judged.

Measurements are the truth and are stored: Parquet parts, one for each finished batch, curves included. What is derived
from them is computed each time the table is read, so that runs can be judged anew without training; so is a run's
digest, which follows from its configuration. The columns are declared in `columns`; how a part lies on the disk is
`parquet`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from irm_study.config import EnvironmentSpec, RunConfig, StudySpec, TrainSpec, earlier_run_digest, run_digest
from irm_study.diagnosis import Curves, curve_columns, curves_from_row
from irm_study.errors import ConfigError
from irm_study.results.columns import (
    DIGEST,
    EXAMPLES,
    KEYS,
    STAGES,
    STUDY,
    TEXT,
    derived_columns,
    hyperparameters,
    schema_of,
    stored_columns,
)
from irm_study.results.judging import judged
from irm_study.results.parquet import Parts, read_table, rewrite_parts

# Stored


def run_row(
    stage: str, trial: int, seed: int, digest: str, run: RunConfig, curves: Curves, device: str
) -> dict[str, Any]:
    """What is stored of one run: a value for each of `columns.stored_columns`."""
    return {
        "stage": stage,
        "trial": trial,
        "seed": seed,
        "digest": digest,
        **run.model_dump(),
        "epochs_trained": int(curves.epoch[-1]),
        "stopped": curves.stopped,
        "shared_epochs": curves.shared_epochs,
        "seconds": curves.seconds,
        "device": device,
        **curve_columns(curves),
    }


def config_of(row: Mapping[str, Any]) -> RunConfig:
    """The configuration in a row of the table of runs."""
    values: dict[str, Any] = {name: None if pd.isna(row[name]) else row[name] for name in RunConfig.model_fields}
    return RunConfig.model_construct(**values)


def runs_table(folder: Path, environments: EnvironmentSpec) -> Parts:
    """The table of runs in a folder, for its driver to add to."""
    return Parts(folder / "runs", schema_of(stored_columns(environments)))


def write_part(folder: Path, rows: Sequence[Mapping[str, Any]], environments: EnvironmentSpec) -> Path:
    """Add rows to the table of runs: they are there whole, or not at all. Returns the path of the new part."""
    return runs_table(folder, environments).add(rows)


def read_parts(folder: Path, digits: str, environments: EnvironmentSpec, move_aside: bool = False) -> pd.DataFrame:
    """The stored table, a row for each (digest, seed), in the order of stage, trial and seed.

    move_aside: for the folder's driver, who trains again what a damaged part held. Raises ConfigError for parts that
    cannot be read, and rows that no driver wrote.
    """
    table = read_table(folder / "runs", schema_of(stored_columns(environments)), move_aside)
    _check_rows(table, folder / "runs")
    return _in_order(_with_digests(table, digits, environments))


def earlier_digests(folder: Path, spec: StudySpec) -> dict[str, str]:
    """The digests of a folder's configurations, by those that version 0.1 gave them."""
    table = read_table(folder / "runs", schema_of([*KEYS, *hyperparameters()]))
    return {
        earlier_run_digest(spec.digits, spec.environments, run): run_digest(spec.digits, spec.environments, run)
        for _, run in _configurations(table)
    }


def renew_digests(folder: Path, spec: StudySpec | TrainSpec) -> None:
    """Write parts of earlier versions anew, under the digests that the folder's tables have."""
    rewrite_parts(
        folder / "runs",
        needed=lambda part: not pc.all(pc.starts_with(part[DIGEST].cast(TEXT), "r"), min_count=0).as_py(),
        change=lambda part: _with_digests(part, spec.digits, spec.environments),
        schema=schema_of(stored_columns(spec.environments)),
    )


def _with_digests(table: pa.Table, digits: str, environments: EnvironmentSpec) -> pa.Table:
    """The same rows, each with the digest of its configuration, whatever was written there."""
    digests = np.empty(len(table), dtype=object)
    for rows, run in _configurations(table):
        digests[rows] = run_digest(digits, environments, run)
    place = table.schema.get_field_index(DIGEST)
    return table.set_column(place, table.schema.field(place), pa.array(digests, TEXT))


def _configurations(table: pa.Table) -> Iterator[tuple[np.ndarray, RunConfig]]:
    """Each configuration of a stored table, with the places of its rows."""
    names = [column.name for column in hyperparameters()]
    runs = table.select(names).to_pandas(integer_object_nulls=True)
    groups = runs.groupby(names, dropna=False, sort=False).ngroup().to_numpy()
    for rows in np.split(np.argsort(groups, kind="stable"), np.flatnonzero(np.diff(np.sort(groups))) + 1):
        if not len(rows):
            return
        yield rows, config_of(runs.iloc[rows[:1]].to_dict("records")[0])


def rows_as_read(rows: Sequence[Mapping[str, Any]], environments: EnvironmentSpec) -> pd.DataFrame:
    """Rows that were never written, as `read_parts` would give them back: its types, its precision, its order."""
    return _in_order(pa.Table.from_pylist(list(rows), schema=schema_of(stored_columns(environments))))


def _in_order(table: pa.Table) -> pd.DataFrame:
    runs = table.to_pandas(integer_object_nulls=True)
    order = runs["stage"].map(STAGES.index)
    runs = runs.assign(_order=order).sort_values(["_order", "trial", "seed"], kind="stable").drop(columns="_order")
    return runs.drop_duplicates(["digest", "seed"]).reset_index(drop=True)


def restage(folder: Path, stage: str, trials: Mapping[tuple[str, int], int], spec: StudySpec | TrainSpec) -> None:
    """Give stored runs to a stage that comes before their own. trials: by (digest, seed), the trial they belong to."""
    stored = read_parts(folder, spec.digits, spec.environments)
    rows = [row for row in stored.to_dict("records") if (row["digest"], row["seed"]) in trials]
    restaged = [row | {"stage": stage, "trial": trials[row["digest"], row["seed"]]} for row in rows]
    write_part(folder, restaged, spec.environments)


def _check_rows(table: pa.Table, folder: Path) -> None:
    """Raise ConfigError for rows that no driver wrote: every run has a key, and curves of one length."""
    lists = [name for name in table.column_names if pa.types.is_list(table.schema.field(name).type)]
    for name in (*(column.name for column in KEYS), *lists):
        if table[name].null_count:
            raise ConfigError(f"{folder}: {name}: not given in {table[name].null_count} rows")
    stages = pc.unique(table["stage"]).to_pylist()
    if not set(stages) <= set(STAGES):
        raise ConfigError(f"{folder}: stage: {sorted(set(stages) - set(STAGES))[0]!r} is none of: {', '.join(STAGES)}")
    checkpoints = pc.list_value_length(table["curve_epoch"])
    for name in lists:
        lengths = pc.list_value_length(table[name])
        needed = lengths if name == EXAMPLES else checkpoints
        if not pc.all(pc.and_(pc.equal(lengths, needed), pc.greater(lengths, 0)), min_count=0).as_py():
            raise ConfigError(f"{folder}: {name}: as many numbers as in curve_epoch, and one at least, are needed")


# Judged


def judge(run: RunConfig, curves: Curves, environments: EnvironmentSpec, criterion: str) -> dict[str, Any]:
    """The derived columns of one run. criterion: the study's."""
    found = judged(run, curves, environments, criterion)
    return {column.name: column.derive(found) for column in derived_columns() if column.derive}


def judged_runs(stored: pd.DataFrame, name: str, environments: EnvironmentSpec, criterion: str) -> pd.DataFrame:
    """`StudyRecord.runs`: the stored table under a study's name, with the derived columns."""
    rows = [judge(config_of(row), curves_from_row(row), environments, criterion) for row in stored.to_dict("records")]
    derived = pa.Table.from_pylist(rows, schema=schema_of(derived_columns())).to_pandas()
    runs = pd.concat([stored, derived], axis=1)
    runs.insert(0, STUDY.name, pd.Series(name, index=runs.index, dtype="str"))
    return runs


def stored_runs(folder: Path, spec: StudySpec, move_aside: bool = False) -> pd.DataFrame:
    """`StudyRecord.runs` of a folder. Raises ConfigError as `read_parts`."""
    stored = read_parts(folder, spec.digits, spec.environments, move_aside)
    return judged_runs(stored, spec.name, spec.environments, spec.study.criterion)
