"""What each failure mode means, and the one change that it advises.

An advice is a change of a configuration, so that it can be tried: `ADVICE` holds it in words and as values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from irm_study.config import RunConfig


@dataclass(frozen=True)
class Advice:
    """text: as a sentence tells it. change: configuration → the hyperparameters that it changes, with their values."""

    text: str
    change: Callable[[RunConfig], dict[str, Any]]


def explain(mode: str, since: int, first: int, run: RunConfig) -> str:
    """What a run's mode means, in a sentence or two, with what to change.

    since: the epoch from which the mode held; first: the checkpoint of that epoch.
    """
    text = EXPLANATIONS[mode]
    return f"{COLLAPSES[collapse_began(since, first, run)]} {text}" if mode == "collapsed" else text


def times(key: str, factor: float) -> Callable[[RunConfig], dict[str, Any]]:
    """A hyperparameter multiplied; whole numbers stay whole."""

    def change(run: RunConfig) -> dict[str, Any]:
        value = getattr(run, key) * factor
        return {key: round(value) if isinstance(getattr(run, key), int) else value}

    return change


MEANINGS = {
    "diverged": "Training left the finite numbers",
    "invariant": "The network decides by shape, in training and under the reversed colour",
    "collapsed": "The network says the same of every image",
    "memorised": "Labels of single training images were learnt by heart",
    "erm_like": "The network follows colour, as without a penalty",
    "anti_colour": "The network decides against the colour",
    "relapsed": "The run was in the target zone and left it",
    "unsettled": "Training ended while the network was still changing",
    "near_miss": "The run ended close to the target zone",
    "leans_on_colour": "The network follows colour in part, and the penalty is still high",
    "penalty_met": "The network follows colour in part though nothing is left of the penalty",
    "shape_lost": "Little is left of colour, and less of the shape than the run knew before",
    "shape_not_learnt": "Little is left of colour, and the shape was never learnt well enough",
}
ADVICE: dict[str, Advice] = {
    "diverged": Advice("lower the learning rate to a third", times("learning_rate", 1 / 3)),
    "collapsed": Advice("lower the penalty weight to a tenth", times("penalty_weight", 0.1)),
    "memorised": Advice("raise the L2 weight threefold", times("l2_weight", 3)),
    "erm_like": Advice("raise the penalty weight tenfold", times("penalty_weight", 10)),
    "anti_colour": Advice("lower the penalty weight to a tenth", times("penalty_weight", 0.1)),
    "relapsed": Advice("lower the penalty weight to a third", times("penalty_weight", 1 / 3)),
    "unsettled": Advice("train for twice as many epochs", times("epochs", 2)),
    "near_miss": Advice("lower the learning rate to a half", times("learning_rate", 0.5)),
    "leans_on_colour": Advice("raise the penalty weight tenfold", times("penalty_weight", 10)),
    "penalty_met": Advice("raise the L2 weight threefold", times("l2_weight", 3)),
    "shape_lost": Advice("lower the penalty weight to a third", times("penalty_weight", 1 / 3)),
    "shape_not_learnt": Advice("lower the penalty weight to a tenth", times("penalty_weight", 0.1)),
}
EXPLANATIONS = {
    mode: f"{meaning}: {ADVICE[mode].text}." if mode in ADVICE else f"{meaning}." for mode, meaning in MEANINGS.items()
}

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
    return "at the anneal" if since <= run.anneal_epoch + run.ramp_length + max(10, run.epochs // 4) else "late"
