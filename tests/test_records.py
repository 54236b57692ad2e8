"""The table of runs: stored whole or not at all, read back as it was, judged and summed up from hand-built curves."""

from __future__ import annotations

import dataclasses
import json
import math
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats

from irm_study import files
from irm_study.config import EnvironmentSpec, RunConfig, run_digest
from irm_study.diagnosis import CRITERIA, PROBES, QUANTITIES, Curves, curve_columns, curves_from_row
from irm_study.errors import ConfigError
from irm_study.report.verdict import caveats
from irm_study.results import StudyRecord, configurations, exports, ranking, summaries
from irm_study.results import parquet as parts
from irm_study.results.table import (
    config_of,
    judge,
    judged_runs,
    read_parts,
    run_row,
    runs_table,
    write_part,
)
from tests.synthetic import study_record, study_spec, tied_record

ENVIRONMENTS = EnvironmentSpec(validation_flip=0.5)
NAMES = ("train1", "train2", "heldout", "test", "validation")
RUN = RunConfig(hidden=8, epochs=20, batch_size=100)


def curves(accuracy=(0.71, 0.73, 0.69, 0.66, 0.65), nll=0.6, **changes) -> Curves:
    """Two checkpoints; the second has the given accuracies."""
    measured = {name: np.full((2, 5), 0.25, dtype=np.float32) for name in QUANTITIES}
    measured["accuracy"] = np.array([[0.5] * 5, accuracy], dtype=np.float32)
    measured["nll"] = np.array([[0.69] * 5, [nll] * 5], dtype=np.float32)
    measured["spread"] = np.ones((2, 5), dtype=np.float32)
    measured |= {name: np.array([0.5, 0.64], dtype=np.float32) for name in PROBES}
    values = {"epoch": np.array([0, 20]), "penalty_weight": np.array([1.0, 1e4]), "seconds": 1.5} | measured | changes
    values |= {"examples": (8000, 8000, 4000, 4000, 4000)}
    return Curves(environments=NAMES, **values)


def row(seed: int = 0, stage: str = "search", trial: int = 0, run: RunConfig = RUN, of: Curves | None = None) -> dict:
    digest = run_digest("embedded", ENVIRONMENTS, run)
    return run_row(stage, trial, seed, digest, run, of or curves(), "cpu")


# Parts


def test_a_part_reads_back_as_it_was_written(tmp_path):
    written = [row(seed, of=curves(nll=0.5 + seed / 10, stopped="train_plateau")) for seed in range(3)]
    write_part(tmp_path, written, ENVIRONMENTS)
    read = read_parts(tmp_path, "embedded", ENVIRONMENTS)
    assert read["seed"].tolist() == [0, 1, 2]
    for before, after in zip(written, read.to_dict("records"), strict=True):
        assert config_of(after) == RUN
        assert run_digest("embedded", ENVIRONMENTS, config_of(after)) == before["digest"]
        back = curves_from_row(after)
        assert (back.seconds, back.stopped, back.environments) == (1.5, "train_plateau", NAMES)
        there = curves_from_row(before)
        assert back.examples == (8000, 8000, 4000, 4000, 4000)
        for name in ("epoch", "penalty_weight", *QUANTITIES, *PROBES):
            np.testing.assert_array_equal(getattr(back, name), getattr(there, name))


def test_a_part_from_before_a_hyperparameter_came_has_its_default(tmp_path):
    path = write_part(tmp_path, [row(0), row(1)], ENVIRONMENTS)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["initial_seed", "give_up"]), path)
    read = read_parts(tmp_path, "embedded", ENVIRONMENTS)
    assert [config_of(each) for each in read.to_dict("records")] == [RUN, RUN]
    pq.write_table(table.drop_columns(["curve_nll_test"]), path)
    with pytest.raises(ConfigError, match="column curve_nll_test is missing"):
        read_parts(tmp_path, "embedded", ENVIRONMENTS)


