"""What users get wrong, what may fail, and how a command line is shown without its passwords."""

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
