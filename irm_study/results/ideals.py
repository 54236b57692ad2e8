"""The ideals of a study's draws, as `ideal.csv` in its folder holds them: written by `irm-study ideal`, read with the
study. How an ideal is found is `irm_study.ideal`'s; what follows from it, the page's."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from irm_study.errors import ConfigError
from irm_study.files import write_csv
from irm_study.results.untrusted import MAX_DIGEST, read_text

NUMBERS = ("alpha", "beta", "shape_skill", "colour_reliance", "train_accuracy", "test_accuracy")
"""As `irm_study.ideal.Ideal` has them."""
COLUMNS = ("digest", "seed", *NUMBERS)


def ideals_table(rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table of ideals, in the order of digest and seed: digest, seed, and NUMBERS. rows: None for an empty one."""
    types = {"digest": str, "seed": np.int64} | dict.fromkeys(NUMBERS, float)
    table = pd.DataFrame(columns=COLUMNS) if rows is None else rows[list(COLUMNS)]
    return table.astype(types).sort_values(["digest", "seed"], ignore_index=True)


def read_ideals(folder: Path) -> pd.DataFrame:
    """The ideals in a folder, as `ideals_table`; empty where none were computed. Raises ConfigError where the file
    holds anything else."""
    path = folder / "ideal.csv"
    if not path.exists():
        return ideals_table()
    try:
        table = ideals_table(pd.read_csv(io.StringIO(read_text(path)), dtype=str))
    except (OSError, ValueError, KeyError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{path}: holds no ideals ({reason}); delete it, 'irm-study ideal' makes it again") from None
    wrong = table.duplicated(["digest", "seed"]) | (table["digest"].str.len() > MAX_DIGEST)
    if wrong.any() or not np.isfinite(table[list(NUMBERS)].to_numpy()).all():
        raise ConfigError(f"{path}: holds no ideals; delete it, 'irm-study ideal' makes it again")
    return table


def write_ideals(folder: Path, table: pd.DataFrame) -> None:
    """table: as `ideals_table`."""
    write_csv(folder / "ideal.csv", table)