@pytest.mark.parametrize("nothing", ["batch_size", "checkpoint_every"])
def test_what_is_not_set_reads_back_as_not_set_beside_what_is(tmp_path, nothing):
    unset, given = RUN.model_copy(update={nothing: None}), RUN.model_copy(update={nothing: 2**40 + 1})
    write_part(tmp_path, [row(0, run=unset), row(1, run=given)], ENVIRONMENTS)
    read = read_parts(tmp_path, "embedded", ENVIRONMENTS).sort_values("seed").to_dict("records")
    configs = [config_of(each) for each in read]
    assert [getattr(config, nothing) for config in configs] == [None, 2**40 + 1]
    assert [run_digest("embedded", ENVIRONMENTS, each) for each in configs] == [each["digest"] for each in read]


def test_curves_survive_their_columns_whatever_their_numbers():
    wild = curves(nll=np.nan, accuracy=(np.nan, 0, 1, 0.5, np.inf))
    back = curves_from_row(curve_columns(wild) | {"seconds": 1.5, "stopped": "", "shared_epochs": 0})
    for name in ("epoch", "penalty_weight", *QUANTITIES):
        np.testing.assert_array_equal(getattr(back, name), getattr(wild, name))


@pytest.mark.parametrize("step", ["write_table", "replace"])
def test_a_part_whose_writing_is_cut_short_is_not_there(tmp_path, monkeypatch, step):
    write_part(tmp_path, [row(0)], ENVIRONMENTS)

    def torn(table, path=None, **options):
        if step == "write_table":
            path.write_bytes(b"PAR1 and no more")
        raise KeyboardInterrupt

    monkeypatch.setattr(parts.pq if step == "write_table" else os, step, torn)
    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path, [row(1), row(2)], ENVIRONMENTS)
    monkeypatch.undo()
    assert read_parts(tmp_path, "embedded", ENVIRONMENTS)["seed"].tolist() == [0]
    write_part(tmp_path, [row(1), row(2)], ENVIRONMENTS)
    assert read_parts(tmp_path, "embedded", ENVIRONMENTS)["seed"].tolist() == [0, 1, 2]


def test_small_parts_are_merged_and_a_stop_in_between_loses_and_doubles_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MERGE_AT", 3)
    table = runs_table(tmp_path, ENVIRONMENTS)
    for seed in range(7):
        table.add([row(seed)])
    names = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "runs").iterdir())
    assert names == ["part", "part-merged", "part-merged"]
    assert read_parts(tmp_path, "embedded", ENVIRONMENTS)["seed"].tolist() == list(range(7))

    def stop(self, **keywords):
        raise KeyboardInterrupt

    table.add([row(7)])
    monkeypatch.setattr(parts.Path, "unlink", stop)
    with pytest.raises(KeyboardInterrupt):
        table.add([row(8)])
    monkeypatch.undo()
    assert len(list((tmp_path / "runs").iterdir())) == 6  # merged, and the small ones still there
    assert read_parts(tmp_path, "embedded", ENVIRONMENTS)["seed"].tolist() == list(range(9))


def test_small_parts_that_earlier_drivers_left_are_merged_with_what_they_lack(tmp_path, monkeypatch):
    for seed in range(3):
        path = write_part(tmp_path, [row(seed)], ENVIRONMENTS)
    pq.write_table(pq.read_table(path).drop_columns(["give_up"]), path)
    monkeypatch.setattr(parts, "MERGE_AT", 3)
    runs_table(tmp_path, ENVIRONMENTS).adopt()
    [merged] = (tmp_path / "runs").iterdir()
    assert pq.read_table(merged)["give_up"].to_pylist() == [RUN.give_up] * 3
    assert read_parts(tmp_path, "embedded", ENVIRONMENTS)["seed"].tolist() == [0, 1, 2]


def test_a_damaged_part_is_named(tmp_path):
    path = write_part(tmp_path, [row(0)], ENVIRONMENTS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=f"{path.name}: not a readable part"):
        read_parts(tmp_path, "embedded", ENVIRONMENTS)


