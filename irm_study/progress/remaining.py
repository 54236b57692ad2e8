"""How long the rest of a study takes, from what its finished runs took; and how wrong that estimate was.

Numbers alone: `display` words them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FEWEST_MARKS = 6
"""Through which a line gives the pace."""


class RemainingTime:
    """An estimate that is brought up to date whenever runs finish: in epochs, since many runs end early.

    Runs of the search that are still to come are expected to be as long as the later half of those so far, a
    sampler's choices changing as it learns; runs of a confirmation as long as the best quarter, of which it takes
    its configurations.

    known: score and epochs of the runs of each stage, in the order in which they finished. began: when the work
    began. marks: when it began, then each time that runs finished, with the epochs trained by then. jobs: workers
    that train at once. spent: the seconds of theirs that the finished runs took.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.stage = ""
        self.known: dict[str, list[tuple[float, int]]] = {}
        self.began = clock()
        self.marks: list[tuple[float, int]] = [(self.began, 0)]
        self.jobs, self.spent = 1, 0.0

    def begin(self, stage: str, before: Sequence[Mapping[str, Any]], jobs: int = 1) -> None:
        """before: the stage's runs that are done already. jobs: workers that train at once."""
        self.stage, self.jobs = stage, jobs
        self.known[stage] = [_length(row) for row in before] or self.known.get(stage, [])
        if len(self.marks) == 1:
            self.began = self.clock()
            self.marks = [(self.began, 0)]

    def finished(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """rows: of the table of runs, judged."""
        now = self.clock()
        if len(self.marks) == 1:
            # Workers that start, and digits that are read, are no measure of what follows.
            self.marks = [(max(self.marks[0][0], now - sum(row["seconds"] for row in rows)), 0)]
        lengths = [_length(row) for row in rows]
        self.known[self.stage] += lengths
        self.spent += sum(row["seconds"] for row in rows)
        self.marks.append((now, self.marks[-1][1] + sum(epochs for _, epochs in lengths)))

    def seconds(self, runs: float, later: int) -> float | None:
        """Seconds until `runs` more of this stage and `later` of a confirmation are done; None before the first."""
        latest, trained = self.marks[-1]
        if not trained:
            return None
        work = runs * self._expected(self.stage) + later * self._expected("confirm")
        return max(0.0, self._pace() * work - (self.clock() - latest))

    def _pace(self) -> float:
        """Seconds an epoch."""
        trained = self.marks[-1][1]
        if len(self.marks) <= self.jobs:  # some have not finished yet, and have done as much meanwhile
            return self.spent / trained / self.jobs
        # The later half says more of what follows: other work may have come to the machine, or left it. A line
        # through it, as workers that finish one soon after the other would be counted in or out at its ends.
        first = max(place for place, (_, epochs) in enumerate(self.marks) if epochs <= trained / 2)
        times, epochs = zip(*self.marks[min(first, max(0, len(self.marks) - FEWEST_MARKS)) :], strict=True)
        return max(0.0, statistics.linear_regression(epochs, times).slope)

    def _expected(self, stage: str) -> float:
        """Epochs of a run of this stage."""
        own = self.known.get(stage, [])
        if own:
            return _mean(own[len(own) // 2 :])
        others = sorted(run for runs in self.known.values() for run in runs)
        return _mean(others[-max(1, len(others) // 4) :])


def worst_error_factor(estimates: Sequence[tuple[float, float | None]], began: float) -> float | None:
    """By which factor an estimate was wrong at the worst, between a fifth and nine tenths of the time that all took;
    None where there was none then.

    estimates: when each was made, and the seconds that it gave; the last one is made at the end.
    """
    if not estimates:
        return None
    end = estimates[-1][0]
    fifth, late = began + 0.2 * (end - began), began + 0.9 * (end - began)
    ratios = [left / (end - now) for now, left in estimates if fifth <= now <= late and left is not None]
    return max((max(ratio, 1 / max(ratio, 1e-9)) for ratio in ratios), default=None)


def _length(row: Mapping[str, Any]) -> tuple[float, int]:
    return float(row["score"]), int(row["epochs_trained"]) - int(row["shared_epochs"])


def _mean(runs: Sequence[tuple[float, int]]) -> float:
    return sum(epochs for _, epochs in runs) / len(runs)
