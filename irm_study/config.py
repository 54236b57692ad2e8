"""What a study file may hold: its tables, their keys, defaults and rules.

Every table of the file is one frozen model below, and a key that is left out has the default given
there. Files are read, written and digested in `studyfile`. Names of things that come in kinds (ramps,
penalties, models, stopping rules, criteria) live in dictionaries of later rooms; their names reach the
validation as `kinds`, so that a new kind is one function in one place.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

FROM_ANNEAL = ("penalty_weight", "anneal_epoch", "ramp", "ramp_epochs", "ramp_exponent")
"""Hyperparameters that matter from the anneal epoch on: runs that differ in no others share the epochs before."""
DIGITS = ("embedded", "mnist", "fashion-mnist", "kmnist")
Kinds = Mapping[str, Collection[str]]


class ConfigError(ValueError):
    """The input is wrong. The message says where, what, and what is allowed."""


class EntryErrors(ValueError):
    """What is wrong in a table whose entries have rules of their own: `texts` by key."""

    def __init__(self, texts: Mapping[str, str]):
        self.texts = texts


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Flip = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


NEAREST_FLIP = 0.1
"""Between an environment that judges and the mean of the training ones: accuracy is extrapolated over the distance."""


class EnvironmentSpec(Section):
    """The joint distributions of image, label and colour that a study trains and tests on."""

    train_flips: tuple[Flip, ...] = (0.2, 0.1)
    test_flip: Flip = 0.9
    validation_flip: Flip | None = None
    label_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.25
    split: Literal["dealt", "blocks"] = "dealt"
    """`dealt`: training digits shuffled by the seed, then dealt in turn (the authors);
    `blocks`: contiguous blocks in file order (reiinakano)."""
    test_examples: int | None = Field(None, ge=2)
    """Examples of the test environment, the last ones in file order; by default a sixth of MNIST
    (10,000) and a fifth of the embedded digits."""
    resolution: Literal[14, 28] = 14
    channels: Literal["grey", "two", "rgb"] = "two"
    """`two`: red and green; `rgb`: the same with an empty blue; `grey`: colour removed (the oracle)."""
    normalise: bool = False
    """Subtract MNIST's mean 0.1307 and divide by its standard deviation 0.3081 (not the empty blue's mean)."""

    @field_validator("train_flips", mode="before")
    @classmethod
    def two_at_least(cls, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not 2 <= len(value) <= 64:
            raise ValueError(f"needs a list of 2 to 64 flips, one for each training environment; got {shown(value)}")
        return tuple(value)

    @property
    def mean_flip(self) -> float:
        """Of the training environments."""
        return sum(self.train_flips) / len(self.train_flips)

    @property
    def train_names(self) -> tuple[str, ...]:
        return tuple(f"train{number}" for number in range(1, len(self.train_flips) + 1))

    @property
    def names(self) -> tuple[str, ...]:
        """Every environment that is measured, in the order of the curves' last axis.

        `heldout` has the training environments' flips on the test environment's digits: what a
        network knows of the training distribution when it cannot have memorised the examples.
        """
        validation = () if self.validation_flip is None else ("validation",)
        return (*self.train_names, "heldout", "test", *validation)


class RunConfig(Section):
    """One configuration: everything that a run needs but its seed. Defaults are the authors' script's."""

    model: str = "mlp"
    hidden: int = Field(256, ge=1, le=8192)
    layers: int = Field(2, ge=1, le=16)
    activation: str = "relu"
    penalty: str = "irmv1"
    penalty_weight: float = Field(10_000.0, ge=0, le=1e15)
    initial_weight: float = Field(1.0, ge=0, le=1e15)
    """The penalty weight before the anneal epoch (the authors': 1, not 0)."""
    anneal_epoch: int = Field(100, ge=0)
    ramp: str = "step"
    ramp_epochs: int = Field(50, ge=1)
    ramp_exponent: float = Field(2.0, gt=0, le=64)
    learning_rate: float = Field(0.001, gt=0)
    l2_weight: float = Field(0.001, ge=0)
    epochs: int = Field(501, ge=1, le=1_000_000)
    batch_size: int | None = Field(None, ge=2)
    """Examples of each environment in one step; left out: all of them (the authors)."""
    initial_seed: int | None = Field(None, ge=0, lt=2**32)
    """Seed of the first parameters; left out: the run's own. Set to tell the draw of data from that of parameters."""
    across: Literal["mean", "sum"] = "mean"
    """Whether risks and penalties of the environments are averaged (authors) or summed (reiinakano)."""
    rescale: bool = True
    """Divide the loss by the penalty weight where that is above 1, as the authors do."""
    stop: str = "none"
    give_up: bool = True
    """End a run that has diverged, or that has collapsed for good."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Epochs between measurements; left out: a fiftieth of `epochs`."""

    @property
    def checkpoint_interval(self) -> int:
        """Epochs between two measurements."""
        return self.checkpoint_every or max(1, self.epochs // 50)

    @field_validator("model", "activation", "penalty", "ramp", "stop")
    @classmethod
    def known_kind(cls, value: str, info: ValidationInfo) -> str:
        return check_kind(info.field_name, value, info)


class Range(Section):
    """A range that Optuna samples from; whole numbers where the hyperparameter is one."""

    low: float | int
    high: float | int
    log: bool = False

    @field_validator("low", "high", mode="before")
    @classmethod
    def number(cls, value: Any) -> float | int:
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
    waves: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Racing: a trial's seeds come in waves, and one that is losing to the best trial on the seeds they share is
    pruned between them. How many seeds are trained after each wave, all of them after the last; empty: one wave."""
    prune_below: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """p-value of Wilcoxon's test below which a trial is losing (Optuna's WilcoxonPruner)."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    sampler_seed: Seed = 0

    @field_validator("criterion", "aggregate")
    @classmethod
    def known_kind(cls, value: str, info: ValidationInfo) -> str:
        return check_kind(info.field_name, value, info)

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

    @field_validator("waves", mode="before")
    @classmethod
    def several(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def waves_end_with_all_seeds(self) -> StudySection:
        count = len(self.seed_list)
        if self.waves and (list(self.waves) != sorted(set(self.waves)) or self.waves[-1] != count):
            raise ValueError(f"waves must rise and end with the number of seeds, {count}; got {shown(self.waves)}")
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """How many of a trial's seeds are trained when it is looked at."""
        return self.waves or (len(self.seed_list),)

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


class TrainSpec(Section):
    """What `train` takes: one configuration and the environments that it trains on."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "train"
    digits: Literal[DIGITS] = "embedded"
    environments: EnvironmentSpec = EnvironmentSpec()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def anneals_within_the_epochs(self) -> TrainSpec:
        if self.run.anneal_epoch >= self.run.epochs:
            raise ValueError(
                f"run.anneal_epoch: must be in [0, epochs = {self.run.epochs}); got {self.run.anneal_epoch}"
            )
        check_run(self.environments, self.run)
        return self


class Way(Section):
    """One way to fail, in a calibration file: what it changes, and the mode that it is made for."""

    mode: str
    environments: dict[str, Any] = {}
    run: dict[str, Any] = {}

    @field_validator("mode")
    @classmethod
    def known_kind(cls, value: str, info: ValidationInfo) -> str:
        return check_kind("mode", value, info)


class CalibrationFile(Section):
    """What `calibrate` takes, before its ways are put together."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    digits: Literal[DIGITS] = "embedded"
    environments: dict[str, Any] = {}
    run: dict[str, Any] = {}
    ways: dict[Annotated[str, StringConstraints(pattern=r"^[\w ,.-]{1,100}$")], Way] = Field(min_length=1)


class StudySpec(Section):
    """A whole study file."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    digits: Literal[DIGITS] = "embedded"
    environments: EnvironmentSpec = EnvironmentSpec()
    run: RunConfig = RunConfig()
    search: dict[str, Range | tuple[Any, ...]] = {}
    study: StudySection = StudySection()
    confirm: ConfirmSection = ConfirmSection()

    @field_validator("search", mode="before")
    @classmethod
    def searchable(cls, table: Any, info: ValidationInfo) -> dict[str, Range | tuple[Any, ...]]:
        if not isinstance(table, dict):
            raise ValueError(f"must be a table of ranges and lists of choices; got {shown(table)}")
        entries, wrong = {}, {}
        for key, value in table.items():
            try:
                entries[key] = search_entry(key, value, info)
            except EntryErrors as error:
                wrong |= error.texts
            except ValueError as error:
                wrong[key] = str(error)
        if wrong:
            raise EntryErrors(wrong)
        # Whatever the order in the file: it is no part of a study's identity, and may choose nothing.
        return {key: entries[key] for key in RunConfig.model_fields if key in entries}

    @model_validator(mode="after")
    def consistent(self, info: ValidationInfo) -> StudySpec:
        last_epoch = max(_values(self.search.get("epochs"), self.run.epochs))
        for anneal in _values(self.search.get("anneal_epoch"), self.run.anneal_epoch):
            if anneal >= last_epoch:
                table = "search" if "anneal_epoch" in self.search else "run"
                raise ValueError(f"{table}.anneal_epoch: must be in [0, epochs = {last_epoch}); got {anneal}")
        if self.study.sampler == "grid":
            for key, entry in self.search.items():
                if isinstance(entry, Range):
                    raise ValueError(
                        f"search.{key}: sampler 'grid' needs a list of choices; got a range from "
                        f"{entry.low} to {entry.high}"
                    )
        for model in _values(self.search.get("model"), self.run.model):
            for stop in _values(self.search.get("stop"), self.run.stop):
                check_run(self.environments, self.run.model_copy(update={"model": model, "stop": stop}))
        if self.environments.validation_flip is None and self.study.criterion.startswith("validation"):
            raise ValueError(
                f"study.criterion: {self.study.criterion!r} needs environments.validation_flip, which is not set"
            )
        return self

    @property
    def budget(self) -> int:
        """How many trials the search has: a grid ends with its last point."""
        if self.study.sampler != "grid":
            return self.study.trials
        return min(self.study.trials, math.prod(len(choices) for choices in self.search.values()))

    def configure(self, parameters: Mapping[str, Any]) -> RunConfig:
        """The configuration of one trial: what all runs share, with the searched values put in."""
        return self.run.model_copy(update=dict(parameters))


def check_run(environments: EnvironmentSpec, run: RunConfig) -> None:
    """Raise ValueError where a configuration and its environments cannot go together."""
    known = environments.mean_flip
    for name in ("test_flip", "validation_flip"):
        flip = getattr(environments, name)
        if flip is not None and abs(flip - known) < NEAREST_FLIP - 1e-9:
            raise ValueError(
                f"environments.{name}: must be {NEAREST_FLIP} at least from the training environments' mean flip, "
                f"{known:.4g}: where colours agree as often as in training nothing shows what follows them, and "
                f"accuracy there is measured in any case ('heldout'); got {flip}"
            )
    if run.model == "convnet" and environments.resolution != 28:
        raise ValueError("run.model: 'convnet' needs environments.resolution = 28; got 14")
    if run.stop.startswith("validation") and environments.validation_flip is None:
        raise ValueError(f"run.stop: {run.stop!r} needs environments.validation_flip, which is not set")


def check_kind(field: str, value: str, info: ValidationInfo) -> str:
    kinds: Kinds = info.context or {}
    if field in kinds and value not in kinds[field]:
        raise ValueError(f"unknown {field} {value!r}; one of: {', '.join(kinds[field])}")
    return value


def search_entry(key: str, value: Any, info: ValidationInfo) -> Range | tuple[Any, ...]:
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
        bounds = {end: _as_in_run(key, getattr(entry, end), info, f"{key}.{end}") for end in ("low", "high")}
        return entry.model_copy(update=bounds)
    if not isinstance(value, list | tuple):
        raise ValueError(f"needs a range {{ low = …, high = … }} or a list of choices; got {shown(value)}")
    if not value:
        raise ValueError("a list of choices needs at least one; got []")
    choices = tuple(_as_in_run(key, each, info, key) for each in value)
    if len(set(choices)) < len(choices):
        raise ValueError(f"choices must differ from each other; got {shown(value)}")
    return choices


def _as_in_run(key: str, value: Any, info: ValidationInfo, location: str) -> Any:
    """One value of a hyperparameter, checked as [run] checks it; 10 becomes 10.0 where it is a float."""
    try:
        return getattr(RunConfig.model_validate({key: value}, context=info.context), key)
    except ValidationError as error:
        raise EntryErrors({location: problems(error, RunConfig)[0][1]}) from None


def is_whole(key: str) -> bool:
    """Whether a hyperparameter takes whole numbers only."""
    return RunConfig.model_fields[key].annotation in (int, int | None)


def _values(entry: Range | tuple[Any, ...] | None, otherwise: Any) -> tuple[Any, ...]:
    if entry is None:
        return (otherwise,)
    return (entry.low, entry.high) if isinstance(entry, Range) else entry


# What is wrong, in words


def problems(error: ValidationError, kind: type[Section]) -> list[tuple[tuple[str, ...], str]]:
    """Where and what, of everything that is wrong: a line each."""
    problems = []
    for each in error.errors():
        key = tuple(str(part) for part in each["loc"])
        value = shown(each.get("input"))
        match each["type"]:
            case "extra_forbidden":
                allowed = ", ".join(_allowed_keys(kind, each["loc"][:-1]))
                problems.append((key, f"unknown key, given as {value}; one of: {allowed}"))
            case "missing":
                problems.append((key, "is needed and not given"))
            case "model_type":
                problems.append((key, f"must be a table; got {value}"))
            case "value_error" if isinstance(each["ctx"]["error"], EntryErrors):
                texts = each["ctx"]["error"].texts
                problems += [((*key, entry), text) for entry, text in texts.items()]
            case "value_error":
                problems.append((key, str(each["ctx"]["error"])))
            case _:
                rule = each["msg"].replace("Input should", "must")
                problems.append((key, f"{rule[0].lower()}{rule[1:]}; got {value}"))
    return problems


def shown(value: Any) -> str:
    """A value as a message has it, cut where it is long."""
    if isinstance(value, tuple):
        value = list(value)
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits, tables in tables in tables
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 80 else text[:77] + "…"


def _allowed_keys(kind: type[Section], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        kind = kind.model_fields[part].annotation
    return list(kind.model_fields)
