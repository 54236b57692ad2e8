"""A study read back: by whom, from which version, with which trials, and what is imported for it."""

from __future__ import annotations

import dataclasses
import math
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from irm_study.config import EnvironmentSpec, earlier_run_digest, read_study, run_digest, study_digest, study_toml
from irm_study.errors import ConfigError
from irm_study.results import (
    ListedTrial,
    StudyRecord,
    config_of,
    load_study,
    trials_from_runs,
    trials_table,
    write_tables,
)
from irm_study.search import open_search
from irm_study.search.sampler import search_space
from irm_study.study import Settings, run_study
from tests.synthetic import stored, study_record, study_spec
from tests.test_study import Silent, contents

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


def test_a_folder_of_version_0_1_reads_as_it_was_written_but_for_its_digests(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "old")
    record = load_study(folder)
    write_tables(record)
    for name in ("runs.csv", "trials.csv"):
        before, after = (pd.read_csv(path / name, dtype={"digest": str}) for path in (OLD, folder))
        assert set(before.columns) - {"failure_mode_train"} <= set(after.columns)
        # The rules' verdicts are made anew, and said in other words one day.
        judged = before.columns.str.startswith(("failure_", "score"))
        other = ["digest", *{"evidence", "explanation", "value"} & set(before.columns), *before.columns[judged]]
        pd.testing.assert_frame_equal(after[before.columns.drop(other)], before.drop(columns=other))
        alike = [pd.factorize(table["digest"])[0].tolist() for table in (before, after)]
        assert alike[0] == alike[1]
    for run in record.runs.to_dict("records"):
        config = record.spec.configure({key: run[key] for key in record.spec.search})
        assert run_digest("embedded", EnvironmentSpec(validation_flip=0.5), config) == run["digest"]


def test_trials_come_from_the_runs_alone_where_a_folder_has_no_list_of_them(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "old")
    (folder / "trials.csv").unlink()
    pd.testing.assert_frame_equal(load_study(folder).trials, load_study(OLD).trials)


def as_version_0_1(record: StudyRecord) -> Path:
    """The record's folder as version 0.1 would have left it: digests without a letter and of every hyperparameter,
    each trial with values of all that were searched."""
    spec = record.spec
    digits_and_environments = spec.digits, spec.environments
    earlier = [earlier_run_digest(*digits_and_environments, config_of(row)) for row in record.runs.to_dict("records")]
    runs = record.runs.assign(digest=earlier)
    folder = stored(dataclasses.replace(record, runs=runs))
    written = study_toml(spec).replace(f'"{study_digest(spec)}"', f'"{study_digest(spec)[1:]}"')
    (folder / "study.toml").write_text(written.replace("rungs", "waves"))
    study = optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}", study_name=spec.name, direction="maximize")
    study.set_user_attr("digest", study_digest(spec)[1:])
    space = search_space(spec)
    digests = runs[runs["stage"] == "search"].groupby("trial")["digest"].first()
    for row in record.trials.to_dict("records"):
        study.add_trial(
            optuna.trial.create_trial(
                value=row["value"], params={key: row[key] for key in spec.search}, distributions=space,
                user_attrs={"trial": row["trial"], "digest": digests[row["trial"]]},
            )
        )  # fmt: skip
    record.trials.assign(digest=digests[record.trials["trial"]].to_list()).to_csv(folder / "trials.csv", index=False)
    return folder


SEARCHED = {"ramp": ["step", "linear"], "ramp_epochs": {"low": 10, "high": 60}, "learning_rate": [0.001, 0.01],
            "penalty_weight": {"low": 10.0, "high": 1e6, "log": True}}  # fmt: skip


@pytest.fixture
def old(tmp_path):
    spec = study_spec(search=SEARCHED, study={"trials": 9, "sampler": "random"})
    record = study_record(tmp_path / "old", trials=9, spec=spec)
    return record, as_version_0_1(record)


@pytest.mark.parametrize("listed", ["study.db", "trials.csv", "nowhere"])
def test_trials_of_version_0_1_are_found_wherever_they_are_listed(old, listed):
    record, folder = old
    for name in {"study.db", "trials.csv"} - {listed}:
        (folder / name).unlink()
    loaded = load_study(folder)
    assert loaded.runs["digest"].tolist() == record.runs["digest"].tolist()
    assert loaded.trials["digest"].tolist() == record.trials["digest"].tolist()
    assert loaded.trials["ramp_epochs"].isna().tolist() == (record.trials["ramp"] == "step").tolist()


