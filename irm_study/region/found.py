"""The region of a study: its runs, the model that foresees them best, and the box around the winner; or why none."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from irm_study.config import Range, RegionSection, Space, StudyRegion, StudySpec, is_whole, run_digest
from irm_study.errors import ConfigError, ExecutionError
from irm_study.files import plain
from irm_study.region.box import AtPlaces, first_seed, grown, middle, share
from irm_study.region.coordinates import features, places
from irm_study.region.models import fit, validated

FEWEST = 5
"""Configurations that succeeded at least once, and that failed at least once: with fewer, nothing is modelled."""
CHANCE = 0.05
"""p-value up to which the model counts as better than the success rate alone."""
STARTS = 5
"""Configurations that a box is grown around where none grows around the winner."""


class KnownRuns(NamedTuple):
    """The runs that a model is fitted to.

    digests, trials, where: of each configuration, where: (configurations, searched), as `places`. configuration,
    success: of each run its configuration's number, and whether it ended in the target zone, (runs,).
    """

    digests: list[str]
    trials: list[int]
    where: np.ndarray
    configuration: np.ndarray
    success: np.ndarray


def find_region(spec: StudySpec, runs: pd.DataFrame, winner: str, rate: float, attempt: int = 1) -> StudyRegion:
    """The largest box around the winner in which success is predicted above a rate, as far as greedy growth finds it.

    Where success is not predicted so around the winner, it is the largest of the boxes around the STARTS configurations
    at which the highest is. winner: its digest. attempt: how many regions of the study were looked for, this one
    included. Raises ConfigError where nothing is searched, ExecutionError where the runs tell no region.
    """
    if spec.is_one_configuration:
        raise ConfigError(f"study {spec.name!r}: [search] has one configuration alone; a region is one of several")
    known = known_runs(spec, runs)
    _check_enough(known)
    columns = features(spec.search, known.where)[known.configuration]
    score = validated(columns, known.success, known.configuration)
    if score.p_value > CHANCE:
        raise ExecutionError(
            f"no region: which configurations succeed cannot be foreseen from {_counted(known)}. The model has a "
            f"cross-validated log loss of {score.loss:.3f} nats a run, the success rate alone {score.base_loss:.3f} "
            f"(p = {score.p_value:.2g}, at most {CHANCE} is asked for). More trials tell "
            "more: 'irm-study run' with a higher --trials goes on with the search"
        )
    predict = _at_places(spec, fit(columns, known.success))
    predicted = predict(known.where)
    order = [int(each) for each in np.argsort(-predicted, kind="stable")]
    own = [known.digests.index(winner)] if winner in known.digests else []
    for starts in (own, order[:STARTS]):
        boxes = {start: grown(spec, predict, known.where[start].tolist(), rate) for start in starts}
        found = {start: box for start, box in boxes.items() if box is not None}
        if found:
            break
    else:
        raise ExecutionError(
            f"no region: around none of {len(known.trials)} configurations is success predicted above {100 * rate:g}%; "
            f"the highest prediction is {predicted.max():.0%}, for trial {known.trials[order[0]]}. Ask for a lower "
            "--rate, or go on with the search ('irm-study run' with a higher --trials)"
        )
    start = max(found, key=lambda start: share(found[start][0], spec.search))
    numbers: dict[str, Any] = {"rate": rate, "loss": score.loss, "base_loss": score.base_loss, "p_value": score.p_value}
    numbers = {name: round(value, 4) for name, value in numbers.items()}
    return _region(spec, found[start], known, start, numbers | {"attempt": attempt, "first_seed": first_seed(runs)})


def fitted(spec: StudySpec, runs: pd.DataFrame, found: RegionSection) -> AtPlaces | None:
    """The model of a study's success, by places, from all runs but a region's own proof; None where all ended alike, in
    the target zone or outside."""
    if "stage" not in runs:
        return None
    proof = (runs["stage"] == "region") & (runs["seed"] >= found.first_seed)
    known = known_runs(spec, runs[~proof])
    if known.success.all() or not known.success.any():
        return None
    return _at_places(spec, fit(features(spec.search, known.where)[known.configuration], known.success))


def known_runs(spec: StudySpec, runs: pd.DataFrame) -> KnownRuns:
    """The runs of all stages whose configurations lie in the search space."""
    own = runs
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    for row in own.drop_duplicates("digest").to_dict("records") if len(own) else ():
        given = {key: _value(key, row[key]) for key in spec.search}
        acting = spec.acting(given)
        inside = all(_holds(spec.search[key], value) for key, value in acting.items())
        # Of another configuration something else is different, too: the first parameters' seed, for one.
        if inside and run_digest(spec.digits, spec.environments, spec.configure(acting)) == row["digest"]:
            found[row["digest"]] = int(row["trial"]), given
    own = own[own["digest"].isin(list(found))] if len(own) else own
    number = {digest: index for index, digest in enumerate(found)}
    return KnownRuns(
        list(found),
        [trial for trial, _ in found.values()],
        places(spec, [given for _, given in found.values()]),
        np.array([number[digest] for digest in own["digest"]] if len(own) else [], dtype=int),
        np.array(own["failure_mode"] == "invariant" if len(own) else [], dtype=bool),
    )


def _check_enough(known: KnownRuns) -> None:
    """Raise ExecutionError where too few configurations succeeded, or failed, to model which do."""
    counts = {name: len(set(known.configuration[known.success == ended].tolist()))
              for name, ended in (("succeeded", True), ("failed", False))}  # fmt: skip
    if min(counts.values()) >= FEWEST:
        return
    least = min(counts, key=lambda name: counts[name])
    remedy = (
        "go on with the search ('irm-study run' with a higher --trials), or search elsewhere"
        if least == "succeeded"
        else "nearly all of the search space works: search a larger one"
    )
    raise ExecutionError(
        f"no region: of {_counted(known)}, {counts[least]} configuration{'s' * (counts[least] != 1)} {least} at least "
        f"once, and {FEWEST} are needed to tell where runs do; {remedy}"
    )


def _counted(known: KnownRuns) -> str:
    return (
        f"{len(known.success)} runs of {len(known.trials)} configurations, {known.success.sum()} of them in the target "
        "zone"
    )


def _at_places(spec: StudySpec, predict: AtPlaces) -> AtPlaces:
    return lambda where: predict(features(spec.search, where))


def _region(
    spec: StudySpec, grown_box: tuple[Space, float], known: KnownRuns, start: int, told: dict[str, Any]
) -> StudyRegion:
    box, lowest = grown_box
    centre = spec.run.model_copy(update=middle(spec.search, box, known.where[start].tolist()))
    study = spec.study.model_copy(update={"enqueue": ()})
    of_box = spec.model_copy(update={"name": f"{spec.name[:190]}-region", "run": centre, "search": box, "study": study})
    found = RegionSection(
        **told, lowest=round(lowest, 4), trial=known.trials[start], share=share(box, spec.search),
        configurations=len(known.trials), runs=len(known.success), successes=int(known.success.sum()),
    )  # fmt: skip
    return StudyRegion(of_box, found)


def _value(key: str, value: Any) -> Any:
    value = plain(value)
    return int(value) if isinstance(value, float) and math.isfinite(value) and is_whole(key) else value


def _holds(entry: Range | tuple[Any, ...], value: Any) -> bool:
    return entry.holds(value) if isinstance(entry, Range) else value in entry