def test_rows_come_in_the_order_of_stage_trial_and_seed_and_none_twice(tmp_path):
    other = RUN.model_copy(update={"hidden": 9})
    for part in ([row(1000, "confirm")], [row(1, trial=1, run=other)], [row(1), row(0)], [row(0, trial=1, run=other)],
                 [row(1, trial=5)]):  # fmt: skip
        write_part(tmp_path, part, ENVIRONMENTS)
    read = read_parts(tmp_path, "embedded", ENVIRONMENTS)
    told = sorted(zip(read["stage"], read["hidden"], read["seed"], strict=True))
    assert told == [("confirm", 8, 1000), *(("search", hidden, seed) for hidden in (8, 9) for seed in (0, 1))]
    assert read["stage"].tolist() == ["search"] * 4 + ["confirm"]
    assert read.loc[read["hidden"] == 9, "seed"].tolist() == [0, 1]


def test_a_folder_without_parts_is_an_empty_table_with_its_columns(tmp_path):
    read = read_parts(tmp_path, "embedded", ENVIRONMENTS)
    assert len(read) == 0
    assert {"stage", "seed", "digest", "hidden", "curve_nll_validation"} <= set(read.columns)
    assert len(judged_runs(read, "empty", ENVIRONMENTS, "oracle_min")) == 0


# Judgements


def test_judged_columns_are_those_of_the_last_checkpoint():
    judged = judge(RUN, curves(), ENVIRONMENTS, "oracle_min")
    assert judged["failure_mode"] == "invariant"
    assert judged["failure_since"] == 20
    expected = {
        "train_accuracy": 0.72, "train_accuracy_min": 0.71, "test_accuracy": 0.66, "heldout_accuracy": 0.69,
        "validation_accuracy": 0.65, "train_nll": 0.6, "score": 0.66,
    }  # fmt: skip
    assert {name: judged[name] for name in expected} == pytest.approx(expected)
    assert "0.66" in judged["evidence"]


def test_the_criterion_decides_the_score_and_nothing_else():
    oracle, validation = (judge(RUN, curves(), ENVIRONMENTS, name) for name in ("oracle_min", "validation_min"))
    assert (oracle.pop("score"), validation.pop("score")) == pytest.approx((0.66, 0.65))
    assert oracle == validation


def test_an_environment_that_is_not_there_is_not_a_number():
    bare = curves()
    kept = {name: getattr(bare, name)[:, :4] for name in QUANTITIES}
    without = dataclasses.replace(bare, environments=NAMES[:4], examples=bare.examples[:4], **kept)
    assert math.isnan(judge(RUN, without, EnvironmentSpec(), "oracle_min")["validation_accuracy"])


@pytest.mark.parametrize("nll", [np.nan, 1e6])
def test_a_run_that_diverged_has_the_worst_score_and_no_accuracy(nll):
    judged = judge(RUN, curves(nll=nll), ENVIRONMENTS, "oracle_min")
    assert (judged["failure_mode"], judged["score"]) == ("diverged", 0.0)
    names = ["train_accuracy", "train_accuracy_min", "test_accuracy", "heldout_accuracy", "validation_accuracy"]
    assert all(math.isnan(judged[name]) for name in names)
    told = summaries.over_seeds(pd.DataFrame([judged, judged | {"test_accuracy": 0.6, "score": 0.5}]))
    assert told["test_accuracy"] == pytest.approx(0.3)


# Summaries


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> StudyRecord:
    folder = tmp_path_factory.mktemp("synthetic")
    return study_record(folder, trials=20, seeds=3, confirm_top=2, confirm_seeds=7, running=2)


def test_the_summary_counts_as_plain_pandas_does(synthetic):
    told = exports.summary(synthetic)
    search = synthetic.runs.query("stage == 'search'")
    assert told["trials"] == 20
    assert told["runs"] == len(synthetic.runs)
    assert told["failure_modes"] == search["failure_mode"].value_counts().to_dict()
    values = search.groupby("trial")["score"].mean()[lambda means: means.index < 20]
    assert told["best"]["trial"] == values.idxmax()
    assert told["best"]["value"] == pytest.approx(values.max())


