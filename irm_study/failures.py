"""How a run failed: named modes, the rule of each, and the evidence that decided.

`diagnose` walks `FAILURE_MODES` in order and takes the first rule that applies. A rule is one function
of what a run's curves show; it tells at which checkpoints it applies, and the numbers that decide. Every
threshold follows from the environments' flips, their label noise and the number of their examples
(`landmarks`), so other environments need no new constants. The same rules judge with several `EYES`:
where they ask for accuracy under the reversed colour, one pair of eyes looks at the test environment,
another recolours training images.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.curves import Curves

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
STANDARD_ERRORS = 3
"""A share counts as passed, or two as different, where sampling leaves less than one chance in 700."""


@dataclass(frozen=True)
class Landmarks:
    """What predictors of each kind reach in the population, and the zones that follow; all fractions.

    shape: accuracy of the best invariant predictor (the digit's shape alone). bayes: mean training
    accuracy of the best predictor of colour and shape together; bayes_nll: its mean NLL in nats. target_train,
    target_test: the zone called invariant, four fifths and two fifths of the way from chance to `shape` (.70 and .60
    for the authors' environments). erm_train: mean training accuracy from which a run follows colour, six sevenths of
    the way from chance to that of colour alone (.80 there). memorised_train, memorised_nll: accuracy and NLL that
    colour and shape cannot give but by luck, for so many examples. unlike: how far two accuracies lie apart that are
    not called alike.
    """

    shape: float
    bayes: float
    bayes_nll: float
    target_train: float
    target_test: float
    erm_train: float
    memorised_train: float
    memorised_nll: float
    unlike: float


@functools.lru_cache(maxsize=256)
def landmarks(environments: EnvironmentSpec, train_examples: int = 50_000) -> Landmarks:
    """The population's numbers for some environments (field.md's table, in general form).

    train_examples: in all training environments together.
    """
    noise = environments.label_noise
    shape = 1.0 - noise
    # The pooled Bayes predictor sees shape s and colour c and knows the mean flip of the environments.
    mean_flip = environments.mean_flip
    bayes, nll, square = 0.0, 0.0, 0.0
    for shape_right in (True, False):
        for colour_right in (True, False):
            agree = (1 - noise if shape_right else noise) * (1 - mean_flip if colour_right else mean_flip)
            against = (noise if shape_right else 1 - noise) * (mean_flip if colour_right else 1 - mean_flip)
            bayes += max(agree, against) / 2
            if agree > 0:
                loss = -math.log(agree / (agree + against))
                nll += agree * loss
                square += agree * loss**2
    way = shape - 0.5
    luck = STANDARD_ERRORS / math.sqrt(train_examples)
    return Landmarks(
        shape=shape,
        bayes=bayes,
        bayes_nll=nll,
        target_train=0.5 + 0.8 * way,
        target_test=0.5 + 0.4 * way,
        erm_train=0.5 + 6 / 7 * abs(0.5 - mean_flip),
        memorised_train=bayes + luck * math.sqrt(bayes * (1 - bayes)),
        memorised_nll=nll - luck * math.sqrt(max(0.0, square - nll**2)),
        unlike=0.2 * way,
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


# Eyes


def reversed_flip(environments: EnvironmentSpec) -> float:
    """The flip at which colour counts as reversed: the test environment's, or where that reverses less (or nothing),
    the mirror of the training ones' mean."""
    known, test = environments.mean_flip, environments.test_flip
    mirrored = 1 - known
    return test if (test - mirrored) * (mirrored - known) >= 0 else mirrored


def reversed_in_test(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """Accuracy in the test environment, extended to `reversed_flip` where it reverses less."""
    return _extended(curves, environments, "test", environments.test_flip)


def reversed_in_validation(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """What accuracy would be at `reversed_flip`, told from the training environments' and a fourth one's."""
    return _extended(curves, environments, "validation", environments.validation_flip)


def _extended(curves: Curves, environments: EnvironmentSpec, name: str, flip: float | None) -> np.ndarray:
    """A predictor's accuracy is linear in the flip of the environment that it meets."""
    there, known, wanted = _accuracy(curves, name), environments.mean_flip, reversed_flip(environments)
    if flip is None or flip == wanted:
        return there
    train = curves.accuracy[:, curves.train].mean(1)
    return train + (there - train) * (wanted - known) / (flip - known)


def reversed_in_training(curves: Curves, environments: EnvironmentSpec) -> np.ndarray:
    """Accuracy on training images whose colours were swapped: an environment with the flips 1 - p."""
    return curves.swapped_accuracy


EYES: dict[str, Callable[[Curves, EnvironmentSpec], np.ndarray]] = {
    "test": reversed_in_test,
    "validation": reversed_in_validation,
    "train": reversed_in_training,
}
"""Who judges: where the accuracy under the reversed colour, (checkpoints,), is taken from."""


@dataclass(frozen=True)
class Seen:
    """A run at all its checkpoints, as one pair of eyes sees it. Arrays are (checkpoints,).

    train, train_min: mean and lowest accuracy over the training environments. nll: mean over them. spread:
    largest logit spread; one_class: the larger share of one prediction. elsewhere: accuracy under the reversed
    colour. heldout: accuracy on the test environment's digits, coloured as in training; None for eyes that may not
    see them.
    """

    curves: Curves
    zones: Landmarks
    train: np.ndarray
    train_min: np.ndarray
    nll: np.ndarray
    spread: np.ndarray
    one_class: np.ndarray
    elsewhere: np.ndarray
    heldout: np.ndarray | None


class Finding(NamedTuple):
    """What a rule says. applies: (checkpoints,), bool. evidence: by name, (checkpoints,) each."""

    applies: np.ndarray
    evidence: dict[str, np.ndarray]


Rule = Callable[[Seen], Finding]


def diagnose(curves: Curves, environments: EnvironmentSpec, run: RunConfig, eyes: str = "test") -> Verdict:
    """The first mode whose rule applies at the run's last checkpoint, as some EYES see it."""
    seen = see(curves, environments, eyes)
    found = [rule(seen) for rule in FAILURE_MODES.values()]
    modes = np.argmax(
        [finding.applies for finding in found], axis=0
    )  # the first that applies; the last one always does
    last = modes[-1]
    elsewhere = np.flatnonzero(modes != last)
    first = int(elsewhere[-1]) + 1 if len(elsewhere) else 0
    mode, since = MODES[last], int(curves.epoch[first])
    evidence = {name: float(values[-1]) for name, values in found[last].evidence.items()}
    return Verdict(mode, since, evidence, _explain(mode, since, first, run, seen))


def see(curves: Curves, environments: EnvironmentSpec, eyes: str) -> Seen:
    """A run as a pair of EYES sees it."""
    train = curves.train
    accuracy = curves.accuracy[:, train]
    spread, one_class, nll = _sameness(curves)
    return Seen(
        curves=curves,
        zones=landmarks(environments, sum(curves.examples[index] for index in train)),
        train=accuracy.mean(1),
        train_min=accuracy.min(1),
        nll=nll,
        spread=spread,
        one_class=one_class,
        elsewhere=EYES[eyes](curves, environments),
        heldout=_accuracy(curves, "heldout") if eyes == "test" else None,
    )


# Rules


def diverged(seen: Seen) -> Finding:
    """Training left the finite numbers, or stands far above what knowing nothing costs."""
    curves = seen.curves
    broken = np.logical_or.accumulate(~(np.isfinite(seen.nll) & np.isfinite(seen.spread)))
    if not broken[-1]:
        return Finding(seen.nll > DIVERGED_NLL, {"train NLL": seen.nll})
    first = np.full(len(broken), float(curves.epoch[broken.argmax()]))
    return Finding(broken | (seen.nll > DIVERGED_NLL), {"first epoch not finite": first})


def collapsed(seen: Seen) -> Finding:
    """The network says the same of every example, or as good as nothing of any."""
    constant = is_constant(seen.spread, seen.nll)
    chance = seen.zones.target_test - 0.5
    knows_nothing = np.abs(seen.nll - math.log(2)) < COLLAPSED_NLL
    for accuracy in (seen.train, seen.elsewhere):
        knows_nothing &= np.abs(accuracy - 0.5) < chance
    return Finding(
        constant | (seen.one_class > COLLAPSED_SHARE) | knows_nothing,
        {
            "logit spread": seen.spread,
            "share of one class": seen.one_class,
            "train NLL": seen.nll,
            "train accuracy": seen.train,
            "accuracy under the reversed colour": seen.elsewhere,
        },
    )


def memorised(seen: Seen) -> Finding:
    """Training labels are known better than colour and shape can tell, and (where it was measured) held-out ones
    are not."""
    applies = (seen.train > seen.zones.memorised_train) | (seen.nll < seen.zones.memorised_nll)
    evidence = {"train accuracy": seen.train, "train NLL": seen.nll}
    if seen.heldout is not None:
        applies &= seen.train - seen.heldout > _luck(seen, "heldout")
        evidence["held-out accuracy"] = seen.heldout
    return Finding(applies, evidence)


def erm_like(seen: Seen) -> Finding:
    """Decides by colour, as plain risk minimisation does."""
    gradient = seen.curves.gradient[:, seen.curves.train]
    return Finding(
        (seen.train >= seen.zones.erm_train) & (seen.elsewhere < 0.5),
        {
            "train accuracy": seen.train,
            "accuracy under the reversed colour": seen.elsewhere,
            "share of predictions that change with the colour": seen.curves.swap_share,
            "smallest g": gradient.min(1),
            "largest g": gradient.max(1),
        },
    )


def anti_colour(seen: Seen) -> Finding:
    """Decides against the colour: better where colour is reversed than where it trained."""
    return Finding(
        seen.elsewhere > seen.train + seen.zones.unlike,
        {"train accuracy": seen.train, "accuracy under the reversed colour": seen.elsewhere},
    )


def invariant(seen: Seen) -> Finding:
    """Decides by shape: in the target zone."""
    return Finding(
        (seen.train_min >= seen.zones.target_train) & (seen.elsewhere >= seen.zones.target_test),
        {"lowest train accuracy": seen.train_min, "accuracy under the reversed colour": seen.elsewhere},
    )


def relapsed(seen: Seen) -> Finding:
    """Was in the target zone, and left it."""
    inside = invariant(seen).applies
    count = np.arange(len(inside))
    last = np.maximum.accumulate(np.where(inside, count, -1))
    before = np.maximum(last, 0)
    return Finding(
        (last >= 0) & ~inside,
        {
            "last epoch in the zone": seen.curves.epoch[before].astype(float),
            "accuracy under the reversed colour then": seen.elsewhere[before],
            "lowest train accuracy": seen.train_min,
            "accuracy under the reversed colour": seen.elsewhere,
        },
    )


def partial(seen: Seen) -> Finding:
    """None of the others: between colour and shape, or by shape and below the target."""
    return Finding(
        np.ones(len(seen.train), dtype=bool),
        {"lowest train accuracy": seen.train_min, "accuracy under the reversed colour": seen.elsewhere},
    )


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
MODES = tuple(FAILURE_MODES)

EXPLANATIONS = {
    "diverged": "Training left the finite numbers: lower the learning rate.",
    "collapsed": "The network says the same of every image: lower the penalty weight, or anneal later or more slowly.",
    "memorised": "Labels of single training images were learnt by heart: raise the L2 weight or anneal earlier.",
    "erm_like": "The network follows colour, as without a penalty: raise the penalty weight or anneal earlier.",
    "anti_colour": "The network decides against the colour: lower the penalty weight or the L2 weight.",
    "invariant": "The network decides by shape, in training and under the reversed colour.",
    "relapsed": "The run was in the target zone and left it: train for fewer epochs.",
    "partial": "The network is outside the target zone.",
}

PARTIALS = {
    "colour": "It follows colour in part: raise the penalty weight or anneal earlier.",
    "shape": "It decides by shape, but poorly: lower the penalty weight or the L2 weight, or anneal later.",
}


def is_constant(spread: np.ndarray, nll: np.ndarray) -> np.ndarray:
    """Where the logits are constant at the NLL (nats) of knowing nothing."""
    return (spread < CONSTANT_SPREAD) & (np.abs(nll - math.log(2)) < CONSTANT_NLL)


def _sameness(curves: Curves) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Seen.spread`, `one_class` and `nll`."""
    train = curves.train
    share = curves.positive_share[:, train].mean(1)
    return curves.spread[:, train].max(1), np.maximum(share, 1 - share), curves.nll[:, train].mean(1)


def _accuracy(curves: Curves, environment: str) -> np.ndarray:
    index = curves.of(environment)
    return np.full(len(curves.epoch), np.nan) if index is None else curves.accuracy[:, index]


def _luck(seen: Seen, environment: str) -> float:
    """How much lower than in training an accuracy may be measured in an environment where it is the same."""
    counts = seen.curves.examples
    each = [sum(counts[index] for index in seen.curves.train), counts[seen.curves.of(environment)]]
    bayes = seen.zones.bayes
    return STANDARD_ERRORS * math.sqrt(bayes * (1 - bayes) * sum(1 / count for count in each))


def _explain(mode: str, since: int, first: int, run: RunConfig, seen: Seen) -> str:
    text = EXPLANATIONS[mode]
    if mode == "collapsed":
        return f"{COLLAPSES[collapse_began(since, first, run)]} {text}"
    if mode == "partial":
        apart = seen.train[-1] - seen.elsewhere[-1] > seen.zones.target_train - seen.zones.target_test
        return f"{text} {PARTIALS['colour' if apart else 'shape']}"
    return text


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
    return "at the anneal" if since <= run.anneal_epoch + ramp + max(10, run.epochs // 4) else "late"


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
