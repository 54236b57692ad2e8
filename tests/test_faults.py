"""What goes wrong with machines and disks, done for real: the study ends with exactly its trials, nothing that was
written is lost, nothing is trained twice that was written, and the message tells what happened and what was done."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import psutil
import pytest
from joblib.externals.loky import reusable_executor

from irm_study import data
from irm_study.errors import ConfigError, ExecutionError
from irm_study.results import load_study
from irm_study.study import Settings, run_study
from tests.servers import HERE, dask_cluster, kill, postgres, wait_for
from tests.test_study import (
    FORKS,
    Silent,
    Stop,
    StopAfter,
    assert_same_study,
    complete_trials,
    few_digits,
    keys,
    small,
    stored_rows,
    trained_once,
)

LONG = {"hidden": 4, "epochs": 80, "anneal_epoch": 1, "ramp_epochs": 2, "checkpoint_every": 40}
"""Runs of a second or more: some are in training when a worker or the scheduler is lost."""


class At(Silent):
    """Does something in the driver when so many runs have been written, once for each of the counts, one at a time;
    again at the next runs where it could not be done (False)."""

    def __init__(self, faults: dict[int, object]):
        self.faults, self.runs, self.done = dict(faults), 0, []

    def runs_finished(self, rows):
        self.runs += len(rows)
        due = [count for count in self.faults if count <= self.runs]
        if due and self.faults[due[0]]() is not False:
            self.done.append(due[0])
            self.faults.pop(due[0])


@pytest.fixture
def few(monkeypatch):
    """Few digits, where all is trained in this process."""
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)


def ends_whole(record, folder: Path, trials: int, seeds: int, optuna_study: bool = True) -> None:
    assert len(record.trials) == trials
    assert (record.trials["state"] == "complete").all()
    assert len(record.runs) == trials * seeds + 2
    assert trained_once(folder)
    if optuna_study:
        assert len(complete_trials(folder)) == trials


# Workers


def test_a_local_worker_killed_again_and_again_costs_nothing_but_its_batches(tmp_path, caplog):
    def kill_one():
        processes = list(reusable_executor._executor._processes.values())
        alive = [process for process in processes if process.is_alive()]
        if len(alive) < len(processes) or not alive:
            return False  # one that was killed before is being replaced
        os.kill(alive[0].pid, signal.SIGKILL)

    watcher = At(dict.fromkeys((1, 2, 3), kill_one))
    record, _ = run_study(small(10, seeds=1, run=LONG), tmp_path, Settings(jobs=2), watcher)
    assert watcher.done == [1, 2, 3]
    ends_whole(record, tmp_path, 10, 1)
    said = [each.getMessage() for each in caplog.records if "submitted again" in each.getMessage()]
    assert said and all("a worker process died" in each for each in said)


def test_a_worker_of_a_cluster_killed_again_and_again_costs_nothing_but_its_batches(tmp_path, caplog):
    with dask_cluster(tmp_path) as cluster:

        def kill_one():
            kill(cluster.workers.pop(0))
            cluster.start_worker()

        watcher = At(dict.fromkeys((1, 2, 3), kill_one))
        settings = Settings(jobs=4, scheduler=cluster.address)  # more than the workers: each has another run to train
        record, _ = run_study(small(10, seeds=1, run=LONG), tmp_path / "out", settings, watcher)
    assert watcher.done == [1, 2, 3]
    ends_whole(record, tmp_path / "out", 10, 1)
    said = [each.getMessage() for each in caplog.records if "submitted again" in each.getMessage()]
    assert said and all("a worker process died" in each for each in said)


def test_a_scheduler_that_goes_away_and_comes_back_is_waited_for(tmp_path, caplog):
    with dask_cluster(tmp_path) as cluster:
        written = []

        def lose():
            written.extend(keys(stored_rows(tmp_path / "out")))
            kill(cluster.scheduler)
            for worker in cluster.workers:
                kill(worker)
            cluster.workers.clear()
            threading.Timer(1.0, come_back).start()

        def come_back():
            cluster.start_scheduler()
            cluster.start_worker()

        settings = Settings(jobs=2, scheduler=cluster.address)
        record, _ = run_study(small(5, seeds=1, run=LONG), tmp_path / "out", settings, At({2: lose}))
    ends_whole(record, tmp_path / "out", 5, 1)
    assert set(written) <= set(keys(stored_rows(tmp_path / "out")))
    assert f"{cluster.address}: the scheduler went away; waiting" in caplog.text
    assert f"{cluster.address}: answers again" in caplog.text


def test_a_scheduler_that_stays_away_ends_in_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr("irm_study.execution.workers.SCHEDULER_WAIT_SECONDS", 1)
    monkeypatch.setattr("irm_study.execution.cluster.CONNECT_SECONDS", 0.5)
    with dask_cluster(tmp_path, workers=1) as cluster:
        settings = Settings(jobs=1, scheduler=cluster.address)
        with pytest.raises(ExecutionError, match=r"cannot be reached.*what was trained is kept: run the same command"):
            run_study(small(3, seeds=1), tmp_path / "out", settings, At({1: lambda: kill(cluster.scheduler)}))
    assert len(stored_rows(tmp_path / "out")) == 1
    record, trained = run_study(small(3, seeds=1), tmp_path / "out", Settings(), Silent())
    assert trained == 2 + 2
    ends_whole(record, tmp_path / "out", 3, 1)


# The database


def test_a_database_server_stopped_and_started_is_waited_for(tmp_path, few, caplog):
    with postgres() as server:

        def stop():
            server.stop()
            threading.Timer(10.0, server.start).start()

        settings = Settings(storage=server.url)
        # Stopped while a trial is told.
        record, _ = run_study(small(4), tmp_path / "out", settings, At({4: stop}))
        ends_whole(record, tmp_path / "out", 4, 2, optuna_study=False)
        stored = optuna.load_study(study_name="small", storage=server.url.replace("postgresql:", "postgresql+psycopg:"))
        assert [trial.state for trial in stored.get_trials()] == [optuna.trial.TrialState.COMPLETE] * 4
        stored._storage._backend.engine.dispose()
    whole, _ = run_study(small(4), tmp_path / "whole", Settings(), Silent())
    assert_same_study(record, whole)
    assert "does not answer" in caplog.text and "answers again" in caplog.text
    assert server.password not in caplog.text


def test_a_damaged_study_db_is_moved_aside_and_made_again_from_the_runs(tmp_path, few, caplog):
    whole, _ = run_study(small(5), tmp_path / "whole", Settings(), Silent())
    with pytest.raises(Stop):
        run_study(small(5), tmp_path / "out", Settings(), StopAfter(runs=6))
    for damaged in (b"not a database" * 100, (tmp_path / "out" / "study.db").read_bytes()[:9000]):
        before = keys(stored_rows(tmp_path / "out"))
        (tmp_path / "out" / "study.db").write_bytes(damaged)
        with pytest.raises(Stop):
            run_study(small(5), tmp_path / "out", Settings(), StopAfter(trials=1))
        assert set(before) <= set(keys(stored_rows(tmp_path / "out")))
    record, _ = run_study(small(5), tmp_path / "out", Settings(), Silent())
    assert_same_study(record, whole)
    ends_whole(record, tmp_path / "out", 5, 2)
    aside = sorted((tmp_path / "out").glob("damaged-*-study.db"))
    assert len(aside) == 2 and aside[0].read_bytes() == b"not a database" * 100
    for path in aside:
        assert f"moved to {path.name}" in caplog.text
    assert "made again from the table of runs: 3 trials" in caplog.text


# The disk


@pytest.mark.parametrize("file", ["part-", "study.db"])
def test_a_disk_that_is_full_is_told_and_the_study_goes_on_when_there_is_room(tmp_path, few, file):
    """A limit on the size of the process's files: the system refuses a write beyond it, as on a full disk."""
    out = tmp_path / "out"
    process = FORKS.Process(target=run_with_little_room, args=(str(out), str(tmp_path / "said"), file))
    process.start()
    process.join(60)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 1, said
    assert said.count("\n") == 1 and file in said
    assert "what was trained is kept" in said or "make room, and run again" in said
    assert not list(out.rglob("*.partial"))
    written = keys(stored_rows(out))
    assert len(written) == 2
    record, _ = run_study(small(3), out, Settings(), Silent())
    assert set(written) <= set(keys(stored_rows(out)))
    ends_whole(record, out, 3, 2)


