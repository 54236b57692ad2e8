"""The ideals of a study's fresh seeds, or of one configuration's seeds: computed where they are missing, and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from irm_study.config import EnvironmentSpec, RunConfig, StudySpec, TrainSpec, run_digest
from irm_study.errors import ConfigError
from irm_study.ideal import ideal_of
from irm_study.results import (
    StudyRecord,
    config_of,
    ideals_table,
    load_study,
    locked,
    read_ideals,
    write_ideals,
    write_tables,
)
from irm_study.study.folder import claim_for_training

Draw = tuple[str, int, RunConfig]
"""Digest, seed and configuration."""


def study_ideals(folder: Path, data_root: str | None, done: Callable[[int, int], None]) -> StudyRecord:
    """The record of a study with the ideal of every confirmed configuration on each of its fresh seeds.

    done: is called after each ideal, with how many there are and will be. Raises ConfigError where nothing is
    confirmed.
    """
    with locked(folder):
        record = load_study(folder)
        fresh = record.runs[record.runs["stage"] == "confirm"]
        if fresh.empty:
            raise ConfigError(f"{folder}: has no confirmed configuration; 'irm-study confirm {folder}' trains one")
        draws = [(row["digest"], row["seed"], config_of(row)) for row in fresh.to_dict("records")]
        table = _completed(folder, draws, record.spec, data_root, done)
        record = dataclasses.replace(record, ideals=table)
        write_tables(record)
        return record


def configuration_ideals(
    spec: TrainSpec, seeds: Iterable[int], folder: Path, data_root: str | None, done: Callable[[int, int], None]
) -> pd.DataFrame:
    """The ideals of one configuration on some seeds, as `ideals_table`; kept in a folder of `train`'s. done: as
    `study_ideals` takes it."""
    digest, seeds = run_digest(spec.digits, spec.environments, spec.run), list(seeds)
    with locked(folder):
        claim_for_training(folder, spec)
        table = _completed(folder, [(digest, seed, spec.run) for seed in seeds], spec, data_root, done)
    return table[(table["digest"] == digest) & table["seed"].isin(seeds)].reset_index(drop=True)


def _completed(
    folder: Path,
    draws: list[Draw],
    spec: StudySpec | TrainSpec,
    data_root: str | None,
    done: Callable[[int, int], None],
) -> pd.DataFrame:
    """The folder's table with the draws that it lacked, written."""
    table = read_ideals(folder)
    known = set(zip(table["digest"], table["seed"], strict=True))
    missing = [draw for draw in draws if draw[:2] not in known]
    rows = []
    for number, (digest, seed, config) in enumerate(missing, start=1):
        rows.append({"digest": digest, "seed": seed} | _ideal(config, seed, spec.digits, spec.environments, data_root))
        done(number, len(missing))
    if rows:
        found = ideals_table(pd.DataFrame(rows))
        table = ideals_table(pd.concat([table, found])) if len(table) else found
        write_ideals(folder, table)
    return table


def _ideal(config: RunConfig, seed: int, digits: str, spec: EnvironmentSpec, data_root: str | None) -> dict[str, float]:
    try:
        return ideal_of(config, seed, digits, spec, data_root)._asdict()
    except ConfigError:
        raise
    except ValueError as error:  # environments that the digits are too few for
        raise ConfigError(str(error)) from None