def test_the_confirmed_table_counts_successes_and_gives_an_interval_for_the_best_of_them(synthetic):
    told = configurations.confirmed_table(synthetic)
    confirm = synthetic.runs.query("stage == 'confirm'")
    assert sorted(each["trial"] for each in told) == sorted(confirm["trial"].unique())
    assert told[0]["value"] >= told[1]["value"]
    for each in told:
        runs = confirm[confirm["trial"] == each["trial"]]
        successes = int((runs["failure_mode"] == "invariant").sum())
        for end in {each["low"], each["high"]} - {0.0, 1.0}:  # 40 times less likely than under a rate that may be any
            assert stats.binom.pmf(successes, 7, end) == pytest.approx(1 / 8 / 40)
        assert (each["seeds"], each["successes"], each["success_rate"]) == (7, successes, successes / 7)
        assert each["test_accuracy"] == pytest.approx(runs["test_accuracy"].mean())
        assert each["failure_modes"] == runs["failure_mode"].value_counts().to_dict()
        assert each["parameters"]["ramp"] == runs["ramp"].iloc[0]


def test_the_digits_own_test_set_is_counted_beside_the_test_environment(tmp_path):
    """A run that reaches the zone in the test environment and not there counts there as a failure."""
    record = study_record(tmp_path, trials=3, only="invariant", spec=study_spec(environments={"unseen_examples": 100}))
    fresh = record.runs.index[record.runs["stage"] == "confirm"]
    record.runs.loc[fresh[:2], "failure_mode_unseen"] = "near_miss"
    record.runs.loc[fresh, "unseen_accuracy"] = [0.58, 0.59, *[0.64] * 6]
    (told,) = configurations.confirmed_table(record)
    assert (told["successes"], told["seeds"]) == (8, 8)
    unseen = told["unseen"]
    assert (unseen["successes"], unseen["success_rate"]) == (6, 0.75)
    assert unseen["accuracy"] == pytest.approx((0.58 + 0.59 + 6 * 0.64) / 8)
    for end in (unseen["low"], unseen["high"]):  # as of the rate in the test environment
        assert stats.binom.pmf(6, 8, end) == pytest.approx(1 / 9 / 20)
    (note,) = [note for note in caveats(record, None, pd.DataFrame()) if "own test set" in note]
    assert "is in the target zone on 6 of 8 fresh seeds" in note and "mean accuracy of 63%" in note


def test_a_study_that_does_not_measure_there_says_nothing_of_the_digits_own_test_set(synthetic):
    assert all("unseen" not in row for row in configurations.confirmed_table(synthetic))


def test_best_trials_are_complete_ones_each_configuration_once():
    trials = pd.DataFrame(
        {
            "trial": [0, 1, 2, 3],
            "digest": ["a", "b", "a", "c"],
            "state": ["complete", "complete", "complete", "running"],
            "value": [0.5, 0.4, 0.5, 0.9],
        }
    )
    runs = pd.DataFrame({"digest": ["a", "b", "c"], "seed": 0, "score_oracle_min": [0.5, 0.4, 0.9]})
    assert configurations.best_trials(trials, runs, study_spec(), 3)["trial"].tolist() == [0, 1]


# Ties


