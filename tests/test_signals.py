"""Signals that end a command, sent for real to real processes: what they say, their exit status, and that nothing of
them is left. A test waits for a line that the process prints, never for time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import HERE
from tests.test_study import stored_rows, trained_once

STUDY = """
name = "long"
[run]
hidden = 4
epochs = 3
anneal_epoch = 1
[search]
penalty_weight = { low = 10.0, high = 1e6, log = true }
[study]
trials = 5000
seeds = 1
sampler = "random"
[confirm]
top = 1
seeds = 1
"""
ENTRY = """
import signal, sys
sys.argv[0] = 'irm-study'
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal; a script's background ignores it
from irm_study.progress import display
display.LINE_EVERY = 0  # every run is a line
{}
from irm_study.cli import main
main()
"""
PAGE = """
from irm_study import report
draw = report.write_report
def write_report(record):
    print('drawing', file=sys.stderr, flush=True)
    while True:
        draw(record)
report.write_report = write_report
"""
INTERRUPTED = "interrupted; what was trained is kept. To go on:"


class Command:
    """A command of its own process group. line: what it printed last."""

    def __init__(self, folder: Path, *arguments: str, before: str = ""):
        self.shown = f"irm-study {' '.join(arguments)}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENTRY.format(before), *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []

    def wait_for_line(self, *parts: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if all(part in line for part in parts):
                return
        raise AssertionError(f"no line with {parts}: {self.said}")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> list[str]:
        """Its last lines, after those of its progress."""
        rest = self.process.communicate(timeout=120)[1].splitlines()
        return [
            line.strip() for line in rest if line and not line.startswith(("search:", "training:", "confirmation:"))
        ]


@pytest.fixture
def start(tmp_path) -> Iterator:
    (tmp_path / "long.toml").write_text(STUDY)
    (tmp_path / "one.toml").write_text("[run]\nhidden = 4\nepochs = 3\nanneal_epoch = 1\n")
    started: list[Command] = []

    def command(*arguments: str, before: str = "") -> Command:
        started.append(Command(tmp_path, *arguments, before=before))
        return started[-1]

    yield command
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()
        if each.process.stderr is not None:
            each.process.stderr.close()


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=60)[1]


@pytest.mark.parametrize("to_the_group", [False, True])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_study_with_the_command_that_continues(start, tmp_path, number, status, to_the_group):
    """A container's SIGTERM reaches the driver alone, a batch system's every process of the job."""
    study = start("run", "long.toml", "--out", "out", "--jobs", "2")
    study.wait_for_line("search: ", " of 5000 runs; ")
    children = study.children()
    (os.killpg if to_the_group else os.kill)(study.process.pid, number)
    assert study.end() == [INTERRUPTED, study.shown]
    assert study.process.returncode == status
    assert len(children) >= 2 and gone(children)
    assert len(stored_rows(tmp_path / "out")) >= 1
    assert trained_once(tmp_path / "out")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["run", "long.toml", "--out", "out", "--jobs", "1"], ("search: ", " of 5000 runs; ")),
        (["train", "one.toml", "--seeds", "5000", "--out", "out", "--jobs", "1"], ("training: ", " of 5000 runs; ")),
        (["train", "one.toml", "--seeds", "5000", "--out", "out", "--jobs", "2"], ("training: ", " of 5000 runs; ")),
        (["train", "one.toml", "--seeds", "5000", "--out", "out", "--jobs", "2"], ("training: 5000 runs",)),
    ],
    ids=["run here", "train here", "train in processes", "before the first process"],
)
def test_sigterm_ends_every_command_that_trains(start, command, line):
    training = start(*command)
    training.wait_for_line(*line)
    children = training.children()
    os.killpg(training.process.pid, signal.SIGTERM)
    assert training.end() == [INTERRUPTED, training.shown]
    assert training.process.returncode == 143
    assert gone(children)


def test_sigterm_ends_a_confirmation_which_goes_on(start, tmp_path):
    study = start("run", "long.toml", "--out", "out", "--jobs", "1", "--trials", "1", "--quiet")
    assert study.process.wait(timeout=300) == 0
    confirmation = start("confirm", "out", "--seeds", "5000", "--jobs", "2")
    confirmation.wait_for_line("confirmation: ", " of 5000 runs; ")
    children = confirmation.children()
    os.killpg(confirmation.process.pid, signal.SIGTERM)
    assert confirmation.end() == [INTERRUPTED, confirmation.shown]
    assert confirmation.process.returncode == 143
    assert gone(children)
    written = stored_rows(tmp_path / "out")
    fresh = written.loc[written["stage"] == "confirm", "seed"]
    assert len(fresh) >= 1
    seeds = int(fresh.max()) - 1000 + 3  # two more than the last of them; two processes finish in any order
    again = start("confirm", "out", "--seeds", str(seeds), "--jobs", "1", "--quiet")
    assert again.process.wait(timeout=300) == 0
    ended = stored_rows(tmp_path / "out")
    assert sorted(ended.loc[ended["stage"] == "confirm", "seed"]) == list(range(1000, 1000 + seeds))
    assert trained_once(tmp_path / "out")


def test_sigterm_twice_ends_as_once(start):
    training = start("train", "one.toml", "--seeds", "5000", "--out", "out", "--jobs", "2")
    training.wait_for_line("training: ", " of 5000 runs; ")
    children = training.children()
    os.killpg(training.process.pid, signal.SIGTERM)
    os.kill(training.process.pid, signal.SIGTERM)
    assert training.end() == [INTERRUPTED, training.shown]
    assert training.process.returncode == 143
    assert gone(children)


def test_sigterm_while_the_page_is_drawn_ends_with_the_command_that_makes_it(start, tmp_path):
    arguments = ("run", "long.toml", "--out", "out", "--jobs", "1", "--trials", "1", "--quiet")
    study = start(*arguments, before=PAGE)
    study.wait_for_line("drawing")
    os.kill(study.process.pid, signal.SIGTERM)
    assert study.end() == [INTERRUPTED, study.shown]
    assert study.process.returncode == 143
    assert (tmp_path / "out" / "best.toml").is_file()


def test_a_command_whose_terminal_is_gone_ends_with_the_signal_s_status(start):
    """What is printed then fails."""
    training = start("train", "one.toml", "--seeds", "5000", "--out", "out", "--jobs", "2")
    training.wait_for_line("training: 5000 runs")
    children = training.children()
    assert training.process.stderr is not None
    os.kill(training.process.pid, signal.SIGSTOP)
    training.process.stderr.close()
    os.kill(training.process.pid, signal.SIGHUP)
    os.kill(training.process.pid, signal.SIGCONT)
    assert training.process.wait(timeout=120) == 129
    assert gone(children)


def test_a_signal_that_the_process_was_started_to_ignore_is_ignored(start):
    """As by nohup, whose study goes on when the terminal closes."""
    study = start(
        "run", "long.toml", "--out", "out", "--jobs", "1", before="signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    )
    study.wait_for_line("search: 1 of 5000 runs; ")
    os.kill(study.process.pid, signal.SIGHUP)
    study.wait_for_line("search: 3 of 5000 runs; ")
    os.kill(study.process.pid, signal.SIGTERM)
    assert study.end() == [INTERRUPTED, study.shown]
    assert study.process.returncode == 143
