"""The study file: read, written and digested.

What its tables may hold is `config`'s. Everything that is wrong with a file becomes one `ConfigError`, which
says file, key, value and what is allowed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from irm_study.config import (
    CalibrationFile,
    ConfigError,
    EnvironmentSpec,
    Kinds,
    RunConfig,
    Section,
    StudySpec,
    TrainSpec,
    problems,
    shown,
)

MAX_FILE_BYTES = 2**20


def read_study(path: Path, kinds: Kinds, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """The study in a file, with single keys replaced by `overrides` ({"study.trials": 100}).

    Raises ConfigError for anything that is wrong with the file.
    """
    data = _read_toml(path)
    for key, value in (overrides or {}).items():
        *tables, last = key.split(".")
        table = data
        for name in tables:
            table = table.setdefault(name, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[last] = value
    return _validate(StudySpec, data, path, kinds)


def read_setting(text: str) -> tuple[str, Any]:
    """`study.waves=[2, 4]`, as a command line has it: the key, and the value as TOML reads it; a bare word is text."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise ConfigError(f"--set {shown(text)}: needs KEY=VALUE, such as study.waves=[2, 4, 8]")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return key, value


def read_train(path: Path, kinds: Kinds) -> TrainSpec:
    """The configuration in a file for `train`: [environments] and [run]; of a study file, those alone."""
    data = _read_toml(path)
    data.setdefault("name", path.stem)
    searched = data.pop("search", None)
    for table in ("study", "confirm", "digest", "confirmed"):
        data.pop(table, None)
    if searched:
        raise ConfigError(f"{path}: search: 'train' takes one configuration; a file with [search] is for 'run'")
    return _validate(TrainSpec, data, path, kinds)


def read_calibration(path: Path, kinds: Kinds) -> tuple[str, dict[str, tuple[str, TrainSpec]]]:
    """A calibration file's name, and its ways to fail: the mode that each was made for, and its configuration.

    A way states what it changes in the file's [environments] and [run].
    """
    data = _read_toml(path)
    file = _validate(CalibrationFile, data, path, kinds)
    ways = {}
    for name, way in file.ways.items():
        tables = {table: data.get(table, {}) | getattr(way, table) for table in ("environments", "run")}
        where = Path(f"{path}: ways.{name}")
        ways[name] = way.mode, _validate(TrainSpec, {"name": name, "digits": file.digits, **tables}, where, kinds)
    return file.name, ways


def read_stored_study(path: Path) -> StudySpec:
    """The study.toml of a study's folder, without its digest line."""
    data = _read_toml(path)
    data.pop("digest", None)
    return _validate(StudySpec, data, path, {})


def study_toml(spec: StudySpec) -> str:
    """The study as run, every value written out, with its digest."""
    return tomli_w.dumps({"digest": study_digest(spec), **_plain(spec)})


def train_toml(spec: TrainSpec, comment: str) -> str:
    """A file that `irm-study train` takes as it is, under a comment of one or more lines."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + tomli_w.dumps(_plain(spec))


def study_digest(spec: StudySpec) -> str:
    """Identifies what a study searches. The budget (trials) and the confirmation may be extended."""
    return digest(_identity(spec))


def run_digest(digits: str, environments: EnvironmentSpec, run: RunConfig) -> str:
    """With the seed, identifies a run."""
    return digest({"digits": digits, "environments": _changed(environments), "run": _changed(run)})


def changed_fields(stored: StudySpec, given: StudySpec) -> list[str]:
    """`key: stored value → given value` of everything that makes two studies different ones."""
    before, after = _flatten(_identity(stored)), _flatten(_identity(given))
    return [
        f"{key}: {before.get(key, 'default')} → {after.get(key, 'default')}"
        for key in sorted(before.keys() | after.keys())
        if digest(before.get(key)) != digest(after.get(key))
    ]


def digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _identity(spec: StudySpec) -> dict[str, Any]:
    data = _changed(spec)
    data.pop("confirm", None)
    data.get("study", {}).pop("trials", None)
    if not data.get("study", {"": 0}):
        data.pop("study")
    return data


def _changed(section: Section) -> dict[str, Any]:
    """Only what differs from the defaults: a digest survives the arrival of a new key."""
    return section.model_dump(mode="json", exclude_defaults=True)


def _plain(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_none=True)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB; a study file is a page of text")
        text = data.decode("utf-8")
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


def _validate(kind: type[Section], data: dict[str, Any], path: Path, kinds: Kinds) -> Any:
    try:
        return kind.model_validate(data, context=kinds)
    except ValidationError as error:
        lines = (": ".join([str(path), *filter(None, [".".join(key), text])]) for key, text in problems(error, kind))
        raise ConfigError("\n".join(lines)) from None


def without_password(text: str) -> str:
    """A storage's URL, or another argument of the command line, as it may be shown."""
    text = re.sub(r"(://[^:@/]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(r"(password=)[^&\s]*", r"\1***", text)


def shown_command(arguments: Sequence[str]) -> str:
    """A command line as it may be shown: in messages, and on the page."""
    return shlex.join(["irm-study", *map(without_password, arguments)])
