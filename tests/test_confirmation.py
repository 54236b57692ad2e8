"""Racing, and what is confirmed on fresh seeds: small studies, really trained."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import optuna
import pandas as pd
import pytest

from irm_study.config import RunConfig, StudySpec, run_digest
from irm_study.diagnosis import AGGREGATES
from irm_study.diagnosis.criteria import Aggregate
from irm_study.errors import ConfigError
from irm_study.results import (
    StudyRecord,
    choices,
    configurations,
    draws,
    exports,
    fresh_seeds,
    load_study,
    neighbours,
    table,
)
from irm_study.search import open_search
from irm_study.study import confirm_study
from tests.test_study import Settings, Silent, Stop, StopAfter, quick, run, small, stored_rows  # noqa: F401


def racing(trials: int = 14, **changes) -> StudySpec:
    study = {"trials": trials, "seeds": 6, "rungs": [4, 6], "prune_below": 0.3, "sampler": "random"}
    return small(study=study | changes)


# Racing


def test_a_trial_that_loses_on_its_first_seeds_is_spared_the_others(tmp_path):
    record, trained = run(racing(), tmp_path)
    states = record.trials.set_index("trial")["state"]
    counts = record.runs[record.runs["stage"] == "search"].groupby("trial")["seed"].agg(list)
    assert set(states) == {"complete", "pruned"}
    for trial, state in states.items():
        assert counts[trial] == ([0, 1, 2, 3] if state == "pruned" else [0, 1, 2, 3, 4, 5])
    assert trained == counts.map(len).sum() + 2
    # Wilcoxon's test, written out by scipy on the stored scores: each pruned trial lost to the best before it.
    from scipy.stats import wilcoxon

    scores = {trial: group.sort_values("seed")["score"].to_numpy() for trial, group in
              record.runs[record.runs["stage"] == "search"].groupby("trial")}  # fmt: skip
    for trial in states.index[states == "pruned"]:
        before = [other for other in states.index[states == "complete"] if other < trial]
        best = max(before, key=lambda other: scores[other].mean())
        lost = scores[trial] - scores[best][:4]
        assert wilcoxon(lost, alternative="less", zero_method="zsplit").pvalue < 0.3
        assert scores[trial].mean() < scores[best].mean()


def test_the_best_trial_is_a_complete_one(tmp_path):
    record, _ = run(racing(), tmp_path)
    summary = exports.summary(record)
    complete = record.trials[record.trials["state"] == "complete"]
    assert summary["best"]["value"] == pytest.approx(complete["value"].max())
    assert summary["confirmed"][0]["trial"] in set(complete["trial"])


def test_an_interrupted_race_ends_as_an_uninterrupted_one(tmp_path):
    whole, _ = run(racing(), tmp_path / "whole")
    for watcher in (StopAfter(runs=3), StopAfter(trials=4), StopAfter(runs=17)):
        with pytest.raises(Stop):
            run(racing(), tmp_path / "parts", watcher)
    parts, _ = run(racing(), tmp_path / "parts")
    pd.testing.assert_frame_equal(parts.trials, whole.trials)
    shown = ["stage", "trial", "seed", "digest", "score"]
    pd.testing.assert_frame_equal(parts.runs[shown], whole.runs[shown])


def test_pruned_trials_are_pruned_to_optuna_and_to_a_folder_without_storage(tmp_path):
    record, _ = run(racing(), tmp_path)
    stored = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'study.db'}")
    pruned = {trial.user_attrs["trial"] for trial in stored.get_trials(states=(optuna.trial.TrialState.PRUNED,))}
    assert pruned == set(record.trials.loc[record.trials["state"] == "pruned", "trial"]) != set()
    (tmp_path / "study.db").unlink()
    again = load_study(tmp_path).trials
    pd.testing.assert_series_equal(again["state"], record.trials["state"])


def test_a_race_whose_storage_is_lost_in_the_midst_ends_as_an_uninterrupted_one(tmp_path, caplog):
    whole, _ = run(racing(), tmp_path / "whole")
    for watcher in (StopAfter(runs=1), StopAfter(runs=23), StopAfter(trials=9)):
        with pytest.raises(Stop):
            run(racing(), tmp_path / "parts", watcher)
        (tmp_path / "parts" / "study.db").write_bytes(b"not a database" * 100)
    parts, _ = run(racing(), tmp_path / "parts")
    pd.testing.assert_frame_equal(parts.trials, whole.trials)
    shown = ["stage", "trial", "seed", "digest", "score"]
    pd.testing.assert_frame_equal(parts.runs[shown], whole.runs[shown])
    assert "made again from the table of runs" in caplog.text


def test_diverged_runs_race_with_the_worst_finite_score(tmp_path):
    search = open_search(racing(), tmp_path, None)
    for scores in ([0.6] * 6, [0.5] * 6):
        search.tell(search.ask(), float(np.mean(scores)), {}, scores)
    assert search.is_losing([0.0, 0.0, 0.0, 0.0])
    assert not search.is_losing([0.7, 0.7, 0.0, 0.7])
    search.close()


def test_rungs_that_do_not_end_with_all_seeds_are_refused():
    for rungs in ([2, 3], [4, 2, 6], [2, 2, 6]):
        with pytest.raises(ValueError, match="must rise and end with the number of seeds, 6"):
            racing(rungs=rungs)


# Confirmation


def test_a_confirmation_is_extended_and_trains_what_is_missing_alone(tmp_path):
    spec = small(trials=4)
    run(spec, tmp_path)
    more = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"seeds": 5, "top": 2})})
    record, trained = confirm_study(more, tmp_path, Settings(), Silent())
    assert trained == 2 * 5 - 2
    assert [row["seeds"] for row in configurations.confirmed_table(record)] == [5, 5]
    assert confirm_study(more, tmp_path, Settings(), Silent())[1] == 0


def test_a_configuration_is_stable_when_its_interval_passes_the_target(tmp_path):
    record, _ = run(small(trials=2), tmp_path)
    runs = record.runs.assign(failure_mode="invariant")
    for target, stable in ((0.1, True), (0.2, False)):
        confirm = record.spec.confirm.model_copy(update={"target": target})
        spec = record.spec.model_copy(update={"confirm": confirm})
        told = configurations.confirmed_table(StudyRecord(tmp_path, spec, runs, record.trials, {}, {}))
        assert [row["stable"] for row in told] == [stable]  # of 2 of 2 it begins at sqrt(1 / 60)


def test_what_other_criteria_would_choose_is_what_their_scores_say(tmp_path):
    record, _ = run(small(trials=6, seeds=3), tmp_path)
    found = choices(record.trials, record.runs, record.spec)
    assert (found["criterion"][0], found["aggregate"][0]) == ("oracle_min", "mean")
    search = record.runs[record.runs["stage"] == "search"]
    for row in found.to_dict("records"):
        scores = search.groupby("trial")[f"score_{row['criterion']}"].apply(np.array)
        values = {trial: AGGREGATES[row["aggregate"]](each) for trial, each in scores.items()}
        assert row["value"] == pytest.approx(max(values.values()))
        assert values[row["trial"]] == pytest.approx(row["value"])
    assert {"train_only", "oracle_success"} <= set(found["criterion"])
    assert set(AGGREGATES) == set(found["aggregate"])


def test_runs_of_other_criteria_become_the_confirmations_when_it_takes_them_in(tmp_path, monkeypatch):
    # One that surely chooses another trial, of runs that learn something: those that collapse score alike.
    monkeypatch.setitem(AGGREGATES, "lower_decile", Aggregate(lambda scores: -np.mean(scores), "Minus the mean."))
    learning = {"hidden": 16, "epochs": 40, "anneal_epoch": 10, "ramp_epochs": 2}
    spec = small(trials=6, seeds=3, study={"aggregate": "median"}, run=learning)

    def confirmed(**changes):
        confirm = spec.confirm.model_copy(update=changes)
        return confirm_study(spec.model_copy(update={"confirm": confirm}), tmp_path, Settings(), Silent())

    run(spec, tmp_path)
    record, trained = confirmed(criteria=True)
    others = set(choices(record.trials, record.runs, spec)["trial"]) - {
        configurations.confirmed_table(record)[0]["trial"]
    }
    assert trained == 2 * len(others) > 0
    assert len(configurations.confirmed_table(record)) == 1
    record, trained = confirmed(top=6)
    assert len(configurations.confirmed_table(record)) == 6
    assert trained == 2 * (6 - 1 - len(others))
    rows = stored_rows(tmp_path).drop_duplicates(["digest", "seed"])
    assert len(rows) == len(record.runs)


# Neighbours and draws


def test_neighbours_change_one_hyperparameter_by_the_factors():
    spec = small(
        search={
            "penalty_weight": {"low": 1.0, "high": 1e6, "log": True},
            "anneal_epoch": {"low": 0, "high": 3},
            "ramp": ["step", "linear"],
            "l2_weight": [0.0, 0.1],
        }
    )
    winner = RunConfig(epochs=4, anneal_epoch=2, penalty_weight=100.0, l2_weight=0.0)
    found = [(each.hyperparameter, each.factor, each.value) for each in neighbours(spec, winner)]
    assert found == [
        ("penalty_weight", 0.5, 50.0), ("penalty_weight", 0.8, 80.0), ("penalty_weight", 1.25, 125.0),
        ("penalty_weight", 2.0, 200.0), ("anneal_epoch", 0.5, 1.0),
    ]  # fmt: skip
    for each in neighbours(spec, winner):
        assert each.config == winner.model_copy(update={each.hyperparameter: getattr(each.config, each.hyperparameter)})


def test_a_hyperparameter_that_is_not_set_has_no_neighbours(tmp_path):
    spec = small(2, seeds=1, search={"batch_size": [20, 40]}, confirm={"top": 1, "seeds": 1, "neighbours": True})
    record, _ = run(spec, tmp_path)
    assert set(record.runs["stage"]) == {"search", "confirm", "neighbour"}
    assert not list(neighbours(spec, spec.run))


def test_a_number_among_choices_has_neighbours_even_where_another_choice_is_none():
    spec = small(2, search={"batch_size": [None, 20], "rescale": [True, False], "across": ["mean", "sum"]})
    winner = spec.run.model_copy(update={"batch_size": 20})
    found = [(each.hyperparameter, each.value) for each in neighbours(spec, winner)]
    assert found == [("batch_size", value) for value in (10, 16, 25, 40)]


class Told(Silent):
    """What each stage was said to have, and to come after it."""

    def __init__(self):
        self.stages = []

    def begin(self, stage, trials, runs, before, later=0, best=None, jobs=1):
        self.stages.append((stage, runs, later))


def test_runs_that_other_criteria_ask_for_are_reckoned_with_before_they_come(tmp_path):
    confirm = {"top": 1, "seeds": 3, "criteria": True, "draws": 2}
    watcher = Told()
    run(small(6, confirm=confirm), tmp_path, watcher)
    (search, _, later), (_, confirmed, after), (criterion, others, drawn), (_, draw, none) = watcher.stages
    assert (search, criterion) == ("search", "criterion")
    assert (confirmed, draw, none) == (3, 4, 0)
    assert (after, drawn) == (others + 4, 4)
    assert later == 3 + 5 * 3 + 4  # of the ten choosers half


def test_neighbours_are_trained_on_the_fresh_seeds_of_the_winner(tmp_path):
    spec = small(trials=3)
    confirm = spec.confirm.model_copy(update={"neighbours": True})

    class Told(Silent):
        stages: ClassVar = []

        def begin(self, stage, trials, runs, before, later=0, best=None, jobs=1):
            self.stages.append((stage, runs, later))

    record, _ = run(spec.model_copy(update={"confirm": confirm}), tmp_path, Told())
    assert Told.stages == [("search", 6, 18), ("confirm", 2, 16), ("neighbour", 16, 0)]
    winner = configurations.confirmed_table(record)[0]
    row = record.runs[record.runs["digest"] == winner["digest"]].iloc[0].to_dict()
    wanted = {
        run_digest(spec.digits, spec.environments, each.config)
        for each in neighbours(spec, table.config_of(row))
    }  # fmt: skip
    near = record.runs[record.runs["stage"] == "neighbour"]
    assert set(near["digest"]) == wanted and len(wanted) == 8
    assert set(near["seed"]) == set(fresh_seeds(record.spec))
    assert set(near["trial"]) == {winner["trial"]}


def test_draws_cross_every_draw_of_data_with_every_initialisation(tmp_path):
    spec = small(trials=2)
    spec = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"draws": 3})})
    record, _ = run(spec, tmp_path)
    crossed = record.runs[record.runs["stage"] == "draws"]
    assert sorted(zip(crossed["seed"], crossed["initial_seed"], strict=True)) == [
        (seed, initial) for seed in (1000, 1001, 1002) for initial in (1000, 1001, 1002)
    ]
    same = crossed[crossed["seed"] == crossed["initial_seed"]].set_index("seed")["score"]
    plain = record.runs[record.runs["stage"] == "confirm"].set_index("seed")["score"]
    pd.testing.assert_series_equal(same[plain.index], plain)
    assert len({config.initial_seed for _, _, config in draws(spec, RunConfig())}) == 3
    assert crossed["score"].nunique() > 3


# Judging anew


def test_a_study_is_judged_anew_by_another_criterion_without_training(tmp_path):
    record, _ = run(small(trials=5, seeds=3), tmp_path)
    search = record.runs[record.runs["stage"] == "search"]
    again = load_study(tmp_path, "train_only", "worst_seed")
    expected = search.groupby("trial")["score_train_only"].min()
    assert again.trials.set_index("trial")["value"].to_dict() == pytest.approx(expected.to_dict())
    assert again.runs["score"].tolist() == record.runs["score_train_only"].tolist()
    assert load_study(tmp_path).trials["value"].tolist() == record.trials["value"].tolist()


@pytest.mark.parametrize(("criterion", "aggregate"), [("loss", None), ("validation_min", None), (None, "mode")])
def test_a_criterion_that_the_study_does_not_allow_is_named(tmp_path, criterion, aggregate):
    run(small(trials=1, seeds=1), tmp_path)
    with pytest.raises(ConfigError, match=f"'{criterion or aggregate}' for this study; one of: "):
        load_study(tmp_path, criterion, aggregate)
