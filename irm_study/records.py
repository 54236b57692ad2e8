"""A study's folder: the table of runs, and what is derived from it.

Measurements are the truth and are stored: Parquet parts, one per finished batch, curves included,
written under a temporary name and renamed. Modes and scores are derived each time the table is read.
No Optuna and no torch here, so that a study is judged anew, or its page made again, without either.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from irm_study import parts
from irm_study.config import ConfigError, EnvironmentSpec, RunConfig, StudySpec
from irm_study.criteria import AGGREGATES, CRITERIA, criteria_for, score
from irm_study.curves import PROBES, QUANTITIES, Curves, curve_columns, curves_from_row
from irm_study.failures import FAILURE_MODES, diagnose
from irm_study.parts import Parts
from irm_study.statistics import Statistic, bootstrap_interval, iqm, success_rate, worst_decile

STAGES = ("search", "confirm", "criterion", "neighbour", "draws", "train")
"""Why a run was trained. Of a run that is stored twice, the stage that comes first here is its own."""
JUDGED = (
    "failure_mode", "failure_since", "failure_mode_train", "failure_mode_validation",
    "score", "train_accuracy", "train_accuracy_min", "test_accuracy",
    "heldout_accuracy", "validation_accuracy", "train_nll", "evidence", "explanation",
    *PROBES, *(f"score_{name}" for name in CRITERIA),
)  # fmt: skip


@dataclass(frozen=True)
class StudyRecord:
    """A study as far as it has come.

    runs: a row per run. Columns: study, stage (one of STAGES), trial (of runs on fresh seeds: the trial
    that is confirmed, or whose neighbour or draw it is), seed, digest (of the configuration), every hyperparameter (the
    fields of RunConfig), failure_mode, failure_since (epoch), evidence (text), explanation (text);
    failure_mode_train and failure_mode_validation: what those eyes would have said, without the test environment
    ("" without a validation environment); score (by the study's criterion) and score_<criterion> for each;
    the probes grey_accuracy, swapped_accuracy and swap_share at the end; train_accuracy (mean over training
    environments), train_accuracy_min (the lowest), test_accuracy,
    heldout_accuracy, validation_accuracy (NaN without one), train_nll, epochs_trained, stopped (why, or
    ""), shared_epochs, seconds, device, and the list columns of `curves.curve_columns`.
    trials: a row per trial. Columns: trial, digest, state (complete | pruned | running), value
    (objective value; NaN while running), every searched hyperparameter.
    importance: share of the objective's variation by hyperparameter; empty when it cannot be told.
    provenance: command, versions, hardware: shown under "how it was made".
    """

    folder: Path
    spec: StudySpec
    runs: pd.DataFrame
    trials: pd.DataFrame
    importance: dict[str, float]
    provenance: dict[str, Any]


# Measurements


def run_row(
    stage: str, trial: int, seed: int, digest: str, run: RunConfig, curves: Curves, device: str
) -> dict[str, Any]:
    """What is stored of one run."""
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


def schema(environments: EnvironmentSpec) -> pa.Schema:
    """Of the stored table. The number of environments is the study's; a hyperparameter that a part does not know yet
    had its default there."""
    types = {int: pa.int64(), int | None: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    numbers = pa.list_(pa.float32())
    return pa.schema(
        [("stage", pa.string()), ("trial", pa.int64()), ("seed", pa.int64()), ("digest", pa.string())]
        + [
            pa.field(name, types.get(field.annotation, pa.string()), metadata={"default": json.dumps(field.default)})
            for name, field in RunConfig.model_fields.items()
        ]
        + [("epochs_trained", pa.int64()), ("stopped", pa.string()), ("shared_epochs", pa.int64())]
        + [("seconds", pa.float64()), ("device", pa.string())]
        + [("curve_epoch", pa.list_(pa.int64())), ("curve_penalty_weight", numbers)]
        + [(f"curve_{quantity}_{name}", numbers) for quantity in QUANTITIES for name in environments.names]
        + [(f"curve_{probe}", numbers) for probe in PROBES]
        + [("curve_examples", pa.list_(pa.int64()))]
    )


def runs_table(folder: Path, environments: EnvironmentSpec) -> Parts:
    """The table of runs in a folder, for its driver to add to."""
    return Parts(folder / "runs", schema(environments))


def write_part(folder: Path, rows: Sequence[Mapping[str, Any]], environments: EnvironmentSpec) -> Path:
    """Add rows to the table of runs: they are there whole, or not at all."""
    return runs_table(folder, environments).add(list(rows))


def read_parts(folder: Path, environments: EnvironmentSpec, move_aside: bool = False) -> pd.DataFrame:
    """The stored table, a row per (digest, seed), in the order of stage, trial and seed.

    move_aside: for the folder's driver, who trains again what a damaged part held.
    """
    table = parts.read(folder / "runs", schema(environments), move_aside)
    _check_rows(table, folder / "runs")
    runs = table.to_pandas(integer_object_nulls=True)
    order = runs["stage"].map(STAGES.index)
    runs = runs.assign(_order=order).sort_values(["_order", "trial", "seed"], kind="stable").drop(columns="_order")
    return runs.drop_duplicates(["digest", "seed"]).reset_index(drop=True)


def restage(folder: Path, stage: str, trials: Mapping[tuple[str, int], int], environments: EnvironmentSpec) -> None:
    """Give stored runs to a stage that comes before their own. trials: by (digest, seed), the trial they belong to."""
    stored = read_parts(folder, environments)
    rows = [row for row in stored.to_dict("records") if (row["digest"], row["seed"]) in trials]
    write_part(
        folder, [row | {"stage": stage, "trial": trials[row["digest"], row["seed"]]} for row in rows], environments
    )


def _check_rows(table: pa.Table, folder: Path) -> None:
    """Raise ConfigError for rows that no driver wrote: every run has a key, and curves of one length."""
    lists = [name for name in table.column_names if pa.types.is_list(table.schema.field(name).type)]
    for name in ("stage", "trial", "seed", "digest", *lists):
        if table[name].null_count:
            raise ConfigError(f"{folder}: {name}: not given in {table[name].null_count} rows")
    stages = pc.unique(table["stage"]).to_pylist()
    if not set(stages) <= set(STAGES):
        raise ConfigError(f"{folder}: stage: {sorted(set(stages) - set(STAGES))[0]!r} is none of: {', '.join(STAGES)}")
    lengths = pc.list_value_length(table["curve_epoch"])
    for name in lists:
        one = pc.list_value_length(table[name])
        same = lengths if name != "curve_examples" else pc.list_value_length(table["curve_examples"])
        if not pc.all(pc.and_(pc.equal(one, same), pc.greater(one, 0)), min_count=0).as_py():
            raise ConfigError(f"{folder}: {name}: as many numbers as in curve_epoch, and one at least, are needed")


# Judgements


def judge(run: RunConfig, curves: Curves, environments: EnvironmentSpec, criterion: str) -> dict[str, Any]:
    """The derived columns of one run. One that diverged has no accuracy: NaN."""
    verdict = diagnose(curves, environments, run)
    validated = environments.validation_flip is not None
    last = np.full(len(environments.names), np.nan) if verdict.mode == "diverged" else curves.accuracy[-1]
    train = last[list(curves.train)]
    scores = {name: score(name, curves, environments) for name in criteria_for(environments)}

    def accuracy(name: str) -> float:
        index = curves.of(name)
        return float("nan") if index is None else float(last[index])

    values = (
        verdict.mode, verdict.since, diagnose(curves, environments, run, "train").mode,
        diagnose(curves, environments, run, "validation").mode if validated else "",
        scores[criterion], float(train.mean()), float(train.min()),
        accuracy("test"), accuracy("heldout"), accuracy("validation"),
        float(curves.nll[-1, curves.train].mean()), verdict.evidence_text, verdict.explanation,
        *(float(getattr(curves, probe)[-1]) for probe in PROBES),
        *(scores.get(name, float("nan")) for name in CRITERIA),
    )  # fmt: skip
    return dict(zip(JUDGED, values, strict=True))


def judged_runs(stored: pd.DataFrame, name: str, environments: EnvironmentSpec, criterion: str) -> pd.DataFrame:
    """The table of runs with the derived columns, as `StudyRecord.runs`."""
    judged = [judge(config_of(row), curves_from_row(row), environments, criterion) for row in stored.to_dict("records")]
    runs = pd.concat([stored, pd.DataFrame(judged, columns=list(JUDGED))], axis=1)
    runs.insert(0, "study", name)
    return runs


def config_of(row: Mapping[str, Any]) -> RunConfig:
    """The configuration in a row of the table of runs."""
    values = {name: row[name] for name in RunConfig.model_fields}
    return RunConfig.model_construct(**{name: None if pd.isna(value) else value for name, value in values.items()})


def trials_from_runs(runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """`StudyRecord.trials`, told from the runs of the search alone."""
    wanted = set(spec.study.seed_list)
    rows = []
    for trial, group in runs[runs["stage"] == "search"].groupby("trial", sort=True):
        have = set(group["seed"])
        pruned = any(have == set(spec.study.seed_list[:look]) for look in spec.study.looks[:-1])
        state = "complete" if wanted <= have else "pruned" if pruned else "running"
        rows.append(
            {
                "trial": trial,
                "digest": group["digest"].iloc[0],
                "state": state,
                "value": float("nan") if state == "running" else aggregate(group["score"], spec),
                **{key: group[key].iloc[0] for key in spec.search},
            }
        )
    return pd.DataFrame(rows, columns=["trial", "digest", "state", "value", *spec.search])


def aggregate(scores: Iterable[float], spec: StudySpec) -> float:
    """A configuration's objective value, from the scores of some of its runs."""
    return AGGREGATES[spec.study.aggregate](np.array(list(scores), dtype=float))


def best_trials(trials: pd.DataFrame, count: int) -> pd.DataFrame:
    """The configurations with the highest values, each once."""
    complete = trials[trials["state"] == "complete"].drop_duplicates("digest")
    return complete.sort_values("value", ascending=False, kind="stable").head(count)


def confirmed(runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """Confirmed configurations: trial, digest, value (the objective on its fresh seeds), the best first, by the
    objective on those fresh seeds that all of them have."""
    if "stage" not in runs or not (runs["stage"] == "confirm").any():
        return pd.DataFrame(columns=["trial", "digest", "value"])
    fresh = runs[runs["stage"] == "confirm"]
    having = fresh.groupby("seed")["digest"].nunique()
    shared = having.index[having == fresh["digest"].nunique()]
    rows = []
    for digest, group in fresh.groupby("digest", sort=False):
        alike = group[group["seed"].isin(shared)] if len(shared) else group
        values = (aggregate(each["score"], spec) for each in (group, alike))
        rows.append((group["trial"].iloc[0], digest, *values))
    table = pd.DataFrame(rows, columns=["trial", "digest", "value", "alike"])
    table = table.sort_values(["alike", "trial"], ascending=[False, True], kind="stable", ignore_index=True)
    return table.drop(columns="alike")


def confirmed_table(record: StudyRecord) -> list[dict[str, Any]]:
    """Each confirmed configuration on its fresh seeds, the best first."""
    rows = []
    for trial, digest, value in confirmed(record.runs, record.spec).itertuples(index=False):
        group = record.runs[(record.runs["stage"] == "confirm") & (record.runs["digest"] == digest)]
        searched = record.trials[record.trials["digest"] == digest]
        told = over_seeds(group)
        rows.append(
            {
                "trial": int(trial),
                "digest": digest,
                "stable": told["low"] > record.spec.confirm.target,
                "parameters": {key: plain(group[key].iloc[0]) for key in record.spec.search},
                "value": float(value),
                "search_value": float(searched["value"].iloc[0]) if len(searched) else None,
                **told,
            }
        )
    return rows


def over_seeds(runs: pd.DataFrame) -> dict[str, Any]:
    """One configuration's runs in numbers: the success rate with its 95% interval (Wilson), means and sample
    standard deviations of the accuracies, the score in the mean, in the middle half (`iqm`) and in the worst tenth,
    each with its 95% bootstrap interval, counts of the failure modes. A run that diverged counts as accuracy 0."""
    successes = int((runs["failure_mode"] == "invariant").sum())
    rate, interval = success_rate(successes, len(runs))
    train, test = (pd.Series(counted(runs[f"{name}_accuracy"])) for name in ("train", "test"))
    return {
        "seeds": len(runs),
        "successes": successes,
        "success_rate": rate,
        "low": interval.low,
        "high": interval.high,
        "train_accuracy": float(train.mean()),
        "train_deviation": float(train.std()),
        "test_accuracy": float(test.mean()),
        "test_deviation": float(test.std()),
        "score": centres(runs["score"]),
        "failure_modes": mode_counts(runs),
    }


CENTRES: dict[str, Statistic] = {"mean": np.mean, "iqm": iqm, "worst_decile": worst_decile}
"""What stands for the runs of a configuration, beside the success rate."""


def centres(values: Iterable[float]) -> dict[str, dict[str, float]]:
    """Of some runs, each of CENTRES: value, low, high, as `centre_of`."""
    return {
        name: dict(zip(("value", "low", "high"), centre_of(values, statistic), strict=True))
        for name, statistic in CENTRES.items()
    }


def centre_of(values: Iterable[float], statistic: Statistic) -> tuple[float, float, float]:
    """A statistic of some runs and its 95% interval; NaN where there are no runs (the interval: fewer than two)."""
    finite = counted(values)
    if len(finite) == 0:
        return math.nan, math.nan, math.nan
    # The same generator each time, so that the same runs have the same interval wherever they are shown.
    interval = bootstrap_interval(finite, statistic, np.random.default_rng(0))
    return float(statistic(finite, axis=-1)), *interval


def counted(values: Iterable[float]) -> np.ndarray:
    """Runs without a finite number count as 0: to leave them out would make an unstable configuration look good."""
    array = np.asarray(list(values), dtype=float)
    return np.where(np.isfinite(array), array, 0.0)


def trial_attributes(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One trial's runs as attributes that a person reads in any Optuna tool.

    Few, because each is a transaction of its own in Optuna's storage.
    """
    modes = Counter(run["failure_mode"] for run in runs)
    train, test = (counted(run[name] for run in runs).mean() for name in ("train_accuracy", "test_accuracy"))
    each = [
        f"{run['seed']}: {run['failure_mode']}, score {run['score']:.3f}, train {run['train_accuracy']:.3f}, "
        f"test {run['test_accuracy']:.3f}"
        for run in runs
    ]
    return {
        "failure_modes": ", ".join(f"{mode} {modes[mode]}" for mode in FAILURE_MODES if mode in modes),
        "seeds": [*each, f"mean: train {train:.3f}, test {test:.3f}"],
    }


def mode_counts(runs: pd.DataFrame) -> dict[str, int]:
    """Runs by failure mode, in the modes' order, without those that did not occur."""
    counts = runs["failure_mode"].value_counts()
    return {mode: int(counts[mode]) for mode in FAILURE_MODES if mode in counts}


def summary(record: StudyRecord) -> dict[str, Any]:
    """What scripts read: the content of summary.json."""
    search = record.runs[record.runs["stage"] == "search"]
    best = best_trials(record.trials, 1)
    return {
        "study": record.spec.name,
        "digits": record.spec.digits,
        "criterion": record.spec.study.criterion,
        "aggregate": record.spec.study.aggregate,
        "trials": int(record.trials["state"].isin(["complete", "pruned"]).sum()),
        "runs": len(record.runs),
        "failure_modes": mode_counts(search),
        "best": None if best.empty else {
            "trial": int(best["trial"].iloc[0]),
            "parameters": {key: plain(best[key].iloc[0]) for key in record.spec.search},
            "value": float(best["value"].iloc[0]),
        },
        "confirmed": confirmed_table(record),
        "epochs": epochs_spent(record.runs),
        "importance": record.importance,
        "provenance": record.provenance,
    }  # fmt: skip


def epochs_spent(runs: pd.DataFrame) -> dict[str, int]:
    """Epochs of all runs: trained; taken over from a trunk that several runs share; left out because the
    run was given up or stopped."""
    shared, reached = int(runs["shared_epochs"].sum()), int(runs["epochs_trained"].sum())
    return {"trained": reached - shared, "shared": shared, "stopped": int(runs["epochs"].sum()) - reached}


def write_tables(record: StudyRecord) -> None:
    """runs.csv, trials.csv and summary.json."""
    write_runs_csv(record.folder, record.runs)
    write_text(record.folder / "trials.csv", record.trials.to_csv(index=False, lineterminator="\n"))
    write_text(record.folder / "summary.json", json.dumps(finite(summary(record)), indent=2) + "\n")


def write_runs_csv(folder: Path, runs: pd.DataFrame) -> None:
    """runs: as `StudyRecord.runs`; its curves are left out."""
    lists = [name for name in runs.columns if name.startswith("curve_")]
    write_text(folder / "runs.csv", runs.drop(columns=lists).to_csv(index=False, lineterminator="\n"))


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Whole or not at all; a file that holds the same already is not touched."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # of a driver that was killed; what a link points to is left alone
    with partial.open("xb") as file:
        file.write(data)
    os.replace(partial, path)


def refuse_studies(folder: Path) -> None:
    """Raise ConfigError where a folder holds a study or runs, whose own page and figures would be lost."""
    if any((folder / name).exists() for name in ("study.toml", "train.toml", "runs")):
        raise ConfigError(f"{folder}: holds a study or runs; name another folder with --out")


def plain(value: Any) -> Any:
    """A table's value as JSON and TOML have it."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def finite(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [finite(each) for each in value]
    value = plain(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value
