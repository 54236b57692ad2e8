"""The page of a study and its exhibits, made from the study's record; what other pages and figures are made with."""

import irm_study.report.matplotlib_here  # noqa: F401  # before whatever imports matplotlib

# isort: split
from irm_study.report.accuracy import LINES, accuracy_curves, evenly, quantile_band
from irm_study.report.advice import TRIED, write_advice
from irm_study.report.calibration import CONFUSION, agreement, agreement_sentence, write_confusion
from irm_study.report.current import page_is_current
from irm_study.report.exhibit import Description, Exhibit
from irm_study.report.failure_map import map_keys
from irm_study.report.marks import (
    crowd,
    curve_handles,
    fade,
    legend,
    mark_runs,
    mode_bars,
    mode_handles,
    nothing,
    panels,
    percent_axis,
    rows_axis,
    strewn,
    tick_handle,
)
from irm_study.report.page import write_report
from irm_study.report.rendering import rendered, write_exhibits
from irm_study.report.runs import leading, successes, trials_of
from irm_study.report.search import progress
from irm_study.report.sections import EXHIBITS, SECTIONS
from irm_study.report.stable import seed_summary
from irm_study.report.style import (
    FAINT,
    INK,
    LINE_STYLES,
    MODE_COLOURS,
    MODE_NAMES,
    NARROW,
    PAPER,
    WIDE,
    StyledFigure,
    check_drawing,
    styled,
    write_figure,
)
from irm_study.report.text import interval, p_text, percent, plural, printable
from irm_study.report.verdict import DIGITS, SMALL, chosen_by

__all__ = [
    "CONFUSION",
    "DIGITS",
    "EXHIBITS",
    "FAINT",
    "INK",
    "LINES",
    "LINE_STYLES",
    "MODE_COLOURS",
    "MODE_NAMES",
    "NARROW",
    "PAPER",
    "SECTIONS",
    "SMALL",
    "TRIED",
    "WIDE",
    "Description",
    "Exhibit",
    "StyledFigure",
    "accuracy_curves",
    "agreement",
    "agreement_sentence",
    "check_drawing",
    "chosen_by",
    "crowd",
    "curve_handles",
    "evenly",
    "fade",
    "interval",
    "leading",
    "legend",
    "map_keys",
    "mark_runs",
    "mode_bars",
    "mode_handles",
    "nothing",
    "p_text",
    "page_is_current",
    "panels",
    "percent",
    "percent_axis",
    "plural",
    "printable",
    "progress",
    "quantile_band",
    "rendered",
    "rows_axis",
    "seed_summary",
    "strewn",
    "styled",
    "successes",
    "tick_handle",
    "trials_of",
    "write_advice",
    "write_confusion",
    "write_exhibits",
    "write_figure",
    "write_report",
]
