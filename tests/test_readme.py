"""What the README promises is there: its commands, its names, its table of keys."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import typer

from irm_study.cli.app import app
from irm_study.config import EnvironmentSpec, RunConfig, StudySpec
from irm_study.config.kinds import DICTIONARIES, kind_names
from irm_study.config.study import ConfirmSection, StudySection
from irm_study.results import write_runs_csv
from tests.synthetic import stored, study_record

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ci_runs_the_readmes_test_command():
    command = next(block.strip() for block in blocks("sh") if "pytest" in block)
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_examples_for_a_notebook_run_one_after_the_other(tmp_path, monkeypatch):
    record = study_record(tmp_path / "reports" / "quickstart", trials=3)
    write_runs_csv(stored(record), record.runs)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(block, names)
    assert len(names["record"].runs) == len(names["runs"]) == len(names["curves"]) == len(record.runs)
    assert names["long"].groupby(["digest", "seed"]).size().tolist() == [
        len(curve) for curve in record.runs.sort_values(["digest", "seed"])["curve_epoch"]
    ]
    assert (tmp_path / "seeds.pdf").read_bytes().startswith(b"%PDF")
    assert names["trained"].runs["seed"].tolist() == [0, 1]


def test_the_example_of_a_study_file_is_a_study():
    StudySpec.model_validate(tomllib.loads(blocks("toml")[0]))


def test_the_table_of_keys_has_every_key_and_every_name_of_every_kind():
    table = README[README.index("| table | key |") : README.index("## Digits")]
    for section in (EnvironmentSpec, RunConfig, StudySection, ConfirmSection):
        for key in section.model_fields:
            assert f"`{key}`" in table, key
    for kind in DICTIONARIES:
        for name in kind_names(kind):
            assert f"`{name}`" in (README if kind == "mode" else table), name


def test_every_command_is_in_the_readme_s_table():
    for command in typer.main.get_command(app).commands:
        assert f"| `irm-study {command}" in README, command


def test_every_shipped_study_reads_and_is_named_in_the_readme():
    from irm_study.config import read_calibration, read_study, read_train

    for path in (ROOT / "studies").glob("*.toml"):
        tables = tomllib.loads(path.read_text())
        read = read_study if "search" in tables else read_calibration if "ways" in tables else read_train
        told = read(path)
        assert (told[0] if "ways" in tables else told.name) == path.stem
        assert f"`{path.stem}`" in README, path.stem
