"""Runs and trials of a study's record as exhibits and the page take them: which, in what order, how many succeeded.

From a `StudyRecord` to tidy pandas tables. Accuracies are fractions, times seconds; intervals are 95%: Wilson's for
shares, the bootstrap's for means and interquartile means (`irm_study.statistics`). Tables of one exhibit alone stand
beside its drawing.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pandas as pd

from irm_study import statistics
from irm_study.diagnosis import MODES
from irm_study.results import StudyRecord, best_trials, centre_of, confirmed_rate, confirmed_table, counted, mode_counts

LEADING = 6
"""How many configurations the figures of leading configurations show."""
EVERY_TRIAL = 1_000_000


def runs_of(record: StudyRecord) -> pd.DataFrame:
    """The record's runs, of search and confirmation; the columns are there even when there are no rows."""
    runs = all_runs(record)
    return runs[runs["stage"].isin(["search", "confirm"])]


def all_runs(record: StudyRecord) -> pd.DataFrame:
    """The record's runs, whatever they were trained for; the columns are there even when there are no rows."""
    if len(record.runs):
        return record.runs
    columns = ["study", "stage", "trial", "seed", "digest", *type(record.spec.run).model_fields, "failure_mode",
               "failure_since", "evidence", "explanation", "score", "train_accuracy", "train_accuracy_min",
               "test_accuracy", "heldout_accuracy", "validation_accuracy", "train_nll", "epochs_trained", "stopped",
               "seconds", "device", "curve_epoch"]  # fmt: skip
    return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})


def trials_of(record: StudyRecord) -> pd.DataFrame:
    """`StudyRecord.trials` in order; the columns are there even when there are no rows."""
    if len(record.trials):
        return record.trials.sort_values("trial")
    return pd.DataFrame(columns=["trial", "digest", "state", "value", *record.spec.search])


def leading(record: StudyRecord, top: int = LEADING) -> list[int]:
    """Trials, best first: the confirmed ones by the objective on fresh seeds, then the rest by their value.

    Fresh seeds are judged by the study's own criterion, so that no other evidence source enters the choice.
    """
    if record.runs.empty or record.trials.empty:
        return []
    confirmed = [row["trial"] for row in confirmed_table(record)]
    digests = record.trials.set_index("trial")["digest"]
    taken = set(digests.reindex(confirmed))
    best = best_trials(record.trials, record.runs, record.spec, top + len(taken))
    rest = [row.trial for row in best.itertuples() if row.digest not in taken]
    return [int(trial) for trial in dict.fromkeys((*confirmed, *rest))][:top]


def ranked(record: StudyRecord, trials: list[int]) -> pd.DataFrame:
    """The runs of some trials' configurations, with `rank` (place in the list) and `configuration` (its name)."""
    digests = trials_of(record).set_index("trial")["digest"].loc[trials]
    rank = {digest: place for place, digest in enumerate(digests)}
    runs = runs_of(record)
    runs = runs[runs["digest"].isin(list(rank))]
    ranks = [rank[digest] for digest in runs["digest"]]
    return runs.assign(rank=ranks, configuration=[f"trial {trials[place]}" for place in ranks])


def configurations(record: StudyRecord) -> pd.DataFrame:
    """A row per trial: trial, digest, state, value, each searched hyperparameter, modes (mode → runs), and for the
    runs of the search (`search_`) and on fresh seeds (`fresh_`): n, successes, rate, low, high (Wilson; of fresh seeds
    `confirmed_rate`), score (mean), and of the test accuracy test (IQM) and mean, each with its bootstrap interval
    (`_low`, `_high`), and worst (the lowest).

    Trials of the same configuration share its runs. A run that diverged has no accuracy and counts as 0.
    """
    runs = runs_of(record)
    by_digest = dict(tuple(runs.groupby("digest"))) if len(runs) else {}
    several = max(1, runs.loc[runs["stage"] == "confirm", "digest"].nunique())
    rows = []
    for trial in trials_of(record).to_dict("records"):
        own = by_digest.get(trial["digest"], runs.iloc[:0])
        row = {key: trial[key] for key in ("trial", "digest", "state", "value", *record.spec.search) if key in trial}
        row["modes"] = mode_counts(own)
        for prefix, stage in (("search", "search"), ("fresh", "confirm")):
            row |= {f"{prefix}_{key}": value for key, value in _outcome(own[own["stage"] == stage]).items()}
        _, (row["fresh_low"], row["fresh_high"]) = confirmed_rate(row["fresh_successes"], row["fresh_n"], several)
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["trial", "digest", "state", "value", *record.spec.search])


def _outcome(runs: pd.DataFrame) -> dict[str, Any]:
    count, n = successes(runs), len(runs)
    share = share_of(count, n)
    numbers = {
        "n": n, "successes": count, "rate": share["share"], "low": share["low"], "high": share["high"],
        "score": float(runs["score"].mean()) if n else math.nan,
    }  # fmt: skip
    for name, statistic in (("test", statistics.iqm), ("mean", np.mean)):
        ends = (name, f"{name}_low", f"{name}_high")
        numbers |= dict(zip(ends, centre_of(runs["test_accuracy"], statistic), strict=True))
    return numbers | {"worst": float(counted(runs["test_accuracy"]).min()) if n else math.nan}


def successes(runs: pd.DataFrame) -> int:
    """How many of some runs ended in the target zone."""
    return int((runs["failure_mode"] == "invariant").sum())


def share_of(count: int, n: int) -> dict[str, float]:
    """share (a fraction; NaN of none), low, high (Wilson)."""
    return dict(zip(("share", "low", "high"), _wilson(count, n), strict=True))


@functools.cache
def _wilson(count: int, n: int) -> tuple[float, float, float]:
    rate, (low, high) = statistics.success_rate(count, n)
    return float(rate), low, high


def commonest(modes: pd.Series) -> str:
    """The mode that occurs most often; of several, the one that is diagnosed first."""
    counts: dict[str, int] = modes.value_counts().to_dict()
    return min(counts, key=lambda mode: (-counts[mode], MODES.index(mode)))
