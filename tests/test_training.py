"""The trainer against the slow reference, along whole curves, on real digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.diagnosis import PROBES, QUANTITIES
from irm_study.methods import penalties
from irm_study.training import network, program, train
from irm_study.training.trainer import checkpoints
from tests.reference import train_reference

SHORT = RunConfig(hidden=29, epochs=24, anneal_epoch=8, penalty_weight=300.0, learning_rate=3e-3, checkpoint_every=1)
SPEC = EnvironmentSpec()


def both(config, digits, spec=SPEC, seed=3):
    fast = train([config], [seed], digits, spec)[0]
    return fast, train_reference(config, seed, digits, spec, checkpoints(config))


def largest_difference(fast, slow) -> float:
    return max(np.abs(getattr(fast, name) - slow[name]).max() for name in QUANTITIES if name != "accuracy")


def agree(fast, slow, tolerance=2e-4):
    for name in (*QUANTITIES, *PROBES):
        # One example on the border between classes is 1/480 of an accuracy; logits are compared by the rest.
        allowed = 5e-3 if name in ("accuracy", "positive_share", *PROBES) else tolerance
        np.testing.assert_allclose(getattr(fast, name), slow[name], atol=allowed, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("ramp", ["step", "linear", "power"])
def test_fast_and_slow_agree_along_the_whole_curve(few, ramp):
    agree(*both(SHORT.model_copy(update={"ramp": ramp, "ramp_epochs": 9}), few))


def test_the_digits_own_test_set_is_measured_as_the_test_environment_is(mnist):
    """Both are draws of one distribution, so that a network's accuracies differ by what 10,000 examples leave open."""
    config = RunConfig(hidden=8, epochs=30, anneal_epoch=29, learning_rate=0.01, penalty_weight=1.0)
    (curves,) = train([config], [0], mnist, EnvironmentSpec(unseen_examples=10_000))
    assert curves.examples[-1] == 10_000
    test, unseen = (curves.accuracy_in(name)[-1] for name in ("test", "unseen"))
    assert abs(test - unseen) < 4 * (2 * 0.25 / 10_000) ** 0.5
    assert test < 0.3  # which says something: not that both are chance


def test_fast_and_slow_agree_on_full_mnist(mnist):
    agree(*both(SHORT.model_copy(update={"epochs": 4, "anneal_epoch": 2}), mnist))


def test_agreement_fails_without_the_closed_form_penalty(few, monkeypatch):
    monkeypatch.setitem(
        penalties.PENALTIES, "irmv1", penalties.Penalty(lambda logits, labels: 0.0 * logits.mean((1, 2)))
    )
    assert largest_difference(*both(SHORT, few)) > 1e-2


def test_agreement_fails_without_the_division_by_the_weight(few):
    undivided = SHORT.model_copy(update={"rescale": False, "l2_weight": 0.05})
    fast = train([undivided], [3], few, SPEC)[0]
    slow = train_reference(undivided.model_copy(update={"rescale": True}), 3, few, SPEC, checkpoints(SHORT))
    assert largest_difference(fast, slow) > 1e-2


def test_agreement_fails_without_the_decay_of_biases(few, monkeypatch):
    config = SHORT.model_copy(update={"l2_weight": 0.05})
    agree(*both(config, few))
    plain = network.network_for

    class BiasesSpared:
        """Adds back to the gradient what the trainer takes off the biases."""

        def __init__(self, *arguments):
            self.network = plain(*arguments)

        def __getattr__(self, name):
            return getattr(self.network, name)

        def forward(self, parameters, inputs):
            logits, pullback = self.network.forward(parameters, inputs)

            def spared(cotangent):
                gradient = pullback(cotangent)
                views = self.network.layout.views(gradient)
                for name, values in self.network.layout.views(parameters).items():
                    views[name][:, -1] -= 2 * config.l2_weight * values[:, -1]  # a weight's last row is its bias
                return gradient

            return logits, spared

    monkeypatch.setattr(program, "network_for", BiasesSpared)
    assert largest_difference(*both(config.model_copy(update={"rescale": False}), few)) > 1e-3


def test_a_batch_gives_what_separate_runs_give(few):
    configs = [
        SHORT,
        SHORT.model_copy(update={"learning_rate": 1e-2, "l2_weight": 0.0, "anneal_epoch": 3}),
        SHORT.model_copy(update={"penalty_weight": 1e5, "ramp": "cosine"}),
    ]
    together = train(configs, [0, 1, 7], few, SPEC)
    for config, seed, batched in zip(configs, [0, 1, 7], together, strict=True):
        alone = train([config], [seed], few, SPEC)[0]
        np.testing.assert_array_equal(batched.penalty_weight, alone.penalty_weight)
        agree(batched, {name: getattr(alone, name) for name in (*QUANTITIES, *PROBES)})


def test_the_same_seed_repeats_and_another_differs(few):
    first, again, other = (train([SHORT], [seed], few, SPEC)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.nll, again.nll)
    assert np.abs(first.nll - other.nll).max() > 1e-3


def test_threads_change_nothing_but_rounding(few):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = train([SHORT], [2], few, SPEC)[0]
        torch.set_num_threads(2)
        two = train([SHORT], [2], few, SPEC)[0]
    finally:
        torch.set_num_threads(threads)
    agree(one, {name: getattr(two, name) for name in (*QUANTITIES, *PROBES)})


def test_a_wild_learning_rate_diverges_into_a_row_and_spares_its_neighbour(few):
    wild = SHORT.model_copy(update={"learning_rate": 1e30})
    broken, sound = train([wild, SHORT], [3, 3], few, SPEC)
    assert not np.isfinite(broken.nll[-1]).all()
    agree(sound, {name: getattr(train([SHORT], [3], few, SPEC)[0], name) for name in (*QUANTITIES, *PROBES)})


def test_runs_of_different_programs_in_one_batch_train_as_they_would_alone(few):
    other = SHORT.model_copy(update={"hidden": 30, "epochs": 12})
    mixed = train([SHORT, other, SHORT], [0, 1, 2], few, SPEC)
    alone = train([other], [1], few, SPEC)[0]
    assert [curves.epoch[-1] for curves in mixed] == [24, 12, 24]
    agree(mixed[1], {name: getattr(alone, name) for name in (*QUANTITIES, *PROBES)})


def test_checkpoints_are_the_first_the_last_and_even_between():
    assert checkpoints(RunConfig(epochs=501))[:3] == [0, 10, 20]
    assert checkpoints(RunConfig(epochs=501))[-2:] == [500, 501]
    assert checkpoints(RunConfig(epochs=7, checkpoint_every=3)) == [0, 3, 6, 7]
