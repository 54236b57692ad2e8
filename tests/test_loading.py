"""A study read back: by whom, from which version, with which trials, and what is imported for it."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from irm_study.config import EnvironmentSpec, run_digest
from irm_study.results import ListedTrial, load_study, trials_from_runs, trials_table, write_tables
from tests.synthetic import stored, study_record, study_spec

OLD = Path(__file__).parent / "data" / "version-0.1"
"""A study of three trials of two seeds, and two fresh seeds, as version 0.1 left it (without study.db)."""


# Trials


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return study_record(tmp_path_factory.mktemp("trials"), trials=8, seeds=4, confirm_top=2, running=1)


@pytest.mark.parametrize("aggregate", ["mean", "worst_seed", "median"])
def test_the_table_of_trials_is_what_plain_pandas_makes_of_the_runs(record, aggregate):
    spec = record.spec.model_copy(update={"study": record.spec.study.model_copy(update={"aggregate": aggregate})})
    trials = trials_from_runs(record.runs, spec)
    plain = record.runs.query("stage == 'search'").groupby("trial")
    how = {"mean": "mean", "worst_seed": "min", "median": "median"}[aggregate]
    assert trials["trial"].tolist() == sorted(plain.groups)
    assert trials["digest"].tolist() == plain["digest"].first().tolist()
    assert trials["state"].tolist() == np.where(plain.size() == 4, "complete", "running").tolist()
    expected = plain["score"].agg(how).where(plain.size() == 4)
    assert trials["value"].tolist() == pytest.approx(expected.tolist(), nan_ok=True)
    for key in spec.search:
        assert trials[key].tolist() == plain[key].first().tolist()
    assert list(trials.columns) == ["trial", "digest", "state", "value", *spec.search]


def test_whoever_lists_the_trials_the_table_is_the_same(record):
    trials = trials_from_runs(record.runs, record.spec)
    listed = [ListedTrial(*row) for row in trials[["trial", "digest", "state"]].itertuples(index=False)]
    pd.testing.assert_frame_equal(trials_table(reversed(listed), record.runs, record.spec), trials)


def test_trials_with_one_configuration_have_the_same_value(record):
    digest = record.trials["digest"][0]
    listed = [ListedTrial(0, digest, "complete"), ListedTrial(7, digest, "complete"), ListedTrial(9, digest, "running")]
    trials = trials_table(listed, record.runs, record.spec)
    assert trials["value"].tolist()[:2] == pytest.approx([record.trials["value"][0]] * 2)
    assert math.isnan(trials["value"][2])
    assert trials["learning_rate"].nunique() == 1


def test_a_pruned_trial_s_value_is_of_the_seeds_that_it_had(tmp_path):
    study = {"seeds": 4, "rungs": [2, 4], "trials": 2}
    record = study_record(tmp_path, trials=2, seeds=4, spec=study_spec(study=study), confirm_top=0)
    lost = (record.runs["trial"] == 1) & (record.runs["seed"] >= 2)
    trials = trials_from_runs(record.runs[~lost], record.spec)
    assert trials["state"].tolist() == ["complete", "pruned"]
    expected = record.runs.query("trial == 1 and seed < 2")["score"].mean()
    assert trials["value"][1] == pytest.approx(expected)


def test_a_complete_trial_some_of_whose_runs_are_lost_has_no_value_and_one_without_runs_is_left_out(record):
    first, second = record.trials["digest"][:2]
    runs = record.runs[~((record.runs["digest"] == first) & (record.runs["seed"] == 3))]
    listed = [ListedTrial(0, first, "complete"), ListedTrial(1, second, "complete"), ListedTrial(2, "gone", "running")]
    trials = trials_table(listed, runs, record.spec)
    assert trials["trial"].tolist() == [0, 1]
    assert math.isnan(trials["value"][0]) and math.isfinite(trials["value"][1])


def test_a_study_without_runs_has_no_trials_and_their_columns():
    spec = study_spec()
    trials = trials_table([ListedTrial(0, "a", "running")], pd.DataFrame(columns=["digest", "seed", "score"]), spec)
    assert trials.empty
    assert list(trials.columns) == ["trial", "digest", "state", "value", *spec.search]


# Folders of version 0.1


def test_a_folder_of_version_0_1_reads_as_it_was_written(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "old")
    record = load_study(folder)
    write_tables(record)
    before, after = (pd.read_csv(path / "runs.csv") for path in (OLD, folder))
    words = ["evidence", "explanation"]  # said in other words one day
    assert set(before.columns) <= set(after.columns)
    pd.testing.assert_frame_equal(after[before.columns].drop(columns=words), before.drop(columns=words))
    assert (folder / "trials.csv").read_text() == (OLD / "trials.csv").read_text()
    for run in record.runs.to_dict("records"):
        config = record.spec.configure({key: run[key] for key in record.spec.search})
        assert run_digest("embedded", EnvironmentSpec(validation_flip=0.5), config) == run["digest"]


def test_trials_come_from_the_runs_alone_where_a_folder_has_no_list_of_them(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "old")
    (folder / "trials.csv").unlink()
    pd.testing.assert_frame_equal(load_study(folder).trials, load_study(OLD).trials)


# What is imported


HEAVY = ("torch", "optuna", "sqlalchemy", "seaborn", "matplotlib", "scipy.stats", "joblib")


@pytest.mark.parametrize(
    "code",
    [
        "from irm_study import load_study; assert len(load_study(folder).runs) == 8",
        "import irm_study.results as results; record = results.load_study(folder); results.write_tables(record)",
        "sys.argv = ['irm-study', 'status', folder]\nfrom irm_study.cli import main\n"
        "try: main()\nexcept SystemExit as ended: assert not ended.code",
    ],
    ids=["load_study", "its tables", "irm-study status"],
)
def test_a_study_is_read_without_what_trains_searches_and_draws(tmp_path, code):
    folder = shutil.copytree(OLD, tmp_path / "old")
    code = (
        f"import sys; folder = sys.argv[1]\n{code}\nprint('heavy:', *[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_a_stored_study_reads_back_in_a_frame_of_the_same_columns_whatever_its_environments(tmp_path):
    for number, flips in enumerate(((0.2, 0.1), (0.3, 0.2, 0.1))):
        spec = study_spec(environments={"train_flips": list(flips)})
        runs = load_study(stored(study_record(tmp_path / str(number), trials=1, seeds=1, spec=spec))).runs
        assert sum(name.startswith("curve_nll_train") for name in runs.columns) == len(flips)
