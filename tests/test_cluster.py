"""A real Dask scheduler with real workers on loopback: the same study as in one process."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from irm_study import __version__
from irm_study.cluster import open_cluster
from irm_study.config import ConfigError
from irm_study.driver import Settings
from irm_study.execution import Batch, on_cluster, train_batch
from irm_study.study import run_study
from tests.servers import dask_cluster, free_port
from tests.test_study import Silent, small, trained_once


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with dask_cluster(tmp_path_factory.mktemp("dask")) as running:
        yield running


def assert_close(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """The same runs and judgements; measurements up to rounding, which differs with the number of threads."""
    exact = ["stage", "trial", "seed", "digest", "failure_mode", "epochs_trained"]
    pd.testing.assert_frame_equal(one[exact], other[exact])
    numbers = ["score", "train_accuracy", "test_accuracy", "train_nll"]
    np.testing.assert_allclose(one[numbers], other[numbers], atol=1e-3)


def test_one_study_gives_one_table_here_in_local_processes_and_on_a_cluster(cluster, tmp_path):
    spec = small(3, seeds=1)
    places = {
        "here": Settings(jobs=1),
        "cluster, one at a time": Settings(jobs=1, scheduler=cluster.address),
        "processes": Settings(jobs=2),
        "cluster": Settings(jobs=2, scheduler=cluster.address),
    }
    runs = {}
    for name, settings in places.items():
        record, trained = run_study(spec, tmp_path / name, settings, Silent())
        assert trained == 3 + 2
        assert trained_once(tmp_path / name)
        runs[name] = record.runs
    assert_close(runs["cluster, one at a time"], runs["here"])
    assert_close(runs["cluster"], runs["processes"])


def test_what_a_worker_cannot_use_is_told_before_any_work(cluster):
    spec = small()
    assert on_cluster(cluster.address, "embedded", spec.environments, "cpu", None) == 2
    with pytest.raises(ConfigError, match="--device cuda"):
        on_cluster(cluster.address, "embedded", spec.environments, "cuda", None)
    with pytest.raises(ValueError, match=r"environments\.test_examples"):
        environments = spec.environments.model_copy(update={"test_examples": 5000 * 4})
        on_cluster(cluster.address, "embedded", environments, "cpu", None)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("irm_study.cluster.CONNECT", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ConfigError, match=f"--scheduler {address}: cannot be reached"):
        open_cluster(address)
    with pytest.raises(ConfigError, match="--scheduler nonsense: cannot be reached"):
        open_cluster("nonsense")


def test_a_worker_of_another_version_is_refused(cluster):
    spec = small()
    with open_cluster(cluster.address) as opened:
        batch = Batch((spec.run,), (0,), "embedded", spec.environments)
        with pytest.raises(ValueError, match=f"the worker has irm-study {__version__}, the driver 99"):
            opened.submit(train_batch, batch, 1, "99").result()
