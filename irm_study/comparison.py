"""Configurations side by side: read from their folders, and in numbers, each alone and pair by pair.

A side is one configuration with its runs: the best one of a study, a named trial, or the one of `train`.
What the numbers say and how the page shows them is `comparison_report`'s.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irm_study import records, statistics, tables
from irm_study.config import ConfigError, EnvironmentSpec, RunConfig, TrainSpec
from irm_study.criteria import score
from irm_study.curves import curves_from_row
from irm_study.records import StudyRecord
from irm_study.study import load_study
from irm_study.studyfile import read_train, run_digest

OTHERWISE = "oracle_min"
"""The criterion by which sides are scored that were chosen by different ones."""
SIGNIFICANT = 0.05
MEASURES = ("success", "score", "test_accuracy")
"""What pairs are compared in: success rates unpaired, the two others on the seeds that both sides have."""


@dataclass(frozen=True)
class Side:
    """One configuration of a comparison. Sides are told apart by their names.

    stage: whose seeds its runs have: `confirm` (that the search never saw), `search` (that chose it, where there are
    no others), or `train`. runs: as `StudyRecord.runs`, of that stage alone. record: its study's; None for `train`.
    """

    name: str
    folder: Path
    digits: str
    environments: EnvironmentSpec
    run: RunConfig
    criterion: str
    stage: str
    trial: int | None
    runs: pd.DataFrame
    record: StudyRecord | None
    best: bool
    """Whether it was taken as the best of its study, rather than named."""


def load_sides(given: Sequence[str]) -> list[Side]:
    """The sides that `DIR` or `DIR:TRIAL` name: a study's best confirmed configuration (before any is confirmed, the
    one that leads the search), a study's trial, or the configuration of `train`.

    Raises ConfigError where a folder or a trial has no finished runs, or two sides are one.
    """
    sides = [_side(each) for each in given]
    for first, second in itertools.combinations(range(len(sides)), 2):
        if (sides[first].folder.resolve(), sides[first].trial) == (sides[second].folder.resolve(), sides[second].trial):
            raise ConfigError(f"{given[second]}: the same configuration of the same folder as {given[first]}")
    names = Counter(side.name for side in sides)
    sides = [side if names[side.name] == 1 else replace(side, name=f"{side.name} ({side.folder})") for side in sides]
    return _scored_alike(sides)


def outcomes(sides: Sequence[Side]) -> pd.DataFrame:
    """A row per side: name, stage, trial, n, successes, rate, low, high (Wilson), and the means over its runs, each
    with its bootstrap interval (`_low`, `_high`): score, train_accuracy (lowest environment), test_accuracy.

    A run that diverged has no accuracy and counts as 0.
    """
    rows = []
    for side in sides:
        successes, n = int((side.runs["failure_mode"] == "invariant").sum()), len(side.runs)
        rate, (low, high) = statistics.success_rate(successes, n)
        row: dict[str, Any] = {"name": side.name, "stage": side.stage, "trial": side.trial, "n": n}
        row |= {"successes": successes, "rate": float(rate), "low": low, "high": high}
        for key, column in (("score",) * 2, ("train_accuracy", "train_accuracy_min"), ("test_accuracy",) * 2):
            values = records.counted(side.runs[column])
            interval = statistics.bootstrap_interval(values, np.mean, np.random.default_rng(0))
            row |= {key: float(values.mean()), f"{key}_low": interval.low, f"{key}_high": interval.high}
        rows.append(row)
    return pd.DataFrame(rows)


def pairs(sides: Sequence[Side]) -> pd.DataFrame:
    """A row per pair of sides and measure: first, second, measure, n_first, n_second (of `success`: each side's runs;
    of the others: shared seeds), difference (first minus second), low, high, p_value, p_holm.

    Success rates by Boschloo's test, as if seeds were not shared; score and test accuracy by sign flips on the shared
    seeds, NaN without any. p_holm: Holm's correction over the pairs, each measure a family of its own.
    """
    rows = []
    for first, second in itertools.combinations(sides, 2):
        (k1, n1), (k2, n2) = (
            (int((s.runs["failure_mode"] == "invariant").sum()), len(s.runs)) for s in (first, second)
        )
        rows.append(_pair(first, second, "success", (n1, n2), statistics.compare_success(k1, n1, k2, n2)))
        shared = first.runs.merge(second.runs, on="seed", suffixes=("_first", "_second"))
        for measure in MEASURES[1:]:
            compared = None
            if len(shared):
                values = (records.counted(shared[f"{measure}_{end}"]) for end in ("first", "second"))
                compared = statistics.compare_paired(*values, np.random.default_rng(0))
            rows.append(_pair(first, second, measure, (len(shared),) * 2, compared))
    columns = ["first", "second", "measure", "n_first", "n_second", "difference", "low", "high", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = math.nan
    for _, family in table[table["p_value"].notna()].groupby("measure"):
        table.loc[family.index, "p_holm"] = statistics.holm(family["p_value"])
    return table


def summary(sides: Sequence[Side]) -> dict[str, Any]:
    """What scripts read."""
    compared = pairs(sides)
    told = []
    for side, row in zip(sides, outcomes(sides).to_dict("records"), strict=True):
        told.append(
            {"folder": str(side.folder), "digits": side.digits, **row}
            | {"parameters": side.run.model_dump(mode="json"), "failure_modes": records.mode_counts(side.runs)}
        )
    return {
        "criterion": sides[0].criterion,
        "sides": told,
        "pairs": [
            {"first": first, "second": second}
            | {row.pop("measure"): row for row in group.drop(columns=["first", "second"]).to_dict("records")}
            for (first, second), group in compared.groupby(["first", "second"], sort=False)
        ],
    }


# The tables of the pictures


def seed_points(sides: Sequence[Side]) -> pd.DataFrame:
    """Every run of every side, as `tables.seed_points` has those of a study's configurations."""
    rows = []
    for rank, side in enumerate(sides):
        for environment, column in (("train", "train_accuracy_min"), ("test", "test_accuracy")):
            own = side.runs[["stage", "seed", "failure_mode"]].assign(accuracy=side.runs[column].astype(float))
            rows.append(own.assign(configuration=side.name, rank=rank, environment=environment))
    return pd.concat(rows, ignore_index=True).sort_values(["rank", "stage", "seed"], ignore_index=True)


