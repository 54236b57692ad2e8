"""The application: which commands there are, and in which order the help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from irm_study import __version__
from irm_study.cli.advice_command import advice
from irm_study.cli.bench_command import bench
from irm_study.cli.compare_command import compare
from irm_study.cli.ideal_command import ideal
from irm_study.cli.init_command import init
from irm_study.cli.list_command import list_shipped
from irm_study.cli.plugin_option import with_plugins
from irm_study.cli.study_commands import confirm, region, report, run, status
from irm_study.cli.train_commands import calibrate, train

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Search hyperparameters of Invariant Risk Minimization on Colored MNIST, "
    "and study their stability over seeds.",
)


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"irm-study {__version__}")
        raise typer.Exit


app.command("list")(with_plugins(list_shipped))
for command in (init, run, train, report, status, confirm, region, ideal, compare, calibrate, advice, bench):
    app.command()(with_plugins(command))