def test_equal_success_rates_are_ordered_by_zone_margin_and_said_to_be_tied(tmp_path):
    record = tied_record(tmp_path, trials=20, confirm_top=3)
    finer = record.runs[record.runs["stage"] == "search"].groupby("trial")["score_zone_margin"].mean()
    expected = finer.sort_values(ascending=False).index.tolist()
    best = configurations.best_trials(record.trials, record.runs, record.spec, 5)
    assert best["trial"].tolist() == expected[:5] != [0, 1, 2, 3, 4]
    tie = configurations.search_tie(record)
    assert (tie.configurations, tie.ordered_by, tie.is_open) == (20, ("zone_margin",), False)
    assert tie.text == "20 configurations tied on oracle_success at 0.000; ordered by zone_margin"
    fresh = record.runs[record.runs["stage"] == "confirm"].groupby("trial")["score_zone_margin"].mean()
    ranked = configurations.confirmed(record.runs, record.spec)
    assert ranked["trial"].tolist() == fresh.sort_values(ascending=False).index.tolist()
    told = exports.summary(record)
    assert told["best"]["trial"] == expected[0] and told["best"]["tie"]["text"] == tie.text
    assert told["confirmed_tie"]["configurations"] == 3
    assert json.loads(json.dumps(told["best"]["tie"]))["open"] is False


def test_configurations_that_nothing_tells_apart_stay_tied(tmp_path):
    record = tied_record(tmp_path, only="diverged", trials=6, confirm_top=2)
    assert configurations.best_trials(record.trials, record.runs, record.spec, 3)["trial"].tolist() == [0, 1, 2]
    for tie in (configurations.search_tie(record), configurations.undecided(record)):
        assert tie.is_open and tie.ordered_by == ()
    assert configurations.search_tie(record).text == (
        "6 configurations tied on oracle_success at 0.000; they are alike otherwise too, and listed by trial number"
    )
    assert "best of the search" not in record._repr_html_() and "6 configurations tied" in record._repr_html_()


def test_fresh_seeds_decide_among_configurations_that_the_search_could_not_tell_apart(tmp_path):
    record = tied_record(tmp_path, only="diverged", trials=3, confirm_top=3)
    runs = record.runs.copy()
    runs.loc[(runs["stage"] == "confirm") & (runs["trial"] == 2), "score"] = 1.0
    record = dataclasses.replace(record, runs=runs)
    assert configurations.search_tie(record).is_open
    assert configurations.undecided(record) is None
    assert configurations.confirmed(runs, record.spec)["trial"].iloc[0] == 2


@pytest.mark.parametrize(
    ("study", "expected"),
    [({"criterion": "oracle_min"}, [("oracle_min", "mean")]),
     ({"criterion": "oracle_success"}, [("oracle_success", "mean"), ("zone_margin", "mean")]),
     ({"criterion": "oracle_success", "aggregate": "worst_seed"},
      [("oracle_success", "worst_seed"), ("zone_margin", "worst_seed"), ("oracle_success", "mean"),
       ("zone_margin", "mean")]),
     ({"criterion": "train_only", "aggregate": "median"}, [("train_only", "median"), ("train_only", "mean")])],
)  # fmt: skip
def test_what_breaks_a_tie_follows_from_the_criterion_and_the_aggregate(study, expected):
    assert ranking.measures(study_spec(study=study)) == expected


def test_worst_seeds_that_are_equal_are_ordered_by_the_mean_over_seeds():
    trials = pd.DataFrame(
        {"trial": [0, 1, 2], "digest": ["a", "b", "c"], "state": "complete", "value": [0.1, 0.1, 0.0]}
    )
    runs = pd.DataFrame(
        [("a", 0, 0.1), ("a", 1, 0.2), ("b", 0, 0.9), ("b", 1, 0.1), ("c", 0, 0.0), ("c", 1, 0.9)],
        columns=["digest", "seed", "score_oracle_min"],
    )
    table, tie = ranking.ordered(trials, runs, study_spec(study={"criterion": "oracle_min", "aggregate": "worst_seed"}))
    assert table["trial"].tolist() == [1, 0, 2]
    assert tie.text == "2 configurations tied on oracle_min at 0.100; ordered by oracle_min in the mean over seeds"


def test_a_tie_is_broken_by_no_other_evidence_than_the_criterion_s():
    for name, criterion in CRITERIA.items():
        if criterion.tie_break is not None:
            assert CRITERIA[criterion.tie_break].sees in (None, criterion.sees), name
            assert CRITERIA[criterion.tie_break].tie_break is None


