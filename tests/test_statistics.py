"""Statistics, held against closed forms, plain loops, published examples, and simulated studies.

Where an interval is said to cover 95%, studies are simulated with a known truth and covered ones are
counted. Of 2,000 studies 95% are covered give or take 1% (two standard errors), so the bounds of 93%
and 97% leave room for what the method itself misses at that size.
"""

import ast
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from irm_study import statistics
from irm_study.statistics import (
    anytime_success_rate,
    associations,
    best_of_several,
    bootstrap_interval,
    compare_paired,
    compare_success,
    differences,
    explained_share,
    holm,
    iqm,
    mean_rate,
    performance_profile,
    quantile_groups,
    share_above_minimum,
    success_rate,
    variance_share_intervals,
    variance_shares,
)

STUDIES = 2_000
# Test accuracies of the ten restarts in the IRM authors' log.
RESTARTS = [0.6976, 0.6713, 0.6875, 0.6310, 0.6699, 0.6945, 0.6800, 0.6255, 0.6423, 0.6906]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_statistics_imports_nothing_but_numpy_and_scipy():
    imported = set()
    for file in Path(statistics.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported |= {each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
        imported |= {name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names}
    imported = {each for each in imported if not each.startswith("irm_study.statistics.")}
    assert {each.split(".")[0] for each in imported} <= {"__future__", "collections", "typing", "numpy", "scipy"}


# Success rates


@pytest.mark.parametrize("successes, n", [(0, 10), (1, 8), (7, 10), (10, 10), (50, 73)])
def test_success_rate_has_wilsons_interval(successes, n):
    rate, z = successes / n, 1.959963984540054
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    estimate = success_rate(successes, n)
    assert estimate.value == rate
    assert estimate.interval == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_success_rate_of_no_runs_is_unknown():
    rate, interval = success_rate(0, 0)
    assert math.isnan(rate) and interval == (0, 1)


@settings(deadline=None)  # a busy machine is no fault of the function
@given(n=st.integers(1, 300), data=st.data())
def test_success_and_failure_have_mirrored_intervals_that_hold_the_rate(n, data):
    successes = data.draw(st.integers(0, n))
    rate, (low, high) = success_rate(successes, n, 0.9)
    _, mirrored = success_rate(n - successes, n, 0.9)
    assert 0 <= low <= rate <= high <= 1 and low < high
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_wilson_interval_covers_the_true_rate():
    for n, rate in ((20, 0.5), (50, 0.7), (50, 0.9)):
        intervals = [success_rate(successes, n).interval for successes in range(n + 1)]
        drawn = rng(n).binomial(n, rate, STUDIES)
        assert 0.93 <= np.mean([intervals[k].low <= rate <= intervals[k].high for k in drawn]) <= 0.97


@pytest.mark.parametrize("successes, n", [(-1, 4), (5, 4), (1.5, 4), (1, 4.5), (math.nan, 4), (1, math.inf)])
def test_impossible_counts_are_refused_with_the_rule(successes, n):
    with pytest.raises(ValueError, match="successes and n must be whole numbers, 0 <= successes <= n; got"):
        success_rate(successes, n)


def test_the_mean_of_rates_that_are_all_or_nothing_has_wilsons_interval_for_so_many_configurations():
    expected = stats.binomtest(7, 10).proportion_ci(method="wilson")
    rate, interval = mean_rate([1.0] * 7 + [0.0] * 3)
    assert rate == pytest.approx(0.7) and interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("spread", [0.2, 2.0, 20.0])
def test_the_interval_of_a_mean_of_rates_covers_it_whether_or_not_a_configurations_runs_end_alike(spread):
    # Rates of 30 configurations around .8, of 5 runs each: nearly all or nothing, as they come, or nearly the same.
    rates = rng(1).beta(0.8 * spread, 0.2 * spread, (STUDIES, 30))
    means = rng(2).binomial(5, rates) / 5
    covered = [low <= 0.8 <= high for _, (low, high) in map(mean_rate, means)]
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize(
    ("rates", "message"), [([0.5, 1.2], "in \\[0, 1\\]; got 0.5 to 1.2"), ([], "at least one number")]
)
def test_rates_that_are_none_are_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        mean_rate(rates)


@pytest.mark.parametrize("successes, n", [(36, 50), (1, 8), (0, 12), (12, 12), (45, 50)])
def test_the_interval_at_any_n_ends_where_the_runs_are_twenty_times_likelier_under_any_rate(successes, n):
    # Under a rate that may be any, each number of successes is as likely: 1 / (n + 1).
    rate, (low, high) = anytime_success_rate(successes, n)
    assert rate == successes / n
    for end in {low, high} - {0.0, 1.0}:
        assert stats.binom.pmf(successes, n, end) == pytest.approx(1 / (n + 1) / 20)
    assert (low == 0) == (successes == 0) and (high == 1) == (successes == n)


def test_the_interval_at_any_n_holds_the_true_rate_at_all_of_them_at_once():
    known = {(k, n): anytime_success_rate(k, n).interval for n in range(1, 101) for k in range(n + 1)}
    for rate in (0.5, 0.8):
        counts = (rng(1).random((STUDIES, 100)) < rate).cumsum(axis=1)
        left_out = [
            any(not known[k, n].low <= rate <= known[k, n].high for n, k in enumerate(row, 1))
            for row in counts.tolist()
        ]
        assert np.mean(left_out) <= 0.05
    assert anytime_success_rate(0, 0).interval == (0, 1)


def test_the_share_above_the_lowest_is_held_in_95_of_100_samples():
    assert share_above_minimum(12) == pytest.approx(0.7791, abs=1e-4)
    lowest = rng(2).random((STUDIES, 12)).min(axis=1)  # of a uniform variable the share above it is 1 - it
    assert np.mean(1 - lowest >= share_above_minimum(12)) == pytest.approx(0.95, abs=0.01)
    assert share_above_minimum(0) == 0


# Means


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm(RESTARTS) == pytest.approx(sum(sorted(RESTARTS)[2:-2]) / 6)
    assert iqm([5.0]) == 5.0 and iqm([1.0, 2.0, 6.0]) == 3.0
    assert iqm([0.0, 1.0, 2.0, 1000.0]) == 1.5


def test_iqm_reduces_one_axis_of_many():
    values = rng().random((3, 25, 2))
    expected = [[iqm(values[i, :, j]) for j in range(2)] for i in range(3)]
    assert iqm(values, axis=1) == pytest.approx(np.array(expected))
    assert isinstance(iqm(values[0, :, 0]), float)


# The bootstrap


@pytest.mark.parametrize("n, statistic", [(8, np.mean), (8, iqm), (20, np.mean), (20, iqm), (50, np.median)])
def test_bootstrap_interval_covers_the_truth(n, statistic):
    generator = rng(n)
    covered = 0
    for _ in range(STUDIES):
        low, high = bootstrap_interval(generator.normal(0.65, 0.05, n), statistic, generator, resamples=300)
        covered += low <= 0.65 <= high
    assert 0.93 <= covered / STUDIES <= 0.97


def test_plain_percentiles_of_eight_values_would_cover_too_little():
    generator = rng(8)
    covered = 0
    for _ in range(STUDIES):
        values = generator.standard_normal(8)
        means = values[generator.integers(8, size=(300, 8))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered / STUDIES < 0.91


def test_bootstrap_interval_of_many_values_is_students():
    values = rng(3).exponential(size=2_000)
    low, high = bootstrap_interval(values, np.mean, rng(4), resamples=20_000)
    expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected, abs=0.003)


def test_bootstrap_interval_widens_with_confidence():
    widths = [np.diff(bootstrap_interval(RESTARTS, iqm, rng(), confidence)) for confidence in (0.5, 0.8, 0.95)]
    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_bootstrap_repeats_with_its_generator_and_differs_with_another():
    assert bootstrap_interval(RESTARTS, np.mean, rng(1)) == bootstrap_interval(RESTARTS, np.mean, rng(1))
    assert bootstrap_interval(RESTARTS, np.mean, rng(1)) != bootstrap_interval(RESTARTS, np.mean, rng(2))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("statistic", [np.mean, iqm])
def test_bootstrap_of_less_than_eight_values_knows_nothing_and_of_equal_values_has_no_width(statistic):
    for n in range(1, 8):
        assert all(math.isnan(end) for end in bootstrap_interval(RESTARTS[:n], statistic, rng()))
    assert bootstrap_interval([0.25] * 8, statistic, rng()) == (0.25, 0.25)
    low, high = bootstrap_interval([0.25] * 7 + [0.5], statistic, rng())
    assert 0.25 <= low <= high <= 0.5


# Profiles


def test_performance_profile_is_the_share_strictly_above_each_threshold():
    values, thresholds = [0.1, 0.5, 0.5, 0.9], [0.0, 0.1, 0.3, 0.5, 0.9, 1.0]
    profile = performance_profile(values, thresholds)
    for threshold, share, low, high in zip(thresholds, *profile, strict=True):
        above = sum(value > threshold for value in values)
        assert share == above / 4
        assert (low, high) == success_rate(above, 4).interval


def test_performance_profile_keeps_the_order_of_its_thresholds_and_takes_none():
    assert performance_profile([1.0, 2.0], [1.5, 0.0, 2.5]).share.tolist() == [0.5, 1.0, 0.0]
    assert all(part.shape == (0,) for part in performance_profile([1.0], []))


def test_performance_profile_band_covers_the_true_share_at_each_threshold():
    generator, thresholds = rng(5), np.array([-0.5, 0.0, 1.0])
    truth = stats.norm.sf(thresholds)
    covered = np.zeros(3)
    for _ in range(500):
        profile = performance_profile(generator.standard_normal(40), thresholds)
        covered += (profile.low <= truth) & (truth <= profile.high)
    # 500 studies: two standard errors are 2 points.
    assert (covered / 500 >= 0.92).all() and (covered / 500 <= 0.98).all()


# Two configurations


@pytest.mark.parametrize(
    "counts, low, high",
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_difference_of_rates_has_the_interval_that_newcombe_published(counts, low, high):
    k1, n1, k2, n2 = counts
    comparison = compare_success(*counts)
    assert comparison.difference == pytest.approx(k1 / n1 - k2 / n2)
    assert comparison.interval == pytest.approx((low, high), abs=5e-5)


def boschloo_by_loop(k1: int, n1: int, k2: int, n2: int) -> float:
    """Doubled smaller tail: for each, the largest chance over the common rate of so small a Fisher p-value."""
    rates = np.linspace(0, 1, 1001)
    tails = []
    for alternative in ("less", "greater"):
        fisher = {
            (i, j): stats.fisher_exact([[i, j], [n1 - i, n2 - j]], alternative).pvalue
            for i, j in itertools.product(range(n1 + 1), range(n2 + 1))
        }
        chance = sum(
            math.comb(n1, i) * math.comb(n2, j) * rates ** (i + j) * (1 - rates) ** (n1 + n2 - i - j)
            for (i, j), p_value in fisher.items()
            if p_value <= fisher[k1, k2] * (1 + 1e-9)
        )
        tails.append(max(chance))
    return min(1.0, 2 * min(tails))


@pytest.mark.parametrize("counts", [(7, 8, 2, 8), (1, 6, 7, 9), (4, 8, 4, 8), (8, 8, 0, 8)])
def test_difference_of_rates_has_boschloos_p_value(counts):
    assert compare_success(*counts).p_value == pytest.approx(boschloo_by_loop(*counts), rel=1e-3)


def test_many_runs_are_compared_by_fishers_test(monkeypatch):
    exact = compare_success(60, 100, 45, 100).p_value
    monkeypatch.setattr(differences, "BOSCHLOO_CELLS", 9_999)
    fisher = compare_success(60, 100, 45, 100).p_value
    assert fisher == stats.fisher_exact([[60, 45], [40, 55]]).pvalue
    assert exact < fisher


def test_difference_of_rates_is_covered_and_equal_rates_are_rarely_told_apart():
    generator, known = rng(6), {}

    def study(rate1: float, rate2: float) -> statistics.Comparison:
        counts = (int(generator.binomial(16, rate1)), 16, int(generator.binomial(12, rate2)), 12)
        return known[counts] if counts in known else known.setdefault(counts, compare_success(*counts))

    covered = [low <= 0.8 - 0.5 <= high for _, (low, high), _ in (study(0.8, 0.5) for _ in range(STUDIES))]
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean([study(0.6, 0.6).p_value <= 0.05 for _ in range(STUDIES)]) <= 0.06


def test_comparison_with_a_side_without_runs_finds_nothing():
    for counts in ((0, 0, 3, 8), (3, 8, 0, 0), (0, 0, 0, 0)):
        difference, interval, p_value = compare_success(*counts)
        assert math.isnan(difference) and interval == (-1, 1) and p_value == 1


def test_impossible_counts_of_the_second_side_are_named():
    with pytest.raises(ValueError, match="k2 and n2 must be whole numbers, 0 <= k2 <= n2; got 9 and 8"):
        compare_success(1, 8, 9, 8)


def test_paired_p_value_is_the_share_of_sign_patterns_as_extreme():
    first = np.array(RESTARTS)
    second = first - np.array([3, 1, 4, 1, -5, 9, 2, -6, 5, 3]) / 1024
    patterns = np.array(list(itertools.product([1, -1], repeat=10)))
    means = patterns @ (first - second)
    expected = np.mean(np.abs(means) >= abs((first - second).sum()) - 1e-12)
    comparison = compare_paired(first, second, rng())
    assert comparison.difference == pytest.approx(17 / 10240)
    assert comparison.p_value == pytest.approx(expected)
    assert comparison.interval.low < comparison.difference < comparison.interval.high


def test_paired_p_value_of_many_seeds_is_near_students():
    first, second = rng(7).normal(0.02, 0.05, 60), np.zeros(60)
    expected = stats.ttest_rel(first, second).pvalue
    assert compare_paired(first, second, rng()).p_value == pytest.approx(expected, abs=0.01)
    assert compare_paired(first, second, rng(1)) == compare_paired(first, second, rng(1))
    p_values = {compare_paired(first, second, rng(seed)).p_value for seed in range(4)}
    assert len(p_values) > 1  # the sign patterns come from the caller's generator


def test_paired_comparison_uses_the_seeds_that_both_share():
    luck = rng(8).normal(0, 1, 12)
    assert compare_paired(luck + 0.1 + rng(9).normal(0, 0.05, 12), luck, rng()).p_value < 0.01


def test_paired_comparison_rejects_equal_configurations_as_often_as_said():
    generator = rng(10)
    p_values = [compare_paired(generator.normal(size=8), np.zeros(8), generator).p_value for _ in range(STUDIES)]
    # The largest level below 0.05 that 8 signs allow is 12 of 256, 0.047.
    assert 0.037 <= np.mean(np.array(p_values) <= 0.05) <= 0.057


@pytest.mark.filterwarnings("error")
def test_paired_comparison_of_one_seed_or_of_equal_runs_finds_nothing():
    one = compare_paired([0.7], [0.6], rng())
    assert one.difference == pytest.approx(0.1) and one.p_value == 1 and math.isnan(one.interval.low)
    assert compare_paired(RESTARTS, RESTARTS, rng()) == (0, (0, 0), 1)


def test_paired_comparison_of_different_numbers_of_seeds_is_refused():
    with pytest.raises(ValueError, match="first and second must be of the same seeds; got 2 and 3 values"):
        compare_paired([1, 2], [1, 2, 3], rng())


# Many configurations


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_what_closed_testing_with_bonferroni_gives(p_values):
    # A hypothesis falls when every set of hypotheses that holds it does: the definition that Holm's steps shorten.
    indices = range(len(p_values))
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in itertools.combinations(indices, size)]
    expected = [
        max(min(1.0, len(chosen) * min(p_values[j] for j in chosen)) for chosen in sets if i in chosen) for i in indices
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(ValueError, match="p_values must be one row of numbers in"):
        holm([0.1, 1.1])


# Sources of variance


def test_variance_shares_of_a_sum_are_those_of_its_parts():
    rows, columns = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0, 2.0, 3.0])
    shares = variance_shares(rows[:, None] + columns)
    data, initialisation = np.var(rows, ddof=1), np.var(columns, ddof=1)
    expected = (data / (data + initialisation), initialisation / (data + initialisation), 0)
    assert shares == pytest.approx(expected, abs=1e-12)
    assert variance_shares((rows[:, None] + columns).T)[:2] == pytest.approx(expected[1::-1])


def test_variance_shares_are_those_of_the_textbooks_mean_squares():
    values = rng(11).normal(size=(4, 3)) + 2 * rng(12).normal(size=(4, 1)) + rng(13).normal(size=(1, 3))
    a, b = values.shape
    grand = values.mean()
    ss_rows = sum(b * (values[i].mean() - grand) ** 2 for i in range(a))
    ss_columns = sum(a * (values[:, j].mean() - grand) ** 2 for j in range(b))
    rest = (((values - grand) ** 2).sum() - ss_rows - ss_columns) / ((a - 1) * (b - 1))
    rows = max(0, ss_rows / (a - 1) - rest) / b
    columns = max(0, ss_columns / (b - 1) - rest) / a
    total = rows + columns + rest
    assert variance_shares(values) == pytest.approx((rows / total, columns / total, rest / total))


def crossed(generator: np.random.Generator, shares: tuple[float, float, float], n: int) -> np.ndarray:
    data, initialisation, rest = (np.sqrt(share) for share in shares)
    return (
        data * generator.standard_normal((n, 1))
        + initialisation * generator.standard_normal((1, n))
        + rest * generator.standard_normal((n, n))
    )


def test_variance_shares_recover_the_variances_that_made_the_table():
    generator = rng(14)
    estimates = [variance_shares(crossed(generator, (0.4, 0.1, 0.5), 40)) for _ in range(100)]
    assert np.mean(estimates, axis=0) == pytest.approx((0.4, 0.1, 0.5), abs=0.02)


@pytest.mark.parametrize("n", [4, 8])
@pytest.mark.parametrize("shares", [(0.1, 0.1, 0.8), (0.6, 0.1, 0.3), (0.0, 0.5, 0.5)])
def test_variance_share_intervals_cover_the_shares_that_made_the_table(shares, n):
    generator, covered = rng(n), np.zeros(3)
    for _ in range(500):
        intervals = variance_share_intervals(crossed(generator, shares, n), generator, draws=500)
        covered += [low <= share <= high for share, (low, high) in zip(shares, intervals, strict=True)]
    # 500 tables: two standard errors are 2 points.
    assert (covered / 500 >= 0.92).all()


def test_variance_share_intervals_narrow_with_more_draws_and_repeat_with_their_generator():
    values = crossed(rng(16), (0.5, 0.1, 0.4), 20)
    wide, narrow = (variance_share_intervals(values[:n, :n], rng()) for n in (4, 20))
    assert narrow[0].high - narrow[0].low < 0.45 < wide[0].high - wide[0].low
    assert variance_share_intervals(values, rng()) == variance_share_intervals(values, rng())
    assert all(math.isnan(end) for each in variance_share_intervals(np.ones((3, 3)), rng()) for end in each)


def test_variance_shares_have_no_negative_part_and_know_when_there_is_none():
    assert variance_shares([[1, -1], [-1, 1]]) == (0, 0, 1)
    assert all(math.isnan(share) for share in variance_shares(np.full((3, 4), 0.1)))


def test_variance_shares_of_a_table_that_is_not_crossed_are_refused():
    for values in ([[1, 2, 3]], [1, 2], [[1], [2]]):
        with pytest.raises(ValueError, match="at least two of each; got shape"):
            variance_shares(values)


# Hyperparameters


def test_explained_share_is_adjusted_r_squared_and_its_interval_the_jackknifes():
    groups, values = rng(17).integers(3, size=14), rng(18).normal(size=14)
    values[groups == 1] += 2

    def adjusted(groups: np.ndarray, values: np.ndarray) -> float:
        design = np.array([groups == each for each in np.unique(groups)], float).T
        residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        return 1 - (residual**2).sum() / (len(values) - design.shape[1]) / values.var(ddof=1)

    share, (low, high) = explained_share(groups, values)
    without = [adjusted(np.delete(groups, place), np.delete(values, place)) for place in range(14)]
    half = stats.t.ppf(0.975, 13) * math.sqrt(13 / 14 * sum((each - np.mean(without)) ** 2 for each in without))
    assert share == pytest.approx(adjusted(groups, values))
    assert (low, high) == pytest.approx((max(0, share - half), min(1, share + half)))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_explained_share_covers_the_truth(share):
    generator, covered = rng(19), 0
    for _ in range(1000):
        groups = np.repeat(np.arange(4), 6)
        values = np.sqrt(share) * np.where(generator.permutation(groups) > 1, 1, -1)
        groups, values = (values > 0) * 2 + generator.integers(2, size=24), values
        values = values + np.sqrt(1 - share) * generator.standard_normal(24)
        low, high = explained_share(groups, values).interval
        covered += low <= share <= high
    assert covered / 1000 >= 0.89


def test_association_is_the_share_of_permutations_whose_smallest_p_is_as_small():
    groups = [np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 1])]
    values = np.array([0.1, 0.2, 0.7, 0.9, 0.85])

    def f_tests(values: np.ndarray) -> list[float]:
        return [stats.f_oneway(*(values[each == group] for group in np.unique(each))).pvalue for each in groups]

    smallest = np.array([min(f_tests(np.array(each))) for each in itertools.permutations(values)])
    expected = [np.mean(smallest <= each * (1 + 1e-9)) for each in f_tests(values)]
    assert associations(groups, values, rng(), 20_000) == pytest.approx(expected, abs=0.015)


