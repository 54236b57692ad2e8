"""`bench --driver`: a whole study whose workers sleep, and what is measured of its driver."""

from __future__ import annotations

import json

from irm_study.bench import driver_load, write_load


def test_the_driver_is_measured_on_a_study_that_runs_to_its_end(tmp_path):
    load = driver_load(trials=20, seeds=2, workers=4, seconds=0.0)
    assert [mark["trials"] for mark in load["marks"]] == list(range(2, 21, 2))
    own = [mark["own_seconds"] for mark in load["marks"]]
    assert own == sorted(own) and min(own) > 0
    assert 0 < load["own_milliseconds_at_the_end"] < 10_000
    assert load["stored_mib"] > 0
    assert load["judge"]["seconds"] > 0 and load["page"]["peak_mib"] > load["page"]["mib"] > 0
    write_load(load, tmp_path / "load")
    assert json.loads((tmp_path / "load" / "load.json").read_text())["trials"] == 20
    assert "memory (MiB)" in (tmp_path / "load" / "load.svg").read_text()


def test_more_workers_that_sleep_sleep_at_once():
    load = driver_load(trials=10, seeds=4, workers=40, seconds=0.2)
    assert load["wall_seconds"] < 10 * 4 * 0.2  # one after the other
