"""What a study file may hold around a configuration: its tables, their keys, defaults and rules.

Every table of the file is one frozen model, and a key that is left out has the default given there. [environments] and
[run] are in `run`, [search] is in `space`; files are read and written in `toml`, and digested in `digests`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from irm_study.config.effect import without_effect
from irm_study.config.kinds import kind, kind_names
from irm_study.config.run import (
    NEEDED_KEYS,
    DigitsName,
    EnvironmentSpec,
    RunConfig,
    Seed,
    Target,
    check_environments,
    set_target,
)
from irm_study.config.space import Range, check_points, grid_points, not_in_space, read_each, search_entry, values_of
from irm_study.config.validation import EntryErrors, Section, check_kind, shown


class StudySection(Section):
    trials: int = Field(12, ge=1, le=1_000_000)
    """Configurations that the search tries; a grid ends with its last point."""
    seeds: int | tuple[int, ...] = 4
    """Runs of each trial: a number of seeds, 0, 1, …, or a list of them."""
    criterion: str = "zone_margin"
    """How one run is scored."""
    aggregate: str = "mean"
    """How the scores of a trial's seeds become its objective value."""
    rungs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Racing: how many of a trial's seeds are trained before it is looked at again, all of them at the last rung. A
    trial that is losing to the best one on the seeds they share is pruned between rungs; left out: all at once."""
    prune_below: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """p-value of Wilcoxon's test below which a trial is losing (Optuna's WilcoxonPruner)."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """What asks for configurations: Optuna's TPE, chance, or every combination of the choices in turn."""
    sampler_seed: Seed = 0
    """Seed of the sampler."""
    enqueue: tuple[dict[str, Any], ...] = ()
    """The first trials, given by hand, `[[study.enqueue]]`: values of searched hyperparameters; what a table leaves out
    is sampled."""

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

    @field_validator("enqueue", mode="before")
    @classmethod
    def points(cls, value: Any) -> tuple[dict[str, Any], ...]:
        if not isinstance(value, list | tuple) or len(value) > 10_000:
            raise ValueError(f"needs tables, [[study.enqueue]], of hyperparameters; got {shown(value)}")
        checked: list[dict[str, Any]] = []
        wrong: dict[str, str] = {}
        for number, table in enumerate(value):
            try:
                checked.append(values_of(table))
            except EntryErrors as error:
                wrong |= {f"{number}.{key}": text for key, text in error.texts.items()}
            except ValueError as error:
                wrong[str(number)] = str(error)
        if wrong:
            raise EntryErrors(wrong)
        return tuple(checked)

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
    top: int = Field(3, ge=0, le=1000)
    """How many of the best configurations are trained on fresh seeds; with `baselines`, `neighbours` or `draws` one
    at least."""
    seeds: int = Field(8, ge=1, le=100_000)
    """Fresh seeds for each of them."""
    target: float = Field(0.5, gt=0, lt=1)
    """A configuration is called stable when the lower end of its success rate's 95% interval is above this."""
    criteria: bool = False
    """Confirm also what each other criterion would have chosen: its regret."""
    baselines: bool = False
    """Train the winner's configuration without a penalty, too, in colour and in grey: what it is measured against."""
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

    @model_validator(mode="after")
    def something_to_go_around(self, info: ValidationInfo) -> ConfirmSection:
        around = {"neighbours": self.neighbours, "baselines": self.baselines, "draws": self.draws}
        if self.top == 0 and any(around.values()) and not is_stored(info):
            asked = next(f"{key} = {str(value).lower()}" for key, value in around.items() if value)
            raise EntryErrors({"top": f"must be 1 at least with {asked}, which needs a confirmed winner; got 0"})
        return self


