"""What the README promises is there: its commands, its names, its table of keys."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import irm_study
from irm_study.config import ConfirmSection, EnvironmentSpec, RunConfig, StudySection, StudySpec
from irm_study.study import kinds

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ci_runs_the_readmes_test_command():
    command = next(block.strip() for block in blocks("sh") if "pytest" in block)
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_what_a_notebook_imports_is_there():
    names = re.search(r"from irm_study import (.*)", blocks("python")[0])[1].split(", ")
    assert all(getattr(irm_study, name) for name in names)


def test_the_example_of_a_study_file_is_a_study():
    StudySpec.model_validate(tomllib.loads(blocks("toml")[0]), context=kinds())


def test_the_table_of_keys_has_every_key_and_every_name_of_every_kind():
    table = README[README.index("| table | key |") : README.index("## Digits")]
    for section in (EnvironmentSpec, RunConfig, StudySection, ConfirmSection):
        for key in section.model_fields:
            assert f"`{key}`" in table, key
    for names in kinds().values():
        for name in names:
            assert f"`{name}`" in table, name


def test_every_shipped_study_reads_and_is_named_in_the_readme():
    from irm_study.config import read_study, read_train

    for path in (ROOT / "studies").glob("*.toml"):
        read = read_study if "search" in tomllib.loads(path.read_text()) else read_train
        assert read(path, kinds()).name == path.stem
        assert f"`{path.stem}`" in README, path.stem
