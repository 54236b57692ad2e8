"""Reading a folder that a stranger may have made: nothing outside it, nothing without a limit, nothing run.

The parts of the table of runs have their limits in `parquet`, the study file has its own in `config`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import sqlite3
import time
from pathlib import Path

from irm_study.errors import ConfigError
from irm_study.results.configurations import ListedTrial

MAX_TRIALS = 1_000_000
MAX_TEXT_BYTES = 64 * 2**20
"""Of summary.json and trials.csv: those of a study of 10,000 trials have under two."""
MAX_CELL_BYTES = 1_000_000
MAX_DIGEST = 100
"""Characters; a digest has 16."""
MAX_SECONDS = 20.0
"""For all trials of a storage."""
STATES = ("complete", "pruned", "running")


def refuse_links(folder: Path) -> None:
    """Raise ConfigError where the folder holds a link: through one, a study would be read, or a page written,
    outside of it."""
    for part in (folder, folder / "runs", folder / "figures", folder / "plugins"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(part) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise ConfigError(f"{entry.path}: is a link; a study's folder is read and written without any")


def refuse_studies(folder: Path) -> None:
    """Raise ConfigError where a folder holds a study or runs, whose own page and figures would be lost."""
    if any((folder / name).exists() for name in ("study.toml", "train.toml", "runs")):
        raise ConfigError(f"{folder}: holds a study or runs; name another folder with --out")


def read_text(path: Path) -> str:
    """The text of a plain file. Raises OSError, or ValueError (ConfigError where it has more than MAX_TEXT_BYTES)."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        data = file.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_TEXT_BYTES // 2**20} MiB; not read")
    return data.decode("utf-8-sig")  # a spreadsheet writes a byte-order mark


def read_stored_trials(path: Path, study: str) -> list[ListedTrial] | None:
    """The trials in a folder's own storage, without Optuna, which would trust it, and without writing to it; None
    where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        address = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' * _is_at_rest(path)}"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
            database.execute("PRAGMA trusted_schema = OFF")
            until = time.monotonic() + MAX_SECONDS
            database.set_progress_handler(lambda: time.monotonic() > until, 1_000)  # instructions of its machine
            rows = database.execute(
                """
                SELECT number.value_json, digest.value_json, lower(trials.state)
                FROM studies JOIN trials USING (study_id)
                JOIN trial_user_attributes AS number ON number.trial_id = trials.trial_id AND number.key = 'trial'
                JOIN trial_user_attributes AS digest ON digest.trial_id = trials.trial_id AND digest.key = 'digest'
                WHERE studies.study_name = ? AND trials.state IN ('COMPLETE', 'PRUNED', 'RUNNING')
                ORDER BY trials.number LIMIT ?
                """,
                (study, MAX_TRIALS),
            )
            return [_trial(*row) for row in rows]
    except (OSError, sqlite3.Error, ValueError, TypeError, OverflowError):
        return None


def _is_at_rest(path: Path) -> bool:
    """Whether all of a storage is in its one file, as its last driver left it. It can be read as it is then; otherwise
    SQLite puts files beside it, even to read."""
    log = path.with_name(f"{path.name}-wal")
    with path.open("rb") as file:
        writes_ahead = file.read(20)[18:] == b"\x02\x02"
    return writes_ahead and not (log.is_file() and log.stat().st_size)


def read_trials_csv(path: Path) -> list[ListedTrial]:
    """The trials in a folder's trials.csv; none where it is not there or no such table."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(path)))
        trials = [_trial(row["trial"], row["digest"], row["state"]) for row in itertools.islice(rows, MAX_TRIALS)]
        return trials if all(trial.state in STATES for trial in trials) else []
    except (OSError, ConfigError, ValueError, TypeError, KeyError, csv.Error):
        return []


def _trial(number: str, digest: str, state: str) -> ListedTrial:
    if len(digest) > MAX_DIGEST:
        raise ValueError(f"a digest of {len(digest)} characters")
    return ListedTrial(int(number), digest.strip('"'), state)
