"""Who works on a study's folder: one driver at a time, by a lock that the system frees when its process ends."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock

from irm_study.errors import ConfigError
from irm_study.results.parquet import refuse_undecodable


class FolderInUse(ConfigError):
    """Another process works on the study."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder for this driver alone. The system frees the lock when a process ends, however it ends.

    Raises FolderInUse where another has it, ConfigError where it cannot be written.
    """
    refuse_undecodable(folder)
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
        (folder / ".holder").write_text(this_process(), encoding="utf-8", errors="replace")
        yield
    finally:
        (folder / ".holder").unlink(missing_ok=True)
        lock.release()


def this_process() -> str:
    """Who holds a study, for a message."""
    return f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC).isoformat(timespec='seconds')}"


def holder_of(folder: Path) -> str | None:
    """Who works on the study in a folder; None when nobody does. Nothing in the folder is made or changed for it."""
    if not (folder / ".holder").is_file() or not _is_held(folder / ".lock"):
        return None
    return _read_holder(folder)


def _is_held(lock: Path) -> bool:
    """Whether another process has the lock; one that was killed left its `.holder`, and has it no more."""
    if not lock.is_file():
        return False
    if sys.platform == "win32":
        with contextlib.suppress(OSError), filelock.FileLock(lock).acquire(timeout=0):
            return False
        return True
    import fcntl

    try:
        with lock.open("rb") as file:  # as filelock's: the lock ends with the file
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read_holder(folder: Path) -> str:
    try:
        with (folder / ".holder").open(encoding="utf-8", errors="replace") as file:
            return file.read(200)
    except OSError:
        return "unknown"
