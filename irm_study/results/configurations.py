"""Trials and configurations from the table of runs: their states, their objective values, which are best, and how the
confirmed ones did on fresh seeds. What is trained on those seeds is chosen in `selection`; how equal values are ordered
is `ranking`'s."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from irm_study.config import StudySpec
from irm_study.diagnosis import AGGREGATES
from irm_study.files import plain
from irm_study.results.ranking import Tie, ordered
from irm_study.results.summaries import over_seeds
from irm_study.statistics import SIGNIFICANT, Estimate, anytime_success_rate

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
    hyperparameter (None or NaN where it has no effect beside the others). A trial without a finished run is left out.
    Trials with one configuration have the same runs, and so the same value.
    """
    seeds, keys = spec.study.seed_list, list(spec.search)
    needed = ["digest", "seed", "score", *keys]
    searched = runs.loc[runs["seed"].isin(seeds), needed] if len(runs) else pd.DataFrame(columns=needed)
    scores = {str(digest): group.to_list() for digest, group in searched.groupby("digest")["score"]}
    parameters = {
        run["digest"]: parameters_of(run, spec) for run in searched.drop_duplicates("digest").to_dict("records")
    }
    rows = []
    for number, digest, state in listed:
        if digest in scores:
            known = state == "pruned" or (state == "complete" and len(scores[digest]) == len(seeds))
            value = aggregate(scores[digest], spec) if known else math.nan
            rows.append({"trial": number, "digest": digest, "state": state, "value": value, **parameters[digest]})
    table = pd.DataFrame(rows, columns=["trial", "digest", "state", "value", *keys])
    return table.sort_values("trial", kind="stable", ignore_index=True)


def parameters_of(run: Mapping[str, Any], spec: StudySpec) -> dict[str, Any]:
    """The searched hyperparameters of a run that have an effect beside the others."""
    return spec.acting({key: plain(run[key]) for key in spec.search})


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


def best_trials(trials: pd.DataFrame, runs: pd.DataFrame, spec: StudySpec, count: int) -> pd.DataFrame:
    """The complete trials with the highest values, each configuration once; equal values as `ranking` orders them.

    runs: with the columns digest, seed and score_<criterion>; those on the search's seeds count.
    """
    return _search_ranking(trials, runs, spec)[0].head(count)


def confirmed(runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """Confirmed configurations: trial, digest, value (the objective value on its fresh seeds), the best first, by the
    objective value on those fresh seeds that all of them have; equal values as `ranking` orders them."""
    return _fresh_ranking(runs, spec)[0]


def search_tie(record: StudyRecord) -> Tie | None:
    """The tie for the first place in the search; None where there is none."""
    return _search_ranking(record.trials, record.runs, record.spec)[1]


def confirmed_tie(record: StudyRecord) -> Tie | None:
    """The tie for the first place among the confirmed configurations, on fresh seeds; None where there is none."""
    return _fresh_ranking(record.runs, record.spec)[1]


def undecided(record: StudyRecord) -> Tie | None:
    """The tie that leaves open which configuration is the best; None where the runs single one out.

    Fresh seeds decide among tied configurations of the search if all of those were confirmed.
    """
    fresh, searched = confirmed_tie(record), search_tie(record)
    count = len(confirmed(record.runs, record.spec))
    if searched is not None and searched.unresolved > max(count, 1):
        return searched
    return fresh if fresh is not None and fresh.is_open else None


def _search_ranking(trials: pd.DataFrame, runs: pd.DataFrame, spec: StudySpec) -> tuple[pd.DataFrame, Tie | None]:
    if trials.empty:
        return trials, None
    complete = trials[trials["state"] == "complete"].drop_duplicates("digest")
    return ordered(complete, runs[runs["seed"].isin(spec.study.seed_list)], spec)


def _fresh_ranking(runs: pd.DataFrame, spec: StudySpec) -> tuple[pd.DataFrame, Tie | None]:
    columns = ["trial", "digest", "value"]
    if "stage" not in runs or not (runs["stage"] == "confirm").any():
        return pd.DataFrame(columns=columns), None
    fresh = runs[runs["stage"] == "confirm"]
    having = fresh.groupby("seed")["digest"].nunique()
    shared = having.index[having == fresh["digest"].nunique()]
    alike = fresh[fresh["seed"].isin(shared)] if len(shared) else fresh
    first = fresh.drop_duplicates("digest")[["trial", "digest"]]
    values, own = (
        first["digest"].map(each.groupby("digest")["score"].agg(lambda scores: aggregate(scores, spec)))
        for each in (alike, fresh)
    )
    table, tie = ordered(first.assign(value=values, own=own), alike, spec)
    return table.drop(columns="value").rename(columns={"own": "value"})[columns], tie


def confirmed_table(record: StudyRecord) -> list[dict[str, Any]]:
    """Each confirmed configuration on its fresh seeds, the best first: trial, digest, stable (whether the success
    rate's interval lies above `confirm.target`), parameters, value, search_value, and `over_seeds` of its runs, with
    the interval (low, high) of `confirmed_rate`."""
    rows = []
    ranked = confirmed(record.runs, record.spec)
    for trial, digest, value in ranked.itertuples(index=False):
        group = record.runs[(record.runs["stage"] == "confirm") & (record.runs["digest"] == digest)]
        searched = record.trials[record.trials["digest"] == digest]
        summary = over_seeds(group)
        _, interval = confirmed_rate(summary["successes"], summary["seeds"], len(ranked))
        if unseen := summary.get("unseen"):
            _, span = confirmed_rate(unseen["successes"], summary["seeds"], len(ranked))
            summary["unseen"] = unseen | span._asdict()
        rows.append(
            {
                "trial": int(trial),
                "digest": digest,
                "stable": interval.low > record.spec.confirm.target,
                "parameters": parameters_of(group.head(1).to_dict("records")[0], record.spec),
                "value": float(value),
                "search_value": float(searched["value"].iloc[0]) if len(searched) else None,
                **summary,
                **interval._asdict(),
            }
        )
    return rows


def confirmed_rate(successes: int, seeds: int, configurations: int) -> Estimate:
    """The success rate of one of some confirmed configurations, with an interval for the best of them.

    It stands for the 95% that none of all their intervals ever leaves out its true rate: however the best of them is
    chosen, and however often seeds are added until it pleases.
    """
    return anytime_success_rate(successes, seeds, 1 - SIGNIFICANT / configurations)
