"""Evidence for the shape: of every image the logit of a grey network that never saw the image's digit.

One number an image, the same for all seeds and configurations: what a draw of data asks for is then a matter of its
labels, its colours and the digits that it has. Digits are cut into FOLDS, and for each fold a network is trained on the
others, all of them side by side as runs. A network that had seen the digit would be surer of training examples than of
the test environment's.

The labels have no noise: it would be the same for all draws, and so tell nothing of any. On MNIST (IRMv1, weight 9,000,
eleven draws) colour reliance of the ideal correlates with that of trained networks at .70, and at .59 where the grey
networks were trained under label noise 0.25; eleven draws do not tell these apart.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.data import Environments, Examples, build_environments, load_digits
from irm_study.training import Program, Run, initial_state

FOLDS = 2
SEED = 0
"""Of the first network's parameters; the others' follow it."""
GREY = RunConfig(hidden=83, penalty_weight=0.0, initial_weight=0.0, anneal_epoch=0, l2_weight=0.00086,
                 learning_rate=0.002817, epochs=101)  # fmt: skip
"""The authors' hyperparameters of their grey-scale oracle (studies/grey-oracle.toml)."""


@functools.cache
def shape_evidence(name: str, resolution: int, data_root: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of every image, in the order of `Environments.pixels`: the evidence (float64; above 0: a digit below 5), and
    whether the digit is below 5.

    name, data_root: as `load_digits` takes them. Takes seconds; the result is kept for later calls in the process.
    """
    digits = load_digits(name, data_root)
    spec = EnvironmentSpec(channels="grey", resolution=14 if resolution == 14 else 28)
    pixels = build_environments(digits, spec, [SEED]).pixels
    images, phases = len(pixels), len(pixels) // len(digits.images)
    below_five = np.repeat(digits.labels < 5, phases)
    fold = np.arange(images) // phases % FOLDS
    others = [np.flatnonzero(fold != each) for each in range(FOLDS)]
    # In two environments, as the network takes them, and as many of every fold: a few images may be left out.
    rows = np.stack([each[: min(map(len, others)) // 2 * 2].reshape(-1, 2).T for each in others])
    data = Environments(spec, pixels, _grey(rows, below_five[rows]), {})
    state = initial_state([Run(number, GREY, SEED + number) for number in range(FOLDS)], data)
    program = Program(data, state)
    for _ in range(GREY.epochs):
        program.epoch(state, program.forward(state))
    every = np.broadcast_to(np.arange(images), (FOLDS, images))
    logits = program.network.logits(state.parameters, program.network.inputs(_grey(every, below_five[every])))
    evidence = logits.double().numpy()[fold, np.arange(images)]
    evidence.flags.writeable = below_five.flags.writeable = False
    return evidence, below_five


def _grey(rows: np.ndarray, labels: np.ndarray) -> Examples:
    colours = torch.zeros(rows.shape, dtype=torch.int64)  # which no grey network sees
    return Examples(torch.tensor(rows), torch.tensor(labels, dtype=torch.float32), colours)
