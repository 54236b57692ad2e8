"""A study read back from its folder, which may come from a stranger: nothing of torch or Optuna is imported for it.

How a stranger's files are read is `untrusted`'s and `parquet`'s.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from irm_study.config import (
    StudyRegion,
    StudySpec,
    TrainSpec,
    check_plugins,
    read_region,
    read_stored_study,
    read_train,
)
from irm_study.diagnosis import AGGREGATES, criteria_for
from irm_study.errors import ConfigError
from irm_study.results.baselines import read_baselines
from irm_study.results.configurations import ListedTrial, listed_in_runs, trials_table
from irm_study.results.hyperparameters import importance
from irm_study.results.ideals import read_ideals
from irm_study.results.record import StudyRecord
from irm_study.results.table import earlier_digests, judged_runs, read_parts, stored_runs
from irm_study.results.untrusted import read_stored_trials, read_text, read_trials_csv, refuse_links


def load_study(folder: str | Path, criterion: str | None = None, aggregate: str | None = None) -> StudyRecord:
    """A study's record from its folder: for `irm-study report`, and for notebooks.

    criterion, aggregate: judge its runs by others than those that guided the search. Raises ConfigError when the
    folder holds no study or rows that are no runs, or a name is not known.
    """
    folder = Path(folder)
    spec = _judged_by(stored_spec(folder), criterion, aggregate)
    try:
        runs = stored_runs(folder, spec)
        trials = trials_table(_listed_trials(folder, spec, runs), runs, spec)
    except ConfigError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # rows that no driver wrote
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{folder / 'runs'}: holds rows that are no runs of this study: {reason}") from None
    provenance = stored_summary(folder).get("provenance") or {}
    region, ideals, baselines = read_stored_region(folder, spec), read_ideals(folder), read_baselines(folder)
    return StudyRecord(folder, spec, runs, trials, importance(trials, spec), provenance, region, ideals, baselines)


def load_runs(folder: Path) -> tuple[StudySpec | TrainSpec, pd.DataFrame]:
    """What a folder of a study or of `train` holds, and its runs as `StudyRecord.runs`; those of `train`, which name no
    criterion, are scored by `zone_margin`.

    Raises ConfigError as `load_study`.
    """
    if (folder / "study.toml").is_file():
        record = load_study(folder)
        return record.spec, record.runs
    if not (folder / "train.toml").is_file():
        raise ConfigError(f"{folder}: holds neither a study (study.toml) nor runs of 'train' (train.toml)")
    refuse_links(folder)
    spec = read_train(folder / "train.toml")
    stored = read_parts(folder, spec.digits, spec.environments)
    return spec, judged_runs(stored, spec.name, spec.environments, "zone_margin")


def stored_spec(folder: Path) -> StudySpec:
    """The study that a folder holds. Raises ConfigError where it holds none, or links."""
    if not (folder / "study.toml").is_file():
        raise ConfigError(f"{folder}: holds no study (no study.toml); 'irm-study run' makes one")
    refuse_links(folder)
    check_plugins(folder)
    return read_stored_study(folder / "study.toml")


def read_stored_region(folder: Path, spec: StudySpec) -> StudyRegion | None:
    """The region that a study's folder holds; None where there is none. Raises ConfigError where it is no region of the
    study."""
    path = folder / "region.toml"
    return read_region(path, spec) if path.exists() else None


def stored_summary(folder: Path) -> dict[str, Any]:
    """The folder's summary.json as an earlier driver wrote it; empty where it cannot be read.

    Its provenance is left empty where it is no table.
    """
    try:
        summary = json.loads(read_text(folder / "summary.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(summary, dict):
        return {}
    if not isinstance(summary.get("provenance"), dict):
        summary["provenance"] = {}
    return summary


def _judged_by(spec: StudySpec, criterion: str | None, aggregate: str | None) -> StudySpec:
    """The same study under another criterion or aggregate."""
    given = {key: value for key, value in {"criterion": criterion, "aggregate": aggregate}.items() if value is not None}
    known = {"criterion": criteria_for(spec.environments), "aggregate": list(AGGREGATES)}
    for key, value in given.items():
        if value not in known[key]:
            raise ConfigError(f"unknown {key} {value!r} for this study; one of: {', '.join(known[key])}")
    return spec.model_copy(update={"study": spec.study.model_copy(update=given)})


def _listed_trials(folder: Path, spec: StudySpec, runs: pd.DataFrame) -> list[ListedTrial]:
    """Trials as the folder's storage lists them. Where the storage is elsewhere: as they were when tables were last
    written, and those that came since as the runs show them."""
    listed = read_stored_trials(folder / "study.db", spec.name)
    if listed is not None:
        listed = _under_present_digests(listed, folder, spec)
    else:
        listed = _under_present_digests(read_trials_csv(folder / "trials.csv"), folder, spec)
        known = {trial.digest for trial in listed}
        listed += [trial for trial in listed_in_runs(runs, spec) if trial.digest not in known]
    return listed


def _under_present_digests(listed: list[ListedTrial], folder: Path, spec: StudySpec) -> list[ListedTrial]:
    """Trials as earlier versions listed them, each with the digest that its runs have now."""
    if all(trial.digest.startswith("r") for trial in listed):
        return listed
    present = earlier_digests(folder, spec)
    return [trial._replace(digest=present.get(trial.digest, trial.digest)) for trial in listed]