def run_with_little_room(out: str, said: str, file: str) -> None:
    from irm_study.cli.entry import explain
    from irm_study.results import parquet as parts

    data.load_digits = few_digits
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    write_table = parts.pq.write_table

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def write_little(*arguments, **options):
        limit(1000)
        try:
            write_table(*arguments, **options)
        finally:
            limit(resource.RLIM_INFINITY)

    class NoRoom(Silent):
        def runs_finished(self, rows):
            if file == "study.db":
                limit(1000)
            else:
                parts.pq.write_table = write_little

    with open(said, "w") as stderr:
        sys.stderr = stderr
        try:
            run_study(small(3), Path(out), Settings(), NoRoom())
        except Exception as error:
            limit(resource.RLIM_INFINITY)
            explain(error)


def test_a_truncated_part_is_moved_aside_and_its_runs_are_trained_again(tmp_path, few, caplog):
    whole, _ = run_study(small(3), tmp_path, Settings(), Silent())
    part = sorted((tmp_path / "runs").glob("part-*.parquet"), key=lambda path: path.stat().st_mtime_ns)[1]
    torn = part.read_bytes()[:-30]
    part.write_bytes(torn)
    with pytest.raises(ConfigError, match=f"{part.name}: not a readable part"):
        load_study(tmp_path)
    record, trained = run_study(small(3), tmp_path, Settings(), Silent())
    assert trained == 2
    assert_same_study(record, whole)
    ends_whole(record, tmp_path, 3, 2)
    assert (tmp_path / f"damaged-{part.name}").read_bytes() == torn
    assert f"moved to damaged-{part.name}, its runs are trained again" in caplog.text


