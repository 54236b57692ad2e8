"""What is confirmed on fresh seeds: the seeds, what other criteria would choose, the winner's neighbours, its draws.

Configurations and seeds only: the study's driver has them trained, the report shows what came of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from irm_study.config import RunConfig, StudySpec, effective, is_whole, obeys_rules
from irm_study.diagnosis import AGGREGATES, criteria_for
from irm_study.results.configurations import best_trials

FRESH_SEEDS_FROM = 1000
"""Confirmation takes its seeds from here on, leaving out any that the search names."""
FACTORS = (0.5, 0.8, 1.25, 2.0)
"""By which each hyperparameter of the winner is varied."""


class Neighbour(NamedTuple):
    """The winner with one hyperparameter changed."""

    hyperparameter: str
    factor: float
    value: float
    config: RunConfig


def fresh_seeds(spec: StudySpec, count: int | None = None) -> list[int]:
    """So many seeds that the search does not use, from FRESH_SEEDS_FROM on; by default as many as `confirm.seeds`."""
    searched = set(spec.study.seed_list)
    unseen = (seed for seed in itertools.count(FRESH_SEEDS_FROM) if seed not in searched)
    return list(itertools.islice(unseen, spec.confirm.seeds if count is None else count))


def choices(trials: pd.DataFrame, runs: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """The complete trial that each of `choosers` would have chosen: criterion, aggregate, trial, digest, value. Of tied
    ones the first, as `ranking` orders them.

    runs: with the columns digest, seed and score_<criterion>; those on the search's seeds count.
    """
    complete = trials[trials["state"] == "complete"].drop_duplicates("digest")
    runs = runs[runs["seed"].isin(spec.study.seed_list)]
    rows = []
    for criterion, aggregate in choosers(spec):
        scores = runs.groupby("digest")[f"score_{criterion}"].agg(lambda each, by=aggregate: AGGREGATES[by](each))
        judged = complete.assign(value=complete["digest"].map(scores))
        judging = spec.model_copy(
            update={"study": spec.study.model_copy(update={"criterion": criterion, "aggregate": aggregate})}
        )
        for best in best_trials(judged, runs, judging, 1).to_dict("records"):
            rows.append((criterion, aggregate, best["trial"], best["digest"], best["value"]))
    return pd.DataFrame(rows, columns=["criterion", "aggregate", "trial", "digest", "value"])


def choosers(spec: StudySpec) -> list[tuple[str, str]]:
    """Every criterion with the study's aggregate, and the study's criterion with every aggregate; its own two first."""
    own = spec.study.criterion, spec.study.aggregate
    criteria = [(criterion, own[1]) for criterion in criteria_for(spec.environments) if criterion != own[0]]
    return [own, *criteria, *((own[0], aggregate) for aggregate in AGGREGATES if aggregate != own[1])]


def neighbours(spec: StudySpec, winner: RunConfig) -> Iterator[Neighbour]:
    """The winner with each searched number multiplied by each of FACTORS, where that is allowed and changes what is
    trained: another value of a hyperparameter that has no effect is no neighbour."""
    for key in spec.search:
        centre = getattr(winner, key)
        for factor in FACTORS if _is_number(key) and centre is not None else ():
            value = round(centre * factor) if is_whole(key) else centre * factor
            changed = winner.model_copy(update={key: value})
            allowed = _is_valid(key, value) and obeys_rules(spec.environments, changed)
            if allowed and effective(changed) != effective(winner):
                yield Neighbour(key, factor, float(value), changed)


def draws(spec: StudySpec, winner: RunConfig) -> Iterator[tuple[int, int, RunConfig]]:
    """Every draw of data (a seed) with every initialisation: seed, initial seed, configuration."""
    seeds = fresh_seeds(spec, spec.confirm.draws)
    for initial in seeds:
        for seed in seeds:
            yield seed, initial, winner.model_copy(update={"initial_seed": initial})


def _is_number(key: str) -> bool:
    return is_whole(key) or RunConfig.model_fields[key].annotation is float


def _is_valid(key: str, value: float) -> bool:
    try:
        RunConfig.model_validate({key: value})
    except ValueError:
        return False
    return True
