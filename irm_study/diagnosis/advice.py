"""What each failure mode means, and the one change that it advises."""

from __future__ import annotations

from irm_study.config import RunConfig


def explain(mode: str, since: int, first: int, run: RunConfig) -> str:
    """What a run's mode means, in a sentence or two, with what to change.

    since: the epoch from which the mode held; first: the checkpoint of that epoch.
    """
    text = EXPLANATIONS[mode]
    return f"{COLLAPSES[collapse_began(since, first, run)]} {text}" if mode == "collapsed" else text


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
ADVICE = {
    "diverged": "lower the learning rate to a third",
    "collapsed": "lower the penalty weight to a tenth",
    "memorised": "raise the L2 weight threefold",
    "erm_like": "raise the penalty weight tenfold",
    "anti_colour": "lower the penalty weight to a tenth",
    "relapsed": "lower the penalty weight to a third",
    "unsettled": "train for twice as many epochs",
    "near_miss": "lower the learning rate to a half",
    "leans_on_colour": "raise the penalty weight tenfold",
    "penalty_met": "raise the L2 weight threefold",
    "shape_lost": "lower the penalty weight to a third",
    "shape_not_learnt": "lower the penalty weight to a tenth",
}
EXPLANATIONS = {
    mode: f"{meaning}: {ADVICE[mode]}." if mode in ADVICE else f"{meaning}." for mode, meaning in MEANINGS.items()
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
