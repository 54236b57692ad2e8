"""A study in Optuna's storage: opened, checked, and held for one driver. Trials are read and written in `search`.

The storage is `study.db` in the study's folder, or what `--storage` names: another SQLite file, or a database server.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from irm_study.config import StudySpec, is_digest_of, study_digest
from irm_study.errors import ConfigError, without_password
from irm_study.results import this_process

UNUSABLE = (SQLAlchemyError, ImportError, ValueError, RuntimeError, optuna.exceptions.OptunaError)
"""What opening a storage raises where it cannot be used: a wrong address, a driver that is not installed, no answer."""


class StorageLost(RuntimeError):
    """The storage does not answer any more."""


class StorageDamaged(ConfigError):
    """The folder's own storage is no database any more."""


@dataclass(frozen=True)
class StudyStorage:
    """One study in Optuna's storage. url: None: `study.db` in the study's folder. where: as a message names it.
    held: what keeps other drivers away."""

    url: str | None
    where: str
    database: RDBStorage
    study_id: int
    held: contextlib.ExitStack

    @property
    def on_server(self) -> bool:
        return self.database.engine.dialect.name != "sqlite"

    @contextlib.contextmanager
    def usable(self) -> Iterator[None]:
        """Raise as `open_storage` does, and close, where what stands in the storage cannot be used within."""
        with _usable(self.url, self.where), contextlib.ExitStack() as failing:
            failing.callback(self.close)
            yield
            failing.pop_all()

    @contextlib.contextmanager
    def answers(self) -> Iterator[None]:
        """Raise StorageLost where the storage does not answer within."""
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise StorageLost(f"{self.where}: does not answer: {_reason(error)}") from error

    def close(self) -> None:
        """Let other drivers have the study."""
        with contextlib.suppress(SQLAlchemyError):
            self.held.close()
        self.database.engine.dispose()


def open_storage(spec: StudySpec, folder: Path, url: str | None) -> StudyStorage:
    """The study in Optuna's storage, made where it is not there, and held until it is closed.

    url: None stands for `study.db` in the folder. Raises StorageDamaged where that is no database any more, ConfigError
    where a storage cannot be used, holds another study of this name, or is in use by another process.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = str(folder / "study.db") if url is None else f"--storage {without_password(url)}"
    with _usable(url, where), contextlib.ExitStack() as failing:
        database = _connect(sqlalchemy.make_url(url or f"sqlite:///{(folder / 'study.db').resolve()}"))
        failing.callback(database.engine.dispose)
        if database.engine.dialect.name == "sqlite":
            _check_pages(database)
        study_id = _study_id(database, spec.name)
        held = failing.enter_context(contextlib.ExitStack())
        if not _hold(database, spec.name, held, in_folder=url is None):
            holder = database.get_study_user_attrs(study_id).get("holder", "unknown")
            raise ConfigError(
                f"{where}: another process works on study {spec.name!r} ({holder}); wait for it, or stop it"
            )
        if url is not None:
            database.set_study_user_attr(study_id, "holder", this_process())
        _claim(database, study_id, spec, where)
        failing.pop_all()
        return StudyStorage(url, where, database, study_id, held)


@contextlib.contextmanager
def _usable(url: str | None, where: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except UNUSABLE as error:
        reason = _reason(error) if url is None else _reason(error).replace(url, without_password(url))
        kind = StorageDamaged if url is None and _is_damage(error) else ConfigError
        raise kind(f"{where}: cannot be used as Optuna's storage: {reason}") from None


def _connect(url: sqlalchemy.URL) -> RDBStorage:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    written_ahead = url.get_backend_name() == "sqlite" and _can_write_ahead(url)
    database = RDBStorage(url.render_as_string(hide_password=False))
    if written_ahead:
        event.listen(database.engine, "connect", _write_ahead)
        database.engine.dispose()
    return database


def _study_id(database: RDBStorage, name: str) -> int:
    with contextlib.suppress(KeyError):
        return database.get_study_id_from_name(name)
    return database.create_new_study([optuna.study.StudyDirection.MAXIMIZE], name)


def _claim(database: RDBStorage, study_id: int, spec: StudySpec, where: str) -> None:
    """Write the study's digest into a storage that has none; raise ConfigError where it has another study's."""
    digest, stored = study_digest(spec), database.get_study_user_attrs(study_id).get("digest")
    if stored is None:
        database.set_study_user_attr(study_id, "digest", digest)
        # As Study.set_metric_names does, which warns of being experimental.
        named = f"{spec.study.criterion}, {spec.study.aggregate}"
        database.set_study_system_attr(study_id, "study:metric_names", [named])
    elif stored != digest and is_digest_of(stored, spec):
        database.set_study_user_attr(study_id, "digest", digest)
    elif stored != digest:
        raise ConfigError(
            f"{where.removeprefix('--storage ')}: holds a study {spec.name!r} made by another study file "
            f"(digest {stored}, not {digest}); give the new study another name, or another storage"
        )


# One driver at a time


def _hold(database: RDBStorage, name: str, held: contextlib.ExitStack, in_folder: bool) -> bool:
    """Keep other drivers away from the study until `held` ends; returns whether none has it. The folder has a lock of
    its own, which covers the storage in it."""
    if database.engine.dialect.name == "postgresql":
        return _hold_on_server(database, name, held)
    if in_folder or not database.engine.url.database:  # the latter: SQLite in memory
        return True
    return _hold_by_file(database.engine.url.database, name, held)


def _hold_on_server(database: RDBStorage, name: str, held: contextlib.ExitStack) -> bool:
    """A lock of PostgreSQL's, which the server frees when its connection ends, however it ends."""
    connection = held.enter_context(database.engine.connect()).execution_options(isolation_level="AUTOCOMMIT")
    key = int.from_bytes(hashlib.sha256(f"irm-study {name}".encode()).digest()[:8], "little", signed=True)
    return bool(connection.scalar(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}))


def _hold_by_file(database: str, name: str, held: contextlib.ExitStack) -> bool:
    """A lock file beside the database's, which the system frees when the process ends, however it ends."""
    lock = filelock.FileLock(f"{database}.{hashlib.sha256(name.encode()).hexdigest()[:8]}.lock")
    try:
        held.enter_context(lock.acquire(timeout=0.5))
    except filelock.Timeout:
        return False
    return True


# SQLite


def _can_write_ahead(url: sqlalchemy.URL) -> bool:
    """Whether the file system has the shared memory that SQLite's write-ahead log needs, which those of clusters refuse
    at times; there a file that has such a log, from another machine, is taken out of it."""
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    try:
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("SELECT count(*) FROM sqlite_master")
    except (SQLAlchemyError, sqlite3.Error) as error:  # all others are found again, and reported, when Optuna connects
        if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_IOERR_SHM"):
            return True
    else:
        return True
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("PRAGMA locking_mode = EXCLUSIVE")  # the log's index is in the process's own memory then
        cursor.execute("PRAGMA journal_mode = DELETE")
    return False


def _check_pages(database: RDBStorage) -> None:
    """Raise DatabaseError where the file is damaged."""
    with database.engine.connect() as connection:
        found = connection.scalar(sqlalchemy.text("PRAGMA quick_check(1)"))
    if found != "ok":
        raise DatabaseError(None, None, sqlite3.DatabaseError(found))


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite waits for the disk at checkpoints only: a killed driver loses nothing by it, and the runs themselves,
    from which trials can be made again, are not in this file."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _is_damage(error: BaseException) -> bool:
    """Whether SQLite says that a file is no database; not that it is locked, or cannot be opened."""
    while error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def _reason(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())
