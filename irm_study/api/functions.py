"""The functions for people.

They do what the commands of the same names do, return objects instead of printing, and raise errors of
`irm_study.errors` instead of exiting. They are silent unless `progress=True`. What they accept is checked in
`arguments`; heavy libraries are imported when they are needed.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from irm_study.api import arguments
from irm_study.api.returned import Comparison, TrainedRuns
from irm_study.config import EnvironmentSpec, RunConfig, StudySpec, TrainSpec, checked, refuse_repetition, run_digest
from irm_study.errors import ConfigError
from irm_study.results import StudyRecord, stored_spec, tidy_curves

if TYPE_CHECKING:
    from irm_study.progress import Display
    from irm_study.study import Settings


def read_study(study: str | Path, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """The study in a file, or a shipped one by its name, with single keys replaced ({"study.trials": 100}).

    Raises ConfigError for anything that is wrong with it.
    """
    return arguments.study_of(study, overrides or {})[0]


def run_study(
    study: StudySpec | str | Path,
    out: str | Path | None = None,
    *,
    trials: int | None = None,
    seeds: int | Iterable[int] | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    data_root: str | Path | None = None,
    storage: str | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> StudyRecord:
    """Run a study, or go on with it: search, confirm the best on fresh seeds, write the page. As `irm-study run`.

    study: a StudySpec, a file, or the name of a shipped study. out: its folder, by default reports/<name>. trials,
    seeds: instead of the study's. jobs: processes to train in, by default one for each core.

    Raises ConfigError or DigitsError where the input is wrong, ExecutionError where the work failed.
    """
    # A number of seeds stays a number: it is a part of what makes two studies the same.
    asked = seeds if seeds is None or isinstance(seeds, int) else arguments.seeds_of(seeds)
    spec, file = arguments.study_of(study, {"study.trials": trials, "study.seeds": asked})
    refuse_repetition(spec, file or StudySpec.__name__)
    where = arguments.where_of(jobs, device, data_root, storage, scheduler)
    called = arguments.call_text("run_study", study, {"out": out, "trials": trials, "seeds": asked} | where)
    folder = arguments.out_folder(out) or _study().results_folder(spec.name)
    spec = _study().with_precision(spec, folder, device, scheduler)
    settings = _settings(spec, file, where, called)
    _report().check_drawing()
    with _display(progress) as display:
        record, trained = _study().run_study(spec, folder, settings, display)
    return _with_page(record, trained)


def confirm_study(
    study: StudyRecord | str | Path,
    *,
    seeds: int | None = None,
    top: int | None = None,
    criteria: bool | None = None,
    baselines: bool | None = None,
    neighbours: bool | None = None,
    draws: int | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    data_root: str | Path | None = None,
    storage: str | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> StudyRecord:
    """Train a study's best configurations on fresh seeds, what is missing of them, and write the page again.

    study: its folder, or its record. seeds: fresh seeds for each of the `top` best configurations. criteria: also
    what each other criterion would have chosen. baselines: also the winner without a penalty, in colour and in grey.
    neighbours: also the winner's neighbours. draws: also the winner on so many draws of data, each from so many
    initialisations. What is left out is as the study says. Errors: `run_study`.
    """
    folder = arguments.folder_of(study)
    given = {"seeds": seeds, "top": top, "criteria": criteria, "baselines": baselines, "neighbours": neighbours,
             "draws": draws}  # fmt: skip
    changed = {f"confirm.{key}": value for key, value in given.items() if value is not None}
    spec = checked(stored_spec(folder), changed)
    where = arguments.where_of(jobs, device, data_root, storage, scheduler)
    settings = _settings(
        spec, folder / "study.toml", where, arguments.call_text("confirm_study", folder, given | where)
    )
    _report().check_drawing()
    with _display(progress) as display:
        record, trained = _study().confirm_study(spec, folder, settings, display)
    return _with_page(record, trained)


def train(
    config: RunConfig | TrainSpec | str | Path,
    seeds: int | Iterable[int] = 1,
    *,
    environments: EnvironmentSpec | Mapping[str, Any] | None = None,
    digits: str | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    data_root: str | Path | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> TrainedRuns:
    """Train one configuration over seeds, and say how each run ended. As `irm-study train`.

    config: a RunConfig, a TrainSpec, a file, or the name of a shipped configuration ("authors"). seeds: how many,
    from 0 on, or which. environments, digits: instead of the file's, or of the defaults ("embedded"). out: a folder
    where runs are kept and are not trained twice; None: nothing is written. Errors: `run_study`.
    """
    spec, file = arguments.configuration_of(config, environments, digits)
    named = arguments.seeds_of(seeds)
    folder = arguments.out_folder(out)
    where = arguments.where_of(jobs, device, data_root, scheduler=scheduler)
    spec = _study().with_precision(spec, folder or Path(), device, scheduler)
    settings = _settings(spec, file, where)
    if jobs is None:  # no process that would have nothing to do
        settings = dataclasses.replace(settings, jobs=min(settings.jobs, len(named)))
    with _display(progress) as display:
        table, _ = _study().train_runs(spec, named, folder, settings, display)
    own = table[(table["digest"] == run_digest(spec.digits, spec.environments, spec.run)) & table["seed"].isin(named)]
    own = own.reset_index(drop=True)
    lists = [name for name in own.columns if name.startswith("curve_")]
    return TrainedRuns(spec, folder, own.drop(columns=lists), tidy_curves(own, spec.environments, ("seed",)))


def compare(*studies: StudyRecord | TrainedRuns | str | Path, out: str | Path | None = None) -> Comparison:
    """Compare configurations, seed by seed and in how often they reach the target zone. As `irm-study compare`.

    studies: two or more of a study's record or folder (its best confirmed configuration), "FOLDER:TRIAL" (that
    trial), a folder of `train`. out: a folder for the page; None: nothing is written. Raises ConfigError.
    """
    from irm_study.comparison import load_sides, outcomes, pairs, write_comparison

    if len(studies) < 2:
        raise ConfigError(f"compare takes two configurations or more; got {len(studies)}")
    given = [each if isinstance(each, str | StudyRecord) else str(_kept(each)) for each in studies]
    sides = load_sides(given)
    folder = arguments.out_folder(out)
    if folder is not None:
        write_comparison(sides, [each if isinstance(each, str) else str(each.folder) for each in given], folder)
    return Comparison(outcomes(sides), pairs(sides))


def diagnose(trained: TrainedRuns | StudyRecord) -> pd.DataFrame:
    """How each run ended: seed, failure_mode, since (epoch), evidence (the numbers that decided), explanation.

    Of a study also stage and trial. The names of the modes are those of `irm_study.diagnosis.FAILURE_MODES`.
    """
    if not isinstance(trained, TrainedRuns | StudyRecord):
        raise ConfigError(f"diagnose takes what train or run_study returned; got a {type(trained).__name__}")
    keys = ["seed"] if isinstance(trained, TrainedRuns) else ["stage", "trial", "seed"]
    table = trained.runs[[*keys, "failure_mode", "failure_since", "evidence", "explanation"]]
    return table.rename(columns={"failure_since": "since"})


def _settings(spec: StudySpec | TrainSpec, file: Path | None, where: Mapping[str, Any], called: str = "") -> Settings:
    settings: Settings = _study().usable_settings(spec, file, command=called, **where)
    return settings


def _study() -> ModuleType:
    """`irm_study.study`. Optuna's progress bars, which are not used, would warn in a notebook without ipywidgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        return import_module("irm_study.study")


def _report() -> ModuleType:
    """`irm_study.report`, which imports what draws."""
    return import_module("irm_study.report")


def _display(progress: bool) -> Display:
    from irm_study.progress import Display

    return Display(quiet=not progress)


def _with_page(record: StudyRecord, trained: int) -> StudyRecord:
    if trained or not _report().page_is_current(record.folder):
        _report().write_report(record)
    return record


def _kept(given: TrainedRuns | Path) -> Path:
    """The folder of one that is compared, and has a folder."""
    if not isinstance(given, TrainedRuns):
        return arguments.folder_of(given)
    if given.folder is None:
        raise ConfigError(f"{given!r} is kept nowhere; train it with out=… to compare it")
    return given.folder
