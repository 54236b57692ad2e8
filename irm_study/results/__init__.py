"""A study's folder: the table of runs, and what is derived from it. Neither torch nor Optuna is imported here."""

from irm_study.results.baselines import (
    BASELINES,
    baseline_means,
    baseline_specs,
    baselines_table,
    read_baselines,
    write_baselines,
)
from irm_study.results.columns import STAGES, Column, columns_markdown, empty_runs, table_columns
from irm_study.results.configurations import (
    ListedTrial,
    aggregate,
    best_trials,
    confirmed,
    confirmed_rate,
    confirmed_table,
    confirmed_tie,
    search_tie,
    trials_from_runs,
    trials_table,
    undecided,
)
from irm_study.results.curves import tidy_curves
from irm_study.results.exports import summary, write_runs_csv, write_tables
from irm_study.results.html import html_table, html_text
from irm_study.results.hyperparameters import Along, along, importance
from irm_study.results.ideals import ideals_table, read_ideals, write_ideals
from irm_study.results.judging import JudgedRun
from irm_study.results.loading import load_runs, load_study, read_stored_region, stored_spec, stored_summary
from irm_study.results.locks import FolderInUse, holder_of, locked, this_process
from irm_study.results.ranking import Tie
from irm_study.results.record import StudyRecord
from irm_study.results.selection import choices, choosers, draws, fresh_seeds, neighbours
from irm_study.results.summaries import centre_of, counted, epochs_spent, mode_counts, over_seeds, trial_attributes
from irm_study.results.table import (
    config_of,
    judge,
    judged_runs,
    read_parts,
    renew_digests,
    restage,
    rows_as_read,
    run_row,
    runs_table,
    stored_runs,
)
from irm_study.results.untrusted import refuse_links, refuse_studies

__all__ = [
    "BASELINES",
    "STAGES",
    "Along",
    "Column",
    "FolderInUse",
    "JudgedRun",
    "ListedTrial",
    "StudyRecord",
    "Tie",
    "aggregate",
    "along",
    "baseline_means",
    "baseline_specs",
    "baselines_table",
    "best_trials",
    "centre_of",
    "choices",
    "choosers",
    "columns_markdown",
    "config_of",
    "confirmed",
    "confirmed_rate",
    "confirmed_table",
    "confirmed_tie",
    "counted",
    "draws",
    "empty_runs",
    "epochs_spent",
    "fresh_seeds",
    "holder_of",
    "html_table",
    "html_text",
    "ideals_table",
    "importance",
    "judge",
    "judged_runs",
    "load_runs",
    "load_study",
    "locked",
    "mode_counts",
    "neighbours",
    "over_seeds",
    "read_baselines",
    "read_ideals",
    "read_parts",
    "read_stored_region",
    "refuse_links",
    "refuse_studies",
    "renew_digests",
    "restage",
    "rows_as_read",
    "run_row",
    "runs_table",
    "search_tie",
    "stored_runs",
    "stored_spec",
    "stored_summary",
    "summary",
    "table_columns",
    "this_process",
    "tidy_curves",
    "trial_attributes",
    "trials_from_runs",
    "trials_table",
    "undecided",
    "write_baselines",
    "write_ideals",
    "write_runs_csv",
    "write_tables",
]
