"""Trials and configurations from the table of runs: their states, their objective values, which are best, and how the
confirmed ones did on fresh seeds. What is trained on those seeds is chosen in `selection`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from irm_study.config import StudySpec
from irm_study.diagnosis import AGGREGATES
from irm_study.files import plain
from irm_study.results.summaries import over_seeds

if TYPE_CHECKING:
    from irm_study.results.record import StudyRecord


class ListedTrial(NamedTuple):
    """A trial as a storage lists it: its number in the study, the digest of its configuration, its state."""

    number: int
    digest: str
    state: str
    """complete, pruned or running."""


def trials_table(listed: Iterable[ListedTrial], runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """`StudyRecord.trials`: a row for each listed trial, by number, with hyperparameters and value from its runs.

    Columns: trial (its number), digest, state (complete, pruned or running), value (its objective value over the
    search's seeds; NaN while it is running, or where runs of a complete trial are missing), and every searched
    hyperparameter. A trial without a finished run is left out. Trials with one configuration have the same runs, and
    so the same value.
    """
    seeds, keys = spec.study.seed_list, list(spec.search)
    needed = ["digest", "seed", "score", *keys]
    searched = runs.loc[runs["seed"].isin(seeds), needed] if len(runs) else pd.DataFrame(columns=needed)
    scores = {str(digest): group.to_list() for digest, group in searched.groupby("digest")["score"]}
    parameters = searched.drop_duplicates("digest").set_index("digest")[keys].to_dict("index")
    rows = []
    for number, digest, state in listed:
        if digest in scores:
            known = state == "pruned" or (state == "complete" and len(scores[digest]) == len(seeds))
            value = aggregate(scores[digest], spec) if known else math.nan
            rows.append({"trial": number, "digest": digest, "state": state, "value": value, **parameters[digest]})
    table = pd.DataFrame(rows, columns=["trial", "digest", "state", "value", *keys])
    return table.sort_values("trial", kind="stable", ignore_index=True)


def listed_in_runs(runs: pd.DataFrame, spec: StudySpec) -> list[ListedTrial]:
    """The trials that runs of the search belong to, for want of a storage that lists them.

    A trial with all of its seeds is complete; one with exactly the seeds of an earlier rung counts as pruned there.
    """
    seeds = set(spec.study.seed_list)
    rungs = [set(spec.study.seed_list[:count]) for count in spec.study.looks[:-1]]
    listed = []
    for number, group in runs[runs["stage"] == "search"].groupby("trial", sort=True):
        have = set(group["seed"])
        state = "complete" if seeds <= have else "pruned" if have in rungs else "running"
        listed.append(ListedTrial(number, group["digest"].iloc[0], state))
    return listed


def trials_from_runs(runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """`StudyRecord.trials` from the runs of the search alone."""
    return trials_table(listed_in_runs(runs, spec), runs, spec)


def aggregate(scores: Iterable[float], spec: StudySpec) -> float:
    """A configuration's objective value, from the scores of some of its runs."""
    return AGGREGATES[spec.study.aggregate](np.array(list(scores), dtype=float))


def best_trials(trials: pd.DataFrame, count: int) -> pd.DataFrame:
    """The complete trials with the highest values, each configuration once."""
    complete = trials[trials["state"] == "complete"].drop_duplicates("digest")
    return complete.sort_values("value", ascending=False, kind="stable").head(count)


def confirmed(runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """Confirmed configurations: trial, digest, value (the objective value on its fresh seeds), the best first, by the
    objective value on those fresh seeds that all of them have."""
    if "stage" not in runs or not (runs["stage"] == "confirm").any():
        return pd.DataFrame(columns=["trial", "digest", "value"])
    fresh = runs[runs["stage"] == "confirm"]
    having = fresh.groupby("seed")["digest"].nunique()
    shared = having.index[having == fresh["digest"].nunique()]
    rows = []
    for digest, group in fresh.groupby("digest", sort=False):
        alike = group[group["seed"].isin(shared)] if len(shared) else group
        values = (aggregate(each["score"], spec) for each in (group, alike))
        rows.append((group["trial"].iloc[0], digest, *values))
    table = pd.DataFrame(rows, columns=["trial", "digest", "value", "alike"])
    table = table.sort_values(["alike", "trial"], ascending=[False, True], kind="stable", ignore_index=True)
    return table.drop(columns="alike")


def confirmed_table(record: StudyRecord) -> list[dict[str, Any]]:
    """Each confirmed configuration on its fresh seeds, the best first: trial, digest, stable (whether the success
    rate's interval lies above `confirm.target`), parameters, value, search_value, and `over_seeds` of its runs."""
    rows = []
    for trial, digest, value in confirmed(record.runs, record.spec).itertuples(index=False):
        group = record.runs[(record.runs["stage"] == "confirm") & (record.runs["digest"] == digest)]
        searched = record.trials[record.trials["digest"] == digest]
        summary = over_seeds(group)
        rows.append(
            {
                "trial": int(trial),
                "digest": digest,
                "stable": summary["low"] > record.spec.confirm.target,
                "parameters": {key: plain(group[key].iloc[0]) for key in record.spec.search},
                "value": float(value),
                "search_value": float(searched["value"].iloc[0]) if len(searched) else None,
                **summary,
            }
        )
    return rows
