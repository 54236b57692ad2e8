"""Which collapses are for good, and the table that says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from irm_study.config import RunConfig, StudySpec, run_digest
from irm_study.diagnosis import first_collapse
from irm_study.diagnosis.stopping import COLLAPSED_CHECKPOINTS, given_up
from irm_study.report.failure_onset import recoveries
from irm_study.results import StudyRecord, configurations, table
from tests.test_failures import SPEC, curves_of

RUN = RunConfig(epochs=100, anneal_epoch=20, give_up=False, penalty_weight=3e4)


def one_class(curves, since: int, until: int):
    """The same with logits that differ, all on one side of zero, at some checkpoints."""
    spread = curves.spread.copy()
    spread[since:until] = 0.2
    return dataclasses.replace(curves, spread=spread)


def test_a_constant_is_given_up_after_enough_checkpoints_at_the_full_weight():
    before = curves_of("erm_like", "erm_like", *["collapsed"] * (COLLAPSED_CHECKPOINTS - 1))
    after = curves_of("erm_like", "erm_like", *["collapsed"] * COLLAPSED_CHECKPOINTS)
    assert given_up(before, RUN) == ""
    assert given_up(after, RUN) == "collapsed"
    assert first_collapse(after, RUN, constant=True) == 2


def test_a_constant_before_the_full_weight_is_not_given_up():
    late_ramp = RUN.model_copy(update={"ramp": "linear", "ramp_epochs": 60})
    assert given_up(curves_of(*["collapsed"] * 6), late_ramp) == ""


def test_a_run_that_predicts_one_class_by_logits_that_differ_is_not_given_up():
    curves = one_class(curves_of("erm_like", "erm_like", *["collapsed"] * 8), 2, 10)
    assert given_up(curves, RUN) == ""
    assert first_collapse(curves, RUN, constant=True) is None
    assert first_collapse(curves, RUN, constant=False) == 2


def test_a_constant_whose_logits_draw_apart_again_is_not_given_up_until_they_no_longer_do():
    spreads = [0.01, 0.01, 0.011, 0.012, 0.013, 0.014, 0.013, 0.011]  # four checkpoints apart it rises until the last
    assert [given_up(constants(spreads[:count]), RUN) for count in range(5, 9)] == ["", "", "", "collapsed"]
    assert first_collapse(constants(spreads[:7]), RUN, constant=True) is None
    assert first_collapse(constants(spreads[:7]), RUN, constant=False) == 2
    assert first_collapse(constants(spreads), RUN, constant=True) == 2


def constants(spreads: list[float]):
    """Two checkpoints that know something, then constants with these logit spreads."""
    curves = curves_of("erm_like", "erm_like", *["collapsed"] * len(spreads))
    spread = curves.spread.copy()
    spread[2:] = np.array(spreads)[:, np.newaxis]
    return dataclasses.replace(curves, spread=spread)


def test_recoveries_are_counted_by_kind_beginning_and_decade_of_the_weight_and_a_configuration_counts_once():
    constant = curves_of("erm_like", "erm_like", *["collapsed"] * 8)
    back = curves_of("erm_like", "erm_like", *["collapsed"] * 6, "shape_not_learnt", "shape_not_learnt")
    never = curves_of(*["shape_not_learnt"] * 10)
    heavier = RUN.model_copy(update={"penalty_weight": 3e5})
    rows = [
        run_row(config, seed, curves)
        for config, all_curves in ((RUN, (constant, back, one_class(back, 2, 8), never)), (heavier, (constant,) * 4))
        for seed, curves in enumerate(all_curves)
    ]
    given = run_row(RUN.model_copy(update={"give_up": True}), 9, constant)
    spec = StudySpec(name="recoveries", run=RUN)
    runs = table.judged_runs(pd.DataFrame([*rows, given]), spec.name, SPEC, "oracle_min")
    found = recoveries(StudyRecord(Path(), spec, runs, configurations.trials_from_runs(runs, spec), {}, {}))
    columns = ["collapsed", "began", "weight_from", "weight_below", "configurations", "runs", "recovered", "share"]
    assert found[columns].to_numpy().tolist() == [
        ["constant", "at any time", 1e4, 1e6, 2, 6, 1, 0.25],  # of two configurations one half and none
        ["constant", "at the anneal", 1e4, 1e5, 1, 2, 1, 0.5],
        ["constant", "at the anneal", 1e5, 1e6, 1, 4, 0, 0.0],
        ["one class", "at any time", 1e4, 1e5, 1, 1, 1, 1.0],
        ["one class", "at the anneal", 1e4, 1e5, 1, 1, 1, 1.0],
    ]
    wilson = stats.binomtest(0, 1).proportion_ci(method="wilson")  # of one configuration, not of its four runs
    assert found.loc[2, ["low", "high"]].tolist() == pytest.approx([wilson.low, wilson.high])


def run_row(config: RunConfig, seed: int, curves) -> dict:
    return table.run_row("search", 0, seed, run_digest("embedded", SPEC, config), config, curves, "cpu")
