"""What the runs on fresh seeds prove, as tidy tables: regret of the criteria, neighbourhood, eyes, sources of spread.

As in `tables`: from a `StudyRecord` to a pandas table each, accuracies as fractions, 95% intervals.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from irm_study import statistics
from irm_study.confirmation import choices, neighbours
from irm_study.criteria import eyes
from irm_study.failures import MODES
from irm_study.records import StudyRecord, centre_of, config_of, confirmed, counted
from irm_study.studyfile import run_digest
from irm_study.tables import runs_of, share_of, trials_of

REFERENCE = "oracle_min"
"""The score by which choosers are compared: what one would have wanted, had one been allowed to look."""


def regret(record: StudyRecord) -> pd.DataFrame:
    """What each criterion would have chosen, and how that configuration does on fresh seeds; the study's own first.

    criterion, aggregate, eyes, trial, n (fresh runs), score, score_low, score_high (mean of oracle_min with its
    bootstrap interval), successes, rate, low, high (Wilson), regret (the best choice's score minus this one's; NaN
    without fresh runs).
    """
    columns = ["criterion", "aggregate", "eyes", "trial", "n", "score", "score_low", "score_high", "successes", "rate",
               "low", "high", "regret"]  # fmt: skip
    runs = runs_of(record)
    if runs.empty:
        return pd.DataFrame(columns=columns)
    fresh = record.runs[record.runs["stage"].isin(["confirm", "criterion"])]
    rows = []
    for choice in choices(trials_of(record), runs[runs["stage"] == "search"], record.spec).to_dict("records"):
        own = fresh[fresh["digest"] == choice["digest"]]
        score, low, high = centre_of(own[f"score_{REFERENCE}"], np.mean)
        successes = int((own["failure_mode"] == "invariant").sum())
        share = share_of(successes, len(own)) if len(own) else dict.fromkeys(("share", "low", "high"), math.nan)
        rows.append(
            {"criterion": choice["criterion"], "aggregate": choice["aggregate"], "eyes": eyes(choice["criterion"]),
             "trial": int(choice["trial"]), "n": len(own), "score": score, "score_low": low, "score_high": high,
             "successes": successes, "rate": share["share"], "low": share["low"], "high": share["high"]}
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=columns[:-1])
    return table.assign(regret=table["score"].max() - table["score"])


def neighbourhood(record: StudyRecord) -> pd.DataFrame:
    """The winner and its neighbours on fresh seeds: hyperparameter, factor (1: the winner itself), value, n, successes,
    share, low, high (Wilson), score (mean, by the study's criterion). Empty where none of its neighbours was trained.
    """
    columns = ["hyperparameter", "factor", "value", "n", "successes", "share", "low", "high", "score"]
    best = confirmed(record.runs, record.spec)
    if best.empty or not (record.runs["stage"] == "neighbour").any():
        return pd.DataFrame(columns=columns)
    digest, spec = best["digest"].iloc[0], record.spec
    own = record.runs[(record.runs["digest"] == digest) & (record.runs["stage"] == "confirm")]
    winner = config_of(own.head(1).to_dict("records")[0])
    by_digest = dict(tuple(record.runs[record.runs["seed"].isin(own["seed"])].groupby("digest")))
    near = list(neighbours(spec, winner))
    rows = []
    for key in dict.fromkeys(each.hyperparameter for each in near):
        members = [(each.factor, each.value, run_digest(spec.digits, spec.environments, each.config))
                   for each in near if each.hyperparameter == key]  # fmt: skip
        for factor, value, member in sorted([*members, (1.0, float(getattr(winner, key)), digest)]):
            runs = by_digest.get(member, own.iloc[:0])
            successes = int((runs["failure_mode"] == "invariant").sum())
            if len(runs):
                rows.append(
                    {"hyperparameter": key, "factor": factor, "value": value, "n": len(runs), "successes": successes,
                     **share_of(successes, len(runs)), "score": float(runs["score"].mean())}
                )  # fmt: skip
    if all(row["factor"] == 1 for row in rows):  # neighbours of another, which was the winner then
        rows = []
    return pd.DataFrame(rows, columns=columns)


def agreement(record: StudyRecord) -> pd.DataFrame:
    """How often runs get the same verdict without the test environment as with it.

    eyes (train | validation), failure_mode (with the test environment), seen_as (by those eyes), runs.
    """
    runs = runs_of(record)
    rows = []
    for blind in ("train", "validation"):
        column = f"failure_mode_{blind}"
        if column not in runs or not (runs[column] != "").any():
            continue
        counts = runs.groupby(["failure_mode", column]).size()
        rows += [
            {"eyes": blind, "failure_mode": mode, "seen_as": seen, "runs": int(counts[mode, seen])}
            for mode in MODES for seen in MODES if (mode, seen) in counts.index
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=["eyes", "failure_mode", "seen_as", "runs"])


def crossed(record: StudyRecord) -> pd.DataFrame:
    """Test accuracy of the winner for each draw of data (rows: seeds) and of the initialisation (columns); empty where
    they were not trained. A run that diverged counts as 0."""
    best = confirmed(record.runs, record.spec)
    if best.empty or not (record.runs["stage"] == "draws").any():
        return pd.DataFrame()
    runs = record.runs[(record.runs["stage"] == "draws") & (record.runs["trial"] == best["trial"].iloc[0])]
    runs = runs.assign(test_accuracy=counted(runs["test_accuracy"]))
    table = runs.pivot_table(index="seed", columns="initial_seed", values="test_accuracy", dropna=False)
    # An extension that was interrupted leaves a table with holes: what is complete of it counts.
    for count in range(min(table.shape), 1, -1):
        if table.iloc[:count, :count].notna().all(axis=None):
            return table.iloc[:count, :count]
    return pd.DataFrame()


def spread(record: StudyRecord) -> statistics.VarianceShares | None:
    """Shares of the test accuracy's variance over seeds: draw of data, draw of initialisation, rest."""
    table = crossed(record)
    return None if table.empty else statistics.variance_shares(table.to_numpy(dtype=float))
