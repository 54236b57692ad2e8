"""A study's folder: the table of runs and what is derived from it.

Measurements are the truth and are stored (Parquet parts, curves included); modes and scores are
derived each time the table is read. No Optuna and no torch here, so that a page is made anew, or a
study judged by other criteria, without either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from irm_study.config import StudySpec


@dataclass(frozen=True)
class StudyRecord:
    """A study as far as it has come.

    runs: a row per run. Columns: study, stage (search | confirm), trial (of confirmation runs: the trial whose
    configuration is confirmed), seed, digest (of the configuration), every hyperparameter (the fields of
    RunConfig), failure_mode, failure_since (epoch), evidence (text), explanation (text), score,
    train_accuracy (mean over training environments), train_accuracy_min (the lowest), test_accuracy,
    heldout_accuracy, validation_accuracy (NaN without one), train_nll, epochs_trained, stopped (why, or ""),
    seconds, device, and the list columns of `curves.curve_columns`.
    trials: a row per trial. Columns: trial, digest, state (complete | pruned | running), value
    (objective value; NaN while running), every searched hyperparameter.
    importance: share of the objective's variation by hyperparameter; empty when it cannot be told.
    provenance: command, versions, hardware, times: shown under "how it was made".
    """

    folder: Path
    spec: StudySpec
    runs: pd.DataFrame
    trials: pd.DataFrame
    importance: dict[str, float]
    provenance: dict[str, Any]
