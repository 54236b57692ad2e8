"""The command that tries the advice of failure modes. Heavy libraries are imported inside it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irm_study.cli.as_json import print_json
from irm_study.cli.options import AsJson, DataRoot, Device, Jobs, Quiet
from irm_study.errors import ConfigError

if TYPE_CHECKING:
    from irm_study.diagnosis import Change


def advice(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR…", help="Folders of finished studies, or of 'train'.", show_default=False),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the results; by default reports/advice.")] = None,
    runs: Annotated[
        int, typer.Option(min=1, help="Failing runs of each mode and digits, over as many configurations as there are.")
    ] = 30,
    modes: Annotated[
        list[str] | None, typer.Option("--mode", metavar="MODE", help="Of this failure mode alone; repeatable.")
    ] = None,
    times: Annotated[
        list[str] | None,
        typer.Option(
            "--times",
            metavar="KEY=FACTOR",
            help="Try this in place of what a mode advises, as l2_weight=1/3; repeatable, each by itself.",
        ),
    ] = None,
    without: Annotated[
        list[Path] | None,
        typer.Option(
            "--except",
            metavar="DIR",
            help="Leave out the configurations that an earlier 'advice' changed in this folder, on which a change was "
            "chosen; repeatable.",
        ),
    ] = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train failing runs again with the one change that their mode advises, and count how many become better."""
    from irm_study.diagnosis import ADVICE
    from irm_study.progress import Display
    from irm_study.report import check_drawing, write_advice
    from irm_study.study import read_sources, results_folder, tried_in, try_changes, usable_settings

    for mode in modes or ():
        if mode not in ADVICE:
            raise ConfigError(f"--mode: unknown failure {mode!r}; one of: {', '.join(ADVICE)}")
    given = [_read_change(text) for text in times or ()]
    changes = {mode: given or [each.change] for mode, each in ADVICE.items() if mode in (modes or ADVICE)}
    folder = out or results_folder("advice")
    sources, known = read_sources(folders), tried_in(without or ())
    for where, source in zip(folders, sources, strict=True):  # every one is checked before the first is trained
        settings = usable_settings(source.spec, where, jobs=jobs, device=device, data_root=data_root)
    check_drawing()
    pairs, trained = try_changes(sources, changes, runs, known, folder, settings, lambda study: Display(quiet, study))
    table = write_advice(folder, pairs)
    if as_json:
        print_json({"folder": str(folder), "trained": trained, "advice": table.to_dict("records")})
        return
    from irm_study.cli.tables import print_advice

    print_advice(table)
    if not trained:
        print("nothing was left to train: these runs are in the table already")
    print(f"{folder / 'advice_summary.csv'}")


def _read_change(text: str) -> Change:
    """`l2_weight=1/3`."""
    from irm_study.config import RunConfig
    from irm_study.diagnosis import Change

    key, _, factor = (part.strip() for part in text.partition("="))
    numbers = [name for name, field in RunConfig.model_fields.items() if field.annotation in (int, float)]
    if key not in numbers:
        raise ConfigError(f"--times {text!r}: needs KEY=FACTOR, as l2_weight=1/3; KEY one of: {', '.join(numbers)}")
    try:
        number = Fraction(factor)
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"--times {text!r}: the factor must be a number, as 3 or 1/3; got {factor!r}") from None
    if number <= 0 or number == 1:
        raise ConfigError(f"--times {text!r}: the factor must be above 0 and not 1; got {factor}")
    return Change(key, number)
