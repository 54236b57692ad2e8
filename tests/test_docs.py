"""What the documentation promises: it builds without a warning, its tables are the code's, its links lead to files, its
Python runs, and the tutorial can be followed from top to bottom."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch.nn.functional import binary_cross_entropy_with_logits

from irm_study import cli, plugin
from irm_study.cli.app import app
from irm_study.config import EnvironmentSpec, RunConfig, StudySpec, have_loaded, shipped_files
from irm_study.config.kinds import DICTIONARIES, kind_names
from irm_study.config.run import Target
from irm_study.config.study import ConfirmSection, StudySection
from irm_study.methods import PENALTIES, risks
from irm_study.results import write_runs_csv
from tests.reference import ACROSS
from tests.synthetic import stored, study_record
from tests.test_study import few_digits

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
READ = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "reports/README.md")]
PAGES = [*READ, *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
IMAGE_OR_LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("myst_parser")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-d", str(tmp_path / "doctrees")]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path / "html")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    built = {str(page.relative_to(tmp_path / "html").with_suffix(".md")) for page in tmp_path.rglob("*.html")}
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} <= built


def test_the_tables_are_as_the_code_is():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    texts = {page: page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")}
    old = [str(page.relative_to(ROOT)) for page, text in texts.items() if generate.renewed(text) != text]
    assert old == [], "`python docs/generate.py` writes them anew"
    shown = {name for text in texts.values() for _, name, _ in generate.BLOCK.findall(text)}
    assert shown == set(generate.BLOCKS)


def test_the_study_file_s_page_has_every_key_and_every_name_of_every_kind():
    page = text_of("reference/study-file.md")
    for section in (EnvironmentSpec, RunConfig, Target, StudySection, ConfirmSection):
        for key, field in section.model_fields.items():
            assert f"| `{key}` |" in page, key
            assert field.description, key
    for kind in DICTIONARIES:
        for name in kind_names(kind):
            where = text_of("explanation/failure-modes.md") if kind == "mode" else page
            assert f"`{name}`" in where, name


def test_every_failure_mode_has_its_meaning_and_its_rule():
    page = text_of("explanation/failure-modes.md")
    for mode in kind_names("mode"):
        assert page.count(f"\n| `{mode}` |") == 2, mode


def test_every_command_and_option_is_in_the_reference():
    page = text_of("reference/commands.md")
    for name, command in typer.main.get_command(app).commands.items():
        section = page.partition(f"### `irm-study {name}`\n")[2].partition("\n### ")[0]
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]:
                assert re.search(rf"`{option}[` ]", section), (name, option)


def test_every_shipped_study_reads_and_is_in_the_documentation():
    from irm_study.config import read_calibration, read_study, read_train

    page = text_of("howto/protocols.md")
    for name, path in shipped_files().items():
        tables = tomllib.loads(path.read_text())
        read = read_study if "search" in tables else read_calibration if "ways" in tables else read_train
        spec = read(path)
        assert (spec[0] if "ways" in tables else spec.name) == name
        assert f" {name}` |" in page, name


def test_the_tests_that_the_table_of_faults_names_are_there():
    tests = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py")}
    rows = [line.rpartition(" | ")[2] for line in text_of("explanation/faults.md").splitlines() if " | `" in line]
    named = [name.strip("…") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) >= len(rows) > 5
    assert [name for name in named if name not in tests and not any(name in text for text in tests.values())] == []


@pytest.mark.parametrize("page", ["tutorial.md", "reference/study-file.md"])
def test_the_example_of_a_study_file_is_a_study(page):
    StudySpec.model_validate(tomllib.loads(blocks(text_of(page), "toml")[0]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = [target for target in IMAGE_OR_LINK.findall(text) if not re.match(r"https?:|mailto:|#", target)]
    missing = [target for target in targets if not (page.parent / target.partition("#")[0]).is_file()]
    assert missing == []


# What is run


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A folder of the test's own, a few of the embedded digits, one job."""
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    monkeypatch.setattr("irm_study.execution.machine.available_cores", lambda: 1)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


