"""How a run failed: named modes, the rule of each, and the evidence that decided.

`diagnose` walks `FAILURE_MODES` in order and takes the first rule that applies. A rule is one function
of what was measured; it returns the numbers that decided, or None. Every threshold follows from the
environments' flips and label noise (`landmarks`), so other environments need no new constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.curves import Curves

DIVERGED_NLL = 10 * math.log(2)
"""Nats; a network that knows nothing has a tenth of it, so only steps far too large lead here."""
COLLAPSED_SPREAD = 0.05
COLLAPSED_SHARE = 0.99
COLLAPSED_NLL = 0.01
"""A constant's NLL is log 2 = 0.6931 nats; a run within this of it has learnt nothing."""


@dataclass(frozen=True)
class Landmarks:
    """What predictors of each kind reach in the population, and the zones that follow; all fractions.

    shape: accuracy of the best invariant predictor (the digit's shape alone). colour: mean training
    accuracy of colour alone. bayes_nll: mean training NLL (nats) of the best predictor of colour and
    shape together: below it, noise has been memorised. target_train, target_test: the zone called
    invariant (.70 and .60 for the authors' environments). erm_train: mean training accuracy from which
    a run follows colour. memorised_train: accuracy that colour and shape cannot give. gap: difference
    of training accuracies that betrays the use of colour.
    """

    shape: float
    colour: float
    bayes_nll: float
    target_train: float
    target_test: float
    erm_train: float
    memorised_train: float
    gap: float


def landmarks(environments: EnvironmentSpec) -> Landmarks:
    """The population's numbers for some environments (field.md's table, in general form)."""
    flips = np.asarray(environments.train_flips)
    noise = environments.label_noise
    shape = 1.0 - noise
    # The pooled Bayes predictor sees shape s and colour c and knows the mean flip of the environments.
    mean_flip = float(flips.mean())
    bayes_accuracy, bayes_nll = 0.0, 0.0
    for shape_right in (True, False):
        for colour_right in (True, False):
            agree = (1 - noise if shape_right else noise) * (1 - mean_flip if colour_right else mean_flip)
            against = (noise if shape_right else 1 - noise) * (mean_flip if colour_right else 1 - mean_flip)
            bayes_accuracy += max(agree, against) / 2
            if agree > 0:
                bayes_nll -= agree * math.log(agree / (agree + against))
    colour = 1.0 - mean_flip
    return Landmarks(
        shape=shape,
        colour=colour,
        bayes_nll=bayes_nll,
        target_train=shape - 0.05,
        target_test=shape - 0.15,
        erm_train=bayes_accuracy - 0.05,
        memorised_train=bayes_accuracy + 0.01,
        gap=0.6 * float(flips.max() - flips.min()),
    )


@dataclass(frozen=True)
class Verdict:
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
class Moment:
    """A run at one checkpoint, with its past: what a rule may look at."""

    curves: Curves
    at: int
    zones: Landmarks

    def train(self, quantity: str) -> np.ndarray:
        """(training environments,)"""
        return getattr(self.curves, quantity)[self.at, self.curves.train]

    def value(self, quantity: str, environment: str) -> float:
        index = self.curves.of(environment)
        return math.nan if index is None else float(getattr(self.curves, quantity)[self.at, index])

    def earlier(self) -> list[Moment]:
        return [Moment(self.curves, at, self.zones) for at in range(self.at)]


Rule = Callable[[Moment], dict[str, float] | None]


def diagnose(curves: Curves, environments: EnvironmentSpec, run: RunConfig) -> Verdict:
    """The first mode whose rule applies at the run's last checkpoint."""
    zones = landmarks(environments)
    mode, evidence = _verdict_at(Moment(curves, len(curves.epoch) - 1, zones))
    first = len(curves.epoch) - 1
    while first > 0 and _verdict_at(Moment(curves, first - 1, zones))[0] == mode:
        first -= 1
    since = int(curves.epoch[first])
    return Verdict(mode, since, evidence, _explain(mode, since, first, run))


def diverged(now: Moment) -> dict[str, float] | None:
    """Training left the finite numbers, or stands far above what knowing nothing costs."""
    return diverged_at(now.curves, now.at)


def diverged_at(curves: Curves, at: int) -> dict[str, float] | None:
    """The evidence of a divergence up to one checkpoint; None where there is none."""
    measured = np.stack([curves.nll[: at + 1], curves.spread[: at + 1]])
    broken = ~np.isfinite(measured).all(axis=(0, 2))
    if broken.any():
        return {"first epoch not finite": float(curves.epoch[int(broken.argmax())])}
    nll = float(curves.nll[at, curves.train].mean())
    return {"train NLL": nll} if nll > DIVERGED_NLL else None


def collapsed(now: Moment) -> dict[str, float] | None:
    """The network says the same of every example."""
    return collapsed_at(now.curves, now.at)


