"""Which hyperparameters of a configuration have an effect.

A key that cannot act is no part of what a configuration is: its digest leaves the key out, a search does not ask for
it, and it counts as no neighbour. To say of another key when it cannot act, add an entry to `WITHOUT_EFFECT`. How the
keys act is declared elsewhere: by a ramp's `uses`, and by the descriptions of `RunConfig`'s fields.
"""

from __future__ import annotations

from collections.abc import Callable

from irm_study.config.kinds import kind, kind_names
from irm_study.config.run import RunConfig


def effective(run: RunConfig) -> RunConfig:
    """The configuration with every key that cannot act at its default: two that train alike become the same."""
    return _reduced(run)[0]


def without_effect(run: RunConfig) -> frozenset[str]:
    """The hyperparameters that cannot act beside the others' values."""
    return _reduced(run)[1]


def _reduced(run: RunConfig) -> tuple[RunConfig, frozenset[str]]:
    found: list[str] = []
    for keys, cannot_act in WITHOUT_EFFECT:
        if cannot_act(run):
            found += keys
            run = run.model_copy(update={key: RunConfig.model_fields[key].default for key in keys})
    return run, frozenset(found)


def _stays_flat(run: RunConfig) -> bool:
    """Whether the penalty weight is the same before and after the anneal epoch, so that nothing rises."""
    return run.penalty_weight == run.initial_weight


def _never_penalises(run: RunConfig) -> bool:
    return run.penalty_weight == run.initial_weight == 0


def _begins_at_full_weight(run: RunConfig) -> bool:
    """Whether the weight jumps at once, so that no epoch has the initial one."""
    return run.anneal_epoch == 0 and "ramp_epochs" not in _ramp_uses(run)


def _never_weighs_above_1(run: RunConfig) -> bool:
    return max(run.penalty_weight, run.initial_weight) <= 1


def _ramp_uses(run: RunConfig) -> tuple[str, ...]:
    """What the ramp declares to use; both keys of a ramp that is not known here, as of a plugin that is not loaded."""
    known = run.ramp in kind_names("ramp")
    uses: tuple[str, ...] = kind("ramp", run.ramp).uses if known else ("ramp_epochs", "ramp_exponent")
    return uses


WITHOUT_EFFECT: tuple[tuple[tuple[str, ...], Callable[[RunConfig], bool]], ...] = (
    (("ramp", "ramp_epochs", "ramp_exponent"), _stays_flat),
    (("penalty",), _never_penalises),
    (("ramp_epochs",), lambda run: "ramp_epochs" not in _ramp_uses(run)),
    (("ramp_exponent",), lambda run: "ramp_exponent" not in _ramp_uses(run)),
    (("initial_weight",), _begins_at_full_weight),
    (("rescale",), _never_weighs_above_1),
    (("reset_optimizer",), lambda run: run.anneal_epoch == 0),
)
"""Keys, and when they cannot act, in this order: each sees those before it at their defaults."""
