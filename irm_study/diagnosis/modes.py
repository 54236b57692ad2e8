"""Failure modes: how a run ended, the rule of each mode, and the numbers that decided.

`diagnose` walks `FAILURE_MODES` in order and takes the first rule that applies. A rule is one function of a run's
history; it says at which checkpoints it applies, and by which numbers. They are told by shape skill S and colour
reliance B (`skills`), by the zone, by how both moved, and by the penalty. The same rules judge from several evidence
sources: where they ask for accuracy under the reversed colour, one reads the test environment, another recolours
training images. What each mode advises is in `advice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.diagnosis.advice import explain
from irm_study.diagnosis.curves import Curves
from irm_study.diagnosis.history import DIVERGED_NLL, NEAR_CHANCE, History, history_of, knows_nothing
from irm_study.diagnosis.levels import STANDARD_ERRORS

LEANS = 0.2
"""Colour reliance from which a run leans on colour; the zone's own ends at .25 for a shape skill of .70."""
AGAINST = -0.1
"""Colour reliance below which it decides against the colour."""
NEAR = 0.03
"""How far outside the target zone a run narrowly missed it."""
PENALTY_MET = 3e-5
"""Mean IRMv1 penalty below which nothing is left of it: a hundredth of what plain risk minimisation has in the authors'
environments (3.3e-3), and three times what sampling leaves of 16,000 examples."""
LAST_PART = 0.2
"""Of the epochs so far, over which a run is asked whether it still moves."""
MOVES = {"shape": 0.03, "colour": 0.1}
"""By how much S or B has changed over the last part of a run that is unsettled."""
LOST = 0.03
"""By how much S is below its highest value where shape was lost."""


@dataclass(frozen=True)
class Diagnosis:
    """mode: a name of FAILURE_MODES. since: the epoch from which the mode held without a break until
    the end. evidence: the numbers that decided, by name. explanation: what it means, in a sentence."""

    mode: str
    since: int
    evidence: dict[str, float]
    explanation: str

    @property
    def evidence_text(self) -> str:
        return "; ".join(f"{name} {value:.4g}" for name, value in self.evidence.items())


class RuleResult(NamedTuple):
    """What a rule says. applies: (checkpoints,), bool. evidence: by name, (checkpoints,) each."""

    applies: np.ndarray
    evidence: dict[str, np.ndarray]


Rule = Callable[[History], RuleResult]


def diagnose(curves: Curves, environments: EnvironmentSpec, run: RunConfig, source: str = "test") -> Diagnosis:
    """The first mode whose rule applies at the run's last checkpoint, as one of EVIDENCE_SOURCES shows it."""
    history = history_of(curves, environments, source)
    results = [rule(history) for rule in FAILURE_MODES.values()]
    modes = np.argmax([result.applies for result in results], axis=0)  # the first that applies; the last always does
    last = modes[-1]
    before = np.flatnonzero(modes != last)
    first = int(before[-1]) + 1 if len(before) else 0
    mode, since = MODES[last], int(curves.epoch[first])
    evidence = {name: float(values[-1]) for name, values in results[last].evidence.items()}
    return Diagnosis(mode, since, evidence, explain(mode, since, first, run))


# Rules


def diverged(history: History) -> RuleResult:
    """Training left the finite numbers, or stands far above what knowing nothing costs."""
    curves = history.curves
    broken = np.logical_or.accumulate(~(np.isfinite(history.nll) & np.isfinite(history.spread)))
    if not broken[-1]:
        return RuleResult(history.nll > DIVERGED_NLL, {"train NLL": history.nll})
    first = np.full(len(broken), float(curves.epoch[broken.argmax()]))
    return RuleResult(broken | (history.nll > DIVERGED_NLL), {"first epoch not finite": first})


def collapsed(history: History) -> RuleResult:
    """The network says the same of every example, or as good as nothing of any: no accuracy is far from chance."""
    return RuleResult(
        knows_nothing(history.curves) & (np.abs(history.reversed_accuracy - 0.5) < NEAR_CHANCE),
        {
            "logit spread": history.spread,
            "share of one class": history.one_class,
            "train NLL": history.nll,
            "train accuracy": history.train,
            "accuracy under the reversed colour": history.reversed_accuracy,
        },
    )


def memorised(history: History) -> RuleResult:
    """Training labels are known better than colour and shape can tell, and (where it was measured) held-out ones
    are not."""
    applies = (history.train > history.levels.memorised_train) | (history.nll < history.levels.memorised_nll)
    evidence = {"train accuracy": history.train, "train NLL": history.nll}
    if history.heldout is not None:
        applies &= history.train - history.heldout > _luck(history, "heldout")
        evidence["held-out accuracy"] = history.heldout
    return RuleResult(applies, evidence)


def erm_like(history: History) -> RuleResult:
    """Decides by colour, as plain risk minimisation does."""
    gradient = history.curves.gradient[:, history.curves.train]
    return RuleResult(
        (history.train >= history.levels.erm_train) & (history.reversed_accuracy < 0.5),
        {
            "train accuracy": history.train,
            "accuracy under the reversed colour": history.reversed_accuracy,
            "share of predictions that change with the colour": history.curves.swap_share,
            "smallest g": gradient.min(1),
            "largest g": gradient.max(1),
        },
    )


