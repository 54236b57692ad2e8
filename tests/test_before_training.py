"""What is known before anything is trained: shipped files, a first study file, what a study costs, keys that were
meant."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest

from irm_study.cli.init_command import EVIDENCE
from irm_study.cli.list_command import purpose
from irm_study.cli.options import _keys
from irm_study.config import KINDS, StudySpec, TrainSpec, read_stored_study, read_study, shipped_files
from irm_study.study import estimate
from tests.test_cli import irm  # noqa: F401

# list


def test_every_shipped_file_is_listed_with_its_command_and_what_it_is_for(irm):  # noqa: F811
    status, out, _ = irm("list", "--json")
    assert status == 0
    rows = json.loads(out)["files"]
    named = {(row["command"], row["name"]) for row in rows}
    assert named == {(command, name) for command in KINDS for name in shipped_files(command)}
    for row in rows:
        assert row["purpose"].endswith((".", "?", ":")) or len(row["purpose"]) > 20, row
        assert row["runs"] >= 1 and row["seconds"] > 0
    (quickstart,) = [row for row in rows if row["name"] == "quickstart"]
    study = read_study(shipped_files("run")["quickstart"])
    assert quickstart["digits"] == study.digits


def test_a_purpose_is_the_comment_s_first_sentence(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("# Is it so?\n# It is.\nname = 'x'\n# not this\n")
    assert purpose(path) == "Is it so?"
    path.write_text("# One sentence\n# over two lines. Another.\n")
    assert purpose(path) == "One sentence over two lines."


# What a study costs


def test_runs_are_counted_as_they_are_trained():
    tables = {"name": "x", "search": {"learning_rate": [0.1, 0.2]}, "study": {"trials": 10, "seeds": 3}}
    alone = StudySpec.model_validate(tables | {"confirm": {"top": 2, "seeds": 5}})
    assert estimate(alone, 1e9).runs == 10 * 3 + 2 * 5
    beside = StudySpec.model_validate(tables | {"confirm": {"top": 2, "seeds": 5, "baselines": True}})
    assert estimate(beside, 1e9).runs == 10 * 3 + 2 * 5 + 2 * 5
    assert estimate(TrainSpec(), 1e9, seeds=7).runs == 7


def test_time_follows_the_arithmetic():
    """By hand, for the authors' epoch: 50,000 examples, three passes, 110 pixels and two hidden layers of 390."""
    spec = TrainSpec.model_validate({"digits": "mnist", "run": {"hidden": 390, "checkpoint_every": 501}})
    cost = estimate(spec, 1e11, jobs=1)
    training = 2 * 3 * 501 * 50_000 * (110 * 390 + 390**2 + 390)
    assert cost.seconds == pytest.approx(training / 1e11 / 0.9 * 430 / 390, rel=0.02)
    assert estimate(spec, 2e11, jobs=1).seconds == pytest.approx(cost.seconds / 2)
    assert estimate(spec, 1e11, jobs=1, seeds=6).seconds == pytest.approx(6 * cost.seconds)


def test_a_range_that_is_searched_counts_with_its_most_expensive_value():
    tables = {"name": "x", "study": {"trials": 2, "seeds": 1}, "confirm": {"top": 0}}
    searched = StudySpec.model_validate(tables | {"search": {"hidden": {"low": 16, "high": 128}, "penalty": ["irmv1"]}})
    widest = StudySpec.model_validate(tables | {"run": {"hidden": 128}, "search": {"penalty": ["irmv1", "vrex"]}})
    assert estimate(searched, 1e9).seconds == pytest.approx(estimate(widest, 1e9).seconds)


def test_a_dry_run_prints_the_whole_study_and_trains_nothing(irm, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    status, out, err = irm("run", "--set", "run.hidden=8", "--dry-run", "--trials", "2")
    assert status == 0 and "nothing was trained; at most" in err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "again.toml").write_text(out)
    again = read_stored_study(tmp_path / "again.toml")
    assert (again.run.hidden, again.study.trials, again.name) == (8, 2, "quickstart")
    status, out, _ = irm("run", "--set", "run.hidden=8", "--dry-run", "--trials", "2", "--json")
    told = json.loads(out)
    assert told["study"]["run"]["hidden"] == 8
    assert told["runs"] == estimate(again, 1e9).runs
    assert told["memory_bytes"] > 2**28


