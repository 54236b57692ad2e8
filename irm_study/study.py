"""A study from its folder: run, confirmed, trained or read back, with the files that are derived from its runs.

`run_study` opens a study or goes on with it and hands it to the driver, which is the only writer; then
tables and the winner's file are brought up to date.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from irm_study import __version__, records, untrusted
from irm_study.config import ConfigError, Kinds, StudySpec, TrainSpec
from irm_study.criteria import AGGREGATES, criteria_for
from irm_study.driver import Driver, Settings, Wanted, Watcher, batch_of, parts_of, rows_of, stored_runs
from irm_study.execution import Workers, processor
from irm_study.locks import locked
from irm_study.records import StudyRecord
from irm_study.studyfile import (
    changed_fields,
    read_stored_study,
    read_train,
    run_digest,
    shown_command,
    study_digest,
    study_toml,
    train_toml,
)


def kinds() -> Kinds:
    """The names that a study file may use, from the dictionaries that hold what they mean."""
    from irm_study.criteria import AGGREGATES, CRITERIA
    from irm_study.failures import FAILURE_MODES
    from irm_study.models import ACTIVATIONS, MODELS
    from irm_study.penalties import PENALTIES
    from irm_study.ramps import RAMPS
    from irm_study.stopping import STOPPING_RULES

    return {
        "model": MODELS.keys(),
        "activation": ACTIVATIONS.keys(),
        "penalty": PENALTIES.keys(),
        "ramp": RAMPS.keys(),
        "stop": STOPPING_RULES.keys(),
        "criterion": CRITERIA.keys(),
        "aggregate": AGGREGATES.keys(),
        "mode": FAILURE_MODES.keys(),
    }


def run_study(
    spec: StudySpec, folder: Path, settings: Settings, watcher: Watcher, workers: Workers | None = None
) -> tuple[StudyRecord, int]:
    """Run a study to its end, or what is left of it; returns its record and how many runs were trained.

    workers: others than the settings name. Raises ConfigError when the folder holds another study, or another driver
    has it.
    """
    with locked(folder):
        _claim(folder, spec)
        with contextlib.closing(Driver(folder, spec, settings, watcher)) as driver:
            with workers or workers_of(settings) as ready:
                driver.run(ready)
                driver.confirm(ready)
            return _record(driver), driver.trained


def confirm_study(spec: StudySpec, folder: Path, settings: Settings, watcher: Watcher) -> tuple[StudyRecord, int]:
    """Confirm the best trials so far on spec.confirm's seeds, training only what is missing."""
    with locked(folder):
        if settings.storage is None and not (folder / "study.db").is_file():
            raise ConfigError(
                f"{folder}: its trials are not here (no study.db); name the storage that 'run' was given with --storage"
            )
        with contextlib.closing(Driver(folder, spec, settings, watcher)) as driver:
            with workers_of(settings) as workers:
                driver.confirm(workers)
            return _record(driver), driver.trained


def train_runs(
    spec: TrainSpec, seeds: Sequence[int], folder: Path, settings: Settings, watcher: Watcher
) -> tuple[pd.DataFrame, int]:
    """Train one configuration; its runs join the table in the folder. Returns the table, judged, and the
    number of runs trained."""
    with locked(folder):
        if (folder / "study.toml").exists():
            raise ConfigError(f"{folder}: holds a study; 'train' needs a folder of its own: name one with --out")
        _claim_training(folder, spec)
        stored = records.read_parts(folder, spec.environments, move_aside=True)
        table = records.runs_table(folder, spec.environments)
        digest = run_digest(spec.digits, spec.environments, spec.run)
        stored = stored[(stored["digest"] == digest) & stored["seed"].isin(seeds)].reset_index(drop=True)
        before = records.judged_runs(stored, spec.name, spec.environments, "oracle_min").to_dict("records")
        missing = [seed for seed in seeds if seed not in set(stored["seed"])]
        watcher.begin("train", 1, len(seeds), before, jobs=settings.jobs)
        with workers_of(settings) as workers:
            for part in parts_of([Wanted(0, spec.run, digest, seed) for seed in missing], settings.jobs):
                workers.submit(batch_of(spec, settings, "train", part))
            while workers.pending:
                for batch, curves in workers.finished():
                    rows = rows_of(batch, curves)
                    table.add(rows)
                    watcher.runs_finished(
                        [
                            row | records.judge(spec.run, each, spec.environments, "oracle_min")
                            for row, each in zip(rows, curves, strict=True)
                        ]
                    )
        runs = records.judged_runs(
            records.read_parts(folder, spec.environments), spec.name, spec.environments, "oracle_min"
        )
        records.write_runs_csv(folder, runs)
        return runs, len(missing)