def anti_colour(history: History) -> RuleResult:
    """Decides against the colour: better where colour is reversed than where it trained."""
    return RuleResult(history.skill.colour < AGAINST, _numbers(history))


def invariant(history: History) -> RuleResult:
    """Decides by shape: in the target zone."""
    return RuleResult(
        history.in_zone,
        {"lowest train accuracy": history.train_min, "accuracy under the reversed colour": history.reversed_accuracy},
    )


def relapsed(history: History) -> RuleResult:
    """Was in the target zone, and left it."""
    inside = history.in_zone
    count = np.arange(len(inside))
    last = np.maximum.accumulate(np.where(inside, count, -1))
    before = np.maximum(last, 0)
    return RuleResult(
        (last >= 0) & ~inside,
        {
            "last epoch in the zone": history.curves.epoch[before].astype(float),
            "accuracy under the reversed colour then": history.reversed_accuracy[before],
            "lowest train accuracy": history.train_min,
            "accuracy under the reversed colour": history.reversed_accuracy,
        },
    )


def unsettled(history: History) -> RuleResult:
    """S or B was still moving over the last part of the epochs."""
    epoch = history.curves.epoch
    before = np.searchsorted(epoch, epoch * (1 - LAST_PART), side="right") - 1
    moved = {name: getattr(history.skill, name) - getattr(history.skill, name)[before] for name in MOVES}
    return RuleResult(
        np.any([np.abs(moved[name]) > bound for name, bound in MOVES.items()], axis=0),
        {
            **_numbers(history),
            "change of S over the last fifth of the epochs": moved["shape"],
            "change of B": moved["colour"],
        },
    )


def near_miss(history: History) -> RuleResult:
    """Outside the target zone by little."""
    levels = history.levels
    apart = {
        "lowest train accuracy": history.train_min - levels.target_train,
        "accuracy under the reversed colour": history.reversed_accuracy - levels.target_test,
    }
    errors = {name: _standard_error(history, name) for name in apart}
    return RuleResult(
        history.margin > -NEAR,
        {
            **{f"{name} above the zone's edge": distance for name, distance in apart.items()},
            **{f"{name} in standard errors": distance / errors[name] for name, distance in apart.items()},
        },
    )


def leans_on_colour(history: History) -> RuleResult:
    """Decides by colour in part, and the penalty says so."""
    return RuleResult(
        (history.skill.colour >= LEANS) & (history.penalty > PENALTY_MET),
        {**_numbers(history), "IRMv1 penalty": history.penalty},
    )


def penalty_met(history: History) -> RuleResult:
    """Decides by colour in part, and nothing is left of the penalty that more weight could lower."""
    return RuleResult(history.skill.colour >= LEANS, {**_numbers(history), "IRMv1 penalty": history.penalty})


def shape_lost(history: History) -> RuleResult:
    """Little is left of colour, and less of shape than the run knew before."""
    shape = history.skill.shape
    highest = np.fmax.accumulate(shape)
    return RuleResult(shape < highest - LOST, {**_numbers(history), "highest S": highest})


def shape_not_learnt(history: History) -> RuleResult:
    """What remains: no colour, and never enough of the shape to be in the zone."""
    return RuleResult(
        np.ones(len(history.train), dtype=bool), {**_numbers(history), "distance to the zone": history.margin}
    )


FAILURE_MODES: dict[str, Rule] = {
    "diverged": diverged,
    "invariant": invariant,
    "collapsed": collapsed,
    "memorised": memorised,
    "erm_like": erm_like,
    "anti_colour": anti_colour,
    "relapsed": relapsed,
    "unsettled": unsettled,
    "near_miss": near_miss,
    "leans_on_colour": leans_on_colour,
    "penalty_met": penalty_met,
    "shape_lost": shape_lost,
    "shape_not_learnt": shape_not_learnt,
}
"""In the order in which they are asked. A run in the target zone is a success whatever else might be said of it; the
last applies to whatever is left, which follows from those before it: outside the zone by more than NEAR, without
colour."""
MODES = tuple(FAILURE_MODES)


def _numbers(history: History) -> dict[str, np.ndarray]:
    return {
        "S": history.skill.shape,
        "B": history.skill.colour,
        "lowest train accuracy": history.train_min,
        "accuracy under the reversed colour": history.reversed_accuracy,
    }


def _standard_error(history: History, accuracy: str) -> float:
    """Of an accuracy that `near_miss` names, near the zone's edge: of so many examples as it was measured on."""
    curves, levels = history.curves, history.levels
    if accuracy == "lowest train accuracy":
        edge, count = levels.target_train, min(curves.examples[index] for index in curves.train)
    else:
        there = curves.of("test") if history.heldout is not None else None
        edge, count = levels.target_test, curves.examples[curves.train[0] if there is None else there]
    return math.sqrt(edge * (1 - edge) / count)


def _luck(history: History, environment: str) -> float:
    """How much lower than in training an accuracy may be measured in an environment where it is the same."""
    counts = history.curves.examples
    there = history.curves.environments.index(environment)
    each = [sum(counts[index] for index in history.curves.train), counts[there]]
    bayes = history.levels.bayes
    return STANDARD_ERRORS * math.sqrt(bayes * (1 - bayes) * sum(1 / count for count in each))
