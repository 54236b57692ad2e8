"""bfloat16: against the slow reference, within bounds that fail without what float32 keeps; where it is to be had; what
a run's precision is, and what `auto` comes to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from irm_study import api, data
from irm_study.config import FAST_ACTIVATIONS, EnvironmentSpec, RunConfig, StudySpec, TrainSpec, checked, run_digest
from irm_study.data import build_environments
from irm_study.diagnosis import QUANTITIES
from irm_study.errors import ConfigError
from irm_study.execution import Batch, bfloat16_instructions, check_work, train_batch
from irm_study.study import with_precision
from irm_study.training import mlp_loops as loops
from irm_study.training import program, sorted_examples, sorted_mlp, train
from irm_study.training.trainer import checkpoints
from tests.reference import train_reference
from tests.test_study import few_digits, run, small

SPEC = EnvironmentSpec()
CONFIG = RunConfig(hidden=29, epochs=24, anneal_epoch=8, penalty_weight=300.0, learning_rate=5e-4, checkpoint_every=1,
                   precision="bfloat16")  # fmt: skip
CURVES = 3e-3
"""How far risk, penalty's gradient and spread of the logits may be from the reference's: rounded factors of products
bring 2e-4 to 1e-3, rounded parameters 1e-2 and more."""
GRADIENT = 7e-3
"""How far, relative to its size, a gradient may be from torch's: rounded factors bring 1e-3 to 6e-3, rounded sums over
blocks 1e-2 and more."""
QUICK = {"hidden": 64, "epochs": 4, "anneal_epoch": 1, "ramp_epochs": 2, "precision": "auto"}
"""[run] of a study that is quick, and wide enough for `auto`."""
needs_bfloat16 = pytest.mark.skipif(
    not bfloat16_instructions(), reason="this processor has no bfloat16: neither avx512_bf16 nor amx_bf16"
)


@pytest.fixture
def processor(monkeypatch):
    """processor(name, …): from here on this machine's has these instructions."""

    def has(*instructions: str) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True), raising=False)

    return has


def compare_curves(config: RunConfig, digits) -> float:
    fast = train([config], [3], digits, SPEC)[0]
    slow = train_reference(config, 3, digits, SPEC, checkpoints(config))
    return max(np.abs(getattr(fast, name) - slow[name]).max() for name in ("nll", "gradient", "spread"))


def compare_gradients(config: RunConfig, digits) -> float:
    """The largest relative difference of a parameter's gradient to torch's, of any parameters that bfloat16 has."""
    data = build_environments(digits, SPEC, [0, 1])
    network = sorted_mlp.SortedMlp(config, data)
    generator = torch.Generator().manual_seed(0)
    flat = (0.1 * torch.randn(2, network.size, generator=generator)).bfloat16().float()
    logits, pullback = network.forward(flat, network.inputs(data.train))
    cotangent = torch.rand(logits.shape, generator=generator).bfloat16().float() / 512
    ours = pullback(cotangent)

    flat.requires_grad_()
    weights = network.layout.views(flat)
    images = data.pixels.flatten(1)[:, network.images.lit][data.train.rows.flatten(1)] / 255
    colours = data.train.colours.flatten(1)
    painted = torch.cat([images * (colours == channel)[..., None] for channel in range(2)], dim=2)
    activation = getattr(torch, config.activation)
    flowing = activation(weights["first"][:, :1] + painted @ weights["first"][:, 1:])
    for number in range(2, config.layers + 1):
        flowing = activation(weights[f"bias{number}"] + flowing @ weights[f"weight{number}"])
    plain = (weights["last bias"] + flowing @ weights["last"]).view(logits.shape)
    expected = network.layout.views(torch.autograd.grad(plain, flat, cotangent)[0])
    found = network.layout.views(ours)
    return max(float((found[name] - each).norm() / each.norm()) for name, each in expected.items())


@needs_bfloat16
@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_bfloat16_agrees_with_the_reference_along_the_whole_curve(few, layers, activation):
    assert compare_curves(CONFIG.model_copy(update={"layers": layers, "activation": activation}), few) < CURVES


