"""Batches handed to workers and collected: what dies, fails or is given up early, and how much a pool is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import joblib
import psutil
import pytest
from joblib.externals.loky import reusable_executor

from irm_study.errors import ExecutionError
from irm_study.execution import Batch, LocalProcesses, Workers, available_cores, default_jobs
from irm_study.execution.workers import ATTEMPTS
from tests.servers import HERE, wait_for
from tests.test_study import Silent, complete_trials, quick, run, small, trained_once  # noqa: F401

SPEC = small()


def batch(seed: int) -> Batch:
    return Batch((SPEC.run,), (seed,), "embedded", SPEC.environments)


class Scripted:
    """Stands for the pool of processes: what it is given ends when the test says so."""

    def __init__(self):
        self.futures: list[Future] = []
        self.seeds: list[int] = []

    def submit(self, function, batch, *arguments):
        self.futures.append(Future())
        self.seeds += batch.seeds
        return self.futures[-1]

    def shutdown(self, **keywords):
        pass


@pytest.fixture
def pool(monkeypatch):
    scripted = Scripted()
    monkeypatch.setattr("irm_study.execution.workers.LocalProcesses", lambda *arguments: scripted)
    return scripted


# Workers that die, work that fails


def test_a_killed_worker_costs_nothing_but_its_batch(tmp_path):
    class KillOne(Silent):
        killed = 0

        def runs_finished(self, rows):
            if not self.killed:
                self.killed = next(iter(reusable_executor._executor._processes))
                os.kill(self.killed, 9)

    watcher = KillOne()
    spec = small(3, seeds=1)  # with two jobs, two trials at a time
    record, _ = run(spec, tmp_path, watcher, jobs=2)
    assert watcher.killed
    assert len(complete_trials(tmp_path)) == 3
    assert trained_once(tmp_path)
    assert len(record.runs) == 3 + 2


def test_a_batch_whose_workers_always_die_ends_in_one_message(monkeypatch):
    class Dying(Scripted):
        def submit(self, *arguments):
            future = super().submit(*arguments)
            future.set_exception(BrokenProcessPool("killed"))
            return future

    dying = Dying()
    monkeypatch.setattr("irm_study.execution.workers.LocalProcesses", lambda *arguments: dying)
    with pytest.raises(ExecutionError, match=r"seeds \[5\].*hidden = 4.*fewer --jobs"), Workers(2) as workers:
        workers.submit(batch(5))
        while workers.pending:
            list(workers.finished())
    assert len(dying.futures) == ATTEMPTS


def test_what_died_with_a_worker_comes_before_what_waits(pool):
    with Workers(2) as workers:
        for seed in range(6):
            workers.submit(batch(seed))
        pool.futures[0].set_result([])
        pool.futures[1].set_exception(BrokenProcessPool("killed"))
        assert [each.seeds for each, _ in workers.finished()] == [(0,)]
    assert pool.seeds == [0, 1, 2, 3, 1, 4]


def test_work_that_fails_is_told_with_the_configuration(monkeypatch):
    def failing(*arguments):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr("irm_study.training.train", failing)
    message = r"seeds \[5\].*hidden = 4.*RuntimeError: out of memory"
    with pytest.raises(ExecutionError, match=message), Workers(1) as workers:
        workers.submit(batch(5))
        list(workers.finished())


def test_batches_that_are_trained_are_had_before_one_that_failed_is_told(pool):
    had = []
    with pytest.raises(ExecutionError, match=r"seeds \[0\].*ValueError: no"), Workers(2) as workers:
        for seed in range(2):
            workers.submit(batch(seed))
        pool.futures[0].set_exception(ValueError("no"))
        pool.futures[1].set_result([])
        had.extend(workers.finished())
    assert [each.seeds for each, _ in had] == [(1,)]


# How much a pool is given


def test_batches_that_end_one_after_another_are_told_together(pool, monkeypatch):
    monkeypatch.setattr("irm_study.execution.workers.GATHER_FRACTION", 0.5)
    with Workers(2) as workers:
        for seed in (1, 2, 3):
            workers.submit(batch(seed))
        for future, seconds in zip(pool.futures, (1.0, 1.01), strict=False):  # the third never ends
            threading.Timer(seconds, future.set_result, [[]]).start()
        assert [each.seeds for each, _ in workers.finished()] == [(1,), (2,)]
        assert len(workers.pending) == 1


def test_a_pool_is_given_two_batches_for_each_process_and_the_others_in_their_order(pool):
    had = []
    with Workers(3) as workers:
        for seed in range(20):
            workers.submit(batch(seed))
        assert pool.seeds == list(range(6))
        while workers.pending:
            next(future for future in pool.futures if not future.done()).set_result([])
            had += [seed for each, _ in workers.finished() for seed in each.seeds]
            assert len(pool.futures) - len(had) <= 6
    assert pool.seeds == had == list(range(20))


def test_cores_are_counted_as_joblib_counts_them_which_knows_a_container_s_quota(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    assert available_cores() == 3
    assert default_jobs("cpu") == 3


# Given up early


@pytest.mark.parametrize("trained", [0, 1])
def test_many_batches_are_given_up_without_a_word_and_the_processes_are_gone(monkeypatch, trained):
    """As by Ctrl-C: with more batches than the pool's own queue holds, right after they were submitted or later."""

    def sleeping(*arguments):
        import time

        time.sleep(0.01)
        return []

    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    monkeypatch.setattr("irm_study.execution.workers.train_batch", sleeping)
    with pytest.raises(KeyboardInterrupt), Workers(2) as workers:
        for seed in range(100):
            workers.submit(batch(seed))
        for _ in range(trained):
            assert list(workers.finished())
        processes = [psutil.Process(pid) for pid in reusable_executor._executor._processes]
        raise KeyboardInterrupt
    assert len(processes) == 2
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    wait_for(lambda: not [each for each in threading.enumerate() if "ExecutorManager" in each.name])
    assert failed == []


def test_a_worker_leaves_it_to_the_driver_what_a_signal_ends():
    """A cluster's job is ended by a signal to all of its processes."""

    def signalled():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return os.getpid()

    with LocalProcesses(1) as pool:
        assert pool.submit(signalled).result() == pool.submit(os.getpid).result()


# What a machine may lack

STARTED = """
from irm_study.errors import ExecutionError
from irm_study.execution import LocalProcesses
try:
    LocalProcesses(2).submit(print)
except ExecutionError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("mount -t tmpfs -o ro tmpfs /dev/shm", "Read-only file system"),
        (
            "mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero > /dev/shm/full",
            "No space left on device",
        ),
    ],
)
def test_shared_memory_that_is_full_or_read_only_is_named_and_what_does_without(mount, reason):
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, mount], capture_output=True).returncode:
        pytest.skip("needs a mount namespace of its own (unshare)")
    command = [*inside, f'{mount} && exec "$0" -W ignore -c "$1"', sys.executable, STARTED]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=HERE)
    told = f"worker processes cannot be started: {reason}; they need room in shared memory (/dev/shm)"
    assert said.stdout.splitlines() == [f"{told}, which --jobs 1 does not"]
    assert "Traceback" not in said.stderr
