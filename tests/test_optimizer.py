"""Adam: many runs' steps against torch's own, and its reset at the anneal epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.diagnosis import PROBES, QUANTITIES
from irm_study.training import Run, TrainingState, train
from irm_study.training.step import adam_step
from irm_study.training.trainer import checkpoints
from tests.reference import train_reference
from tests.test_training import agree, both, largest_difference

SPEC = EnvironmentSpec()
FULL_BATCH = RunConfig(
    hidden=12, epochs=12, anneal_epoch=5, penalty_weight=200.0, learning_rate=3e-3, checkpoint_every=1,
    reset_optimizer=True,
)  # fmt: skip
MINIBATCHES = FULL_BATCH.model_copy(update={"batch_size": 60, "epochs": 3, "anneal_epoch": 1})


def test_every_run_steps_as_torchs_adam_does_also_after_a_reset_of_one():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=generator)
    zeros = torch.zeros_like(start)
    state = TrainingState(
        [Run(number, FULL_BATCH, number) for number in range(3)], [0, 1, 2], 0, [0, 0, 0],
        start.clone(), zeros.clone(), zeros.clone(), [[], [], []], [0.0] * 3, [0] * 3,
    )  # fmt: skip
    rates = torch.tensor([[1e-3], [1e-2], [1e-1]])
    single = [torch.nn.Parameter(row.clone()) for row in start]
    optimizers = [torch.optim.Adam([row], lr=float(rate)) for row, rate in zip(single, rates, strict=True)]
    for step in range(8):
        if step == 3:
            state.reset_optimizer([1])
            optimizers[1] = torch.optim.Adam([single[1]], lr=float(rates[1]))
        gradient = torch.randn(3, 5, generator=generator)
        adam_step(state, gradient, rates)
        for row, optimizer, own in zip(single, optimizers, gradient, strict=True):
            row.grad = own.clone()
            optimizer.step()
    assert state.steps == [8, 5, 8]
    torch.testing.assert_close(state.parameters, torch.stack([row.detach() for row in single]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("config", [FULL_BATCH, MINIBATCHES], ids=["full batch", "minibatches"])
@pytest.mark.parametrize("activation", ["relu", "elu"])
def test_a_reset_is_a_new_adam_at_the_anneal_epoch(few, config, activation):
    agree(*both(config.model_copy(update={"activation": activation}), few))


def test_agreement_fails_without_the_reset(few):
    fast = train([FULL_BATCH.model_copy(update={"reset_optimizer": False})], [3], few, SPEC)[0]
    slow = train_reference(FULL_BATCH, 3, few, SPEC, checkpoints(FULL_BATCH))
    assert largest_difference(fast, slow) > 1e-2


def test_a_reset_at_the_first_epoch_changes_nothing(few):
    first = FULL_BATCH.model_copy(update={"anneal_epoch": 0})
    ours, plain = (train([first.model_copy(update={"reset_optimizer": each})], [0], few, SPEC)[0] for each in (1, 0))
    np.testing.assert_array_equal(ours.nll, plain.nll)


@pytest.mark.parametrize("share_prefix", [True, False])
def test_runs_side_by_side_are_reset_each_at_its_own_anneal_epoch_or_not_at_all(few, share_prefix):
    configs = [
        FULL_BATCH.model_copy(update={"anneal_epoch": anneal, "reset_optimizer": reset})
        for anneal in (2, 5, 8)
        for reset in (True, False)
    ]
    curves = train(configs, [3] * len(configs), few, SPEC, share_prefix=share_prefix)
    for config, fast in zip(configs, curves, strict=True):
        agree(fast, train_reference(config, 3, few, SPEC, checkpoints(config)))
    # One of the two runs with the latest anneal epoch is the trunk, and the other branches off it at that epoch.
    assert sum(each.shared_epochs for each in curves) == (2 * 2 + 2 * 5 + 8 if share_prefix else 0)


@pytest.mark.parametrize("config", [FULL_BATCH, MINIBATCHES], ids=["full batch", "minibatches"])
def test_a_reset_run_goes_on_alike_when_its_neighbour_has_stopped(few, config):
    wild = config.model_copy(update={"learning_rate": 1e30})
    late = config.model_copy(update={"anneal_epoch": config.epochs - 1})
    broken, *going = train([wild, config, late], [3, 3, 4], few, SPEC)
    assert broken.stopped == "diverged"
    for fast, own, seed in zip(going, (config, late), (3, 4), strict=True):
        alone = train([own], [seed], few, SPEC)[0]
        agree(fast, {name: getattr(alone, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)
        agree(fast, train_reference(own, seed, few, SPEC, checkpoints(own)))
