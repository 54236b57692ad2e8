"""What a run leaves: its measurements at every checkpoint, and their form in the table of runs.

Numbers only: how they come about is the trainer's business, what they mean is said by `modes` and `criteria`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

QUANTITIES = ("nll", "accuracy", "gradient", "spread", "positive_share")
"""Measured in every environment."""
TRAINED = re.compile(r"train\d+")
"""The names of the environments that are trained on; all others are measured only."""
PROBES = ("grey_accuracy", "swapped_accuracy", "swap_share")
"""Measured on training images whose colour was changed: what can be told of the use of colour without another
environment."""


@dataclass(frozen=True)
class Curves:
    """One run's measurements. Arrays are (checkpoints,) or (checkpoints, environments).

    epoch: epochs trained when the measurement was taken; the first is 0, the last the run's end.
    penalty_weight: of the epoch that follows the checkpoint (at the end: of the last epoch).
    nll: mean negative log-likelihood, in nats. accuracy: a fraction.
    gradient: the signed gradient of the risk with respect to a scale of 1 on the logits; the IRMv1
    penalty is its square. spread: standard deviation of the logits. positive_share: the share of
    examples predicted positive. environments: the names along the last axis; examples: how many each has.
    grey_accuracy, swapped_accuracy: accuracy on some of the training images, made grey, or in the other
    colour; swap_share: the share of their predictions that change with the colour.
    stopped: why the run ended before its last epoch ("" when it did not). shared_epochs: how many of its
    first epochs were trained once for several runs.
    """

    environments: tuple[str, ...]
    epoch: np.ndarray
    penalty_weight: np.ndarray
    nll: np.ndarray
    accuracy: np.ndarray
    gradient: np.ndarray
    spread: np.ndarray
    positive_share: np.ndarray
    grey_accuracy: np.ndarray
    swapped_accuracy: np.ndarray
    swap_share: np.ndarray
    examples: tuple[int, ...]
    seconds: float = 0.0
    stopped: str = ""
    shared_epochs: int = 0

    @property
    def train(self) -> list[int]:
        """Positions of the training environments along the last axis."""
        return [index for index, name in enumerate(self.environments) if TRAINED.fullmatch(name)]

    def of(self, environment: str) -> int | None:
        """The position of an environment along the last axis; None where it was not measured."""
        return self.environments.index(environment) if environment in self.environments else None

    def accuracy_in(self, environment: str) -> np.ndarray:
        """Accuracy in an environment, (checkpoints,); NaN where it was not measured."""
        index = self.of(environment)
        return np.full(len(self.epoch), np.nan) if index is None else self.accuracy[:, index]


def curve_columns(curves: Curves) -> dict[str, Any]:
    """The curves as list columns of one row: `curve_epoch`, `curve_penalty_weight`, `curve_<quantity>_<environment>`,
    `curve_<probe>`; and `curve_examples`, a number for each environment."""
    row: dict[str, Any] = {
        "curve_epoch": curves.epoch.astype(np.int64).tolist(),
        "curve_penalty_weight": curves.penalty_weight.astype(float).tolist(),
    }
    for quantity in QUANTITIES:
        values = getattr(curves, quantity)
        for index, name in enumerate(curves.environments):
            row[f"curve_{quantity}_{name}"] = values[:, index].astype(float).tolist()
    for probe in PROBES:
        row[f"curve_{probe}"] = getattr(curves, probe).astype(float).tolist()
    row["curve_examples"] = list(curves.examples)
    return row


def curves_from_row(row: Mapping[str, Any]) -> Curves:
    """The inverse of `curve_columns`, from a row of the table of runs."""
    prefix = f"curve_{QUANTITIES[0]}_"
    names = tuple(key.removeprefix(prefix) for key, value in row.items() if key.startswith(prefix) and _is_list(value))

    def column(key: str) -> np.ndarray:
        return np.asarray(row[key], dtype=float)

    return Curves(
        environments=names,
        epoch=np.asarray(row["curve_epoch"], dtype=np.int64),
        penalty_weight=column("curve_penalty_weight"),
        **{
            quantity: np.stack([column(f"curve_{quantity}_{name}") for name in names], axis=1)
            for quantity in QUANTITIES
        },
        **{probe: column(f"curve_{probe}") for probe in PROBES},
        examples=tuple(int(count) for count in row["curve_examples"]),
        seconds=float(row["seconds"]),
        stopped=str(row["stopped"]),
        shared_epochs=int(row["shared_epochs"]),
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)
