"""Failure modes: how a run ended, the rule of each mode, and the numbers that decided.

`diagnose` walks `FAILURE_MODES` in order and takes the first rule that applies. A rule is one function of a run's
history; it says at which checkpoints it applies, and by which numbers. Thresholds follow from the environments
(`levels`). The same rules judge from several evidence sources: where they ask for accuracy under the reversed colour,
one reads the test environment, another recolours training images. What each mode advises is in `advice`.
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
from irm_study.diagnosis.evidence import EVIDENCE_SOURCES
from irm_study.diagnosis.levels import STANDARD_ERRORS, ReferenceLevels, reference_levels
from irm_study.diagnosis.zone import in_zone

DIVERGED_NLL = 10 * math.log(2)
"""Nats; a network that knows nothing has a tenth of it, so only steps far too large lead here."""
CONSTANT_SPREAD = 0.05
"""Of logits that no run was seen to come back from (reports/published/collapse)."""
CONSTANT_NLL = 0.01
"""A constant's NLL is log 2 = 0.6931 nats; this near to it nothing is known of the labels."""
COLLAPSED_NLL = 0.02
"""The same, where accuracies say so too."""
COLLAPSED_SHARE = 0.95
"""Of one class among the predictions; accuracy is then within 5 points of chance, whatever the rest are."""


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


@dataclass(frozen=True)
class History:
    """A run at all its checkpoints, as one evidence source shows it. Arrays are (checkpoints,).

    train, train_min: mean and lowest accuracy over the training environments. nll: mean over them. spread:
    largest logit spread; one_class: the larger share of one prediction. reversed_accuracy: accuracy under the reversed
    colour. in_zone: whether the run is in the target zone. heldout: accuracy on the test environment's digits, coloured
    as in training; None for sources that may not look at them.
    """

    curves: Curves
    levels: ReferenceLevels
    train: np.ndarray
    train_min: np.ndarray
    nll: np.ndarray
    spread: np.ndarray
    one_class: np.ndarray
    reversed_accuracy: np.ndarray
    in_zone: np.ndarray
    heldout: np.ndarray | None


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
    return Diagnosis(mode, since, evidence, explain(mode, since, first, run, _follows_colour(history)))


def history_of(curves: Curves, environments: EnvironmentSpec, source: str) -> History:
    """A run as one of EVIDENCE_SOURCES shows it."""
    train = curves.train
    accuracy = curves.accuracy[:, train]
    spread, one_class, nll = _sameness(curves)
    return History(
        curves=curves,
        levels=reference_levels(environments, sum(curves.examples[index] for index in train)),
        train=accuracy.mean(1),
        train_min=accuracy.min(1),
        nll=nll,
        spread=spread,
        one_class=one_class,
        reversed_accuracy=EVIDENCE_SOURCES[source](curves, environments),
        in_zone=in_zone(curves, environments, source),
        heldout=curves.accuracy_in("heldout") if source == "test" else None,
    )


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
    """The network says the same of every example, or as good as nothing of any."""
    constant = is_constant(history.spread, history.nll)
    chance = history.levels.target_test - 0.5
    knows_nothing = np.abs(history.nll - math.log(2)) < COLLAPSED_NLL
    for accuracy in (history.train, history.reversed_accuracy):
        knows_nothing &= np.abs(accuracy - 0.5) < chance
    return RuleResult(
        constant | (history.one_class > COLLAPSED_SHARE) | knows_nothing,
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
    return RuleResult(
        history.reversed_accuracy > history.train + history.levels.unlike,
        {"train accuracy": history.train, "accuracy under the reversed colour": history.reversed_accuracy},
    )


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


def partial(history: History) -> RuleResult:
    """None of the others: between colour and shape, or by shape and below the target."""
    return RuleResult(
        np.ones(len(history.train), dtype=bool),
        {"lowest train accuracy": history.train_min, "accuracy under the reversed colour": history.reversed_accuracy},
    )


FAILURE_MODES: dict[str, Rule] = {
    "diverged": diverged,
    "invariant": invariant,
    "collapsed": collapsed,
    "memorised": memorised,
    "erm_like": erm_like,
    "anti_colour": anti_colour,
    "relapsed": relapsed,
    "partial": partial,
}
"""In the order in which they are asked. A run in the target zone is a success whatever else might be said of it."""
MODES = tuple(FAILURE_MODES)


def is_constant(spread: np.ndarray, nll: np.ndarray) -> np.ndarray:
    """Where the logits are constant at the NLL (nats) of knowing nothing."""
    return (spread < CONSTANT_SPREAD) & (np.abs(nll - math.log(2)) < CONSTANT_NLL)


def _sameness(curves: Curves) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`spread`, `one_class` and `nll` of a `History`."""
    train = curves.train
    share = curves.positive_share[:, train].mean(1)
    return curves.spread[:, train].max(1), np.maximum(share, 1 - share), curves.nll[:, train].mean(1)


def _luck(history: History, environment: str) -> float:
    """How much lower than in training an accuracy may be measured in an environment where it is the same."""
    counts = history.curves.examples
    there = history.curves.environments.index(environment)
    each = [sum(counts[index] for index in history.curves.train), counts[there]]
    bayes = history.levels.bayes
    return STANDARD_ERRORS * math.sqrt(bayes * (1 - bayes) * sum(1 / count for count in each))


def _follows_colour(history: History) -> bool:
    """Whether accuracy falls under the reversed colour by more than the target zone allows."""
    levels = history.levels
    return bool(history.train[-1] - history.reversed_accuracy[-1] > levels.target_train - levels.target_test)


def has_diverged(curves: Curves) -> bool:
    """Whether `diverged` applies at the last checkpoint."""
    train = curves.train
    finite = np.isfinite(curves.nll[:, train]).all() and np.isfinite(curves.spread[:, train]).all()
    return not finite or float(curves.nll[-1, train].mean()) > DIVERGED_NLL


def collapses(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """At which checkpoints one class is predicted or the logits are constant, and at which the logits are constant."""
    spread, one_class, nll = _sameness(curves)
    constant = is_constant(spread, nll)
    return constant | (one_class > COLLAPSED_SHARE), constant
