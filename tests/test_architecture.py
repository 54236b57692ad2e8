"""The layering, read from the imports: who may lean on whom, and where the heavy libraries may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import irm_study
from irm_study.config import ConfigError, EnvironmentSpec, RunConfig, StudySpec
from irm_study.criteria import AGGREGATES, CRITERIA
from irm_study.failures import EXPLANATIONS, FAILURE_MODES
from irm_study.models import ACTIVATIONS, MODELS
from irm_study.penalties import PENALTIES
from irm_study.ramps import RAMPS
from irm_study.stopping import STOPPING_RULES
from irm_study.study import kinds
from irm_study.studyfile import read_study

ROWS = [
    {"config", "digits", "statistics", "curves"},
    {
        "environments",
        "models",
        "loops",
        "penalties",
        "ramps",
        "failures",
        "studyfile",
        "locks",
        "cluster",
        "parts",
        "untrusted",
    },
    {"networks", "criteria", "stopping"},
    {"training", "records"},
    {"confirmation"},
    {"execution", "search", "tables", "drawing"},
    {"driver", "figures", "stability", "stability_figures", "comparison_figures", "benchmark"},
    {"study", "findings", "progress"},
    {"page", "comparison", "proof"},
    {"report", "comparison_report", "calibration"},
    {"closing", "load"},
    {"cli"},
]
"""A module imports only from rows above its own; siblings do not import each other."""

TORCH = {"environments", "models", "loops", "penalties", "networks", "training", "benchmark"}
TORCH_IN_FUNCTIONS = {
    "execution": "a worker's number of threads; whether its device is there",
}
OPTUNA = {"search"}

PACKAGE = Path(irm_study.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py") if path.stem != "__init__"}


def imports(tree: ast.AST) -> list[tuple[str, bool]]:
    """Modules imported anywhere in a module, in dotted form, and whether at its top (annotations' are left out)."""
    found = []

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "imports are absolute"
                if child.module == "irm_study":
                    found.extend((f"irm_study.{alias.name}", top) for alias in child.names)
                else:
                    found.append((child.module, top))
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            else:
                walk(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    walk(tree, True)
    return found


def own(tree: ast.AST) -> set[str]:
    """Modules of the package that a module imports, at its top or in its functions."""
    return {name.split(".")[1] for name, _ in imports(tree) if name.startswith("irm_study.")} & MODULES.keys()


def importers(library: str, top: bool | None = None) -> set[str]:
    return {
        module
        for module, tree in MODULES.items()
        if any(name.split(".")[0] == library and top in (None, at_top) for name, at_top in imports(tree))
    }


def test_every_module_has_a_row():
    assert sorted(module for row in ROWS for module in row) == sorted(MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_the_rows_above_its_own(module):
    row = next(number for number, members in enumerate(ROWS) if module in members)
    above = set().union(*ROWS[:row])
    assert own(MODULES[module]) <= above


def test_torch_is_imported_where_tensors_are_and_nowhere_else():
    assert importers("torch", top=True) == TORCH
    assert importers("torch") == TORCH | TORCH_IN_FUNCTIONS.keys()


def test_optuna_is_imported_by_the_search_alone():
    assert importers("optuna") == OPTUNA


def test_commands_import_nothing_heavy_until_they_run():
    light = {"json", "sys", "pathlib", "typing", "typer", "irm_study", "__future__"}
    assert {name.split(".")[0] for name, top in imports(MODULES["cli"]) if top} <= light
    assert not [name for name, top in imports(MODULES["cli"]) if top and name.split(".")[0:2][-1] in MODULES]


def test_no_module_is_called_utils():
    assert not {"utils", "util", "helpers", "common", "misc"} & MODULES.keys()


def test_every_module_opens_with_a_paragraph():
    assert [module for module, tree in MODULES.items() if not ast.get_docstring(tree)] == []


# Things that come in kinds

KINDS = {
    "run.model": MODELS, "run.activation": ACTIVATIONS, "run.penalty": PENALTIES, "run.ramp": RAMPS,
    "run.stop": STOPPING_RULES, "study.criterion": CRITERIA, "study.aggregate": AGGREGATES,
}  # fmt: skip


def study_file(folder: Path, key: str, name: str) -> Path:
    """A study that needs nothing more for any of the kinds."""
    table, _, field = key.partition(".")
    tables = {"environments": ["validation_flip = 0.5", "resolution = 28"], "run": [], "study": []}
    tables[table].append(f'{field} = "{name}"')
    path = folder / "study.toml"
    path.write_text('name = "a"\n' + "".join(f"[{each}]\n" + "\n".join([*lines, ""]) for each, lines in tables.items()))
    return path


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, names in KINDS.items() for name in names])
def test_the_study_file_accepts_every_name_of_every_dictionary(tmp_path, key, name):
    spec = read_study(study_file(tmp_path, key, name), kinds())
    table, _, field = key.partition(".")
    assert getattr(getattr(spec, table), field) == name


@pytest.mark.parametrize("key", KINDS)
def test_the_study_file_refuses_other_names_and_lists_the_dictionary_s(tmp_path, key):
    with pytest.raises(ConfigError) as caught:
        read_study(study_file(tmp_path, key, "absent"), kinds())
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
