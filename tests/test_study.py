"""Whole studies, small: real Optuna, real training on a few real digits, stopped in every way there is."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from irm_study import data
from irm_study.config import StudySpec, TrainSpec, read_train, run_digest, study_digest, study_toml
from irm_study.data import digits
from irm_study.errors import ConfigError
from irm_study.execution import Workers
from irm_study.report.verdict import caveats
from irm_study.results import fresh_seeds, holder_of, load_study, locked
from irm_study.study import Settings, confirm_study, run_study, train_runs

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.test_study", "irm_study.cli", "irm_study.training", "alembic.context"])
"""Drivers to be killed are forked from a process that has imported everything: a kill finds them at work."""

SEARCH = {
    "penalty_weight": {"low": 10.0, "high": 1e6, "log": True},
    "ramp": ["step", "linear"],
    "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
}


def small(trials: int = 3, seeds=2, **changes) -> StudySpec:
    study_section = {"trials": trials, "seeds": seeds, "criterion": "oracle_min"} | changes.pop("study", {})
    tables = {
        "name": "small",
        "run": {"hidden": 4, "epochs": 4, "anneal_epoch": 1, "ramp_epochs": 2},
        "search": SEARCH,
        "study": study_section,
        "confirm": {"top": 1, "seeds": 2},
    }
    return StudySpec.model_validate(tables | changes)


class Silent:
    """Watches without a word."""

    def begin(self, stage, trials, runs, before, later=0, best=None, jobs=1):
        pass

    def runs_finished(self, rows):
        pass

    def runs_spared(self, count):
        pass

    def trial_finished(self, trial, value, best):
        pass


class Stop(Exception):
    pass


class StopAfter(Silent):
    """Stops the driver when so many runs are finished, or trials told."""

    def __init__(self, runs: int | None = None, trials: int | None = None):
        self.runs, self.trials = runs, trials

    def runs_finished(self, rows):
        if self.runs is not None:
            self.runs -= len(rows)
            if self.runs <= 0:
                raise Stop

    def trial_finished(self, trial, value, best):
        if self.trials is not None:
            self.trials -= 1
            if self.trials <= 0:
                raise Stop


def few_digits(name: str, data_root=None) -> digits.Digits:
    """300 real digits, 60 of them for the test environment."""
    whole = digits._load_embedded()
    return dataclasses.replace(whole, images=whole.images[:300], labels=whole.labels[:300], test_digits=60)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(spec: StudySpec, folder: Path, watcher=None, **settings):
    return run_study(spec, folder, Settings(**settings), watcher or Silent())


def stored_rows(folder: Path) -> pd.DataFrame:
    """Every row of every part, as it lies there: nothing dropped."""
    columns = ["stage", "trial", "seed", "digest", "seconds"]
    parts = sorted((folder / "runs").glob("part-*.parquet"))
    tables = [pq.read_table(path, columns=columns).to_pandas() for path in parts]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def keys(rows: pd.DataFrame) -> list[tuple]:
    return sorted(zip(rows["digest"], rows["seed"], rows["seconds"], strict=True))


def trained_once(folder: Path) -> bool:
    return not stored_rows(folder).duplicated(["digest", "seed"]).any()


def in_optuna(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")


def complete_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return in_optuna(folder).get_trials(states=(optuna.trial.TrialState.COMPLETE,))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of the last change of every file, but for those that SQLite keeps while somebody reads."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*") if path.is_file() and not path.name.startswith("study.db-")
    }  # fmt: skip


def assert_same_study(one, other) -> None:
    """But for the seconds, and which of two equal parts came first."""
    runs = [record.runs.drop(columns=["seconds", "study"]) for record in (one, other)]
    pd.testing.assert_frame_equal(*runs)
    pd.testing.assert_frame_equal(one.trials, other.trials)


# A whole study


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small study, run to its end."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("irm_study.data.load_digits", few_digits)
        record, trained = run(small(environments={"validation_flip": 0.5}), folder)
    assert trained == 3 * 2 + 2
    return folder, record


def test_runs_csv_has_a_row_for_every_run_and_the_columns_that_scripts_rely_on(finished):
    folder, _ = finished
    runs = pd.read_csv(folder / "runs.csv")
    columns = {
        "study", "stage", "trial", "seed", "hidden", "penalty", "penalty_weight", "anneal_epoch", "ramp", "ramp_epochs",
        "learning_rate", "l2_weight", "failure_mode", "score", "train_accuracy", "test_accuracy", "validation_accuracy",
        "epochs", "seconds",
    }  # fmt: skip
    assert columns <= set(runs.columns)
    assert not [name for name in runs.columns if name.startswith("curve_")]
    assert runs["stage"].tolist() == ["search"] * 6 + ["confirm"] * 2
    assert runs["trial"].tolist()[:6] == [0, 0, 1, 1, 2, 2]
    assert runs["seed"].tolist() == [0, 1, 0, 1, 0, 1, 1000, 1001]
    assert set(runs["study"]) == {"small"}
    for name in ("train_accuracy", "test_accuracy", "validation_accuracy", "score"):
        assert runs[name].between(0, 1).all()
    assert (runs["epochs"] == 4).all()


def test_the_score_is_the_lowest_accuracy_and_the_value_its_mean_over_seeds(finished):
    folder, _ = finished
    runs = pd.read_csv(folder / "runs.csv")
    expected = runs[["train_accuracy_min", "test_accuracy"]].min(axis=1).mask(runs["failure_mode"] == "collapsed", 0.0)
    pd.testing.assert_series_equal(runs["score"], expected, check_names=False)
    means = runs[runs["stage"] == "search"].groupby("trial")["score"].mean()
    values = {trial.user_attrs["trial"]: trial.value for trial in complete_trials(folder)}
    assert values == pytest.approx(means.to_dict())


def test_summary_json_has_the_fields_that_scripts_rely_on(finished):
    folder, _ = finished
    told = json.loads((folder / "summary.json").read_text())
    runs = pd.read_csv(folder / "runs.csv")
    search, confirm = runs[runs["stage"] == "search"], runs[runs["stage"] == "confirm"]
    assert (told["digits"], told["criterion"], told["trials"], told["runs"]) == ("embedded", "oracle_min", 3, 8)
    assert told["failure_modes"] == search["failure_mode"].value_counts().to_dict()
    means = search.groupby("trial")["score"].mean()
    assert told["best"]["trial"] == means.idxmax()
    assert told["best"]["value"] == pytest.approx(means.max())
    first = search[search["trial"] == means.idxmax()].iloc[0]
    assert told["best"]["parameters"] == {key: first[key] for key in SEARCH}
    [confirmed] = told["confirmed"]
    assert confirmed["parameters"] == told["best"]["parameters"]
    assert confirmed["seeds"] == 2
    assert confirmed["success_rate"] == (confirm["failure_mode"] == "invariant").mean()
    assert 0 <= confirmed["low"] <= confirmed["success_rate"] <= confirmed["high"] <= 1


def test_study_toml_keeps_the_study_and_its_digest(finished):
    folder, record = finished
    stored = tomllib.loads((folder / "study.toml").read_text())
    assert stored["digest"] == study_digest(record.spec)
    assert stored["search"]["ramp"] == ["step", "linear"]


def test_the_winner_s_file_trains_as_it_is_and_is_the_confirmed_configuration(finished, tmp_path):
    folder, _ = finished
    spec = read_train(folder / "best.toml")
    confirmed = json.loads((folder / "summary.json").read_text())["confirmed"][0]
    assert run_digest(spec.digits, spec.environments, spec.run) == confirmed["digest"]
    runs, trained = train_runs(spec, [1000], tmp_path, Settings(), Silent())
    assert trained == 1
    before = pd.read_csv(folder / "runs.csv").query("stage == 'confirm' and seed == 1000")
    assert runs["test_accuracy"].tolist() == pytest.approx(before["test_accuracy"].tolist())


def test_fresh_seeds_that_are_not_one_row_are_not_promised_by_a_command(tmp_path):
    record, _ = run(small(1, seeds=[1001]), tmp_path)
    assert record.runs.query("stage == 'confirm'")["seed"].tolist() == [1000, 1002]
    assert "--first-seed" not in (tmp_path / "best.toml").read_text()


def test_trials_carry_summaries_of_their_seeds_for_any_optuna_tool(finished):
    folder, _ = finished
    runs = pd.read_csv(folder / "runs.csv")
    for trial in complete_trials(folder):
        own = runs[(runs["stage"] == "search") & (runs["trial"] == trial.user_attrs["trial"])]
        modes = trial.user_attrs["failure_modes"].split(", ")
        assert sorted(modes) == sorted(f"{mode} {n}" for mode, n in own["failure_mode"].value_counts().items())
        *seeds, mean = trial.user_attrs["seeds"]
        assert mean == f"mean: train {own['train_accuracy'].mean():.3f}, test {own['test_accuracy'].mean():.3f}"
        for seed, row in zip(seeds, own.itertuples(), strict=True):
            assert seed.startswith(f"{row.seed}: {row.failure_mode}, score {row.score:.3f}, ")
            assert seed.endswith(f"test {row.test_accuracy:.3f}")


def test_running_a_finished_study_again_changes_no_file(finished):
    folder, record = finished
    before = contents(folder)
    _, trained = run(record.spec, folder)
    assert trained == 0
    assert contents(folder) == before


def test_a_study_reads_back_from_its_folder(finished):
    folder, record = finished
    again = load_study(folder)
    assert_same_study(again, record)
    assert again.spec == record.spec
    assert again.importance == record.importance


def test_trials_are_told_from_the_runs_where_the_storage_is_away(finished, tmp_path):
    folder, record = finished
    shutil.copytree(folder / "runs", tmp_path / "runs")
    (tmp_path / "study.toml").write_bytes((folder / "study.toml").read_bytes())
    away = load_study(tmp_path).trials
    pd.testing.assert_frame_equal(away[record.trials.columns], record.trials, check_dtype=False)


def test_the_same_study_gives_the_same_table_byte_for_byte_but_for_times(tmp_path):
    spec = small(3)
    written = []
    for name in ("one", "other"):
        record, _ = run(spec, tmp_path / name)
        runs = pd.read_csv(tmp_path / name / "runs.csv", dtype=str, keep_default_na=False)
        written.append(runs.drop(columns="seconds").to_csv(index=False).encode())
    assert written[0] == written[1]
    seeds = record.runs.query("stage == 'confirm'")["seed"].tolist()
    again, _ = train_runs(read_train(tmp_path / "one" / "best.toml"), seeds, tmp_path / "train", Settings(), Silent())
    columns = ["seed", "train_accuracy", "train_accuracy_min", "test_accuracy", "heldout_accuracy", "train_nll"]
    confirmed = record.runs.query("stage == 'confirm'")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(again[columns].reset_index(drop=True), confirmed, check_exact=True)


# Stopped and continued


class OutOfOrder(Workers):
    """In this process, whatever the number of jobs; of several batches the last comes first."""

    def __init__(self, jobs: int, *where):
        super().__init__(1)

    def finished(self):
        self.executor.waiting.reverse()
        return super().finished()


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
@pytest.mark.parametrize("jobs", [1, 4])
def test_an_interrupted_study_equals_an_uninterrupted_one(tmp_path, monkeypatch, sampler, jobs):
    if jobs > 1:
        monkeypatch.setattr("irm_study.study.run.Workers", OutOfOrder)
    search = {"ramp": ["step", "linear"], "learning_rate": [0.01, 0.03, 0.1]} if sampler == "grid" else SEARCH
    monkeypatch.setattr("irm_study.study.search_stage.GRID_GROUP", 1 if jobs > 1 else 2)
    trials = 13 if sampler == "tpe" else 5  # TPE draws the first 10 as a random sampler does
    spec = small(trials, search=search, study={"sampler": sampler})
    whole, _ = run(spec, tmp_path / "whole", jobs=jobs)
    for watcher in (StopAfter(runs=1), StopAfter(runs=3), StopAfter(trials=trials - 3)):
        with pytest.raises(Stop):
            run(spec, tmp_path / "parts", watcher, jobs=jobs)
    continued, _ = run(spec, tmp_path / "parts", jobs=jobs)
    assert_same_study(continued, whole)
    assert trained_once(tmp_path / "parts")
    assert len(complete_trials(tmp_path / "parts")) == trials
    assert sorted(continued.trials["trial"]) == list(range(trials))


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_driver_stopped_before_or_after_any_write_to_the_storage_loses_nothing(tmp_path, monkeypatch, jobs):
    monkeypatch.setattr("irm_study.study.run.Workers", OutOfOrder)
    spec = small(3, study={"sampler": "random"})
    whole, _ = run(spec, tmp_path / "whole", jobs=jobs)
    writes = ("create_new_trial", "set_trial_user_attr", "set_trial_state_values")
    stops = 0
    for name in writes:
        write = getattr(optuna.storages.RDBStorage, name)
        for after in (False, True):

            def stopping(self, *arguments, _write=write, _after=after, **keywords):
                if _after:
                    _write(self, *arguments, **keywords)
                raise Stop

            with monkeypatch.context() as patch:
                patch.setattr(optuna.storages.RDBStorage, name, stopping)
                try:
                    run(spec, tmp_path / "parts", jobs=jobs)
                except Stop:
                    stops += 1
    assert stops >= 4  # with four jobs all trials are asked, and told, by the first three
    continued, _ = run(spec, tmp_path / "parts", jobs=jobs)
    assert_same_study(continued, whole)
    assert trained_once(tmp_path / "parts")
    assert len(complete_trials(tmp_path / "parts")) == 3


def command(folder: str) -> None:
    """`irm-study run`, in a process to be killed."""
    from irm_study.cli import main

    images, labels = (np.load(f"{folder}/{name}.npy") for name in ("images", "labels"))
    few = digits.Digits("embedded", images, labels, phases=4, test_digits=60)
    data.load_digits = lambda name, data_root=None: few
    torch.set_num_threads(1)
    sys.argv = ["irm-study", "run", f"{folder}/small.toml", "--out", f"{folder}/out", "--jobs", "1", "--quiet"]
    main()


def test_a_study_killed_at_twenty_moments_ends_as_one_that_was_not(tmp_path):
    spec = small(16)
    (tmp_path / "small.toml").write_text(study_toml(spec).partition("\n")[2])
    few = few_digits("embedded")  # in files, because the embedded ones take seconds to be read
    np.save(tmp_path / "images.npy", few.images)
    np.save(tmp_path / "labels.npy", few.labels)
    out = tmp_path / "out"
    moments = random.Random(3)
    written: list[tuple] = []
    kills = 0
    for parts in (0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15):
        process = FORKS.Process(target=command, args=(str(tmp_path),))
        process.start()
        while process.is_alive() and len(list((out / "runs").glob("part-*.parquet"))) < parts:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.join()
        kills += process.exitcode == -9
        rows = keys(stored_rows(out))
        assert set(written) <= set(rows)
        written = rows
    assert kills >= 17
    continued, _ = run(spec, out)
    assert len(complete_trials(out)) == 16
    assert trained_once(out)
    assert set(written) <= set(keys(stored_rows(out)))
    whole, _ = run(spec, tmp_path / "whole")
    assert_same_study(continued, whole)


def test_a_summary_from_before_the_last_runs_is_brought_up_to_date(tmp_path):
    run(small(2), tmp_path)
    old = (tmp_path / "summary.json").read_bytes()
    run(small(3), tmp_path)
    new = (tmp_path / "summary.json").read_bytes()
    (tmp_path / "summary.json").write_bytes(old)
    _, trained = run(small(3), tmp_path)
    assert trained == 0
    told, wanted = json.loads((tmp_path / "summary.json").read_bytes()), json.loads(new)
    assert (told["trials"], told["importance"]) == (3, wanted["importance"])


def test_more_trials_continue_the_study_and_equal_one_that_was_as_long_from_the_start(tmp_path):
    run(small(3), tmp_path / "longer")
    before = keys(stored_rows(tmp_path / "longer"))
    longer, _ = run(small(5), tmp_path / "longer")
    assert set(before) <= set(keys(stored_rows(tmp_path / "longer")))
    whole, _ = run(small(5), tmp_path / "whole")
    pd.testing.assert_frame_equal(longer.trials, whole.trials)
    fewer, trained = run(small(4), tmp_path / "longer")
    assert (trained, len(fewer.trials)) == (0, 5)


class Clock(Silent):
    """Stands still but for the trials that finish: each takes an hour."""

    def __init__(self):
        self.hours, self.begun = 0, []

    def begin(self, stage, trials, runs, before, later=0, best=None, jobs=1):
        self.begun.append(stage)

    def trial_finished(self, trial, value, best):
        self.hours += 1

    def __call__(self) -> float:
        return 3600.0 * self.hours


@pytest.mark.parametrize(("jobs", "finished"), [(1, 2), (4, 5)])
def test_after_a_timeout_no_trial_is_new_and_what_was_begun_is_finished_and_confirmed(
    tmp_path, monkeypatch, jobs, finished
):
    """Of four jobs with two seeds a trial, two trials are trained at once and as many wait: four are asked for at
    first, one more after an hour when the first is told, none after two."""
    monkeypatch.setattr("irm_study.study.run.Workers", OutOfOrder)
    spec, clock = small(12, study={"sampler": "random"}), Clock()
    settings = Settings(jobs=jobs, timeout_seconds=2 * 3600)
    record, _ = run_study(spec, tmp_path / "parts", settings, clock, clock=clock)
    assert record.finished == finished
    assert set(record.trials["state"]) == {"complete"}
    assert clock.begun == ["search", "confirm"]
    assert (record.runs["stage"] == "confirm").sum() == 2
    assert (tmp_path / "parts" / "best.toml").is_file()
    assert record.planned == 12

    continued, _ = run(spec, tmp_path / "parts", jobs=jobs)
    whole, _ = run(spec, tmp_path / "whole", jobs=jobs)
    search = [each.runs.query("stage == 'search'").drop(columns="seconds") for each in (continued, whole)]
    pd.testing.assert_frame_equal(*search)
    assert trained_once(tmp_path / "parts")


def test_a_timeout_that_is_over_before_the_first_trial_ends_with_an_empty_study_that_goes_on(tmp_path):
    from irm_study.report import write_report

    seconds = iter(range(0, 1000, 10))
    record, trained = run_study(
        small(2), tmp_path, Settings(timeout_seconds=5), Silent(), clock=lambda: float(next(seconds))
    )
    assert (record.finished, trained) == (0, 0)
    assert "0 of 2 trials" in write_report(record).read_text()
    assert run(small(2), tmp_path)[0].finished == 2


def test_a_confirmation_of_many_seeds_is_written_as_it_goes(tmp_path):
    spec = small(1, confirm={"top": 1, "seeds": 9})
    with pytest.raises(Stop):
        run(spec, tmp_path, StopAfter(runs=2 + 1))
    kept = len(stored_rows(tmp_path))
    assert 2 < kept < 2 + 9
    _, trained = run(spec, tmp_path)
    assert trained == 2 + 9 - kept
    assert trained_once(tmp_path)


# Runs and trials


@pytest.mark.parametrize("jobs", [1, 8])
def test_a_run_in_the_table_is_not_trained_again_whichever_trial_asks(tmp_path, monkeypatch, jobs):
    monkeypatch.setattr("irm_study.study.run.Workers", OutOfOrder)
    spec = small(6, search={"ramp": ["step", "linear"]}, study={"sampler": "random"})
    record, trained = run(spec, tmp_path, jobs=jobs)  # with 8 jobs, four trials at a time
    assert len(complete_trials(tmp_path)) == 6
    assert trained == record.trials["digest"].nunique() * 2 + 2
    assert trained_once(tmp_path)
    assert (record.trials.groupby("digest")["value"].nunique() == 1).all()


def test_a_grid_is_searched_once_each_point(tmp_path):
    spec = small(99, search={"ramp": ["step", "linear"], "hidden": [4, 5]}, study={"sampler": "grid"})
    record, _ = run(spec, tmp_path)
    points = set(zip(record.trials["ramp"], record.trials["hidden"], strict=True))
    assert points == {("step", 4), ("step", 5), ("linear", 4), ("linear", 5)}
    assert len(record.trials) == 4


def test_a_grid_shares_trunks_and_gives_what_it_gives_without(tmp_path):
    search = {"anneal_epoch": [1, 3], "learning_rate": [1e-3, 1e-2], "penalty_weight": [10.0, 1e4]}
    spec = small(trials=8, search=search, study={"sampler": "grid"})
    shared, _ = run(spec, tmp_path / "shared")
    apart, _ = run(spec, tmp_path / "apart", share_prefix=False)
    # Of the four points of a learning rate one, of the later anneal epoch, trains the trunk; the others take over
    # the 1, 1 and 3 epochs before their anneal epochs.
    spent = json.loads((tmp_path / "shared" / "summary.json").read_text())["epochs"]
    assert spent["shared"] == 2 * 2 * (1 + 1 + 3)
    assert spent["trained"] + spent["shared"] + spent["stopped"] == (2 * 8 + 2) * 4
    assert json.loads((tmp_path / "apart" / "summary.json").read_text())["epochs"]["shared"] == 0
    accuracies = ["train_accuracy", "test_accuracy", "score"]
    same = shared.runs[["digest", "seed"]] == apart.runs[["digest", "seed"]]
    assert same.all(axis=None)
    np.testing.assert_allclose(shared.runs[accuracies], apart.runs[accuracies], atol=0.02)


def test_a_grid_is_done_with_its_last_point_whatever_trials_says(tmp_path):
    spec = small(12, seeds=1, search={"ramp": ["step", "linear", "cosine"]}, study={"sampler": "grid"})
    record, _ = run(spec, tmp_path)
    assert spec.budget == len(record.trials) == 3
    assert not [note for note in caveats(record, None, record.trials.assign(fresh_n=0)) if "Unfinished" in note]


def test_the_order_of_keys_in_the_file_chooses_nothing(tmp_path):
    one, _ = run(small(3), tmp_path / "one")
    other, _ = run(small(3, search=dict(reversed(SEARCH.items()))), tmp_path / "other")
    assert one.trials["digest"].tolist() == other.trials["digest"].tolist()


def test_a_diverged_run_is_a_row_with_score_zero_and_fails_no_trial(tmp_path):
    record, _ = run(small(2, search={"learning_rate": [1e30, 1e-2]}, study={"sampler": "grid"}), tmp_path)
    wild = record.runs[(record.runs["stage"] == "search") & (record.runs["learning_rate"] == 1e30)]
    assert wild["failure_mode"].tolist() == ["diverged", "diverged"]
    assert wild["score"].tolist() == [0.0, 0.0]
    accuracies = ["train_accuracy", "train_accuracy_min", "test_accuracy", "heldout_accuracy"]
    assert wild[accuracies].isna().all(axis=None)
    assert all(np.isnan(curve[-1]) for curve in wild["curve_accuracy_test"])
    values = {trial.params["learning_rate"]: trial.value for trial in complete_trials(tmp_path)}
    assert values[1e30] == 0.0 < values[1e-2]
    json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)


def test_a_study_in_which_all_diverges_ends(tmp_path):
    record, _ = run(small(1, search={"learning_rate": [1e30]}), tmp_path)
    assert set(record.runs["failure_mode"]) == {"diverged"}
    assert record.trials["value"].tolist() == [0.0]


def test_a_study_without_a_search_is_one_trial_of_its_configuration(tmp_path):
    record, _ = run(small(1, search={}), tmp_path)
    assert record.runs["hidden"].tolist() == [4] * 4
    assert (tmp_path / "best.toml").exists()


# Confirmation


def test_confirmation_is_extended_by_what_is_missing(tmp_path):
    spec = small(2)
    run(spec, tmp_path)
    before = stored_rows(tmp_path)
    more = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"seeds": 5})})
    record, trained = confirm_study(more, tmp_path, Settings(), Silent())
    assert trained == 3
    assert set(keys(before)) <= set(keys(stored_rows(tmp_path)))
    confirmed = record.runs[record.runs["stage"] == "confirm"]
    assert confirmed["seed"].tolist() == [1000, 1001, 1002, 1003, 1004]
    assert json.loads((tmp_path / "summary.json").read_text())["confirmed"][0]["seeds"] == 5
    _, trained = run(spec, tmp_path)
    assert trained == 0


def test_confirmation_takes_the_best_configurations_each_once(tmp_path):
    search, sampler = {"ramp": ["step", "linear", "cosine"]}, {"sampler": "random"}
    spec = small(6, search=search, study=sampler, confirm={"top": 2, "seeds": 1})
    record, _ = run(spec, tmp_path)
    values = record.trials.groupby("digest")["value"].first().sort_values(ascending=False)
    assert len(values) > 1  # else the random sampler drew one ramp six times
    confirmed = record.runs[record.runs["stage"] == "confirm"]
    assert set(confirmed["digest"]) == set(values.index[:2])


def test_seeds_of_the_confirmation_are_none_of_the_search():
    spec = small(seeds=[1000, 2, 1002], confirm={"top": 1, "seeds": 3})
    assert fresh_seeds(spec) == [1001, 1003, 1004]


# Folders and storages


def test_another_study_in_the_folder_is_refused_with_what_changed_and_left_as_it_was(finished):
    folder, _ = finished
    before = contents(folder)
    other = small(environments={"validation_flip": 0.4}, study={"criterion": "validation_min"})
    with pytest.raises(ConfigError) as caught:
        run(other, folder)
    message = str(caught.value)
    assert "environments.validation_flip: 0.5 → 0.4" in message
    assert "study.criterion: default → validation_min" in message
    assert "--out" in message
    assert "hidden" not in message
    assert contents(folder) == before


def hold(folder: str, ready, done) -> None:
    with locked(Path(folder)):
        ready.set()
        done.wait()


def test_a_second_driver_is_refused_and_told_who_holds_the_study(tmp_path):
    ready, done = FORKS.Event(), FORKS.Event()
    holder = FORKS.Process(target=hold, args=(str(tmp_path), ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(ConfigError, match=f"process {holder.pid} on "):
            run(small(), tmp_path)
        assert not (tmp_path / "study.toml").exists()
        assert f"process {holder.pid}" in holder_of(tmp_path)
    finally:
        done.set()
        holder.join()
    assert holder_of(tmp_path) is None
    with locked(tmp_path):
        pass


def test_a_killed_driver_holds_nothing(tmp_path):
    ready, done = FORKS.Event(), FORKS.Event()
    holder = FORKS.Process(target=hold, args=(str(tmp_path), ready, done))
    holder.start()
    assert ready.wait(60)
    holder.kill()
    holder.join()
    with locked(tmp_path):
        assert f"process {os.getpid()}" in holder_of(tmp_path)


def test_trials_may_live_in_another_storage_and_then_confirm_asks_for_it(tmp_path):
    storage = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    run(small(1), tmp_path / "out", storage=storage)
    assert not (tmp_path / "out" / "study.db").exists()
    with pytest.raises(ConfigError, match="--storage"):
        confirm_study(small(1), tmp_path / "out", Settings(), Silent())
    assert not (tmp_path / "out" / "study.db").exists()
    with pytest.raises(ConfigError, match="made by another study file"):
        run(small(1, search={"hidden": [4]}), tmp_path / "other", storage=storage)


def test_a_folder_whose_trials_live_elsewhere_tells_them_all(tmp_path):
    spec = small(6, seeds=1, search={"ramp": ["step", "linear"]}, study={"sampler": "random"})
    record, _ = run(spec, tmp_path / "out", storage=f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert record.trials["digest"].nunique() < len(record.trials) == 6
    assert_same_study(load_study(tmp_path / "out"), record)


def test_a_second_driver_on_a_shared_file_is_refused_and_told_who_holds_the_study(tmp_path):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"

    class Second(Silent):
        def runs_finished(self, rows):
            with pytest.raises(ConfigError, match=f"another process works on study 'small' .process {os.getpid()} on "):
                run(small(2), tmp_path / "two", storage=storage)

    record, _ = run(small(2), tmp_path / "one", Second(), storage=storage)
    assert len(record.trials) == 2


@pytest.mark.parametrize("url", ["nothing://x", "sqlite:////no/such/folder/x.db", "not a url"])
def test_a_storage_that_cannot_be_used_is_named(tmp_path, url):
    with pytest.raises(ConfigError, match=f"--storage {url}: "):
        run(small(1), tmp_path, storage=url)


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no study \(no study.toml\)"):
        load_study(tmp_path)


# One configuration


def one(**tables) -> TrainSpec:
    return TrainSpec.model_validate({"name": "one", "run": {"hidden": 4, "epochs": 3, "anneal_epoch": 1}} | tables)


def test_trained_runs_join_the_folder_s_table_and_are_not_trained_again(tmp_path):
    runs, trained = train_runs(one(), range(6), tmp_path, Settings(), Silent())
    assert (trained, set(runs["stage"])) == (6, {"train"})
    assert pd.read_csv(tmp_path / "runs.csv")["seed"].tolist() == [0, 1, 2, 3, 4, 5]
    _, trained = train_runs(one(), range(7), tmp_path, Settings(), Silent())
    assert trained == 1
    other = one(run={"hidden": 5, "epochs": 3, "anneal_epoch": 1})
    runs, trained = train_runs(other, range(2), tmp_path, Settings(), Silent())
    assert (trained, len(runs)) == (2, 9)
    assert trained_once(tmp_path)


def test_a_training_interrupted_keeps_the_batches_that_were_done(tmp_path):
    with pytest.raises(Stop):
        train_runs(one(), range(9), tmp_path, Settings(), StopAfter(runs=1))
    kept = len(stored_rows(tmp_path))
    assert 0 < kept < 9
    _, trained = train_runs(one(), range(9), tmp_path, Settings(), Silent())
    assert trained == 9 - kept


def test_runs_of_other_environments_and_studies_have_folders_of_their_own(tmp_path):
    train_runs(one(), [0], tmp_path / "train", Settings(), Silent())
    with pytest.raises(ConfigError, match="other digits or environments"):
        train_runs(one(environments={"test_flip": 0.8}), [0], tmp_path / "train", Settings(), Silent())
    with pytest.raises(ConfigError, match="holds runs of 'train'"):
        run(small(), tmp_path / "train")
    run(small(1), tmp_path / "study")
    with pytest.raises(ConfigError, match="holds a study"):
        train_runs(one(), [0], tmp_path / "study", Settings(), Silent())
