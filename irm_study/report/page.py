"""A study's page and its files: a `StudyRecord` becomes `report.html`, `figures/*.svg`, `figures/*.png` and tables.

The exhibits come from `sections`, the verdict from `verdict`, the data of the page's script from `details`; here they
are put together and written. A page is one file without any external request, and the same record gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
from markupsafe import Markup

from irm_study.config import study_digest
from irm_study.diagnosis import EXPLANATIONS
from irm_study.files import plain, write_csv, write_text
from irm_study.report.details import details
from irm_study.report.exhibit import Description
from irm_study.report.failure_onset import TABLES
from irm_study.report.failures import modes_by_stage
from irm_study.report.rendering import rendered, write_exhibits
from irm_study.report.runs import EVERY_TRIAL, configurations, leading, runs_of
from irm_study.report.searched import searched
from irm_study.report.sections import SECTIONS
from irm_study.report.style import MODE_COLOURS
from irm_study.report.verdict import DIGITS, caveats, chosen_by, verdict
from irm_study.results import StudyRecord, undecided

Sections = list[tuple[str, list[Description]]]
"""The page's sections by name, and the exhibits that each shows."""


def write_report(record: StudyRecord, **options: Mapping[str, Any]) -> Path:
    """Write the figures, tables and the page into the record's folder, each file whole or not at all; returns the
    page's.

    options: by an exhibit's name, what its table takes beside the record. Raises ConfigError where it does not.
    """
    described = [
        (name, [each.describe(record, **options.get(each.name, {})) for each in exhibits])
        for name, exhibits in SECTIONS.items()
    ]
    tables = {name: table(record) for name, table in TABLES.items()}
    tables |= {each.exhibit.csv: each.tables[0] for _, all_of in described for each in all_of if each.exhibit.csv}
    sections = [(name, [each for each in all_of if not each.left_out]) for name, all_of in described]
    inlined = write_exhibits(record.folder / "figures", [each for _, shown in sections for each in shown])
    for name, table in tables.items():
        if len(table):
            write_csv(record.folder / f"{name}.csv", table)
    path = record.folder / "report.html"
    write_text(path, page(record, sections, inlined))
    return path


def page(record: StudyRecord, sections: Sections, inlined: dict[str, Markup]) -> str:
    """The page as text. inlined: the SVG of each exhibit by name."""
    table = configurations(record)
    return rendered(
        "report.html.j2",
        spec=record.spec,
        first=first_screen(record, table),
        sections=sections,
        inlined=inlined,
        trials=trial_rows(record, table),
        details=details(record, table),
        modes=[mode for mode in MODE_COLOURS if mode in set(runs_of(record)["failure_mode"])],
        explanations=EXPLANATIONS,
        provenance=record.provenance,
        digest=study_digest(record.spec),
        command=str(record.provenance.get("command") or "irm-study run study.toml"),
        study_file=tomli_w.dumps(record.spec.model_dump(mode="json", exclude_none=True)),
        digits=DIGITS[record.spec.digits],
    )


# The first screen


def first_screen(record: StudyRecord, table: pd.DataFrame) -> dict[str, Any]:
    """What is read without scrolling: verdict, best (a row of `configurations`, or None), tied (how many are
    as good as it), evidence that the choice used, counts, progress."""
    ranking = leading(record)
    best = table[table["trial"] == ranking[0]].to_dict("records")[0] if ranking else None
    bars = []
    for stage, rows in modes_by_stage(record).groupby("stage", sort=False):
        name = {"search": "search", "confirm": "fresh seeds"}[str(stage)]
        counts = dict(zip(rows["failure_mode"], rows["runs"].tolist(), strict=True))
        bars.append({"name": name, "runs": sum(counts.values()), "modes": _in_order(counts)})
    states, tie = table["state"].value_counts(), undecided(record)
    return {
        "verdict": verdict(record, best),
        "caveats": caveats(record, best, table),
        "best": best,
        "tied": 1 if tie is None else tie.unresolved,
        "parameters": [] if best is None else parameters(record, best),
        "evidence": chosen_by(record.spec),
        "bars": bars,
        "runs": len(record.runs),
        "planned": record.planned,
        "complete": int(states.get("complete", 0)),
        "pruned": int(states.get("pruned", 0)),
    }


# The table of trials


def trial_rows(record: StudyRecord, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `configurations` as plain values, best first, with their modes in the figures' order."""
    place = {trial: index for index, trial in enumerate(leading(record, EVERY_TRIAL))}
    rows = table.to_dict("records")
    for row in rows:
        row["bars"] = _in_order(row["modes"])
        row["parameters"] = parameters(record, row)
        row["value"] = plain(row["value"])
    return sorted(rows, key=lambda row: (place.get(row["trial"], math.inf), row["trial"]))


def parameters(record: StudyRecord, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A trial's searched hyperparameters: key, text, full (its value in full), place (by which rows are sorted; None
    where it does not apply)."""
    shown = []
    for key, each in searched(record).items():
        value = each.value(row.get(key))
        place = each.place(value)
        known = not math.isnan(place)
        full = "does not apply beside the others" if not known else "not set" if value is None else str(value)
        shown.append({"key": key, "text": each.name(value), "full": full, "place": place if known else None})
    return shown


def _in_order(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Modes that occur, in the figures' order, with their runs."""
    return [(mode, counts[mode]) for mode in MODE_COLOURS if mode in counts]
