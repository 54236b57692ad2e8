"""The commands. Heavy libraries are imported inside them, so that help is there at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irm_study import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from irm_study.config import StudySpec, TrainSpec
    from irm_study.driver import Settings
    from irm_study.records import StudyRecord

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Search hyperparameters of Invariant Risk Minimization on Colored MNIST, "
    "and study their stability over seeds.",
)

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

INSIST_AFTER = 2.0
"""Seconds after which Ctrl-C interrupts once more."""

Out = Annotated[Path | None, typer.Option(help="Folder for the results; by default reports/<study name>.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds, instead of the file's.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes to train in; by default one for each core.")]
Device = Annotated[str, typer.Option(help="Torch device to train on: cpu, cuda, cuda:1, …")]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with MNIST/raw/…, as torchvision lays it out (or IRM_STUDY_DATA).")
]
Storage = Annotated[str | None, typer.Option(help="Optuna storage URL, instead of study.db in the results' folder.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Train on a Dask cluster: its scheduler, as tcp://HOST:8786 or tls://…; needs the extra 'cluster'."
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the file, as study.sampler_seed=1; repeatable."),
]
SharePrefix = Annotated[
    bool, typer.Option(help="Train once what runs of a grid share up to their anneal epochs; curves stay the same.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Folder = Annotated[Path, typer.Argument(help="A study's folder, as 'run' made it.", show_default=False)]


def shipped_names(command: str) -> Callable[[str], list[str]]:
    """Completes the names of shipped files: studies for 'run', single configurations for 'train', …"""

    def complete(incomplete: str) -> list[str]:
        return [name for name, path in sorted(_shipped().items()) if name.startswith(incomplete) and takes(path)]

    def takes(path: Path) -> bool:
        lines = path.read_text().splitlines()
        tables = {line[1:].partition("]")[0].partition(".")[0] for line in lines if line.startswith("[")}
        return command == ("run" if "search" in tables else "calibrate" if "ways" in tables else "train")

    return complete


Study = Annotated[
    str, typer.Argument(help="A study file, or the name of a shipped study.", autocompletion=shipped_names("run"))
]
Config = Annotated[
    str,
    typer.Argument(
        # Square brackets are markup to the help's printer, but for the backslash.
        help="A file with \\[environments] and \\[run], as a study's best.toml is, or the name of a shipped one.",
        autocompletion=shipped_names("train"),
        show_default=False,
    ),
]


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"irm-study {__version__}")
        raise typer.Exit


@app.command()
def run(
    study: Study = "quickstart",
    out: Out = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials, instead of the file's.")] = None,
    seeds: Seeds = None,
    changes: Changes = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    storage: Storage = None,
    scheduler: Scheduler = None,
    share_prefix: SharePrefix = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it: search, confirm the best on fresh seeds, write the page."""
    from irm_study.progress import Display
    from irm_study.study import kinds, run_study
    from irm_study.studyfile import read_setting, read_study

    given = {"study.trials": trials, "study.seeds": seeds}
    overrides = {key: value for key, value in given.items() if value is not None}
    overrides |= dict(read_setting(change) for change in changes or ())
    path = _study_path(study)
    spec = read_study(path, kinds(), overrides)
    folder = _folder(out, spec.name)
    settings = _settings(spec, path, jobs, device, data_root, storage, scheduler, share_prefix)
    with Display(quiet) as display:
        record, trained = run_study(spec, folder, settings, display)
    _finish(record, trained, as_json, display.time_left_within)


