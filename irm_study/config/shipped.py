"""The files that come with the package, and which command takes a file: studies for `run`, configurations for `train`,
ways to fail for `calibrate`."""

from __future__ import annotations

import tomllib
from collections.abc import Container
from pathlib import Path

from irm_study.errors import ConfigError

KINDS = {"run": "study", "train": "configuration", "calibrate": "calibration file"}
"""What each command takes, as a message names it."""


def command_for(tables: Container[str]) -> str:
    """The command that takes a file with these tables."""
    return "run" if "search" in tables else "calibrate" if "ways" in tables else "train"


def shipped_files(command: str | None = None) -> dict[str, Path]:
    """The files that are shipped and that a command takes (None: every one), by name, in the order of their names."""
    paths = {path.stem: path for path in sorted(_folder().glob("*.toml"))}
    return {name: path for name, path in paths.items() if command in (None, _command_of(path))}


def named_file(name: str, command: str) -> Path:
    """The file of a path, or of the name of a shipped one. command: the one that asks, for the names in the message.

    Raises ConfigError where it can be neither. What the file holds is for its reader to judge.
    """
    path, shipped = Path(name), shipped_files()
    if path.is_file() or path.suffix or path.name != name or (path.exists() and name not in shipped):
        return path
    if name not in shipped:
        offered = ", ".join(shipped_files(command))
        raise ConfigError(f"{name}: neither a file nor a shipped {KINDS[command]}; those are: {offered}")
    return shipped[name]


def _folder() -> Path:
    """Of an installed package the files lie in it, of a checkout beside it."""
    package = Path(__file__).parent.parent
    inside = package / "studies"
    return inside if inside.is_dir() else package.parent / "studies"


def _command_of(path: Path) -> str:
    return command_for(tomllib.loads(path.read_text(encoding="utf-8")))
