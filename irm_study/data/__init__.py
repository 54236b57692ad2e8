"""Data: digits, and the coloured environments that are drawn from them."""

from irm_study.data.digits import Digits, load_digits
from irm_study.data.environments import GREY, WHITE, Environments, Examples, build_environments, paint, stream

__all__ = [
    "GREY",
    "WHITE",
    "Digits",
    "Environments",
    "Examples",
    "build_environments",
    "load_digits",
    "paint",
    "stream",
]