@app.command()
def train(
    config: Config,
    out: Out = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1,
    first_seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="The first of them; a study confirms on 1000, 1001, …")
    ] = 0,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one configuration over seeds, and say how each run ended."""
    from irm_study.progress import Display
    from irm_study.study import kinds, train_runs
    from irm_study.studyfile import read_train, run_digest

    path = _study_path(config)
    spec = read_train(path, kinds())
    folder = _folder(out, spec.name)
    settings = _settings(spec, path, jobs, device, data_root, None, scheduler)
    wanted = range(first_seed, first_seed + seeds)
    with Display(quiet) as display:
        runs, _ = train_runs(spec, wanted, folder, settings, display)
    shown = runs[(runs["digest"] == run_digest(spec.digits, spec.environments, spec.run)) & runs["seed"].isin(wanted)]
    from irm_study.records import finite, over_seeds

    told = over_seeds(shown)
    if as_json:
        columns = ["seed", "failure_mode", "score", "train_accuracy", "test_accuracy", "evidence", "seconds"]
        print(json.dumps(finite({"folder": str(folder), **told, "runs": shown[columns].to_dict("records")}), indent=2))
        return
    from irm_study.closing import print_runs

    print_runs(shown, told)
    print(f"{folder / 'runs.csv'}")


@app.command()
def report(
    folder: Folder,
    criterion: Annotated[str | None, typer.Option(help="Judge by another criterion than the search's.")] = None,
    aggregate: Annotated[str | None, typer.Option(help="Aggregate over seeds otherwise than the search did.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the page; by default the study's own, or judged-by-<…> in it when judged anew."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a study's tables, figures and page again, from its table of runs; trains nothing."""
    import dataclasses

    from irm_study.config import ConfigError
    from irm_study.locks import locked
    from irm_study.records import refuse_studies, write_tables
    from irm_study.study import load_study, stored_spec
    from irm_study.untrusted import refuse_links

    stored_spec(folder)
    with locked(folder):
        record = load_study(folder, criterion, aggregate)
        if out is None and (criterion or aggregate):
            out = folder / f"judged-by-{record.spec.study.criterion}-{record.spec.study.aggregate}"
        if out is not None:
            if out.resolve() != folder.resolve():
                refuse_studies(out)
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"{out}: cannot be written: {error.strerror or error}") from None
            refuse_links(out)
            record = dataclasses.replace(record, folder=out)
        write_tables(record)
    _finish(record, 1, as_json)


@app.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """How far a study has come, also while another process runs it."""
    from irm_study.locks import holder_of
    from irm_study.records import finite, summary
    from irm_study.study import load_study

    record = load_study(folder)
    told = summary(record) | {"budget": record.spec.budget, "working": holder_of(folder)}
    if as_json:
        print(json.dumps(finite(told), indent=2))
        return
    from irm_study.closing import print_status

    print_status(record.spec.name, told)


