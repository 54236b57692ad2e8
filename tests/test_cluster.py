"""A real Dask scheduler with real workers on loopback: the same study as in one process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

import dask
import distributed
import numpy as np
import pandas as pd
import pytest

from irm_study import __version__
from irm_study.errors import ConfigError
from irm_study.execution import Batch, check_cluster, train_batch
from irm_study.execution.cluster import open_cluster
from irm_study.execution.gpus import own_device
from irm_study.study import Settings, run_study
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
    assert check_cluster(cluster.address, "embedded", spec.environments, "cpu", None) == 2
    with pytest.raises(ConfigError, match="--device cuda:77"):
        check_cluster(cluster.address, "embedded", spec.environments, "cuda:77", None)
    with pytest.raises(ValueError, match=r"environments\.test_examples"):
        environments = spec.environments.model_copy(update={"test_examples": 5000 * 4})
        check_cluster(cluster.address, "embedded", environments, "cpu", None)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("irm_study.execution.cluster.CONNECT_SECONDS", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    before = threading.active_count()
    with pytest.raises(ConfigError, match=f"--scheduler {address}: cannot be reached"):
        open_cluster(address)
    assert threading.active_count() <= before  # of ten minutes of waiting nothing is left behind
    with pytest.raises(ConfigError, match="--scheduler nonsense: cannot be reached"):
        open_cluster("nonsense")


def test_a_connection_that_failed_is_collected_without_waiting_for_one_that_begins():
    """The lock is Dask's own, held while a client begins; in a process of its own, which can be ended."""
    code = f"""
import gc
from distributed.utils import LoopRunner
from irm_study.errors import ConfigError
from irm_study.execution.cluster import open_cluster
for address in ("nonsense", "tls://127.0.0.1:{free_port()}"):
    try:
        open_cluster(address)
    except ConfigError as error:
        print(error)
with LoopRunner._lock:
    print(gc.collect() > 0)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout.splitlines()
    assert ["cannot be reached" in line for line in said] == [True, True, False]
    assert said[-1] == "True"


def test_a_worker_of_another_version_is_refused(cluster):
    spec = small()
    with open_cluster(cluster.address) as opened:
        batch = Batch((spec.run,), (0,), "embedded", spec.environments)
        with pytest.raises(ValueError, match=f"the worker has irm-study {__version__}, the driver 99"):
            opened.submit(train_batch, batch, 1, "99").result()


def test_tls_is_passed_through_and_a_client_without_a_certificate_is_refused(tmp_path, monkeypatch):
    """As the documentation has it: Dask's own configuration, the same for scheduler, workers and driver."""
    certificate, key = tmp_path / "one.pem", tmp_path / "one.key"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=study"]
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = "distributed.comm.tls"
    client = {f"{tls}.ca-file": str(certificate), f"{tls}.client.cert": str(certificate), f"{tls}.client.key": str(key)}
    environment = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(certificate)} | {
        f"DASK_DISTRIBUTED__COMM__TLS__{role}__{what}": str(file)
        for role in ("SCHEDULER", "WORKER", "CLIENT")
        for what, file in (("CERT", certificate), ("KEY", key))
    }
    assert dask.config.get(f"{tls}.ca-file") is None, distributed.__version__
    with dask_cluster(tmp_path, workers=1, protocol="tls", environment=environment) as running:
        assert running.address.startswith("tls://")
        with dask.config.set(client):
            settings = Settings(jobs=1, scheduler=running.address)
            _, trained = run_study(small(1, seeds=1), tmp_path / "out", settings, Silent())
        assert trained == 1 + 2
        monkeypatch.setattr("irm_study.execution.cluster.CONNECT_SECONDS", 3)
        with pytest.raises(ConfigError, match="cannot be reached"):
            open_cluster(running.address)
        with pytest.raises(ConfigError, match="cannot be reached"):
            open_cluster(running.address.replace("tls", "tcp"))


def test_each_worker_of_several_gpus_has_one_of_its_own():
    """The devices are names here: no machine with several was at hand."""
    driver = os.getpid()
    taken = [own_device(driver, ("cuda:0", "cuda:1", "cuda:2")) for _ in range(3)]
    assert [device for device, _ in taken] == ["cuda:0", "cuda:1", "cuda:2"]
    taken[1][1].release()  # as the system does when a worker dies
    assert own_device(driver, ("cuda:0", "cuda:1", "cuda:2"))[0] == "cuda:1"
