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


def test_recoveries_are_counted_by_kind_beginning_and_decade_of_the_weight():
    ends = {
        0: curves_of("erm_like", "erm_like", *["collapsed"] * 8),
        1: curves_of("erm_like", "erm_like", *["collapsed"] * 8),
        2: one_class(
            curves_of("erm_like", "erm_like", *["collapsed"] * 6, "shape_not_learnt", "shape_not_learnt"), 2, 8
        ),
        3: curves_of(*["shape_not_learnt"] * 10),
    }
    digest = run_digest("embedded", SPEC, RUN)
    rows = [table.run_row("search", 0, seed, digest, RUN, curves, "cpu") for seed, curves in ends.items()]
    given = table.run_row("search", 0, 9, digest, RUN.model_copy(update={"give_up": True}), ends[0], "cpu")
    spec = StudySpec(name="recoveries", run=RUN)
    runs = table.judged_runs(pd.DataFrame([*rows, given]), spec.name, SPEC, "oracle_min")
    found = recoveries(StudyRecord(Path(), spec, runs, configurations.trials_from_runs(runs, spec), {}, {}))
    assert found[["collapsed", "began", "weight_from", "runs", "recovered"]].to_dict("records") == [
        {"collapsed": "constant", "began": "at the anneal", "weight_from": 1e4, "runs": 2, "recovered": 0},
        {"collapsed": "one class", "began": "at the anneal", "weight_from": 1e4, "runs": 1, "recovered": 1},
    ]
    wilson = stats.binomtest(0, 2).proportion_ci(method="wilson")
    assert (found["low"][0], found["high"][0]) == pytest.approx((wilson.low, wilson.high))
    assert np.isfinite(found["share"]).all()
