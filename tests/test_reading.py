"""Folders that are read: nothing is made or changed in them, and they need not be writable."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from irm_study import cli
from irm_study.files import write_text
from irm_study.results import holder_of, load_study, locked
from irm_study.results.untrusted import read_stored_trials
from irm_study.study import Settings, run_study
from tests.servers import HERE
from tests.test_study import FORKS, Silent, few_digits, small


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("irm_study.data.load_digits", few_digits)
        run_study(small(2), folder, Settings(), Silent())
    return folder


@pytest.fixture
def study(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "other")
    return Path(shutil.copytree(honest, tmp_path / "study"))


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder within, with size and time of its last change."""
    every = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in every}


def irm(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["irm-study", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


@pytest.fixture
def no_page(monkeypatch):
    """Drawing takes seconds, and writes into the folder that it is given."""
    monkeypatch.setattr("irm_study.report.write_report", lambda record: None)
    monkeypatch.setattr("irm_study.comparison.write_comparison", lambda sides, given, folder: folder / "compare.html")


@pytest.mark.parametrize("left", ["at rest", "by a driver that was killed"])
def test_commands_that_read_make_and_change_nothing(study, tmp_path, monkeypatch, no_page, left):
    if left == "by a driver that was killed":
        process = FORKS.Process(target=die_at_work, args=(study,))
        process.start()
        process.join(60)
        assert (study / ".holder").exists()
    before = state(study)
    assert irm(monkeypatch, "status", study) == 0
    assert irm(monkeypatch, "compare", study, tmp_path / "other", "--out", tmp_path / "compared") == 0
    assert irm(monkeypatch, "report", study, "--out", tmp_path / "elsewhere") == 0
    assert irm(monkeypatch, "report", study, "--criterion", "oracle_success", "--out", tmp_path / "anew") == 0
    assert state(study) == before
    assert (tmp_path / "elsewhere" / "summary.json").is_file()
    assert len(load_study(study).trials) == 2


def die_at_work(folder: Path) -> None:
    with locked(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def test_who_works_on_a_study_is_known_without_a_lock_for_writing(study):
    assert holder_of(study) is None
    ready, done = FORKS.Event(), FORKS.Event()
    process = FORKS.Process(target=work, args=(study, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        before = state(study)
        assert holder_of(study).startswith(f"process {process.pid} on ")
        assert state(study) == before
    finally:
        done.set()
        process.join(60)
    assert holder_of(study) is None


def work(folder: Path, ready, done) -> None:
    with locked(folder):
        ready.set()
        done.wait(60)


READING = """
import sys
from irm_study import cli, report
import irm_study.comparison
report.write_report = lambda record: None
irm_study.comparison.write_comparison = lambda sides, given, folder: folder / "compare.html"
for arguments in (["status", "study"], ["compare", "study", "other", "--out", "compared"],
                  ["report", "study", "--out", "elsewhere"], ["report", "study"]):
    sys.argv = ["irm-study", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        print("ended", arguments[0], ended.code, file=sys.stderr)
"""


def test_a_published_study_on_a_read_only_disk_is_read(study, tmp_path):
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount --bind study study && mount -o remount,ro,bind study"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*inside, mount], cwd=tmp_path, capture_output=True).returncode
    ):
        pytest.skip("needs a mount namespace of its own (unshare)")
    command = [*inside, f'{mount} && exec "$0" -c "$1"', sys.executable, READING]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert said.stderr.splitlines() == [
        "ended status None",
        "ended compare None",
        "ended report None",
        "irm-study: study: cannot be written: Read-only file system; name another folder for the page with --out",
        "ended report 2",
    ]
    assert (tmp_path / "elsewhere" / "runs.csv").read_bytes() == (study / "runs.csv").read_bytes()


def test_a_storage_at_rest_is_read_as_it_is_and_one_at_work_with_what_was_written_last(study):
    at_rest = read_stored_trials(study / "study.db", "small")
    assert [trial.number for trial in at_rest] == [0, 1]
    assert not list(study.glob("study.db-*"))
    from irm_study.search import open_search

    search = open_search(small(3), study, None)
    try:
        search.ask()
        assert [trial.state for trial in read_stored_trials(study / "study.db", "small")] == [
            "complete", "complete", "running",
        ]  # fmt: skip
    finally:
        search.storage.close()


def test_a_folder_whose_name_is_no_text_is_told_before_any_work(study, tmp_path, monkeypatch, capsys, no_page):
    """As an archive from another system leaves it."""
    strange = tmp_path / os.fsdecode(b"d\xe9j\xe0")
    study.rename(strange)
    for arguments in (["status", strange], ["compare", strange, tmp_path / "other"], ["confirm", strange],
                      ["run", "quickstart", "--out", tmp_path / os.fsdecode(b"\xff")]):  # fmt: skip
        assert irm(monkeypatch, *arguments) == 2
        assert capsys.readouterr().err.endswith(
            "its path is not UTF-8 text, which Parquet and SQLite need; rename it\n"
        )
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "other", strange])


def test_a_page_may_be_written_into_a_folder_whose_name_is_no_text(study, tmp_path, monkeypatch):
    out = tmp_path / os.fsdecode(b"\xff")
    assert irm(monkeypatch, "compare", study, tmp_path / "other", "--out", out) == 0
    assert (out / "compare.html").is_file()
    assert irm(monkeypatch, "report", study, "--out", out) == 0
    assert (out / "report.html").is_file()
    write_text(out / "page", "run --data-root \udcff")  # as the page repeats a command
    assert (out / "page").read_bytes() == b"run --data-root \\udcff"