def test_a_hyperparameter_of_one_value_and_equal_values_are_associated_with_nothing():
    assert associations([[0, 0, 0, 0], [0, 1, 0, 1]], [1, 2, 3, 4], rng())[0] == 1
    assert associations([[0, 1, 0, 1]], [2, 2, 2, 2], rng()).tolist() == [1]
    assert associations([], [1, 2], rng()).shape == (0,)
    assert explained_share([0, 0, 0, 1], [1, 1, 1, 1]).value == 0
    assert math.isnan(explained_share([0, 1, 2], [1, 2, 3]).interval.low)


def test_ranges_are_cut_at_quartiles_and_what_does_not_apply_is_a_group():
    assert quantile_groups([1, 2, 3, 4, 5, 6, 7, 8]).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert quantile_groups([5, math.nan, 1, 5]).tolist() == [1, -1, 0, 1]
    assert quantile_groups([3, math.nan]).tolist() == [0, -1]


def test_the_best_of_several_is_held_against_exchanging_configurations_seed_by_seed():
    scores = np.array([[0.1, 0.3, 0.2], [0.5, 0.4, 0.2], [0.2, 0.6, 0.3]])
    regrets = []
    for each in itertools.product(itertools.permutations(range(3)), repeat=3):
        means = np.mean([scores[list(order), seed] for seed, order in enumerate(each)], axis=0)
        regrets.append(means.max() - means[0])
    observed = scores.mean(axis=1).max() - scores.mean(axis=1)[0]
    expected = np.mean([regret >= observed - 1e-12 for regret in regrets])
    assert best_of_several(scores, 0, rng(), 20_000) == pytest.approx(expected, abs=0.01)
    assert best_of_several(scores, scores.mean(axis=1).argmax(), rng()) == 1


# What is refused everywhere


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name, call",
    [
        ("values", iqm),
        ("values", lambda values: bootstrap_interval(values, np.mean, rng())),
        ("values", lambda values: performance_profile(values, [0.5])),
        ("thresholds", lambda values: performance_profile([0.5], values)),
        ("first", lambda values: compare_paired(values, [1, 2], rng())),
        ("second", lambda values: compare_paired([1, 2], values, rng())),
        ("p_values", holm),
        ("values", lambda values: variance_shares([values, values])),
    ],
)
def test_number_that_is_not_finite_is_refused_by_name(name, call, wrong):
    with pytest.raises(ValueError, match=f"^{name} must be finite; got [12] of [24] that are not, first {wrong}"):
        call([0.5, wrong])


@pytest.mark.parametrize("call", [iqm, lambda values: bootstrap_interval(values, np.mean, rng())])
def test_statistic_of_no_values_is_refused(call):
    with pytest.raises(ValueError, match="values must hold at least one number"):
        call([])


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_confidence_must_be_a_fraction(confidence):
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\); got"):
        success_rate(1, 2, confidence)
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\); got"):
        bootstrap_interval([1, 2], np.mean, rng(), confidence)
