"""What the page claims, in simulated studies: where nothing matters a claim is made in at most 5% of them, and where
something clearly does it is made in most.

Claims are taken from the sentence where it is quick to make, else from the numbers that decide it.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from scipy import stats

from irm_study import statistics
from irm_study.comparison import pairs
from irm_study.comparison.sides import Side
from irm_study.comparison.success import DIFFERENCES
from irm_study.comparison.verdict import paired_sentence
from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.report import failure_regions, regret, winner
from irm_study.report.search import IMPORTANCE
from irm_study.results import confirmed_rate, importance
from irm_study.statistics import SIGNIFICANT_ALONG, best_of_several, holm
from tests.synthetic import study_record, study_spec

rate_of = functools.cache(confirmed_rate)
compare_success = functools.cache(statistics.compare_success)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def most(studies: int) -> int:
    """So many claims in so many studies happen in 99 of 100 simulations of a claim that is false in 5%."""
    return int(stats.binom.ppf(0.99, studies, 0.05))


# Stable


def claimed_stable(outcomes: np.ndarray, looks: list[int], target: float = 0.5) -> np.ndarray:
    """Whether the best of some configurations is called stable, or not, at any look. outcomes: (studies,
    configurations, seeds) of 0 and 1. Returns (studies, 2): stable, unstable."""
    found = np.zeros((len(outcomes), 2), bool)
    for n in looks:
        best = outcomes[:, :, :n].sum(axis=2).max(axis=1)
        for study, successes in enumerate(best.tolist()):
            low, high = rate_of(successes, n, outcomes.shape[1]).interval
            found[study] |= (low > target, high < target)
    return found


@pytest.mark.parametrize("looks", [[50], list(range(10, 110, 10))], ids=["at once", "extended ten times"])
@pytest.mark.parametrize("several", [1, 3, 10])
def test_the_best_of_equal_configurations_at_the_target_is_rarely_called_stable(several, looks):
    outcomes = rng(several).random((2000, several, looks[-1])) < 0.5
    assert claimed_stable(outcomes, looks).any(axis=1).sum() <= most(2000)


def test_wilsons_interval_of_the_best_of_ten_would_be_stable_too_often():
    best = (rng().random((2000, 10, 50)) < 0.5).sum(axis=2).max(axis=1)
    assert np.mean([statistics.success_rate(int(count), 50).interval.low > 0.5 for count in best]) > 0.15


@pytest.mark.parametrize("several", [1, 3, 10])
def test_a_configuration_that_works_nine_times_in_ten_is_stable_at_fifty_seeds(several):
    outcomes = rng(several).random((1000, several, 50)) < np.array([0.9, *[0.5] * (several - 1)])[:, np.newaxis]
    assert claimed_stable(outcomes, [50])[:, 0].mean() > 0.95


# Neighbours of the winner


def neighbours(centre: int, near: np.ndarray, n: int) -> pd.DataFrame:
    counts = [centre, *near.tolist()]
    return pd.DataFrame(
        {"hyperparameter": [f"key_{place // 4}" for place in range(len(counts))],
         "factor": [1.0, *([0.5, 0.8, 1.25, 2.0] * len(near))[: len(near)]], "n": n, "successes": counts,
         "share": np.array(counts) / n, "low": 0.0, "high": 1.0}
    )  # fmt: skip


def said_of(table: pd.DataFrame) -> str:
    return winner._neighbourhood_sentence(winner._against_the_winner(table))


@pytest.fixture
def compared_once(monkeypatch):
    """The tests' p-values of equal counts are computed once."""
    monkeypatch.setattr(statistics, "compare_success", compare_success)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_a_neighbour_that_is_like_the_winner_rarely_did_better(compared_once, rate):
    generator = rng(2)
    counts = generator.binomial(10, rate, (300, 21))
    assert sum("did better" in said_of(neighbours(int(row[0]), row[1:], 10)) for row in counts) <= most(300)


def test_a_neighbour_that_works_where_the_winner_does_not_did_better(compared_once):
    generator = rng(3)
    table = [(generator.binomial(20, 0.2), np.append(generator.binomial(20, 0.2, 11), 19)) for _ in range(50)]
    said = [said_of(neighbours(centre, near, 20)) for centre, near in table]
    assert np.mean(["2 times its key 3 did better than the winner" in each for each in said]) > 0.9


def test_none_worse_by_twenty_points_is_rarely_said_where_one_is(compared_once):
    generator = rng(4)
    counts = [(generator.binomial(20, 1.0), generator.binomial(20, [1, 1, 1, 0.8])) for _ in range(400)]
    assert sum("No neighbour is worse" in said_of(neighbours(centre, near, 20)) for centre, near in counts) <= most(400)


def test_neighbours_that_always_work_are_none_worse_at_thirty_seeds():
    assert "No neighbour is worse by 20%" in said_of(neighbours(30, np.full(8, 30), 30))


