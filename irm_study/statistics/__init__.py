"""Numbers from numbers: rates, means that outliers don't rule, intervals, tests, shares of variance.

Every function takes arrays and gives numbers, never a table or a picture. Whatever is random draws from a generator
that the caller passes. Values must be finite: a run that diverged has its worst finite score or is counted as a failure
before it comes here, so a NaN is a mistake and raises ValueError with the argument's name. Where NaN is returned its
function says so. Intervals are two-sided, each end leaving out half of `1 - confidence`, unless said otherwise.
scipy.stats takes a second to import, so the tests that need it import it themselves, and a study is read and summed up
without it.

What claims a difference is held to `SIGNIFICANT` in the tests: in simulated studies in which nothing matters it is said
in no more than that share of them.
"""

from irm_study.statistics.association import (
    FEWEST_TRIALS,
    SIGNIFICANT_ALONG,
    associations,
    explained_share,
    quantile_groups,
)
from irm_study.statistics.checks import SIGNIFICANT, Estimate, Interval
from irm_study.statistics.differences import Comparison, best_of_several, compare_paired, compare_success, holm
from irm_study.statistics.means import FEWEST_VALUES, Statistic, bootstrap_interval, iqm
from irm_study.statistics.rates import (
    Profile,
    anytime_success_rate,
    mean_rate,
    performance_profile,
    share_above_minimum,
    success_rate,
)
from irm_study.statistics.variance import VarianceShares, variance_share_intervals, variance_shares

__all__ = [
    "FEWEST_TRIALS",
    "FEWEST_VALUES",
    "SIGNIFICANT",
    "SIGNIFICANT_ALONG",
    "Comparison",
    "Estimate",
    "Interval",
    "Profile",
    "Statistic",
    "VarianceShares",
    "anytime_success_rate",
    "associations",
    "best_of_several",
    "bootstrap_interval",
    "compare_paired",
    "compare_success",
    "explained_share",
    "holm",
    "iqm",
    "mean_rate",
    "performance_profile",
    "quantile_groups",
    "share_above_minimum",
    "success_rate",
    "variance_share_intervals",
    "variance_shares",
]
