"""What a study's winner is measured against: the same training without a penalty, and without colour.

The runs are of `train`, in folders of their own under the study's, because a network that sees no colour has other
environments. `baselines.csv` in the study's folder is what the page and the summary read of them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irm_study.config import RunConfig, StudySpec, TrainSpec
from irm_study.errors import ConfigError
from irm_study.files import write_csv
from irm_study.results.summaries import counted
from irm_study.results.untrusted import read_text

BASELINES: dict[str, dict[str, Any]] = {
    "plain risk minimisation": {},
    "grey oracle": {"channels": "grey"},
}
"""By name, what changes of the environments. The oracle is what shape alone reaches: it cannot see colour."""
ACCURACIES = ("train_accuracy", "train_accuracy_min", "test_accuracy")
SKILLS = ("shape_skill", "colour_reliance")
COLUMNS = ("baseline", "seed", "failure_mode", *ACCURACIES, *SKILLS)
FILE = "baselines.csv"


def baseline_specs(spec: StudySpec, winner: RunConfig) -> dict[str, TrainSpec]:
    """Of each baseline, what `train` takes: the winner's configuration without a penalty, on the same digits."""
    plain = winner.model_copy(
        update={"penalty_weight": 0.0, "initial_weight": 0.0, "bottleneck_weight": 0.0, "stop": "none"}
    )
    return {
        name: TrainSpec(
            name=f"{spec.name[:150]}, {name}",
            digits=spec.digits,
            environments=spec.environments.model_copy(update=changes).with_target(spec.target),
            target=spec.target,
            run=plain,
        )
        for name, changes in BASELINES.items()
    }


def baselines_table(runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each run of a baseline, in the order of BASELINES and seeds: COLUMNS. runs: None for an empty table."""
    types = {"baseline": str, "seed": np.int64, "failure_mode": str} | dict.fromkeys((*ACCURACIES, *SKILLS), float)
    table = pd.DataFrame(columns=COLUMNS) if runs is None else runs[list(COLUMNS)]
    place = table["baseline"].map(list(BASELINES).index)
    return table.astype(types).assign(_place=place).sort_values(["_place", "seed"], ignore_index=True)[list(COLUMNS)]


def baseline_means(table: pd.DataFrame) -> pd.DataFrame:
    """Means of each baseline in a table of them: baseline, n, ACCURACIES, SKILLS. A run that diverged counts as
    accuracy 0, and has no skills."""
    rows = [
        {"baseline": name, "n": len(runs)}
        | {each: float(counted(runs[each]).mean()) for each in ACCURACIES}
        | {each: float(runs[each].mean()) for each in SKILLS}
        for name, runs in table.groupby("baseline", sort=False)
    ]
    return pd.DataFrame(rows, columns=["baseline", "n", *ACCURACIES, *SKILLS])


def read_baselines(folder: Path) -> pd.DataFrame:
    """The baselines in a study's folder, as `baselines_table`; empty where none were trained. Raises ConfigError where
    the file holds anything else."""
    path = folder / FILE
    if not path.exists():
        return baselines_table()
    remedy = f"delete it, 'irm-study confirm {folder}' makes it again"
    try:
        table = baselines_table(pd.read_csv(io.StringIO(read_text(path))))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{path}: holds no baselines ({reason}); {remedy}") from None
    numbers = table[list(ACCURACIES)].to_numpy()
    if (
        not (np.isnan(numbers) | ((numbers >= 0) & (numbers <= 1))).all()
        or table.duplicated(["baseline", "seed"]).any()
    ):
        raise ConfigError(f"{path}: holds no baselines; {remedy}")
    return table


def write_baselines(folder: Path, table: pd.DataFrame) -> None:
    """table: as `baselines_table`."""
    write_csv(folder / FILE, table)
