"""Every penalty, model and protocol against the slow reference; stopping; trunks trained once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from irm_study.config import FAST_ACTIVATIONS, EnvironmentSpec, RunConfig
from irm_study.data import build_environments, environments
from irm_study.diagnosis import PROBES, QUANTITIES, diagnose, stopping
from irm_study.methods import PENALTIES, Penalty
from irm_study.training import mlp_loops as loops
from irm_study.training import mlp_parameters, network, program, sorted_examples, sorted_mlp, step, train, trainer
from irm_study.training.trainer import checkpoints
from tests.reference import train_reference
from tests.test_training import agree

AUTHORS = RunConfig(hidden=12, epochs=10, anneal_epoch=4, penalty_weight=200.0, learning_rate=3e-3, checkpoint_every=1)
SEED = AUTHORS.model_copy(
    update={
        "batch_size": 60, "across": "sum", "rescale": False, "l2_weight": 0.0, "initial_weight": 0.0, "anneal_epoch": 0,
        "ramp": "power", "ramp_exponent": 1.6, "ramp_epochs": 99, "penalty_weight": 99**1.6, "epochs": 3,
    }
)  # fmt: skip
SMALL = EnvironmentSpec()
LARGE = EnvironmentSpec(resolution=28, channels="rgb", normalise=True, split="blocks")


def compare(config, digits, spec):
    fast = train([config], [4], digits, spec)[0]
    agree(fast, train_reference(config, 4, digits, spec, checkpoints(config)), tolerance=5e-4)


@pytest.mark.parametrize("protocol", [AUTHORS, SEED], ids=["full batch", "minibatches"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_penalty_agrees_with_the_reference(few, penalty, protocol):
    compare(protocol.model_copy(update={"penalty": penalty}), few, SMALL)


@pytest.mark.parametrize("protocol", [AUTHORS, SEED], ids=["full batch", "minibatches"])
@pytest.mark.parametrize("penalty", ["irmv1", "irmv1_split", "vrex", "fishr", "iga"])
def test_the_convnet_agrees_with_the_reference(few, penalty, protocol):
    digits = dataclasses.replace(few, images=few.images[:250], labels=few.labels[:250], test_digits=50)
    changed = {"model": "convnet", "layers": 1, "penalty": penalty, "epochs": 3, "batch_size": 40}
    if protocol is AUTHORS:
        changed |= {"batch_size": None, "anneal_epoch": 1}
    compare(protocol.model_copy(update=changed), digits, LARGE)


@pytest.mark.parametrize("protocol", [AUTHORS, SEED], ids=["full batch", "minibatches"])
@pytest.mark.parametrize("penalty", ["irmv1", "fishr", "iga"])
def test_a_bottleneck_beside_every_penalty_agrees_with_the_reference(few, penalty, protocol):
    compare(protocol.model_copy(update={"penalty": penalty, "bottleneck_weight": 0.3}), few, SMALL)


@pytest.mark.parametrize("penalty", ["fishr", "iga"])
def test_runs_of_what_needs_a_network_fork_and_train_side_by_side_as_alone(few, penalty):
    configs = [
        AUTHORS.model_copy(update={"penalty": penalty, "anneal_epoch": anneal, "penalty_weight": weight})
        for anneal in (2, 5)
        for weight in (30.0, 200.0)
    ]
    seeds = [1, 1, 1, 2]
    for config, seed, together in zip(configs, seeds, train(configs, seeds, few, SMALL), strict=True):
        alone = train([config], [seed], few, SMALL, share_prefix=False)[0]
        agree(together, {name: getattr(alone, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)


def test_a_penalty_of_the_last_weights_is_differentiated_through_them(few, monkeypatch):
    """The squared norm of the last layer, written as a penalty: twice its weights, and nothing else."""
    norm = Penalty(lambda logits, labels, weights, features: weights.square().sum(-1), ("last_weights", "features"))
    monkeypatch.setitem(PENALTIES, "norm", norm)
    data, config = build_environments(few, SMALL, [0, 1]), AUTHORS.model_copy(update={"penalty": "norm"})
    plain = network.AutogradNetwork(config, data)
    parameters = plain.initial([0, 1])
    outputs, pullback = network.outputs_of(plain, parameters, data.train)
    assert outputs["features"].shape == (2, 2, 960, 12)
    ones, weight = torch.ones(2), torch.tensor([1.0, 10.0])
    with_penalty, without = (
        step.outputs_gradient(step.objective_of(config), outputs, data.train.labels, each, ones)
        for each in (weight, 0 * weight)
    )
    wanted = torch.zeros_like(parameters)
    plain.layout.views(wanted)["weight3"].copy_(2 * weight[:, None, None] * plain.layout.views(parameters)["weight3"])
    found = pullback({name: with_penalty[name] - without[name] for name in outputs})
    torch.testing.assert_close(found, wanted)


def test_a_network_that_gives_features_is_trained_only_where_they_are_needed(few):
    data = build_environments(few, SMALL, [0])
    for changed, kind in [
        ({}, sorted_mlp.SortedMlp), ({"penalty": "mm_rex"}, sorted_mlp.SortedMlp),
        ({"penalty": "fishr"}, network.AutogradNetwork), ({"bottleneck_weight": 1.0}, network.AutogradNetwork),
    ]:  # fmt: skip
        assert type(network.network_for(AUTHORS.model_copy(update=changed), data)) is kind


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "gelu", "silu"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_other_depths_and_activations_agree_with_the_reference(few, layers, activation):
    compare(AUTHORS.model_copy(update={"layers": layers, "activation": activation, "epochs": 5}), few, SMALL)


@pytest.mark.parametrize(
    "spec",
    [
        EnvironmentSpec(channels="grey"),
        EnvironmentSpec(channels="rgb"),
        EnvironmentSpec(normalise=True),
        EnvironmentSpec(train_flips=(0.3, 0.2, 0.1), validation_flip=0.5),
    ],
    ids=["grey", "rgb", "normalised", "three environments and validation"],
)
def test_other_environments_agree_with_the_reference(few, spec):
    compare(AUTHORS.model_copy(update={"epochs": 5}), few, spec)


def test_sorting_dropped_pixels_and_padding_change_nothing_but_the_last_bits(few, monkeypatch):
    """The sorted network against torch's differentiation of the plain one, on all pixels, unsorted."""
    sorted_way = train([AUTHORS] * 3, [0, 1, 2], few, SMALL)
    monkeypatch.setattr(program, "network_for", network.AutogradNetwork)
    plain_way = train([AUTHORS] * 3, [0, 1, 2], few, SMALL)
    for ours, plain in zip(sorted_way, plain_way, strict=True):
        agree(ours, {name: getattr(plain, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)


@pytest.mark.parametrize("digits_a_block", [50, 10_000])
def test_blocks_hold_every_image_whole_but_for_pixels_that_are_empty_in_all_of_them(few, digits_a_block, monkeypatch):
    monkeypatch.setitem(sorted_examples.BLOCK_ROWS, torch.float32, digits_a_block)
    data = build_environments(few, SMALL, [0, 1])
    network = sorted_mlp.SortedMlp(AUTHORS, data)
    inputs = network.inputs(data.train)
    wanted = data.pixels.flatten(1)[data.train.rows.flatten(1)]
    found = torch.zeros(2, inputs.rows, wanted.shape[2], dtype=torch.uint8)
    channels = torch.full((2, inputs.rows), -2)
    for block in inputs.blocks:
        assert (block.images[..., 0] == 1).all() and (block.images[..., -1] > 0).any()
        pixels = network.images.lit[: block.images.shape[2] - 1]
        found[block.runs, block.rows, pixels] = block.images[..., 1:]
        channels[block.runs, block.rows] = block.channel
    for run in range(2):
        assert (found[run, inputs.position[run]] == wanted[run]).all()
        assert (channels[run, inputs.position[run]] == data.train.colours.flatten(1)[run]).all()
    if digits_a_block == 50:
        assert sum(block.images.numel() for block in inputs.blocks) < 0.75 * 2 * inputs.rows * len(network.images.lit)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
def test_gradients_of_any_weights_and_biases_are_those_of_torch(few, layers, activation):
    config = AUTHORS.model_copy(update={"layers": layers, "activation": activation})
    data = build_environments(few, SMALL, [0, 1])
    network = sorted_mlp.SortedMlp(config, data)
    generator = torch.Generator().manual_seed(0)
    flat = 0.3 * torch.randn(2, network.size, generator=generator)
    logits, pullback = network.forward(flat, network.inputs(data.train))
    cotangent = torch.randn(logits.shape, generator=generator) / logits[0].numel()
    ours = pullback(cotangent)

    flat.requires_grad_()
    weights = network.layout.views(flat)
    images = data.pixels.flatten(1)[:, network.images.lit][data.train.rows.flatten(1)] / 255
    colours = data.train.colours.flatten(1)
    painted = torch.cat([images * (colours == channel)[..., None] for channel in range(2)], dim=2)
    act = getattr(torch, activation)
    flowing = act(weights["first"][:, :1] + painted @ weights["first"][:, 1:])
    for number in range(2, layers + 1):
        flowing = act(weights[f"bias{number}"] + flowing @ weights[f"weight{number}"])
    expected = (weights["last bias"] + flowing @ weights["last"]).view(logits.shape)
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-4, atol=1e-5)
    gradient = torch.autograd.grad(expected, flat, cotangent)[0]
    torch.testing.assert_close(ours, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, 8, 64])