# init


def test_a_script_gets_a_study_file_without_a_question(irm, tmp_path):  # noqa: F811
    path = tmp_path / "mine.toml"
    status, out, _ = irm("init", path)
    assert status == 0 and f"irm-study run {path}" in out
    study = read_study(path)
    assert (study.name, study.digits, study.study.trials) == ("mine", "embedded", 20)
    assert path.read_text().count("#") > 10


@pytest.mark.parametrize("choose_by", EVIDENCE)
@pytest.mark.parametrize("digits", ["embedded", "mnist"])
def test_every_answer_makes_a_study(irm, tmp_path, choose_by, digits):  # noqa: F811
    path = tmp_path / "mine.toml"
    options = ["--digits", digits, "--flips", "0.3, 0.1", "--choose-by", choose_by, "--trials", "5", "--seeds", "2"]
    assert irm("init", path, *options)[0] == 0
    study = read_study(path)
    assert (study.digits, study.study.trials, study.study.seeds) == (digits, 5, 2)
    assert study.environments.train_flips == (0.3, 0.1)
    assert study.study.criterion.endswith("" if choose_by == "test" else choose_by)


def test_a_person_is_asked_five_questions(irm, tmp_path, monkeypatch):  # noqa: F811
    answers, asked = iter(["mnist", "0.2,0.1", "heldout", "7", "3"]), []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda question, **_: asked.append(question) or next(answers))
    assert irm("init", tmp_path / "mine.toml")[0] == 0
    study = read_study(tmp_path / "mine.toml")
    assert len(asked) == 5
    assert (study.digits, study.study.trials, study.study.seeds) == ("mnist", 7, 3)
    assert study.study.criterion == "zone_margin_heldout"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--digits", "mnits"], "digits"),
        (["--flips", "2"], "environments.train_flips"),
        (["--flips", "a,b"], "not valid TOML"),
        (["--choose-by", "luck"], "--choose-by 'luck': one of: test, validation, heldout"),
    ],
)
def test_a_wrong_answer_is_named_and_leaves_no_file(irm, tmp_path, options, message):  # noqa: F811
    status, _, err = irm("init", tmp_path / "mine.toml", *options)
    assert status == 2 and message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_written_over(irm, tmp_path):  # noqa: F811
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    status, _, err = irm("init", path)
    assert status == 2 and "is there already" in err
    assert path.read_text() == "mine"


# Keys that were meant


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("epochs=10", "did you mean run.epochs?"),
        ("run.epoch=10", "did you mean run.epochs?"),
        ("run.sampler_seed=1", "did you mean study.sampler_seed?"),
        ("study.trails=1", "did you mean study.trials?"),
        ("train_flip=[0.1, 0.2]", "unknown key"),
        ("serch.hidden=1", "did you mean search?"),
    ],
)
def test_a_key_that_is_nearly_right_is_told_the_right_one(irm, setting, meant):  # noqa: F811
    status, _, err = irm("run", "--dry-run", "--set", setting)
    assert status == 2 and meant in err


def test_a_key_like_no_other_is_told_none(irm):  # noqa: F811
    assert "did you mean" not in irm("run", "--dry-run", "--set", "xyzzy=1")[2]


def test_set_is_completed_with_the_keys_of_a_study_file():
    assert _keys("run.ep") == ["run.epochs="]
    assert "study.sampler_seed=" in _keys("study.")
    tables = tomllib.loads(shipped_files("run")["quickstart"].read_text())
    assert {f"run.{key}=" for key in tables["run"]} <= set(_keys("run."))


@pytest.mark.parametrize("command", ["run", "train", "calibrate"])
def test_arguments_are_checked_before_heavy_libraries_are_imported(command):
    code = (
        "import sys; from irm_study.cli import main\n"
        "sys.argv = ['irm-study', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as ended: assert ended.code == 2\n"
        "print({'torch', 'optuna', 'matplotlib', 'pandas'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, command, "nope.toml"], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
    assert "nope.toml: no such file" in done.stderr
