"""What a study file may hold: its tables, their keys, defaults and rules.

Every table of the file is one frozen model below, and a key that is left out has the default given
there. Files are read, written and digested in `studyfile`. Names of things that come in kinds (ramps,
penalties, models, stopping rules, criteria) live in dictionaries of later rooms; their names reach the
validation as `kinds`, so that a new kind is one function in one place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator, model_validator

from irm_study.config.kinds import kind
from irm_study.config.run import DigitsName, EnvironmentSpec, RunConfig, Seed, check_run
from irm_study.config.validation import EntryErrors, Section, check_kind, problems, shown


class Range(Section):
    """A range that Optuna samples from; whole numbers where the hyperparameter is one."""

    low: float | int
    high: float | int
    log: bool = False

    @field_validator("low", "high", mode="before")
    @classmethod
    def number(cls, value: Any) -> Any:
        if type(value) not in (int, float) or (type(value) is float and not math.isfinite(value)):
            raise ValueError(f"needs a finite number; got {shown(value)}")
        return value

    @model_validator(mode="after")
    def ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low must not be above high; got low = {shown(self.low)}, high = {shown(self.high)}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low above 0; got low = {shown(self.low)}")
        return self


class StudySection(Section):
    trials: int = Field(12, ge=1, le=1_000_000)
    seeds: int | tuple[int, ...] = 4
    criterion: str = "oracle_min"
    aggregate: str = "mean"
    rungs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Racing: how many of a trial's seeds are trained before it is looked at again, all of them at the last rung. A
    trial that is losing to the best one on the seeds they share is pruned between rungs. Empty: all seeds at once."""
    prune_below: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """p-value of Wilcoxon's test below which a trial is losing (Optuna's WilcoxonPruner)."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    sampler_seed: Seed = 0

    @field_validator("criterion", "aggregate")
    @classmethod
    def known_kind(cls, value: str, info: ValidationInfo) -> str:
        return check_kind(info.field_name or "", value)

    @field_validator("seeds", mode="before")
    @classmethod
    def number_or_list(cls, value: Any) -> int | tuple[int, ...]:
        """One message for what pydantic would tell in two, one for each member of the union."""
        if type(value) is int and 1 <= value <= 10_000:
            return value
        if isinstance(value, list | tuple) and 1 <= len(value) <= 10_000:
            if not all(type(seed) is int and 0 <= seed < 2**32 for seed in value):
                raise ValueError(f"seeds must be whole numbers in [0, 2**32); got {shown(value)}")
            if len(set(value)) < len(value):
                raise ValueError(f"seeds must differ from each other; got {shown(value)}")
            return tuple(value)
        raise ValueError(f"needs a number of seeds in [1, 10000], or a list of as many; got {shown(value)}")

    @field_validator("rungs", mode="before")
    @classmethod
    def several(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def rungs_end_with_all_seeds(self) -> StudySection:
        count = len(self.seed_list)
        if self.rungs and (list(self.rungs) != sorted(set(self.rungs)) or self.rungs[-1] != count):
            raise ValueError(f"rungs must rise and end with the number of seeds, {count}; got {shown(self.rungs)}")
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """`rungs`, of which there is one at least."""
        return self.rungs or (len(self.seed_list),)

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


class ConfirmSection(Section):
    top: int = Field(1, ge=0, le=1000)
    seeds: int = Field(8, ge=1, le=100_000)
    target: float = Field(0.5, gt=0, lt=1)
    """A configuration is called stable when the lower end of its success rate's 95% interval is above this."""
    criteria: bool = False
    """Confirm also what each other criterion would have chosen: its regret."""
    neighbours: bool = False
    """Train the winner's neighbours too: each hyperparameter times 0.5, 0.8, 1.25 and 2."""
    draws: int = Field(0, ge=0, le=1000)
    """Train the winner on so many draws of data, each from so many initialisations, to tell their shares of the
    spread; at least two, or none."""

    @field_validator("draws")
    @classmethod
    def several_or_none(cls, value: int) -> int:
        if value == 1:
            raise ValueError("needs two draws at least, or 0 for none; got 1")
        return value


class Way(Section):
    """One way to fail, in a calibration file: what it changes, and the mode that it is made for."""

    mode: str
    environments: dict[str, Any] = Field(default_factory=dict)
    run: dict[str, Any] = Field(default_factory=dict)

    @field_validator("mode")
    @classmethod
    def known_kind(cls, value: str, info: ValidationInfo) -> str:
        return check_kind("mode", value)


