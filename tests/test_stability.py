"""What runs on fresh seeds show: the tables against plain pandas, and their exhibits for every kind of study."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from irm_study.report import EXHIBITS
from irm_study.report.failure_onset import agreement
from irm_study.report.regret import regret
from irm_study.report.runs import runs_of
from irm_study.report.search import cost
from irm_study.report.winner import crossed, neighbourhood
from irm_study.statistics import variance_shares
from tests.synthetic import KINDS

pytestmark = pytest.mark.filterwarnings("error")

ON_FRESH_SEEDS = ("neighbourhood", "draws", "evidence_sources", "regret")
"""Exhibits that a page has only where the study has the runs for them."""


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    return KINDS["proven"](tmp_path_factory.mktemp("proven"))


def test_regret_is_the_distance_to_the_best_choice_on_fresh_seeds(proven):
    table = regret(proven)
    assert (table["criterion"][0], table["aggregate"][0]) == ("zone_margin", "mean")
    fresh = proven.runs[proven.runs["stage"].isin(["confirm", "criterion"])]
    means = fresh.groupby("trial")["score_zone_margin"].mean()
    for row in table.to_dict("records"):
        assert row["score"] == pytest.approx(means[row["trial"]])
        assert row["regret"] == pytest.approx(means[table["trial"].unique()].max() - means[row["trial"]])
    assert table["regret"].min() == 0 and (table["n"] == 8).all()


def test_a_choice_without_fresh_seeds_has_no_regret(tmp_path):
    table = regret(KINDS["plain"](tmp_path))
    assert table.loc[table["n"] == 0, "regret"].isna().all()
    assert table.loc[table["n"] > 0, "regret"].notna().all()


def test_the_neighbourhood_counts_successes_on_the_winners_seeds(proven):
    table = neighbourhood(proven)
    assert set(table["hyperparameter"]) == {"penalty_weight", "anneal_epoch", "learning_rate"}
    weight = table[table["hyperparameter"] == "penalty_weight"]
    assert weight["factor"].tolist() == [0.5, 0.8, 1.0, 1.25, 2.0]
    centre = float(weight.loc[weight["factor"] == 1, "value"].iloc[0])
    for row in weight.to_dict("records"):
        value = centre * row["factor"]
        close = np.isclose(proven.runs["penalty_weight"], value, rtol=1e-12) & proven.runs["seed"].between(1000, 1007)
        stage = "confirm" if row["factor"] == 1 else "neighbour"
        runs = proven.runs[close & (proven.runs["stage"] == stage)]
        assert (row["n"], row["successes"]) == (8, int((runs["failure_mode"] == "invariant").sum()))
        wilson = stats.binomtest(row["successes"], 8).proportion_ci(method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((wilson.low, wilson.high))


def test_agreement_counts_every_run_once_for_each_evidence_source(proven):
    table = agreement(proven)
    runs = proven.runs[proven.runs["stage"].isin(["search", "confirm"])]
    assert table["runs"].sum() == len(runs)
    same = table.loc[table["failure_mode"] == table["failure_mode_by_source"], "runs"].sum()
    assert same == (runs["failure_mode"] == runs["failure_mode_recoloured"]).sum() < len(runs)


def test_a_validation_environment_adds_an_evidence_source(tmp_path):
    assert set(agreement(KINDS["validation environment"](tmp_path))["evidence_source"]) == {
        "recoloured",
        "validation",
    }


def test_the_spread_is_shared_out_over_the_crossed_draws(proven):
    table = crossed(proven)
    assert table.shape == (4, 4)
    own = proven.runs[proven.runs["stage"] == "draws"].set_index(["seed", "initial_seed"])["test_accuracy"].fillna(0.0)
    assert table.loc[1002, 1003] == own[1002, 1003]
    shares = variance_shares(table.to_numpy())
    sentence = EXHIBITS["draws"].describe(proven).sentence
    for share, name in zip(shares, ("the draw of data", "the initialisation", "neither alone"), strict=True):
        assert re.search(rf"\b{100 * share:.0f}% \(\d+–\d+%\) from {name}", sentence)
    assert sentence.endswith("95% intervals of each share, from 4 × 4 runs.")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_is_described_and_drawn(tmp_path, kind):
    record = KINDS[kind](tmp_path)
    described = [EXHIBITS[name].describe(record) for name in ON_FRESH_SEEDS]
    shown = [each for each in described if not each.left_out]
    assert kind != "proven" or shown == described
    assert all(len(each.tables[0]) > 0 for each in shown)
    for each in shown:
        figure = each.figure()
        assert isinstance(figure, Figure)
        figure.savefig(io.BytesIO(), format="png", dpi=50)
        assert each.shows.endswith(".") and each.sentence.endswith(".")


def test_exhibits_without_runs_on_fresh_seeds_are_left_out(tmp_path):
    record = KINDS["unfinished"](tmp_path)
    left_out = {name for name, exhibit in EXHIBITS.items() if exhibit.describe(record).left_out}
    assert left_out == {"neighbourhood", "draws", "region", "ideals", "regret"}
    of_runs = {"skill_plane", "skill_curves", "region", "ideals"}  # left out of a study without any
    assert {name for name, exhibit in EXHIBITS.items() if exhibit.left_out} == set(ON_FRESH_SEEDS) | of_runs


@pytest.mark.parametrize("name", ON_FRESH_SEEDS)
def test_an_empty_table_says_so(name):
    columns = ["n", "hyperparameter", "failure_mode", "failure_mode_by_source", "evidence_source"]
    figure = EXHIBITS[name].draw(pd.DataFrame(columns=columns))
    assert "Nothing to show" in figure.texts[0].get_text()


def test_a_choice_of_the_study_s_own_without_fresh_seeds_is_said_so(proven):
    table = regret(proven)
    table.loc[0, "n"] = 0
    sentence = EXHIBITS["regret"].sentence(table)
    assert sentence == f"The study's own choice, trial {table['trial'][0]}, was not tried on fresh seeds."


def test_neighbours_of_a_former_winner_are_not_the_new_one_s(proven):
    digests = proven.runs["digest"].mask(proven.runs["stage"] == "neighbour", "of another")
    other = dataclasses.replace(proven, runs=proven.runs.assign(digest=digests))
    assert neighbourhood(other).empty
    assert EXHIBITS["neighbourhood"].describe(other).left_out


def test_a_table_of_draws_with_a_hole_counts_as_far_as_it_is_whole(proven):
    whole = crossed(proven)
    drawn = proven.runs["stage"] == "draws"
    last = drawn & (proven.runs["seed"] == whole.index[-1]) & (proven.runs["initial_seed"] == whole.columns[1])
    assert last.sum() == 1
    holed = crossed(dataclasses.replace(proven, runs=proven.runs[~last]))
    pd.testing.assert_frame_equal(holed, whole.iloc[:-1, :-1])
    diverged = proven.runs["test_accuracy"].mask(last)
    counted = crossed(dataclasses.replace(proven, runs=proven.runs.assign(test_accuracy=diverged)))
    assert counted.iloc[-1, 1] == 0 and counted.shape == whole.shape


def test_what_was_trained_on_fresh_seeds_is_part_of_the_cost(proven):
    assert cost(proven)["runs"].sum() == len(proven.runs) > len(runs_of(proven))
