"""The confirmation of a study: its best configurations on seeds that the search never saw, and what else is asked for.

Which configurations and seeds those are is `irm_study.results`' (`selection`); how runs are trained is `driver`'s.
"""

from __future__ import annotations

import pandas as pd

from irm_study.config import RunConfig, StudySpec, run_digest
from irm_study.results import (
    BASELINES,
    STAGES,
    best_trials,
    choices,
    choosers,
    config_of,
    confirmed,
    draws,
    fresh_seeds,
    neighbours,
)
from irm_study.study.driver import Driver, RequestedRun


def confirm(driver: Driver, spec: StudySpec, trials: pd.DataFrame) -> None:
    """Train the best configurations on fresh seeds; then, where the study asks for it, what other criteria would have
    chosen, and the winner's neighbours and draws.

    trials: as `StudyRecord.trials`.
    """
    judged, wanted = driver.judged_so_far(), spec.confirm
    best = best_trials(trials, judged, spec, wanted.top)
    others = None
    if wanted.criteria:
        chosen = choices(trials, judged, spec).drop_duplicates("digest")
        others = chosen[~chosen["digest"].isin(best["digest"])]
    other_count = None if others is None else len(others)
    driver.train("confirm", _on_fresh_seeds(driver, spec, best), runs_after("confirm", spec, other_count))
    if others is not None:
        driver.train("criterion", _on_fresh_seeds(driver, spec, others), runs_after("criterion", spec, other_count))
    ranked = confirmed(driver.judged_so_far(), spec)
    if len(ranked):
        _train_around(driver, spec, int(ranked["trial"].iloc[0]), ranked["digest"].iloc[0])


def runs_after(stage: str, spec: StudySpec, others: int | None = None) -> int:
    """How many runs the stages after this one will ask for, as far as that can be known before.

    others: configurations that other criteria choose and that are not confirmed anyway; None: not known yet.
    """
    wanted, order = spec.confirm, STAGES.index
    near = sum(1 for _ in neighbours(spec, spec.run)) if wanted.neighbours else 0
    if not wanted.criteria:
        others = 0
    elif others is None:  # half as many as there are other choosers: 3 or 4 of 7 in eleven studies
        others = len(choosers(spec)) // 2
    runs = {"confirm": wanted.top * wanted.seeds, "criterion": others * wanted.seeds,
            "neighbour": near * wanted.seeds, "draws": wanted.draws**2}  # fmt: skip
    beside = len(BASELINES) * wanted.seeds if wanted.baselines and wanted.top else 0
    return beside + sum(count for name, count in runs.items() if order(name) > order(stage))


def _on_fresh_seeds(driver: Driver, spec: StudySpec, chosen: pd.DataFrame) -> list[RequestedRun]:
    """chosen: trial, digest."""
    configs = {row["digest"]: config_of(row) for row in driver.scored.values()}
    return [
        RequestedRun(int(trial), configs[digest], digest, seed)
        for trial, digest in zip(chosen["trial"], chosen["digest"], strict=True)
        for seed in fresh_seeds(spec)
    ]


def _train_around(driver: Driver, spec: StudySpec, trial: int, digest: str) -> None:
    """The winner's neighbours, and the winner on draws of data from draws of initialisations."""
    winner = next(config_of(row) for row in driver.scored.values() if row["digest"] == digest)

    def run(changed: RunConfig, seed: int) -> RequestedRun:
        return RequestedRun(trial, changed, run_digest(spec.digits, spec.environments, changed), seed)

    if spec.confirm.neighbours:
        near = [run(each.config, seed) for each in neighbours(spec, winner) for seed in fresh_seeds(spec)]
        driver.train("neighbour", near, runs_after("neighbour", spec))
    if spec.confirm.draws:
        crossed = [run(changed, seed) for seed, _, changed in draws(spec, winner)]
        driver.train("draws", crossed, runs_after("draws", spec))
