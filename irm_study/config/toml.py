"""TOML files read and written: studies, configurations for `train`, ways to fail for `calibrate`.

What their tables may hold is said by the models of `run` and `study`. Everything that is wrong with a file becomes one
`ConfigError`, which says file, key, value and what is allowed.
"""

from __future__ import annotations

import codecs
import logging
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import ValidationError

from irm_study.config.digests import RENAMED, study_digest
from irm_study.config.region import RegionSection, StudyRegion, outside
from irm_study.config.run import TrainSpec
from irm_study.config.shipped import KINDS, command_for
from irm_study.config.study import CalibrationFile, StudySpec
from irm_study.config.validation import Section, problems, shown
from irm_study.errors import ConfigError

MAX_FILE_BYTES = 2**20
log = logging.getLogger("irm_study")
S = TypeVar("S", bound=Section)


def read_study(path: Path, overrides: Mapping[str, Any] | None = None, unset: Iterable[str] = ()) -> StudySpec:
    """The study in a file, without the keys of `unset`, and with single keys replaced by `overrides` ({"study.trials":
    100}).

    Raises ConfigError for anything that is wrong with the file.
    """
    data = _read_toml(path)
    data.pop("region", None)
    renamed = _rename_keys(data)
    _leave_out(data, unset, path)
    _replace(data, overrides or {})
    for line in renamed + _rename_keys(data):
        log.warning("%s: %s", path, line)
    _refuse_ways(data, path, "run")
    return _validate(StudySpec, data, path)


def refuse_repetition(spec: StudySpec, where: Path | str) -> None:
    """Raise ConfigError for a study whose trials would all be one configuration: what differs between trials is what
    [search] names. A study of one trial may leave [search] out: its configuration is then confirmed on fresh seeds.

    where: its file, or what else a message should name.
    """
    if not spec.is_one_configuration or spec.budget == 1:
        return
    lack = "its [search] names one configuration alone" if spec.search else "there is no [search]"
    train = f"irm-study train {shlex.quote(str(where))}" if isinstance(where, Path) else "train"
    raise ConfigError(
        f"{where}: {lack}, so its {spec.budget} trials would be one configuration {spec.budget} times; "
        f"'{train}' trains one configuration over seeds, and a study of one needs study.trials = 1"
    )


def checked(spec: S, overrides: Mapping[str, Any] | None = None) -> S:
    """What was made in Python, checked as a file is, with single keys replaced as in `read_study`.

    A copy that pydantic made (`model_copy`) may hold anything. Raises ConfigError.
    """
    data = spec.model_dump()
    _replace(data, overrides or {})
    return _validate(type(spec), data, Path(type(spec).__name__))


def read_setting(text: str) -> tuple[str, Any]:
    """`study.rungs=[2, 4]`, as a command line has it: the key, and the value as TOML reads it; a bare word is text."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise ConfigError(f"--set {shown(text)}: needs KEY=VALUE, such as study.rungs=[2, 4, 8]")
    if not value:
        raise ConfigError(f"--set {shown(text)}: has no value; --unset {key} leaves the key out")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return key, value


def read_train(path: Path, overrides: Mapping[str, Any] | None = None, unset: Iterable[str] = ()) -> TrainSpec:
    """The configuration in a file for `train`: [environments] and [run]; of a study file, and of a region, those alone.

    overrides, unset: as in `read_study`.
    """
    data = _read_toml(path)
    _leave_out(data, unset, path)
    data.setdefault("name", path.stem)
    _refuse_ways(data, path, "train")
    searched = data.pop("search", None)
    region = data.pop("region", None)
    for table in ("study", "confirm", "digest", "confirmed"):
        data.pop(table, None)
    if searched and region is None:
        raise ConfigError(
            f"{path}: search: 'train' takes one configuration; a file with [search] is for 'irm-study run'"
        )
    _replace(data, overrides or {})
    return _validate(TrainSpec, data, path)


def read_calibration(path: Path) -> tuple[str, dict[str, tuple[str, TrainSpec]]]:
    """A calibration file's name, and its ways to fail: the mode that each was made for, and its configuration.

    A way states what it changes in the file's [environments] and [run], and its digits where they are others.
    """
    data = _read_toml(path)
    if "ways" not in data:
        command = command_for(data)
        raise ConfigError(
            f"{path}: holds no [ways] to fail, which 'calibrate' trains; it is a {KINDS[command]}: "
            f"'irm-study {command}' takes it"
        )
    file = _validate(CalibrationFile, data, path)
    ways = {}
    for name, way in file.ways.items():
        tables = {table: data.get(table, {}) | getattr(way, table) for table in ("environments", "run")}
        where = Path(f"{path}: ways.{name}")
        ways[name] = (
            way.mode,
            _validate(TrainSpec, {"name": name, "digits": way.digits or file.digits, **tables}, where),
        )
    return file.name, ways


def read_stored_study(path: Path) -> StudySpec:
    """The study.toml of a study's folder, without its digest line."""
    data = _read_toml(path)
    data.pop("digest", None)
    _rename_keys(data)
    return _validate(StudySpec, data, path, stored=True)


