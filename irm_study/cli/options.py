"""Options and arguments that several commands share. No command, and no work."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def _completes(command: str) -> Callable[[str], list[str]]:
    """Completes the names of shipped files: studies for 'run', single configurations for 'train', …"""

    def complete(incomplete: str) -> list[str]:
        from irm_study.config import shipped_files

        return [name for name in shipped_files(command) if name.startswith(incomplete)]

    return complete


def _keys(incomplete: str) -> list[str]:
    """Completes the keys that --set takes."""
    from irm_study.config import StudySpec, file_keys

    return [f"{key}=" for key in file_keys(StudySpec) if key.startswith(incomplete)]


def _seconds(text: str) -> float:
    """A duration as 90s, 30m, 2h or 1h30m."""
    read = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip())
    seconds = sum(int(part or 0) * unit for part, unit in zip(read.groups(), (3600, 60, 1), strict=True)) if read else 0
    if not seconds:
        raise typer.BadParameter(f"{text!r} is no duration such as 90s, 30m, 2h or 1h30m")
    return float(seconds)


Study = Annotated[
    str, typer.Argument(help="A study file, or the name of a shipped study.", autocompletion=_completes("run"))
]
Config = Annotated[
    str,
    typer.Argument(
        # Square brackets are markup to the help's printer, but for the backslash.
        help="A file with \\[environments] and \\[run], as a study's best.toml is, or the name of a shipped one.",
        autocompletion=_completes("train"),
        show_default=False,
    ),
]
CalibrationFile = Annotated[
    str,
    typer.Argument(help="A calibration file, or the name of a shipped one.", autocompletion=_completes("calibrate")),
]
Folder = Annotated[Path, typer.Argument(help="A study's folder, as 'run' made it.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; by default reports/<study name>.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds, instead of the file's.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes to train in; by default one for each core.")]
Device = Annotated[str, typer.Option(help="Torch device to train on: cpu, cuda, cuda:1, …")]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with MNIST/raw/…, as torchvision lays it out (or IRM_STUDY_DATA).")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION",
        parser=_seconds,
        help="Begin no new trial after it: 90s, 30m, 2h, 1h30m. What is in training is finished, then confirmation and "
        "page are made; the same command without it goes on.",
    ),
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
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the file, as study.sampler_seed=1; repeatable.",
        autocompletion=_keys,
    ),
]
Unset = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="KEY", help="Leave out a key or a table that the file has; repeatable."),
]
Precision = Annotated[
    str | None,
    typer.Option(help="Of matrix products, as run.precision: float32, bfloat16, or auto: what the processor has."),
]
SharePrefix = Annotated[
    bool, typer.Option(help="Train once what runs of a grid share up to their anneal epochs; curves stay the same.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
