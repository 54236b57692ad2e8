"""One target zone: success rate, failure mode, criterion and stopping rules ask one function and cannot disagree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.diagnosis import CRITERIA, STOPPING_RULES, Curves, diagnose, in_zone
from irm_study.results import judge

FRACTION = st.floats(0, 1, allow_nan=False)
FLIPS = st.sampled_from([0.5, 0.6, 0.8, 0.9, 1.0])


def run_of(train: tuple[float, float], test: float, validation: float, spec: EnvironmentSpec) -> Curves:
    """A run of healthy logits at two checkpoints, the last with the given accuracies."""
    values = {"train1": train[0], "train2": train[1], "heldout": np.mean(train), "test": test, "validation": validation}
    accuracy = np.array([[0.5] * len(spec.names), [values[name] for name in spec.names]])
    ones = np.ones_like(accuracy)
    return Curves(
        environments=spec.names, epoch=np.array([0, 100]), penalty_weight=np.ones(2), nll=0.6 * ones,
        accuracy=accuracy, gradient=0 * ones, spread=0.9 * ones, positive_share=0.5 * ones,
        grey_accuracy=accuracy[:, 2], swapped_accuracy=accuracy[:, 3], swap_share=0 * accuracy[:, 0],
        examples=(25_000,) * len(spec.names),
    )  # fmt: skip


@given(FRACTION, FRACTION, FRACTION, FRACTION, FLIPS, FLIPS)
def test_mode_criterion_and_stopping_rules_agree_with_the_zone_on_every_run(
    first, second, test, validation, at, fourth
):
    spec = EnvironmentSpec(test_flip=at, validation_flip=fourth)
    curves = run_of((first, second), test, validation, spec)
    for source, rule in (("test", "oracle_target"), ("validation", "validation_target")):
        inside = bool(in_zone(curves, spec, source)[-1])
        config = RunConfig(stop=rule)
        assert (diagnose(curves, spec, config, source).mode == "invariant") == inside
        assert STOPPING_RULES[rule].applies(curves, spec, config) == inside
    inside = bool(in_zone(curves, spec)[-1])
    assert CRITERIA["oracle_success"].function(curves, spec) == inside
    assert (judge(RunConfig(), curves, spec, "oracle_success")["failure_mode"] == "invariant") == inside


def test_a_run_better_under_the_reversed_colour_is_a_success_like_any_other():
    spec = EnvironmentSpec()
    curves = run_of((0.71, 0.72), 0.78, 0.0, spec)
    assert diagnose(curves, spec, RunConfig()).mode == "invariant"
    assert CRITERIA["oracle_success"].function(curves, spec) == 1


def test_a_validation_environment_at_half_reversal_is_extrapolated_for_the_stopping_rule_as_for_the_diagnosis():
    spec = EnvironmentSpec(validation_flip=0.5)
    curves = run_of((0.71, 0.71), 0.0, 0.61, spec)
    # From 0.71 at a flip of 0.15 to 0.61 at 0.5 the line falls to 0.4957 at 0.9.
    assert pytest.approx(0.4957, abs=1e-4) == 0.71 - (0.71 - 0.61) * (0.9 - 0.15) / (0.5 - 0.15)
    assert not STOPPING_RULES["validation_target"].applies(curves, spec, RunConfig(stop="validation_target"))
    assert diagnose(curves, spec, RunConfig(), "validation").mode == "partial"


@pytest.mark.parametrize(
    ("train", "test", "inside"),
    [((0.70, 0.70), 0.60, True), ((0.699, 0.8), 0.7, False), ((0.8, 0.8), 0.599, False), ((0.75, 0.75), 0.75, True)],
)
def test_the_zone_of_the_authors_environments_is_seventy_and_sixty_percent(train, test, inside):
    spec = EnvironmentSpec()
    assert in_zone(run_of(train, test, 0.0, spec), spec).tolist() == [False, inside]


def test_a_number_that_is_not_finite_is_in_no_zone():
    spec = EnvironmentSpec()
    assert not in_zone(run_of((np.nan, 0.8), 0.7, 0.0, spec), spec).any()
    assert not in_zone(run_of((0.8, 0.8), np.nan, 0.0, spec), spec).any()
