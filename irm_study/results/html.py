"""A study as a notebook shows it: a few numbers and the table of its confirmed configurations. The page is `report`'s.

Names in a study's folder may be a stranger's: all text is escaped.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import pandas as pd

from irm_study.results.configurations import best_trials, confirmed_table, confirmed_tie, search_tie
from irm_study.results.summaries import mode_counts

if TYPE_CHECKING:
    from irm_study.results.record import StudyRecord


def record_html(record: StudyRecord) -> str:
    """Trials, runs, failure modes, the best of the search, and each confirmed configuration on its fresh seeds."""
    if record.runs.empty:
        return html_text(f"study {record.spec.name}: no runs yet")
    search = record.runs[record.runs["stage"] == "search"]
    modes = ", ".join(f"{mode} {count}" for mode, count in mode_counts(search).items())
    lines = [
        f"study {record.spec.name}: {record.finished} of {record.planned} trials, {len(record.runs)} runs",
        f"failure modes of the search: {modes}",
    ]
    ties = search_tie(record), confirmed_tie(record)
    for best in best_trials(record.trials, record.runs, record.spec, 1).to_dict("records"):
        first = "best of the search" if ties[0] is None or not ties[0].is_open else "first of those tied"
        lines.append(f"{first}: trial {best['trial']}, {record.spec.study.criterion} {best['value']:.3f}")
    lines += [f"{where}: {tie.text}" for where, tie in zip(("search", "fresh seeds"), ties, strict=True) if tie]
    rows = [_row(confirmed) for confirmed in confirmed_table(record)]
    return html_text(*lines) + (html_table(pd.DataFrame(rows)) if rows else "")


def html_text(*lines: str) -> str:
    """A paragraph; each line is escaped."""
    return f"<p>{'<br>'.join(html.escape(line) for line in lines)}</p>"


def html_table(table: pd.DataFrame) -> str:
    """Numbers with four digits that count; text is escaped."""
    return str(table.to_html(index=False, border=0, float_format="{:.4g}".format, na_rep="", escape=True))


def _row(confirmed: dict[str, Any]) -> dict[str, Any]:
    return {
        "confirmed": f"trial {confirmed['trial']}",
        **confirmed["parameters"],
        "in the target zone": f"{confirmed['successes']} of {confirmed['seeds']} fresh seeds",
        "95% interval": f"{confirmed['low']:.2f} to {confirmed['high']:.2f}",
        "train accuracy": confirmed["train_accuracy"],
        "test accuracy": confirmed["test_accuracy"],
        "score": confirmed["score"]["mean"]["value"],
    }
