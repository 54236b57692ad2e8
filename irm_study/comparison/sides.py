"""The sides of a comparison: each is one configuration with its runs, read from the folder that names it.

The best configuration of a study, a named trial of it, or the one of `train`. How sides compare in numbers is in
`measures`; how the numbers are shown, in the exhibits and the page.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from irm_study.config import EnvironmentSpec, RunConfig, TrainSpec, check_plugins, read_train, run_digest
from irm_study.diagnosis import criteria_for, curves_from_row, reference_levels, score
from irm_study.errors import ConfigError
from irm_study.report import leading, trials_of
from irm_study.results import StudyRecord, config_of, judged_runs, load_study, read_parts

OTHERWISE = "zone_margin"
"""The criterion by which sides are scored that were chosen by different ones."""
SEEDS = {"confirm": "fresh seed", "search": "search seed", "train": "seed"}
"""What the seeds of a side are called, by its stage."""
LONGEST = 30
"""Letters of a side's name in a figure."""


@dataclass(frozen=True)
class Side:
    """One configuration of a comparison. No two sides have the same name.

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
    chosen_of: int = 1
    """Of how many configurations it is the best on these very runs: those confirmed, or those searched."""


def load_sides(given: Sequence[str | StudyRecord]) -> list[Side]:
    """The sides that `DIR` or `DIR:TRIAL` name: a study's best confirmed configuration (before any is confirmed, the
    one that leads the search), a study's trial, or the configuration of `train`. A record stands for its study.

    Raises ConfigError where a folder or a trial has no finished runs, or two sides are one.
    """
    sides = [_side(each) for each in given]
    for first, second in itertools.combinations(range(len(sides)), 2):
        if (sides[first].folder.resolve(), sides[first].trial) == (sides[second].folder.resolve(), sides[second].trial):
            one, other = (each if isinstance(each, str) else each.folder for each in (given[first], given[second]))
            raise ConfigError(f"{other}: the same configuration of the same folder as {one}")
    names = Counter(side.name for side in sides)
    sides = [side if names[side.name] == 1 else replace(side, name=f"{side.name} ({side.folder})") for side in sides]
    return _scored_alike(sides)


def settings(sides: Sequence[Side]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Digits, environments and hyperparameters: those in which sides differ (a value a side), and the rest."""
    flat = [
        {"digits": side.digits, **side.environments.model_dump(mode="json"), **_zone(side.environments),
         **side.run.model_dump(mode="json")}
        for side in sides
    ]  # fmt: skip
    each = {key: [row[key] for row in flat] for key in flat[0]}
    differ = {key: values for key, values in each.items() if any(value != values[0] for value in values)}
    return differ, {key: values[0] for key, values in each.items() if key not in differ}


# Their parts


def _zone(environments: EnvironmentSpec) -> dict[str, float]:
    levels = reference_levels(environments)
    return {"target_train": levels.target_train, "target_test": levels.target_test}


def _side(given: str | StudyRecord) -> Side:
    if isinstance(given, StudyRecord):
        return _of_study(given, None, str(given.folder))
    folder, trial = _parsed(given)
    if (folder / "study.toml").is_file():
        return _of_study(load_study(folder), trial, given)
    if not (folder / "train.toml").is_file():
        raise ConfigError(f"{folder}: holds neither a study (study.toml) nor runs of 'train' (train.toml)")
    if trial is not None:
        raise ConfigError(f"{given}: holds runs of 'train', which have no trials; name the folder alone")
    check_plugins(folder)
    spec: TrainSpec = read_train(folder / "train.toml")
    digest = run_digest(spec.digits, spec.environments, spec.run)
    stored = read_parts(folder, spec.digits, spec.environments)
    stored = stored[stored["digest"] == digest].reset_index(drop=True)
    if stored.empty:
        raise ConfigError(f"{folder}: no finished runs of the configuration in its train.toml")
    runs = judged_runs(stored, spec.name, spec.environments, OTHERWISE)
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
        first = leading(record, top=1)
        if not first:
            raise ConfigError(f"{record.folder}: no finished trial to compare")
        trial = first[0]
    trials = trials_of(record).drop_duplicates("trial").set_index("trial")
    known = trials["digest"]
    own = record.runs[record.runs["digest"] == known.get(trial, "")] if len(record.runs) else record.runs
    if own.empty:
        some = ", ".join(str(number) for number in sorted(known.index)[:20]) or "none yet"
        raise ConfigError(f"{given}: no finished runs of trial {trial}; trials of this study: {some}")
    fresh = own["stage"].isin(["confirm", "criterion"])  # seeds that the search never saw, whoever chose it
    stage = "confirm" if fresh.any() else "search"
    runs = own[fresh if fresh.any() else own["stage"] == "search"].reset_index(drop=True)
    spec, run = record.spec, config_of(runs.iloc[0].to_dict())
    name = spec.name if best else f"{spec.name}, trial {trial}"
    chosen_of = record.runs.loc[record.runs["stage"] == stage, "digest"].nunique() if best else 1
    return Side(
        name, record.folder, spec.digits, spec.environments, run, spec.study.criterion, stage, trial, runs, record,
        best, chosen_of,
    )  # fmt: skip


def _scored_alike(sides: list[Side]) -> list[Side]:
    """One criterion for all: the studies' own where they agree, else `zone_margin`."""
    criteria = {side.criterion for side in sides if side.record is not None}
    criterion = criteria.pop() if len(criteria) == 1 else OTHERWISE
    if any(criterion not in criteria_for(side.environments) for side in sides):
        criterion = OTHERWISE
    scored = []
    for side in sides:
        if side.criterion != criterion:
            rows = side.runs.to_dict("records")
            scores = [score(criterion, curves_from_row(row), side.environments) for row in rows]
            side = replace(side, criterion=criterion, runs=side.runs.assign(score=scores))
        scored.append(side)
    return scored
