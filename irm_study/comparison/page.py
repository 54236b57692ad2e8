"""The page of a comparison and its files: `compare.html`, `figures/`, and the same numbers as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from markupsafe import Markup

from irm_study.comparison import endings, success
from irm_study.comparison.measures import MEASURES, outcomes, pairs, signed, summary
from irm_study.comparison.sides import SEEDS, Side, settings
from irm_study.comparison.verdict import caveats, paired_sentence, verdict
from irm_study.config import study_digest
from irm_study.errors import ConfigError
from irm_study.files import finite, write_text
from irm_study.report import (
    DIGITS,
    MODE_COLOURS,
    Description,
    Exhibit,
    chosen_by,
    p_text,
    plural,
    rendered,
    write_exhibits,
)
from irm_study.results import mode_counts, refuse_studies, undecided

EXHIBITS: dict[str, Exhibit[Sequence[Side]]] = {
    exhibit.name: exhibit for exhibit in (*success.EXHIBITS, *endings.EXHIBITS)
}
"""Name → exhibit, in page order."""


def write_comparison(sides: Sequence[Side], given: Sequence[str], folder: Path) -> Path:
    """Write compare.html, comparison.json and figures/ into a folder; returns the page's path.

    Raises ConfigError where the folder holds a study or runs, whose own figures would be lost.
    """
    refuse_studies(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        exhibits = [exhibit.describe(sides) for exhibit in EXHIBITS.values()]
        inlined = write_exhibits(folder / "figures", exhibits)
        write_text(folder / "comparison.json", json.dumps(finite(summary(sides)), indent=2) + "\n")
        write_text(folder / "compare.html", page(sides, given, exhibits, inlined))
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return folder / "compare.html"


def page(
    sides: Sequence[Side], given: Sequence[str], exhibits: Sequence[Description], inlined: dict[str, Markup]
) -> str:
    """The page as text. given: what the command named; inlined: the SVG of each exhibit by name."""
    rates, compared = outcomes(sides), pairs(sides)
    differ, same = settings(sides)
    rows = rates.to_dict("records")
    return rendered(
        "compare.html.j2",
        {"signed": signed, "p_value": lambda value: p_text(value).removeprefix("p ").removeprefix("= ")},
        names=[side.name for side in sides],
        cards=[_card(index, side, row) for index, (side, row) in enumerate(zip(sides, rows, strict=True))],
        verdict=verdict(rates, compared),
        paired=paired_sentence(compared) if len(sides) == 2 else "",
        caveats=caveats(sides, compared),
        pairs=[row | {"measure": MEASURES[row["measure"]]} for row in compared.to_dict("records")],
        criterion=sides[0].criterion,
        exhibits=exhibits,
        inlined=inlined,
        differ=differ,
        same=same,
        command=shlex.join(["irm-study", "compare", *given]),
        digits="; ".join(dict.fromkeys(DIGITS[side.digits] for side in sides)),
        details={"base": "", "trials": {str(index): _toml(side) for index, side in enumerate(sides)}},
    )


def _card(index: int, side: Side, outcome: dict[str, Any]) -> dict[str, Any]:
    """What the page's first screen says of a side. outcome: its row of `outcomes`."""
    counts = mode_counts(side.runs)
    return outcome | {
        "index": index,
        "seeds": SEEDS[side.stage],
        "folder": str(side.folder),
        "choice": _choice(side),
        "modes": [(mode, counts[mode]) for mode in MODE_COLOURS if mode in counts],
        "digest": None if side.record is None else study_digest(side.record.spec),
        "provenance": {} if side.record is None else side.record.provenance,
    }


def _choice(side: Side) -> str:
    """How a side's configuration was chosen."""
    if side.record is None:
        return "the one that 'train' was given"
    trials = plural(len(side.record.trials), "trial")
    if not side.best:
        return f"the trial that was named, of {trials}"
    tie = undecided(side.record)
    rank = f"the best of {trials}" if tie is None else f"one of {tie.unresolved} configurations that are tied"
    return f"{rank}; {chosen_by(side.record.spec)}"


def _toml(side: Side) -> dict[str, Any]:
    """The configuration as a file for `irm-study train`."""
    text = tomli_w.dumps(
        {
            "name": side.name[:200],
            "digits": side.digits,
            "environments": side.environments.model_dump(mode="json", exclude_none=True),
            "run": side.run.model_dump(mode="json", exclude_none=True),
        }
    )
    return {"head": text, "tail": ""}
