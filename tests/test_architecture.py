"""The house, read from its imports: which package leans on which, its doors, and where heavy libraries may be."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import irm_study
from irm_study.config import EnvironmentSpec, RunConfig, StudySpec, read_study
from irm_study.diagnosis import AGGREGATES, CRITERIA, EXPLANATIONS, FAILURE_MODES, STOPPING_RULES
from irm_study.errors import ConfigError
from irm_study.methods import ACTIVATIONS, MODELS, PENALTIES, RAMPS

ROWS = [
    {"errors", "statistics", "files"},
    {"config"},
    {"data", "diagnosis", "methods", "region"},
    {"training", "results"},
    {"search", "execution", "ideal"},
    {"study", "report"},
    {"comparison", "bench", "progress"},
    {"api", "cli"},
    {"figures", "plugin", "__main__"},
]
"""A package, or a file beside the packages, imports only from rows above its own; siblings do not import each other."""

TORCH = {"data.environments", "training", "ideal", "bench.trainer", "bench.yardsticks", "bench.timing"}
"""Packages and files that import torch at their top; others that need it import it within functions."""
TORCH_IN_FUNCTIONS = {
    "methods": "names of penalties and models are checked without it",
    "execution": "a worker's number of threads; whether its device is there, and what its processor has",
}
OPTUNA = {"search"}
DRAWING = {"report", "comparison", "bench.driver"}
"""Where seaborn and matplotlib are."""

PACKAGE = Path(irm_study.__file__).parent
LONGEST_FILE = 330
"""Lines. Most are between 80 and 300."""


def name_of(path: Path) -> str:
    """`results.table` of irm_study/results/table.py, `results` of its door."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}
DOORS = {name for name, path in FILES.items() if path.name == "__init__.py"}


@cache
def tree_of(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text())


