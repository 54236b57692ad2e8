"""What the functions for people return, as a notebook shows it. A study's `StudyRecord` is in `irm_study.results`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from irm_study.config import TrainSpec
from irm_study.results import html_table, html_text, over_seeds


@dataclass(frozen=True, eq=False, repr=False)
class TrainedRuns:
    """One configuration over its seeds.

    spec: what was trained. folder: where the runs are kept; None: nowhere. runs: a row per run, judged, with the
    columns of `StudyRecord.runs` but for curves. curves: a row per run (seed), checkpoint (epoch) and environment:
    penalty_weight, nll, accuracy, gradient, spread, positive_share.
    """

    spec: TrainSpec
    folder: Path | None
    runs: pd.DataFrame
    curves: pd.DataFrame

    def __repr__(self) -> str:
        kept = "" if self.folder is None else f", kept in {self.folder}"
        return f"<TrainedRuns {self.spec.name!r}: {len(self.runs)} runs{kept}>"

    def _repr_html_(self) -> str:
        numbers = over_seeds(self.runs)
        text = (
            f"{self.spec.name}: in the target zone on {numbers['successes']} of {numbers['seeds']} seeds "
            f"(95% interval {numbers['low']:.2f} to {numbers['high']:.2f})"
        )
        columns = ["seed", "failure_mode", "train_accuracy", "test_accuracy", "score", "evidence"]
        return html_text(text) + html_table(self.runs[columns])


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Configurations side by side.

    outcomes: a row per configuration, as `comparison.outcomes`. pairs: a row per pair and measure, as
    `comparison.pairs`.
    """

    outcomes: pd.DataFrame
    pairs: pd.DataFrame

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(map(repr, self.outcomes['name']))}>"

    def _repr_html_(self) -> str:
        shown = ["name", "n", "successes", "rate", "low", "high", "score", "train_accuracy", "test_accuracy"]
        tested = ["first", "second", "measure", "n_first", "n_second", "difference", "low", "high", "p_holm"]
        return html_table(self.outcomes[shown]) + html_table(self.pairs[tested])
