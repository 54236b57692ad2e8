"""What a study file may hold: its tables, their keys, defaults and rules.

Every table of the file is one frozen model below, and a key that is left out has the default given
there. Files are read, written and digested in `studyfile`. Names of things that come in kinds (ramps,
penalties, models, stopping rules, criteria) live in dictionaries of later rooms; their names reach the
validation as `kinds`, so that a new kind is one function in one place.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence


class ConfigError(ValueError):
    """The input is wrong. The message says where, what, and what is allowed."""


class DigitsError(ValueError):
    """The digits cannot be had as asked. The message says what was looked for, found, and what to do."""


class ExecutionError(RuntimeError):
    """The work failed, not the input."""


def without_password(text: str) -> str:
    """A storage's URL, or another argument of the command line, as it may be shown."""
    text = re.sub(r"(://[^:@/]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(r"(password=)[^&\s]*", r"\1***", text)


def shown_command(arguments: Sequence[str]) -> str:
    """A command line as it may be shown: in messages, and on the page."""
    return shlex.join(["irm-study", *map(without_password, arguments)])
