"""`bench`: what it measures, on a small case; the figures themselves are the machine's."""

from __future__ import annotations

import pytest

from irm_study.bench import trainer as bench
from irm_study.cli.tables import print_bench


def test_the_trainer_is_measured_beside_a_product_and_plain_training(monkeypatch, capsys):
    monkeypatch.setattr(bench, "WIDTHS", (8,))
    monkeypatch.setattr(bench, "PROBE_REPETITIONS", 3)
    measured = bench.benchmark("cpu", rounds=1)
    assert [(case["hidden"], case["runs"]) for case in measured["cases"]] == [(8, 1), (8, bench.BATCH_RUNS)]
    for case in measured["cases"]:
        assert case["fraction"] == pytest.approx(case["gflops"] / measured["matmul_gflops"])
        plain = case["runs"] * case["reference_epoch_seconds"] / case["epoch_seconds"]
        assert case["speedup"] == pytest.approx(plain)  # one round: its median is itself
        # 50,000 examples; of 161 lit pixels of one channel those up to the rarest in a block, 98 in the mean, forward
        # and back; and the hidden layer thrice.
        operations = case["runs"] * 50_000 * 2 * (2 * 98 * 8 + 3 * 8**2)
        assert case["gflops"] * case["epoch_seconds"] * 1e9 == pytest.approx(operations, rel=0.02)
    assert 0 < measured["probes"]["authors"] < 1 and 0 < measured["probes"]["embedded"] < 1
    assert measured["processes"]["ratio"] > 0
    print_bench(measured)
    assert f"{measured['probes']['embedded']:.1%}" in capsys.readouterr().out
