"""How numbers, names and counts are written in sentences, in figures and on the page.

Text only: what is concluded from the numbers stands beside each exhibit.
"""

from __future__ import annotations

import functools
import math
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
    if isinstance(value, bool | np.bool_ | str) or value is None:
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if number != 0 and not 1e-3 <= abs(number) < 1e5:
        mantissa, exponent = f"{number:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    rounded = float(f"{number:.3g}")
    return f"{rounded:.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def words(name: str) -> str:
    """A key (`penalty_weight`) as it is read ("penalty weight")."""
    return printable(str(name).replace("_", " "), 40)


@functools.cache
def printable(text: str, longest: int = 24) -> str:
    """A name as a figure's font can print it: no mathematics, no glyph that the font lacks, not too long."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    kept = "".join(letter if font.get_char_index(ord(letter)) else "\N{WHITE SQUARE}" for letter in str(text))
    kept = kept if len(kept) <= longest else f"{kept[: longest - 1]}…"
    return kept.replace("$", r"\$")
