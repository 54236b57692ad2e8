"""Who works on a study's folder: one driver at a time, by a lock that the system frees when its process ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock

from irm_study.errors import ConfigError


class FolderInUse(ConfigError):
    """Another process works on the study."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder for this driver alone. The system frees the lock when a process ends, however it ends.

    Raises FolderInUse where another has it, ConfigError where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        lock.acquire(timeout=0.5)  # `status` holds it for a moment
    except filelock.Timeout:
        raise FolderInUse(
            f"{folder}: another process works on this study ({_read_holder(folder)}); wait for it, or stop it"
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        (folder / ".holder").write_text(this_process())
        yield
    finally:
        (folder / ".holder").unlink(missing_ok=True)
        lock.release()


def this_process() -> str:
    """Who holds a study, for a message."""
    return f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC).isoformat(timespec='seconds')}"


def holder_of(folder: Path) -> str | None:
    """Who works on the study in a folder; None when nobody does."""
    if not (folder / ".lock").exists():
        return None
    try:
        with filelock.FileLock(folder / ".lock").acquire(timeout=0):
            return None
    except filelock.Timeout:
        return _read_holder(folder)
    except OSError:
        return None


def _read_holder(folder: Path) -> str:
    try:
        with (folder / ".holder").open(errors="replace") as file:
            return file.read(200)
    except OSError:
        return "unknown"