@needs_bfloat16
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_agreement_fails_where_parameters_are_rounded_too(few, layers, monkeypatch):
    plain = program.adam_step

    def rounded(state, *rest):
        plain(state, *rest)
        state.parameters.copy_(state.parameters.bfloat16())

    monkeypatch.setattr(program, "adam_step", rounded)
    assert compare_curves(CONFIG.model_copy(update={"layers": layers}), few) > CURVES


@needs_bfloat16
@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradients_summed_over_many_blocks_are_those_of_torch(few, layers, activation, monkeypatch):
    monkeypatch.setitem(sorted_examples.BLOCK_ROWS, torch.bfloat16, 8)
    assert compare_gradients(CONFIG.model_copy(update={"layers": layers, "activation": activation}), few) < GRADIENT


@pytest.fixture
def one_thread():
    """Threads sum blocks of their own, so that with several each sum is of fewer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@needs_bfloat16
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradients_are_not_where_sums_over_blocks_are_rounded_too(few, layers, monkeypatch, one_thread):
    plain = loops.add_product

    def rounded(total, left, right):
        plain(total, left, right)
        total.copy_(total.bfloat16())

    monkeypatch.setitem(sorted_examples.BLOCK_ROWS, torch.bfloat16, 8)
    monkeypatch.setattr(loops, "scripted", lambda function: function)
    monkeypatch.setattr(loops, "add_product", rounded)
    assert compare_gradients(CONFIG.model_copy(update={"layers": layers}), few) > GRADIENT


@needs_bfloat16
def test_logits_parameters_and_gradients_have_more_digits_than_bfloat16(few):
    data = build_environments(few, SPEC, [0])
    network = sorted_mlp.SortedMlp(CONFIG, data)
    parameters = network.initial([0])
    logits, pullback = network.forward(parameters, network.inputs(data.train))
    for each in (parameters, logits, pullback(torch.rand(logits.shape))):
        assert each.dtype == torch.float32
        each = each[each != 0]
        assert (each != each.bfloat16()).float().mean() > 0.8


@needs_bfloat16
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("activation", FAST_ACTIVATIONS)
def test_the_loops_run_by_python_compute_the_same_in_bfloat16(few, layers, activation, monkeypatch):
    config = CONFIG.model_copy(update={"layers": layers, "activation": activation, "epochs": 4, "anneal_epoch": 2})
    compiled = train([config] * 2, [0, 1], few, SPEC)
    monkeypatch.setattr(loops, "scripted", lambda function: function)
    for ours, theirs in zip(train([config] * 2, [0, 1], few, SPEC), compiled, strict=True):
        for name in QUANTITIES:
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@needs_bfloat16
def test_runs_of_both_precisions_are_trained_beside_each_other_as_alone(few):
    single = CONFIG.model_copy(update={"precision": "float32", "epochs": 10})
    half = single.model_copy(update={"precision": "bfloat16"})
    for fast, config in zip(train([single, half], [3, 3], few, SPEC), (single, half), strict=True):
        np.testing.assert_array_equal(fast.nll, train([config], [3], few, SPEC)[0].nll)


# A run's precision


def test_a_float32_run_has_the_digest_that_it_had_and_a_bfloat16_run_another():
    # As version 0.1.0 had it, which knew no precision; its first letter came later.
    assert run_digest("embedded", SPEC, RunConfig(precision="float32")) == "refaa9c56f9cafad3"
    assert run_digest("embedded", SPEC, RunConfig(precision="bfloat16")) != "refaa9c56f9cafad3"


@needs_bfloat16
def test_runs_are_stored_with_their_precision_and_none_is_taken_for_another_s(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load_digits", few_digits)
    for precision in ("bfloat16", "auto", "float32"):
        config = RunConfig(hidden=64, epochs=3, anneal_epoch=1, precision=precision)
        trained = api.train(config, out=tmp_path, jobs=1)
        assert set(trained.runs["precision"]) == {"float32" if precision == "float32" else "bfloat16"}
    assert sorted(pd.read_csv(tmp_path / "runs.csv")["precision"]) == ["bfloat16", "float32"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"run": {"activation": "gelu"}}, "activation = 'gelu'"), ({"run": {"batch_size": 60}}, "batch_size = 60"),
        ({"environments": {"normalise": True}}, "normalise = true"),
        ({"run": {"model": "convnet"}, "environments": {"resolution": 28}}, "model = 'convnet'"),
    ],
)  # fmt: skip
def test_bfloat16_is_refused_for_what_the_fast_network_does_not_take(changed, named):
    tables = {table: changed.get(table, {}) for table in ("run", "environments")}
    single = TrainSpec.model_validate(tables)
    with pytest.raises(ConfigError, match=f"run.precision: 'bfloat16' needs .*; got .*{named}"):
        checked(single, {"run.precision": "bfloat16"})


def test_every_point_of_a_search_must_be_one_that_its_precision_takes():
    with pytest.raises(ValueError, match=r"run.precision: 'bfloat16' needs .*search.activation = 'elu'"):
        small(run={"precision": "bfloat16"}, search={"activation": ["relu", "elu"]})
    with pytest.raises(ValueError, match=r"search.precision: 'auto' is for run.precision"):
        small(search={"precision": ["auto", "float32"]})
    assert small(search={"precision": ["bfloat16", "float32"]}).search["precision"] == ("bfloat16", "float32")


# What a processor has


@pytest.mark.parametrize("searched", [False, True])
def test_a_processor_without_it_is_told_what_it_lacks_before_any_work(processor, tmp_path, searched):
    processor("avx2", "avx512_f")
    half = {"search": {"precision": ["float32", "bfloat16"]}} if searched else {"run": {"precision": "bfloat16"}}
    with pytest.raises(ConfigError, match="'bfloat16' needs a processor with avx512_bf16 or amx_bf16"):
        api.run_study(StudySpec.model_validate({"name": "x"} | half | {"study": {"trials": 1}}), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_worker_without_it_trains_nothing(processor):
    processor()
    batch = Batch((CONFIG,), (0,), "embedded", SPEC)
    with pytest.raises(ConfigError, match="needs a processor with"):
        train_batch(batch)


def test_a_torch_that_does_not_tell_is_taken_for_a_processor_without_it(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert bfloat16_instructions() == ()


def test_bfloat16_is_for_the_processor_alone(processor):
    processor("avx512_bf16")
    check_work("embedded", SPEC, "cpu", None, ["bfloat16"])
    with pytest.raises(ConfigError, match="'bfloat16' is for the device 'cpu'; got --device meta"):
        check_work("embedded", SPEC, "meta", None, ["bfloat16"])


def auto(**run) -> TrainSpec:
    return TrainSpec(run=RunConfig(**{"hidden": 256, "precision": "auto"} | run))


def test_auto_is_bfloat16_where_the_processor_has_it_and_float32_elsewhere(processor, tmp_path):
    for name in ("avx512_bf16", "amx_bf16"):
        processor(name)
        assert with_precision(auto(), tmp_path).run == RunConfig(precision="bfloat16")
        assert with_precision(auto(), tmp_path, device="cuda").run.precision == "float32"
        assert with_precision(auto(), tmp_path, scheduler="tcp://host:8786").run.precision == "float32"
    processor("avx512_f")
    assert with_precision(auto(), tmp_path).run == RunConfig()


def test_auto_is_float32_for_what_bfloat16_is_not_for_or_does_not_pay(processor, tmp_path):
    processor("amx_bf16")
    for changed in ({"hidden": 16}, {"batch_size": 60}, {"activation": "elu"}):
        assert with_precision(auto(**changed), tmp_path).run.precision == "float32"
    searched = small(run={"hidden": 256, "precision": "auto"}, search={"activation": ["relu", "elu"]})
    assert with_precision(searched, tmp_path).run.precision == "float32"


def test_a_precision_that_is_named_stays(processor, tmp_path):
    processor("amx_bf16")
    for name in ("float32", "bfloat16"):
        assert with_precision(auto(precision=name), tmp_path).run.precision == name


def test_auto_goes_on_with_a_study_in_the_precision_in_which_it_began(processor, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load_digits", few_digits)
    processor()
    begun = with_precision(wide := small(run=QUICK), tmp_path)
    run(begun, tmp_path)
    processor("avx512_bf16")
    assert with_precision(wide, tmp_path / "another").run.precision == "bfloat16"
    again = with_precision(wide, tmp_path)
    assert again == begun
    assert run(again, tmp_path)[1] == 0
