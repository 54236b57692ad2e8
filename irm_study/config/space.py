"""The search space: a range or a list of choices for each hyperparameter, the points of a grid, and first points.

What may be said of a single value is said in `run`, and checked here for every value that a search may come to: each
of its points obeys the rules between hyperparameters, or the study is refused.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator

from irm_study.config.effect import effective
from irm_study.config.run import FROM_ANNEAL, RULES, EnvironmentSpec, Rule, RunConfig, is_whole
from irm_study.config.validation import EntryErrors, Section, problems, shown

Entry = TypeVar("Entry")

NARROWEST_LOG = 1e-9
"""Width of a log range, in natural logarithms: the sampler's densities are not computed in narrower ones."""
NARROWEST = 1e-300
"""Width of any other range: below it lie numbers that lose their digits."""


class Range(Section):
    """A range that Optuna samples from; whole numbers where the hyperparameter is one.

    step: between the values that it may give, `low` and every step from there.
    """

    low: float | int
    high: float | int
    log: bool = False
    step: float | int | None = None

    @field_validator("low", "high", "step", mode="before")
    @classmethod
    def number(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name == "step":
            return None
        # A whole number of hundreds of digits is no floating-point number, with which it is compared.
        if type(value) not in (int, float) or not -sys.float_info.max <= value <= sys.float_info.max:
            raise ValueError(f"needs a finite number; got {shown(value)}")
        return value

    @model_validator(mode="after")
    def ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low must not be above high; got low = {shown(self.low)}, high = {shown(self.high)}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low above 0; got low = {shown(self.low)}")
        if self.step is not None:
            self._check_step(self.step)
        return self

    def _check_step(self, step: float) -> None:
        if self.log:
            raise ValueError(f"a log range has no step; got step = {shown(step)}")
        if step <= 0 or (step > self.high - self.low > 0):
            raise ValueError(f"step must be above 0, and no wider than the range; got step = {shown(step)}")

    @property
    def last(self) -> float | int:
        """The highest value that it may give."""
        if self.step is None:
            return self.high
        # In decimals, as Optuna does: 0.1 to 0.3 in steps of 0.1 ends at 0.3.
        low, high, step = (Decimal(str(value)) for value in (self.low, self.high, self.step))
        last = low + (high - low) // step * step
        return int(last) if isinstance(self.low, int) and isinstance(self.step, int) else float(last)

    def holds(self, value: float) -> bool:
        """Whether it may give a value."""
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.last and abs(steps - round(steps)) < 1e-8


Space = Mapping[str, Range | tuple[Any, ...]]
"""By hyperparameter, the values that a search may give it."""


def search_entry(key: str, value: Any) -> Range | tuple[Any, ...]:
    """A range or the choices of one hyperparameter, each value checked, and of the type, as in [run].

    Raises ValueError, or EntryErrors for what is wrong inside a range.
    """
    _known(key, value)
    if isinstance(value, dict):
        if isinstance(RunConfig.model_fields[key].default, str | bool):
            raise ValueError(f"needs a list of choices; got a range {shown(value)}")
        try:
            entry = Range.model_validate(value)
        except ValidationError as error:
            raise EntryErrors({".".join([key, *path]): text for path, text in problems(error, Range)}) from None
        bounds = {end: _as_in_run(key, getattr(entry, end), f"{key}.{end}") for end in ("low", "high")}
        return _wide_enough(entry.model_copy(update=bounds | {"step": _step(key, entry.step)}))
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


def _step(key: str, step: float | None) -> float | int | None:
    if step is None or not is_whole(key):
        return None if step is None else float(step)
    if type(step) is not int:
        raise EntryErrors({f"{key}.step": f"must be a whole number, as {key} is; got {shown(step)}"})
    return step


def _wide_enough(entry: Range) -> Range:
    """Raise ValueError for a range of numbers that differ in their last digits alone."""
    low, high = float(entry.low), float(entry.high)
    width, least = (math.log(high / low), NARROWEST_LOG) if entry.log else (high - low, NARROWEST)
    if high > low and width < least:
        ends = f"got low = {shown(entry.low)}, high = {shown(entry.high)}"
        raise ValueError(f"low and high are too close to sample between; a list has one value, or several: {ends}")
    return entry


# Points


def check_points(search: Space, environments: EnvironmentSpec, run: RunConfig, some: bool = False) -> None:
    """Raise ValueError where a point of a search space breaks a rule, with the hyperparameters that cannot be.

    run: the values of what is not searched. some: one point that obeys is enough.
    """
    for rule in RULES:
        wrong = [
            (point, text) for point in _extremes(rule, search) if (text := _broken(rule, environments, run, point))
        ]
        if wrong and not (some and len(wrong) < len(list(_extremes(rule, search)))):
            first, (point, text) = rule.keys[0], wrong[0]
            others = [f"search.{key} = {shown(value)}" for key, value in point.items() if key != first]
            where = f" (where {' and '.join(others)}: every point of [search] must obey)" if others else ""
            raise ValueError(f"{'search' if first in search else 'run'}.{first}: {text}{where}")


def _broken(rule: Rule, environments: EnvironmentSpec, run: RunConfig, point: Mapping[str, Any]) -> str | None:
    return rule.broken(environments, run.model_copy(update=dict(point)))


def _extremes(rule: Rule, search: Space) -> Iterator[dict[str, Any]]:
    """The points among which a rule is broken if it is broken anywhere: of ranges, the ends."""
    searched = {key: search[key] for key in rule.keys if key in search}
    ends = [(entry.last, entry.low) if isinstance(entry, Range) else entry for entry in searched.values()]
    for values in itertools.product(*ends):
        yield dict(zip(searched, values, strict=True))


def grid_points(search: Space, run: RunConfig, most: int) -> list[dict[str, Any]]:
    """The combinations of a grid's values, each effect once, up to so many.

    Those that differ only in what matters from the anneal epoch on follow each other: trained together, they share
    their first epochs.
    """
    keys = sorted(search, key=FROM_ANNEAL.__contains__)
    points: dict[RunConfig, dict[str, Any]] = {}
    for values in itertools.product(*(search[key] for key in keys)):
        if len(points) == most:
            break
        point = dict(zip(keys, values, strict=True))
        points.setdefault(effective(run.model_copy(update=point)), point)
    return list(points.values())


def values_of(table: Any) -> dict[str, Any]:
    """A point given by hand: each value checked, and of the type, as in [run]. Raises ValueError, or EntryErrors."""
    if not isinstance(table, dict) or not table:
        raise ValueError(f"needs a table of one hyperparameter at least; got {shown(table)}")
    return read_each(table, lambda key, value: _as_in_run(_known(key, value), value, key))


def read_each(table: Mapping[str, Any], read: Callable[[str, Any], Entry]) -> dict[str, Entry]:
    """Each hyperparameter's entry as `read` reads it, in the order of RunConfig, whatever the file's: it is no part
    of a study's identity, and may choose nothing. Raises EntryErrors with everything that is wrong."""
    entries: dict[str, Entry] = {}
    wrong: dict[str, str] = {}
    for key, value in table.items():
        try:
            entries[key] = read(key, value)
        except EntryErrors as error:
            wrong |= error.texts
        except ValueError as error:
            wrong[key] = str(error)
    if wrong:
        raise EntryErrors(wrong)
    return {key: entries[key] for key in RunConfig.model_fields if key in entries}


def not_in_space(point: Mapping[str, Any], search: Space) -> dict[str, str]:
    """By hyperparameter, what keeps a search from coming to a point given by hand."""
    wrong = {}
    for key, value in point.items():
        entry = search.get(key)
        if entry is None:
            wrong[key] = f"is not searched, given as {shown(value)}; [search] has: {', '.join(search) or 'nothing'}"
        elif not (entry.holds(value) if isinstance(entry, Range) else value in entry):
            wrong[key] = f"must be a value that search.{key} can give, {_as_text(entry)}; got {shown(value)}"
    return wrong


def _known(key: str, value: Any) -> str:
    if key not in RunConfig.model_fields:
        allowed = ", ".join(RunConfig.model_fields)
        raise ValueError(f"unknown hyperparameter, given as {shown(value)}; one of: {allowed}")
    return key


def _as_text(entry: Range | Sequence[Any]) -> str:
    if not isinstance(entry, Range):
        return shown(entry)
    return f"{entry.low} to {entry.high}" + ("" if entry.step is None else f" in steps of {entry.step}")
