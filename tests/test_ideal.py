"""The ideal of a draw: its evidence, its minimum, its command, its exhibit; what the sentence claims under the null."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize, stats
from typer.testing import CliRunner

from irm_study.cli.app import app
from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.errors import ConfigError
from irm_study.ideal import ideal_of
from irm_study.ideal.evidence import shape_evidence
from irm_study.ideal.predictor import fitted, skill_and_reliance
from irm_study.methods import PENALTIES
from irm_study.report.ideal import correlation, ideal_sentence, ideals
from irm_study.results import load_study, read_ideals, write_ideals
from tests.reference import ACROSS, calibration_error
from tests.synthetic import stored, study_record, with_ideals


def nll(logit, label):
    return np.mean(np.logaddexp(0, logit) - label * logit)


def gradient(logit, label):
    return np.mean((1 / (1 + np.exp(-logit)) - label) * logit)


def objective(point, shape, colour, labels, config):
    """Plainly, by numpy and the slow reference trainer's penalties: one environment after the other."""
    logits = point[0] * shape + point[1] * colour
    risks = np.array([nll(*each) for each in zip(logits, labels, strict=True)])
    if config.penalty == "irmv1_split":
        each = [gradient(z[0::2], y[0::2]) * gradient(z[1::2], y[1::2]) for z, y in zip(logits, labels, strict=True)]
    elif config.penalty == "spectral_decoupling":
        each = [np.mean(z**2) for z in logits]
    elif config.penalty == "clove":
        each = [calibration_error(*map(torch.from_numpy, pair)).item() for pair in zip(logits, labels, strict=True)]
    else:
        each = [gradient(*each) ** 2 for each in zip(logits, labels, strict=True)]
    penalty = ACROSS[config.penalty](risks, np.array(each))
    times = len(risks) if config.across == "sum" else 1
    return times * (np.mean(risks) + config.penalty_weight * penalty)


@pytest.fixture(scope="module")
def examples():
    """Shape evidence, colours and labels of two environments, drawn as Colored MNIST's are."""
    rng = np.random.default_rng(5)
    label = rng.random((2, 4000)) < 0.5
    clean = label ^ (rng.random(label.shape) < 0.25)
    colour = label ^ (rng.random(label.shape) < np.array([[0.2], [0.1]]))
    shape = (2.0 * clean - 1) + rng.normal(0, 0.8, label.shape)
    return shape, 2.0 * colour - 1, label.astype(float)


def fit(config, examples):
    return fitted(config, *(torch.from_numpy(each)[None] for each in examples))


@pytest.mark.parametrize("across", ["mean", "sum"])
@pytest.mark.parametrize("penalty", [name for name, penalty in PENALTIES.items() if not penalty.beside])
def test_the_fit_is_a_minimum_of_the_objective_written_plainly(examples, penalty, across):
    config = RunConfig(penalty=penalty, penalty_weight=300.0, across=across)
    if penalty == "clove":  # whose pairs are as many as the square of the examples
        examples = tuple(each[:, :300] for each in examples)
    found = np.array(fit(config, examples))
    plain = optimize.minimize(objective, found, (*examples, config), method="Nelder-Mead", options={"xatol": 1e-7})
    np.testing.assert_allclose(found, plain.x, atol=2e-4)


@pytest.mark.parametrize(
    ("changed", "key"),
    [({"penalty": "fishr"}, "run.penalty: 'fishr' needs a network's features"),
     ({"penalty": "iga"}, "run.penalty: 'iga' needs a network's gradients"),
     ({"bottleneck_weight": 2.0}, "run.bottleneck_weight: 2.0 needs a network's features")],
)  # fmt: skip
def test_what_needs_a_network_has_no_ideal(changed, key):
    with pytest.raises(ConfigError, match=key):
        ideal_of(RunConfig(**changed), 0, "embedded", EnvironmentSpec())


def test_without_a_penalty_the_fit_is_logistic_regression(examples):
    sklearn = pytest.importorskip("sklearn.linear_model")
    shape, colour, labels = examples
    features = np.stack([shape.ravel(), colour.ravel()], axis=1)
    plain = sklearn.LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(features, labels.ravel())
    np.testing.assert_allclose(fit(RunConfig(penalty_weight=0.0), examples), plain.coef_[0], atol=1e-4)


