"""A study's folder from a stranger: `report` and `status` read and write nothing outside of it, run nothing, and
refuse what would fill the memory, each with one message."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from irm_study import cli, files
from irm_study.errors import ConfigError
from irm_study.results import columns, load_study, table, untrusted
from irm_study.results import parquet as parts
from irm_study.study import Settings, run_study
from tests.test_study import Silent, few_digits, small


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("irm_study.data.load_digits", few_digits)
        run_study(small(2), folder, Settings(), Silent())
    return folder


@pytest.fixture
def crafted(honest, tmp_path):
    return shutil.copytree(honest, tmp_path / "crafted")


@pytest.fixture
def irm(monkeypatch, capsys):
    def command(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["irm-study", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, capsys.readouterr().err

    monkeypatch.setattr("irm_study.report.write_report", lambda record: None)  # takes seconds
    return command


def refused(irm, folder, *words: str) -> None:
    for command in ("status", "report"):
        status, said = irm(command, folder)
        assert status == 2, said
        assert said.count("\n") == 1 and "Traceback" not in said
        for word in words:
            assert word in said


LINKS = [
    "study.toml", "summary.json", "study.db", "runs", "runs/part-0.parquet", "runs.csv", ".runs.csv.partial",
    "report.html", "figures", "figures/seed_stability.png", ".lock", ".holder",
]  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_a_link_is_refused_and_what_it_leads_to_is_neither_read_nor_written(irm, crafted, tmp_path, name):
    secret = tmp_path / "secret"
    path = crafted / name
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if name in ("runs", "figures"):
        secret.mkdir()
    else:
        secret.write_text("not theirs")
    path.symlink_to(secret)
    refused(irm, crafted, str(path) if name != "study.toml" else "study.toml", "is a link")
    assert not list(secret.iterdir()) if secret.is_dir() else secret.read_text() == "not theirs"


def test_a_pipe_in_place_of_a_file_is_not_waited_for(irm, crafted):
    (crafted / "summary.json").unlink()
    os.mkfifo(crafted / "summary.json")
    assert irm("status", crafted)[0] == 0
    os.mkfifo(crafted / "runs" / "part-pipe.parquet")
    refused(irm, crafted, "part-pipe.parquet: not a plain file")


def one_row(crafted) -> pa.Table:
    spec = load_study(crafted).spec
    schema = columns.schema_of(columns.stored_columns(spec.environments))
    return pq.read_table(next((crafted / "runs").glob("part-*")), schema=schema).slice(0, 1)


def put(crafted, table: pa.Table, **options) -> str:
    pq.write_table(table, crafted / "runs" / "part-crafted.parquet", **options)
    return "part-crafted.parquet"


def repeated(table: pa.Table, rows: int) -> pa.Table:
    """The row so many times, which as a dictionary's one entry takes next to no space."""
    plain = {name: pa.array([table[name][0].as_py()], table.schema.field(name).type) for name in table.column_names}
    columns = []
    for value in plain.values():
        if pa.types.is_list(value.type):
            columns.append(pa.array([[]], value.type).take(pa.array([0] * rows, pa.int32())))
        else:
            columns.append(pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), value).cast(value.type))
    return pa.Table.from_arrays(columns, schema=table.schema)


def test_a_table_of_too_many_rows_is_refused_before_it_is_read(irm, crafted, monkeypatch):
    name = put(crafted, repeated(one_row(crafted), 200_000))
    assert (crafted / "runs" / name).stat().st_size < 2_000_000
    monkeypatch.setattr(parts, "MAX_ROWS", 100_000)
    refused(irm, crafted, name, "too large", "100000 rows")


