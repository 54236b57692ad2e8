"""What each failure mode means, and what to change."""

from __future__ import annotations

from irm_study.config import RunConfig


def explain(mode: str, since: int, first: int, run: RunConfig, follows_colour: bool) -> str:
    """What a run's mode means, in a sentence or two, with what to change.

    since: the epoch from which the mode held; first: the checkpoint of that epoch. follows_colour: whether accuracy
    falls under the reversed colour by more than the target zone allows.
    """
    text = EXPLANATIONS[mode]
    if mode == "collapsed":
        return f"{COLLAPSES[collapse_began(since, first, run)]} {text}"
    if mode == "partial":
        return f"{text} {PARTIALS['colour' if follows_colour else 'shape']}"
    return text


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