def collapsed_at(curves: Curves, at: int) -> dict[str, float] | None:
    """The evidence of a collapse at one checkpoint; None where there is none."""
    train = curves.train
    spread = float(curves.spread[at, train].max())
    share = float(curves.positive_share[at, train].mean())
    nll = float(curves.nll[at, train].mean())
    one_class = max(share, 1 - share)
    if (spread < COLLAPSED_SPREAD or one_class > COLLAPSED_SHARE) and abs(nll - math.log(2)) < COLLAPSED_NLL:
        return {"logit spread": spread, "share of one class": one_class, "train NLL": nll}
    return None


def memorised(now: Moment) -> dict[str, float] | None:
    """Training labels are known better than colour and shape can tell, and held-out ones are not."""
    accuracy, nll = float(now.train("accuracy").mean()), float(now.train("nll").mean())
    heldout = now.value("accuracy", "heldout")
    beyond = accuracy >= now.zones.memorised_train or nll < now.zones.bayes_nll
    if beyond and accuracy - heldout >= 0.02:
        return {"train accuracy": accuracy, "held-out accuracy": heldout, "train NLL": nll}
    return None


def erm_like(now: Moment) -> dict[str, float] | None:
    """Decides by colour, as plain risk minimisation does."""
    accuracy, gradient = now.train("accuracy"), now.train("gradient")
    gap = float(accuracy.max() - accuracy.min())
    test = now.value("accuracy", "test")
    opposite = float(gradient.min()) < 0 < float(gradient.max())
    if accuracy.mean() >= now.zones.erm_train and gap >= now.zones.gap and opposite and test < 0.5:
        return {
            "train accuracy": float(accuracy.mean()),
            "gap between environments": gap,
            "smallest g": float(gradient.min()),
            "largest g": float(gradient.max()),
            "test accuracy": test,
        }
    return None


def anti_colour(now: Moment) -> dict[str, float] | None:
    """Decides against the colour: better where colour is reversed than where it trained."""
    train, test = float(now.train("accuracy").mean()), now.value("accuracy", "test")
    return {"train accuracy": train, "test accuracy": test} if test > train + 0.05 else None


def invariant(now: Moment) -> dict[str, float] | None:
    """Decides by shape: in the target zone."""
    train, test = float(now.train("accuracy").min()), now.value("accuracy", "test")
    if train >= now.zones.target_train and test >= now.zones.target_test:
        return {"lowest train accuracy": train, "test accuracy": test}
    return None


def relapsed(now: Moment) -> dict[str, float] | None:
    """Was in the target zone, and left it."""
    inside = [moment for moment in now.earlier() if invariant(moment)]
    if not inside:
        return None
    return {
        "last epoch in the zone": float(now.curves.epoch[inside[-1].at]),
        "test accuracy then": inside[-1].value("accuracy", "test"),
        "lowest train accuracy": float(now.train("accuracy").min()),
        "test accuracy": now.value("accuracy", "test"),
    }


def partial(now: Moment) -> dict[str, float]:
    """None of the others: between colour and shape."""
    return {
        "lowest train accuracy": float(now.train("accuracy").min()),
        "test accuracy": now.value("accuracy", "test"),
    }


FAILURE_MODES: dict[str, Rule] = {
    "diverged": diverged,
    "collapsed": collapsed,
    "memorised": memorised,
    "erm_like": erm_like,
    "anti_colour": anti_colour,
    "invariant": invariant,
    "relapsed": relapsed,
    "partial": partial,
}

EXPLANATIONS = {
    "diverged": "Training left the finite numbers: lower the learning rate.",
    "collapsed": "The network says the same of every image: lower the penalty weight, or anneal later or more slowly.",
    "memorised": "Labels of single training images were learnt by heart: raise the L2 weight or anneal earlier.",
    "erm_like": "The network follows colour, as without a penalty: raise the penalty weight or anneal earlier.",
    "anti_colour": "The network decides against the colour: lower the penalty weight or the L2 weight.",
    "invariant": "The network decides by shape, in training and in test.",
    "relapsed": "The run was in the target zone and left it: train for fewer epochs.",
    "partial": "The network is between colour and shape, outside the target zone.",
}


def _verdict_at(now: Moment) -> tuple[str, dict[str, float]]:
    for mode, rule in FAILURE_MODES.items():
        if (evidence := rule(now)) is not None:
            return mode, evidence
    raise AssertionError("the last rule applies always")


def _explain(mode: str, since: int, first: int, run: RunConfig) -> str:
    text = EXPLANATIONS[mode]
    return f"{COLLAPSES[collapse_began(since, first, run)]} {text}" if mode == "collapsed" else text


COLLAPSES = {
    "from the start": "It never left the constant.",
    "before the anneal": "It collapsed before the anneal.",
    "at the anneal": "It collapsed at the anneal.",
    "late": "It collapsed late.",
}


def collapse_began(since: int, first: int, run: RunConfig) -> str:
    """Which of COLLAPSES a collapse is that began at checkpoint `first`, in epoch `since`."""
    if first == 0:
        return "from the start"
    if since < run.anneal_epoch:
        return "before the anneal"
    ramp = 0 if run.ramp == "step" else run.ramp_epochs
    return "at the anneal" if since <= run.anneal_epoch + ramp + max(10, run.epochs // 20) else "late"
