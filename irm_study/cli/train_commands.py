"""Commands on single configurations: train, calibrate. Heavy libraries are imported inside them."""

from __future__ import annotations

from typing import Annotated

import typer

from irm_study.cli.as_json import print_json
from irm_study.cli.options import (
    AsJson,
    CalibrationFile,
    Changes,
    Config,
    DataRoot,
    Device,
    Jobs,
    Out,
    Precision,
    Quiet,
    Scheduler,
    Unset,
)


def train(
    config: Config,
    out: Out = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1,
    first_seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="The first of them; a study confirms on 1000, 1001, …")
    ] = 0,
    precision: Precision = None,
    changes: Changes = None,
    unset: Unset = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one configuration over seeds, and say how each run ended."""
    from irm_study.config import named_file, read_setting, read_train, run_digest

    path = named_file(config, "train")
    overrides = dict(read_setting(change) for change in changes or ())
    if precision is not None:
        overrides["run.precision"] = precision
    spec = read_train(path, overrides, unset or ())
    from irm_study.progress import Display
    from irm_study.results import over_seeds
    from irm_study.study import results_folder, train_runs, usable_settings, with_precision

    folder = out or results_folder(spec.name)
    spec = with_precision(spec, folder, device, scheduler)
    settings = usable_settings(spec, path, jobs=jobs, device=device, data_root=data_root, scheduler=scheduler)
    asked = range(first_seed, first_seed + seeds)
    with Display(quiet) as display:
        runs, trained = train_runs(spec, asked, folder, settings, display)
    shown = runs[(runs["digest"] == run_digest(spec.digits, spec.environments, spec.run)) & runs["seed"].isin(asked)]
    summary = over_seeds(shown)
    if as_json:
        columns = ["seed", "failure_mode", "score", "train_accuracy", "test_accuracy", "evidence", "seconds"]
        print_json({"folder": str(folder), "trained": trained, **summary, "runs": shown[columns].to_dict("records")})
        return
    from irm_study.cli.tables import print_runs

    print_runs(shown, summary)
    if not trained:
        print("nothing was left to train: these runs are in the table already")
    print(f"{folder / 'runs.csv'}")


def calibrate(
    file: CalibrationFile = "calibration",
    out: Out = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each way: 0, 1, …")] = 20,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train runs made to fail in every way, and count how many get the failure mode that they were made for."""
    from irm_study.config import named_file, read_calibration

    path = named_file(file, "calibrate")
    name, ways = read_calibration(path)
    from irm_study.progress import Display
    from irm_study.report import agreement, check_drawing, write_confusion
    from irm_study.study import calibrate as train_ways
    from irm_study.study import results_folder, usable_settings, with_precision

    folder = out or results_folder(name)
    ways = {way: (mode, with_precision(spec, folder, device)) for way, (mode, spec) in ways.items()}
    for _, spec in ways.values():  # every one is checked before the first is trained
        settings = usable_settings(spec, path, jobs=jobs, device=device, data_root=data_root)
    check_drawing()
    runs = train_ways(ways, range(seeds), folder, settings, lambda way: Display(quiet, way))
    table = write_confusion(folder, runs)
    summary = agreement(runs)
    if as_json:
        print_json({"folder": str(folder), **summary, "confusion": table.to_dict("records")})
        return
    from irm_study.cli.tables import print_calibration

    print_calibration(table, summary)
    print(f"{folder / 'confusion.csv'}")
