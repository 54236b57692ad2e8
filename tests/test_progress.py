"""What is shown while a study runs: time left, counts that go on after a resume, plain lines without a terminal."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from irm_study.progress import Display, RemainingTime


def row(epochs, score=0.5, seconds=0.0, mode="shape_not_learnt"):
    return {"epochs_trained": epochs, "shared_epochs": 0, "score": score, "seconds": seconds, "failure_mode": mode}


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(batches, pace=0.1, startup=0.0, stage="search", before=()):
    """A study's work so far: batches of (epochs, score), one after another, at so many seconds an epoch."""
    clock = Clock()
    remaining = RemainingTime(clock)
    remaining.begin(stage, list(before))
    clock.now += startup
    for batch in batches:
        seconds = pace * sum(epochs for epochs, _ in batch)
        clock.now += seconds
        remaining.finished([row(epochs, score, seconds / len(batch)) for epochs, score in batch])
    return remaining, clock


def test_nothing_is_said_before_the_first_run():
    remaining, _ = watched([])
    assert remaining.seconds(10, 5) is None


def test_equal_runs_take_as_long_as_those_before_the_confirmation_included():
    remaining, _ = watched([[(100, 0.5)] * 2] * 3)
    assert remaining.seconds(4, 10) == pytest.approx((4 + 10) * 100 * 0.1)


def test_the_first_of_several_workers_to_finish_speaks_for_the_others():
    remaining = RemainingTime(clock := Clock())
    remaining.begin("confirm", [], 2)
    clock.now += 10
    remaining.finished([row(100, seconds=5)] * 2)  # the other worker is as far, with two of its own
    assert remaining.seconds(18, 0) == pytest.approx(45)
    clock.now += 1
    remaining.finished([row(100, seconds=5.5)] * 2)
    assert remaining.seconds(16, 0) == pytest.approx(40, rel=0.2)


def test_workers_that_start_are_no_measure_of_what_follows():
    remaining, _ = watched([[(100, 0.5)]], startup=30)
    assert remaining.seconds(1, 0) == pytest.approx(10)


def test_runs_that_end_early_are_expected_again_but_not_of_the_best_in_the_confirmation():
    remaining, _ = watched([[(20, 0.4), (20, 0.4), (20, 0.4), (100, 0.6)]] * 4)
    assert remaining.seconds(10, 0) == pytest.approx(10 * 40 * 0.1)
    assert remaining.seconds(0, 10) == pytest.approx(10 * 100 * 0.1)


def test_what_a_sampler_learns_counts_and_a_confirmation_goes_by_its_own_runs():
    remaining, clock = watched([[(20, 0.4)]] * 4 + [[(100, 0.6)]] * 4)
    assert remaining.seconds(10, 0) == pytest.approx(10 * 100 * 0.1)
    remaining.begin("confirm", [])
    assert remaining.seconds(3, 0) == pytest.approx(3 * 100 * 0.1)
    clock.now += 5
    remaining.finished([row(50)])
    assert remaining.seconds(2, 0) == pytest.approx(2 * 50 * 0.1)


def test_a_machine_that_has_become_slower_is_taken_as_it_is_now():
    remaining, clock = watched([[(100, 0.5)]] * 4)
    for _ in range(8):
        clock.now += 30
        remaining.finished([row(100)])
    assert remaining.seconds(2, 0) == pytest.approx(2 * 30)


def test_a_worker_that_finishes_just_after_another_does_not_end_the_wait():
    remaining, clock = watched([[(100, 0.5)]] * 2)
    clock.now += 0.1
    remaining.finished([row(100)])
    assert 5 < remaining.seconds(1, 0) < 10


def test_time_passes_between_two_batches():
    remaining, clock = watched([[(100, 0.5)]])
    clock.now += 4
    assert remaining.seconds(1, 0) == pytest.approx(6)
    clock.now += 100
    assert remaining.seconds(1, 0) == 0


def test_a_resumed_study_measures_its_pace_anew_and_its_lengths_from_the_table():
    remaining, _ = watched([[(100, 0.5)]], before=[row(20, 0.4)] * 19)
    assert remaining.seconds(1, 0) == pytest.approx(0.1 * (9 * 20 + 100) / 10)


def test_counts_and_best_go_on_after_a_resume(capsys, monkeypatch):
    monkeypatch.setattr("irm_study.progress.display.LINE_EVERY", -1)
    with Display() as display:
        display.begin("search", 4, 8, [row(9, mode="collapsed"), row(9, mode="collapsed")], 0, 0.41)
        display.runs_finished([row(9, mode="invariant")])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "search: 4 configurations, 8 runs, 2 of them done before"
    assert lines[1].startswith("search: 3 of 8 runs; 1 of 4 trials; invariant 1, collapsed 2; best 0.410; ")


def test_runs_that_racing_spares_are_not_waited_for(monkeypatch):
    display = Display(quiet=True)
    display.remaining = remaining = RemainingTime(clock := Clock())
    display.begin("search", 10, 80, [])
    for _ in range(4):
        clock.now += 20
        display.runs_finished([row(100, seconds=10)] * 2)
        display.runs_spared(6)
    assert (display.runs_done, display.runs) == (8, 56)
    assert display._left() == "2 min 00 s left"
    assert remaining.seconds(12, 0) == pytest.approx(120)


def shown_study(durations, quiet=False):
    """A display of one run after another, each of 100 epochs and so many seconds."""
    with Display(quiet) as display:
        display.remaining = RemainingTime(clock := Clock())
        display.begin("search", len(durations), len(durations), [])
        for seconds in durations:
            clock.now += seconds
            display.runs_finished([row(100, seconds=seconds)])
    return display


def test_the_worst_error_of_the_time_left_is_known_and_not_printed(capsys):
    assert shown_study([10] * 40).time_left_within == pytest.approx(1)
    assert "factor" not in capsys.readouterr().err
    # When the long runs begin, ten times 10 s are said to be left, and ten times 30 s it takes.
    display = shown_study([10] * 30 + [30] * 10, quiet=True)
    assert display.time_left_within == pytest.approx(3)
    assert capsys.readouterr().err == ""
    assert shown_study([]).time_left_within is None


def test_quiet_says_nothing(capsys):
    with Display(quiet=True) as display:
        display.begin("search", 1, 1, [])
        display.runs_finished([row(9)])
    assert capsys.readouterr() == ("", "")


def test_a_live_display_leaves_its_last_line(capsys):
    display = Display()
    display.console = Console(stderr=True, force_terminal=True)
    with display:
        display.begin("train", 1, 1, [])
        display.runs_finished([row(9, mode="invariant")])
    assert re.search(r"training: 1 of 1 runs; invariant 1; took \d+ s\n$", capsys.readouterr().err)