def test_any_padding_gives_the_same_curve(few, width, monkeypatch):
    usual = train([AUTHORS], [0], few, SMALL)[0]
    monkeypatch.setattr(mlp_parameters, "VECTOR_WIDTH", width)
    other = train([AUTHORS], [0], few, SMALL)[0]
    agree(other, {name: getattr(usual, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)


@pytest.mark.parametrize("block", [50, 10_000])
def test_any_block_size_gives_the_same_curve(few, block, monkeypatch):
    usual = train([AUTHORS] * 2, [0, 1], few, SMALL)
    monkeypatch.setitem(sorted_examples.BLOCK_ROWS, torch.float32, block)
    for ours, theirs in zip(train([AUTHORS] * 2, [0, 1], few, SMALL), usual, strict=True):
        agree(ours, {name: getattr(theirs, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)


def test_runs_whose_products_are_taken_as_one_train_as_those_apart(few, monkeypatch):
    """As on a GPU: one block of all runs and rows."""
    apart = train([AUTHORS] * 3, [0, 1, 2], few, SMALL)
    monkeypatch.setattr(sorted_examples.SortedImages, "_groups", lambda self, runs: [slice(0, runs)])
    monkeypatch.setitem(sorted_examples.BLOCK_ROWS, torch.float32, 10**6)
    for ours, theirs in zip(train([AUTHORS] * 3, [0, 1, 2], few, SMALL), apart, strict=True):
        agree(ours, {name: getattr(theirs, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
def test_the_loops_run_by_python_compute_the_same(few, layers, activation, monkeypatch):
    """They are where TorchScript is no more."""
    config = AUTHORS.model_copy(update={"layers": layers, "activation": activation, "epochs": 4})
    assert isinstance(loops.scripted(loops.backward), torch.jit.ScriptFunction)
    scripted = train([config] * 2, [0, 1], few, SMALL)
    monkeypatch.setattr(loops, "scripted", lambda function: function)
    for ours, theirs in zip(train([config] * 2, [0, 1], few, SMALL), scripted, strict=True):
        for name in (*QUANTITIES, *PROBES):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_training_leaves_torch_the_threads_that_it_had(few):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train([AUTHORS.model_copy(update={"epochs": 3})], [0], few, SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Trunks trained once


def grid():
    """Nine configurations over two seeds that share a trunk, and one of another learning rate."""
    configs = [
        AUTHORS.model_copy(update={"anneal_epoch": anneal, "penalty_weight": weight})
        for anneal in (0, 3, 7)
        for weight in (10.0, 1e3, 1e5)
    ]
    configs.append(AUTHORS.model_copy(update={"learning_rate": 1e-2}))
    return [config for config in configs for _ in range(2)], [0, 1] * len(configs)


def test_a_shared_trunk_leaves_every_curve_as_it_is_and_reports_what_it_saved(few):
    configs, seeds = grid()
    shared = train(configs, seeds, few, SMALL)
    apart = train(configs, seeds, few, SMALL, share_prefix=False)
    for ours, theirs in zip(shared, apart, strict=True):
        agree(ours, {name: getattr(theirs, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)
        np.testing.assert_array_equal(ours.penalty_weight, theirs.penalty_weight)
    # Of each seed's nine runs one trains the trunk; the others take over all epochs before their anneal.
    assert sum(each.shared_epochs for each in shared) == 2 * (0 * 3 + 3 * 3 + 7 * 2)
    assert sum(each.shared_epochs for each in apart) == 0


def test_a_trunk_is_really_trained_once(few, monkeypatch):
    steps = []
    plain = step.adam_step

    def counted(state, *rest):
        steps.append(len(state.runs))
        plain(state, *rest)

    monkeypatch.setattr(program, "adam_step", counted)
    configs, seeds = grid()
    saved = sum(each.shared_epochs for each in train(configs, seeds, few, SMALL))
    assert sum(steps) == len(configs) * AUTHORS.epochs - saved


# Stopping


def test_a_learning_rate_of_a_thousand_diverges_into_a_row(few):
    curves = train([AUTHORS.model_copy(update={"learning_rate": 1e3})], [3], few, SMALL)[0]
    assert diagnose(curves, SMALL, AUTHORS).mode == "diverged"


def test_a_diverged_run_is_given_up_and_its_neighbour_goes_on(few):
    wild = AUTHORS.model_copy(update={"learning_rate": 1e30})
    broken, sound = train([wild, AUTHORS], [3, 3], few, SMALL)
    assert broken.stopped == "diverged" and broken.epoch[-1] < AUTHORS.epochs
    assert sound.stopped == "" and sound.epoch[-1] == AUTHORS.epochs
    alone = train([AUTHORS], [3], few, SMALL)[0]
    agree(sound, {name: getattr(alone, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)


def test_a_collapsed_run_is_given_up_only_when_asked_and_after_several_checkpoints(few):
    hopeless = AUTHORS.model_copy(
        update={"penalty_weight": 1.0, "anneal_epoch": 0, "learning_rate": 0.02, "epochs": 90, "l2_weight": 0.1}
    )
    given_up = train([hopeless], [0], few, SMALL)[0]
    trained = train([hopeless.model_copy(update={"give_up": False})], [0], few, SMALL)[0]
    assert given_up.stopped == "collapsed"
    assert trained.stopped == "" and trained.epoch[-1] == 90
    length = len(given_up.epoch)
    assert length < len(trained.epoch)
    np.testing.assert_array_equal(given_up.nll, trained.nll[:length])


def test_the_oracle_stop_ends_a_run_in_the_zone_and_keeps_its_row(few):
    # Without colour and label noise the shape is learnt soon and surely.
    easy = EnvironmentSpec(channels="grey", label_noise=0.0)
    config = AUTHORS.model_copy(
        update={"epochs": 60, "stop": "oracle_target", "penalty_weight": 1.0, "learning_rate": 0.01}
    )
    stopped = train([config], [0], few, easy)[0]
    assert stopped.stopped == "oracle_target"
    # The zone without noise: four and two fifths of the way from chance to 1.
    inside = (stopped.accuracy[:, :2] >= 0.9).all(1) & (stopped.accuracy[:, stopped.of("test")] >= 0.7)
    assert inside[-1] and not inside[:-1].any()


def test_the_validation_stop_never_looks_at_the_test_environment(few):
    config = AUTHORS.model_copy(update={"epochs": 12, "stop": "validation_target"})
    spec = EnvironmentSpec(validation_flip=0.5)
    curves = train([config], [0], few, spec)[0]
    blind = dataclasses.replace(curves, accuracy=curves.accuracy.copy())
    blind.accuracy[:, curves.of("test")] = np.nan
    rule = stopping.STOPPING_RULES["validation_target"].applies
    assert rule(blind, spec, config) == rule(curves, spec, config)


def test_the_plateau_stop_looks_at_training_alone_and_waits_for_the_full_weight(few):
    config = AUTHORS.model_copy(update={"epochs": 400, "stop": "train_plateau", "penalty_weight": 1e4,
                                        "checkpoint_every": 4, "l2_weight": 0.01})  # fmt: skip
    curves = train([config], [0], few, SMALL)[0]
    assert curves.stopped in ("train_plateau", "collapsed")
    recent = curves.nll[-stopping.PLATEAU_CHECKPOINTS :, :2].mean(1)
    assert np.ptp(recent) < stopping.PLATEAU_CHANGE
    assert curves.epoch[-stopping.PLATEAU_CHECKPOINTS] >= config.anneal_epoch
    blind = dataclasses.replace(curves, **{name: getattr(curves, name).copy() for name in QUANTITIES})
    for name in QUANTITIES:
        getattr(blind, name)[:, 2:] = np.nan
    assert stopping.train_plateau(blind, SMALL, config) == stopping.train_plateau(curves, SMALL, config)


# Memory


def test_an_out_of_memory_is_met_by_a_smaller_batch(few, monkeypatch):
    wanted = train([AUTHORS] * 5, range(5), few, SMALL)
    plain = environments.build_environments

    def short_of_memory(digits, spec, seeds, device):
        if len(seeds) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return plain(digits, spec, seeds, device)

    monkeypatch.setattr(trainer, "build_environments", short_of_memory)
    for ours, theirs in zip(train([AUTHORS] * 5, range(5), few, SMALL), wanted, strict=True):
        agree(ours, {name: getattr(theirs, name) for name in (*QUANTITIES, *PROBES)}, tolerance=2e-5)


def test_a_batch_is_no_larger_than_memory_holds(few, monkeypatch):
    widths = []
    plain = environments.build_environments

    def noted(digits, spec, seeds, device):
        widths.append(len(seeds))
        return plain(digits, spec, seeds, device)

    monkeypatch.setattr(trainer, "build_environments", noted)
    monkeypatch.setattr(trainer, "runs_in_memory", lambda *arguments: 2)
    assert len(train([AUTHORS] * 5, range(5), few, SMALL)) == 5
    assert widths == [2, 2, 1]