# Hyperparameters


def searched(generator: np.random.Generator, trials: int, share: float) -> pd.DataFrame:
    """Trials of a random search; so much of the value's variance is a step along the penalty weight."""
    weight = generator.random(trials)
    value = np.sqrt(share) * np.where(weight > 0.5, 1, -1) + np.sqrt(1 - share) * generator.standard_normal(trials)
    return pd.DataFrame(
        {"trial": range(trials), "digest": [f"r{place}" for place in range(trials)], "state": "complete",
         "value": value, "penalty_weight": 10 ** (1 + 5 * weight), "anneal_epoch": generator.integers(5, 120, trials),
         "ramp": generator.choice(["step", "linear", "exponential", "cosine"], trials),
         "learning_rate": generator.random(trials)}
    )  # fmt: skip


def found_along(trials: pd.DataFrame) -> list[str]:
    return [key for key, each in importance(trials, study_spec()).items() if each.p_value < SIGNIFICANT_ALONG]


def test_where_nothing_matters_a_hyperparameter_is_rarely_shown_to():
    generator = rng(5)
    assert sum(bool(found_along(searched(generator, 20, 0.0))) for _ in range(200)) <= most(200)


def test_where_nothing_matters_a_sampler_that_learns_rarely_shows_one_that_does():
    """TPE leaves what had bad luck early, whose few trials then look bad."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    claims = 0
    for seed in range(60):
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        luck, rows = rng(1000 + seed), []
        for number in range(20):
            trial = study.ask()
            values = {"penalty_weight": trial.suggest_float("penalty_weight", 10, 1e6, log=True),
                      "anneal_epoch": trial.suggest_int("anneal_epoch", 5, 120),
                      "ramp": trial.suggest_categorical("ramp", ["step", "linear", "exponential", "cosine"]),
                      "learning_rate": trial.suggest_float("learning_rate", 5e-4, 2e-2, log=True)}  # fmt: skip
            rows.append({"digest": f"r{number}", "state": "complete", "value": luck.standard_normal(), **values})
            study.tell(trial, rows[-1]["value"])
        claims += bool(found_along(pd.DataFrame(rows)))
    assert claims <= most(60)


def test_a_hyperparameter_that_carries_most_of_the_variation_is_shown_to_matter():
    generator = rng(6)
    found = [found_along(searched(generator, 24, 0.7)) for _ in range(60)]
    assert np.mean(["penalty_weight" in keys for keys in found]) > 0.8
    found = [found_along(searched(generator, 40, 0.5)) for _ in range(60)]
    assert np.mean(["penalty_weight" in keys for keys in found]) > 0.8


def test_importance_is_said_with_its_interval_and_not_of_too_few_trials(tmp_path):
    record = study_record(tmp_path, trials=2)
    trials = searched(rng(7), 40, 0.9)
    table = IMPORTANCE.table(_with_trials(record, trials))[0]
    row = table.iloc[0]
    assert (row["hyperparameter"], row["trials"]) == ("penalty_weight", 40)
    assert row["low"] < row["importance"] < row["high"] and row["importance"] == pytest.approx(0.9, abs=0.1)
    said = IMPORTANCE.sentence(table)
    assert said.startswith(
        f"Shown to matter, from 40 trials: penalty weight ({100 * row['importance']:.0f}%, 95% inter"
    )
    few = IMPORTANCE.table(_with_trials(record, trials.head(19)))[0]
    assert few.empty and "nothing is said of importance" in IMPORTANCE.sentence(few)


def _with_trials(record, trials):
    return type(record)(record.folder, record.spec, record.runs, trials, importance(trials, record.spec), {})


def clustered(generator: np.random.Generator, folder: Path, effect: float):
    """A study whose trials differ in how often their seeds succeed; along the penalty weight where it has an effect."""
    record = study_record(folder, trials=16, confirm_top=0)
    chance = generator.beta(0.3, 0.3, 16)
    weight = record.trials["penalty_weight"].rank(pct=True).to_numpy()
    chance = np.where(generator.random(16) < effect, weight > 0.5, chance)
    chance = dict(zip(record.trials["digest"], chance, strict=True))
    modes = np.where(generator.random(len(record.runs)) < record.runs["digest"].map(chance), "invariant", "partial")
    return record.runs.assign(failure_mode=modes), record


def test_invariant_runs_rarely_go_with_a_hyperparameter_that_has_nothing_to_do_with_them(tmp_path):
    generator, claims = rng(8), 0
    runs, record = clustered(generator, tmp_path, 0.0)
    for _ in range(100):
        chance = dict(zip(record.trials["digest"], generator.beta(0.3, 0.3, 16), strict=True))
        inside = generator.random(len(runs)) < runs["digest"].map(chance)
        modes = runs.assign(failure_mode=np.where(inside, "invariant", "partial"))
        p_values = failure_regions._p_values(record, modes)
        claims += min(p_values.values()) < SIGNIFICANT_ALONG
    assert claims <= most(100)


def test_invariant_runs_that_go_with_a_hyperparameter_are_said_to(tmp_path):
    runs, record = clustered(rng(9), tmp_path, 1.0)
    shares = failure_regions.failure_shares(type(record)(tmp_path, record.spec, runs, record.trials, {}, {}))
    assert failure_regions._shares_sentence(shares).startswith("Invariant runs go with penalty weight: 0% at")


# Choices by other criteria


@pytest.mark.parametrize("chosen", [0, 2])
def test_a_choice_as_good_as_the_others_rarely_has_more_regret_than_chance(chosen):
    generator = rng(10)
    luck = generator.normal(0, 0.05, (400, 1, 12)) + generator.normal(0, 0.05, (400, 5, 12))
    assert sum(best_of_several(each, chosen, generator, 199) < 0.05 for each in luck) <= most(400)


def test_a_choice_that_is_clearly_worse_has_regret():
    generator = rng(11)
    scores = generator.normal(0, 0.05, (50, 4, 12)) + np.array([0, 0, 0.1, 0])[:, np.newaxis]
    assert np.mean([best_of_several(each, 0, generator, 499) < 0.05 for each in scores]) > 0.9
    assert all(best_of_several(each, 2, generator, 499) > 0.05 for each in scores)


def test_regret_is_said_with_its_p(tmp_path):
    columns = {"criterion": ["oracle_min"] * 2, "aggregate": ["mean", "median"], "trial": [3, 4], "n": [12, 12]}
    table = pd.DataFrame(columns | {"regret": [0.05, 0.0], "regret_low": np.nan, "p_value": [0.001, 0.9]})
    assert "regret of 5.0 points, more than what the best of 2 gives by chance" in regret._regret_sentence(table)
    table["p_value"] = [0.4, 0.9]
    assert "not shown to be more than what the best of 2 gives by chance (p = 0.4)" in regret._regret_sentence(table)


# Configurations side by side


def side(name: str, several: np.ndarray) -> Side:
    """The best by success rate of some configurations. several: (configurations, seeds) of scores."""
    best = several[(several > 0.6).mean(axis=1).argmax()]
    runs = pd.DataFrame(
        {"seed": np.arange(len(best)), "failure_mode": np.where(best > 0.6, "invariant", "partial"), "score": best,
         "test_accuracy": best}
    )  # fmt: skip
    return Side(
        name, Path(name), "embedded", EnvironmentSpec(), RunConfig(), "oracle_min", "confirm", 0, runs, None, True,
        len(several),
    )  # fmt: skip


@pytest.mark.parametrize("several", [(1, 1), (3, 3), (10, 1)])
def test_sides_that_are_alike_rarely_differ_though_the_best_of_several_stands_for_them(compared_once, several):
    generator = rng(12)
    claims = 0
    for _ in range(150):
        table = pairs([side(f"{count} {place}", generator.normal(0.6, 0.05, (count, 11)))
                       for place, count in enumerate(several)])  # fmt: skip
        said = (table["p_holm"] < 0.05).any()
        assert said == any(f"{count} of 1 pair" in DIFFERENCES.sentence(table) for count in "1")
        claims += said
    assert claims <= most(150)


def test_three_sides_that_are_alike_rarely_differ_in_anything(compared_once):
    generator = rng(13)
    tables = [pairs([side(name, generator.normal(0.6, 0.05, (1, 10))) for name in "abc"]) for _ in range(150)]
    assert sum((table["p_holm"] < 0.05).any() for table in tables) <= most(150)


def test_sides_that_differ_are_said_to(compared_once):
    generator = rng(14)
    for _ in range(10):
        table = pairs(
            [side("good", generator.normal(0.7, 0.03, (3, 12))), side("bad", generator.normal(0.5, 0.03, (3, 12)))]
        )
        assert (table["p_holm"] < 0.05).all()
        assert "chance" not in paired_sentence(table)


def test_p_of_the_better_side_counts_what_it_was_chosen_from(compared_once):
    scores = rng(15).normal(0.6, 0.05, (1, 12))
    better, worse = side("better", np.vstack([scores + 0.2] * 4)), side("worse", scores)
    expected = compare_success(12, 12, int((scores > 0.6).sum()), 12, 1 - 0.05 / 4).p_value
    for table in (pairs([better, worse]), pairs([worse, better])):
        row = table[table["measure"] == "success"].iloc[0]
        assert row["p_value"] == pytest.approx(min(1, 4 * expected))
        assert table["p_holm"].tolist() == pytest.approx(holm(table["p_value"]).tolist())
