"""`bench`: what it measures, on a small case; the figures themselves are the machine's."""

from __future__ import annotations

import pytest

from irm_study import benchmark as bench
from irm_study.closing import print_bench


def test_the_trainer_is_measured_beside_a_product_and_plain_training(monkeypatch, capsys):
    monkeypatch.setattr(bench, "WIDTHS", (8,))
    monkeypatch.setattr(bench, "PROBED", 3)
    told = bench.benchmark("cpu", rounds=1)
    assert [(case["hidden"], case["runs"]) for case in told["cases"]] == [(8, 1), (8, bench.BATCH)]
    for case in told["cases"]:
        assert case["fraction"] == pytest.approx(case["gflops"] / told["matmul_gflops"])
        plain = case["runs"] * case["reference_epoch_seconds"] / case["epoch_seconds"]
        assert case["speedup"] == pytest.approx(plain)  # one round: its median is itself
        # 50,000 examples; of 161 lit pixels of one channel those up to the rarest in a block, 98 in the mean, forward
        # and back; and the hidden layer thrice.
        operations = case["runs"] * 50_000 * 2 * (2 * 98 * 8 + 3 * 8**2)
        assert case["gflops"] * case["epoch_seconds"] * 1e9 == pytest.approx(operations, rel=0.02)
    assert 0 < told["probes"]["authors"] < 1 and 0 < told["probes"]["embedded"] < 1
    assert told["processes"]["ratio"] > 0
    print_bench(told)
    assert f"{told['probes']['embedded']:.1%}" in capsys.readouterr().out
