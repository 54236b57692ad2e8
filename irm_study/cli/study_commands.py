"""Commands on a study: run, report, status, confirm, region.

Heavy libraries are imported inside them, so that help is there at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irm_study.cli.as_json import print_json
from irm_study.cli.options import (
    AsJson,
    Changes,
    DataRoot,
    Device,
    Folder,
    Jobs,
    Out,
    Precision,
    Quiet,
    Scheduler,
    Seeds,
    SharePrefix,
    Storage,
    Study,
    Timeout,
    Unset,
)
from irm_study.cli.plan import print_plan
from irm_study.errors import ConfigError, shown_command

if TYPE_CHECKING:
    from irm_study.results import StudyRecord


def run(
    study: Study = "quickstart",
    out: Out = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials, instead of the file's.")] = None,
    seeds: Seeds = None,
    precision: Precision = None,
    changes: Changes = None,
    unset: Unset = None,
    timeout: Timeout = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    storage: Storage = None,
    scheduler: Scheduler = None,
    share_prefix: SharePrefix = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: print the whole study, and what it will cost.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it: search, confirm the best on fresh seeds, write the page."""
    from irm_study.config import named_file, read_setting, read_study, refuse_repetition

    given = {"study.trials": trials, "study.seeds": seeds, "run.precision": precision}
    overrides = {key: value for key, value in given.items() if value is not None}
    overrides |= dict(read_setting(change) for change in changes or ())
    path = named_file(study, "run")
    spec = read_study(path, overrides, unset or ())
    refuse_repetition(spec, path)
    if dry_run:
        print_plan(spec, jobs, as_json)
        return
    from irm_study.progress import Display
    from irm_study.report import check_drawing
    from irm_study.study import results_folder, run_study, usable_settings, with_precision

    folder = out or results_folder(spec.name)
    spec = with_precision(spec, folder, device, scheduler)
    settings = usable_settings(
        spec, path, jobs=jobs, device=device, data_root=data_root, storage=storage, scheduler=scheduler,
        share_prefix=share_prefix, command=shown_command(sys.argv[1:]), timeout_seconds=timeout,
    )  # fmt: skip
    check_drawing()
    with Display(quiet) as display:
        record, trained = run_study(spec, folder, settings, display)
    notes = [] if trained else ["nothing was left to train"]
    if record.finished > spec.budget:
        notes.append(f"{record.finished} trials are finished already: study.trials = {spec.budget} asks for no more")
    if timeout is not None and record.finished < record.planned:
        notes.append(
            f"the time is over with {record.finished} of {record.planned} trials finished; to go on:\n"
            f"  {shown_command(_without_timeout(sys.argv[1:]))}"
        )
    _finish(record, as_json, trained, notes, display.time_left_within)


