"""Which configurations are stable, continued: what of the seeds' spread lies in their draws of data.

Each fresh seed's run of the winner against the ideal of its draw (`irm_study.ideal`), where `irm-study ideal` computed
those; without them the page leaves the exhibit out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import special

from irm_study.report.exhibit import Exhibit, empty
from irm_study.report.marks import legend, mark_runs, mode_handles, nothing
from irm_study.report.style import INK, NARROW, StyledFigure, styled
from irm_study.report.text import interval, percent, plural
from irm_study.results import StudyRecord, confirmed

FEWEST = 4
"""Seeds of which a correlation has an interval."""


class Correlation(NamedTuple):
    """Pearson's r with its 95% interval. NaN below FEWEST pairs, or where one side does not vary."""

    n: int
    r: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0

    @property
    def explained(self) -> tuple[float, float, float]:
        """Share of the variance that goes with the other side, r², with its 95% interval."""
        return self.r**2, max(self.low, 0.0) ** 2, self.high**2


def correlation(first: ArrayLike, second: ArrayLike) -> Correlation:
    """Source of the interval: Fisher 1921. For n from 8 on it covers where the percentile bootstrap of r² does not:
    resamples of few pairs have larger correlations than the sample."""
    pairs = np.array([first, second], float)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    n = pairs.shape[1]
    if n < FEWEST or (np.ptp(pairs, axis=1) == 0).any():
        return Correlation(n, math.nan, math.nan, math.nan)
    r = float(np.clip(np.corrcoef(pairs)[0, 1], -1 + 1e-12, 1 - 1e-12))
    centre, half = np.arctanh(r), special.ndtri(0.975) / np.sqrt(n - 3)
    return Correlation(n, r, float(np.tanh(centre - half)), float(np.tanh(centre + half)))


def ideals(record: StudyRecord) -> pd.DataFrame:
    """Each run of a confirmed configuration on a fresh seed beside the ideal of its draw, the winner's first.

    Columns: trial, seed, failure_mode; skill, reliance, train, test (of the run); ideal_skill, ideal_reliance,
    ideal_train, ideal_test; skill_difference, reliance_difference (run minus ideal). Fractions; a run that diverged has
    none.
    """
    columns = ["trial", "seed", "failure_mode", "skill", "reliance", "train", "test", "ideal_skill", "ideal_reliance",
               "ideal_train", "ideal_test", "skill_difference", "reliance_difference"]  # fmt: skip
    if record.ideals.empty or record.runs.empty:
        return pd.DataFrame(columns=columns)
    place = {digest: number for number, digest in enumerate(confirmed(record.runs, record.spec)["digest"])}
    runs = record.runs[record.runs["stage"] == "confirm"]
    names = {"shape_skill": "skill", "colour_reliance": "reliance", "train_accuracy": "train", "test_accuracy": "test"}
    runs = runs.rename(columns=names)
    asked = record.ideals.rename(columns={"shape_skill": "ideal_skill", "colour_reliance": "ideal_reliance",
                                          "train_accuracy": "ideal_train", "test_accuracy": "ideal_test"})  # fmt: skip
    kept = ["digest", "trial", "seed", "failure_mode", "skill", "reliance", "train", "test"]
    table = runs[kept].merge(asked, on=["digest", "seed"])
    table = table.assign(
        skill_difference=table["skill"] - table["ideal_skill"],
        reliance_difference=table["reliance"] - table["ideal_reliance"],
        place=table["digest"].map(place),
    )
    return table.sort_values(["place", "seed"], ignore_index=True)[columns]


def ideal_sentence(table: pd.DataFrame) -> str:
    """Of the first configuration in the table alone. It speaks of a share where the interval of r lies above 0."""
    own = table[table["trial"] == table["trial"].iloc[0]]
    reliance, test = (correlation(own[name], own[f"ideal_{name}"]) for name in ("reliance", "test"))
    seeds = plural(reliance.n, "fresh seed")
    if math.isnan(reliance.r):
        return f"{seeds}: too few, or too much alike, for a correlation."
    text = (
        f"Trial {own['trial'].iloc[0]}, {seeds}: colour reliance of run and ideal correlate at r = {reliance.r:.2f} "
        f"(95% interval {reliance.low:.2f} to {reliance.high:.2f}); in the mean the runs lie "
        f"{_points(own['skill_difference'])} in S and {_points(own['reliance_difference'])} in B from their ideals."
    )
    if not test.is_shown:
        return f"{text} How much of the spread of test accuracy the draws decide cannot be told from so many seeds."
    share, low, high = test.explained
    return (
        f"{text} Of the variance of test accuracy over seeds {percent(share)} ({interval(low, high)}) goes with the "
        "ideal: it is in the draws of data, where no hyperparameter of the network or of its training removes it."
    )


def _points(differences: pd.Series) -> str:
    return f"{100 * differences.mean():+.1f} points"


@styled
def draw_ideals(table: pd.DataFrame) -> Figure:
    """Colour reliance of each run of the first configuration against that of its draw's ideal. table: as `ideals`."""
    own = table[table["trial"] == table["trial"].iloc[0]] if len(table) else table
    own = own[np.isfinite(own["reliance"].astype(float))]
    if own.empty:
        return nothing("no ideals were computed")
    figure = StyledFigure((NARROW, 3.1), layout="constrained")
    ax = figure.subplots()
    low, high = _limits(own["reliance"].tolist() + own["ideal_reliance"].tolist())
    ax.plot([low, high], [low, high], color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    mark_runs(ax, own, "ideal_reliance", "reliance", 26.0)
    ax.set(xlim=(low, high), ylim=(low, high), xlabel="colour reliance B of the draw's ideal",
           ylabel="colour reliance B of the run")  # fmt: skip
    legend(figure, mode_handles(own["failure_mode"]), columns=3)
    return figure


def _limits(values: Sequence[float]) -> tuple[float, float]:
    margin = 0.06 * (max(values) - min(values)) + 0.005
    return min(values) - margin, max(values) + margin


IDEALS: Exhibit[StudyRecord] = Exhibit(
    name="ideals",
    title="What each draw of data asks for",
    shows="Each mark is a run of the winner on a fresh seed. Its draw's ideal weighs a fixed shape evidence and the "
    "colour so that risk + penalty weight × penalty is least on the same training examples (L2 is left out); no "
    "network is trained for it. On the dashed line a run is as its draw asks.",
    table=lambda record: (ideals(record),),
    sentence=ideal_sentence,
    draw=draw_ideals,
    narrow=True,
    left_out=empty,
)


EXHIBITS = (IDEALS,)
