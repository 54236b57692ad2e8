"""Which hyperparameters have an effect: held against what training does, and what follows for digests, grids, trials,
fresh seeds and neighbours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from irm_study.config import (
    EnvironmentSpec,
    RunConfig,
    StudySpec,
    TrainSpec,
    effective,
    run_digest,
    train_toml,
    without_effect,
)
from irm_study.config.toml import read_train
from irm_study.methods import RAMPS, penalty_weights
from irm_study.results import neighbours, summary
from irm_study.search import open_search
from irm_study.training import train
from tests.test_study import few_digits, in_optuna, quick, run, small  # noqa: F401

BASE = {"hidden": 4, "epochs": 6, "anneal_epoch": 2, "learning_rate": 0.01, "penalty_weight": 100.0, "ramp": "linear",
        "ramp_epochs": 3}  # fmt: skip
SAME = {
    "ramp_epochs of a step": ({"ramp": "step"}, {"ramp_epochs": 2}),
    "ramp_exponent of a line": ({}, {"ramp_exponent": 5.0}),
    "a ramp between equal weights": ({"penalty_weight": 1.0}, {"ramp": "exponential", "ramp_epochs": 2}),
    "the penalty at weight 0": ({"penalty_weight": 0.0, "initial_weight": 0.0}, {"penalty": "vrex"}),
    "the initial weight where no epoch has it": ({"ramp": "step", "anneal_epoch": 0}, {"initial_weight": 50.0}),
    "division by weights of at most 1": ({"penalty_weight": 0.9, "initial_weight": 0.2}, {"rescale": False}),
    "a reset of Adam before its first step": ({"anneal_epoch": 0}, {"reset_optimizer": True}),
}
"""What all have beside BASE, and a change that has no effect there."""
OTHER = {
    "ramp_epochs of a line": ({}, {"ramp_epochs": 2}),
    "ramp_exponent of a power": ({"ramp": "power"}, {"ramp_exponent": 5.0}),
    "a ramp between two weights": ({}, {"ramp": "cosine"}),
    "the penalty at an initial weight": ({"penalty_weight": 0.0}, {"penalty": "vrex"}),
    "the initial weight where a line begins at it": ({"anneal_epoch": 0}, {"initial_weight": 50.0}),
    "division by weights above 1": ({"penalty_weight": 1.5, "initial_weight": 0.2}, {"rescale": False}),
    "a reset of Adam": ({}, {"reset_optimizer": True}),
    "a bottleneck": ({"penalty_weight": 0.0, "initial_weight": 0.0}, {"bottleneck_weight": 1.0}),
}


def pair_of(shared, changed) -> tuple[RunConfig, RunConfig]:
    return RunConfig(**BASE | shared), RunConfig(**BASE | shared | changed)


def curves(*configs: RunConfig) -> list[np.ndarray]:
    """Of each alone: beside others the order of additions may be another."""
    return [train([each], [3], few_digits("embedded"), EnvironmentSpec())[0].nll for each in configs]


def digest(config: RunConfig) -> str:
    return run_digest("embedded", EnvironmentSpec(), config)


@pytest.mark.parametrize("case", SAME)
def test_configurations_that_train_alike_are_one(case):
    one, other = pair_of(*SAME[case])
    np.testing.assert_array_equal(*curves(one, other))
    assert digest(one) == digest(other)
    assert set(SAME[case][1]) <= without_effect(one)


@pytest.mark.parametrize("case", OTHER)
def test_configurations_that_train_differently_are_two(case):
    one, other = pair_of(*OTHER[case])
    assert not np.array_equal(*curves(one, other))
    assert digest(one) != digest(other)
    assert not set(OTHER[case][1]) & without_effect(one)


@pytest.mark.parametrize("ramp", RAMPS)
def test_what_a_ramp_does_not_use_changes_none_of_its_weights_and_what_it_uses_does(ramp):
    config = RunConfig(**BASE | {"ramp": ramp})
    for key, value in (("ramp_epochs", 2), ("ramp_exponent", 5.0)):
        changed = config.model_copy(update={key: value})
        alike = np.array_equal(penalty_weights(config), penalty_weights(changed))
        assert alike == (key in without_effect(config)) == (digest(config) == digest(changed))


def test_what_has_no_effect_is_at_its_default_and_all_else_as_it_was():
    config = RunConfig(**BASE | {"ramp": "step", "ramp_epochs": 7, "ramp_exponent": 5.0})
    assert effective(config) == config.model_copy(update={"ramp_epochs": 50, "ramp_exponent": 2.0})
    assert effective(effective(config)) == effective(config)


def test_a_ramp_that_is_not_known_here_may_use_everything():
    config = RunConfig(**BASE).model_copy(update={"ramp": "a plugin's"})
    assert not without_effect(config)


# A study

GRID = {"ramp": ["step", "linear"], "ramp_epochs": [2, 3], "ramp_exponent": [1.0, 2.0], "penalty_weight": [10.0, 1e4]}


def grid(**changes) -> StudySpec:
    return small(search=GRID, **{"study": {"sampler": "grid", "trials": 99, "seeds": 1}} | changes)


def test_a_grid_has_each_effect_once():
    effects = {
        (ramp, epochs if ramp == "linear" else None, weight)
        for ramp, epochs, _, weight in itertools.product(*GRID.values())
    }
    points = [grid().acting(point) for point in grid().grid()]
    assert [set(point) for point in points] == [
        {"ramp", "penalty_weight"} | ({"ramp_epochs"} if point["ramp"] == "linear" else set()) for point in points
    ]
    assert {(each["ramp"], each.get("ramp_epochs"), each["penalty_weight"]) for each in points} == effects
    assert len(points) == len(effects) == grid().budget == 6


def test_three_confirmed_configurations_are_three_functions(tmp_path):
    spec = grid(confirm={"top": 3, "seeds": 1, "neighbours": True})
    record, trained = run(spec, tmp_path)
    assert len(record.trials) == 6
    fresh = record.runs[record.runs["stage"] == "confirm"]
    functions = {penalty_weights(RunConfig(**{key: row[key] for key in (*GRID, "epochs", "anneal_epoch")})).tobytes()
                 for row in fresh.to_dict("records")}  # fmt: skip
    assert len(functions) == 3
    near = record.runs[record.runs["stage"] == "neighbour"]
    assert trained == 6 + 3 + len(near)
    assert set(near["digest"]).isdisjoint(fresh["digest"])


def test_ten_trials_of_a_step_do_not_search_the_length_of_its_rise(tmp_path):
    search = {"ramp": ["step", "power"], "ramp_epochs": {"low": 2, "high": 3}, "ramp_exponent": {"low": 1, "high": 3}}
    record, _ = run(small(12, seeds=1, search=search), tmp_path)
    steps = record.trials["ramp"] == "step"
    assert 0 < steps.sum() < 12
    assert record.trials.loc[steps, "digest"].nunique() == 1
    for key in ("ramp_epochs", "ramp_exponent"):
        assert record.trials[key].isna().tolist() == steps.tolist()
    assert set(record.runs.loc[record.runs["ramp"] == "step", "ramp_epochs"]) == {2}  # as [run] has it
    for trial in in_optuna(tmp_path).get_trials():
        assert trial.params.keys() == ({"ramp"} if trial.params["ramp"] == "step" else search.keys())
    line = (tmp_path / "trials.csv").read_text().splitlines()[1 + int(steps.idxmax())]
    assert line.endswith(",step,,")
    said = summary(record)
    for told in (said["best"], *said["confirmed"]):
        assert ("ramp_epochs" in told["parameters"]) == (told["parameters"]["ramp"] == "power")


def test_a_neighbour_has_another_effect():
    search = {"ramp": ["step", "power"], "ramp_epochs": [2, 3], "ramp_exponent": [1.0, 2.0], "penalty_weight": [10.0]}
    spec = small(search=search)
    keys = [
        {each.hyperparameter for each in neighbours(spec, spec.configure({"ramp": ramp})) if each.config}
        for ramp in ("step", "linear", "power")
    ]
    weight = "penalty_weight"
    assert keys == [{weight}, {weight, "ramp_epochs"}, {weight, "ramp_epochs", "ramp_exponent"}]


@pytest.mark.parametrize("seed", range(20))
def test_every_point_that_is_sampled_is_one_that_train_takes(tmp_path, seed):
    random = np.random.default_rng(seed)
    low = sorted(random.integers(1, 30, 4).tolist())
    search = {"anneal_epoch": {"low": 0, "high": low[1]}, "epochs": {"low": low[2] + 1, "high": 40, "step": 3}}
    spec = small(search=search, study={"sampler": str(random.choice(["tpe", "random"])), "sampler_seed": seed})
    search = open_search(spec, tmp_path, None)
    for _ in range(15):
        asked = search.ask()
        path = tmp_path / "best.toml"
        path.write_text(train_toml(TrainSpec.model_construct(name="a", run=asked.config), ""))
        assert read_train(path).run == asked.config
        assert (asked.config.epochs - (low[2] + 1)) % 3 == 0
        search.tell(asked, float(random.random()), {}, [])
    search.close()
