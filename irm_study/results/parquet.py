"""The Parquet parts of a table in a folder: written whole or not at all, merged when there are many.

A part that cannot be read is moved aside and named, never deleted. A folder may come from a stranger:
before anything of a part is read, what its metadata say is held against limits, and links are refused.
Which columns the table has is not known here: whoever writes or reads brings a schema.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from irm_study.errors import ConfigError

log = logging.getLogger("irm_study")

MERGE_AT = 256
"""Parts of a batch each that a driver writes before it merges them: a folder of thousands is slow to read."""
MAX_ROWS = 2_000_000
MAX_VALUES = 500_000_000
"""In all parts together, items of lists included: 2 to 4 gigabytes."""
MAX_TEXT = 10_000
"""Characters of one text."""
CODECS = ("SNAPPY", "UNCOMPRESSED")
"""What parts are written with; others can hide gigabytes in a small file."""


class Parts:
    """Adds to the table in a folder, as its only writer."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema
        self.small: list[tuple[Path, pa.Table]] = []

    def add(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write rows as a part of their own, and return its path: they are kept, whatever happens afterwards."""
        table = pa.Table.from_pylist(list(rows), schema=self.schema)
        path = write_table(self.folder, table, "part")
        self.small.append((path, table))
        if len(self.small) >= MERGE_AT:
            self.merge()
        return path

    def adopt(self) -> None:
        """Merge the small parts that earlier drivers left, where there are MERGE_AT or more."""
        paths = [path for path in self.folder.glob("part-*.parquet") if not path.name.startswith("part-merged-")]
        if len(paths) >= MERGE_AT:
            for path in sorted(paths):
                with _opened(path, self.schema) as file:
                    self.small.append((path, _decoded(file.read(), self.schema, path)))
            self.merge()

    def merge(self) -> None:
        """Replace the small parts by one. Whoever reads between the two steps has some rows twice, and drops them."""
        write_table(self.folder, pa.concat_tables([table for _, table in self.small]), "part-merged")
        for path, _ in self.small:
            path.unlink(missing_ok=True)
        self.small.clear()


def write_table(folder: Path, table: pa.Table, name: str) -> Path:
    """Write a table as one part, whole or not at all; returns its path. Raises OSError where there is no room."""
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder / f"{name}-{uuid.uuid4().hex}.parquet", table)


def _write(path: Path, table: pa.Table) -> Path:
    partial = path.with_suffix(".partial")
    try:
        # Statistics and dictionaries are for searching in large files; of a few rows they are half of the size.
        pq.write_table(table, partial, use_dictionary=False, write_statistics=False)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = (
            f"cannot be written ({error.strerror or error}); what is there already is kept: make room, and run again"
        )
        raise OSError(error.errno, reason, str(path)) from None
    return path


def read_table(folder: Path, schema: pa.Schema, move_aside: bool = False) -> pa.Table:
    """All parts as one table of the schema's columns, which may hold a row twice.

    move_aside: for the folder's driver, who has the rows of a part that cannot be read made again. Raises ConfigError
    for such a part otherwise, and always for a part of another version, above the limits, or that is a link.
    """
    refuse_undecodable(folder)
    for _ in range(5):
        with contextlib.suppress(FileNotFoundError):  # merged by the driver meanwhile
            return _read(folder, schema, move_aside)
    raise ConfigError(f"{folder}: its parts change faster than they can be read")


def rewrite_parts(
    folder: Path, needed: Callable[[pa.Table], bool], change: Callable[[pa.Table], pa.Table], schema: pa.Schema
) -> None:
    """Write those parts anew that need it, each in its own place, whole or not at all; others are not touched.

    needed: is asked of a part's texts alone. Whoever reads meanwhile has a part as it was or as it is.
    """
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    for path in sorted(folder.glob("part-*.parquet")):
        with contextlib.suppress(FileNotFoundError):  # merged by the driver meanwhile
            with _opened(path, schema) as file:
                if not needed(file.read(columns=[name for name in texts if name in file.schema_arrow.names])):
                    continue
                table = change(_decoded(file.read(), schema, path))
            _write(path, table)


def refuse_undecodable(folder: Path) -> None:
    """Raise ConfigError where a folder's path holds bytes that are no text: neither Parquet nor SQLite could use it."""
    path = os.path.abspath(folder)
    if path.encode(errors="replace").decode() != path:
        raise ConfigError(f"{folder}: its path is not UTF-8 text, which Parquet and SQLite need; rename it")


def _read(folder: Path, schema: pa.Schema, move_aside: bool) -> pa.Table:
    tables, rows, values = [], 0, 0
    for path in sorted(folder.glob("part-*.parquet")):
        try:
            with _opened(path, schema) as file:
                rows += file.metadata.num_rows
                values += sum(
                    file.metadata.row_group(group).column(column).num_values
                    for group in range(file.metadata.num_row_groups)
                    for column in range(file.metadata.num_columns)
                )
                if rows > MAX_ROWS or values > MAX_VALUES:
                    raise ConfigError(
                        f"{path}: too large: with the parts before it {rows} rows of {values} values; "
                        f"{MAX_ROWS} rows of {MAX_VALUES} values are read at most"
                    )
                tables.append(_decoded(file.read(columns=schema.names), schema, path))
        except FileNotFoundError:
            raise
        except KeyError as error:  # of another version: nothing is wrong with it
            raise ConfigError(f"{path}: not a readable part of the table of runs: {error.args[0]}") from None
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            if not move_aside:
                raise ConfigError(
                    f"{path}: not a readable part of the table of runs: {reason}; "
                    "'irm-study run' moves it aside and trains its runs again"
                ) from None
            aside = folder.parent / f"damaged-{path.name}"  # not in its folder, which other tools read whole
            os.replace(path, aside)
            log.warning("%s: cannot be read (%s); moved to %s, its runs are trained again", path, reason, aside.name)
    return pa.concat_tables(tables) if tables else schema.empty_table()


@contextlib.contextmanager
def _opened(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """A part with only its metadata read: a plain file, compressed with none but CODECS."""
    if path.is_symlink() or not path.is_file():
        if not os.path.lexists(path):
            raise FileNotFoundError(path)
        raise ConfigError(f"{path}: not a plain file; parts of the table of runs are no links")
    there = set(pq.read_schema(path).names)  # a part may be older than a column
    texts = [field.name for field in schema if pa.types.is_string(field.type) and field.name in there]
    # Texts as references to the different ones, so that a long one that is repeated takes its space once.
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for group in range(file.metadata.num_row_groups):
            for column in range(file.metadata.num_columns):
                codec = file.metadata.row_group(group).column(column).compression
                if codec not in CODECS:
                    raise ConfigError(f"{path}: compressed with {codec}; parts are read with {' or '.join(CODECS)}")
        yield file


def _decoded(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """A part as the schema has it: no text above MAX_TEXT, columns that came later with their defaults.

    Raises KeyError where a column without a default is missing.
    """
    for name in table.column_names:
        for chunk in table[name].chunks:
            if isinstance(chunk, pa.DictionaryArray):
                longest = max((len(text.as_py() or "") for text in chunk.dictionary), default=0)
                if longest > MAX_TEXT:
                    raise ConfigError(f"{path}: {name}: a text of {longest} characters; {MAX_TEXT} are read at most")
    for field in schema:
        if field.name not in table.column_names:  # written before the column was added
            if field.metadata is None:
                raise KeyError(f"column {field.name} is missing")
            value = json.loads(field.metadata[b"default"])
            table = table.append_column(field.name, pa.array([value] * len(table), field.type))
    return table.select(schema.names).cast(schema)
