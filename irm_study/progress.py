"""How a running study shows itself: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from irm_study.failures import FAILURE_MODES

STAGES = {"search": "search", "confirm": "confirmation", "train": "training"}
LINE_EVERY = 10.0
"""Seconds between plain lines, at least."""


class Display:
    """Counts what the driver tells, and shows it on stderr, so that stdout stays the result's."""

    def __init__(self, quiet: bool = False):
        self.console = Console(stderr=True)
        self.quiet = quiet
        self.live: Live | None = None
        self.stage, self.trials, self.trials_done = "", 0, 0
        self.runs, self.runs_done, self.runs_before = 0, 0, 0
        self.modes: Counter[str] = Counter()
        self.best: float | None = None
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

    # What the driver tells

    def begin(self, stage: str, trials: int, runs: int, runs_done: int) -> None:
        self.stage, self.trials = stage, trials
        self.trials_done = trials * runs_done // runs if runs else 0
        self.runs, self.runs_done, self.runs_before = runs, runs_done, runs_done
        self.modes.clear()
        self.started = time.monotonic()
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        self.bar.add_task(STAGES[stage], total=runs, completed=runs_done, left="")
        if runs_done < runs or runs == 0:
            resumed = f", {runs_done} of them done before" if runs_done else ""
            trials_text = f"{trials} configuration{'s' * (trials != 1)}, " if stage != "train" else ""
            self._line(f"{STAGES[stage]}: {trials_text}{runs} runs{resumed}")

    def runs_finished(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.runs_done = min(self.runs, self.runs_done + len(rows))
        self.modes.update(row["failure_mode"] for row in rows)
        for task in self.bar.task_ids:
            self.bar.update(task, completed=self.runs_done, left=self._left())
        if self.runs_done == self.runs or time.monotonic() - self.last_line > LINE_EVERY:
            self._line(self._state())

    def trial_finished(self, trial: int, value: float, best: float) -> None:
        self.trials_done = trial + 1
        self.best = best

    # What is shown

    def _state(self) -> str:
        parts = [f"{STAGES[self.stage]}: {self.runs_done} of {self.runs} runs"]
        if self.stage == "search":
            parts.append(f"{self.trials_done} of {self.trials} trials")
        if self.modes:
            parts.append(", ".join(f"{mode} {self.modes[mode]}" for mode in FAILURE_MODES if self.modes[mode]))
        if self.stage == "search" and self.best is not None:
            parts.append(f"best {self.best:.3f}")
        parts.append(self._left() or f"took {_duration(time.monotonic() - self.started)}")
        return "; ".join(parts)

    def _left(self) -> str:
        trained = self.runs_done - self.runs_before
        if not trained or self.runs_done == self.runs:
            return ""
        seconds = (time.monotonic() - self.started) / trained * (self.runs - self.runs_done)
        return f"{_duration(seconds)} left"

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        if not self.quiet and self.live is None:
            print(text, file=sys.stderr, flush=True)

    def _render(self) -> Group:
        lines = [self.bar]
        if self.stage:
            modes = Text("  ").join(Text(f"{mode} {self.modes[mode]}") for mode in FAILURE_MODES if self.modes[mode])
            lines.append(Text.assemble(("failure modes  ", "dim"), modes))
            if self.stage == "search":
                best = "–" if self.best is None else f"{self.best:.3f}"
                done = f"{self.trials_done} of {self.trials}"
                lines.append(Text.assemble(("trials  ", "dim"), done, ("   best so far  ", "dim"), best))
        return Group(*lines)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
