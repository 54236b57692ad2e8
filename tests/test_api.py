"""irm-study from Python: the same results as the commands, in silence, and a message for whatever is not allowed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import torch

import irm_study
from irm_study import RunConfig, StudySpec, cli, compare, confirm_study, diagnose, figures, load_study, run_study, train
from irm_study.api import TrainedRuns
from irm_study.config import EnvironmentSpec, TrainSpec
from irm_study.diagnosis import QUANTITIES
from irm_study.errors import ConfigError, DigitsError, ExecutionError
from irm_study.results import StudyRecord
from tests.test_study import few_digits

ROOT = Path(__file__).parent.parent
TINY = RunConfig(hidden=4, epochs=3, anneal_epoch=1)
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


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """A few digits, a folder of the test's own, pages that are not drawn."""
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    monkeypatch.setattr(
        "irm_study.report.write_report", lambda record: (record.folder / "report.html").write_text("page")
    )
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(STUDY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(**changes) -> StudySpec:
    return irm_study.read_study("tiny.toml", changes)


def without_seconds(path: Path) -> str:
    return pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="seconds").to_csv(index=False)


# Studies


def test_a_study_has_the_same_table_from_python_and_from_the_command_line(monkeypatch, tmp_path, capsys):
    record = run_study("tiny.toml", jobs=1)
    assert record.folder == Path("reports/tiny") and (record.folder / "report.html").is_file()
    monkeypatch.setattr(sys, "argv", ["irm-study", "run", "tiny.toml", "--out", "command", "--jobs", "1", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert without_seconds(Path("command/runs.csv")) == without_seconds(record.folder / "runs.csv")
    made_in_python = StudySpec(
        name="tiny",
        run=TINY,
        search={"penalty_weight": {"low": 10.0, "high": 1e6, "log": True}, "ramp": ["step", "linear"]},
        study={"trials": 2, "seeds": 2},
        confirm={"top": 1, "seeds": 2},
    )
    run_study(made_in_python, "object", jobs=1)
    assert without_seconds(Path("object/runs.csv")) == without_seconds(record.folder / "runs.csv")


def test_arguments_replace_the_study_s_trials_and_seeds():
    record = run_study(tiny(), "out", trials=3, seeds=[5, 7, 9], jobs=1)
    assert len(record.trials) == 3
    assert set(record.runs.query("stage == 'search'")["seed"]) == {5, 7, 9}


def test_a_finished_study_is_trained_no_further_and_its_page_stays_as_it_is():
    run_study("tiny.toml", jobs=1)
    page = Path("reports/tiny/report.html")
    page.write_text("as it is")
    before = Path("reports/tiny/runs.csv").read_bytes()
    run_study("tiny.toml", jobs=1)
    assert page.read_text() == "as it is"
    assert Path("reports/tiny/runs.csv").read_bytes() == before


def test_the_call_is_kept_as_the_page_repeats_it_without_the_password_of_its_storage():
    run_study("tiny.toml", "a", trials=1, jobs=1)
    assert load_study("a").provenance["command"] == "irm_study.run_study('tiny.toml', out='a', trials=1, jobs=1)"
    confirm_study("a", seeds=3, jobs=1)
    assert load_study("a").provenance["command"].splitlines()[1] == "irm_study.confirm_study('a', seeds=3, jobs=1)"
    from irm_study.api.arguments import call_text

    assert "secret" not in call_text("run_study", "x", {"storage": "postgresql://me:secret@host/db"})


def test_a_confirmation_is_extended_from_a_record_or_a_folder():
    record = confirm_study(run_study("tiny.toml", jobs=1), seeds=3, jobs=1)
    assert record.runs.query("stage == 'confirm'")["seed"].tolist() == [1000, 1001, 1002]
    record = confirm_study("reports/tiny", draws=2, jobs=1)
    assert len(record.runs.query("stage == 'draws'")) == 4


def test_a_folder_that_another_study_owns_is_refused_and_left_as_it_was():
    run_study("tiny.toml", "out", jobs=1)
    before = Path("out/runs.csv").read_bytes()
    with pytest.raises(ConfigError, match="holds study 'tiny' made by another study file"):
        run_study(tiny(**{"run.hidden": 5}), "out", jobs=1)
    with pytest.raises(ConfigError, match="holds a study"):
        train(TINY, out="out", jobs=1)
    assert Path("out/runs.csv").read_bytes() == before


def test_a_study_s_curves_are_the_lists_that_are_stored():
    record = run_study("tiny.toml", jobs=1)
    stored = pd.read_parquet("reports/tiny/runs")
    assert len(record.curves) == sum(map(len, stored["curve_epoch"])) * 4  # train1, train2, heldout, test
    for row in stored.to_dict("records"):
        own = record.curves.query("digest == @row['digest'] and seed == @row['seed']")
        assert set(own["stage"]) == {row["stage"]} and set(own["trial"]) == {row["trial"]}
        for name, table in own.groupby("environment"):
            assert table["epoch"].tolist() == list(row["curve_epoch"])
            assert table["penalty_weight"].tolist() == row["curve_penalty_weight"].tolist()
            for quantity in QUANTITIES:
                assert table[quantity].tolist() == row[f"curve_{quantity}_{name}"].tolist()


def test_a_record_is_shown_as_html_and_a_name_in_it_is_text():
    record = run_study(tiny(name="<script>"), "out", jobs=1)
    shown = record._repr_html_()
    assert "study &lt;script&gt;: 2 of 2 trials, 6 runs" in shown and "<script>" not in shown
    assert "of 2 fresh seeds" in shown
    empty = StudyRecord(Path("out"), tiny(), pd.DataFrame(), pd.DataFrame(), {}, {})
    assert "no runs yet" in empty._repr_html_()
    assert empty.curves.empty and "accuracy" in empty.curves


# One configuration


def test_trained_runs_are_a_row_each_and_their_curves_a_row_for_each_checkpoint_and_environment(tmp_path):
    trained = train(TINY, seeds=[3, 5], environments={"validation_flip": 0.5}, jobs=1)
    assert trained.runs["seed"].tolist() == [3, 5]
    assert trained.runs["stage"].tolist() == ["train", "train"]
    assert not [name for name in trained.runs if name.startswith("curve_")]
    names = ["train1", "train2", "heldout", "test", "validation"]
    assert trained.curves.columns.tolist() == ["seed", "epoch", "penalty_weight", "environment", *QUANTITIES]
    keys = trained.curves[["seed", "epoch", "environment"]].itertuples(index=False, name=None)
    assert list(keys) == [(seed, epoch, name) for seed in (3, 5) for epoch in (0, 1, 2, 3) for name in names]
    last = trained.curves[trained.curves["epoch"] == 3].pivot(index="seed", columns="environment", values="accuracy")
    np.testing.assert_array_equal(last["test"], trained.runs["test_accuracy"])
    np.testing.assert_allclose(last[["train1", "train2"]].mean(axis=1), trained.runs["train_accuracy"])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]  # nothing was written


def test_runs_that_are_kept_are_those_that_are_not_and_are_trained_once():
    apart = train(TINY, seeds=2, jobs=1)
    kept = train(TINY, seeds=2, out="kept", jobs=1)
    pd.testing.assert_frame_equal(kept.runs.drop(columns="seconds"), apart.runs.drop(columns="seconds"))
    pd.testing.assert_frame_equal(kept.curves, apart.curves)
    again = train(TINY, seeds=3, out="kept", jobs=1)
    assert again.runs["seed"].tolist() == [0, 1, 2]
    assert again.runs["seconds"].tolist()[:2] == kept.runs["seconds"].tolist()
    other = train(TINY.model_copy(update={"hidden": 5}), out="kept", jobs=1)
    assert other.runs["hidden"].tolist() == [5]


def test_a_configuration_is_an_object_a_specification_or_a_file():
    Path("one.toml").write_text("[run]\nhidden = 4\nepochs = 3\nanneal_epoch = 1\n")
    trained = [
        train(each, environments={"label_noise": 0.1}, jobs=1)
        for each in (TINY, TrainSpec(run=TINY), "one.toml", Path("one.toml"))
    ]
    assert len({each.runs["digest"].iloc[0] for each in trained}) == 1
    assert {each.spec.environments.label_noise for each in trained} == {0.1}
    assert train(TINY, environments=EnvironmentSpec(label_noise=0.1), jobs=1).spec == trained[1].spec


def test_a_shipped_configuration_is_trained_on_its_own_digits(monkeypatch):
    def none_here(name: str, data_root=None):
        raise DigitsError(f"{name}: not here")

    monkeypatch.setattr("irm_study.data.load_digits", none_here)
    with pytest.raises(DigitsError, match=r"^mnist: not here"):
        train("authors", jobs=1)
    with pytest.raises(DigitsError, match=r"^embedded: not here"):
        train("authors", digits="embedded", jobs=1)


def test_failed_work_is_an_execution_error(monkeypatch):
    def failing(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("irm_study.training.train", failing)
    with pytest.raises(ExecutionError, match="out of memory"):
        train(TINY, jobs=1)


def test_a_diagnosis_names_each_run_s_mode_with_its_evidence():
    wild = train(RunConfig(hidden=4, epochs=3, anneal_epoch=1, learning_rate=1e30), seeds=2, jobs=1)
    told = diagnose(wild)
    assert told.columns.tolist() == ["seed", "failure_mode", "since", "evidence", "explanation"]
    assert told["failure_mode"].tolist() == ["diverged", "diverged"]
    assert told["explanation"].str.contains("lower the learning rate").all()
    study = diagnose(run_study("tiny.toml", jobs=1))
    assert study["stage"].tolist() == ["search"] * 4 + ["confirm"] * 2
    assert "diverged" in wild._repr_html_() and "0 of 2 seeds" in wild._repr_html_()


# Comparisons and figures


def test_records_folders_and_trained_runs_are_compared():
    record = run_study("tiny.toml", jobs=1)
    trained = train(RunConfig(hidden=5, epochs=3, anneal_epoch=1), seeds=[1000, 1001], out="trained", jobs=1)
    compared = compare(record, trained)
    assert compared.outcomes["n"].tolist() == [2, 2]
    assert compared.outcomes["test_accuracy"].tolist()[1] == pytest.approx(trained.runs["test_accuracy"].mean())
    assert compared.pairs["measure"].tolist() == ["success", "score", "test_accuracy"]
    assert compared.pairs["n_first"].tolist() == [2, 2, 2]
    assert compared._repr_html_().count("<table") == 2
    by_folder = compare("reports/tiny", "trained", out="page")
    pd.testing.assert_frame_equal(by_folder.outcomes, compared.outcomes)
    assert Path("page/compare.html").is_file()


def test_figures_are_functions_of_a_record_or_its_folder():
    record = run_study("tiny.toml", jobs=1)
    assert isinstance(figures.seed_stability(record), matplotlib.figure.Figure)
    assert isinstance(figures.seed_stability("reports/tiny"), matplotlib.figure.Figure)
    assert "seed_stability" in dir(figures) and figures.seed_stability.__name__ == "seed_stability"
    with pytest.raises(AttributeError, match=r"no figure is called 'seeds'; one of: .*seed_stability"):
        figures.seeds  # noqa: B018
    with pytest.raises(ConfigError, match="folder or its StudyRecord"):
        figures.seed_stability(3)


# Silence, and what is not allowed


def test_nothing_is_printed_and_no_handler_is_installed(capfd):
    before = signal.getsignal(signal.SIGINT)
    record = run_study("tiny.toml", jobs=1)
    confirm_study(record, seeds=3, jobs=1)
    train(TINY, jobs=1)
    assert capfd.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGINT) is before


def test_progress_is_shown_on_stderr_when_it_is_asked_for(capfd):
    train(TINY, seeds=2, jobs=1, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "training: 2 runs" in err and "2 of 2 runs" in err


STRANGE = {
    "a number for a study": (lambda: run_study(3), "study must be a StudySpec, a path, or the name of a shipped"),
    "a study that is not there": (
        lambda: run_study("absent"),
        "absent: neither a file nor a shipped study; .*quickstart",
    ),
    "no trials": (lambda: run_study("tiny.toml", trials=0), r"tiny.toml: study.trials: must be .*; got 0"),
    "one configuration to search": (
        lambda: run_study(StudySpec(name="one")),
        "StudySpec: there is no .search., so its 12 trials would be one configuration 12 times",
    ),
    "a word for seeds": (lambda: run_study("tiny.toml", seeds="many"), "seeds must be a whole number .*'many'"),
    "no jobs": (lambda: run_study("tiny.toml", jobs=0), "jobs must be a whole number of at least 1"),
    "a number for a device": (lambda: run_study("tiny.toml", device=0), "device must be a text"),
    "a device that is not there": (lambda: run_study("tiny.toml", device="cuda:77"), "cuda:77: torch cannot use it"),
    "a number for a storage": (lambda: run_study("tiny.toml", storage=3), "storage must be an address"),
    "a number for a folder": (lambda: run_study("tiny.toml", 3), "out must be a path; got 3"),
    "a number for digits": (lambda: run_study("tiny.toml", data_root=3), "data_root must be a path"),
    "a penalty that does not exist": (
        lambda: train(TINY.model_copy(update={"penalty": "typo"})),
        r"run.penalty: unknown penalty 'typo'; one of: irmv1, ",
    ),
    "a list for a configuration": (lambda: train([TINY]), "config must be a RunConfig, a TrainSpec, a path"),
    "a study for a configuration": (lambda: train("tiny.toml"), "'train' takes one configuration"),
    "no seeds": (lambda: train(TINY, seeds=0), "seeds must be a whole number of at least 1"),
    "the same seed twice": (lambda: train(TINY, seeds=[1, 1]), "different whole numbers"),
    "an environment that does not exist": (
        lambda: train(TINY, environments={"flip": 0.1}),
        "environments.flip: unknown key, .*train_flips",
    ),
    "a number for environments": (lambda: train(TINY, environments=3), "environments must be an EnvironmentSpec or"),
    "digits that do not exist": (lambda: train(TINY, digits="roman"), "digits: must be 'embedded', 'mnist'"),
    "an anneal after the end": (lambda: train(RunConfig(epochs=5)), "run.anneal_epoch: must be in .0, epochs = 5."),
    "no folder to confirm": (lambda: confirm_study(3), "a study's folder or its StudyRecord is needed; got 3"),
    "no study to confirm": (lambda: confirm_study("absent"), "absent: holds no study"),
    "one side to compare": (lambda: compare("one"), "compare takes two configurations or more; got 1"),
    "a number to diagnose": (lambda: diagnose(3), "diagnose takes what train or run_study returned; got a int"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_not_allowed_is_one_message_and_trains_nothing(case, tmp_path):
    call, said = STRANGE[case]
    with pytest.raises(ConfigError, match=said):
        call()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_typing_error_in_a_penalty_is_refused_where_the_configuration_is_made():
    with pytest.raises(ValueError, match="unknown penalty 'typo'; one of: irmv1, "):
        RunConfig(penalty="typo")


def test_runs_that_were_kept_nowhere_cannot_be_compared():
    trained = train(TINY, jobs=1)
    assert isinstance(trained, TrainedRuns) and repr(trained) == "<TrainedRuns 'train': 1 runs>"
    with pytest.raises(ConfigError, match="is kept nowhere; train it with out="):
        compare(trained, trained)


# The door


def test_the_package_offers_its_public_names_and_no_others():
    for name in irm_study.__all__:
        assert getattr(irm_study, name) is not None
    assert {"run_study", "train", "figures"} <= set(dir(irm_study))
    with pytest.raises(AttributeError, match=r"has no attribute 'trian'; it offers: .*train"):
        irm_study.trian  # noqa: B018


def test_a_study_is_read_back_without_torch_and_optuna():
    run_study("tiny.toml", jobs=1)
    code = (
        "import sys, irm_study\n"
        "assert not {'pandas', 'pydantic', 'torch'} & sys.modules.keys()\n"
        "record = irm_study.load_study('reports/tiny')\n"
        "record.curves, record._repr_html_(), irm_study.diagnose(record)\n"
        "print({'torch', 'optuna', 'matplotlib'} & sys.modules.keys())"
    )
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | _own_package())
    assert (read.stdout, read.stderr) == ("set()\n", "")


def test_the_module_is_a_command():
    shown = subprocess.run(
        [sys.executable, "-m", "irm_study", "--version"],
        capture_output=True,
        text=True,
        env=os.environ | _own_package(),
    )
    assert (shown.returncode, shown.stdout) == (0, f"irm-study {irm_study.__version__}\n")


def _own_package() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)}
