"""The small functions that a study file names: ramps, penalties, models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from irm_study.config import RunConfig
from irm_study.data import stream
from irm_study.methods import MODELS, PENALTIES, Penalty, logits_of, penalty_weights, risks, signed_gradients
from irm_study.methods.penalties import irmv1, irmv1_split, vrex, vrex_difference, vrex_sample
from irm_study.methods.ramps import RAMPS

RAMPED = RunConfig(epochs=100, anneal_epoch=20, ramp_epochs=40, penalty_weight=5000.0)


@pytest.mark.parametrize("ramp", RAMPS)
@pytest.mark.parametrize(("initial", "full"), [(1.0, 5000.0), (0.0, 5000.0), (1.0, 0.0)])
def test_every_ramp_goes_from_the_initial_to_the_full_weight_without_turning_back(ramp, initial, full):
    config = RAMPED.model_copy(update={"ramp": ramp, "initial_weight": initial, "penalty_weight": full})
    weights = penalty_weights(config)
    assert weights.shape == (100,)
    assert (weights[:20] == initial).all()
    np.testing.assert_allclose(weights[59:], full, rtol=1e-9, atol=1e-9)
    assert (np.diff(weights) * np.sign(full - initial) >= -1e-9).all()


@pytest.mark.parametrize("ramp", RAMPS)
def test_a_ramp_over_one_epoch_is_the_step(ramp):
    config = RAMPED.model_copy(update={"ramp": ramp, "ramp_epochs": 1})
    step = penalty_weights(RAMPED.model_copy(update={"ramp": "step"}))
    np.testing.assert_allclose(penalty_weights(config), step, rtol=1e-9)


@pytest.mark.parametrize(
    ("ramp", "halfway"),
    [
        ("linear", (1 + 5000) / 2),
        ("power", 1 + 4999 * 0.25),
        ("exponential", math.sqrt(2 * 5001) - 1),
        ("cosine", (1 + 5000) / 2),
        ("sigmoid", (1 + 5000) / 2),
    ],
)
def test_halfway_weights_are_the_closed_forms(ramp, halfway):
    weights = penalty_weights(RAMPED.model_copy(update={"ramp": ramp}))
    assert weights[39] == pytest.approx(halfway)


def test_the_power_ramp_is_epoch_to_the_one_point_six():
    config = RunConfig(epochs=99, anneal_epoch=0, initial_weight=0.0, ramp="power", ramp_exponent=1.6,
                       ramp_epochs=99, penalty_weight=99**1.6)  # fmt: skip
    np.testing.assert_allclose(penalty_weights(config), np.arange(1, 100) ** 1.6)


@pytest.mark.parametrize("ramp", RAMPS)
@pytest.mark.parametrize(("name", "other"), [("ramp_epochs", 23), ("ramp_exponent", 3.5)])
def test_a_ramp_declares_which_hyperparameters_act_on_it(ramp, name, other):
    config = RAMPED.model_copy(update={"ramp": ramp})
    changed = (penalty_weights(config) != penalty_weights(config.model_copy(update={name: other}))).any()
    assert changed == (name in RAMPS[ramp].uses)


@pytest.mark.parametrize("ramp", RAMPS)
def test_the_length_of_a_ramp_is_how_many_epochs_the_weight_rises(ramp):
    config = RAMPED.model_copy(update={"ramp": ramp})
    epochs_to_full = int(np.argmax(np.isclose(penalty_weights(config), 5000.0, rtol=1e-12))) - 20
    assert config.ramp_length == (0 if ramp == "step" else 40)
    assert epochs_to_full == max(0, config.ramp_length - 1)


def logits_and_labels(environments=2, examples=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, environments, examples, generator=generator, dtype=torch.float64)
    labels = (torch.rand(3, environments, examples, generator=generator) < 0.5).double()
    return logits, labels


def dummy_gradient(logits, labels):
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits * scale, labels)
    return torch.autograd.grad(loss, scale)[0]


def test_the_signed_gradient_is_autograds():
    logits, labels = logits_and_labels()
    expected = [[dummy_gradient(logits[r, e], labels[r, e]) for e in range(2)] for r in range(3)]
    torch.testing.assert_close(signed_gradients(logits, labels), torch.tensor(expected, dtype=torch.float64))


def test_irmv1_is_the_mean_of_squared_gradients():
    logits, labels = logits_and_labels(3)
    expected = [np.mean([float(dummy_gradient(logits[r, e], labels[r, e])) ** 2 for e in range(3)]) for r in range(3)]
    np.testing.assert_allclose(irmv1(logits, labels), expected)


def test_irmv1_split_is_the_product_of_even_and_odd():
    logits, labels = logits_and_labels()
    expected = [
        np.mean([
            float(dummy_gradient(logits[r, e, 0::2], labels[r, e, 0::2]))
            * float(dummy_gradient(logits[r, e, 1::2], labels[r, e, 1::2]))
            for e in range(2)
        ])
        for r in range(3)
    ]  # fmt: skip
    np.testing.assert_allclose(irmv1_split(logits, labels), expected)


def test_vrex_is_zero_when_risks_agree_and_its_definitions_are_four_two_one():
    logits, labels = logits_and_labels()
    same = logits[:, :1].expand(-1, 2, -1), labels[:, :1].expand(-1, 2, -1)
    assert vrex(*same).abs().max() < 1e-15
    torch.testing.assert_close(vrex_difference(logits, labels), 4 * vrex(logits, labels))
    torch.testing.assert_close(vrex_sample(logits, labels), 2 * vrex(logits, labels))


BESIDE = {"features": (3, 2, 40, 5), "last_weights": (3, 5), "gradients": (3, 2, 17)}
"""Shapes of what a penalty may need beside logits: 5 features, 17 parameters."""


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_gives_one_number_per_run_and_no_run_disturbs_another(penalty):
    generator = torch.Generator().manual_seed(1)
    needs = PENALTIES[penalty].beside
    given = [*logits_and_labels(), *(torch.randn(BESIDE[name], generator=generator).double() for name in needs)]
    together = PENALTIES[penalty].function(*given)
    assert together.shape == (3,)
    alone = torch.cat([PENALTIES[penalty].function(*(each[r : r + 1] for each in given)) for r in range(3)])
    torch.testing.assert_close(together, alone)


def test_needs_are_one_name_or_several_and_logits_are_given_anyway():
    assert Penalty(irmv1).beside == Penalty(irmv1, needs="logits").beside == ()
    assert Penalty(irmv1, needs="features").beside == ("features",)
    assert Penalty(irmv1, needs=("last_weights", "features")).beside == ("last_weights", "features")


def test_group_dro_makes_the_loss_the_highest_risk():
    logits, labels = logits_and_labels(3)
    each = risks(logits, labels)
    torch.testing.assert_close(each.mean(1) + PENALTIES["group_dro"].function(logits, labels), each.max(1).values)


def test_clove_is_zero_where_confidence_is_accuracy():
    """Four predictions of 75%, of which three are right, in each environment."""
    logits = torch.full((1, 2, 4), math.log(3.0), dtype=torch.float64)
    labels = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64).expand(1, 2, 4)
    assert PENALTIES["clove"].function(logits, labels).abs() < 1e-15
    # Sure of all four: each errs by c − r, so that the mean over pairs is the square of the mean error.
    sure = PENALTIES["clove"].function(torch.full_like(logits, math.log(99.0)), labels)
    assert float(sure) == pytest.approx((0.75 - 0.99) ** 2)


def test_v_and_mm_irmv1_of_two_environments_are_their_closed_forms():
    logits, labels = logits_and_labels()
    low, high = signed_gradients(logits, labels).square().sort(1).values.T
    torch.testing.assert_close(PENALTIES["irmv1_min_max"].function(logits, labels), 1.1 * high - 0.1 * low)
    expected = 0.3 * (low + high) / 2 + 0.7 * (high - low) ** 2 / 2
    torch.testing.assert_close(PENALTIES["irmv1_variance"].function(logits, labels), expected)


def test_the_mlp_starts_xavier_uniform_with_zero_biases():
    drawn = MODELS["mlp"].initial(RunConfig(hidden=300), (2, 14, 14), stream(0, "initialisation"))
    bound = math.sqrt(6 / (392 + 300))
    assert drawn["weight1"].shape == (392, 300)
    assert np.abs(drawn["weight1"]).max() <= bound
    assert drawn["weight1"].std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert not drawn["bias1"].any()


@pytest.mark.parametrize(("model", "image"), [("mlp", (2, 14, 14)), ("convnet", (3, 28, 28))])
def test_a_model_gives_each_run_what_it_gives_it_alone(model, image):
    config = RunConfig(model=model, hidden=16, layers=1)
    drawn = [MODELS[model].initial(config, image, stream(seed, "initialisation")) for seed in range(3)]
    parameters = {name: torch.from_numpy(np.stack([each[name] for each in drawn])) for name in drawn[0]}
    images = torch.rand(3, 5, *image, generator=torch.Generator().manual_seed(1))
    features = MODELS[model].features(config, parameters, images)
    assert features.shape == (3, 5, 16)
    together = logits_of(config, parameters, features)
    assert together.shape == (3, 5)
    for run in range(3):
        own = {name: value[run : run + 1] for name, value in parameters.items()}
        alone = logits_of(config, own, MODELS[model].features(config, own, images[run : run + 1]))
        torch.testing.assert_close(together[run : run + 1], alone, atol=1e-5, rtol=1e-5)
