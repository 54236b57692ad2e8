"""The region of a study: found once, frozen in the folder's region.toml, and proven on configurations drawn from it.

Where runs succeed is modelled, and the box grown, in `irm_study.region`; how runs are trained is `driver`'s.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd

from irm_study.config import StudyRegion, StudySpec, read_region, region_toml
from irm_study.errors import ConfigError, ExecutionError
from irm_study.files import write_text
from irm_study.region import find_region, proof_points, proof_runs
from irm_study.results import best_trials, confirmed
from irm_study.study.driver import Driver, RequestedRun

RATE = 0.8
"""Above which success is to be predicted, where nobody says otherwise."""


def find_and_prove(
    driver: Driver, spec: StudySpec, trials: pd.DataFrame, folder: Path, rate: float | None, count: int, again: bool
) -> None:
    """Train so many configurations drawn from the folder's region, which is found first where there is none yet.

    The box is written before the first run of its proof, and read ever after: what the proof shows cannot move it.
    again: where that proof is whole, find another region instead, from its runs as well. trials: as
    `StudyRecord.trials`.
    """
    path, runs = folder / "region.toml", driver.judged_so_far()
    region = read_region(path, spec) if path.exists() else None
    given_up = region is not None and again and len(proof_runs(spec, region, runs)) >= count
    if region is not None and not given_up and rate not in (None, region.found.rate):
        raise ConfigError(
            f"{path}: was found for --rate {region.found.rate:g}, and its proof is of that region; got --rate {rate:g}."
            " Once the proof is whole, --again looks for another"
        )
    if region is None or given_up:
        attempt, asked = (1, RATE) if region is None else (region.found.attempt + 1, region.found.rate)
        region = find_region(spec, runs, _winner(spec, trials, runs), rate or asked, attempt)
        write_text(path, region_toml(region, _comment(region, spec, path)))
    requested = [
        RequestedRun(region.found.trial, config, digest, seed)
        for seed, config, digest in proof_points(spec, region, count)
    ]
    driver.train("region", requested)


def _winner(spec: StudySpec, trials: pd.DataFrame, runs: pd.DataFrame) -> str:
    """The digest of the best configuration: of the confirmed ones, or where there are none, of the search."""
    ranked = confirmed(runs, spec)
    best = ranked if len(ranked) else best_trials(trials, runs, spec, 1)
    if best.empty:
        raise ExecutionError(f"study {spec.name!r}: no trial is finished, so there is no winner to look around")
    return str(best["digest"].iloc[0])


def _comment(region: StudyRegion, spec: StudySpec, path: Path) -> str:
    found, name = region.found, shlex.quote(str(path))
    return (
        f"A region of study {spec.name!r}, {found.share:.2g} of its search space: in all of it a model of "
        f"{found.runs} runs predicts\nsuccess above {found.rate:g}. How often runs drawn from it do succeed is in "
        "summary.json, and on the study's page.\n"
        f"Search it with: irm-study run {name}\nTrain its middle with: irm-study train {name} --seeds 10"
    )
