"""Digests: what makes two studies, or two runs, the same.

Each begins with a letter, so that no program reads one as a number; the rest is as version 0.1 wrote it, but for
hyperparameters that cannot act (`effect`), which are no part of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from irm_study.config.effect import effective
from irm_study.config.kinds import kind
from irm_study.config.plugins import Plugin, plugins_used
from irm_study.config.run import EnvironmentSpec, RunConfig, TrainSpec
from irm_study.config.study import StudySpec
from irm_study.config.validation import Section

RENAMED = {("study", "waves"): "rungs"}
"""Keys of earlier versions: (table, old key) → present key. A digest goes by the old one, so that it stays the same."""

RUN_KINDS = ("model", "activation", "penalty", "ramp", "stop")
"""Keys of [run] that name a kind, which may be a plugin's: its text is then a part of what the run is."""

EARLIER_DEFAULTS = {"criterion": "oracle_min"}
"""Of keys of [study] whose default is another now; a digest goes by these, so that it stays the same."""


def study_digest(spec: StudySpec) -> str:
    """Identifies what a study searches. The budget (trials) and the confirmation may be extended."""
    return f"s{digest(_identity(spec))}"


def is_digest_of(stored: str, spec: StudySpec) -> bool:
    """Whether a digest is the study's; version 0.1 wrote it without its letter."""
    return study_digest(spec) in (stored, f"s{stored}")


def run_digest(digits: str, environments: EnvironmentSpec, run: RunConfig) -> str:
    """With the seed, identifies a run: two configurations that train alike have one digest."""
    return f"r{earlier_run_digest(digits, environments, effective(run))}"


def earlier_run_digest(digits: str, environments: EnvironmentSpec, run: RunConfig) -> str:
    """As version 0.1 wrote it: without a letter, and of all hyperparameters."""
    parts = {"digits": digits, "environments": _changed(environments), "run": _changed(run)}
    target = _changed(environments.target)
    # The zone decides what such a run trains; of all others it says how they are judged.
    if target and kind("stop", run.stop).asks_zone:
        parts["target"] = target
    if plugins := plugins_used((key, getattr(run, key)) for key in RUN_KINDS):
        parts["plugins"] = {used: plugin.digest for used, plugin in plugins.items()}
    return digest(parts)


def plugins_of(spec: StudySpec | TrainSpec) -> dict[str, Plugin]:
    """The plugins by whose kinds a file's configurations train or are chosen, as `plugins_used` has them."""
    kinds: list[tuple[str, Any]] = [(key, getattr(spec.run, key)) for key in RUN_KINDS]
    if isinstance(spec, StudySpec):
        kinds += [(key, getattr(spec.study, key)) for key in ("criterion", "aggregate")]
        for key in RUN_KINDS:
            choices = spec.search.get(key, ())
            kinds += [(key, name) for name in choices] if isinstance(choices, tuple) else []
    return plugins_used(kinds)


def changed_fields(stored: StudySpec, given: StudySpec) -> list[str]:
    """`key: stored value → given value` of everything that makes two studies different ones."""
    before, after = _flatten(_identity(stored)), _flatten(_identity(given))
    return [
        f"{key}: {before.get(key, 'default')} → {after.get(key, 'default')}"
        for key in sorted(before.keys() | after.keys())
        if digest(before.get(key)) != digest(after.get(key))
    ]


def digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _identity(spec: StudySpec) -> dict[str, Any]:
    data = _changed(spec)
    data.pop("confirm", None)
    study = data.setdefault("study", {})
    study.pop("trials", None)
    for key, default in EARLIER_DEFAULTS.items():
        value = getattr(spec.study, key)
        study.pop(key, None)
        if value != default:
            study[key] = value
    for (table, old), new in RENAMED.items():
        if new in data.get(table, {}):
            data[table][old] = data[table].pop(new)
    if not study:
        data.pop("study")
    if plugins := plugins_of(spec):
        data["plugins"] = {used: plugin.digest for used, plugin in plugins.items()}
    return data


def _changed(section: Section) -> dict[str, Any]:
    """Only what differs from the defaults: a digest survives the arrival of a new key."""
    return section.model_dump(mode="json", exclude_defaults=True)


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
