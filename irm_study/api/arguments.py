"""What the functions for people accept, and one message where something else is given.

A study is given as an object, as a path, or by the name of a shipped one; so is a configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irm_study.config import (
    EnvironmentSpec,
    RunConfig,
    StudySpec,
    TrainSpec,
    checked,
    named_file,
    read_study,
    read_train,
)
from irm_study.errors import ConfigError, without_password

if TYPE_CHECKING:
    from irm_study.results import StudyRecord


def study_of(study: StudySpec | str | Path, overrides: Mapping[str, Any]) -> tuple[StudySpec, Path | None]:
    """The study, with single keys replaced by those overrides that are not None, and the file that it was read from."""
    given = {key: value for key, value in overrides.items() if value is not None}
    if isinstance(study, StudySpec):
        return checked(study, given), None
    if isinstance(study, str | os.PathLike):
        file = named_file(os.fspath(study), "run")
        return read_study(file, given), file
    raise ConfigError(f"study must be a StudySpec, a path, or the name of a shipped study; got {_shown(study)}")


def configuration_of(
    config: RunConfig | TrainSpec | str | Path,
    environments: EnvironmentSpec | Mapping[str, Any] | None,
    digits: str | None,
) -> tuple[TrainSpec, Path | None]:
    """What `train` trains, and the file that it was read from. environments, digits: instead of the configuration's."""
    file = None
    if isinstance(config, RunConfig):
        spec = TrainSpec.model_construct(run=config)
    elif isinstance(config, TrainSpec):
        spec = config
    elif isinstance(config, str | os.PathLike):
        file = named_file(os.fspath(config), "train")
        spec = read_train(file)
    else:
        allowed = "a RunConfig, a TrainSpec, a path, or the name of a shipped configuration"
        raise ConfigError(f"config must be {allowed}; got {_shown(config)}")
    overrides: dict[str, Any] = {}
    if isinstance(environments, EnvironmentSpec):
        overrides["environments"] = environments.model_dump()
    elif isinstance(environments, Mapping):
        overrides["environments"] = dict(environments)
    elif environments is not None:
        raise ConfigError(f"environments must be an EnvironmentSpec or a mapping; got {_shown(environments)}")
    if digits is not None:
        overrides["digits"] = digits
    return checked(spec, overrides), file


def seeds_of(seeds: int | Iterable[int]) -> list[int]:
    """So many seeds from 0 on, or those that are named."""
    allowed = "a whole number of at least 1, or different whole numbers in [0, 2**32)"
    given: Any = seeds
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        named = list(given)
        valid = all(_is_whole(seed) and 0 <= seed < 2**32 for seed in named)
        if named and valid and len(set(named)) == len(named):
            return [int(seed) for seed in named]
    elif _is_whole(given) and given >= 1:
        return list(range(int(given)))
    raise ConfigError(f"seeds must be {allowed}; got {_shown(seeds)}")


def folder_of(study: StudyRecord | str | Path) -> Path:
    """The folder of a study that was run."""
    from irm_study.results import StudyRecord

    if isinstance(study, StudyRecord):
        return study.folder
    if isinstance(study, str | os.PathLike):
        return Path(study)
    raise ConfigError(f"a study's folder or its StudyRecord is needed; got {_shown(study)}")


def out_folder(out: str | Path | None) -> Path | None:
    """Where results go, when it is said."""
    if out is None or isinstance(out, str | os.PathLike):
        return None if out is None else Path(out)
    raise ConfigError(f"out must be a path; got {_shown(out)}")


def where_of(
    jobs: int | None,
    device: str,
    data_root: str | Path | None,
    storage: str | None = None,
    scheduler: str | None = None,
) -> dict[str, Any]:
    """Where runs are trained, as `usable_settings` takes it."""
    if jobs is not None and not (_is_whole(jobs) and jobs >= 1):
        raise ConfigError(f"jobs must be a whole number of at least 1, or None for all cores; got {_shown(jobs)}")
    if not isinstance(device, str):
        raise ConfigError(f"device must be a text as 'cpu' or 'cuda'; got {_shown(device)}")
    if data_root is not None and not isinstance(data_root, str | os.PathLike):
        raise ConfigError(f"data_root must be a path; got {_shown(data_root)}")
    for name, address in (("storage", storage), ("scheduler", scheduler)):
        if address is not None and not isinstance(address, str):
            raise ConfigError(f"{name} must be an address as text; got {_shown(address)}")
    return {
        "jobs": None if jobs is None else int(jobs), "device": device, "data_root": data_root, "storage": storage,
        "scheduler": scheduler,
    }  # fmt: skip


def call_text(function: str, study: StudySpec | str | Path, given: Mapping[str, Any]) -> str:
    """The call as the page repeats it, without what was left out, and without passwords."""
    first = f"<StudySpec {study.name!r}>" if isinstance(study, StudySpec) else repr(os.fspath(study))
    named = [
        f"{key}={os.fspath(value)!r}" if isinstance(value, os.PathLike) else f"{key}={value!r}"
        for key, value in given.items()
        if value is not None and (key, value) != ("device", "cpu")
    ]
    return without_password(f"irm_study.{function}({', '.join([first, *named])})")


def _is_whole(value: Any) -> bool:
    """numpy's integers are whole numbers too; True is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '…'} ({type(value).__name__})"
