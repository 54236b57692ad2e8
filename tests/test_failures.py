"""Failure modes on curves made by hand: each rule, their order, and the numbers they follow from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.criteria import AGGREGATES, CRITERIA, score
from irm_study.curves import Curves
from irm_study.failures import EXPLANATIONS, FAILURE_MODES, diagnose, landmarks

SPEC = EnvironmentSpec()
RUN = RunConfig(epochs=100, anneal_epoch=30)

# train1, train2, heldout, test
SHAPES = {
    "start": {"accuracy": (0.5, 0.5, 0.5, 0.5), "nll": 0.70, "gradient": (0.01, 0.01), "spread": 0.3, "share": 0.4},
    "collapsed": {"accuracy": (0.5, 0.5, 0.5, 0.5), "nll": 0.6931, "gradient": (0, 0), "spread": 0.001, "share": 1.0},
    "memorised": {"accuracy": (0.90, 0.93, 0.80, 0.2), "nll": 0.25, "gradient": (0, 0), "spread": 3.0, "share": 0.5},
    "erm_like": {
        "accuracy": (0.80, 0.90, 0.84, 0.1),
        "nll": 0.42,
        "gradient": (0.05, -0.05),
        "spread": 2.0,
        "share": 0.5,
    },
    "anti_colour": {"accuracy": (0.62, 0.60, 0.61, 0.8), "nll": 0.65, "gradient": (0, 0), "spread": 0.5, "share": 0.5},
    "invariant": {"accuracy": (0.71, 0.72, 0.71, 0.66), "nll": 0.6, "gradient": (0, 0), "spread": 0.9, "share": 0.5},
    "partial": {"accuracy": (0.68, 0.69, 0.68, 0.5), "nll": 0.6, "gradient": (0, 0), "spread": 0.9, "share": 0.5},
}


def curves_of(*shapes: str, every: int = 10) -> Curves:
    chosen = [SHAPES[name] for name in shapes]
    ones = np.ones(4)
    return Curves(
        environments=SPEC.names,
        epoch=np.arange(len(chosen)) * every,
        penalty_weight=np.ones(len(chosen)),
        nll=np.array([shape["nll"] * ones for shape in chosen]),
        accuracy=np.array([shape["accuracy"] for shape in chosen], dtype=float),
        gradient=np.array([(*shape["gradient"], 0, 0) for shape in chosen], dtype=float),
        spread=np.array([shape["spread"] * ones for shape in chosen]),
        positive_share=np.array([shape["share"] * ones for shape in chosen]),
    )


@pytest.mark.parametrize("mode", ["collapsed", "memorised", "erm_like", "anti_colour", "invariant", "partial"])
def test_each_mode_is_told_from_the_end_of_the_run_and_says_since_when(mode):
    verdict = diagnose(curves_of("start", "start", mode, mode, mode), SPEC, RUN)
    assert verdict.mode == mode
    assert verdict.since == 20 or mode == "partial"
    assert verdict.evidence and all(math.isfinite(value) for value in verdict.evidence.values())
    assert EXPLANATIONS[mode] in verdict.explanation


def test_a_run_that_was_in_the_zone_and_left_it_has_relapsed():
    verdict = diagnose(curves_of("start", "invariant", "partial", "partial"), SPEC, RUN)
    assert verdict.mode == "relapsed"
    assert verdict.since == 20
    assert verdict.evidence["last epoch in the zone"] == 10


def test_a_number_that_is_not_finite_is_divergence_whatever_came_after():
    curves = curves_of("start", "invariant", "invariant")
    curves.nll[1, 0] = np.nan
    verdict = diagnose(curves, SPEC, RUN)
    assert verdict.mode == "diverged"
    assert verdict.evidence["first epoch not finite"] == 10


def test_a_risk_far_above_a_constants_is_divergence_too():
    curves = curves_of("start", "partial")
    curves.nll[-1, :2] = 1e10
    assert diagnose(curves, SPEC, RUN).mode == "diverged"
    assert {score(name, curves, SPEC) for name in CRITERIA} == {0.0}


@pytest.mark.parametrize(
    ("shapes", "when"),
    [
        (("collapsed",) * 10, "never left"),
        (("erm_like",) * 4 + ("collapsed",) * 6, "at the anneal"),
        (("erm_like",) * 8 + ("collapsed",) * 2, "late"),
    ],
)
def test_a_collapse_says_when_it_came(shapes, when):
    assert when in diagnose(curves_of(*shapes), SPEC, RUN).explanation


def test_memorising_needs_a_gap_to_held_out_examples():
    curves = curves_of("memorised")
    curves.accuracy[:, 2] = 0.91
    assert diagnose(curves, SPEC, RUN).mode != "memorised"


def test_erm_needs_gradients_of_opposite_sign():
    curves = curves_of("erm_like")
    curves.gradient[:, 1] = 0.05
    assert diagnose(curves, SPEC, RUN).mode == "partial"


def test_landmarks_are_the_fields_numbers():
    zones = landmarks(SPEC)
    assert zones.bayes_nll == pytest.approx(0.3545, abs=5e-5)
    found = (zones.shape, zones.colour, zones.target_train, zones.target_test, zones.erm_train, zones.memorised_train)
    assert found == pytest.approx((0.75, 0.85, 0.70, 0.60, 0.80, 0.86))
    assert zones.gap == pytest.approx(0.06)


def test_landmarks_follow_the_environments():
    zones = landmarks(EnvironmentSpec(label_noise=0.0))
    assert (zones.shape, zones.target_train, zones.target_test) == pytest.approx((1.0, 0.95, 0.85))
    assert zones.bayes_nll == pytest.approx(0.0)


def test_every_mode_has_an_explanation():
    assert EXPLANATIONS.keys() == FAILURE_MODES.keys()


def test_scores_are_the_named_minimum_and_the_worst_for_a_diverged_run():
    curves = curves_of("start", "invariant")
    assert score("oracle_min", curves, SPEC) == 0.66
    assert score("oracle_success", curves, SPEC) == 1.0
    assert score("oracle_success", curves_of("partial"), SPEC) == 0.0
    curves.nll[-1, 0] = np.inf
    assert {score(name, curves, SPEC) for name in CRITERIA} == {0.0}


def test_validation_min_looks_at_the_fourth_environment_and_not_at_the_test():
    curves = curves_of("invariant")
    seen = Curves(
        environments=(*SPEC.names, "validation"),
        epoch=curves.epoch,
        penalty_weight=curves.penalty_weight,
        **{name: np.concatenate([getattr(curves, name), getattr(curves, name)[:, :1] - 0.06], axis=1)
           for name in ("nll", "accuracy", "gradient", "spread", "positive_share")},
    )  # fmt: skip
    assert score("validation_min", seen, SPEC) == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [("mean", 0.5), ("median", 0.55), ("worst_seed", 0.1), ("iqm", 0.55), ("lower_quartile", 0.4)],
)
def test_aggregates_are_the_named_statistics(aggregate, expected):
    assert AGGREGATES[aggregate](np.array([0.1, 0.5, 0.6, 0.8])) == pytest.approx(expected)