# The terminal and the clock


@pytest.mark.parametrize("apart", [0.001, 0.004, 0.016])
def test_ctrl_c_twice_ends_as_once(tmp_path, few, apart):
    process = FORKS.Process(target=run_long, args=(str(tmp_path / "out"), str(tmp_path / "said")))
    process.start()
    wait_for(lambda: list((tmp_path / "out" / "runs").glob("part-*.parquet")))
    os.kill(process.pid, signal.SIGINT)
    time.sleep(apart)
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said
    assert "interrupted; what was trained is kept. To go on:" in said
    written = keys(stored_rows(tmp_path / "out"))
    done = len(written) + 1
    record, _ = run_study(small(done, seeds=1), tmp_path / "out", Settings(), Silent())
    assert set(written) <= set(keys(stored_rows(tmp_path / "out")))
    ends_whole(record, tmp_path / "out", done, 1)


def run_long(out: str, said: str) -> None:
    from irm_study import cli
    from irm_study.config import study_toml

    data.load_digits = few_digits
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = Path(out).parent / "small.toml"
    file.write_text(study_toml(small(5000, seeds=1)).partition("\n")[2])
    with open(said, "w") as stderr:
        sys.stderr = stderr
        sys.argv = ["irm-study", "run", str(file), "--out", out, "--jobs", "1", "--quiet"]
        cli.main()


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_a_signal_while_many_batches_wait_for_processes_ends_in_the_message_alone(tmp_path, number):
    (tmp_path / "one.toml").write_text("[run]\nhidden = 4\nepochs = 3\nanneal_epoch = 1\n")
    entry = "import sys; sys.argv[0] = 'irm-study'; from irm_study.cli import main; main()"
    command = [sys.executable, "-c", entry, "train", "one.toml", "--seeds", "100", "--out", "out", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    process = subprocess.Popen(
        [*command, "--quiet"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: list((tmp_path / "out" / "runs").glob("part-*.parquet")))
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert said.strip().splitlines() == [
        "interrupted; what was trained is kept. To go on:",
        "  irm-study train one.toml --seeds 100 --out out --jobs 2 --quiet",
    ]
    assert process.returncode == 130
    assert len(workers) >= 2
    assert psutil.wait_procs(workers, timeout=30)[1] == []


def test_a_clock_that_is_set_back_changes_nothing(tmp_path, few, monkeypatch):
    """The first half is written in what the second half takes for the future."""
    whole, _ = run_study(small(5), tmp_path / "whole", Settings(), Silent())
    with pytest.raises(Stop):
        run_study(small(5), tmp_path / "out", Settings(), StopAfter(runs=5))
    ahead = time.time() + 86400
    for path in (tmp_path / "out").rglob("*"):
        os.utime(path, (ahead, ahead))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - 86400)
    record, _ = run_study(small(5), tmp_path / "out", Settings(), Silent())
    assert_same_study(record, whole)
    ends_whole(record, tmp_path / "out", 5, 2)
