"""The commands as a user and a script meet them: exit statuses, messages, JSON, files, Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import filelock
import pandas as pd
import psutil
import pytest
import sqlalchemy
import torch
import typer
from typer.testing import CliRunner

from irm_study import cli, data
from irm_study.cli.app import app
from irm_study.config import named_file
from irm_study.errors import ConfigError
from irm_study.report.page import first_screen
from irm_study.report.runs import configurations
from irm_study.results import load_study
from tests.servers import wait_for
from tests.test_study import few_digits, stored_rows, trained_once

STUDY = """
name = "tiny"
[run]
hidden = 4
epochs = 3
anneal_epoch = 1
[search]
penalty_weight = { low = 10.0, high = 1e6, log = true }
ramp = ["step", "linear"]
[study]
trials = 2
seeds = 2
[confirm]
top = 1
seeds = 2
"""
ONE = "[run]\nhidden = 4\nepochs = 3\nanneal_epoch = 1\n"
ENTRY = "import sys; sys.argv[0] = 'irm-study'; from irm_study.cli import main; main()"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """A few embedded digits, a folder of the test's own, one job unless a test says otherwise."""
    whole = data.load_digits
    monkeypatch.setattr(
        data, "load_digits", lambda name, root=None: few_digits(name) if name == "embedded" else whole(name, root)
    )
    monkeypatch.setattr("irm_study.execution.machine.available_cores", lambda: 1)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_page(monkeypatch):
    """Drawing takes seconds, and has tests of its own."""

    def write_report(record):
        (record.folder / "report.html").write_text("page")

    monkeypatch.setattr("irm_study.report.write_report", write_report)


