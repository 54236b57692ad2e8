"""Failure modes on curves made by hand: each rule, their order, and the numbers they follow from."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.diagnosis import (
    AGGREGATES,
    CRITERIA,
    EXPLANATIONS,
    FAILURE_MODES,
    Curves,
    diagnose,
    reference_levels,
    score,
)
from irm_study.diagnosis.evidence import reversed_flip
from irm_study.diagnosis.modes import has_diverged

SPEC = EnvironmentSpec()
RUN = RunConfig(epochs=100, anneal_epoch=30)

# train1, train2, heldout, test
SHAPES = {
    "start": {"accuracy": (0.5, 0.5, 0.5, 0.5), "nll": 0.75, "gradient": (0.01, 0.01), "spread": 0.3, "share": 0.4},
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
        grey_accuracy=np.array([shape["accuracy"][2] for shape in chosen]),
        swapped_accuracy=np.array([shape["accuracy"][3] for shape in chosen]),
        swap_share=np.array([abs(shape["accuracy"][2] - shape["accuracy"][3]) for shape in chosen]),
        examples=(25_000, 25_000, 10_000, 10_000),
    )


@pytest.mark.parametrize("mode", ["collapsed", "memorised", "erm_like", "anti_colour", "invariant", "partial"])
def test_each_mode_follows_from_the_end_of_the_run_and_says_since_when(mode):
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


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"spread": 0.3, "nll": 0.685}, "collapsed"), ({"spread": 0.3, "nll": 0.66}, "partial"),
        ({"spread": 0.04, "test": 0.7}, "collapsed"), ({"spread": 0.3, "test": 0.7}, "anti_colour"),
        ({"spread": 0.3, "nll": 0.6, "share": 0.97}, "collapsed"),
    ],
)  # fmt: skip
def test_a_collapse_is_a_constant_or_one_class_or_knowing_nothing(changes, mode):
    curves = curves_of("collapsed")
    curves.positive_share[:] = changes.get("share", 0.5)
    curves.spread[:] = changes["spread"]
    curves.nll[:] = changes.get("nll", 0.69)
    curves.accuracy[:, 3] = changes.get("test", 0.5)
    assert diagnose(curves, SPEC, RUN).mode == mode


def test_memorising_needs_a_gap_to_held_out_examples():
    curves = curves_of("memorised")
    curves.accuracy[:, 2] = 0.91
    assert diagnose(curves, SPEC, RUN).mode != "memorised"


def test_erm_needs_a_training_accuracy_that_shape_cannot_give():
    curves = curves_of("erm_like")
    curves.accuracy[:, :2] = 0.78
    assert diagnose(curves, SPEC, RUN).mode == "partial"


@pytest.mark.parametrize("mode", ["collapsed", "memorised", "erm_like", "anti_colour", "invariant", "partial"])
def test_recoloured_training_images_alone_judge_by_the_same_rules(mode):
    curves = curves_of("start", mode, mode)
    curves.accuracy[:, 2:] = np.nan
    assert diagnose(curves, SPEC, RUN, "recoloured").mode == mode


def test_a_validation_environment_s_accuracy_is_extrapolated_to_the_test_flip():
    # Accuracy is linear in the flip: .71 at .15 and .69 at .5 give .6671 at .9, inside the zone; .63 gives .539.
    spec = EnvironmentSpec(validation_flip=0.5)
    for accuracy, mode in ((0.69, "invariant"), (0.63, "partial")):
        curves = with_validation(curves_of("invariant"), accuracy)
        curves.accuracy[:, curves.of("test")] = np.nan
        verdict = diagnose(curves, spec, RUN, "validation")
        assert verdict.mode == mode
        expected = 0.715 + (accuracy - 0.715) * (0.9 - 0.15) / (0.5 - 0.15)
        assert verdict.evidence["accuracy under the reversed colour"] == pytest.approx(expected)


def test_partial_says_on_which_side_of_the_zone_a_run_is():
    colour, shape = curves_of("partial"), curves_of("partial")
    shape.accuracy[:, 3] = 0.65
    assert "follows colour" in diagnose(colour, SPEC, RUN).explanation
    assert "by shape, but poorly" in diagnose(shape, SPEC, RUN).explanation


def test_reference_levels_are_the_fields_numbers():
    zones = reference_levels(SPEC)
    assert zones.bayes_nll == pytest.approx(0.3545, abs=5e-5)
    found = (zones.shape, zones.bayes, zones.target_train, zones.target_test, zones.erm_train, zones.unlike)
    assert found == pytest.approx((0.75, 0.85, 0.70, 0.60, 0.80, 0.05))
    # Three standard errors of a share of .85 of 50,000.
    assert zones.memorised_train == pytest.approx(0.85 + 3 * math.sqrt(0.85 * 0.15 / 50_000))


def test_fewer_examples_leave_more_to_luck():
    few, many = reference_levels(SPEC, 1_000), reference_levels(SPEC, 100_000)
    assert few.memorised_train - few.bayes == pytest.approx(10 * (many.memorised_train - many.bayes))
    assert few.bayes_nll - few.memorised_nll == pytest.approx(10 * (many.bayes_nll - many.memorised_nll))


def test_reference_levels_follow_the_environments():
    zones = reference_levels(EnvironmentSpec(label_noise=0.0))
    assert (zones.shape, zones.target_train, zones.target_test) == pytest.approx((1.0, 0.90, 0.70))
    assert (zones.bayes, zones.bayes_nll) == pytest.approx((1.0, 0.0))
    assert zones.erm_train == pytest.approx(0.80)  # of colour alone, whose accuracy is .85 with noise and without
    assert reference_levels(EnvironmentSpec(train_flips=(0.9, 0.8), test_flip=0.1)).erm_train == pytest.approx(
        0.80
    )  # colours exchanged


def test_every_mode_has_an_explanation():
    assert EXPLANATIONS.keys() == FAILURE_MODES.keys()


def test_scores_are_the_named_minimum_and_the_worst_for_a_diverged_run():
    curves = curves_of("start", "invariant")
    assert score("oracle_min", curves, SPEC) == 0.66
    assert score("oracle_success", curves, SPEC) == 1.0
    assert score("oracle_success", curves_of("partial"), SPEC) == 0.0
    curves.nll[-1, 0] = np.inf
    assert {score(name, curves, SPEC) for name in CRITERIA} == {0.0}


def with_validation(curves: Curves, accuracy: float) -> Curves:
    """The same with a fourth environment of that accuracy."""
    wider = {
        name: np.concatenate([getattr(curves, name), getattr(curves, name)[:, :1]], axis=1)
        for name in ("nll", "accuracy", "gradient", "spread", "positive_share")
    }
    wider["accuracy"][:, -1] = accuracy
    names, examples = (*curves.environments, "validation"), (*curves.examples, 10_000)
    return dataclasses.replace(curves, environments=names, examples=examples, **wider)


def test_validation_min_looks_at_the_fourth_environment_and_not_at_the_test():
    curves = with_validation(curves_of("invariant"), 0.65)
    assert score("validation_min", curves, SPEC) == pytest.approx(0.65)


def test_train_only_looks_at_recoloured_training_images_and_at_no_other_environment():
    curves = curves_of("invariant")
    curves.accuracy[:, 2:] = np.nan
    assert score("train_only", curves, SPEC) == pytest.approx(0.66)
    curves.swapped_accuracy[:] = 0.2
    assert score("train_only", curves, SPEC) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("mean", 0.5),
        ("median", 0.55),
        ("worst_seed", 0.1),
        ("iqm", 0.55),
        ("lower_quartile", 0.4),
        ("lower_decile", 0.22),
    ],
)
def test_aggregates_are_the_named_statistics(aggregate, expected):
    assert AGGREGATES[aggregate](np.array([0.1, 0.5, 0.6, 0.8])) == pytest.approx(expected)


# Environments that judge


def test_a_test_environment_that_reverses_nothing_is_extended_to_the_mirror_of_the_training_ones():
    # By colour alone .85 at the mean flip .15 and .5 at .5: .15 at .85. By shape alone .75 everywhere.
    spec = EnvironmentSpec(test_flip=0.5)
    by_colour, by_shape = curves_of("erm_like"), curves_of("invariant")
    by_colour.accuracy[:, [0, 1, 3]] = 0.85, 0.85, 0.5
    by_shape.accuracy[:, [0, 1, 3]] = 0.75
    verdict = diagnose(by_colour, spec, RUN)
    assert verdict.mode == "erm_like"
    assert verdict.evidence["accuracy under the reversed colour"] == pytest.approx(0.15)
    assert diagnose(by_shape, spec, RUN).mode == "invariant"
    assert CRITERIA["oracle_success"].function(by_colour, spec) == 0
    assert CRITERIA["oracle_success"].function(by_shape, spec) == 1


def test_a_test_environment_that_reverses_more_than_the_mirror_is_taken_as_it_is():
    assert reversed_flip(SPEC) == 0.9
    assert reversed_flip(EnvironmentSpec(train_flips=(0.3, 0.15), test_flip=0.8)) == 0.8
    assert reversed_flip(EnvironmentSpec(test_flip=0.3)) == pytest.approx(0.85)
    assert reversed_flip(EnvironmentSpec(train_flips=(0.9, 0.8), test_flip=0.1)) == 0.1
    assert reversed_flip(EnvironmentSpec(train_flips=(0.9, 0.8), test_flip=0.4)) == pytest.approx(0.15)


def test_only_the_source_that_may_look_at_the_test_environments_digits_looks_at_the_held_out_ones():
    curves = with_validation(curves_of("memorised"), 0.5)
    curves.accuracy[:, curves.of("heldout")] = curves.accuracy[:, :2].mean(1)  # as well known as the training ones
    assert diagnose(curves, SPEC, RUN).mode != "memorised"
    assert diagnose(curves, EnvironmentSpec(validation_flip=0.5), RUN, "validation").mode == "memorised"


def test_numbers_of_the_test_environment_do_not_make_a_run_diverge():
    curves = curves_of("invariant")
    curves.nll[:, curves.of("test")] = np.inf
    assert diagnose(curves, SPEC, RUN, "recoloured").mode == "invariant" and not has_diverged(curves)