class CalibrationFile(Section):
    """What `calibrate` takes, before its ways are put together."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    digits: DigitsName = "embedded"
    environments: dict[str, Any] = Field(default_factory=dict)
    run: dict[str, Any] = Field(default_factory=dict)
    ways: dict[Annotated[str, StringConstraints(pattern=r"^[\w ,.-]{1,100}$")], Way] = Field(min_length=1)


class StudySpec(Section):
    """A whole study file."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    digits: DigitsName = "embedded"
    environments: EnvironmentSpec = EnvironmentSpec()
    run: RunConfig = RunConfig()
    search: dict[str, Range | tuple[Any, ...]] = Field(default_factory=dict)
    study: StudySection = StudySection()
    confirm: ConfirmSection = ConfirmSection()

    @field_validator("search", mode="before")
    @classmethod
    def searchable(cls, table: Any) -> dict[str, Range | tuple[Any, ...]]:
        if not isinstance(table, dict):
            raise ValueError(f"must be a table of ranges and lists of choices; got {shown(table)}")
        entries: dict[str, Range | tuple[Any, ...]] = {}
        wrong: dict[str, str] = {}
        for key, value in table.items():
            try:
                entries[key] = search_entry(key, value)
            except EntryErrors as error:
                wrong |= error.texts
            except ValueError as error:
                wrong[key] = str(error)
        if wrong:
            raise EntryErrors(wrong)
        # Whatever the order in the file: it is no part of a study's identity, and may choose nothing.
        return {key: entries[key] for key in RunConfig.model_fields if key in entries}

    @model_validator(mode="after")
    def consistent(self) -> StudySpec:
        last_epoch = max(_values(self.search.get("epochs"), self.run.epochs))
        for anneal in _values(self.search.get("anneal_epoch"), self.run.anneal_epoch):
            if anneal >= last_epoch:
                table = "search" if "anneal_epoch" in self.search else "run"
                raise ValueError(f"{table}.anneal_epoch: must be in [0, epochs = {last_epoch}); got {anneal}")
        for model in _values(self.search.get("model"), self.run.model):
            for stop in _values(self.search.get("stop"), self.run.stop):
                check_run(self.environments, self.run.model_copy(update={"model": model, "stop": stop}))
        if self.environments.validation_flip is None and kind("criterion", self.study.criterion).sees == "validation":
            raise ValueError(
                f"study.criterion: {self.study.criterion!r} needs environments.validation_flip, which is not set"
            )
        return self

    @model_validator(mode="after")
    def grid_of_choices(self) -> StudySpec:
        for key, entry in self.search.items() if self.study.sampler == "grid" else ():
            if isinstance(entry, Range):
                got = f"got a range from {entry.low} to {entry.high}"
                raise ValueError(f"search.{key}: sampler 'grid' needs a list of choices; {got}")
        return self

    @property
    def budget(self) -> int:
        """How many trials the search has: a grid ends with its last point."""
        if self.study.sampler != "grid":
            return self.study.trials
        points = math.prod(len(choices) for choices in self.search.values() if not isinstance(choices, Range))
        return min(self.study.trials, points)

    @property
    def is_one_configuration(self) -> bool:
        """Whether every trial would be the same: nothing is searched, or one value of everything that is."""
        return all(
            entry.low == entry.high if isinstance(entry, Range) else len(entry) == 1 for entry in self.search.values()
        )

    def configure(self, parameters: Mapping[str, Any]) -> RunConfig:
        """The configuration of one trial: what all runs share, with the searched values put in."""
        return self.run.model_copy(update=dict(parameters))


def search_entry(key: str, value: Any) -> Range | tuple[Any, ...]:
    """A range or the choices of one hyperparameter, each value checked, and of the type, as in [run].

    Raises ValueError, or EntryErrors for what is wrong inside a range.
    """
    if key not in RunConfig.model_fields:
        allowed = ", ".join(RunConfig.model_fields)
        raise ValueError(f"unknown hyperparameter, given as {shown(value)}; one of: {allowed}")
    if isinstance(value, dict):
        if isinstance(RunConfig.model_fields[key].default, str | bool):
            raise ValueError(f"needs a list of choices; got a range {shown(value)}")
        try:
            entry = Range.model_validate(value)
        except ValidationError as error:
            raise EntryErrors({".".join([key, *path]): text for path, text in problems(error, Range)}) from None
        bounds = {end: _as_in_run(key, getattr(entry, end), f"{key}.{end}") for end in ("low", "high")}
        return entry.model_copy(update=bounds)
    if not isinstance(value, list | tuple):
        raise ValueError(f"needs a range {{ low = …, high = … }} or a list of choices; got {shown(value)}")
    if not value:
        raise ValueError("a list of choices needs at least one; got []")
    choices = tuple(_as_in_run(key, each, key) for each in value)
    if len(set(choices)) < len(choices):
        raise ValueError(f"choices must differ from each other; got {shown(value)}")
    return choices


def _as_in_run(key: str, value: Any, location: str) -> Any:
    """One value of a hyperparameter, checked as [run] checks it; 10 becomes 10.0 where it is a float."""
    try:
        return getattr(RunConfig.model_validate({key: value}), key)
    except ValidationError as error:
        raise EntryErrors({location: problems(error, RunConfig)[0][1]}) from None


def _values(entry: Range | tuple[Any, ...] | None, otherwise: Any) -> tuple[Any, ...]:
    if entry is None:
        return (otherwise,)
    return (entry.low, entry.high) if isinstance(entry, Range) else entry
