"""Files written whole or not at all, and values as JSON and TOML have them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8; what is no text (a byte of an argument that was none) is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """A table without its index, as `write_text`; numbers are written as numpy prints them by itself."""
    with np.printoptions(legacy=False):
        write_text(path, table.to_csv(index=False, lineterminator="\n"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; one that holds the same bytes already is not touched. Raises OSError."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # of a driver that was killed; what a link points to is left alone
    with partial.open("xb") as file:
        file.write(data)
    os.replace(partial, path)


def plain(value: Any) -> Any:
    """A table's value as JSON and TOML have it: numpy's scalars as Python's, NaN as None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def finite(value: Any) -> Any:
    """The same value with None in place of what JSON has no number for: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [finite(each) for each in value]
    value = plain(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value