def read_region(path: Path, study: StudySpec) -> StudyRegion:
    """The region.toml of a study's folder. Raises ConfigError where it is none of this study."""
    data = _read_toml(path)
    found = _validate(RegionSection, data.pop("region", {}), Path(f"{path}: region"))
    spec = _validate(StudySpec, data, path, stored=True)
    if wrong := outside(spec.search, study.search):
        raise ConfigError(f"{path}: {wrong}")
    return StudyRegion(spec, found)


def region_toml(region: StudyRegion, comment: str) -> str:
    """A file that `run` takes as the study of a region, and `train` as its middle, under a comment."""
    return _commented(comment) + tomli_w.dumps(_plain(region.spec) | {"region": _plain(region.found)})


def study_toml(spec: StudySpec) -> str:
    """The study as run, every value written out, with its digest."""
    return tomli_w.dumps({"digest": study_digest(spec), **_plain(spec)})


def train_toml(spec: TrainSpec, comment: str) -> str:
    """A file that `irm-study train` takes as it is, under a comment of one or more lines."""
    return _commented(comment) + tomli_w.dumps(_plain(spec))


def _commented(comment: str) -> str:
    return "".join(f"# {line}\n" for line in comment.splitlines())


def _refuse_ways(data: Mapping[str, Any], path: Path, command: str) -> None:
    if "ways" in data:
        raise ConfigError(f"{path}: ways: '{command}' takes none; a file with [ways] is for 'irm-study calibrate'")


def _leave_out(data: dict[str, Any], keys: Iterable[str], path: Path) -> None:
    """Take keys, or whole tables, out of what a file holds. Raises ConfigError where it has none of that name."""
    for key in keys:
        *tables, last = key.split(".")
        table: Any = data
        for name in tables:
            table = table.get(name) if isinstance(table, dict) else None
        if not isinstance(table, dict) or last not in table:
            there = f"; {'.'.join(tables) or 'it'} has: {', '.join(table)}" if isinstance(table, dict) and table else ""
            raise ConfigError(f"--unset {shown(key)}: {path} does not set it{there}")
        del table[last]


def _replace(data: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        *tables, last = key.split(".")
        table: Any = data
        for name in tables:
            table = table.setdefault(name, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[last] = value


def _rename_keys(data: dict[str, Any]) -> list[str]:
    """Give keys of earlier versions their present names; returns a line for each."""
    renamed = []
    for (table, old), new in RENAMED.items():
        keys = data.get(table)
        if isinstance(keys, dict) and old in keys and new not in keys:
            keys[new] = keys.pop(old)
            renamed.append(f"{table}.{old} is called {table}.{new} now; it was read as that")
    return renamed


def _plain(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_none=True)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB; a study file is a page of text")
        text = _decoded(data)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; a TOML file is needed") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file (byte {error.start} is not UTF-8); a TOML file is needed") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if not text.strip():
        raise ConfigError(f'{path}: the file is empty; a study file needs at least: name = "…"')
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error or 'nested too deeply'}") from None


def _decoded(data: bytes) -> str:
    """Editors of Windows begin a file with a byte-order mark; its shells write UTF-16, which has one too."""
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf_16 else "utf-8-sig")


def _validate(section: type[S], data: dict[str, Any], path: Path, stored: bool = False) -> S:
    try:
        return section.model_validate(data, context={"stored": stored})
    except ValidationError as error:
        lines = (": ".join([str(path), *filter(None, [".".join(key), text])]) for key, text in problems(error, section))
        raise ConfigError("\n".join(lines)) from None
