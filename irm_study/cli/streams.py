"""Standard streams that carry what the commands print: whatever encoding they have, and where one of them is closed.

What an encoding lacks is printed as ASCII has it ("-" for a minus sign), or as an escape ("\\u6c34"): a result of hours
is not lost to a character.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata

PLAIN = {
    "−": "-", "–": "-", "—": "-", "±": "+/-", "×": "x", "·": "*", "≥": ">=", "≤": "<=", "≈": "~", "→": "->", "…": "...",
    "“": '"', "”": '"', "‘": "'", "’": "'", "½": "1/2", "\N{NO-BREAK SPACE}": " ", "•": "*", "█": "#",
    "━": "-", "─": "-", "│": "|", "┃": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "╸": "-", "╺": "-",
}  # fmt: skip
"""Characters of messages, tables and help, as ASCII has them."""
ERRORS = "irm_study.plain"


def carry_any_text() -> None:
    """Have sys.stdout and sys.stderr print every text, and open those that are closed on nothing."""
    codecs.register_error(ERRORS, in_plain)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = getattr(sys, name)
        if stream is None:
            _open_on_nothing(number)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def in_plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: the characters that cannot be encoded in ASCII, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    """Letters lose their accents; what has no letter in ASCII is escaped."""
    if character in PLAIN:
        return PLAIN[character]
    without = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return without or character.encode("ascii", "backslashreplace").decode()


def _open_on_nothing(number: int) -> None:
    """A closed descriptor would be the next file's that is opened, and what is printed would be written into it."""
    try:
        os.fstat(number)
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing == number:
            os.set_inheritable(number, True)
        else:
            os.dup2(nothing, number)
            os.close(nothing)
