"""The curves of runs as one tidy table, from the list columns in which they are stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from irm_study.config import EnvironmentSpec
from irm_study.diagnosis import QUANTITIES


def tidy_curves(runs: pd.DataFrame, environments: EnvironmentSpec, keys: Sequence[str]) -> pd.DataFrame:
    """A row per run, checkpoint and environment, in this order.

    runs: with the list columns of `curve_columns`. keys: those of its columns that tell runs apart. Columns: keys,
    epoch, penalty_weight, environment, nll, accuracy, gradient, spread, positive_share, as in `diagnosis.Curves`.
    """
    names = environments.names
    if runs.empty:
        return pd.DataFrame(columns=[*keys, "epoch", "penalty_weight", "environment", *QUANTITIES])

    def joined(column: str) -> np.ndarray:
        """Of all runs, one after another: (checkpoints of all runs,)."""
        return np.concatenate([np.asarray(each, dtype=float) for each in runs[column]])

    checkpoints = np.array([len(each) for each in runs["curve_epoch"]], dtype=int)
    table = {key: np.repeat(runs[key].to_numpy(), checkpoints * len(names)) for key in keys}
    table["epoch"] = np.repeat(joined("curve_epoch").astype(np.int64), len(names))
    table["penalty_weight"] = np.repeat(joined("curve_penalty_weight"), len(names))
    table["environment"] = np.tile(np.array(names, dtype=object), int(checkpoints.sum()))
    for quantity in QUANTITIES:
        table[quantity] = np.column_stack([joined(f"curve_{quantity}_{name}") for name in names]).ravel()
    return pd.DataFrame(table)
