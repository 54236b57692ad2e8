"""One target zone: success rate, failure mode, criterion and stopping rules ask one function and cannot disagree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irm_study.config import (
    EnvironmentSpec,
    RunConfig,
    StudySpec,
    Target,
    TrainSpec,
    read_study,
    run_digest,
    study_digest,
)
from irm_study.diagnosis import CRITERIA, STOPPING_RULES, Curves, diagnose, in_zone, score, zone_margin
from irm_study.errors import ConfigError
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
    assert diagnose(curves, spec, RunConfig(), "validation").mode != "invariant"


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


# A study's own target


def test_the_target_is_the_study_s_for_mode_criterion_and_stopping_rule_alike():
    spec = StudySpec(name="mine", target=Target(min=0.66))
    curves = run_of((0.67, 0.69), 0.665, 0.0, spec.environments)
    assert in_zone(curves, spec.environments)[-1] and not in_zone(curves, EnvironmentSpec())[-1]
    assert diagnose(curves, spec.environments, RunConfig()).mode == "invariant"
    assert STOPPING_RULES["oracle_target"].applies(curves, spec.environments, RunConfig(stop="oracle_target"))
    assert score("oracle_success", curves, spec.environments) == 1
    assert score("zone_margin", curves, spec.environments) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("train", "test", "margin"),
    [((0.71, 0.75), 0.66, 0.01), ((0.71, 0.75), 0.605, 0.005), ((0.69, 0.75), 0.80, -0.01), ((0.80, 0.80), 0.1, -0.5)],
)
def test_the_distance_to_the_zone_is_that_of_the_nearest_edge(train, test, margin):
    spec = EnvironmentSpec()
    assert zone_margin(run_of(train, test, 0.0, spec), spec)[-1] == pytest.approx(margin)


def test_a_target_changes_no_run_but_those_that_stop_by_it():
    plain = EnvironmentSpec()
    other = plain.with_target(Target(train=0.72))
    same, stopping = RunConfig(), RunConfig(stop="oracle_target")
    assert run_digest("mnist", plain, same) == run_digest("mnist", other, same)
    assert run_digest("mnist", plain, stopping) != run_digest("mnist", other, stopping)


def test_a_study_with_another_target_is_another_study():
    assert study_digest(StudySpec(name="mine")) != study_digest(StudySpec(name="mine", target=Target(min=0.66)))


def test_a_target_given_in_python_reaches_the_file_and_the_file_s_reaches_the_environments():
    environments = EnvironmentSpec().with_target(Target(min=0.66))
    assert TrainSpec(environments=environments).target == Target(min=0.66)
    assert TrainSpec(target=Target(test=0.65)).environments.target == Target(test=0.65)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("min = 0.66\ntrain = 0.7", "takes min, or train and test; got both"),
        ("min = 0.4", "target.min: must be greater than 0.5; got 0.4"),
        ("accuracy = 0.7", "target.accuracy: unknown key"),
    ],
)
def test_a_target_that_cannot_be_is_refused(tmp_path, table, message):
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\n[target]\n{table}\n')
    with pytest.raises(ConfigError, match=message):
        read_study(path)
