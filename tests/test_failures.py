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
    criteria_for,
    diagnose,
    reference_levels,
    score,
    skill,
)
from irm_study.diagnosis.evidence import reversed_flip
from irm_study.diagnosis.history import has_diverged

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
    "leans_on_colour": {
        "accuracy": (0.68, 0.69, 0.68, 0.5),
        "nll": 0.6,
        "gradient": (0.02, -0.02),
        "spread": 0.9,
        "share": 0.5,
    },
    "penalty_met": {"accuracy": (0.68, 0.69, 0.68, 0.5), "nll": 0.6, "gradient": (0, 0), "spread": 0.9, "share": 0.5},
    "near_miss": {"accuracy": (0.68, 0.69, 0.68, 0.65), "nll": 0.6, "gradient": (0, 0), "spread": 0.9, "share": 0.5},
    "shape_not_learnt": {
        "accuracy": (0.62, 0.63, 0.62, 0.58),
        "nll": 0.65,
        "gradient": (0, 0),
        "spread": 0.5,
        "share": 0.5,
    },
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


@pytest.mark.parametrize("mode", sorted(SHAPES.keys() - {"start"}))
def test_each_mode_follows_from_the_end_of_the_run_and_says_since_when(mode):
    verdict = diagnose(curves_of("start", "start", mode, mode, mode), SPEC, RUN)
    assert verdict.mode == mode
    # A checkpoint is a tenth of the run here: what is near the end moved from the start over the last fifth.
    moved = mode in ("leans_on_colour", "penalty_met", "near_miss", "shape_not_learnt")
    assert verdict.since == (30 if moved else 20)
    assert verdict.evidence and all(math.isfinite(value) for value in verdict.evidence.values())
    assert EXPLANATIONS[mode] in verdict.explanation


def test_a_run_that_was_in_the_zone_and_left_it_has_relapsed():
    verdict = diagnose(curves_of("start", "invariant", "penalty_met", "penalty_met"), SPEC, RUN)
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
    curves = curves_of("start", "penalty_met")
    curves.nll[-1, :2] = 1e10
    assert diagnose(curves, SPEC, RUN).mode == "diverged"
    assert all(score(name, curves, SPEC) == of_accuracy_0(name) for name in criteria_for(SPEC))


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
        ({"spread": 0.3, "nll": 0.685}, "collapsed"), ({"spread": 0.3, "nll": 0.66}, "shape_not_learnt"),
        ({"spread": 0.04}, "collapsed"), ({"spread": 0.3, "test": 0.7}, "anti_colour"),
        ({"spread": 0.3, "nll": 0.6, "share": 0.97}, "collapsed"),
        ({"spread": 0.04, "train": 0.845, "test": 0.104}, "erm_like"),  # small logits that follow colour all the same
        ({"spread": 0.3, "nll": 0.6, "share": 0.97, "train": 0.65}, "leans_on_colour"),
    ],
)  # fmt: skip
def test_a_collapse_is_a_constant_or_one_class_or_knowing_nothing(changes, mode):
    curves = curves_of("collapsed")
    curves.positive_share[:] = changes.get("share", 0.5)
    curves.spread[:] = changes["spread"]
    curves.nll[:] = changes.get("nll", 0.69)
    curves.accuracy[:, :3] = changes.get("train", 0.5)
    curves.accuracy[:, 3] = changes.get("test", 0.5)
    curves.gradient[:, :2] = 0.05, -0.05
    assert diagnose(curves, SPEC, RUN).mode == mode


def test_memorising_needs_a_gap_to_held_out_examples():
    curves = curves_of("memorised")
    curves.accuracy[:, 2] = 0.91
    assert diagnose(curves, SPEC, RUN).mode != "memorised"


def test_erm_needs_a_training_accuracy_that_shape_cannot_give():
    curves = curves_of("erm_like")
    curves.accuracy[:, :3] = 0.78
    assert diagnose(curves, SPEC, RUN).mode == "leans_on_colour"