SMALLER = {
    "run": [
        "--trials=2", "--seeds=2", "--set=run.hidden=4", "--set=run.checkpoint_every=20", "--set=confirm.top=1",
        "--set=confirm.seeds=2",
    ],
    "train": ["--set=run.hidden=4"],
    "confirm": ["--seeds=3"],
}  # fmt: skip
"""What the test adds to the tutorial's commands, so that they take seconds; of two equal options the last counts."""


def test_the_tutorial_can_be_followed_from_top_to_bottom(here, monkeypatch, capsys):
    monkeypatch.setattr("irm_study.report.write_report", lambda record: None)  # has tests of its own, and takes seconds
    page = text_of("tutorial.md")
    (here / "mine.toml").write_text(blocks(page, "toml")[0])
    lines = "".join(blocks(page, "sh")).replace("\\\n", "").splitlines()
    commands = [shlex.split(line) for line in lines]
    assert {command[1] for command in commands} >= {"run", "status", "train", "compare", "confirm"}
    for name, *arguments in commands:
        assert name == "irm-study"
        monkeypatch.setattr(sys, "argv", [name, *arguments, *SMALLER.get(arguments[0], [])])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, (arguments, capsys.readouterr().err)
    for python in blocks(page, "python"):
        exec(python, {})
    made = {path.name for path in (here / "reports").iterdir()}
    assert made == {"quickstart", "no-penalty", "vrex", "compare-quickstart-vrex", "mine"}
    assert (here / "skill_plane.png").read_bytes().startswith(b"\x89PNG")


def test_the_examples_for_a_notebook_run_one_after_the_other(here):
    record = study_record(here / "reports" / "quickstart", trials=3)
    write_runs_csv(stored(record), record.runs)
    names = {}
    for python in blocks(text_of("howto/results.md"), "python"):
        exec(python, names)
    assert len(names["record"].runs) == len(names["runs"]) == len(names["curves"]) == len(record.runs)
    assert names["long"].groupby(["digest", "seed"]).size().tolist() == [
        len(curve) for curve in record.runs.sort_values(["digest", "seed"])["curve_epoch"]
    ]
    assert (here / "seeds.pdf").read_bytes().startswith(b"%PDF")
    assert names["trained"].runs["seed"].tolist() == [0, 1]


def test_the_reference_offers_what_the_package_offers():
    import irm_study

    names = {}
    exec(blocks(text_of("reference/python.md"), "python")[0], names)
    assert names.keys() - {"__builtins__"} == set(irm_study.__all__)


@pytest.mark.parametrize("page", ["docs/howto/own-penalty.md", "README.md"])
def test_the_plugin_is_a_penalty_of_the_features(page, tmp_path):
    path = tmp_path / "feature_variance.py"
    path.write_text(blocks((ROOT / page).read_text(encoding="utf-8"), "python")[0])
    plugin.load(path)
    try:
        penalty = PENALTIES["feature_variance"]
    finally:
        have_loaded(())
    features = torch.randn(3, 2, 50, 4, generator=torch.Generator().manual_seed(0))
    found = penalty.function(None, None, features)
    each = [np.mean([np.var(part.numpy(), axis=0, ddof=1) for part in run]) for run in features]
    assert found.tolist() == pytest.approx(each, rel=1e-5)


def test_the_penalty_that_is_added_to_the_package_is_what_it_says():
    """Its Python, as it would stand in the file that it is written for, against a plain loop over environments."""
    names = {"Tensor": torch.Tensor, "risks": risks, "ACROSS": dict(ACROSS)}
    for python in blocks(text_of("howto/own-penalty.md"), "python")[1:]:
        exec(python, names)
    logits = torch.randn(3, 2, 50, generator=torch.Generator().manual_seed(0))
    labels = (torch.rand(3, 2, 50, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    for run, found in enumerate(names["worst_risk"](logits, labels)):
        each = [binary_cross_entropy_with_logits(*examples) for examples in zip(logits[run], labels[run], strict=True)]
        assert found.item() == pytest.approx(max(each).item(), rel=1e-5)
        assert names["ACROSS"]["worst_risk"](torch.stack(each), None) == max(each)