def workers_of(settings: Settings) -> Workers:
    """Where the settings have batches trained."""
    return Workers(settings.jobs, settings.device, settings.scheduler)


def load_study(folder: str | Path, criterion: str | None = None, aggregate: str | None = None) -> StudyRecord:
    """A study's record from its folder: for `irm-study report`, and for notebooks.

    criterion, aggregate: judge its runs by others than those that guided the search. Raises ConfigError when the
    folder holds no study, or a name is not known.
    """
    folder = Path(folder)
    spec = judged_by(stored_spec(folder), criterion, aggregate)
    try:
        runs = stored_runs(folder, spec)
        trials = _stored_trials(folder, spec, runs)
    except ConfigError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # rows that no driver wrote
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{folder / 'runs'}: holds rows that are no runs of this study: {reason}") from None
    told = _stored_summary(folder)
    return StudyRecord(folder, spec, runs, trials, told.get("importance") or {}, told.get("provenance") or {})


def judged_by(spec: StudySpec, criterion: str | None, aggregate: str | None) -> StudySpec:
    """The same study under another criterion or aggregate."""
    given = {key: value for key, value in {"criterion": criterion, "aggregate": aggregate}.items() if value is not None}
    known = {"criterion": criteria_for(spec.environments), "aggregate": list(AGGREGATES)}
    for key, value in given.items():
        if value not in known[key]:
            raise ConfigError(f"unknown {key} {value!r} for this study; one of: {', '.join(known[key])}")
    return spec.model_copy(update={"study": spec.study.model_copy(update=given)})


def _stored_trials(folder: Path, spec: StudySpec, runs: pd.DataFrame) -> pd.DataFrame:
    """Trials as they are in the folder's storage, their parameters and values from the runs. Where the storage is
    elsewhere, as they were when tables were last written, and since then as the runs tell. Two trials may have one
    configuration, whose runs are those of the first."""
    told = records.trials_from_runs(runs, spec)
    known = {row["digest"]: row for row in told.to_dict("records")}
    stored = untrusted.read_trials(folder / "study.db", spec.name)
    if stored is None:
        stored = untrusted.read_told_trials(folder / "trials.csv")
        since = {each.digest for each in stored}
        stored += [
            untrusted.StoredTrial(row["trial"], digest, row["state"])
            for digest, row in known.items() if digest not in since
        ]  # fmt: skip
    rows = [
        known[each.digest]
        | {"trial": each.number, "state": each.state}
        | ({"value": float("nan")} if each.state == "running" else {})
        for each in stored
        if each.digest in known
    ]
    return pd.DataFrame(rows, columns=told.columns).sort_values("trial", kind="stable").reset_index(drop=True)


def stored_spec(folder: Path) -> StudySpec:
    """The study that a folder holds."""
    if not (folder / "study.toml").is_file():
        raise ConfigError(f"{folder}: holds no study (no study.toml); 'irm-study run' makes one")
    untrusted.refuse_links(folder)
    return read_stored_study(folder / "study.toml")


def _record(driver: Driver) -> StudyRecord:
    """The study as far as it has come; tables and the winner's file are brought up to date."""
    folder, spec, search = driver.folder, driver.spec, driver.search
    runs = stored_runs(folder, spec)
    stored = _stored_summary(folder)
    # A driver that was killed after its last run left a summary of the time before.
    fresh = driver.trained > 0 or stored.get("runs") != len(runs) or stored.get("trials") != search.finished
    record = StudyRecord(
        folder, spec, runs, search.trials(runs, spec),
        importance=search.importance() if fresh else stored.get("importance") or {},
        provenance=_provenance(driver.settings, stored) if fresh else stored.get("provenance") or {},
    )  # fmt: skip
    records.write_tables(record)
    _write_best(record)
    return record


