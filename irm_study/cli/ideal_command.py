"""The command that computes what draws of data ask for. Heavy libraries are imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irm_study.cli.as_json import print_json
from irm_study.cli.options import AsJson, Changes, DataRoot, Out, Quiet
from irm_study.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def ideal(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A study's folder (its confirmed configurations on their fresh seeds), or what 'train' takes.",
            show_default=False,
        ),
    ],
    out: Out = None,
    seeds: Annotated[int | None, typer.Option(min=2, help="Of a configuration: how many seeds, 0, 1, … (10).")] = None,
    changes: Changes = None,
    data_root: DataRoot = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """What each seed's draw of data asks for, without training: the best weights of a shape evidence and the colour."""
    from rich.progress import Progress

    from irm_study.report import write_report
    from irm_study.study import configuration_ideals, results_folder, study_ideals

    root = None if data_root is None else str(data_root)
    folder = Path(target)
    with Progress(transient=True, disable=quiet or as_json) as bar:
        task = bar.add_task("ideals", total=None)

        def done(number: int, of: int) -> None:
            bar.update(task, completed=number, total=of)

        if folder.is_dir() and (folder / "study.toml").exists():
            if out is not None or seeds is not None or changes:
                raise ConfigError("--out, --seeds and --set are for a configuration; a study has its own fresh seeds")
            record = study_ideals(folder, root, done)
            table, page = record.ideals, write_report(record)
        else:
            from irm_study.config import named_file, read_setting, read_train

            spec = read_train(named_file(target, "train"), dict(read_setting(change) for change in changes or ()))
            folder, page = out or results_folder(spec.name), None
            table = configuration_ideals(spec, range(seeds or 10), folder, root, done)
    summaries = [{"digest": str(digest)} | _summary(rows) for digest, rows in table.groupby("digest", sort=False)]
    path = folder / "ideal.csv"
    if as_json:
        print_json({"ideals": str(path), "page": None if page is None else str(page), "configurations": summaries})
        return
    for each in summaries:
        print(f"configuration {each['digest']}: ideals of {each['n']} draws")
        for name in SPREAD:
            mean, deviation, low, high = (each[name][key] for key in ("mean", "deviation", "low", "high"))
            print(f"  {name}: {mean:.4f} ± {deviation:.4f} (95% interval of the deviation {low:.4f} to {high:.4f})")
    print(path if page is None else f"{path}\npage: {page}")


SPREAD = ("shape_skill", "colour_reliance", "train_accuracy", "test_accuracy")


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    """n, and of each number in SPREAD its mean and standard deviation over seeds, the latter's interval from the
    chi-squared distribution."""
    import numpy as np
    from scipy import special

    n = len(rows)
    factors = np.sqrt((n - 1) / special.chdtri(n - 1, [0.025, 0.975])) if n > 1 else np.full(2, np.nan)
    summary: dict[str, Any] = {"n": n}
    for name in SPREAD:
        deviation = float(rows[name].std())
        low, high = (float(factor * deviation) for factor in factors)
        summary[name] = {"mean": float(rows[name].mean()), "deviation": deviation, "low": low, "high": high}
    return summary
