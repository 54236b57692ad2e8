"""The columns of the table of runs: declared once, and everywhere the same; a new one is one entry."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from irm_study.config import EnvironmentSpec, RunConfig, study_toml
from irm_study.diagnosis import CRITERIA, PROBES, QUANTITIES, Criterion
from irm_study.results import Column, columns_markdown, empty_runs, judge, load_study, run_row, write_tables
from irm_study.results import columns as declared
from irm_study.results.columns import is_curve, schema_of, stored_columns, table_columns
from tests.synthetic import stored, study_record, study_spec
from tests.test_records import ENVIRONMENTS, RUN, curves

PUBLISHED = Path(__file__).parent.parent / "reports" / "published" / "quickstart" / "runs.csv"


def header(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return next(csv.reader(file))


@pytest.fixture
def folder(tmp_path) -> Path:
    return stored(study_record(tmp_path, trials=2, seeds=2, confirm_seeds=2))


def test_runs_csv_has_every_declared_column_but_the_curves_in_the_declared_order(folder):
    record = load_study(folder)
    names = [column.name for column in table_columns(record.spec.environments)]
    assert list(record.runs.columns) == names
    write_tables(record)
    assert header(folder / "runs.csv") == [name for name in names if not name.startswith("curve_")]


def test_columns_that_were_published_keep_their_names_and_their_order():
    names = [column.name for column in table_columns(EnvironmentSpec())]
    published = header(PUBLISHED)
    assert [name for name in names if name in published] == published


@pytest.mark.parametrize(
    "environments", [EnvironmentSpec(), ENVIRONMENTS, EnvironmentSpec(train_flips=(0.3, 0.2, 0.1))]
)
def test_a_column_has_a_name_of_its_own_and_a_meaning(environments):
    columns = table_columns(environments)
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert column.meaning[0].isupper() and column.meaning.endswith("."), column.name
        assert (column.derive is not None) == (column.kind == "derived")
        assert is_curve(column.name) == (column.kind == "curve")
        assert column.type in declared.TYPE_NAMES


def test_hyperparameters_are_the_fields_of_a_configuration_with_their_types():
    columns = {column.name: column for column in table_columns(ENVIRONMENTS) if column.kind == "hyperparameter"}
    assert list(columns) == list(RunConfig.model_fields)
    for name, value in RUN.model_dump().items():
        if value is not None:
            expected = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}[type(value)]
            assert columns[name].type == expected, name


def test_a_row_that_is_written_has_a_value_for_every_stored_column():
    row = run_row("search", 0, 1, "a", RUN, curves(), "cpu")
    columns = stored_columns(ENVIRONMENTS)
    assert list(row) == [column.name for column in columns]
    table = pa.Table.from_pylist([row], schema=schema_of(columns))
    unset = {name for name, value in RUN.model_dump().items() if value is None}
    assert {name for name in table.column_names if table[name].null_count} == unset


def test_every_quantity_of_every_environment_and_every_probe_is_a_curve():
    names = {column.name for column in table_columns(ENVIRONMENTS) if column.kind == "curve"}
    measured = {f"curve_{quantity}_{name}" for quantity in QUANTITIES for name in ENVIRONMENTS.names}
    assert names == measured | {f"curve_{probe}" for probe in PROBES} | {
        "curve_epoch", "curve_penalty_weight", "curve_examples"
    }  # fmt: skip


def test_judging_gives_the_derived_columns_and_no_others():
    judged = judge(RUN, curves(), ENVIRONMENTS, "oracle_min")
    assert list(judged) == [column.name for column in table_columns(ENVIRONMENTS) if column.kind == "derived"]


def test_an_empty_table_has_the_columns_and_types_of_a_full_one(folder):
    full = load_study(folder)
    empty = empty_runs(full.spec)
    assert len(empty) == 0
    assert list(empty.columns) == list(full.runs.columns)
    never_set = {"batch_size", "initial_seed", "checkpoint_every"}  # of nothing but nulls pandas knows no type
    types = {name: full.runs[name].dtype for name in full.runs.columns if name not in never_set}
    assert {name: empty[name].dtype for name in types} == types


def test_the_documentation_s_table_has_a_row_for_every_column():
    lines = columns_markdown().splitlines()
    assert lines[:2] == ["| column | kind | type | meaning |", "|---|---|---|---|"]
    names = [line.split("`")[1] for line in lines[2:]]
    expected = {column.name for column in table_columns(EnvironmentSpec()) if column.kind != "curve"}
    assert expected < set(names)
    assert "curve_accuracy_<environment>" in names
    assert all(line.count(" | ") == 3 and line.count("|") == 5 for line in lines[2:])


def test_a_derived_column_is_one_entry_and_then_in_judged_runs_tables_and_documentation(folder, monkeypatch):
    gap = Column("gap", "derived", pa.float64(), "Training minus test accuracy.",
                 lambda run: run.train_accuracies.mean() - run.accuracy("test"))  # fmt: skip
    monkeypatch.setattr(declared, "DERIVED", (*declared.DERIVED, gap))
    record = load_study(folder)
    expected = record.runs["train_accuracy"] - record.runs["test_accuracy"]
    pd.testing.assert_series_equal(record.runs["gap"], expected, check_names=False)
    write_tables(record)
    assert pd.read_csv(folder / "runs.csv")["gap"].tolist() == pytest.approx(expected.tolist(), nan_ok=True)
    assert judge(RUN, curves(), ENVIRONMENTS, "oracle_min")["gap"] == pytest.approx(0.72 - 0.66)
    assert "gap" in empty_runs(record.spec)
    assert "| `gap` | derived | number | Training minus test accuracy. |" in columns_markdown()


def test_a_criterion_that_is_added_has_its_scores_in_the_table(folder, monkeypatch):
    monkeypatch.setitem(CRITERIA, "always_half", Criterion(lambda curves, environments: 0.5))
    runs = load_study(folder).runs
    finished = runs["failure_mode"] != "diverged"
    assert set(runs.loc[finished, "score_always_half"]) == {0.5}


def test_scores_by_criteria_that_the_environments_do_not_allow_are_not_a_number(folder):
    assert load_study(folder).runs["score_validation_min"].isna().all()


def test_a_study_without_runs_reads_as_the_empty_table(tmp_path):
    spec = study_spec()
    record = study_record(tmp_path, trials=0, confirm_top=0, spec=spec)
    (tmp_path / "study.toml").write_text(study_toml(spec))
    assert len(record.runs) == 0
    pd.testing.assert_frame_equal(load_study(tmp_path).runs, empty_runs(spec), check_dtype=False)