def test_lists_of_too_many_values_are_refused_before_they_are_read(irm, crafted, monkeypatch):
    table = one_row(crafted)
    long = pa.array([[0.0] * 1_000_000], table.schema.field("curve_penalty_weight").type)
    name = put(
        crafted, table.set_column(table.schema.get_field_index("curve_penalty_weight"), "curve_penalty_weight", long)
    )
    monkeypatch.setattr(parts, "MAX_VALUES", 500_000)
    refused(irm, crafted, name, "too large", "500000 values")


def test_a_text_of_a_million_characters_in_every_row_is_refused(irm, crafted):
    table = repeated(one_row(crafted), 1000)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 1_000_000]))
    table = table.set_column(table.schema.get_field_index("stopped"), "stopped", column)
    name = put(crafted, table)
    assert (crafted / "runs" / name).stat().st_size < 1_000_000
    refused(irm, crafted, name, "a text of 1000000 characters")


def test_a_compression_that_can_hide_gigabytes_is_refused(irm, crafted):
    refused(irm, crafted, put(crafted, one_row(crafted), compression="zstd"), "compressed with ZSTD")


def put_row(crafted, **changes) -> None:
    row = one_row(crafted)
    put(crafted, pa.Table.from_pylist([row.to_pylist()[0] | {"seed": 77} | changes], schema=row.schema))


@pytest.mark.parametrize(
    ("column", "value"),
    [("stage", "elsewhere"), ("curve_epoch", []), ("curve_epoch", [3]), ("curve_penalty_weight", None), ("seed", None),
     ("digest", None)],
)  # fmt: skip
def test_rows_that_no_driver_wrote_are_refused(irm, crafted, column, value):
    put_row(crafted, **{column: value})
    refused(irm, crafted, "runs: ", "curve_" if column == "curve_epoch" else column)


def test_strange_words_are_text_on_the_page(irm, crafted, monkeypatch):
    monkeypatch.undo()
    put_row(crafted, ramp="<script>alert(1)</script>")
    told = {"provenance": {"command": ["<script>alert(2)"], "versions": 3, "<i>": None}}
    (crafted / "summary.json").write_text(json.dumps(told))
    record = load_study(crafted)
    from irm_study.report import write_report

    assert "<script>alert" not in write_report(record).read_text()


def test_a_name_of_a_million_characters_is_refused(irm, crafted):
    text = (crafted / "study.toml").read_text()
    (crafted / "study.toml").write_text(text.replace('name = "small"', f'name = "{"x" * 1_000_000}"'))
    refused(irm, crafted, "study.toml", "at most 200 characters")
    (crafted / "study.toml").write_text(text + "# " + "x" * 2**20)
    refused(irm, crafted, "study.toml: larger than 1 MiB")


def test_a_study_file_without_end_is_refused(irm):
    status, said = irm("run", "/dev/zero")
    assert (status, said.count("\n")) == (2, 1)
    assert "/dev/zero: larger than 1 MiB" in said