def profiles(sides: Sequence[Side]) -> pd.DataFrame:
    """Share of a side's runs above each test accuracy, as `tables.profile`."""
    thresholds = np.linspace(0, 1, 101)
    parts = []
    for rank, side in enumerate(sides):
        shares = statistics.performance_profile(records.counted(side.runs["test_accuracy"]), thresholds)._asdict()
        part = pd.DataFrame(shares | {"threshold": thresholds})
        parts.append(part.assign(configuration=side.name, rank=rank, stage=side.stage, n=len(side.runs)))
    return pd.concat(parts, ignore_index=True)


def modes(sides: Sequence[Side]) -> pd.DataFrame:
    """name, failure_mode, runs: how each side's runs ended."""
    rows = [
        {"name": side.name, "failure_mode": mode, "runs": count}
        for side in sides
        for mode, count in records.mode_counts(side.runs).items()
    ]
    return pd.DataFrame(rows, columns=["name", "failure_mode", "runs"])


def curves(sides: Sequence[Side]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy over epochs: lines (name, run, failure_mode, environment, epoch, accuracy, anneal_epoch) of at most
    `tables.LINES` runs a side, evenly taken, and bands (name, environment, epoch, low, median, high: the middle 80% of
    its runs) of sides with three runs or more."""
    lines, bands = [], []
    for side in sides:
        measured = [tables.accuracy_curves(run) for run in side.runs.to_dict("records")]
        chosen = np.unique(np.linspace(0, len(measured) - 1, min(tables.LINES, len(measured))).round().astype(int))
        for environment in ("train", "test"):
            for index in chosen:
                own = measured[index]
                line = pd.DataFrame({"epoch": own["epoch"], "accuracy": own[environment]})
                mode = side.runs["failure_mode"].iloc[index]
                lines.append(
                    line.assign(name=side.name, run=index, failure_mode=mode, environment=environment,
                                anneal_epoch=side.run.anneal_epoch)
                )  # fmt: skip
            if len(measured) >= 3:
                bands.append(tables.quantile_band(measured, environment, True).assign(name=side.name))
    columns = ["name", "environment", "epoch", "low", "median", "high"]
    return (
        pd.concat(lines, ignore_index=True),
        pd.concat(bands, ignore_index=True)[columns] if bands else pd.DataFrame(columns=columns),
    )


def searches(sides: Sequence[Side]) -> pd.DataFrame:
    """Every finished trial of the studies whose best is compared: name, trial, value, failure_mode (the commonest).

    Only of studies with one criterion and one aggregate, else none: their values would not be comparable."""
    whole = [side for side in sides if side.record is not None and side.best]
    if len({(side.record.spec.study.criterion, side.record.spec.study.aggregate) for side in whole}) == 1:
        found = [tables.progress(side.record).assign(name=side.name) for side in whole]
        table = pd.concat(found, ignore_index=True)
        return table.loc[np.isfinite(table["value"]), ["name", "trial", "value", "failure_mode"]]
    return pd.DataFrame(columns=["name", "trial", "value", "failure_mode"])


def settings(sides: Sequence[Side]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Digits, environments and hyperparameters: those in which sides differ (a value a side), and the rest."""
    flat = [
        {"digits": side.digits, **side.environments.model_dump(mode="json"), **side.run.model_dump(mode="json")}
        for side in sides
    ]
    each = {key: [row[key] for row in flat] for key in flat[0]}
    differ = {key: values for key, values in each.items() if any(value != values[0] for value in values)}
    return differ, {key: values[0] for key, values in each.items() if key not in differ}


# Their parts


def _side(given: str) -> Side:
    folder, trial = _parsed(given)
    if (folder / "study.toml").is_file():
        return _of_study(load_study(folder), trial, given)
    if not (folder / "train.toml").is_file():
        raise ConfigError(f"{folder}: holds neither a study (study.toml) nor runs of 'train' (train.toml)")
    if trial is not None:
        raise ConfigError(f"{given}: holds runs of 'train', which have no trials; name the folder alone")
    spec: TrainSpec = read_train(folder / "train.toml", {})
    digest = run_digest(spec.digits, spec.environments, spec.run)
    stored = records.read_parts(folder, spec.environments)
    stored = stored[stored["digest"] == digest].reset_index(drop=True)
    if stored.empty:
        raise ConfigError(f"{folder}: no finished runs of the configuration in its train.toml")
    runs = records.judged_runs(stored, spec.name, spec.environments, OTHERWISE)
    return Side(
        spec.name, folder, spec.digits, spec.environments, spec.run, OTHERWISE, "train", None, runs, None, False
    )  # fmt: skip


def _parsed(given: str) -> tuple[Path, int | None]:
    """`DIR` or `DIR:TRIAL`; a folder whose name ends in a colon and digits is itself."""
    folder, colon, trial = given.rpartition(":")
    if colon and trial.isdecimal() and not Path(given).exists():
        return Path(folder), int(trial)
    return Path(given), None


def _of_study(record: StudyRecord, trial: int | None, given: str) -> Side:
    best = trial is None
    if best:
        leading = tables.leading(record, top=1)
        if not leading:
            raise ConfigError(f"{record.folder}: no finished trial to compare")
        trial = leading[0]
    trials = tables.trials_of(record).drop_duplicates("trial").set_index("trial")
    known = trials["digest"]
    own = record.runs[record.runs["digest"] == known.get(trial, "")] if len(record.runs) else record.runs
    if own.empty:
        some = ", ".join(str(number) for number in sorted(known.index)[:20]) or "none yet"
        raise ConfigError(f"{given}: no finished runs of trial {trial}; trials of this study: {some}")
    fresh = own["stage"].isin(["confirm", "criterion"])  # seeds that the search never saw, whoever chose it
    stage = "confirm" if fresh.any() else "search"
    runs = own[fresh if fresh.any() else own["stage"] == "search"].reset_index(drop=True)
    spec, run = record.spec, records.config_of(runs.iloc[0].to_dict())
    name = spec.name if best else f"{spec.name}, trial {trial}"
    return Side(
        name, record.folder, spec.digits, spec.environments, run, spec.study.criterion, stage, trial, runs, record, best
    )  # fmt: skip


def _scored_alike(sides: list[Side]) -> list[Side]:
    """One criterion for all: the studies' own where they agree, else `oracle_min`."""
    criteria = {side.criterion for side in sides if side.record is not None}
    criterion = criteria.pop() if len(criteria) == 1 else OTHERWISE
    if criterion.startswith("validation") and any(side.environments.validation_flip is None for side in sides):
        criterion = OTHERWISE
    scored = []
    for side in sides:
        if side.criterion != criterion:
            rows = side.runs.to_dict("records")
            scores = [score(criterion, curves_from_row(row), side.environments) for row in rows]
            side = replace(side, criterion=criterion, runs=side.runs.assign(score=scores))
        scored.append(side)
    return scored


def _pair(
    first: Side, second: Side, measure: str, n: tuple[int, int], compared: statistics.Comparison | None
) -> tuple[Any, ...]:
    numbers = (math.nan,) * 4 if compared is None else (compared.difference, *compared.interval, compared.p_value)
    return first.name, second.name, measure, *n, *map(float, numbers)
