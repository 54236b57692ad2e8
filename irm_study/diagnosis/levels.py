"""Reference levels: what predictors of each kind reach in some environments, and the target zone that follows.

All follow from the environments' flips, their label noise and the number of examples, so other environments need no new
constants. Which run is in the zone is decided in `zone`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from irm_study.config import EnvironmentSpec

STANDARD_ERRORS = 3
"""A share counts as passed, or two as different, where sampling leaves less than one chance in 700."""


@dataclass(frozen=True)
class ReferenceLevels:
    """What predictors of each kind reach in the population, and the target zone; all fractions but for NLLs in nats.

    shape: accuracy of the best invariant predictor (the digit's shape alone). bayes: mean training
    accuracy of the best predictor of colour and shape together; bayes_nll: its mean NLL in nats. target_train,
    target_test: where the target zone begins, as the target says; left out, four fifths and two fifths of the way from
    chance to `shape` (.70 and .60 for the authors' environments). erm_train: mean training accuracy from which a run
    follows colour, six sevenths of the way from chance to that of colour alone (.80 there). memorised_train,
    memorised_nll: accuracy and NLL that colour and shape cannot give but by luck, for so many examples.
    """

    shape: float
    bayes: float
    bayes_nll: float
    target_train: float
    target_test: float
    erm_train: float
    memorised_train: float
    memorised_nll: float


@functools.lru_cache(maxsize=256)
def reference_levels(environments: EnvironmentSpec, train_examples: int = 50_000) -> ReferenceLevels:
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
    way, target = shape - 0.5, environments.target
    luck = STANDARD_ERRORS / math.sqrt(train_examples)
    return ReferenceLevels(
        shape=shape,
        bayes=bayes,
        bayes_nll=nll,
        target_train=target.min or target.train or 0.5 + 0.8 * way,
        target_test=target.min or target.test or 0.5 + 0.4 * way,
        erm_train=0.5 + 6 / 7 * abs(0.5 - mean_flip),
        memorised_train=bayes + luck * math.sqrt(bayes * (1 - bayes)),
        memorised_nll=nll - luck * math.sqrt(max(0.0, square - nll**2)),
    )