@pytest.fixture
def irm(monkeypatch, capsys):
    """Runs a command in this process; returns its status, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["irm-study", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        told = capsys.readouterr()
        return status, told.out, told.err

    return command


@pytest.fixture
def tiny(tmp_path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Done


def test_a_study_from_its_file_to_its_page(irm, tiny, tmp_path):
    status, out, err = irm("run", tiny)
    folder = tmp_path / "reports" / "tiny"
    assert status == 0
    assert out.rstrip().endswith("page: reports/tiny/report.html")
    assert "\x1b" not in out + err
    assert "search: 2 configurations, 4 runs" in err.splitlines()
    for name in ("study.toml", "study.db", "runs.csv", "summary.json", "best.toml", "report.html"):
        assert (folder / name).is_file()
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png"}

    before = contents(folder)
    assert irm("run", tiny)[0] == 0
    assert contents(folder) == before

    page = (folder / "report.html").read_bytes()
    assert irm("report", folder)[0] == 0
    assert (folder / "report.html").read_bytes() == page


def test_the_failure_map_has_the_axes_that_the_user_names(irm, tiny, tmp_path):
    assert irm("run", tiny)[0] == 0
    assert irm("report", "reports/tiny", "--map", "ramp,penalty_weight")[0] == 0
    drawn = (tmp_path / "reports" / "tiny" / "figures" / "failure_map.svg").read_text()
    assert ">step</text>" in drawn and ">linear</text>" in drawn
    before = contents(tmp_path / "reports" / "tiny")
    for given, text in (("ramp", "needs two hyperparameters"), ("ramp,hidden", "'hidden' was not searched")):
        status, _, err = irm("report", "reports/tiny", "--map", given)
        assert status == 2 and text in err
    assert contents(tmp_path / "reports" / "tiny") == before


def test_what_scripts_read_is_json(irm, tiny, no_page):
    status, out, err = irm("run", tiny, "--json", "--quiet")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert (told["study"], told["trials"], told["runs"], told["page"]) == ("tiny", 2, 6, "reports/tiny/report.html")
    told = json.loads(irm("status", "reports/tiny", "--json")[1])
    assert (told["trials"], told["budget"], told["working"]) == (2, 2, None)
    told = json.loads(irm("confirm", "reports/tiny", "--seeds", 3, "--json")[1])
    assert told["confirmed"][0]["seeds"] == 3
    assert json.loads(irm("report", "reports/tiny", "--json")[1])["runs"] == 7
    told = json.loads(irm("train", "reports/tiny/best.toml", "--json", "--quiet")[1])
    assert [run["seed"] for run in told["runs"]] == [0]


def test_options_replace_the_file_s_trials_and_seeds(irm, tiny, no_page):
    told = json.loads(irm("run", tiny, "--trials", 3, "--seeds", 1, "--out", "other", "--json")[1])
    assert (told["trials"], told["runs"]) == (3, 3 + 2)
    assert not Path("reports").exists()


def test_single_keys_of_the_file_are_changed_on_the_command_line(irm, tiny, no_page):
    changes = ("--set", "study.sampler=random", "--set", "run.hidden=5", "--set", "name=other")
    told = json.loads(irm("run", tiny, *changes, "--json")[1])
    assert told["study"] == "other"
    assert set(pd.read_csv("reports/other/runs.csv")["hidden"]) == {5}
    status, _, err = irm("run", tiny, "--set", "run.hiden=5")
    assert status == 2 and "run.hiden: unknown key" in err
    status, _, err = irm("run", tiny, "--set", "hidden")
    assert status == 2 and "needs KEY=VALUE" in err


def test_a_folder_of_a_shipped_study_s_name_is_not_in_its_way(irm, no_page):
    Path("quickstart").mkdir()
    status, _, err = irm("run", "--trials", 0)
    assert status == 2 and "trials" in err  # and not: quickstart is a folder
    assert named_file("quickstart", "run").is_file()


def test_confirm_trains_neighbours_draws_and_other_criteria_s_choices(irm, tiny):
    irm("run", tiny, "--quiet")
    status, _, _ = irm("confirm", "reports/tiny", "--neighbours", "--draws", 2, "--criteria", "--seeds", 3)
    runs = pd.read_csv("reports/tiny/runs.csv")
    assert status == 0
    assert runs["stage"].value_counts().to_dict().items() >= {"confirm": 3, "neighbour": 4 * 3, "draws": 4}.items()
    assert pd.read_csv("reports/tiny/neighbourhood.csv")["factor"].tolist() == [0.5, 0.8, 1.0, 1.25, 2.0]
    page = Path("reports/tiny/report.html").read_text()
    command = json.loads(Path("reports/tiny/summary.json").read_text())["provenance"]["command"].splitlines()
    assert [line.split()[1] for line in command] == ["run", "confirm"]  # both together repeat it
    assert "The winner's neighbourhood" in page.replace("&#39;", "'") and "What the seed changes" in page


def test_report_judges_a_study_anew_in_a_folder_of_its_own(irm, tiny, no_page):
    irm("run", tiny, "--quiet")
    before = contents(Path("reports/tiny"))
    status, out, _ = irm("report", "reports/tiny", "--criterion", "train_only", "--aggregate", "worst_seed", "--json")
    told = json.loads(out)
    assert (status, told["criterion"], told["aggregate"]) == (0, "train_only", "worst_seed")
    assert told["page"] == "reports/tiny/judged-by-train_only-worst_seed/report.html"
    assert contents(Path("reports/tiny")).items() >= before.items()
    status, _, err = irm("report", "reports/tiny", "--criterion", "loss")
    assert status == 2 and "unknown criterion 'loss' for this study; one of: zone_margin" in err


def test_report_after_a_kill_writes_the_winner_s_file(irm, tiny, no_page):
    """Killed after the last fresh seed was written, before anything was derived from it."""
    irm("run", tiny, "--quiet")
    winner = Path("reports/tiny/best.toml").read_bytes()
    for name in ("best.toml", "summary.json", "runs.csv", "trials.csv", "report.html"):
        Path("reports/tiny", name).unlink()
    assert irm("report", "reports/tiny")[0] == 0
    assert Path("reports/tiny/best.toml").read_bytes() == winner


def test_report_writes_no_winner_s_file_while_the_confirmation_is_not_whole(irm, tiny, no_page):
    irm("run", tiny, "--quiet")
    Path("reports/tiny/best.toml").unlink()
    stored = Path("reports/tiny/study.toml")
    assert "[confirm]\ntop = 1\nseeds = 2\n" in stored.read_text()
    stored.write_text(stored.read_text().replace("top = 1\nseeds = 2\n", "top = 1\nseeds = 3\n"))
    assert irm("report", "reports/tiny")[0] == 0
    assert not Path("reports/tiny/best.toml").exists()


def test_report_while_a_driver_works_on_the_study_shows_it_and_leaves_its_files_alone(irm, tiny, tmp_path):
    irm("run", tiny, "--quiet")
    before = contents(tmp_path / "reports" / "tiny")
    holder = filelock.FileLock("reports/tiny/.lock")
    with holder.acquire():
        status, out, err = irm("report", "reports/tiny")
        assert status == 0
        assert out.rstrip().endswith("page: reports/tiny/while-running/report.html")
        assert "works on this study; as it is now, it is shown in reports/tiny/while-running" in err
        assert irm("report", "reports/tiny", "--out", "elsewhere")[0] == 0
        assert irm("report", "reports/tiny", "--aggregate", "worst_seed")[0] == 0
    after = contents(tmp_path / "reports" / "tiny")
    ours = ("/while-running/", "/judged-by-", "/study.db-")  # and what SQLite keeps while somebody reads
    assert {path: data for path, data in after.items() if not any(part in path for part in ours)} == before
    assert Path("elsewhere/report.html").read_bytes() == Path("reports/tiny/while-running/report.html").read_bytes()


def test_calibrate_tells_how_many_runs_are_called_what_they_were_made_for(irm):
    Path("ways.toml").write_text(
        'name = "ways"\n' + ONE + '[ways.fast]\nmode = "diverged"\nrun = { learning_rate = 1000.0 }\n'
    )
    status, out, _ = irm("calibrate", "ways.toml", "--seeds", 2)
    assert status == 0
    assert "Of 2 runs of 1 configuration, 2 got the mode" in out and out.rstrip().endswith("reports/ways/confusion.csv")
    told = json.loads(irm("calibrate", "ways.toml", "--seeds", 2, "--json", "--quiet")[1])
    assert told["test"]["right"] == 2 and told["confusion"][0]["way"] == "fast"


def test_status_tells_how_far_a_study_is(irm, tiny, no_page):
    irm("run", tiny)
    status, out, _ = irm("status", "reports/tiny")
    assert status == 0
    assert "study tiny: 2 of 2 trials, 6 runs; no process works on it" in out


def test_more_trials_than_asked_for_are_not_told_as_six_of_three(irm, tiny, tmp_path, no_page):
    irm("run", tiny, "--trials", 3, "--quiet")
    status, out, err = irm("run", tiny, "--trials", 2)
    assert status == 0
    assert "nothing was left to train\n3 trials are finished already: study.trials = 2 asks for no more" in out
    assert "2 of 2" not in out + err
    told = json.loads(irm("run", tiny, "--trials", 2, "--json", "--quiet")[1])
    assert (told["trials"], told["budget"], told["trained"]) == (3, 3, 0)
    assert "study tiny: 3 of 3 trials" in irm("status", "reports/tiny")[1]
    told = json.loads(irm("status", "reports/tiny", "--json")[1])
    assert (told["trials"], told["budget"]) == (3, 3)
    assert "3 of 3 trials" in load_study("reports/tiny")._repr_html_()
    screen = first_screen(load_study("reports/tiny"), configurations(load_study("reports/tiny")))
    assert (screen["complete"], screen["planned"]) == (3, 3)
    assert not [note for note in screen["caveats"] if "Unfinished" in note]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1h0m5s", 3605)]
)
def test_a_timeout_is_hours_minutes_and_seconds(irm, tiny, no_page, monkeypatch, text, seconds):
    given = []

    def noting(spec, folder, settings, watcher):
        given.append(settings.timeout_seconds)
        raise ConfigError("enough")

    monkeypatch.setattr("irm_study.study.run_study", noting)
    assert irm("run", tiny, "--timeout", text)[0] == 2
    assert given == [seconds]


@pytest.mark.parametrize("option", [["--timeout", "1h"], ["--timeout=1h"]])
def test_a_study_that_a_timeout_ended_is_told_with_the_command_that_goes_on(irm, tiny, no_page, monkeypatch, option):
    from irm_study.study import run_study

    hours = iter([0, 0, *[2 * 3600] * 10])
    in_two_hours = functools.partial(run_study, clock=lambda: next(hours))
    with monkeypatch.context() as patch:
        patch.setattr("irm_study.study.run_study", in_two_hours)
        status, out, _ = irm("run", tiny, *option, "--quiet")
    assert status == 0
    assert f"1 of 2 trials finished; to go on:\n  irm-study run {tiny} --quiet\n" in out
    status, out, _ = irm("run", tiny, "--quiet")
    assert status == 0 and "to go on" not in out
    assert load_study("reports/tiny").finished == 2


def test_confirm_says_when_nothing_is_left_to_train(irm, tiny, no_page):
    irm("run", tiny, "--quiet")
    winner = json.loads(Path("reports/tiny/summary.json").read_text())["confirmed"][0]["trial"]
    status, out, _ = irm("confirm", "reports/tiny", "--seeds", 1, "--quiet")
    assert status == 0
    assert f"nothing was left to train: of the 1 fresh seeds asked for, trial {winner} has 2 already" in out
    assert json.loads(irm("confirm", "reports/tiny", "--seeds", 1, "--json")[1])["trained"] == 0
    status, out, _ = irm("confirm", "reports/tiny", "--seeds", 3, "--quiet")
    assert "nothing was left" not in out
    assert "nothing was left to train" in irm("run", tiny, "--quiet")[1]


def test_keys_of_a_file_are_left_out_and_train_takes_settings_too(irm, tiny):
    Path("one.toml").write_text(ONE)
    assert (
        irm("train", "one.toml", "--set", "run.hidden=5", "--unset", "run.anneal_epoch", "--set", "run.epochs=101")[0]
        == 0
    )
    runs = pd.read_csv("reports/one/runs.csv")
    assert (runs["hidden"].tolist(), runs["anneal_epoch"].tolist(), runs["epochs"].tolist()) == ([5], [100], [101])
    again = irm("train", "one.toml", "--set", "run.hidden=5", "--unset", "run.anneal_epoch", "--set", "run.epochs=101")
    assert "nothing was left to train" in again[1]
    status, _, err = irm("run", tiny, "--unset", "run.hiden")
    assert status == 2 and "--unset 'run.hiden': tiny.toml does not set it; run has: hidden, epochs" in err.replace(
        f"{tiny.parent}/", ""
    )


def test_a_page_older_than_its_tables_is_made_again(irm, tiny, monkeypatch):
    made = []

    def write_report(record):
        made.append(len(record.runs))
        (record.folder / "report.html").write_text("page")

    monkeypatch.setattr("irm_study.report.write_report", write_report)
    irm("run", tiny)
    irm("run", tiny)
    assert made == [6]
    os.utime("reports/tiny/report.html", ns=(0, 0))  # as a driver leaves it that is killed before the page
    irm("run", tiny)
    Path("reports/tiny/report.html").unlink()
    irm("run", tiny)
    assert made == [6, 6, 6]


def test_train_writes_a_row_a_seed_and_trains_none_twice(irm):
    Path("studies").mkdir()
    Path("studies/one.toml").write_text(ONE)
    status, out, _ = irm("train", "studies/one.toml", "--seeds", 2)
    assert status == 0
    assert "reports/one/runs.csv" in out
    first = pd.read_csv("reports/one/runs.csv")
    assert (first["stage"].tolist(), first["seed"].tolist()) == (["train", "train"], [0, 1])
    irm("train", "studies/one.toml", "--seeds", 3)
    again = pd.read_csv("reports/one/runs.csv")
    assert again["seed"].tolist() == [0, 1, 2]
    assert again["seconds"].tolist()[:2] == first["seconds"].tolist()


def test_the_winner_is_trained_anew_on_its_own_seeds_by_the_command_in_its_file(irm, tiny, no_page):
    irm("run", tiny, "--quiet")
    command = Path("reports/tiny/best.toml").read_text().partition("irm-study ")[2].splitlines()[0]
    assert command == "train reports/tiny/best.toml --seeds 2 --first-seed 1000"
    assert irm(*command.split(), "--quiet")[0] == 0
    fresh = pd.read_csv("reports/tiny/runs.csv").query("stage == 'confirm'")
    again = pd.read_csv("reports/tiny-best/runs.csv")
    assert again["seed"].tolist() == fresh["seed"].tolist() == [1000, 1001]
    assert again["test_accuracy"].tolist() == fresh["test_accuracy"].tolist()


def test_a_report_is_not_written_over_another_study(irm, tiny, no_page):
    irm("run", tiny, "--quiet")
    irm("run", tiny, "--quiet", "--set", "name=other")
    before = contents(Path("reports/other"))
    status, _, err = irm("report", "reports/tiny", "--out", "reports/other")
    assert status == 2 and "reports/other: holds a study or runs" in err
    assert contents(Path("reports/other")) == before
    Path("file").write_text("")
    status, _, err = irm("report", "reports/tiny", "--out", "file")
    assert status == 2 and "file: cannot be written" in err


def test_trials_of_a_study_are_compared_in_the_terminal_as_json_and_on_a_page(irm, tiny, no_page):
    irm("run", tiny, "--quiet")
    status, out, _ = irm("compare", "reports/tiny:0", "reports/tiny:1", "--out", "two")
    assert status == 0
    unwrapped = " ".join(out.replace("│", " ").split())
    assert "tiny, trial 0 − tiny, trial 1" in unwrapped and "success rate" in out
    assert out.rstrip().endswith("page: two/compare.html") and Path("two/compare.html").is_file()
    told = json.loads(irm("compare", "reports/tiny:0", "reports/tiny:1", "--json")[1])
    assert told["page"] == "reports/compare-tiny-trial-0-tiny-trial-1/compare.html"
    assert [side["trial"] for side in told["sides"]] == [0, 1]
    assert told["pairs"][0].keys() >= {"success", "score", "test_accuracy"}


def test_train_prints_the_configuration_that_it_was_given(irm):
    path = Path("one.toml")
    path.write_text(ONE)
    irm("train", path, "--seeds", 5)
    path.write_text(ONE.replace("hidden = 4", "hidden = 5"))
    told = json.loads(irm("train", path, "--seeds", 2, "--json")[1])
    runs = pd.read_csv("reports/one/runs.csv").query("hidden == 5")
    assert [run["seconds"] for run in told["runs"]] == pytest.approx(runs["seconds"].tolist())


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; sys.argv = ['irm-study', *sys.argv[1:]]\n"
        "from irm_study.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print('loaded:', *sorted(sys.modules.keys() & {'torch', 'pandas', 'optuna', 'numpy', 'seaborn'}))"
    )
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        told = _python("-c", code, *arguments)
        assert told.returncode == 0, told.stderr
        assert told.stdout.splitlines()[-1].strip() == "loaded:"


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_every_word_that_was_written(command):
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).output
    shown = " ".join(re.sub(r"[│╭╰╮╯─]", " ", shown).split())
    parts = [COMMANDS[command].help, *(parameter.help for parameter in COMMANDS[command].params)]
    for text in filter(None, parts):
        assert " ".join(text.replace("\\[", "[").split()) in shown


@pytest.mark.parametrize(
    ("line", "offered"),
    [("run q", ["quickstart"]), ("run col", ["collapse"]), ("train gre", ["grey-oracle"]),
     ("train c", ["clove"]), ("calibrate calibration-m", ["calibration-mnist"]), ("conf", ["confirm"])],
)  # fmt: skip
def test_the_shell_completes_commands_and_shipped_studies(monkeypatch, capsys, line, offered):
    words = f"irm-study {line}"
    monkeypatch.setenv("_IRM_STUDY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    monkeypatch.setattr(sys, "argv", ["irm-study"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert capsys.readouterr().out.split() == offered


# Mistakes of the user


def mistakes() -> dict[str, tuple[list[str], list[str]]]:
    """The command line, and what its message says."""
    return {
        "a file that is not there": (["run", "absent.toml"], ["absent.toml: no such file"]),
        "a study that is not shipped": (["run", "absent"], ["absent: neither a file nor a shipped", "quickstart"]),
        "an empty file": (["run", "empty.toml"], ["empty.toml", "empty"]),
        "a folder for a file": (["run", "folder"], ["folder: is a folder"]),
        "a binary file": (["train", "binary.toml"], ["binary.toml: not a text file"]),
        "an unknown key": (["run", "wrong.toml"], ["wrong.toml: run.hiden: unknown key", "hidden"]),
        "a search to train": (["train", "tiny.toml"], ["tiny.toml: search: 'train' takes one configuration"]),
        "one configuration to search": (
            ["run", "one.toml", "--set", "name=one"],
            ["no [search], so its 12 trials would be one", "irm-study train one.toml"],
        ),
        "a shipped configuration to search": (["run", "erm"], ["erm.toml: there is no [search]", "irm-study train "]),
        "a search of one value": (
            ["run", "tiny.toml", "--set", "search={ hidden = [4], learning_rate = { low = 0.1, high = 0.1 } }"],
            ["tiny.toml: its [search] names one configuration alone, so its 2 trials", "irm-study train tiny.toml"],
        ),
        "ways to fail to search": (["run", "calibration"], ["calibration.toml: ways", "for 'irm-study calibrate'"]),
        "ways to fail to train": (["train", "calibration"], ["calibration.toml: ways", "for 'irm-study calibrate'"]),
        "a study to calibrate": (
            ["calibrate", "tiny.toml"],
            ["no [ways] to fail", "a study: 'irm-study run' takes it"],
        ),
        "a configuration to calibrate": (["calibrate", "erm"], ["a configuration: 'irm-study train' takes it"]),
        "no study in the folder": (["status", "folder"], ["folder: holds no study"]),
        "no folder": (["report", "absent"], ["absent: holds no study"]),
        "one side to compare": (["compare", "folder"], ["compare takes two configurations or more; got 1"]),
        "nothing to compare": (["compare", "folder", "absent"], ["folder: holds neither a study"]),
        "nothing to confirm": (["confirm", "folder"], ["folder: holds no study"]),
        # Not even root may write here, so these run where the test of permissions below is skipped.
        "results under a file": (["run", "tiny.toml", "--out", "empty.toml/out"], ["toml/out: cannot be written"]),
        "results for a file": (["run", "tiny.toml", "--out", "empty.toml"], ["empty.toml: cannot be written"]),
        "results in the kernel": (["run", "tiny.toml", "--out", "/proc/out"], ["/proc/out: cannot be written"]),
        "too few digits": (["run", "greedy.toml"], ["greedy.toml: environments.test_examples must leave digits"]),
        "digits that are damaged": (["run", "mnist.toml", "--data-root", "."], ["train-images", "MD5", "found"]),
        "a device that is not there": (["run", "tiny.toml", "--device", "cuda:77"], ["--device cuda:77"]),
        "a device that does not exist": (["train", "one.toml", "--device", "gpu"], ["--device gpu"]),
        "a storage that does not exist": (["run", "tiny.toml", "--storage", "x://y"], ["--storage x://y"]),
        "no trials": (["run", "tiny.toml", "--trials", "0"], ["--trials"]),
        "a timeout without a unit": (["run", "tiny.toml", "--timeout", "90"], ["--timeout", "90s, 30m, 2h or 1h30m"]),
        "a timeout of nothing": (["run", "tiny.toml", "--timeout", "0h"], ["--timeout", "90s, 30m, 2h or 1h30m"]),
        "a word for a number": (["run", "tiny.toml", "--jobs", "many"], ["--jobs"]),
        "an option that does not exist": (["run", "tiny.toml", "--fast"], ["--fast"]),
        "a command that does not exist": (["fly"], ["fly"]),
        "an argument too few": (["train"], ["argument"]),
    }


@pytest.mark.parametrize("case", mistakes())
def test_a_mistake_is_one_message_and_status_2_and_leaves_no_results(irm, tiny, case, tmp_path):
    (tmp_path / "empty.toml").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\x89PNG\x00")
    (tmp_path / "wrong.toml").write_text('name = "a"\n[run]\nhiden = 3\n')
    (tmp_path / "one.toml").write_text(ONE)
    (tmp_path / "greedy.toml").write_text('name = "a"\nsearch.hidden = [4, 5]\n[environments]\ntest_examples = 1196\n')
    (tmp_path / "mnist.toml").write_text('name = "a"\ndigits = "mnist"\nsearch.hidden = [4, 5]\n')
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / "MNIST" / "raw" / name).write_bytes(b"\x00\x00\x08\x03")
    arguments, said = mistakes()[case]
    status, out, err = irm(*arguments)
    assert status == 2
    assert out == ""
    assert "Traceback" not in err
    for part in said:
        assert part in err
    if not err.startswith("Usage"):
        assert err.startswith("irm-study: ")
        assert len(err.splitlines()) == 1
    assert not list(tmp_path.rglob("runs"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_told(irm, tiny, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    status, _, err = irm("run", tiny, "--out", "closed/out")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "closed/out: cannot be written: Permission denied" in err


def test_another_study_s_folder_is_left_as_it_was(irm, tiny, no_page):
    irm("run", tiny)
    before = contents(Path("reports"))
    tiny.write_text(STUDY.replace("hidden = 4", "hidden = 5"))
    status, out, err = irm("run", tiny)
    assert (status, out) == (2, "")
    assert "reports/tiny: holds study 'tiny' made by another study file" in err
    assert "run.hidden: 4 → 5" in err
    assert contents(Path("reports")) == before


@pytest.mark.parametrize(
    ("command", "of_this_kind", "of_others"),
    [
        ("run", {"quickstart", "racing", "collapse"}, {"authors", "erm", "calibration"}),
        ("train", {"authors", "erm", "vrex"}, {"quickstart", "racing", "calibration"}),
        ("calibrate", {"calibration", "calibration-mnist"}, {"quickstart", "erm"}),
    ],
)
def test_a_name_that_is_not_shipped_is_told_those_that_its_command_takes(irm, command, of_this_kind, of_others):
    status, _, err = irm(command, "absent")
    offered = set(err.rpartition("those are: ")[2].strip().split(", "))
    assert status == 2
    assert of_this_kind <= offered and not of_others & offered


def test_a_configuration_alone_is_a_study_of_one_trial(irm, no_page):
    Path("one.toml").write_text('name = "one"\n' + ONE)
    told = json.loads(irm("run", "one.toml", "--trials", 1, "--seeds", 2, "--json", "--set", "confirm.seeds=3")[1])
    assert (told["trials"], told["runs"], told["confirmed"][0]["seeds"]) == (1, 2 + 3, 3)


# Failed work


def test_failed_work_is_one_message_and_status_1(irm, tiny, no_page, monkeypatch):
    def failing(*arguments):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("irm_study.training.train", failing)
        status, _, err = irm("run", tiny, "--quiet")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "out of memory" in err
    assert irm("run", tiny)[0] == 0
    assert trained_once(Path("reports/tiny"))


def test_a_full_disk_is_one_message_and_status_1(irm, tiny, no_page, monkeypatch):
    def full(table, path, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("irm_study.results.parquet.pq.write_table", full)
    status, _, err = irm("run", tiny, "--quiet")
    assert (status, len(err.splitlines())) == (1, 1)
    assert os.strerror(errno.ENOSPC) in err


# Names


@pytest.mark.parametrize(
    "name",
    ["../../up/and/away", "..", "a/b\\\\c:d*?", "<script>'\\\"[/red]", "色" * 200, "-rf new\\nline", "nul\\u0000"],
)  # fmt: skip
def test_a_study_s_name_stays_inside_its_folder(irm, tiny, tmp_path, no_page, name):
    short = STUDY.replace("trials = 2", "trials = 1").replace("seeds = 2", "seeds = 1")
    tiny.write_text(short.replace('name = "tiny"', f'name = "{name}"'))
    status, _, err = irm("run", tiny, "--quiet")
    assert (status, err) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.toml", "reports"}
    [folder] = (tmp_path / "reports").iterdir()
    assert not set(folder.name) & set("/\\<>:*?\"'[] \n\0")
    assert not folder.name.startswith((".", "-"))
    assert irm("status", folder)[0] == 0
    assert irm("train", folder / "best.toml", "--quiet")[0] == 0


def test_a_hostile_name_is_harmless_in_the_page(irm, tiny, tmp_path):
    tiny.write_text(STUDY.replace('"tiny"', '"<script>alert(1)</script>"').replace("trials = 2", "trials = 1"))
    assert irm("run", tiny, "--quiet")[0] == 0
    [folder] = (tmp_path / "reports").iterdir()
    assert "<script>alert" not in (folder / "report.html").read_text()


# Ctrl-C and worse


def test_ctrl_c_ends_with_the_command_that_continues(irm, tiny, no_page, monkeypatch):
    from irm_study.training import train

    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("irm_study.training.train", interrupted)
        status, _, err = irm("run", tiny, "--out", "my results", "--quiet")
    assert status == 130
    assert err.splitlines()[-1].strip() == f"irm-study run {tiny} --out 'my results' --quiet"
    kept = stored_rows(Path("my results"))
    assert len(kept) == 2
    told = json.loads(irm("run", tiny, "--out", "my results", "--json")[1])
    assert (told["trials"], told["runs"]) == (2, 6)
    assert trained_once(Path("my results"))


def test_ctrl_c_that_python_dropped_interrupts_once_more(irm, tiny, no_page, monkeypatch):
    def deaf(*arguments):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr("irm_study.cli.interrupts.INSIST_AFTER", 0.1)
    monkeypatch.setattr("irm_study.training.train", deaf)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    assert irm("run", tiny, "--quiet")[0] == 130
    assert time.monotonic() - began < 50
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # the process would end now


def test_ctrl_c_while_an_object_ends_interrupts_too_and_nothing_else_is_said(irm, tiny, no_page, monkeypatch):
    """Python drops what is raised while it calls back on the end of an object, and would print the traceback."""

    class Ending:
        pass

    def training(*arguments):
        ending = Ending()
        watched = weakref.ref(ending, lambda _: signal.raise_signal(signal.SIGINT))
        del ending
        assert watched() is None
        time.sleep(60)

    monkeypatch.setattr("irm_study.cli.interrupts.INSIST_AFTER", 1000.0)
    monkeypatch.setattr("irm_study.training.train", training)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status, _, err = irm("run", tiny, "--quiet")
    assert status == 130
    assert err.strip().splitlines()[0] == "interrupted; what was trained is kept. To go on:"


def test_ctrl_c_in_a_database_s_work_comes_after_it_and_nothing_else_is_said(irm, tiny, no_page, monkeypatch):
    """SQLAlchemy would print the traceback of what ends the last work on a connection."""
    done = []

    def closing(*arguments):
        signal.raise_signal(signal.SIGINT)
        done.append(True)

    def training(*arguments):
        engine = sqlalchemy.create_engine("sqlite://")
        sqlalchemy.event.listen(engine, "reset", closing)
        engine.connect().close()
        time.sleep(60)

    monkeypatch.setattr("irm_study.cli.interrupts.INSIST_AFTER", 1000.0)
    monkeypatch.setattr("irm_study.training.train", training)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status, _, err = irm("run", tiny, "--quiet")
    assert (status, done) == (130, [True])
    assert err.strip().splitlines()[0] == "interrupted; what was trained is kept. To go on:"


def test_a_slow_end_is_not_cut_short(irm, tiny, no_page, monkeypatch):
    closed = []

    def training(*arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            time.sleep(0.2)
            closed.append(True)

    monkeypatch.setattr("irm_study.cli.interrupts.INSIST_AFTER", 0.05)
    monkeypatch.setattr("irm_study.training.train", training)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert irm("run", tiny, "--quiet")[0] == 130
    assert closed == [True]


def test_a_second_ctrl_c_does_not_cut_short_what_the_first_has_closed(irm, tiny, no_page, monkeypatch):
    closed = []

    def training(*arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            closed.append(True)

    monkeypatch.setattr("irm_study.training.train", training)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert irm("run", tiny, "--quiet")[0] == 130
    assert closed == [True]


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_a_long_training_in_the_midst_of_it(tmp_path, jobs):
    path = tmp_path / "long.toml"
    path.write_text("[run]\nhidden = 4\nepochs = 100000\ncheckpoint_every = 100000\n")
    as_in_a_terminal = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [
        sys.executable,
        "-c",
        as_in_a_terminal + ENTRY,
        "train",
        str(path),
        "--out",
        "out",
        "--seeds",
        "2",
        "--jobs",
        str(jobs),
    ]
    with open(tmp_path / "stderr", "w+") as stderr:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=_environment(), stdout=stderr, stderr=stderr, start_new_session=True
        )
        try:
            wait_for(lambda: process.poll() is not None or "training: 2 runs" in (tmp_path / "stderr").read_text(), 300)
            time.sleep(3)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) == 130
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        stderr.seek(0)
        assert stderr.read().splitlines()[-1].strip().startswith("irm-study train ")
    assert _ends(process.pid)


def test_a_real_run_ends_at_ctrl_c_and_its_workers_with_it_however_it_ends(tmp_path):
    path = tmp_path / "long.toml"
    path.write_text(STUDY.replace("trials = 2\nseeds = 2", "trials = 5000\nseeds = 1"))
    # Where the tests run in the background of a script, the shell has them ignore SIGINT, and what they start too.
    as_in_a_terminal = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", as_in_a_terminal + ENTRY, "run", str(path), "--out", "out", "--jobs", "2"]
    parts, written = tmp_path / "out" / "runs", 0
    for how, ended in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with open(tmp_path / "stderr", "w+") as stderr:
            process = subprocess.Popen(
                command, cwd=tmp_path, env=_environment(), stdout=stderr, stderr=stderr, start_new_session=True
            )
            enough = written + 2
            try:
                wait_for(
                    lambda: process.poll() is not None or len(list(parts.glob("part-*.parquet"))) >= enough,  # noqa: B023
                    300,
                )
                if how == signal.SIGINT:
                    os.killpg(process.pid, how)  # a terminal's Ctrl-C reaches the workers too
                else:
                    process.kill()
                assert process.wait(timeout=120) == ended
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            stderr.seek(0)
            told = stderr.read()
        assert _ends(process.pid), "workers live on without their driver"
        assert "Traceback" not in told
        if how == signal.SIGINT:
            assert "Warning" not in told
            assert told.splitlines()[-1].strip() == f"irm-study run {path} --out out --jobs 2"
        written = len(stored_rows(tmp_path / "out"))
        assert written >= 2
    assert trained_once(tmp_path / "out")


def _ends(group: int) -> bool:
    """Whether a group of processes comes to its end by itself; one that does not is ended here."""
    for _ in range(600):
        if not any(_lives_in(process, group) for process in psutil.process_iter()):
            return True
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    return False


def _lives_in(process: psutil.Process, group: int) -> bool:
    """Whether a process is of a group, and not a zombie that nobody reaps."""
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=_environment())


def _environment() -> dict[str, str]:
    root = str(Path(cli.__file__).parents[2])
    return os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