@pytest.mark.parametrize("weight", [1e3, 1e4, 1e6])
def test_the_fit_does_not_collapse_and_more_weight_leans_less_on_colour(examples, weight):
    alpha, beta = fit(RunConfig(penalty_weight=weight), examples)
    free = fit(RunConfig(penalty_weight=0.0), examples)
    assert alpha > 0.3
    assert abs(beta / alpha) < abs(free[1] / free[0]) / 3


def test_skill_and_reliance_are_those_of_accuracies_counted_over_many_draws():
    rng = np.random.default_rng(3)
    label, noise, beta = rng.random(300) < 0.5, 0.25, 0.6
    shape = (2.0 * label - 1) + rng.normal(0, 1.0, 300)

    def counted(flip):
        noisy = label ^ (rng.random((4000, 300)) < noise)
        colour = noisy ^ (rng.random(noisy.shape) < flip)
        return ((shape + beta * (2.0 * colour - 1) > 0) == noisy).mean()

    skill, reliance = skill_and_reliance(shape, beta, label, noise)
    assert skill == pytest.approx(counted(0.5), abs=0.002)
    assert reliance == pytest.approx((counted(0.1) - counted(0.9)) / 0.8, abs=0.004)


# Evidence


def test_evidence_tells_the_shape_of_digits_that_its_network_has_not_seen():
    evidence, below_five = shape_evidence("embedded", 14)
    assert len(evidence) == 20_000
    right = (evidence > 0) == below_five
    assert 0.92 < right.mean() < 0.975  # a network that had seen them has over .99
    by_fold = [right.reshape(-1, 4)[fold::2].mean() for fold in (0, 1)]
    assert abs(by_fold[0] - by_fold[1]) < 0.02


def test_an_ideal_repeats_and_differs_from_seed_to_seed():
    spec, config = EnvironmentSpec(), RunConfig(penalty_weight=1e4)
    first, again, other = (ideal_of(config, seed, "embedded", spec) for seed in (0, 0, 1))
    assert first == again != other
    assert 0.69 < first.shape_skill < 0.75
    assert abs(first.colour_reliance) < 0.15
    free = ideal_of(RunConfig(penalty_weight=0.0), 0, "embedded", spec)
    assert free.colour_reliance > 0.5  # ERM leans on colour


def test_without_colour_there_is_no_ideal():
    with pytest.raises(ConfigError, match="has no colour"):
        ideal_of(RunConfig(), 0, "embedded", EnvironmentSpec(channels="grey"))


# The table and the command


def test_ideals_are_read_as_they_were_written(tmp_path):
    record = with_ideals(study_record(tmp_path, confirm_seeds=12, only="near_miss"))
    stored(record)
    write_ideals(tmp_path, record.ideals)
    pd.testing.assert_frame_equal(read_ideals(tmp_path), record.ideals.reset_index(drop=True))
    assert len(load_study(tmp_path).ideals) == 12


HEADER = "digest,seed,alpha,beta,shape_skill,colour_reliance,train_accuracy,test_accuracy\n"


@pytest.mark.parametrize("text", ["", "digest,seed\nr1,2\n", "\x00", f"{HEADER}r1,1,nan,0,0,0,0,0\n"])
def test_a_file_that_holds_no_ideals_is_named(tmp_path, text):
    (tmp_path / "ideal.csv").write_text(text)
    with pytest.raises(ConfigError, match=r"ideal\.csv: holds no ideals"):
        read_ideals(tmp_path)


def test_each_run_stands_beside_the_ideal_of_its_own_draw(tmp_path):
    record = with_ideals(study_record(tmp_path, confirm_seeds=12, only="near_miss"))
    table = ideals(record)
    runs = record.runs[record.runs["stage"] == "confirm"].set_index("seed")
    assert table["seed"].tolist() == list(range(1000, 1012))
    for row in table.to_dict("records"):
        run, asked = runs.loc[row["seed"]], record.ideals.set_index("seed").loc[row["seed"]]
        reliance = (run["heldout_accuracy"] - run["test_accuracy"]) / 0.75
        assert row["reliance_difference"] == pytest.approx(reliance - asked["colour_reliance"])
        assert row["skill_difference"] == pytest.approx(run["test_accuracy"] + 0.4 * reliance - asked["shape_skill"])
    assert ideals(study_record(tmp_path)).empty