def test_a_study_of_version_0_1_goes_on_and_trains_nothing_that_it_has(old):
    record, folder = old
    again, trained = run_study(record.spec, folder, Settings(), Silent())
    assert trained == 0
    assert again.trials["digest"].tolist() == record.trials["digest"].tolist()
    for name in ("runs.csv", "trials.csv"):
        digests = pd.read_csv(folder / name)["digest"]
        assert set(digests) == set(record.trials["digest"])
        assert digests.str.fullmatch("r[0-9a-f]{16}").all()
    assert tomllib.loads((folder / "study.toml").read_text())["digest"] == study_digest(record.spec)
    tables = [pd.read_csv(folder / "runs.csv"), pd.read_parquet(folder / "runs")]
    assert len(tables[0].merge(tables[1], on=["digest", "seed"])) == len(record.runs)
    before = contents(folder)
    assert run_study(record.spec, folder, Settings(), Silent())[1] == 0
    assert contents(folder) == before
    pd.testing.assert_frame_equal(load_study(folder).trials, again.trials)


def test_a_page_of_version_0_1_s_study_is_made_again_and_the_study_goes_on_after_it(old):
    record, folder = old
    write_tables(load_study(folder))
    assert load_study(folder).trials["digest"].tolist() == record.trials["digest"].tolist()
    tables = [pd.read_csv(folder / "runs.csv"), pd.read_parquet(folder / "runs")]
    assert len(tables[0].merge(tables[1], on=["digest", "seed"])) == len(record.runs)
    assert run_study(record.spec, folder, Settings(), Silent())[1] == 0


def test_a_grid_of_version_0_1_that_has_one_effect_several_times_goes_on_to_its_last_effect(tmp_path):
    search = {"ramp": ["step", "linear"], "ramp_epochs": [10, 20, 30]}
    spec = study_spec(search=search, study={"trials": 99, "sampler": "grid"}, confirm={"top": 0})
    points = [{"ramp": ramp, "ramp_epochs": epochs} for ramp in search["ramp"] for epochs in search["ramp_epochs"]]
    record = study_record(tmp_path / "old", trials=4, spec=spec, confirm_top=0)
    rows = [record.runs[record.runs["trial"] == trial].assign(**points[trial]) for trial in range(4)]
    trials = record.trials.assign(**{key: [point[key] for point in points[:4]] for key in search})
    folder = as_version_0_1(dataclasses.replace(record, runs=pd.concat(rows), trials=trials))
    assert load_study(folder).trials["digest"].nunique() == 2
    search_ = open_search(spec, folder, None)
    assert (search_.finished, search_.budget) == (4, 6)
    asked = [search_.ask() for _ in range(2)]
    assert [(each.number, each.config.ramp, each.config.ramp_epochs) for each in asked] == [
        (4, "linear", 20),
        (5, "linear", 30),
    ]
    search_.close()


def test_a_study_of_version_0_1_some_of_whose_points_break_a_rule_is_read(tmp_path):
    spec = study_spec(search={"epochs": [1, 20]}, run={"anneal_epoch": 0})
    folder = stored(study_record(tmp_path / "old", trials=3, spec=spec))
    text = (folder / "study.toml").read_text().replace("anneal_epoch = 0", "anneal_epoch = 10")
    (folder / "study.toml").write_text(
        text.replace("top = 1", "top = 0").replace("neighbours = false", "neighbours = true")
    )
    assert load_study(folder).spec.run.anneal_epoch == 10
    with pytest.raises(ConfigError, match=r"search\.epochs = 1"):
        read_study_text(text, tmp_path)


def read_study_text(text: str, folder: Path) -> None:
    path = folder / "given.toml"
    path.write_text(text.partition("\n")[2])
    read_study(path)


def test_a_digest_that_reads_as_a_number_is_none_to_pandas(tmp_path):
    """Of 0.1's digests one in 750 was a number to pandas, as 337407279e088974 and 5332240502345620 are."""
    record = study_record(tmp_path, trials=4)
    rows = record.runs.assign(digest=record.runs["digest"].mask(record.runs["trial"] == 0, "337407279e088974"))
    write_tables(load_study(stored(dataclasses.replace(record, runs=rows))))
    for name in ("runs.csv", "trials.csv"):
        table = pd.read_csv(tmp_path / name)
        assert pd.api.types.is_string_dtype(table["digest"])
        assert table["digest"].str[0].str.isalpha().all()


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
