"""The option --plugin, which every command has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="Run a file of your own that adds penalties, ramps, models, criteria or stopping rules; repeatable.",
    ),
]


def with_plugins(command: Callable[..., None]) -> Callable[..., None]:
    """The command with --plugin, whose files are loaded before anything that may name what they add is read."""

    @wraps(command)
    def run(*arguments: Any, plugins: list[Path] | None = None, **options: Any) -> None:
        if plugins:
            from irm_study.config import load_plugin

            for path in plugins:
                load_plugin(path)
        command(*arguments, **options)

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("plugins", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Plugins)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "plugins": Plugins}
    return run
