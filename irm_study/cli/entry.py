"""The entry point: runs a command, and turns what goes wrong into one message and an exit status.

0: done. 2: the input is wrong. 1: the work failed. 128 + a signal's number (130: Ctrl-C, 143: SIGTERM): interrupted,
with the command that goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

import typer

from irm_study.cli.app import app
from irm_study.cli.interrupts import interrupt_on_signals
from irm_study.cli.streams import carry_any_text
from irm_study.errors import ConfigError, DigitsError, ExecutionError, shown_command

INTERRUPTED = 128 + signal.SIGINT
"""Exit status after Ctrl-C, and what typer returns where it ended a command itself."""


def main() -> NoReturn:
    """Run the command that sys.argv names, and exit."""
    carry_any_text()
    os.environ["MPLBACKEND"] = "agg"  # a notebook, or a shell's settings, may name one that is not here
    came, end = interrupt_on_signals()
    try:
        # Typer returns the status of what it ended itself, interrupts included.
        status = app(standalone_mode=False, prog_name="irm-study")
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        if not (came and isinstance(error, OSError)):  # of the terminal that a signal said is gone
            explain(error)
        status = INTERRUPTED
    finally:
        end()
    if status == INTERRUPTED:
        status = 128 + came[0] if came else INTERRUPTED
        command = shown_command(sys.argv[1:])
        kept = "" if sys.argv[1:2] == ["bench"] else f"; what was trained is kept. To go on:\n  {command}"
        with contextlib.suppress(OSError):
            print(f"\ninterrupted{kept}", file=sys.stderr)
    sys.exit(status)


def explain(error: Exception) -> NoReturn:
    """Exit with the message of an error that a user can do something about; raise any other one again."""
    match error:
        case ConfigError() | DigitsError():
            _fail(str(error), 2)
        case ExecutionError():
            _fail(str(error), 1)
        case OSError():  # a full disk, a folder that went away
            _fail(f"{error.filename or 'the work failed'}: {error.strerror or error}", 1)
    if (config := sys.modules.get("irm_study.config")) and (place := config.place_in_plugin(error)):
        _fail(f"{place}: {type(error).__name__}: {error}", 1)
    # A command line that is wrong. Its class is click's own or typer's copy of it, as the version of typer has it.
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        sys.exit(error.exit_code)
    raise error


def _fail(message: str, status: int) -> NoReturn:
    print(f"irm-study: {message}", file=sys.stderr)
    sys.exit(status)
