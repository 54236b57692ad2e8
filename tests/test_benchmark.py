"""`bench`: what it measures, on a small case; the figures themselves are the machine's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from irm_study.bench import timing, yardsticks
from irm_study.bench import trainer as bench
from irm_study.cli.tables import print_bench
from irm_study.execution import bfloat16_instructions
from irm_study.training import mlp_loops


@pytest.fixture
def quick(monkeypatch):
    """One narrow network, a small product, and few repetitions."""
    monkeypatch.setattr(bench, "WIDTHS", (8,))
    monkeypatch.setattr(bench, "PROBE_REPETITIONS", 3)
    monkeypatch.setattr(timing, "SPAN_SECONDS", 1e-9)
    monkeypatch.setattr(yardsticks, "PRODUCT_ROWS", 512)
    monkeypatch.setattr(bench, "PRODUCT_OPERATIONS", 2 * 512**3)


def test_the_trainer_is_measured_in_each_precision_beside_its_product_and_plain_training(quick, capsys):
    shown = []
    measured = bench.benchmark("cpu", rounds=1, show=shown.append)
    json.dumps(measured)
    instructions = bfloat16_instructions()
    precisions = ("float32", "bfloat16") if instructions else ("float32",)
    assert [(case["hidden"], case["precision"], case["runs"]) for case in measured["cases"]] == [
        (8, precision, runs) for precision in precisions for runs in (1, bench.BATCH_RUNS)
    ]
    for case in measured["cases"]:
        product = measured["matmul_gflops"][case["precision"]] if instructions else measured["matmul_gflops"]
        assert case["fraction"] == pytest.approx(case["gflops"] / product)
        plain = case["runs"] * case["reference_epoch_seconds"] / case["epoch_seconds"]
        assert case["speedup"] == pytest.approx(plain)  # one round: its median is itself
        # 50,000 examples; of 161 lit pixels of one channel those up to the rarest in a block, 98 in the mean, forward
        # and back; and the hidden layer thrice. In larger blocks, of whole eights of pixels, they are some more.
        operations = case["runs"] * 50_000 * 2 * (2 * 98 * 8 + 3 * 8**2)
        more = 0.02 if case["precision"] == "float32" else 0.1
        assert case["gflops"] * case["epoch_seconds"] * 1e9 == pytest.approx(operations, rel=more)
    assert 0 < measured["probes"]["authors"] < 1 and 0 < measured["probes"]["embedded"] < 1
    assert measured["processes"]["ratio"] > 0
    assert measured["instructions"] == [torch.backends.cpu.get_cpu_capability(), *instructions]
    assert measured["loops"] == "TorchScript"
    assert f"round 1 of 1: trainer 8 {precisions[-1]} {bench.BATCH_RUNS}" in shown
    print_bench(measured)
    printed = capsys.readouterr().out
    assert f"{measured['probes']['embedded']:.1%}" in printed
    assert all(precision in printed for precision in precisions)


def test_a_processor_without_bfloat16_is_measured_in_float32_alone(quick, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    monkeypatch.setattr(bench, "processes_speed", lambda: {"processes": 1, "ratio": 1.0, "fraction": 0.5})
    monkeypatch.setattr(mlp_loops, "scripted", lambda function: function)
    measured = bench.benchmark("cpu", rounds=1)
    assert {case["precision"] for case in measured["cases"]} == {"float32"}
    assert measured["matmul_gflops"] > 0
    assert measured["loops"] == "Python"
    print_bench(measured)
    assert "bfloat16" not in capsys.readouterr().out


def test_no_round_begins_when_time_is_over(quick, monkeypatch):
    monkeypatch.setattr(bench, "LAST_ROUND_SECONDS", -1.0)
    calls = []
    seconds = bench._timed_in_rounds({("product", "float32"): lambda: calls.append(1)}, 5, "cpu", lambda doing: None)
    assert len(seconds["product", "float32"]) == 1 and calls


def test_ctrl_c_ends_it_without_a_traceback():
    # The line of progress is written to a terminal alone; the first word of the child says that it is at work.
    entry = (
        "import sys; from irm_study import bench; from irm_study.cli import main; sys.argv = ['irm-study', 'bench']\n"
        "def benchmark(device, show):\n    print('at work', flush=True)\n    while True:\n        show('waiting')\n"
        "bench.benchmark = benchmark; main()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", entry], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert child.stdout.readline() == "at work\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err and "interrupted" in err