def test_a_summary_too_large_is_refused(crafted, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_TEXT_BYTES", 1000)
    (crafted / "summary.json").write_text(json.dumps({"provenance": {"x" * 2000: 1}}))
    assert load_study(crafted).provenance == {}


SUMMARIES = ["[]", "{", '{"provenance": 3}', "[" * 100_000, '{"provenance": ["a"]}']


@pytest.mark.parametrize("summary", SUMMARIES)
def test_a_summary_of_another_kind_is_not_believed(irm, crafted, summary):
    (crafted / "summary.json").write_text(summary)
    assert load_study(crafted).provenance == {}
    assert irm("status", crafted)[0] == irm("report", crafted)[0] == 0


ENDLESS = """
CREATE VIEW trials AS WITH RECURSIVE one(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM one)
    SELECT n AS trial_id, n AS number, 1 AS study_id, 'COMPLETE' AS state FROM one;
CREATE VIEW trial_user_attributes AS WITH RECURSIVE one(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM one)
    SELECT n AS trial_id, key, '"1"' AS value_json FROM one, (SELECT 'trial' AS key UNION SELECT 'digest');
"""


def test_a_database_without_end_is_left_after_a_while(crafted, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_SECONDS", 0.2)
    expected = load_study(crafted).trials
    with contextlib.closing(sqlite3.connect(crafted / "study.db")) as database:
        database.executescript("DROP TABLE trials; DROP TABLE trial_user_attributes;" + ENDLESS)
    assert untrusted.read_stored_trials(crafted / "study.db", "small") is None
    assert load_study(crafted).trials.equals(expected)  # from the runs


def test_reading_a_study_writes_nothing_to_its_storage(crafted):
    before = (crafted / "study.db").read_bytes()
    load_study(crafted)
    assert (crafted / "study.db").read_bytes() == before
    assert [each.state for each in untrusted.read_stored_trials(crafted / "study.db", "small")] == ["complete"] * 2


def test_a_storage_that_is_read_only_is_read(crafted):
    (crafted / "study.db").chmod(0o400)
    assert len(load_study(crafted).trials) == 2


def test_parts_refuse_links_for_whoever_reads_them(crafted, tmp_path):
    part = next((crafted / "runs").glob("part-*"))
    part.rename(tmp_path / "elsewhere.parquet")
    part.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(ConfigError, match="not a plain file"):
        table.read_parts(crafted, "embedded", small().environments)


@pytest.mark.parametrize("planted", [".runs.csv.partial", "figures", "trials.csv"])
def test_a_page_judged_anew_is_written_through_no_link(irm, crafted, tmp_path, planted):
    judged, outside = crafted / "judged-by-train_only-mean", tmp_path / "outside"
    judged.mkdir()
    if planted == "figures":
        outside.mkdir()
    else:
        outside.write_text("not theirs")
    (judged / planted).symlink_to(outside)
    status, said = irm("report", crafted, "--criterion", "train_only")
    assert status == 2 and "is a link" in said
    assert not list(outside.iterdir()) if planted == "figures" else outside.read_text() == "not theirs"


def test_a_planted_partial_file_is_replaced_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("not theirs")
    (tmp_path / ".runs.csv.partial").symlink_to(outside)
    files.write_text(tmp_path / "runs.csv", "ours")
    assert (outside.read_text(), (tmp_path / "runs.csv").read_text()) == ("not theirs", "ours")


def test_what_lies_in_place_of_a_page_is_neither_read_whole_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.html")
    with (tmp_path / "sparse.html").open("wb") as file:
        file.truncate(2**40)
    for name in ("pipe.html", "sparse.html"):
        files.write_text(tmp_path / name, "ours")
        assert (tmp_path / name).read_text() == "ours"


def test_cells_that_take_long_to_compute_are_left_after_a_while(crafted, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_SECONDS", 0.5)
    with contextlib.closing(sqlite3.connect(crafted / "study.db")) as database:
        database.executescript(
            "DROP TABLE trials; DROP TABLE trial_user_attributes;"
            + ENDLESS.replace("""'"1"' AS value_json""", "hex(zeroblob(40)) || hex(zeroblob(400000)) AS value_json")
        )
    began = time.monotonic()
    assert untrusted.read_stored_trials(crafted / "study.db", "small") is None
    assert time.monotonic() - began < 60


def test_a_folder_s_trials_csv_is_believed_as_far_as_it_holds_trials(tmp_path):
    for text in ("trial,digest,state\n0,aa,odd\n", "trial,digest\n0,aa\n", "trial,digest,state\nx,aa,complete\n",
                 f"trial,digest,state\n0,{'a' * 1000},complete\n", "\0"):  # fmt: skip
        (tmp_path / "trials.csv").write_text(text)
        assert untrusted.read_trials_csv(tmp_path / "trials.csv") == []
    (tmp_path / "trials.csv").write_text("trial,digest,state,value\n0,aa,complete,0.5\n")
    assert untrusted.read_trials_csv(tmp_path / "trials.csv") == [(0, "aa", "complete")]
