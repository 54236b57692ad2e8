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
    bootstrap_interval,
    compare_paired,
    compare_success,
    holm,
    iqm,
    performance_profile,
    success_rate,
    variance_shares,
    worst_decile,
)

STUDIES = 2_000
# Test accuracies of the ten restarts in the IRM authors' log.
RESTARTS = [0.6976, 0.6713, 0.6875, 0.6310, 0.6699, 0.6945, 0.6800, 0.6255, 0.6423, 0.6906]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_statistics_imports_nothing_but_numpy_and_scipy():
    tree = ast.parse(Path(statistics.__file__).read_text(encoding="utf-8"))
    imported = {each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    imported |= {name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names}
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


# Means


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm(RESTARTS) == pytest.approx(sum(sorted(RESTARTS)[2:-2]) / 6)
    assert iqm([5.0]) == 5.0 and iqm([1.0, 2.0, 6.0]) == 3.0
    assert iqm([0.0, 1.0, 2.0, 1000.0]) == 1.5


def test_worst_decile_is_the_mean_of_the_lowest_tenth():
    assert worst_decile(RESTARTS) == 0.6255
    assert worst_decile(rng().permutation(30.0 + np.arange(39))) == pytest.approx((30 + 31 + 32) / 3)
    assert worst_decile([3.0, 1.0]) == 1.0


@pytest.mark.parametrize("statistic", [iqm, worst_decile])
def test_means_reduce_one_axis_of_many(statistic):
    values = rng().random((3, 25, 2))
    expected = [[statistic(values[i, :, j]) for j in range(2)] for i in range(3)]
    assert statistic(values, axis=1) == pytest.approx(np.array(expected))
    assert isinstance(statistic(values[0, :, 0]), float)


# The bootstrap


@pytest.mark.parametrize("n, statistic", [(8, np.mean), (20, np.mean), (20, iqm), (50, np.median)])
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
@pytest.mark.parametrize("statistic", [np.mean, iqm, worst_decile])
def test_bootstrap_of_one_value_knows_nothing_and_of_equal_values_has_no_width(statistic):
    assert all(math.isnan(end) for end in bootstrap_interval([0.7], statistic, rng()))
    assert bootstrap_interval([0.25] * 7, statistic, rng()) == (0.25, 0.25)
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
    monkeypatch.setattr(statistics, "BOSCHLOO_CELLS", 9_999)
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
    values = rng(11).normal(size=(4, 3, 2)) + 2 * rng(12).normal(size=(4, 1, 1)) + rng(13).normal(size=(1, 3, 1))
    a, b, r = values.shape
    grand = values.mean()
    ss_rows = sum(b * r * (values[i].mean() - grand) ** 2 for i in range(a))
    ss_columns = sum(a * r * (values[:, j].mean() - grand) ** 2 for j in range(b))
    ss_within = sum((values[i, j, k] - values[i, j].mean()) ** 2 for i, j, k in np.ndindex(a, b, r))
    ss_crossed = ((values - grand) ** 2).sum() - ss_rows - ss_columns - ss_within
    ms_crossed, ms_within = ss_crossed / ((a - 1) * (b - 1)), ss_within / (a * b * (r - 1))
    rows = max(0, ss_rows / (a - 1) - ms_crossed) / (b * r)
    columns = max(0, ss_columns / (b - 1) - ms_crossed) / (a * r)
    rest = max(0, ms_crossed - ms_within) / r + ms_within
    total = rows + columns + rest
    assert variance_shares(values) == pytest.approx((rows / total, columns / total, rest / total))


@pytest.mark.parametrize("replicates", [1, 3])
def test_variance_shares_recover_the_variances_that_made_the_table(replicates):
    generator = rng(14)
    estimates = [
        variance_shares(
            generator.normal(0, 2, (40, 1, 1))
            + generator.normal(0, 1, (1, 40, 1))
            + generator.normal(0, 1, (40, 40, 1))
            + generator.normal(0, 2, (40, 40, replicates))
        )
        for _ in range(100)
    ]
    assert np.mean(estimates, axis=0) == pytest.approx((0.4, 0.1, 0.5), abs=0.02)


def test_variance_shares_have_no_negative_part_and_know_when_there_is_none():
    assert variance_shares([[1, -1], [-1, 1]]) == (0, 0, 1)
    assert all(math.isnan(share) for share in variance_shares(np.full((3, 4), 0.1)))


def test_variance_shares_of_a_table_that_is_not_crossed_are_refused():
    for values in ([[1, 2, 3]], [1, 2], [[1], [2]]):
        with pytest.raises(ValueError, match="at least two of the first and the second; got shape"):
            variance_shares(values)


# What is refused everywhere


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name, call",
    [
        ("values", iqm),
        ("values", worst_decile),
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


@pytest.mark.parametrize("call", [iqm, worst_decile, lambda values: bootstrap_interval(values, np.mean, rng())])
def test_statistic_of_no_values_is_refused(call):
    with pytest.raises(ValueError, match="values must hold at least one number"):
        call([])


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_confidence_must_be_a_fraction(confidence):
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\); got"):
        success_rate(1, 2, confidence)
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\); got"):
        bootstrap_interval([1, 2], np.mean, rng(), confidence)