# The folder


def _claim(folder: Path, spec: StudySpec) -> None:
    """Make the folder this study's; raise ConfigError when it holds another one."""
    path = folder / "study.toml"
    untrusted.refuse_links(folder)
    if path.exists():
        stored = read_stored_study(path)
        if study_digest(stored) != study_digest(spec):
            changes = "\n".join(f"  {change}" for change in changed_fields(stored, spec))
            raise ConfigError(
                f"{folder}: holds study {stored.name!r} made by another study file; changed since then:\n{changes}\n"
                "  give the new study another name, or another folder with --out"
            )
    elif (folder / "runs").exists():
        raise ConfigError(f"{folder}: holds runs of 'train'; a study needs a folder of its own: name one with --out")
    records.write_text(path, study_toml(spec))


def _claim_training(folder: Path, spec: TrainSpec) -> None:
    """Make the folder one of `train`, on these digits and environments alone: runs of others are judged otherwise."""
    path = folder / "train.toml"
    if path.exists():
        stored = read_train(path, {})
        if (stored.digits, stored.environments) != (spec.digits, spec.environments):
            raise ConfigError(
                f"{folder}: holds runs of other digits or environments (see {path}); name another folder with --out"
            )
    records.write_text(path, train_toml(spec, "The configuration last trained here."))


def _write_best(record: StudyRecord) -> None:
    confirmed = records.confirmed_table(record)
    if not confirmed:
        return
    best = confirmed[0]
    row = record.runs[record.runs["digest"] == best["digest"]].iloc[0]
    spec = TrainSpec.model_construct(
        name=f"{record.spec.name[:190]}-best", digits=record.spec.digits, environments=record.spec.environments,
        run=records.config_of(row.to_dict()),
    )  # fmt: skip
    several = "" if len(confirmed) == 1 else f"It is the best of {len(confirmed)} there, which flatters it a little.\n"
    fresh = record.runs.loc[(record.runs["digest"] == best["digest"]) & (record.runs["stage"] == "confirm"), "seed"]
    # Fresh seeds leave out those that the search names; then they are not one row.
    own = f" --seeds {len(fresh)} --first-seed {fresh.min()}" if fresh.max() - fresh.min() < len(fresh) else ""
    comment = (
        f"The winner of a study, confirmed on {best['seeds']} seeds that its search never saw: in the target zone in "
        f"{best['successes']} of them,\n95% interval of the rate {best['low']:.3f} to {best['high']:.3f} (Wilson).\n"
        f"{several}Train it{' anew on the same seeds' if own else ''} with: irm-study train "
        f"{shlex.quote(str(record.folder / 'best.toml'))}{own}"
    )
    records.write_text(record.folder / "best.toml", train_toml(spec, comment))


def _provenance(settings: Settings, stored: dict[str, Any]) -> dict[str, Any]:
    """How the runs came about. stored: the summary so far, whose commands came before this one."""
    packages = ("torch", "optuna", "numpy", "pandas")
    earlier = str((stored.get("provenance") or {}).get("command") or "").splitlines()
    command = shown_command(sys.argv[1:])
    return {
        "command": "\n".join([*(each for each in earlier if each != command), command]),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {"irm-study": __version__} | {name: metadata.version(name) for name in packages},
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
        "device": settings.device,
        "jobs": settings.jobs,
        "scheduler": settings.scheduler,
    }


def _stored_summary(folder: Path) -> dict[str, Any]:
    """What an earlier driver wrote, as far as it is of the right kind."""
    try:
        told = json.loads(untrusted.read_text(folder / "summary.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    importance = told.get("importance")
    shares = importance.items() if isinstance(importance, dict) else ()
    told["importance"] = {key: float(share) for key, share in shares if isinstance(share, float) and 0 <= share <= 1}
    if not isinstance(told.get("provenance"), dict):
        told["provenance"] = {}
    return told