class Way(Section):
    """One way to fail, in a calibration file: what it changes, and the mode that it is made for."""

    mode: str
    digits: DigitsName | None = None
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
    """Of the study, and of its folder under `reports/`; has no default."""
    digits: DigitsName = "embedded"
    """Which images: 5,000 real digits that come with a dependency, or a data set in torchvision's layout."""
    environments: EnvironmentSpec = EnvironmentSpec()
    target: Target = Target()
    run: RunConfig = RunConfig()
    search: dict[str, Range | tuple[Any, ...]] = Field(default_factory=dict)
    study: StudySection = StudySection()
    confirm: ConfirmSection = ConfirmSection()

    @field_validator("search", mode="before")
    @classmethod
    def searchable(cls, table: Any) -> dict[str, Range | tuple[Any, ...]]:
        if not isinstance(table, dict):
            raise ValueError(f"must be a table of ranges and lists of choices; got {shown(table)}")
        return read_each(table, search_entry)

    @model_validator(mode="after")
    def environments_know_the_target(self) -> StudySpec:
        set_target(self)
        return self

    @model_validator(mode="after")
    def consistent(self, info: ValidationInfo) -> StudySpec:
        check_environments(self.environments)
        # Version 0.1 let points that break a rule pass beside others that don't.
        check_points(self.search, self.environments, self.run, some=is_stored(info))
        if "auto" in self.search.get("precision", ()):
            raise ValueError("search.precision: 'auto' is for run.precision; a search has 'float32' and 'bfloat16'")
        needed = NEEDED_KEYS.get(kind("criterion", self.study.criterion).sees)
        if needed is not None and getattr(self.environments, needed) is None:
            raise ValueError(f"study.criterion: {self.study.criterion!r} needs environments.{needed}, which is not set")
        return self

    @model_validator(mode="after")
    def pruned_trials_are_judged_by_fewer_seeds(self, info: ValidationInfo) -> StudySpec:
        aggregate = self.study.aggregate
        if len(self.study.rungs) > 1 and kind("aggregate", aggregate).of_low_end and not is_stored(info):
            allowed = ", ".join(name for name in kind_names("aggregate") if not kind("aggregate", name).of_low_end)
            raise ValueError(
                f"study.aggregate: {aggregate!r} of a pruned trial is that of fewer seeds, and higher for that alone; "
                f"with study.rungs one of: {allowed}"
            )
        return self

    @model_validator(mode="after")
    def grid_of_choices(self) -> StudySpec:
        for key, entry in self.search.items() if self.study.sampler == "grid" else ():
            if isinstance(entry, Range):
                got = f"got a range from {entry.low} to {entry.high}"
                raise ValueError(f"search.{key}: sampler 'grid' needs a list of choices; {got}")
        return self

    @model_validator(mode="after")
    def points_of_the_search(self) -> StudySpec:
        points = self.study.enqueue
        if points and self.study.sampler == "grid":
            raise ValueError(
                "study.enqueue: sampler 'grid' tries every combination; 'tpe' and 'random' have first points"
            )
        wrong = {
            f"study.enqueue.{number}.{key}": text
            for number, point in enumerate(points)
            for key, text in not_in_space(point, self.search).items()
        }
        if wrong:
            raise EntryErrors(wrong)
        return self

    @property
    def budget(self) -> int:
        """How many trials the search has: a grid ends with its last point."""
        return self.study.trials if self.study.sampler != "grid" else len(self.grid())

    def grid(self) -> list[dict[str, Any]]:
        """The points of a grid in their order, as many as there are trials for."""
        return grid_points(self.search, self.run, self.study.trials)

    @property
    def is_one_configuration(self) -> bool:
        """Whether every trial would be the same: nothing is searched, or one value of everything that is."""
        return all(
            entry.low == entry.high if isinstance(entry, Range) else len(entry) == 1 for entry in self.search.values()
        )

    def configure(self, parameters: Mapping[str, Any]) -> RunConfig:
        """The configuration of one trial: what all runs share, with the searched values put in."""
        return self.run.model_copy(update=dict(parameters))

    def acting(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Those searched values that have an effect beside the others."""
        silent = without_effect(self.configure(parameters))
        return {key: value for key, value in parameters.items() if key not in silent}


def is_stored(info: ValidationInfo) -> bool:
    """Whether a study is read back that a version of this package accepted, and may have run."""
    return bool(info.context and info.context.get("stored"))
