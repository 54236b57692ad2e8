"""The folder of a study, or of a training: claimed for one of them, and brought up to date when the work is done.

The table of runs in it is the driver's; its tables and its summary are `irm_study.results`'.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from irm_study import __version__
from irm_study.config import (
    StudySpec,
    TrainSpec,
    changed_fields,
    check_plugins,
    plugins_of,
    read_stored_study,
    read_train,
    record_plugins,
    study_digest,
    study_toml,
    train_toml,
)
from irm_study.errors import ConfigError, ExecutionError
from irm_study.execution import processor
from irm_study.files import write_text
from irm_study.results import refuse_links
from irm_study.study.settings import Settings

LEAST_FREE_BYTES = 32 * 2**20
"""Several times what the page of 200 trials with 10 seeds takes, which is under 3 MB."""


def results_folder(name: str) -> Path:
    """Where the results of a study go when nobody says otherwise: its name may hold anything, a folder's may not."""
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "study"
    if len(safe.encode()) > 200:  # file systems allow 255 bytes
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        safe = f"{safe.encode()[:180].decode(errors='ignore')}-{digest}"
    return Path("reports") / safe


def claim_for_study(folder: Path, spec: StudySpec) -> None:
    """Make the folder this study's; raise ConfigError when it holds another one."""
    path = folder / "study.toml"
    refuse_links(folder)
    check_plugins(folder)
    if path.exists():
        stored = read_stored_study(path)
        if study_digest(stored) != study_digest(spec):
            changes = "\n".join(f"  {change}" for change in changed_fields(stored, spec))
            raise ConfigError(
                f"{folder}: holds study {stored.name!r} made by another study file; changed since then:\n{changes}\n"
                "  give the new study another name, or another folder with --out"
            )
    elif (folder / "runs").exists():
        raise ConfigError(f"{folder}: holds runs of 'train'; a study needs a folder of its own: name one with --out")
    record_plugins(folder, plugins_of(spec).values())
    write_text(path, study_toml(spec))


def claim_for_training(folder: Path, spec: TrainSpec) -> None:
    """Make the folder one of `train`, on these digits and environments alone: runs of others are judged otherwise."""
    if (folder / "study.toml").exists():
        raise ConfigError(f"{folder}: holds a study; 'train' needs a folder of its own: name one with --out")
    path = folder / "train.toml"
    check_plugins(folder)
    if path.exists():
        stored = read_train(path)
        if (stored.digits, stored.environments) != (spec.digits, spec.environments):
            raise ConfigError(
                f"{folder}: holds runs of other digits or environments (see {path}); name another folder with --out"
            )
    record_plugins(folder, plugins_of(spec).values())
    write_text(path, train_toml(spec, "The configuration last trained here."))


def check_room(folder: Path) -> None:
    """Raise where what is written at the end of the work could not be, before the work: ConfigError where something
    else lies in a file's or a folder's place, or may not be written; ExecutionError where the disk is nearly full."""
    for name in ("runs", "figures"):
        path = folder / name
        if path.exists() and not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
            raise ConfigError(f"{path}: must be a folder that can be written; results are kept in it")
    for name in ("runs.csv", "trials.csv", "summary.json", "best.toml", "report.html"):
        if (folder / name).is_dir():
            raise ConfigError(f"{folder / name}: is a folder; a file of this name is written when the work is done")
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < LEAST_FREE_BYTES:  # some file systems tell nothing
        raise ExecutionError(
            f"{folder}: only {disk.free / 2**20:.0f} MiB are free on its disk, and runs, figures and page need "
            f"{LEAST_FREE_BYTES // 2**20} MiB: make room, and run again"
        )


def provenance(settings: Settings, stored: dict[str, Any]) -> dict[str, Any]:
    """How the runs came about. stored: the summary so far, whose commands came before this one."""
    packages = ("torch", "optuna", "numpy", "pandas")
    earlier = str((stored.get("provenance") or {}).get("command") or "").splitlines()
    commands = [each for each in earlier if each != settings.command] + [settings.command] * bool(settings.command)
    return {
        "command": "\n".join(commands),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {"irm-study": __version__} | {name: metadata.version(name) for name in packages},
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
        "device": settings.device,
        "jobs": settings.jobs,
        "scheduler": settings.scheduler,
    }
