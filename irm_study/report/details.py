"""The page's data: what its script opens for a trial, as JSON with named fields.

Compact, because a page carries every run of the study: an array for each field, an entry for each run; curves are
thinned out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from irm_study.config import StudySpec, is_whole
from irm_study.diagnosis import EXPLANATIONS
from irm_study.files import plain
from irm_study.report.accuracy import accuracy_curves, evenly
from irm_study.report.runs import runs_of
from irm_study.report.style import MODE_NAMES
from irm_study.report.text import plural
from irm_study.results import StudyRecord

CURVE_NUMBERS = 130_000
"""Numbers of single runs' curves that a page carries in all; with more runs, each curve gets coarser."""
WHOLE = ("seed", "failure_since", "epochs_trained", "anneal_epoch")
ROUNDED = {"score": 4, "train_accuracy_min": 4, "test_accuracy": 4, "heldout_accuracy": 4, "seconds": 2}
"""Digits after the point; null where the number is not finite."""
TEXTS = ("stage", "failure_mode", "evidence")
FIELDS = (*WHOLE, *ROUNDED, *TEXTS, "curve_epoch", "curve_train", "curve_test")
"""Of a run in the page's data. Those of the table of runs have its columns' names."""


def details(record: StudyRecord, table: pd.DataFrame) -> dict[str, Any]:
    """What the rows of the page's table open: each configuration's TOML, and its runs with evidence and curves.

    table: as `runs.configurations`. Returns trials {trial: {head, tail, advice, runs}}, where runs has for each of
    FIELDS an array with an entry for each run; accuracies of curves are whole tenths of a percent. `base` is the middle
    that all configurations' TOML have in common, `names` are the modes'.
    """
    spec, runs = record.spec, runs_of(record)
    points = int(np.clip(CURVE_NUMBERS / max(3 * len(runs), 1), 8, 40))
    by_digest: dict[str, list[dict[str, Any]]] = {}
    for run in runs.to_dict("records"):
        by_digest.setdefault(run["digest"], []).append(_run_details(run, points))
    trials = {}
    for row in table.to_dict("records"):
        head, tail = trial_toml(spec, row)
        own = by_digest.get(row["digest"], [])
        columns = {field: [run[field] for run in own] for field in FIELDS}
        trials[str(row["trial"])] = {"head": head, "tail": tail, "advice": advice(row["modes"]), "runs": columns}
    return {"base": base_toml(spec), "names": MODE_NAMES, "trials": trials}


def advice(modes: Mapping[str, int]) -> str:
    """What to change in a configuration: of the mode in which most of its failed runs ended. "" where none failed.

    modes: mode → runs, in the modes' order. One change, because those of single runs may contradict each other.
    """
    failed = {mode: count for mode, count in modes.items() if mode != "invariant"}
    if not failed:
        return ""
    mode = max(failed, key=lambda name: failed[name])
    return f"{failed[mode]} of {plural(sum(modes.values()), 'run')} ended {MODE_NAMES[mode]}. {EXPLANATIONS[mode]}"


def _run_details(run: dict[str, Any], points: int) -> dict[str, Any]:
    """One run's FIELDS."""
    measured = accuracy_curves(run)
    kept = evenly(len(measured["epoch"]), points)
    return {
        **{field: int(run[field]) for field in WHOLE},
        **{field: _rounded(float(run[field]), digits) for field, digits in ROUNDED.items()},
        **{field: str(run[field]) for field in TEXTS},
        "curve_epoch": measured["epoch"][kept].astype(int).tolist(),
        "curve_train": _permille(measured["train"][kept]),
        "curve_test": _permille(measured["test"][kept]),
    }


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def _permille(values: np.ndarray) -> list[int | None]:
    return [round(1000 * value) if math.isfinite(value) else None for value in values.tolist()]


def base_toml(spec: StudySpec) -> str:
    """What all trials' files for `irm-study train` share; [run] comes last, so that a trial's own values may follow."""
    shared = spec.run.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(
        {
            "digits": spec.digits,
            "environments": spec.environments.model_dump(mode="json", exclude_none=True),
            "target": spec.target.model_dump(mode="json", exclude_none=True),
            "run": {key: value for key, value in shared.items() if key not in spec.search},
        }
    )


def trial_toml(spec: StudySpec, row: dict[str, Any]) -> tuple[str, str]:
    """What comes before and after `base_toml`: the name and the searched values of one trial."""
    values = {}
    for key in spec.search:
        value = plain(row.get(key))
        if value is not None:
            values[key] = int(value) if is_whole(key) else value
    ending = f"-trial-{row['trial']}"
    return tomli_w.dumps({"name": spec.name[: 200 - len(ending)] + ending}), tomli_w.dumps(values)
