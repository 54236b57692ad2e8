"""What each failure mode means, and the one change that it advises.

An advice is a value, so that it can be tried: `irm-study advice` trains failing runs again with it. Only what helped
two thirds of them is told.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from irm_study.config import RunConfig, is_whole


class Change(NamedTuple):
    """A hyperparameter, and what it is multiplied by."""

    key: str
    factor: Fraction

    @property
    def text(self) -> str:
        """As a sentence tells it: "lower the L2 weight to a third"."""
        name = "number of epochs" if self.key == "epochs" else self.key.replace("_", " ").replace("l2", "L2")
        return FACTORS.get(self.factor, f"multiply the {{}} by {self.factor}").format(name)

    def of(self, run: RunConfig) -> RunConfig:
        """The changed configuration; whole numbers stay whole. Raises ValueError where the value is not allowed."""
        value = getattr(run, self.key) * self.factor
        changed = {self.key: round(value) if is_whole(self.key) else float(value)}
        return RunConfig.model_validate(run.model_dump() | changed)


FACTORS = {
    Fraction(1, 1000): "lower the {} to a thousandth",
    Fraction(1, 10): "lower the {} to a tenth",
    Fraction(1, 3): "lower the {} to a third",
    Fraction(1, 2): "halve the {}",
    Fraction(2): "double the {}",
    Fraction(3): "raise the {} threefold",
    Fraction(10): "raise the {} tenfold",
    Fraction(100): "raise the {} a hundredfold",
}


FEWEST = 8
"""Configurations on which a change must have been tried to be advised."""


class Advice(NamedTuple):
    """A change, and how it did where it was tried (`reports/published/advice`): it helped so many configurations of
    those that ended in the mode, by the mode's measure."""

    change: Change
    helped: int
    of: int

    @property
    def holds(self) -> bool:
        """Whether it helped two thirds, of no fewer than FEWEST."""
        return self.of >= FEWEST and 3 * self.helped >= 2 * self.of


MEASURES = {"min_accuracy": "better", "zone_margin": "nearer to the target zone"}
"""By what a changed run is compared with the run before, and what it is called where that is higher: the lower of
training and test accuracy, or the distance to the target zone."""


def measure_of(mode: str) -> str:
    """Which of MEASURES a mode's advice is judged by.

    Close to the zone the two disagree: .66 in training and test is better than .70 and .62, which is in the zone. Modes
    that are told by the zone's edge go by the distance to it.
    """
    return "zone_margin" if mode in ("relapsed", "near_miss") else "min_accuracy"


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
    "diverged": Advice(Change("learning_rate", Fraction(1, 1000)), 20, 20),
    "collapsed": Advice(Change("anneal_epoch", Fraction(2)), 7, 13),
    "memorised": Advice(Change("penalty_weight", Fraction(100)), 6, 11),
    "erm_like": Advice(Change("penalty_weight", Fraction(100)), 34, 38),
    "anti_colour": Advice(Change("l2_weight", Fraction(1, 3)), 4, 10),
    "relapsed": Advice(Change("l2_weight", Fraction(1, 3)), 21, 26),
    "unsettled": Advice(Change("epochs", Fraction(2)), 34, 60),
    "near_miss": Advice(Change("l2_weight", Fraction(1, 3)), 11, 18),
    "leans_on_colour": Advice(Change("penalty_weight", Fraction(10)), 9, 10),
    "penalty_met": Advice(Change("anneal_epoch", Fraction(1, 2)), 8, 11),
    "shape_lost": Advice(Change("l2_weight", Fraction(1, 3)), 2, 3),
    "shape_not_learnt": Advice(Change("l2_weight", Fraction(1, 3)), 25, 37),
}
"""Of every mode that is a failure, the change that did best of those that were tried."""


def _explanation(mode: str) -> str:
    if mode not in ADVICE:
        return f"{MEANINGS[mode]}."
    change, helped, of = advice = ADVICE[mode]
    if of < FEWEST:
        return f"{MEANINGS[mode]}; such runs are too rare for a change to have been tried on them."
    if not advice.holds:
        return f"{MEANINGS[mode]}; no one change that was tried helped two thirds of such runs."
    return f"{MEANINGS[mode]}: {change.text} ({MEASURES[measure_of(mode)]} in {helped} of {of} such runs)."


EXPLANATIONS = {mode: _explanation(mode) for mode in MEANINGS}

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
