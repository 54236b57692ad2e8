"""What the README promises: it is short, its commands and its study are what they say. Its links: `test_docs`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from irm_study.config import StudySpec
from irm_study.config.kinds import kind_names
from tests.test_docs import blocks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_ci_runs_its_test_command():
    command = next(block.strip() for block in blocks(README, "sh") if "pytest" in block)
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_its_commands_are_those_of_the_documentation():
    assert blocks(README, "sh") == blocks((ROOT / "docs" / "install.md").read_text(encoding="utf-8"), "sh")[::2]


def test_its_study_is_a_study():
    spec = StudySpec.model_validate(tomllib.loads(blocks(README, "toml")[0]))
    assert spec.study.seeds == 10


def test_it_counts_the_failure_modes():
    assert len(kind_names("mode")) - len({"invariant"}) == 12
    assert "twelve failure modes" in README


def test_its_picture_of_a_page_is_small():
    assert (ROOT / "docs" / "_static" / "page.png").stat().st_size < 300_000