@cache
def imports(file: str) -> list[tuple[str, bool]]:
    """What a file imports, in dotted form, and whether at its top (what only annotations need is left out)."""
    found = []

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{file}: imports are absolute"
                for alias in child.names:
                    module = f"{child.module}.{alias.name}"
                    is_file = module.removeprefix("irm_study.") in FILES
                    found.append((module if is_file else child.module, top))
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            else:
                walk(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    walk(tree_of(file), True)
    return found


def own(file: str, top: bool | None = None) -> set[str]:
    """Files of this project that a file imports."""
    names = {name.removeprefix("irm_study.") for name, at_top in imports(file) if top in (None, at_top)}
    return names & FILES.keys()


def libraries(file: str, top: bool | None = None) -> set[str]:
    return {name.split(".")[0] for name, at_top in imports(file) if top in (None, at_top)}


def package(file: str) -> str:
    return file.split(".")[0]


def loaded_with(file: str) -> set[str]:
    """Every file that is loaded with a file: followed through what each imports at its top, and its doors."""
    reached, waiting = set(), [file]
    while waiting:
        each = waiting.pop()
        if each not in reached:
            reached.add(each)
            waiting += own(each, top=True) | {package(each)} & DOORS
    return reached


def within(file: str, places: set[str]) -> bool:
    return file in places or package(file) in places


# Rows and doors


def test_every_package_has_a_row():
    assert sorted(name for row in ROWS for name in row) == sorted({package(file) for file in FILES})


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_imports_only_from_the_rows_above_its_package(file):
    row = next(number for number, members in enumerate(ROWS) if package(file) in members)
    above = set().union(*ROWS[:row])
    assert {package(each) for each in own(file)} - {package(file)} <= above


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_imports_other_packages_by_their_doors_alone(file):
    past = {each for each in own(file) if package(each) != package(file) and "." in each}
    assert past == set()


@pytest.mark.parametrize("file", sorted(FILES.keys() - DOORS))
def test_a_file_imports_its_own_package_by_its_files(file):
    assert package(file) not in own(file) or package(file) == file


@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_door_says_what_it_offers_and_offers_nothing_private(door):
    tree = tree_of(door)
    offered = next(node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    names = ast.literal_eval(offered.value)
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert set(names) == imported and len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("_")]


def test_no_circle_between_files():
    waiting = {file: own(file) - {file} for file in FILES}
    while ready := [file for file, needs in waiting.items() if not needs & waiting.keys()]:
        for file in ready:
            del waiting[file]
    assert waiting == {}


# Heavy libraries


def test_torch_is_imported_where_tensors_are_and_nowhere_else():
    assert [file for file in FILES if "torch" in libraries(file, top=True) and not within(file, TORCH)] == []
    allowed = TORCH | TORCH_IN_FUNCTIONS.keys()
    assert [file for file in FILES if "torch" in libraries(file) and not within(file, allowed)] == []


def test_optuna_is_imported_by_the_search_alone():
    assert [file for file in FILES if "optuna" in libraries(file) and not within(file, OPTUNA)] == []


def test_figures_are_drawn_by_the_report_and_the_comparison():
    drawing = {"seaborn", "matplotlib"}
    assert [file for file in FILES if libraries(file) & drawing and not within(file, DRAWING)] == []


@pytest.mark.parametrize("door", ["config", "diagnosis", "methods", "results", "report", "comparison"])
def test_reading_a_study_loads_neither_torch_nor_optuna_however_far_one_follows(door):
    for file in loaded_with(door):
        assert not libraries(file, top=True) & {"torch", "optuna", "torchvision"}, file


def test_a_process_that_reads_loads_neither_torch_nor_optuna():
    code = (
        "import json, sys\n"
        "from irm_study import load_study, read_study, RunConfig, StudySpec\n"
        "RunConfig(penalty='vrex', model='convnet', activation='tanh')\n"
        "print(json.dumps(sorted({'torch', 'optuna', 'torchvision', 'seaborn', 'matplotlib'} & {*sys.modules})))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == []


def test_commands_import_nothing_heavy_until_they_run():
    heavy = {"torch", "optuna", "pandas", "numpy", "scipy", "pyarrow", "pydantic", "matplotlib", "seaborn", "rich"}
    for file in loaded_with("cli"):
        assert not libraries(file, top=True) & (heavy - {"rich"}), file


# Rooms


def test_no_file_is_called_utils():
    assert not {"utils", "util", "helpers", "common", "misc"} & {part for file in FILES for part in file.split(".")}


def test_every_file_opens_with_a_paragraph():
    assert [file for file in FILES if not ast.get_docstring(tree_of(file))] == []


def test_no_file_is_longer_than_a_room():
    lengths = {file: len(path.read_text().splitlines()) for file, path in FILES.items()}
    assert {file: length for file, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_kind_is_known_by_how_its_name_begins():
    pattern = re.compile(r"""startswith\(\s*["'](oracle|validation|train|step|irm|vrex)""")
    assert [file for file, path in FILES.items() if pattern.search(path.read_text())] == []


# Things that come in kinds

KINDS = {
    "run.model": MODELS, "run.activation": ACTIVATIONS, "run.penalty": PENALTIES, "run.ramp": RAMPS,
    "run.stop": STOPPING_RULES, "study.criterion": CRITERIA, "study.aggregate": AGGREGATES,
}  # fmt: skip


def study_file(folder: Path, key: str, name: str) -> Path:
    """A study that needs nothing more for any of the kinds."""
    table, _, field = key.partition(".")
    tables = {
        "environments": ["validation_flip = 0.5", "heldout_examples = 100", "resolution = 28"],
        "run": [],
        "study": [],
    }
    tables[table].append(f'{field} = "{name}"')
    path = folder / "study.toml"
    path.write_text('name = "a"\n' + "".join(f"[{each}]\n" + "\n".join([*lines, ""]) for each, lines in tables.items()))
    return path


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, names in KINDS.items() for name in names])
def test_the_study_file_accepts_every_name_of_every_dictionary(tmp_path, key, name):
    spec = read_study(study_file(tmp_path, key, name))
    table, _, field = key.partition(".")
    assert getattr(getattr(spec, table), field) == name


@pytest.mark.parametrize("key", KINDS)
def test_the_study_file_refuses_other_names_and_lists_the_dictionary_s(tmp_path, key):
    with pytest.raises(ConfigError) as caught:
        read_study(study_file(tmp_path, key, "absent"))
    assert f"{key}: unknown {key.partition('.')[2]} 'absent'; one of: {', '.join(KINDS[key])}" in str(caught.value)


def test_defaults_are_names_of_the_dictionaries():
    spec = StudySpec(name="a")
    for key, names in KINDS.items():
        table, _, field = key.partition(".")
        assert getattr(getattr(spec, table), field) in names


def test_every_failure_mode_is_explained():
    assert FAILURE_MODES.keys() == EXPLANATIONS.keys()


def test_settings_are_frozen():
    for value in (RunConfig(), EnvironmentSpec(), StudySpec(name="a")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(value, next(iter(type(value).model_fields)), 1)


@pytest.mark.parametrize("key", ["model", "activation", "penalty", "ramp", "stop"])
def test_a_configuration_in_python_refuses_unknown_names_too(key):
    with pytest.raises(ValueError, match=f"unknown {key} 'typo'; one of: "):
        RunConfig(**{key: "typo"})
