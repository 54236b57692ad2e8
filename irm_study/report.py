"""The page and its pictures: a `StudyRecord` becomes `report.html` and `figures/*.svg`, `figures/*.png`.

The numbers come from `tables`, the sentences from `findings`, the pictures from `page`; here they are put
together and written. A page is one file without any external request, and the same record gives the same bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w
from markupsafe import Markup

from irm_study import stability, tables
from irm_study.config import StudySpec, is_whole
from irm_study.drawing import MODE_COLOURS, MODE_NAMES
from irm_study.failures import EXPLANATIONS
from irm_study.findings import (
    DIGITS,
    SECTIONS,
    SMALL,
    Picture,
    caveats,
    chosen_by,
    describe,
    verdict,
)
from irm_study.page import rendered, write_pictures
from irm_study.proof import describe_proof
from irm_study.records import StudyRecord, plain, write_text
from irm_study.studyfile import study_digest

CURVE_NUMBERS = 200_000
"""Numbers of single runs' curves that a page carries in all; with more runs, each curve gets coarser."""


def write_report(record: StudyRecord) -> Path:
    """Write the pictures, the tables of what they prove, and the page into the record's folder, each file whole or
    not at all; returns the page's."""
    pictures = describe(record) + describe_proof(record)
    inlined = write_pictures(record.folder / "figures", pictures)
    for name, table in proofs(record).items():
        if len(table):
            write_text(record.folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    path = record.folder / "report.html"
    write_text(path, page(record, pictures, inlined))
    return path


def proofs(record: StudyRecord) -> dict[str, pd.DataFrame]:
    """Tables with files of their own, each where a study has the runs for it."""
    return {
        "regret": stability.regret(record),
        "neighbourhood": stability.neighbourhood(record),
        "agreement": stability.agreement(record),
        "recoveries": tables.recoveries(record),
    }


def page(record: StudyRecord, pictures: list[Picture], inlined: dict[str, Markup]) -> str:
    """The page as text. inlined: the SVG of each picture by name."""
    table = tables.configurations(record)
    return rendered(
        "report.html.j2",
        spec=record.spec,
        first=first_screen(record, table),
        sections=[(name, [each for each in pictures if each.section == name]) for name in SECTIONS],
        inlined=inlined,
        trials=trial_rows(record, table),
        details=details(record, table),
        modes=[mode for mode in MODE_COLOURS if mode in set(tables.runs_of(record)["failure_mode"])],
        explanations=EXPLANATIONS,
        provenance=record.provenance,
        digest=study_digest(record.spec),
        command=str(record.provenance.get("command") or "irm-study run study.toml"),
        study_file=tomli_w.dumps(record.spec.model_dump(mode="json", exclude_none=True)),
        digits=DIGITS[record.spec.digits],
    )


# The first screen


def first_screen(record: StudyRecord, table: pd.DataFrame) -> dict[str, Any]:
    """What is read without scrolling: verdict, best (a row of `configurations`, or None), eyes, counts, progress."""
    ranking = tables.leading(record)
    best = table[table["trial"] == ranking[0]].to_dict("records")[0] if ranking else None
    bars = []
    for stage, rows in tables.modes_by_stage(record).groupby("stage", sort=False):
        name = {"search": "search", "confirm": "fresh seeds"}[str(stage)]
        bars.append({"name": name, "runs": int(rows["runs"].sum()), "modes": _in_order(rows)})
    states = table["state"].value_counts()
    return {
        "verdict": verdict(record, best),
        "caveats": caveats(record, best, table),
        "best": best,
        "parameters": {} if best is None else {key: plain(best[key]) for key in record.spec.search},
        "eyes": chosen_by(record.spec),
        "bars": bars,
        "runs": len(record.runs),
        "planned": max(record.spec.budget, len(table)),
        "complete": int(states.get("complete", 0)),
        "pruned": int(states.get("pruned", 0)),
        "small": best is not None and 0 < best["fresh_n"] < SMALL,
    }


# The table of trials


def trial_rows(record: StudyRecord, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `configurations` as plain values, best first, with their modes in the pictures' order."""
    ranking = tables.leading(record, top=1_000_000)
    place = {trial: index for index, trial in enumerate(ranking)}
    rows = table.to_dict("records")
    for row in rows:
        row["bars"] = [(mode, row["modes"][mode]) for mode in MODE_COLOURS if mode in row["modes"]]
        row["parameters"] = {key: plain(row.get(key)) for key in record.spec.search}
        row["value"] = plain(row["value"])
    return sorted(rows, key=lambda row: (place.get(row["trial"], math.inf), row["trial"]))


def details(record: StudyRecord, table: pd.DataFrame) -> dict[str, Any]:
    """What the rows open: each configuration's TOML and its runs with evidence and curves, compact for JSON.

    A run is [seed, fresh, mode, since, score, train, test, heldout, epochs, seconds, evidence, explanation (its
    place in `explanations`), anneal epoch, epochs of the curve, training curve, test curve]; accuracies of curves
    are whole tenths of a percent. `base` is the middle that all configurations' TOML have in common.
    """
    spec, runs = record.spec, tables.runs_of(record)
    points = int(np.clip(CURVE_NUMBERS / max(3 * len(runs), 1), 8, 40))
    explanations: dict[str, int] = {}
    by_digest: dict[str, list[dict[str, Any]]] = {}
    for run in runs.to_dict("records"):
        by_digest.setdefault(run["digest"], []).append(run)
    trials = {}
    for row in table.to_dict("records"):
        head, tail = trial_toml(spec, row)
        own = [_run_details(run, points, explanations) for run in by_digest.get(row["digest"], [])]
        trials[str(row["trial"])] = {"head": head, "tail": tail, "runs": own}
    return {
        "base": base_toml(spec),
        "explanations": list(explanations),
        "names": MODE_NAMES,
        "trials": trials,
    }


def base_toml(spec: StudySpec) -> str:
    """What all trials' files for `irm-study train` share; [run] comes last, so that a trial's own values may follow."""
    shared = spec.run.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(
        {
            "digits": spec.digits,
            "environments": spec.environments.model_dump(mode="json", exclude_none=True),
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


def _run_details(run: dict[str, Any], points: int, explanations: dict[str, int]) -> list[Any]:
    measured = tables.accuracy_curves(run)
    length = len(measured["epoch"])
    kept = np.unique(np.linspace(0, length - 1, min(points, length)).round().astype(int))
    numbers = [run[key] for key in ("score", "train_accuracy_min", "test_accuracy", "heldout_accuracy")]
    return [
        int(run["seed"]), int(run["stage"] == "confirm"), run["failure_mode"], int(run["failure_since"]),
        *[round(float(value), 4) if math.isfinite(value) else None for value in numbers],
        int(run["epochs_trained"]), round(float(run["seconds"]), 2), str(run["evidence"]),
        explanations.setdefault(str(run["explanation"]), len(explanations)), int(run["anneal_epoch"]),
        measured["epoch"][kept].astype(int).tolist(), *[_permille(measured[name][kept]) for name in ("train", "test")],
    ]  # fmt: skip


def _permille(values: np.ndarray) -> list[int | None]:
    return [round(1000 * value) if math.isfinite(value) else None for value in values.tolist()]


# Their parts


def _in_order(rows: pd.DataFrame) -> list[tuple[str, int]]:
    counts = dict(zip(rows["failure_mode"], rows["runs"], strict=True))
    return [(mode, int(counts[mode])) for mode in MODE_COLOURS if mode in counts]
