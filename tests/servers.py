"""Real servers for tests, on loopback and in folders of their own: a Dask scheduler with workers, PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

HERE = Path(__file__).parent.parent


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


class DaskCluster:
    """`dask scheduler` and `dask worker`, as the documentation starts them."""

    def __init__(self, folder: Path, workers: int = 2, protocol: str = "tcp", environment=None):
        self.folder, self.port, self.protocol = folder, free_port(), protocol
        self.address = f"{protocol}://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}",
        } | (environment or {})  # fmt: skip
        self.workers: list[subprocess.Popen] = []
        try:
            self.start_scheduler()
            for _ in range(workers):
                self.start_worker()
            wait_for(lambda: self.log().count("Registered to:") >= workers)
        except BaseException:
            self.stop()
            raise

    def start_scheduler(self) -> None:
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--protocol", self.protocol, "--no-dashboard"]
        before = self.log().count("Scheduler at")
        self.scheduler = self._start("scheduler", *options)
        wait_for(lambda: self.log().count("Scheduler at") > before)

    def start_worker(self) -> None:
        options = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", str(self.folder)]
        self.workers.append(self._start("worker", self.address, *options))

    def _start(self, *command: str) -> subprocess.Popen:
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "dask", *command],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def log(self) -> str:
        path = self.folder / "dask.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@contextlib.contextmanager
def dask_cluster(folder: Path, workers: int = 2, **options) -> Iterator[DaskCluster]:
    cluster = DaskCluster(folder, workers, **options)
    try:
        yield cluster
    finally:
        cluster.stop()


class Postgres:
    """A PostgreSQL server with one database, `studies`, and one user with a password."""

    def __init__(self, password: str):
        self.programs = postgres_programs()
        # A folder of its own: pytest's are its user's alone, and are made so again whenever another pytest begins.
        self.folder, self.port, self.password = Path(tempfile.mkdtemp(prefix="postgres-")), free_port(), password
        self.quoted = quote(password, safe="")
        self.url = f"postgresql://trainer:{self.quoted}@127.0.0.1:{self.port}/studies"
        (self.folder / "password").write_text(password)
        self.as_user: list[str] = []
        if os.geteuid() == 0:  # the server refuses to be root
            self.as_user = ["runuser", "-u", "postgres", "--"]
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, "postgres")
        data = ["-D", str(self.folder / "data"), "--locale=C.UTF-8", "-N"]
        self._run("initdb", *data, "-U", "trainer", "--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}")
        self.start()
        environment = os.environ | {"PGPASSWORD": password}
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "trainer"]
        subprocess.run([self.programs / "createdb", *address, "studies"], env=environment, check=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self.as_user, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -c unix_socket_directories='' -F"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-o", options, "-w", "-s", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "-s", "stop")


def postgres_programs() -> Path:
    """The folder of initdb and pg_ctl; skips the test where PostgreSQL is not installed."""
    for folder in [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        Path(shutil.which("initdb") or ""),
    ]:
        folder = folder if folder.is_dir() else folder.parent
        if (folder / "initdb").exists():
            return folder
    pytest.skip("needs PostgreSQL (initdb, pg_ctl)")


@contextlib.contextmanager
def postgres(password: str = "s3cret-Word") -> Iterator[Postgres]:
    server = Postgres(password)
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
