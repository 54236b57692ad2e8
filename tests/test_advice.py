"""Advice that is tried: the change as a value and in words, the runs that are taken, what is told of them."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from irm_study import cli
from irm_study.config import RunConfig
from irm_study.diagnosis import ADVICE, EXPLANATIONS, FAILURE_MODES, Change
from irm_study.report.advice import advice_summary, draw_advice, with_differences
from irm_study.study.advice import Pair, spread
from tests.test_study import few_digits

PUBLISHED = Path(__file__).parent.parent / "reports" / "published" / "advice"
FACTORS = {
    "to a thousandth": 0.001,
    "hundredfold": 100,
    "to a tenth": 0.1, "to a third": 1 / 3, "halve": 0.5, "double": 2, "threefold": 3, "tenfold": 10,
}  # fmt: skip


# The change


@pytest.mark.parametrize("mode", ADVICE)
def test_what_is_advised_in_words_is_what_is_changed(mode):
    run = RunConfig(epochs=400, anneal_epoch=60, penalty_weight=6e4)
    change = ADVICE[mode].change
    before, after = run.model_dump(), change.of(run).model_dump()
    (key,) = (name for name in before if before[name] != after[name])
    factor = next(factor for words, factor in FACTORS.items() if words in change.text)
    assert after[key] / before[key] == pytest.approx(factor)
    assert key.replace("l2", "L2").replace("_", " ") in change.text
    assert ("raise" in change.text or "double" in change.text) == (factor > 1)


def test_every_failure_has_a_change_and_success_has_none():
    assert list(ADVICE) == [mode for mode in FAILURE_MODES if mode in ADVICE]
    assert FAILURE_MODES.keys() - ADVICE.keys() == {"invariant"}


def test_only_what_helped_two_thirds_is_told_with_its_count():
    for mode, (change, helped, of) in ADVICE.items():
        told = change.text in EXPLANATIONS[mode]
        assert told == (of >= 8 and helped / of >= 2 / 3)
        assert (f" in {helped} of {of} such runs" in EXPLANATIONS[mode]) == told


def test_the_counts_are_those_of_the_published_table():
    table = pd.read_csv(PUBLISHED / "advice_summary.csv", dtype={"factor": str})
    for mode, (change, helped, of) in ADVICE.items():
        counted = "nearer" if mode in ("near_miss", "relapsed") else "better"
        own = table[table["failure_mode"] == mode]
        if own.empty:
            assert of == 0
            continue
        whole = own[own["digits"] == "all"].iloc[0]
        assert (whole["key"], Fraction(whole["factor"])) == change
        assert (whole[counted], whole["configurations"]) == (helped, of)
        each = own[own["digits"] != "all"]
        assert (each[counted].sum(), each["configurations"].sum()) == (helped, of)


def test_whole_numbers_stay_whole_and_what_is_not_allowed_is_refused():
    assert Change("epochs", Fraction(1, 3)).of(RunConfig(epochs=200)).epochs == 67
    with pytest.raises(ValueError, match="penalty_weight"):
        Change("penalty_weight", Fraction(10)).of(RunConfig(penalty_weight=1e15))


# The runs


def pair(digest: str, seed: int) -> Pair:
    return Pair(0, Change("epochs", Fraction(2)), {"digest": digest, "seed": seed}, None)


def test_runs_are_taken_from_as_many_configurations_as_there_are():
    pairs = [pair(digest, seed) for digest, runs in (("a", 9), ("b", 1), ("c", 2)) for seed in range(runs)]
    for count, expected in ((2, [1, 1]), (3, [1, 1, 1]), (5, [2, 1, 2]), (8, [5, 1, 2]), (99, [9, 1, 2])):
        taken = pd.Series([each.before["digest"] for each in spread(pairs, count)]).value_counts()
        assert taken.reindex(["a", "b", "c"]).dropna().astype(int).tolist() == expected
    assert spread(pairs[::-1], 5) == spread(pairs, 5)


@pytest.fixture
def irm(monkeypatch, capsys, tmp_path):
    """Runs a command in this process on a few embedded digits; returns its status, stdout and stderr."""
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    monkeypatch.chdir(tmp_path)
    Path("fast.toml").write_text("[run]\nhidden = 4\nepochs = 6\nanneal_epoch = 1\nlearning_rate = 1000.0\n")

    def command(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["irm-study", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        told = capsys.readouterr()
        return SimpleNamespace(status=status, out=told.out, err=told.err)

    return command


def test_failing_runs_are_trained_again_once_with_one_thing_changed(irm):
    assert irm("train", "fast.toml", "--seeds", 3, "--jobs", 1, "--quiet", "--out", "fast").status == 0
    again = ("train", "fast.toml", "--seeds", 1, "--jobs", 1, "--quiet", "--out", "fast", "--set", "run.hidden=5")
    assert irm(*again).status == 0
    asked = ("advice", "fast", "--runs", 3, "--jobs", 1, "--times", "learning_rate=1/1000000", "--json", "--quiet")
    told = json.loads(irm(*asked).out)
    (row,) = told["advice"]
    assert (told["folder"], told["trained"]) == ("reports/advice", 3)
    assert (row["failure_mode"], row["configurations"], row["runs"]) == ("diverged", 2, 3)

    folder = Path("reports/advice")
    pairs, runs = pd.read_csv(folder / "advice.csv"), pd.read_csv(folder / "runs.csv").set_index(["digest", "seed"])
    assert pairs["digest"].value_counts().tolist() == [2, 1]
    for each in pairs.to_dict("records"):
        before, after = runs.loc[each["digest"], each["seed"]], runs.loc[each["after_digest"], each["seed"]]
        assert (before["learning_rate"], after["learning_rate"]) == (1000.0, 0.001)
        assert before["hidden"] == after["hidden"]
        assert each["after_mode"] == after["failure_mode"]
        for name, column in (
            ("shape_skill", "shape_skill"),
            ("colour_reliance", "colour_reliance"),
            ("train_accuracy", "train_accuracy_min"),
            ("zone_margin", "score_zone_margin"),
        ):
            assert each[f"after_{name}"] == pytest.approx(after[column], nan_ok=True)
        lowest = min(after["train_accuracy_min"], after["test_accuracy"])
        assert each["after_min_accuracy"] == pytest.approx(lowest)
        assert (each["before_min_accuracy"], each["better"]) == (0, lowest > 0)  # what diverged has no accuracy
    assert (folder / "advice.svg").read_text().count("diverged:") == 1
    assert len(pd.read_csv(folder / "advice_summary.csv")) == 1

    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert json.loads(irm(*asked).out)["trained"] == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    more = irm("advice", "fast", "--runs", 4, "--jobs", 1, "--times", "learning_rate=1/1000000", "--quiet")
    assert "diverged" in more.out and more.out.rstrip().endswith("reports/advice/advice_summary.csv")
    assert len(pd.read_csv(folder / "advice.csv")) == 4

    Path("chosen").mkdir()
    pairs[pairs["digest"] == pairs["digest"].mode()[0]].to_csv("chosen/advice.csv", index=False)
    other = json.loads(irm(*asked, "--except", "chosen", "--out", "other").out)
    assert [row["runs"] for row in other["advice"]] == [1]  # the other configuration's


def test_what_is_wrong_is_told_before_a_run_is_trained(irm):
    assert irm("train", "fast.toml", "--jobs", 1, "--quiet", "--out", "fast").status == 0
    Path("empty").mkdir()
    for arguments, message in (
        (["empty"], "empty: holds neither a study (study.toml) nor runs of 'train'"),
        (["fast", "--mode", "lazy"], "--mode: unknown failure 'lazy'; one of: diverged, collapsed"),
        (["fast", "--mode", "relapsed"], "no run that failed can be changed so"),
        (["fast", "--times", "hiden=2"], "needs KEY=FACTOR, as l2_weight=1/3; KEY one of: hidden, layers"),
        (["fast", "--times", "hidden=two"], "the factor must be a number, as 3 or 1/3; got 'two'"),
        (["fast", "--times", "hidden=1"], "the factor must be above 0 and not 1"),
        (["fast", "--except", "empty"], "empty: holds no advice.csv of 'advice'"),
        (["fast", "--out", "fast"], "fast: holds a study or runs; name another folder with --out"),
    ):
        told = irm("advice", *arguments)
        assert (told.status, message in " ".join(told.err.split())) == (2, True), told.err
    assert not Path("reports/advice").exists()


def test_a_change_without_effect_is_not_tried(irm):
    assert irm("train", "fast.toml", "--jobs", 1, "--quiet", "--out", "fast", "--set", "run.l2_weight=0.0").status == 0
    told = irm("advice", "fast", "--times", "l2_weight=3")
    assert told.status == 2 and "no run that failed can be changed so" in told.err


# What is told


def table_of_pairs() -> pd.DataFrame:
    """Five configurations on two kinds of digits, one of them with three runs, one with a run that diverged."""
    rows = [
        ("embedded", "a", 0.50, 0.60, 0.02), ("embedded", "a", 0.50, 0.45, 0.04), ("embedded", "a", 0.50, 0.46, 0.06),
        ("embedded", "b", 0.40, 0.55, 0.10), ("embedded", "c", 0.40, 0.40, -0.10),
        ("mnist", "d", 0.30, 0.62, 0.20), ("mnist", "e", 0.30, np.nan, np.nan),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["digits", "digest", "before", "after", "change"])
    pairs = table[["digits", "digest"]].assign(
        failure_mode="memorised", key="l2_weight", factor="3", change="raise the L2 weight threefold",
        before_train_accuracy=0.9, after_train_accuracy=0.65, before_test_accuracy=table["before"],
        after_test_accuracy=table["after"], before_shape_skill=0.5, after_shape_skill=0.5 + table["change"],
        before_colour_reliance=0.5, after_colour_reliance=0.5 - table["change"],
        before_zone_margin=-0.2, after_zone_margin=[0.1, -0.5, -0.5, -0.1, -0.3, -0.1, -0.7],
        after_mode=["invariant", *["near_miss"] * 5, "diverged"],
    )  # fmt: skip
    return with_differences(pairs)


def test_the_summary_counts_configurations_and_agrees_with_what_is_computed_by_hand():
    pairs = table_of_pairs()
    assert pairs["better"].tolist() == [True, False, False, True, False, True, False]
    summary = advice_summary(pairs).set_index("digits")
    # a: +.10 −.05 −.04 is a third of a point up; b: +.15; c: 0; d: +.32; e diverged: −.30.
    assert summary["better"].to_dict() == {"embedded": 2, "mnist": 1, "all": 3}
    # By the zone: a −.1 in the mean, b +.1, c −.1; d +.1, e −.5.
    assert summary["nearer"].to_dict() == {"embedded": 1, "mnist": 1, "all": 2}
    assert summary["configurations"].to_dict() == {"embedded": 3, "mnist": 2, "all": 5}
    assert summary["runs"].to_dict() == {"embedded": 5, "mnist": 2, "all": 7}
    assert summary["in_zone"].to_dict() == {"embedded": 1, "mnist": 0, "all": 1}
    wilson = stats.binomtest(3, 5).proportion_ci(method="wilson")
    assert summary.loc["all", ["share", "low", "high"]].tolist() == pytest.approx([0.6, wilson.low, wilson.high])
    assert summary.loc["embedded", "min_accuracy"] == pytest.approx((0.01 / 3 + 0.15 + 0) / 3)
    assert summary.loc["mnist", "min_accuracy"] == pytest.approx((0.32 - 0.30) / 2)
    assert summary.loc["embedded", "shape_skill"] == pytest.approx((0.04 + 0.10 - 0.10) / 3)
    assert summary.loc["mnist", "colour_reliance"] == pytest.approx(-0.20)  # of the run that has one
    near = advice_summary(pairs.assign(failure_mode="near_miss")).set_index("digits")
    assert (near.loc["all", "measure"], near.loc["all", "share"]) == ("zone_margin", pytest.approx(0.4))
    assert np.isnan(summary.loc["all", "min_accuracy_low"])  # no interval of five


def test_the_figure_has_a_row_for_each_change_and_a_mark_for_each_kind_of_digits():
    figure = draw_advice(advice_summary(table_of_pairs()))
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["memorised:\nraise the L2 weight threefold"]
    assert len(left.collections) == len(right.collections) == 4  # an interval and a mark each
    assert draw_advice(advice_summary(table_of_pairs().head(0))).axes == []
