"""What a winner is measured against: the same training without a penalty, in colour and in grey."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from irm_study.config import EnvironmentSpec
from irm_study.errors import ConfigError
from irm_study.report import EXHIBITS
from irm_study.results import baseline_means, baselines_table, config_of, load_study, read_baselines
from irm_study.study import confirm_study
from irm_study.training import train
from tests.synthetic import study_record
from tests.test_study import Settings, Silent, Stop, StopAfter, few_digits, run, small, stored_rows

HEAD = "baseline,seed,failure_mode,train_accuracy,train_accuracy_min,test_accuracy,shape_skill,colour_reliance"
ASKED = {"confirm": {"top": 1, "seeds": 3, "baselines": True}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("irm_study.data.load_digits", few_digits)
        folder = tmp_path_factory.mktemp("baselines")
        record, trained = run(small(**ASKED), folder)
        again = run(small(**ASKED), folder)[1]
        return folder, record, trained, again


def test_each_baseline_is_trained_once_on_the_winner_s_fresh_seeds(finished):
    folder, record, trained, again = finished
    assert record.baselines.groupby("baseline", sort=False)["seed"].agg(list).to_dict() == {
        "plain risk minimisation": [1000, 1001, 1002],
        "grey oracle": [1000, 1001, 1002],
    }
    assert trained == len(record.runs) + 6
    assert again == 0
    pd.testing.assert_frame_equal(load_study(folder).baselines, record.baselines)
    assert json.loads((folder / "summary.json").read_text())["baselines"] == baseline_means(record.baselines).to_dict(
        "records"
    )


def test_a_baseline_is_the_winner_without_a_penalty(finished):
    _, record, _, _ = finished
    winner = config_of(record.runs[record.runs["stage"] == "confirm"].iloc[0].to_dict())
    assert winner.penalty_weight > 0
    plain = winner.model_copy(update={"penalty_weight": 0.0, "initial_weight": 0.0})
    digits = few_digits("embedded")
    baselines = record.baselines.set_index(["baseline", "seed"])
    for name, channels in (("plain risk minimisation", "two"), ("grey oracle", "grey")):
        (curves,) = train([plain], [1001], digits, EnvironmentSpec(channels=channels))
        row = baselines.loc[(name, 1001)]
        assert row["test_accuracy"] == pytest.approx(curves.accuracy_in("test")[-1], abs=1e-6)
        assert row["train_accuracy_min"] == pytest.approx(curves.accuracy[-1, :2].min(), abs=1e-6)


def test_baselines_that_were_interrupted_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    whole = small(**ASKED)
    trials = whole.study.trials * len(whole.study.seed_list)
    with pytest.raises(Stop):
        run(whole, tmp_path, StopAfter(runs=trials + 3 + 2))
    kept = sum(len(stored_rows(folder)) for folder in (tmp_path / "baselines").iterdir())
    assert kept >= 1
    record, trained = run(whole, tmp_path)
    assert trained == 6 - kept
    assert len(record.baselines) == 6


def test_they_can_be_asked_for_later_and_follow_the_winner_s_seeds(finished, monkeypatch):
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    folder, record, _, _ = finished
    more = record.spec.model_copy(update={"confirm": record.spec.confirm.model_copy(update={"seeds": 4})})
    extended, trained = confirm_study(more, folder, Settings(), Silent())
    assert trained == 1 + 2
    assert extended.baselines["seed"].tolist() == [1000, 1001, 1002, 1003] * 2


def test_a_study_that_asks_for_none_has_none(tmp_path):
    assert study_record(tmp_path).baselines.empty


def test_a_baseline_that_diverged_counts_as_zero():
    rows = [("grey oracle", 1, 0.7, 0.8), ("grey oracle", 0, np.nan, np.nan), ("plain risk minimisation", 1, 0.8, 0.1)]
    table = pd.DataFrame(
        [
            {"baseline": name, "seed": seed, "failure_mode": "", "train_accuracy": train, "train_accuracy_min": train,
             "test_accuracy": test, "shape_skill": 0.6, "colour_reliance": 0.1}
            for name, seed, train, test in rows
        ]
    )  # fmt: skip
    means = baseline_means(baselines_table(table)).set_index("baseline")
    assert means.index.tolist() == ["plain risk minimisation", "grey oracle"]
    assert means.loc["grey oracle", ["n", "train_accuracy_min", "test_accuracy"]].tolist() == [2, 0.35, 0.4]


@pytest.mark.parametrize(
    "text",
    [
        "baseline,seed\ngrey oracle,1\n",
        f"{HEAD}\nwhite oracle,1,a,.5,.5,.5,.5,0\n",
        f"{HEAD}\ngrey oracle,1,a,.5,.5,1.5,.5,0\n",
        f"{HEAD}\ngrey oracle,x,a,.5,.5,.5,.5,0\n",
        "",
    ],
)
def test_a_file_that_holds_anything_else_is_named_with_the_way_out(tmp_path, text):
    (tmp_path / "baselines.csv").write_text(text)
    with pytest.raises(ConfigError, match=r"baselines\.csv: holds no baselines.*delete it, 'irm-study confirm"):
        read_baselines(tmp_path)


def test_the_figures_show_their_means_and_the_sentence_names_them(tmp_path):
    record = study_record(tmp_path)
    table = pd.DataFrame(
        [
            {"baseline": name, "seed": seed, "failure_mode": "erm_like", "train_accuracy": 0.86,
             "train_accuracy_min": 0.85, "test_accuracy": test, "shape_skill": 0.65, "colour_reliance": 0.2}
            for name, test in (("plain risk minimisation", 0.125), ("grey oracle", 0.715))
            for seed in range(4)
        ]
    )  # fmt: skip
    beside = dataclasses.replace(record, baselines=baselines_table(table))
    for name in ("seed_stability", "trade_off", "skill_plane"):
        without, drawn = (EXHIBITS[name].figure(each) for each in (record, beside))
        lines = [sum(len(ax.lines) for ax in figure.axes) for figure in (without, drawn)]
        assert lines[1] > lines[0], name
    tests = [line.get_xdata()[0] for line in EXHIBITS["seed_stability"].figure(beside).axes[1].lines]
    assert {0.125, 0.715} <= set(tests)
    assert (
        "plain risk minimisation reaches 85% in training and 12% in test (means, n = 4)"
        in EXHIBITS["trade_off"].describe(beside).sentence
    )
