"""Things that come in kinds: which package offers the dictionary of each.

A configuration names a ramp, a penalty, a criterion, …; what the names mean are functions of configurations, so their
packages come after this one. A dictionary is imported when a name is checked.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

DICTIONARIES = {
    "model": ("irm_study.methods", "MODELS"),
    "activation": ("irm_study.methods", "ACTIVATIONS"),
    "penalty": ("irm_study.methods", "PENALTIES"),
    "ramp": ("irm_study.methods", "RAMPS"),
    "stop": ("irm_study.diagnosis", "STOPPING_RULES"),
    "criterion": ("irm_study.diagnosis", "CRITERIA"),
    "aggregate": ("irm_study.diagnosis", "AGGREGATES"),
    "mode": ("irm_study.diagnosis", "FAILURE_MODES"),
}
"""By the key of a study file: package, and the name of the dictionary at its door."""


def kind_names(key: str) -> Collection[str]:
    """The names that a key of a study file may have."""
    return kind_dictionary(key).keys()


def kind(key: str, name: str) -> Any:
    """What a name stands for."""
    return kind_dictionary(key)[name]


def kind_dictionary(key: str) -> dict[str, Any]:
    """The dictionary itself, to which a plugin adds."""
    package, name = DICTIONARIES[key]
    found: dict[str, Any] = getattr(import_module(package), name)
    return found