@pytest.mark.parametrize("mode", sorted(SHAPES.keys() - {"start"}))
def test_recoloured_training_images_alone_judge_by_the_same_rules(mode):
    curves = curves_of("start", mode, mode)
    curves.accuracy[:, 2:] = np.nan
    assert diagnose(curves, SPEC, RUN, "recoloured").mode == mode


def test_a_validation_environment_s_accuracy_is_extrapolated_to_the_test_flip():
    # Accuracy is linear in the flip: .71 at .15 and .69 at .5 give .6671 at .9, inside the zone; .63 gives .539.
    spec = EnvironmentSpec(validation_flip=0.5)
    for accuracy, mode in ((0.69, "invariant"), (0.63, "penalty_met")):
        curves = with_validation(curves_of("invariant"), accuracy)
        curves.accuracy[:, curves.of("test")] = np.nan
        verdict = diagnose(curves, spec, RUN, "validation")
        assert verdict.mode == mode
        expected = 0.715 + (accuracy - 0.715) * (0.9 - 0.15) / (0.5 - 0.15)
        assert verdict.evidence["accuracy under the reversed colour"] == pytest.approx(expected)


def test_the_two_numbers_are_the_line_through_held_out_and_test_accuracy():
    # Accuracy .74 at a flip of .15 and .44 at .9 fall by .4 a unit: .60 at .5. Training is known two points better.
    curves = curves_of("invariant")
    curves.accuracy[:] = 0.77, 0.75, 0.74, 0.44
    told = skill(curves, SPEC)
    assert (told.shape[0], told.colour[0], told.memorised[0]) == pytest.approx((0.60, 0.40, 0.02))
    assert told.accuracy(0.9)[0] == pytest.approx(0.44)
    # By the line .72 and .76 in the training environments, .74 and .78 with what was memorised.
    assert told.residual[0] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ((0.5, 0.5), (0.5, 0.0)),
        ((0.85, 0.10), (0.5, 1.0)),
        ((0.75, 0.75), (0.75, 0.0)),
        ((0.70, 0.60), (0.6533, 0.1333)),
    ],
)
def test_known_predictors_stand_where_they_should_in_the_plane(accuracy, expected):
    curves = curves_of("invariant")
    curves.accuracy[:] = accuracy[0], accuracy[0], *accuracy
    told = skill(curves, SPEC)
    assert (told.shape[0], told.colour[0]) == pytest.approx(expected, abs=1e-4)


def test_a_validation_environment_off_the_line_is_told_by_the_residual():
    spec = EnvironmentSpec(validation_flip=0.5)
    curves = with_validation(curves_of("invariant"), 0.6)
    curves.accuracy[:, :4] = 0.7
    assert skill(curves, spec).residual[0] == pytest.approx(0.1)


def test_without_the_test_environment_the_line_begins_at_the_training_accuracy():
    curves = curves_of("invariant")
    curves.accuracy[:, :2], curves.swapped_accuracy[:] = 0.72, 0.42
    curves.accuracy[:, 2:] = np.nan
    told = skill(curves, SPEC, "recoloured")
    assert (told.shape[0], told.colour[0]) == pytest.approx((0.58, 0.40))
    assert np.isnan(told.memorised[0])


def test_what_is_held_out_of_the_training_environments_is_extrapolated_over_their_flips():
    # .71 at a flip of .2 and .72 at .1: a point less for each tenth of a flip, .64 at .9.
    spec = EnvironmentSpec(heldout_examples=1000)
    curves = with_parts(curves_of("invariant"), 0.71, 0.72)
    curves.accuracy[:, curves.of("test")] = np.nan
    verdict = diagnose(curves, spec, RUN, "heldout")
    assert verdict.mode == "invariant"
    assert verdict.evidence["accuracy under the reversed colour"] == pytest.approx(0.64)
    assert score("zone_margin_heldout", curves, spec) == pytest.approx(min(0.71 - 0.70, 0.64 - 0.60))
    assert diagnose(with_parts(curves, 0.69, 0.74), spec, RUN, "heldout").mode != "invariant"  # .35 at .9


