"""The command that compares configurations. Heavy libraries are imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irm_study.cli.as_json import print_json
from irm_study.cli.options import AsJson
from irm_study.errors import ConfigError


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
    from irm_study.comparison import load_sides, summary, write_comparison
    from irm_study.study import results_folder

    if len(sides) < 2:
        raise ConfigError(f"compare takes two configurations or more; got {len(sides)}: {' '.join(sides)}")
    loaded = load_sides(sides)
    folder = out or results_folder(f"compare-{'-'.join(side.name for side in loaded)}")
    page = write_comparison(loaded, sides, folder)
    compared = summary(loaded)
    if as_json:
        print_json(compared | {"page": str(page)})
        return
    from irm_study.cli.tables import print_comparison

    print_comparison(compared)
    print(f"page: {page}")
