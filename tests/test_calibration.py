"""Runs made to fail: the file, the training, the table of what the rules say of them."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy import stats

from irm_study.config import read_calibration
from irm_study.errors import ConfigError
from irm_study.progress import Display
from irm_study.report.calibration import agreement, confusion, write_confusion
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


def test_the_share_of_right_verdicts_counts_runs_and_has_wilsons_interval():
    runs = pd.DataFrame(
        {
            "way": ["a", "a", "b", "b"],
            "intended": ["collapsed", "collapsed", "erm_like", "erm_like"],
            "failure_mode": ["collapsed", "shape_not_learnt", "erm_like", "erm_like"],
            "failure_mode_recoloured": ["collapsed", "collapsed", "memorised", "erm_like"],
        }
    )
    told = agreement(runs)
    assert (told["test"]["right"], told["recoloured"]["right"], told["between"]["right"]) == (3, 3, 2)
    wilson = stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert (told["test"]["low"], told["test"]["high"]) == pytest.approx((wilson.low, wilson.high))


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