def report(
    folder: Folder,
    criterion: Annotated[str | None, typer.Option(help="Judge by another criterion than the search's.")] = None,
    aggregate: Annotated[str | None, typer.Option(help="Aggregate over seeds otherwise than the search did.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the page; by default the study's own, or in it judged-by-<…> when judged anew, "
            "while-running when another process works on the study."
        ),
    ] = None,
    map_keys: Annotated[
        str | None,
        typer.Option(
            "--map", metavar="KEY,KEY", help="Hyperparameters for the failure map's axes: learning_rate,hidden."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a study's tables, figures and page again, from its table of runs; trains nothing."""
    import dataclasses

    from irm_study.results import FolderInUse, load_study, locked, stored_spec, write_tables

    spec = stored_spec(folder)
    if out is not None and out.resolve() == folder.resolve():
        out = None
    if out is None and (criterion or aggregate):
        out = folder / f"judged-by-{criterion or spec.study.criterion}-{aggregate or spec.study.aggregate}"
    with contextlib.ExitStack() as stack:
        if out is None:  # reading needs no lock, only writing to the study's own files does
            try:
                stack.enter_context(locked(folder))
            except FolderInUse as error:
                out = folder / "while-running"
                holder = str(error).partition("(")[2].partition(")")[0]
                print(f"{folder}: {holder} works on this study; as it is now, it is shown in {out}", file=sys.stderr)
            except ConfigError as error:
                raise ConfigError(f"{error}; name another folder for the page with --out") from None
        record = load_study(folder, criterion, aggregate)
        options = {} if map_keys is None else {"failure_map": _axes(map_keys, record)}
        if out is not None:
            _make_folder(out, folder)
            record = dataclasses.replace(record, folder=out)
        write_tables(record)
        _finish(record, as_json, options=options)


def status(folder: Folder, as_json: AsJson = False) -> None:
    """How far a study has come, also while another process runs it."""
    from irm_study.results import holder_of, load_study, summary

    record = load_study(folder)
    summarised = summary(record) | {"budget": record.planned, "working": holder_of(folder)}
    if as_json:
        print_json(summarised)
        return
    from irm_study.cli.tables import print_status

    print_status(record.spec.name, summarised)


def confirm(
    folder: Folder,
    seeds: Annotated[int | None, typer.Option(min=1, help="Fresh seeds for each configuration.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="How many of the best configurations.")] = None,
    criteria: Annotated[
        bool, typer.Option("--criteria", help="What each other criterion would have chosen, too: its regret.")
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="The winner without a penalty, too, in colour and in grey.")
    ] = False,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="The winner's neighbours, too: each value times 0.5, 0.8, 1.25 and 2.")
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(min=2, help="The winner on N draws of data, each from N initialisations: what spreads the runs."),
    ] = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    storage: Storage = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the best configurations on fresh seeds; an earlier confirmation is extended."""
    from irm_study.progress import Display
    from irm_study.report import check_drawing
    from irm_study.results import confirmed_table, stored_spec
    from irm_study.study import confirm_study, usable_settings

    spec = stored_spec(folder)
    given = {"seeds": seeds, "top": top, "criteria": criteria, "baselines": baselines, "neighbours": neighbours,
             "draws": draws}  # fmt: skip
    changed = {key: value for key, value in given.items() if value}
    spec = spec.model_copy(update={"confirm": spec.confirm.model_copy(update=changed)})
    settings = usable_settings(
        spec, folder / "study.toml", jobs=jobs, device=device, data_root=data_root, storage=storage,
        scheduler=scheduler, command=shown_command(sys.argv[1:]),
    )  # fmt: skip
    check_drawing()
    with Display(quiet) as display:
        record, trained = confirm_study(spec, folder, settings, display)
    notes = []
    if not trained:
        there = ", ".join(f"trial {row['trial']} has {row['seeds']}" for row in confirmed_table(record))
        notes.append(f"nothing was left to train: of the {spec.confirm.seeds} fresh seeds asked for, {there} already")
    _finish(record, as_json, trained, notes, display.time_left_within)


def region(
    folder: Folder,
    rate: Annotated[
        float | None,
        typer.Option(help="Above which success is to be predicted in all of the region, in (0, 1); by default 0.8."),
    ] = None,
    proof: Annotated[
        int, typer.Option(min=1, max=100_000, help="Configurations drawn from it, each trained on a fresh seed.")
    ] = 40,
    again: Annotated[
        bool,
        typer.Option("--again", help="Once the proof is whole, find another region, from the proof's runs as well."),
    ] = False,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    storage: Storage = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find ranges in which runs succeed, and prove them on configurations drawn from them; a proof is extended."""
    from irm_study.progress import Display
    from irm_study.report import check_drawing
    from irm_study.results import stored_spec
    from irm_study.study import prove_region, usable_settings

    if rate is not None and not 0 < rate < 1:
        raise ConfigError(f"--rate: must lie between 0 and 1; got {rate:g}")
    spec = stored_spec(folder)
    settings = usable_settings(
        spec, folder / "study.toml", jobs=jobs, device=device, data_root=data_root, storage=storage,
        scheduler=scheduler, command=shown_command(sys.argv[1:]),
    )  # fmt: skip
    check_drawing()
    with Display(quiet) as display:
        record, trained = prove_region(spec, folder, rate, proof, again, settings, display)
    notes = [f"the region's ranges: {folder / 'region.toml'}, which 'run' and 'train' take"]
    if not trained:
        notes.insert(0, f"nothing was left to train: its proof has the {proof} runs asked for, or more")
    _finish(record, as_json, trained, notes, display.time_left_within)


def _without_timeout(arguments: Sequence[str]) -> list[str]:
    """A command line without its --timeout, as the parser takes it: followed by its value, or joined with it."""
    kept, skipped = [], False
    for argument in arguments:
        if skipped or argument.startswith("--timeout="):
            skipped = False
        elif argument == "--timeout":
            skipped = True
        else:
            kept.append(argument)
    return kept


def _make_folder(out: Path, folder: Path) -> None:
    """A folder for a page that is judged anew; never another study's."""
    from irm_study.results import refuse_links, refuse_studies

    if out.resolve() != folder.resolve():
        refuse_studies(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror or error}") from None
    refuse_links(out)


def _axes(given: str, record: StudyRecord) -> dict[str, str]:
    """The axes of the failure map that `--map` names; refused before anything is written."""
    from irm_study.report import map_keys

    keys = [key.strip() for key in given.split(",")]
    if len(keys) != 2 or not all(keys):
        raise ConfigError(f"--map: needs two hyperparameters, as learning_rate,l2_weight; got {given!r}")
    axes = dict(zip(("x", "y"), keys, strict=True))
    map_keys(record, **axes)
    return axes


def _finish(
    record: StudyRecord,
    as_json: bool,
    trained: int | None = None,
    notes: Sequence[str] = (),
    time_left_within: float | None = None,
    options: Mapping[str, dict[str, str]] | None = None,
) -> None:
    """The page, and the closing summary. trained: how many runs the command had trained; None: it trains none. notes:
    sentences under the tables. time_left_within: as the display of its runs has it. options: as `write_report` takes
    them."""
    from irm_study.report import page_is_current, write_report
    from irm_study.results import summary

    page = record.folder / "report.html"
    if trained != 0 or not page_is_current(record.folder):
        write_report(record, **(options or {}))
    summarised = summary(record)
    if as_json:
        work = {} if trained is None else {"budget": record.planned, "trained": trained}
        print_json(summarised | work | {"page": str(page), "time_left_within": time_left_within})
        return
    from irm_study.cli.tables import print_study

    print_study(record.spec.name, record.spec.study.criterion, summarised)
    for note in notes:
        print(note)
    print(f"page: {page}")