def command(*arguments):
    return CliRunner().invoke(app, ["ideal", *map(str, arguments)], standalone_mode=False)


def test_the_command_completes_the_ideals_of_a_study_and_shows_them_on_its_page(tmp_path):
    stored(study_record(tmp_path, trials=2, seeds=1, confirm_seeds=4, only="near_miss"))
    assert command(tmp_path, "--quiet").exception is None
    first = (tmp_path / "ideal.csv").read_bytes()
    table = read_ideals(tmp_path)
    assert table["seed"].tolist() == [1000, 1001, 1002, 1003]
    assert "What each draw of data asks for" in (tmp_path / "report.html").read_text()
    write_ideals(tmp_path, table.drop(index=2))
    answer = json.loads(command(tmp_path, "--json").stdout)
    assert (tmp_path / "ideal.csv").read_bytes() == first
    [of_winner] = answer["configurations"]
    assert of_winner["n"] == 4
    assert of_winner["colour_reliance"]["deviation"] == pytest.approx(table["colour_reliance"].std())


def test_the_command_takes_a_configuration_and_its_seeds(tmp_path):
    result = command("authors", "--seeds", 2, "--out", tmp_path, "--set", "digits=embedded", "--json")  # fmt: skip
    assert result.exception is None
    assert read_ideals(tmp_path)["seed"].tolist() == [0, 1]
    assert json.loads(result.stdout)["configurations"][0]["n"] == 2


def test_the_command_refuses_a_study_without_confirmation_and_seeds_of_a_study(tmp_path):
    stored(study_record(tmp_path, trials=2, confirm_top=0))
    assert "has no confirmed configuration" in str(command(tmp_path).exception)
    assert "a study has its own fresh seeds" in str(command(tmp_path, "--seeds", 3).exception)


# What the sentence claims


def pairs(rng, n, r, heavy=False):
    """Pairs with correlation r."""
    draw = (lambda size: rng.standard_t(4, size)) if heavy else rng.standard_normal
    first = draw(n)
    return first, r * first + np.sqrt(1 - r**2) * draw(n)


def table_of(ideal, run):
    columns = {"trial": 0, "failure_mode": "partial", "skill_difference": 0.0, "reliance_difference": 0.0}
    return pd.DataFrame({"ideal_reliance": ideal, "reliance": run, "ideal_test": ideal, "test": run}).assign(**columns)


def claims(n, r, heavy=False, times=1000):
    rng = np.random.default_rng(n)
    sentences = [ideal_sentence(table_of(*pairs(rng, n, r, heavy))) for _ in range(times)]
    return np.mean(["in the draws of data" in sentence for sentence in sentences])


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("n", [4, 8, 12, 50])
def test_where_runs_do_not_follow_their_ideals_the_sentence_is_silent(n, heavy):
    assert claims(n, 0.0, heavy) <= 0.05


def test_where_runs_follow_their_ideals_the_sentence_says_so():
    assert claims(12, 0.8) > 0.8
    assert claims(50, 0.5) > 0.9


@pytest.mark.parametrize("n", [8, 12, 50])
@pytest.mark.parametrize("r", [0.0, 0.5, 0.8])
def test_the_interval_of_the_share_covers_it(n, r):
    rng = np.random.default_rng(1)
    found = [correlation(*pairs(rng, n, r)).explained for _ in range(1000)]
    assert np.mean([low <= r**2 <= high for _, low, high in found]) >= 0.93


def test_the_correlation_is_pearsons_with_fishers_interval():
    rng = np.random.default_rng(2)
    first, second = pairs(rng, 15, 0.6)
    expected = stats.pearsonr(first, second)
    found = correlation(first, second)
    assert found.r == pytest.approx(expected.statistic)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert correlation([*first, np.nan], [*second, 1.0]) == found  # a run that diverged


@pytest.mark.parametrize("runs", [[0.1] * 8, [0.1, 0.2, 0.3]])
def test_of_runs_that_are_alike_or_too_few_nothing_is_said(runs):
    assert "too few, or too much alike" in ideal_sentence(table_of(np.linspace(0, 1, len(runs)), runs))