def with_parts(curves: Curves, first: float, second: float) -> Curves:
    """The same with a part held out of each of two training environments, of those accuracies."""
    curves = without_parts(curves)
    wider = {
        name: np.concatenate([getattr(curves, name), getattr(curves, name)[:, :2]], axis=1)
        for name in ("nll", "accuracy", "gradient", "spread", "positive_share")
    }
    wider["accuracy"][:, -2:] = first, second
    names, examples = (*curves.environments, "heldout1", "heldout2"), (*curves.examples, 1000, 1000)
    return dataclasses.replace(curves, environments=names, examples=examples, **wider)


def without_parts(curves: Curves) -> Curves:
    kept = [place for place, name in enumerate(curves.environments) if name not in ("heldout1", "heldout2")]
    cut = {name: getattr(curves, name)[:, kept] for name in ("nll", "accuracy", "gradient", "spread", "positive_share")}
    names, examples = (tuple(each[place] for place in kept) for each in (curves.environments, curves.examples))
    return dataclasses.replace(curves, environments=names, examples=examples, **cut)


def test_a_run_that_still_moves_at_its_end_is_unsettled():
    curves = curves_of(*["penalty_met"] * 9, "shape_not_learnt")
    assert diagnose(curves, SPEC, RUN).mode == "unsettled"
    assert diagnose(curves_of(*["penalty_met"] * 5, *["shape_not_learnt"] * 5), SPEC, RUN).mode != "unsettled"


def test_shape_that_was_known_before_is_lost_and_else_was_not_learnt():
    # S is .66 first (accuracy .68 at .15 and .64 at .9), and .60 from the middle on.
    known, less = curves_of(*["near_miss"] * 4, *["shape_not_learnt"] * 6), curves_of(*["shape_not_learnt"] * 10)
    known.accuracy[:4] = less.accuracy[:4] + 0.06
    assert diagnose(known, SPEC, RUN).mode == "shape_lost"
    assert diagnose(known, SPEC, RUN).evidence["highest S"] == pytest.approx(skill(known, SPEC).shape[0])
    assert diagnose(less, SPEC, RUN).mode == "shape_not_learnt"


def test_a_near_miss_says_how_far_from_which_edge_in_standard_errors():
    verdict = diagnose(curves_of("near_miss"), SPEC, RUN)
    assert verdict.evidence["lowest train accuracy above the zone's edge"] == pytest.approx(-0.02)
    expected = -0.02 / math.sqrt(0.7 * 0.3 / 25_000)
    assert verdict.evidence["lowest train accuracy in standard errors"] == pytest.approx(expected)
    assert verdict.evidence["accuracy under the reversed colour above the zone's edge"] == pytest.approx(0.05)


def test_reference_levels_are_the_fields_numbers():
    zones = reference_levels(SPEC)
    assert zones.bayes_nll == pytest.approx(0.3545, abs=5e-5)
    found = (zones.shape, zones.bayes, zones.target_train, zones.target_test, zones.erm_train)
    assert found == pytest.approx((0.75, 0.85, 0.70, 0.60, 0.80))
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
    assert score("oracle_success", curves_of("near_miss"), SPEC) == 0.0
    curves.nll[-1, 0] = np.inf
    assert all(score(name, curves, SPEC) == of_accuracy_0(name) for name in criteria_for(SPEC))


def of_accuracy_0(criterion: str) -> float:
    """Below any run that learnt something: what no accuracy in any environment scores."""
    return -0.7 if criterion.startswith("zone_margin") else 0.0


@pytest.mark.parametrize("criterion", criteria_for(SPEC))
def test_a_constant_which_is_right_half_of_the_time_scores_below_an_honest_run(criterion):
    weak = curves_of("shape_not_learnt")
    weak.accuracy[:] = 0.45
    weak.swapped_accuracy[:] = 0.45
    constant = score(criterion, curves_of("collapsed"), SPEC)
    assert constant == pytest.approx(of_accuracy_0(criterion))
    assert constant < score(criterion, weak, SPEC) or criterion == "oracle_success"


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
