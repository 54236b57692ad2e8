"""Text that a stream has no letters for, closed streams, and files as editors of other systems write them:
what a command does is done, and what it says can be read."""

from __future__ import annotations

import codecs
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from irm_study import cli
from irm_study.cli import streams
from irm_study.config import read_study, read_train, study_toml
from irm_study.config.toml import read_stored_study
from irm_study.results import load_study
from irm_study.results.untrusted import read_trials_csv
from tests.servers import HERE
from tests.synthetic import stored, study_record, study_spec
from tests.test_study import few_digits

NARROW = ("ascii", "cp1252", "cp437", "latin-1", "koi8-r")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Its name has letters that no narrow encoding has."""
    folder = tmp_path_factory.mktemp("narrow") / "study"
    return stored(study_record(folder, trials=3, spec=study_spec("grün 水")))


@pytest.fixture
def irm(monkeypatch, tmp_path):
    """Runs a command whose streams have an encoding, and refuse what it lacks; returns status, stdout and stderr."""
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    monkeypatch.setattr("irm_study.report.write_report", lambda record: None)  # takes seconds
    monkeypatch.setattr("irm_study.comparison.write_comparison", lambda sides, given, folder: folder / "compare.html")
    monkeypatch.chdir(tmp_path)

    def command(encoding: str, *arguments: object) -> tuple[int, str, str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["irm-study", *map(str, arguments)])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            cli.main()
        return ended.value.code or 0, *(each.buffer.getvalue().decode(encoding) for each in (out, err))

    return command


# Text that a stream cannot carry


@pytest.mark.parametrize("encoding", NARROW)
def test_every_command_prints_in_any_encoding(irm, study, tmp_path, encoding):
    (tmp_path / "one.toml").write_text("[run]\nhidden = 4\nepochs = 3\nanneal_epoch = 1\n")
    for arguments in (
        ("status", study),
        ("status", study, "--json"),
        ("compare", study, f"{study}:1", "--out", "compared"),
        ("report", study, "--out", "again"),
        ("train", "one.toml", "--seeds", 2, "--jobs", 1),
        ("run", "--help"),
    ):
        status, out, err = irm(encoding, *arguments)
        assert status == 0, err
        assert "Traceback" not in err and out.strip()


def test_what_is_printed_in_ascii_reads_as_before(irm, study, tmp_path):
    (tmp_path / "one.toml").write_text("[run]\nhidden = 4\nepochs = 3\nanneal_epoch = 1\n")
    assert "study grun \\u6c34: 3 of" in irm("ascii", "status", study)[1]
    out = irm("ascii", "train", "one.toml", "--seeds", 2, "--jobs", 1)[1]
    assert "(mean +/- standard deviation over 2 seeds)" in out
    out = irm("ascii", "compare", study, f"{study}:1", "--out", "compared")[1]
    assert "?" not in out and "\\u2" not in out


def test_what_is_wrong_is_said_in_any_encoding(irm):
    status, _, err = irm("ascii", "status", "größe–水")
    assert status == 2
    assert err.startswith("irm-study: gr") and "-\\u6c34: holds no study" in err


def test_utf_8_is_printed_as_it_is(irm, study):
    assert "grün 水" in irm("utf-8", "status", study)[1]


@pytest.mark.parametrize(
    "text, plain",
    [("0.5 ± 0.1", "0.5 +/- 0.1"), ("−3 – 4", "-3 - 4"), ("≥ 2×", ">= 2x"), ("naïve", "naive"), ("\udcff", "\\udcff")],
)
def test_characters_have_a_reading_in_ascii(text, plain):
    codecs.register_error(streams.ERRORS, streams.in_plain)
    assert text.encode("ascii", streams.ERRORS).decode() == plain


# Streams that are closed


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_command_without_any_stream_does_its_work(tmp_path, jobs):
    """As a service or a job may be started; files opened next must not take the places of standard streams."""
    (tmp_path / "one.toml").write_text("[run]\nhidden = 4\nepochs = 3\nanneal_epoch = 1\n")
    code = (
        "import os, sys; from irm_study.cli import main; sys.argv = ['irm-study', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: open('ended', 'w').write(' '.join(os.readlink(f'/proc/self/fd/{number}') for number in range(3)))"
    )
    command = [sys.executable, "-c", code, "train", "one.toml", "--seeds", "3", "--out", "out", "--jobs", str(jobs)]
    closing = 'exec "$@" <&- >&- 2>&-'
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    ended = subprocess.run(["sh", "-c", closing, "sh", *command], cwd=tmp_path, env=environment, timeout=120)
    assert ended.returncode == 0
    assert (tmp_path / "out" / "runs.csv").read_text().count("\n") == 1 + 3
    assert (tmp_path / "ended").read_text() == " ".join([os.devnull] * 3)


# Files from other systems


SAVED_BY = {
    "Notepad": lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
    "an editor that leaves a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "an editor with CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "PowerShell": lambda text: codecs.BOM_UTF16_LE + text.replace("\n", "\r\n").encode("utf-16-le"),
    "an editor in network order": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}


@pytest.mark.parametrize("editor", SAVED_BY)
def test_study_files_are_read_as_editors_save_them(tmp_path, editor):
    text = 'name = "größe"  # ≥ 1\n[run]\nepochs = 30\nanneal_epoch = 10\n'
    plain, path = tmp_path / "plain.toml", tmp_path / "saved.toml"
    plain.write_text(text, encoding="utf-8")
    path.write_bytes(SAVED_BY[editor](text))
    assert read_study(path) == read_study(plain)
    assert read_study(path).name == "größe"
    assert read_train(path) == read_train(plain)
    stored_text = study_toml(read_study(plain))
    path.write_bytes(SAVED_BY[editor](stored_text))
    assert read_stored_study(path) == read_study(plain)


def test_a_folder_whose_tables_went_through_a_spreadsheet_is_read(study, tmp_path):
    trials = "trial,digest,state\n0,a3,complete\n1,b4,complete\n"
    (tmp_path / "trials.csv").write_bytes(codecs.BOM_UTF8 + trials.replace("\n", "\r\n").encode())
    assert [trial.number for trial in read_trials_csv(tmp_path / "trials.csv")] == [0, 1]
    (tmp_path / "study.toml").write_bytes((study / "study.toml").read_bytes())
    (tmp_path / "summary.json").write_bytes(codecs.BOM_UTF8 + b'{"provenance": {"command": "made by hand"}}')
    assert load_study(tmp_path).provenance == {"command": "made by hand"}
