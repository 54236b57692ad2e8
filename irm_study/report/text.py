"""How numbers, names and counts are written in sentences, in figures and on the page.

Text only: what is concluded from the numbers stands beside each exhibit.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.font_manager import FontProperties, findfont, get_font


def percent(value: float) -> str:
    """A fraction as whole percent."""
    return f"{100 * value:.0f}%"


def interval(low: float, high: float) -> str:
    """An interval of fractions as whole percent."""
    return f"{100 * low:.0f}–{percent(high)}"


def plural(number: int, noun: str) -> str:
    """A count with its noun: "1 run", "2,000 runs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def p_text(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def short(value: Any) -> str:
    """A hyperparameter's value in a few characters: 3 digits of a number, the whole of a word."""
    if value is None:
        return "not set"
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if number != 0 and not 1e-3 <= abs(number) < 1e5:
        mantissa, exponent = f"{number:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    rounded = float(f"{number:.3g}")
    return f"{rounded:.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def distinct_names(values: tuple[Any, ...]) -> list[str]:
    """`short` of some values, but in full where two would read the same."""
    names = [short(value) for value in values]
    return [name if names.count(name) == 1 else str(value) for name, value in zip(names, values, strict=True)]


def words(name: str) -> str:
    """A key (`penalty_weight`) as it is read ("penalty weight")."""
    return printable(str(name).replace("_", " "), 40)


def tick_names(names: Sequence[str], room: float) -> tuple[list[str], bool]:
    """Names as ticks that do not print over each other, and whether they must stand aslant.

    room: points from one tick to the next. Names that are too wide are wrapped into three lines at most; where not
    even short lines fit, they stand aslant. What is left out of a long name is its middle, and names that would be the
    same then are numbered.
    """
    letters = int(room / TICK_LETTER)
    if max(map(len, names), default=0) <= letters:
        return [printable(name) for name in names], False
    if letters >= 7:
        wrapped = [_wrapped(name, letters) for name in shortened(names, 3 * letters - 4)]
        if max(text.count("\n") for text in wrapped) <= 2:
            return wrapped, False
    return [printable(name) for name in shortened(names, 22)], True


ASLANT: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
"""How names stand that have no room side by side."""
TICK_LETTER = 5.0
"""Points that a letter of a tick's label takes, and a little for the space between labels."""


def shortened(names: Sequence[str], longest: int) -> list[str]:
    """Names without the middle of those that are too long; those that would be the same then are numbered."""
    head = longest // 2
    cut = [name if len(name) <= longest else f"{name[:head]}…{name[head + 1 - longest :]}" for name in names]
    return [name if cut.count(name) == 1 else f"{name[: longest - 3]} {place + 1}" for place, name in enumerate(cut)]


def _wrapped(name: str, letters: int) -> str:
    parts = re.findall(r"[^ _-]+[ _-]*|[ _-]+", name)
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > letters:
            lines.append("")
        while len(part.rstrip()) > letters:
            lines[-1], part = part[:letters], part[letters:]
            lines.append("")
        lines[-1] += part
    return "\n".join(printable(line.strip()) for line in lines if line.strip())


@functools.cache
def printable(text: str, longest: int = 24) -> str:
    """A name as a figure's font can print it: no mathematics, no glyph that the font lacks, not too long."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    kept = "".join(letter if font.get_char_index(ord(letter)) else "\N{WHITE SQUARE}" for letter in str(text))
    kept = kept if len(kept) <= longest else f"{kept[: longest - 1]}…"
    return kept.replace("$", r"\$")
