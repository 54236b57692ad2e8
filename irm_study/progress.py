"""How a running study shows itself: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from irm_study.failures import FAILURE_MODES

STAGES = {
    "search": "search",
    "confirm": "confirmation",
    "criterion": "other criteria's choices",
    "neighbour": "neighbourhood",
    "draws": "draws of data and of initialisations",
    "train": "training",
}
LINE_EVERY = 10.0
"""Seconds between plain lines, at least."""


class Display:
    """Counts what the driver tells, and shows it on stderr, so that stdout stays the result's.

    training: what is trained, where a command trains one thing after the other.
    """

    def __init__(self, quiet: bool = False, training: str = STAGES["train"]):
        self.console = Console(stderr=True)
        self.quiet = quiet
        self.names = STAGES | {"train": training}
        self.live: Live | None = None
        self.stage, self.trials, self.trials_done = "", 0, 0
        self.runs, self.runs_done, self.later, self.spared = 0, 0, 0, 0
        self.modes: Counter[str] = Counter()
        self.best: float | None = None
        self.work = Work()
        self.estimates: list[tuple[float, float | None]] = []
        """When runs finished, and how many seconds were said to be left then."""
        self.started, self.last_line = time.monotonic(), 0.0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
        )

    def __enter__(self) -> Display:
        if not self.quiet and self.console.is_terminal:
            self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()
        if exception[0] is not None or self.quiet or not self.stage:
            return
        if self.live is not None:  # which is gone
            print(self._state(), file=sys.stderr, flush=True)
        if self.time_left_within is not None:
            print(f"time left was told to within a factor of {self.time_left_within:.2f}", file=sys.stderr, flush=True)

    @property
    def time_left_within(self) -> float | None:
        """By which factor the time left was told wrong at the worst, between a fifth and nine tenths of the time that
        all took; None where nothing was told then."""
        if not self.estimates:
            return None
        start, end = self.work.began, self.estimates[-1][0]
        fifth, late = start + 0.2 * (end - start), start + 0.9 * (end - start)
        ratios = [left / (end - now) for now, left in self.estimates if fifth <= now <= late and left is not None]
        return max((max(ratio, 1 / max(ratio, 1e-9)) for ratio in ratios), default=None)

    # What the driver tells

    def begin(
        self, stage: str, trials: int, runs: int, before: Sequence[Mapping[str, Any]], later: int = 0,
        best: float | None = None, jobs: int = 1,
    ) -> None:  # fmt: skip
        done = min(len(before), runs)
        self.stage, self.trials, self.best = stage, trials, best
        self.trials_done = trials * done // runs if runs else 0
        self.runs, self.runs_done, self.later, self.spared = runs, done, later, 0
        self.modes = Counter(row["failure_mode"] for row in before)
        self.started = time.monotonic()
        self.work.begin(stage, before, jobs)
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        self.bar.add_task(self.names[stage], total=runs, completed=done, left=self._left())
        if done < runs or runs == 0:
            resumed = f", {done} of them done before" if done else ""
            trials_text = f"{trials} configuration{'s' * (trials != 1)}, " if stage != "train" else ""
            self._line(f"{self.names[stage]}: {trials_text}{runs} runs{resumed}")

    def runs_finished(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.runs_done = min(self.runs, self.runs_done + len(rows))
        self.modes.update(row["failure_mode"] for row in rows)
        self.work.finished(rows)
        self.estimates.append((self.work.marks[-1][0], self._seconds_left()))
        for task in self.bar.task_ids:
            self.bar.update(task, completed=self.runs_done)
        if self.runs_done == self.runs or time.monotonic() - self.last_line > LINE_EVERY:
            self._line(self._state())

    def runs_spared(self, count: int) -> None:
        self.runs -= count
        self.spared += count
        for task in self.bar.task_ids:
            self.bar.update(task, total=self.runs)

    def trial_finished(self, trial: int, value: float, best: float) -> None:
        self.trials_done = trial + 1
        self.best = best

    # What is shown

    def _state(self) -> str:
        parts = [f"{self.names[self.stage]}: {self.runs_done} of {self.runs} runs"]
        if self.stage == "search":
            parts.append(f"{self.trials_done} of {self.trials} trials")
        if self.modes:
            parts.append(", ".join(f"{mode} {self.modes[mode]}" for mode in FAILURE_MODES if self.modes[mode]))
        if self.stage == "search" and self.best is not None:
            parts.append(f"best {self.best:.3f}")
        parts.append(self._left() or f"took {_duration(time.monotonic() - self.started)}")
        return "; ".join(parts)

    def _left(self) -> str:
        seconds = self._seconds_left()
        return "" if seconds is None or self.runs_done == self.runs else f"{_duration(seconds)} left"

    def _seconds_left(self) -> float | None:
        # Racing spares runs of the trials to come as it did of those so far.
        kept = self.runs_done / max(self.runs_done + self.spared, 1)
        return self.work.left((self.runs - self.runs_done) * kept, self.later)

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        if not self.quiet and self.live is None:
            print(text, file=sys.stderr, flush=True)

    def _render(self) -> Group:
        for task in self.bar.task_ids:
            self.bar.update(task, left=self._left())
        lines = [self.bar]
        if self.stage:
            modes = Text("  ").join(Text(f"{mode} {self.modes[mode]}") for mode in FAILURE_MODES if self.modes[mode])
            lines.append(Text.assemble(("failure modes  ", "dim"), modes))
            if self.stage == "search":
                best = "–" if self.best is None else f"{self.best:.3f}"
                done = f"{self.trials_done} of {self.trials}"
                lines.append(Text.assemble(("trials  ", "dim"), done, ("   best so far  ", "dim"), best))
        return Group(*lines)


FEWEST_MARKS = 6
"""Through which a line tells the pace."""


class Work:
    """How long the rest takes, from what the finished runs took: in epochs, since many runs end early.

    Runs of the search that are still to come are expected to be as long as the later half of those so far, a
    sampler's choices changing as it learns; runs of a confirmation as long as the best quarter, of which it takes
    its configurations.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.stage = ""
        self.known: dict[str, list[tuple[float, int]]] = {}
        """Score and epochs of the runs of each stage, in the order in which they finished."""
        self.began = clock()
        self.marks = [(self.began, 0)]
        """When the work began, then each time that runs finished, with the epochs trained by then."""
        self.jobs, self.spent = 1, 0.0
        """Workers that train at once, and the seconds of theirs that the finished runs took."""

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

    def left(self, runs: float, later: int) -> float | None:
        """Seconds until `runs` more of this stage and `later` of a confirmation are done; None before the first."""
        latest, trained = self.marks[-1]
        if not trained:
            return None
        if len(self.marks) <= self.jobs:  # some have not finished yet, and have done as much meanwhile
            pace = self.spent / trained / self.jobs
        else:
            # The later half tells more of what follows: other work may have come to the machine, or left it. A line
            # through it, as workers that finish one soon after the other would be counted in or out at its ends.
            first = max(place for place, (_, epochs) in enumerate(self.marks) if epochs <= trained / 2)
            times, epochs = zip(*self.marks[min(first, max(0, len(self.marks) - FEWEST_MARKS)) :], strict=True)
            pace = max(0.0, statistics.linear_regression(epochs, times).slope)
        seconds = pace * (runs * self._expected(self.stage) + later * self._expected("confirm"))
        return max(0.0, seconds - (self.clock() - latest))

    def _expected(self, stage: str) -> float:
        own = self.known.get(stage, [])
        if own:
            return _mean(own[len(own) // 2 :])
        others = sorted(run for runs in self.known.values() for run in runs)
        return _mean(others[-max(1, len(others) // 4) :])


def _length(row: Mapping[str, Any]) -> tuple[float, int]:
    return float(row["score"]), int(row["epochs_trained"]) - int(row["shared_epochs"])


def _mean(runs: Sequence[tuple[float, int]]) -> float:
    return sum(epochs for _, epochs in runs) / len(runs)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
