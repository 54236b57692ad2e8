"""A real PostgreSQL server as Optuna's storage: the same trials as in study.db, one driver, and no password told."""

from __future__ import annotations

import json
import sys

import pytest

from irm_study import cli
from irm_study.config import study_toml
from irm_study.errors import ConfigError, shown_command
from irm_study.search import open_search
from irm_study.study import Settings, run_study
from tests.servers import postgres
from tests.test_study import FORKS, Silent, Stop, StopAfter, assert_same_study, few_digits, small

PASSWORD = "s3cret/Word"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with postgres(PASSWORD) as running:
        yield running


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)


def test_a_study_on_a_database_server_equals_one_in_its_folder(server, tmp_path):
    spec = small(4)
    whole, _ = run_study(spec, tmp_path / "whole", Settings(), Silent())
    with pytest.raises(Stop):
        run_study(spec, tmp_path / "out", Settings(storage=server.url), StopAfter(runs=5))
    record, _ = run_study(spec, tmp_path / "out", Settings(storage=server.url), Silent())
    assert_same_study(record, whole)
    assert not (tmp_path / "out" / "study.db").exists()


def hold(url: str, ready, done) -> None:
    held = open_search(small(2, search={"hidden": [4, 5]}), None, url)
    ready.set()
    done.wait()
    held.close()


def test_a_second_driver_from_another_folder_is_refused_and_told_who_has_the_study(server, tmp_path):
    spec = small(2, search={"hidden": [4, 5]}).model_copy(update={"name": "small"})
    url = server.url.replace("/studies", "/postgres")
    ready, done = FORKS.Event(), FORKS.Event()
    holder = FORKS.Process(target=hold, args=(url, ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(ConfigError, match=f"another process works on study 'small' .process {holder.pid} on "):
            run_study(spec, tmp_path, Settings(storage=url), Silent())
    finally:
        holder.kill()
        holder.join()
    record, _ = run_study(spec, tmp_path, Settings(storage=url), Silent())  # what a killed driver held is free
    assert len(record.trials) == 2


def test_a_storage_s_password_is_nowhere(server, tmp_path, monkeypatch, capfd):
    path = tmp_path / "small.toml"
    path.write_text(study_toml(small(1).model_copy(update={"name": "secret"})).partition("\n")[2])
    out = tmp_path / "out"

    def irm(url: str) -> int:
        monkeypatch.setattr(
            sys, "argv", ["irm-study", "run", str(path), "--out", str(out), "--storage", url, "--jobs", "1"]
        )
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0

    assert irm(server.url) == 0
    assert irm(server.url.replace("/studies", "/nowhere")) == 2
    assert irm(server.url.replace("trainer", "nobody")) == 2
    monkeypatch.setattr("irm_study.training.train", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    path.write_text(path.read_text().replace('"secret"', '"again"'))
    out = tmp_path / "again"
    assert irm(server.url) == 130
    said = "".join(capfd.readouterr())
    assert "--storage postgresql://trainer:***@127.0.0.1" in said
    for text in (server.password, server.quoted):
        assert text not in said
        for written in (file for file in tmp_path.rglob("*") if file.is_file()):
            assert text.encode() not in written.read_bytes(), written
    told = json.loads((tmp_path / "out" / "summary.json").read_text())["provenance"]["command"]
    assert f"--storage 'postgresql://trainer:***@127.0.0.1:{server.port}/studies'" in told


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("postgresql://me:pa@ss@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?user=me&password=pass&sslmode=require", "postgresql://host/db?user=me&password=***&sslmode=require"),
        ("--storage=mysql+driver://me:p:q@host:1/db", "--storage=mysql+driver://me:***@host:1/db"),
        ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
    ],
)  # fmt: skip
def test_a_password_is_hidden_wherever_an_address_has_it(argument, shown):
    assert shown in shown_command([argument]).replace("'", "")
