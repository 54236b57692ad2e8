"""How a running study shows itself: a live display in a terminal, plain lines elsewhere.

It counts what the driver reports; how long the rest takes is `remaining`'s.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from irm_study.diagnosis import FAILURE_MODES
from irm_study.progress.remaining import RemainingTime, worst_error_factor

STAGES = {
    "search": "search",
    "confirm": "confirmation",
    "criterion": "other criteria's choices",
    "neighbour": "neighbourhood",
    "draws": "draws of data and of initialisations",
    "region": "proof of the region",
    "train": "training",
}
LINE_EVERY = 10.0
"""Seconds between plain lines, at least."""


class Display:
    """Watches a study, and shows it on stderr, so that stdout stays the result's.

    training: what is trained, where a command trains one thing after the other. estimates: when runs finished, and
    how many seconds were shown as left then.
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
        self.remaining = RemainingTime()
        self.estimates: list[tuple[float, float | None]] = []
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.live is None:
            return
        self.live.stop()
        if error is None and self.stage:  # the live display is gone, its last state stays
            print(self._state(), file=sys.stderr, flush=True)

    @property
    def time_left_within(self) -> float | None:
        """The worst error factor of the time that was shown as left, as `remaining.worst_error_factor`."""
        return worst_error_factor(self.estimates, self.remaining.began)

    # What the driver reports

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
        self.remaining.begin(stage, before, jobs)
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
        self.remaining.finished(rows)
        self.estimates.append((self.remaining.marks[-1][0], self._seconds_left()))
        for task in self.bar.task_ids:
            self.bar.update(task, completed=self.runs_done)
        if self.runs_done == self.runs or time.monotonic() - self.last_line > LINE_EVERY:
            self._line(self._state())

    def runs_spared(self, count: int) -> None:
        self.runs -= count
        self.spared += count
        for task in self.bar.task_ids:
            self.bar.update(task, total=self.runs)

    def trial_finished(self, trial: int, value: float, best: float | None) -> None:
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
        parts.append(self._left() or f"took {duration(time.monotonic() - self.started)}")
        return "; ".join(parts)

    def _left(self) -> str:
        seconds = self._seconds_left()
        return "" if seconds is None or self.runs_done == self.runs else f"{duration(seconds)} left"

    def _seconds_left(self) -> float | None:
        # Racing spares runs of the trials to come as it did of those so far.
        kept = self.runs_done / max(self.runs_done + self.spared, 1)
        return self.remaining.seconds((self.runs - self.runs_done) * kept, self.later)

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        if not self.quiet and self.live is None:
            print(text, file=sys.stderr, flush=True)

    def _render(self) -> Group:
        for task in self.bar.task_ids:
            self.bar.update(task, left=self._left())
        lines: list[RenderableType] = [self.bar]
        if self.stage:
            modes = Text("  ").join(Text(f"{mode} {self.modes[mode]}") for mode in FAILURE_MODES if self.modes[mode])
            lines.append(Text.assemble(("failure modes  ", "dim"), modes))
            if self.stage == "search":
                best = "–" if self.best is None else f"{self.best:.3f}"
                done = f"{self.trials_done} of {self.trials}"
                lines.append(Text.assemble(("trials  ", "dim"), done, ("   best so far  ", "dim"), best))
        return Group(*lines)


def duration(seconds: float) -> str:
    """As a person reads it: 45 s, 2 min 05 s, 3 h 20 min."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{left} s"
