"""What products in bfloat16 change of a configuration: its runs in both precisions beside each other, seed by seed.

irm-study train authors --seeds 20 --precision float32 --out reports/both
irm-study train authors --seeds 20 --precision bfloat16 --out reports/both
python examples/compare_precisions.py reports/both
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd


def by_precision(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for final training and test accuracy each, over the seeds that both precisions have.

    runs: a row per run, as in runs.csv. deviation: of float32's runs over seeds; shift: the difference of the means in
    such deviations; same_mode: of how many seeds both runs ended in the same failure mode.
    """
    wide = runs.pivot(index="seed", columns="precision").dropna(subset=[("failure_mode", name) for name in PRECISIONS])
    single, half = (wide.xs(name, axis=1, level="precision") for name in PRECISIONS)
    rows = []
    for measure in ("train_accuracy", "test_accuracy"):
        difference = half[measure] - single[measure]
        rows.append(
            {
                "measure": measure, "seeds": len(wide), "float32": single[measure].mean(),
                "bfloat16": half[measure].mean(), "difference": difference.mean(), "deviation": single[measure].std(),
                "shift": difference.mean() / single[measure].std(), "median_apart": difference.abs().median(),
                "most_apart": difference.abs().max(),
                "same_mode": int((half["failure_mode"] == single["failure_mode"]).sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


PRECISIONS = ("float32", "bfloat16")

if __name__ == "__main__":
    folders = [Path(name) for name in sys.argv[1:]]
    tables = [by_precision(pd.read_csv(folder / "runs.csv")).assign(folder=folder.name) for folder in folders]
    print(pd.concat(tables).set_index("folder").round(4).to_csv(), end="")
