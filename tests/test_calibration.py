"""Runs made to fail: the file, the training, the table of what the rules say of them."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from irm_study.cli.tables import print_calibration
from irm_study.config import read_calibration, run_digest, shipped_files
from irm_study.diagnosis import MODES
from irm_study.errors import ConfigError
from irm_study.methods import RAMPS
from irm_study.progress import Display
from irm_study.report.calibration import CONFUSION, agreement, confusion, write_confusion
from irm_study.study import Settings, calibrate

FILE = """
name = "two ways"
[environments]
test_examples = 18000
[run]
hidden = 8
epochs = 12
anneal_epoch = 6
checkpoint_every = 4
[ways."weight too low"]
mode = "erm_like"
run = { penalty_weight = 1.0, learning_rate = 0.02 }
[ways."learning rate too high"]
mode = "diverged"
run = { learning_rate = 1000.0 }
"""


def quietly(way: str) -> Display:
    return Display(quiet=True)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ways.toml"
    path.write_text(FILE)
    return path


def test_runs_made_to_fail_are_trained_once_and_told_apart(file, tmp_path):
    _, ways = read_calibration(file)
    assert ways["learning rate too high"][1].run.learning_rate == 1000.0
    assert ways["learning rate too high"][1].run.hidden == 8
    runs = calibrate(ways, [0, 1], tmp_path / "out", Settings(), quietly)
    write_confusion(tmp_path / "out", runs)
    assert len(runs) == 4
    assert set(runs.loc[runs["way"] == "learning rate too high", "failure_mode"]) == {"diverged"}
    told = pd.read_csv(tmp_path / "out" / "confusion.csv")
    pd.testing.assert_frame_equal(told, confusion(runs))
    assert told.loc[told["evidence_source"] == "test", "runs"].sum() == 4
    assert (tmp_path / "out" / "confusion.svg").read_text().count("weight too low") == 1
    before = runs.drop(columns=[name for name in runs if name.startswith("curve_")])
    again = calibrate(ways, [0, 1], tmp_path / "out", Settings(), quietly)
    pd.testing.assert_frame_equal(again[before.columns], before)  # seconds too: nothing was trained anew
    file.write_text(FILE.replace("hidden = 8", "hidden = 9"))
    _, changed = read_calibration(file)
    runs = calibrate(changed, [0], tmp_path / "out", Settings(), quietly)
    assert runs["hidden"].tolist() == [9, 9]


JUDGED = pd.DataFrame(
    [
        ("constant", "collapsed", "collapsed", "collapsed"),
        ("constant", "collapsed", "shape_not_learnt", "collapsed"),
        ("weak", "erm_like", "erm_like", "memorised"),
        ("weak", "erm_like", "erm_like", "erm_like"),
        ("weaker", "erm_like", "erm_like", "erm_like"),
        ("fast", "diverged", "relapsed", "diverged"),
    ],
    columns=["way", "intended", "failure_mode", "failure_mode_recoloured"],
)


def test_the_share_of_right_verdicts_is_the_mean_of_the_configurations_and_has_their_interval():
    told = agreement(JUDGED)
    assert [told[name]["right"] for name in ("test", "recoloured", "between")] == [4, 5, 3]
    # With the test environment the rates are 1/2, 1, 1 and 0. Wilson's interval for mean m = 5/8 of n = 4 by hand:
    # with z = 1.95996, (2nm + z² ± z √(4nm(1 − m) + z²)) / (2(n + z²)) = (8.84146 ± 1.95996 · 2.75526) / 15.68292.
    row = told["test"]
    assert (row["runs"], row["configurations"], row["share"]) == (6, 4, 0.625)
    assert (row["low"], row["high"]) == pytest.approx((0.21943, 0.90810), abs=1e-5)
    # Recoloured they are 1, 1/2, 1 and 1; whether both sources agree 1/2, 1/2, 1 and 0.
    assert (told["recoloured"]["share"], told["between"]["share"]) == (0.875, 0.5)


def test_what_ways_are_called_is_counted_by_the_mode_that_they_were_made_for():
    assert agreement(JUDGED)["modes"] == [
        {"intended": "diverged", "configurations": 1, "runs": 1, "test": 0, "recoloured": 1},
        {"intended": "collapsed", "configurations": 1, "runs": 2, "test": 1, "recoloured": 2},
        {"intended": "erm_like", "configurations": 2, "runs": 3, "test": 3, "recoloured": 2},
    ]


def test_the_sentence_tells_runs_configurations_and_whose_interval_it_is(capsys):
    sentence = (
        "Of 6 runs of 4 configurations, 4 got the mode that they were made for with the test environment (62.5%, 21.9 "
        "to 90.8%), 5 got it from recoloured training images (87.5%, 39.6 to 98.7%), and 3 the same mode from both "
        "(50.0%, 15.0 to 85.0%); in parentheses the mean of the configurations' rates, and its 95% interval over "
        "configurations."
    )
    assert CONFUSION.describe(JUDGED).sentence == sentence
    print_calibration(confusion(JUDGED), agreement(JUDGED))
    said = capsys.readouterr().out
    assert said.rstrip().endswith(sentence)
    assert re.search(r"erm_like\W+2\W+3\W+3\W+2\W", said)


def shipped_ways() -> dict[str, dict]:
    files = {path: read_calibration(path) for path in shipped_files("calibrate").values()}
    return {name: ways for name, ways in files.values()}


def test_the_ways_out_of_sample_are_twenty_configurations_at_least_and_none_of_those_that_set_the_rules():
    ways = shipped_ways()
    digests = {
        name: {run_digest(spec.digits, spec.environments, spec.run) for _, spec in own.values()}
        for name, own in ways.items()
    }
    new = digests.pop("calibration-new")
    assert len(new) == len(ways["calibration-new"]) >= 20
    assert set(digests) == {"calibration", "calibration-mnist", "calibration-environments"}
    assert not new & set().union(*digests.values())
    runs = [spec.run for _, spec in ways["calibration-new"].values()]
    assert {run.hidden for run in runs} >= {16, 32, 64, 128, 256}
    assert {run.ramp for run in runs} == set(RAMPS)
    assert {mode for mode, _ in ways["calibration-new"].values()} == set(MODES) - {"anti_colour"}


def test_a_way_has_the_files_digits_or_its_own(file):
    file.write_text(FILE.replace('mode = "diverged"', 'mode = "diverged"\ndigits = "mnist"'))
    _, ways = read_calibration(file)
    assert [spec.digits for _, spec in ways.values()] == ["embedded", "mnist"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("erm_like", "lazy", "ways.weight too low.mode: unknown mode 'lazy'; one of: diverged"),
        ("penalty_weight = 1.0", "weight = 1.0", "ways.weight too low: run.weight: unknown key, given as 1.0"),
        ("learning_rate = 1000.0", "learning_rate = -1.0", "ways.learning rate too high: run.learning_rate: must be"),
    ],
)
def test_a_way_that_is_wrong_is_named(file, old, new, message):
    file.write_text(FILE.replace(old, new))
    with pytest.raises(ConfigError, match="ways") as caught:
        read_calibration(file)
    assert message in str(caught.value)


def test_each_way_is_watched_by_its_name_and_its_time_is_told_by_its_own_runs(file, tmp_path, capsys):
    _, ways = read_calibration(file)
    displays = []

    def watch(way: str) -> Display:
        displays.append(Display(training=way))
        return displays[-1]

    runs = calibrate(ways, [0, 1, 2], tmp_path / "out", Settings(), watch)
    said = capsys.readouterr().err
    assert "way 1 of 2, weight too low: 3 runs" in said
    assert "way 2 of 2, learning rate too high: 3 of 3 runs; diverged 3; took" in said
    own = runs.groupby("way", sort=False)["epochs_trained"].sum()
    assert [display.remaining.marks[-1][1] for display in displays] == own.tolist()