@app.command()
def confirm(
    folder: Folder,
    seeds: Annotated[int | None, typer.Option(min=1, help="Fresh seeds for each configuration.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="How many of the best configurations.")] = None,
    criteria: Annotated[
        bool, typer.Option("--criteria", help="What each other criterion would have chosen, too: its regret.")
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
    from irm_study.study import confirm_study, stored_spec

    spec = stored_spec(folder)
    given = {"seeds": seeds, "top": top, "criteria": criteria or None, "neighbours": neighbours or None, "draws": draws}
    changed = {key: value for key, value in given.items() if value is not None}
    spec = spec.model_copy(update={"confirm": spec.confirm.model_copy(update=changed)})
    settings = _settings(spec, folder / "study.toml", jobs, device, data_root, storage, scheduler)
    with Display(quiet) as display:
        record, trained = confirm_study(spec, folder, settings, display)
    _finish(record, trained, as_json, display.time_left_within)


@app.command()
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="SIDE...",
            help="Two or more of: a study's folder (its best confirmed configuration), FOLDER:TRIAL (that trial), "
            "a folder of 'train'.",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the page; by default reports/compare-<names>.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare configurations of several studies, or of one: tests on seeds, figures, and a page."""
    from irm_study.comparison import load_sides, summary
    from irm_study.comparison_report import write_comparison
    from irm_study.config import ConfigError
    from irm_study.records import finite

    if len(sides) < 2:
        raise ConfigError(f"compare takes two configurations or more; got {len(sides)}: {' '.join(sides)}")
    loaded = load_sides(sides)
    folder = _folder(out, f"compare-{'-'.join(side.name for side in loaded)}")
    page = write_comparison(loaded, sides, folder)
    told = summary(loaded)
    if as_json:
        print(json.dumps(finite(told | {"page": str(page)}), indent=2))
        return
    from irm_study.closing import print_comparison

    print_comparison(told)
    print(f"page: {page}")


@app.command()
def calibrate(
    file: Annotated[
        str,
        typer.Argument(
            help="A calibration file, or the name of a shipped one.", autocompletion=shipped_names("calibrate")
        ),
    ] = "calibration",
    out: Out = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each way: 0, 1, …")] = 20,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train runs made to fail in every way, and tell how many get the failure mode that they were made for."""
    from irm_study.calibration import agreement, confusion
    from irm_study.calibration import calibrate as train_ways
    from irm_study.progress import Display
    from irm_study.records import finite
    from irm_study.study import kinds
    from irm_study.studyfile import read_calibration

    path = _study_path(file)
    name, ways = read_calibration(path, kinds())
    folder = _folder(out, name)
    for _, spec in ways.values():  # every one is checked before the first is trained
        settings = _settings(spec, path, jobs, device, data_root, None, None)
    runs = train_ways(ways, range(seeds), folder, settings, lambda name: Display(quiet, name))
    table = confusion(runs)
    told = agreement(runs)
    if as_json:
        print(json.dumps(finite({"folder": str(folder), **told, "confusion": table.to_dict("records")}), indent=2))
        return
    from irm_study.closing import print_calibration

    print_calibration(table, told)
    print(f"{folder / 'confusion.csv'}")


@app.command()
def bench(
    device: Device = "cpu",
    driver: Annotated[
        bool, typer.Option("--driver", help="Measure the driver instead, with a stand-in for training that sleeps.")
    ] = False,
    trials: Annotated[int, typer.Option(min=10, help="With --driver: trials.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="With --driver: runs of a trial.")] = 4,
    workers: Annotated[int, typer.Option(min=1, help="With --driver: workers that sleep.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.0, help="With --driver: how long a run sleeps.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="With --driver: folder for load.json and its picture.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the trainer on this machine: against a matrix product, and against plain training."""
    if driver:
        _bench_driver(trials, seeds, workers, seconds, out, as_json)
        return
    from irm_study.benchmark import benchmark
    from irm_study.execution import check_device

    check_device(device)
    measured = benchmark(device)
    if as_json:
        print(json.dumps(measured, indent=2))
        return
    from irm_study.closing import print_bench

    print_bench(measured)


def _bench_driver(trials: int, seeds: int, workers: int, seconds: float, out: Path | None, as_json: bool) -> None:
    from irm_study.load import driver_load, write_load

    told = driver_load(trials, seeds, workers, seconds)
    if out is not None:
        write_load(told, out)
    if as_json:
        print(json.dumps(told, indent=2))
        return
    from irm_study.closing import print_driver_load

    print_driver_load(told, trials, seeds, workers, seconds)


def main() -> None:
    """The entry point: a user's mistake is one message and status 2, failed work is status 1."""
    from irm_study.config import ConfigError

    insisted = _insist_on_interrupts()
    try:
        status = app(
            standalone_mode=False, prog_name="irm-study"
        )  # typer returns the status of what it ended itself, Ctrl-C included
    except ConfigError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        _explain(error)
    finally:
        insisted()
    if status == INTERRUPTED:
        print(f"\ninterrupted; what was trained is kept. To go on:\n  {_again()}", file=sys.stderr)
    sys.exit(status)


def _insist_on_interrupts() -> Callable[[], None]:
    """Ctrl-C interrupts once more where it had no effect: Python drops an exception that is raised inside a callback
    of the interpreter, of a library that is being imported for instance. Returns what ends this."""
    import signal
    import threading
    import time

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not hasattr(signal, "pthread_kill"):
        return lambda: None
    again = threading.Timer(INSIST_AFTER, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    again.daemon = True

    began: list[float] = []

    def interrupt(number: int, frame: object) -> None:
        if not began:
            began.append(time.monotonic())
            again.start()
        elif time.monotonic() < began[0] + INSIST_AFTER:
            return  # what is being closed is not to be cut short
        raise KeyboardInterrupt

    def end() -> None:
        again.cancel()
        # Once interrupted, the process is about to say so and to end: a second Ctrl-C must not cut that short.
        interrupted = again.ident is not None
        signal.signal(signal.SIGINT, signal.SIG_IGN if interrupted else signal.default_int_handler)

    signal.signal(signal.SIGINT, interrupt)
    return end


def _explain(error: Exception) -> None:
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's own: a command line that is wrong
        error.show()
        sys.exit(error.exit_code)
    if type(error).__name__ == "DigitsError":
        _fail(str(error), 2)
    if type(error).__name__ == "ExecutionError":
        _fail(str(error), 1)
    if isinstance(error, OSError):  # a full disk, a folder that went away
        _fail(f"{error.filename or 'the work failed'}: {error.strerror or error}", 1)
    raise error


def _fail(message: str, status: int) -> None:
    print(f"irm-study: {message}", file=sys.stderr)
    sys.exit(status)


def _again() -> str:
    from irm_study.studyfile import shown_command

    return shown_command(sys.argv[1:])


def _study_path(study: str) -> Path:
    """A file, or a study that is shipped with the package."""
    from irm_study.config import ConfigError

    path, shipped = Path(study), _shipped()
    if path.is_file() or path.suffix or path.name != study or (path.exists() and study not in shipped):
        return path
    if study not in shipped:
        raise ConfigError(f"{study}: neither a file nor a shipped study; those are: {', '.join(sorted(shipped))}")
    return shipped[study]


def _shipped() -> dict[str, Path]:
    here = Path(__file__).parent
    for folder in (here / "studies", here.parent / "studies"):
        if folder.is_dir():
            return {path.stem: path for path in folder.glob("*.toml")}
    return {}


def _folder(out: Path | None, name: str) -> Path:
    """Where results go: a study's name may hold anything, a folder's name may not."""
    import hashlib
    import re

    if out is not None:
        return out
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "study"
    if len(safe.encode()) > 200:  # file systems allow 255 bytes
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        safe = f"{safe.encode()[:180].decode(errors='ignore')}-{digest}"
    return Path("reports") / safe


def _settings(
    spec: StudySpec | TrainSpec,
    path: Path,
    jobs: int | None,
    device: str,
    data_root: Path | None,
    storage: str | None,
    scheduler: str | None,
    share_prefix: bool = True,
) -> Settings:
    """How to run; device, digits and environments are tried once where they will be used, so that mistakes are told
    before any work."""
    from irm_study.config import ConfigError
    from irm_study.driver import Settings
    from irm_study.execution import check_work, default_jobs, on_cluster

    root = None if data_root is None else str(data_root)
    wanted = (spec.digits, spec.environments, device, root)
    try:
        if scheduler is None:
            check_work(*wanted)
        else:
            slots = on_cluster(scheduler, *wanted)
    except ConfigError:
        raise
    except ValueError as error:
        if type(error).__name__ == "DigitsError":
            raise
        raise ConfigError(f"{path}: {error}") from None
    jobs = jobs or (default_jobs(device) if scheduler is None else slots)
    return Settings(jobs, device, root, storage, scheduler, share_prefix)


def _finish(record: StudyRecord, trained: int, as_json: bool, time_left_within: float | None = None) -> None:
    """The page, and the closing summary. time_left_within: as the display of its runs has it."""
    from irm_study.records import finite, summary
    from irm_study.report import write_report

    page = record.folder / "report.html"
    tables = [record.folder / "summary.json", record.folder / "runs.csv"]
    if trained or not page.exists() or page.stat().st_mtime_ns < max(path.stat().st_mtime_ns for path in tables):
        write_report(record)
    told = summary(record)
    if as_json:
        print(json.dumps(finite(told | {"page": str(page), "time_left_within": time_left_within}), indent=2))
        return
    from irm_study.closing import print_study

    print_study(record.spec.name, record.spec.study.criterion, told)
    print(f"page: {page}")
