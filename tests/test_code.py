"""The code as a reader meets it: formatted, linted, and typed strictly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKS = {
    "linted": ["ruff", "check", "irm_study", "tests", "examples", "docs"],
    "formatted": ["ruff", "format", "--check", "irm_study", "tests", "examples", "docs"],
    "typed": ["mypy"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_code_is(check, tmp_path):
    cache = ["--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", *CHECKS[check], *cache], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
