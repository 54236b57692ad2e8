"""Decorators by which a plugin registers kinds of its own; the name is then what a study file may say.

    from irm_study import plugin

    @plugin.penalty("feature_variance", needs="features")
    def feature_variance(logits, labels, features):
        return features.var(dim=2).mean(dim=(1, 2))

A plugin is a file, named by `--plugin FILE.py` or, from Python, by `plugin.load("FILE.py")`, or a module that an
installed package's entry point `irm_study.plugins` names. It stands alone: workers are sent its text, and no files
beside it. A decorator raises ConfigError for a name that is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

from irm_study.config import load_plugin as load
from irm_study.config import register
from irm_study.diagnosis import Criterion, StoppingRule
from irm_study.errors import ConfigError
from irm_study.methods import Model, Need, Penalty, Ramp

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

__all__ = ["criterion", "load", "model", "penalty", "ramp", "stopping_rule"]


def penalty(name: str, needs: Need | tuple[Need, ...] = "logits", smooth: bool = True) -> Decorator[F]:
    """`run.penalty`: (logits, labels, …), both (runs, environments, examples), → (runs,), in torch, differentiable.

    needs: what it takes beside them, in this order: `features`, the last hidden layer's outputs (runs, environments,
    examples, features); `last_weights` (runs, features); `gradients`, of each environment's risk (runs, environments,
    parameters). smooth: whether it has a gradient everywhere.
    """
    for each in (needs,) if isinstance(needs, str) else needs:
        if each not in get_args(Need):
            raise ConfigError(f"penalty {name!r}: needs {each!r}, which is none of: {', '.join(get_args(Need))}")
    return _registered("penalty", name, lambda function: Penalty(function, needs, smooth))


def ramp(name: str, uses: tuple[str, ...] = ("ramp_epochs",)) -> Decorator[F]:
    """`run.ramp`: (progress in (0, 1], configuration) → penalty weights there, NumPy arrays.

    uses: which of `ramp_epochs` and `ramp_exponent` act on it.
    """
    if not set(uses) <= {"ramp_epochs", "ramp_exponent"}:
        raise ConfigError(f"ramp {name!r}: uses {uses!r}; of: ramp_epochs, ramp_exponent")
    return _registered("ramp", name, lambda function: Ramp(function, tuple(uses)))


def model(name: str, initial: Callable[..., Any], resolution: int | None = None) -> Decorator[F]:
    """`run.model`: (configuration, parameters by name (runs, …), images (runs, examples, channels, height, width)) →
    the features that a last linear layer makes logits of, (runs, examples, features).

    initial: (configuration, (channels, height, width), random generator) → one run's parameters by name, float32;
    those of the last layer, `weightN` (features, 1) and `biasN` (1, 1), have N = layers + 1. resolution: the only one
    that it takes.
    """
    return _registered("model", name, lambda features: Model(initial, features, resolution))


def criterion(name: str, sees: Any = None, knows_the_feature: bool = False, wants_zone: bool = False) -> Decorator[F]:
    """`study.criterion`: (curves, environments) → a run's score, higher is better.

    sees: `test`, `validation` or `heldout`, where it looks at more than the training environments. knows_the_feature,
    wants_zone: whether it presumes to know the spurious feature, and orders by the distance to the target zone.
    """
    return _registered(
        "criterion",
        name,
        lambda function: Criterion(function, sees, wants_zone=wants_zone, knows_the_feature=knows_the_feature),
    )


def stopping_rule(name: str, sees: Any = None, asks_zone: bool = False) -> Decorator[F]:
    """`run.stop`: (curves so far, environments, configuration) → whether the run ends at its latest checkpoint.

    sees: `test` or `validation`, where it looks at more than the training environments. asks_zone: whether [target]
    acts on it.
    """
    return _registered("stop", name, lambda function: StoppingRule(function, sees, asks_zone))


def _registered(key: str, name: str, made: Callable[[Any], Any]) -> Decorator[F]:
    def decorate(function: F) -> F:
        register(key, name, made(function))
        return function

    return decorate