def test_an_unfinished_trial_told_from_its_runs_has_no_value(tmp_path):
    spec = study_spec(study={"seeds": 3}, search={"hidden": [8, 9]}, environments={"validation_flip": 0.5})
    for seed, run in ((0, RUN), (1, RUN), (2, RUN), (0, RUN.model_copy(update={"hidden": 9}))):
        write_part(tmp_path, [row(seed, trial=run.hidden - 8, run=run)], ENVIRONMENTS)
    runs = judged_runs(read_parts(tmp_path, "embedded", ENVIRONMENTS), "a", ENVIRONMENTS, "oracle_min")
    trials = configurations.trials_from_runs(runs, spec)
    assert trials["state"].tolist() == ["complete", "running"]
    assert trials["value"].tolist() == pytest.approx([0.66, math.nan], nan_ok=True)
    assert trials["hidden"].tolist() == [8, 9]


# Files


def test_what_is_no_number_is_null_in_json():
    values = {"a": math.nan, "b": [np.inf, np.int64(3)], "c": np.float32(0.5), "d": "NaN", "e": {"f": -math.inf}}
    text = json.dumps(files.finite(values), allow_nan=False)
    assert json.loads(text) == {"a": None, "b": [None, 3], "c": 0.5, "d": "NaN", "e": {"f": None}}


def test_tables_of_a_study_in_which_all_diverged_are_json_and_csv(tmp_path):
    record = study_record(tmp_path, trials=2, seeds=2, only="diverged")
    exports.write_tables(record)
    told = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert told["failure_modes"] == {"diverged": 4}
    assert told["confirmed"][0]["test_accuracy"] == 0
    csv = pd.read_csv(tmp_path / "runs.csv")
    assert len(csv) == len(record.runs)
    assert not [name for name in csv.columns if name.startswith("curve_")]


def test_a_csv_keeps_names_that_look_like_other_things(tmp_path):
    record = study_record(tmp_path, trials=1, seeds=1, spec=study_spec(name='a, "b"\n<c> é'))
    exports.write_runs_csv(tmp_path, record.runs)
    assert set(pd.read_csv(tmp_path / "runs.csv")["study"]) == {'a, "b"\n<c> é'}


def test_a_text_that_says_the_same_is_not_written_again(tmp_path):
    path = tmp_path / "text"
    files.write_text(path, "one")
    before = path.stat()
    files.write_text(path, "one")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    files.write_text(path, "two")
    assert path.read_text() == "two"
    assert [each.name for each in tmp_path.iterdir()] == ["text"]


def test_confirmed_configurations_are_ranked_on_the_seeds_that_all_of_them_have():
    runs = pd.DataFrame(
        [("confirm", 0, "a", seed, 0.7) for seed in (1000, 1001)]
        + [("confirm", 1, "b", seed, score) for seed, score in ((1000, 0.8), (1001, 0.8), (1002, 0.1), (1003, 0.1))],
        columns=["stage", "trial", "digest", "seed", "score"],
    )
    table = configurations.confirmed(runs, study_spec())
    assert table["digest"].tolist() == ["b", "a"]
    assert table["value"].tolist() == pytest.approx([0.45, 0.7])  # each over all of its seeds


def test_runs_of_a_configuration_stand_in_their_mean_their_middle_half_and_the_lowest():
    scores = [0.0, 0.1, *[0.5] * 16, 0.9, 1.0]
    told = summaries.centres(scores)
    assert told["mean"]["value"] == pytest.approx(np.mean(scores))
    assert told["iqm"]["value"] == pytest.approx(0.5)
    assert told["minimum"] == {"value": 0.0, "exceeded_by": pytest.approx(0.05 ** (1 / 20))}
    assert all(told[name]["low"] <= told[name]["value"] <= told[name]["high"] for name in ("mean", "iqm"))
    assert summaries.centres([0.5, math.nan])["mean"]["value"] == 0.25
