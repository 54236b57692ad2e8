"""What the trainer is compared with: a matrix product, memory's speed, and plain training as published scripts do it.

The comparison is in `trainer`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from irm_study.bench.timing import seconds_of
from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.data import Digits, Examples, build_environments, load_digits, paint

PRODUCT_ROWS = 3072
"""Of the square matrices whose product is the yardstick: on a CPU it takes about as long as an epoch."""
PRODUCT_OPERATIONS = 2 * PRODUCT_ROWS**3
ENVIRONMENTS = EnvironmentSpec()


def repeated_digits() -> Digits:
    """60,000 images: the embedded digits twelve times. The trainer's speed depends on how many pixels images light and
    on how much they differ in that, which is as in MNIST."""
    digits = load_digits("embedded")
    images, labels = np.tile(digits.images, (12, 1, 1)), np.tile(digits.labels, 12)
    return Digits("repeated", images, labels, phases=1, test_digits=10_000)


def matrix_product(device: str, dtype: torch.dtype) -> Callable[[], Tensor]:
    """A product of two square matrices of PRODUCT_ROWS, to be timed."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(PRODUCT_ROWS, PRODUCT_ROWS, generator=generator).to(device, dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def memory_speed(device: str) -> float:
    """1e9 bytes a second, read and written, of a copy of a gigabyte."""
    source = torch.empty(2**28, device=device)
    target = torch.empty_like(source)
    seconds = statistics.median(seconds_of(lambda: target.copy_(source), device) for _ in range(10))
    return 2 * source.nbytes / seconds / 1e9


def reference_epoch(config: RunConfig, digits: Digits, device: str) -> Callable[[], None]:
    """One epoch of plain training, to be timed: one run, eager, all pixels of both channels, the penalty's second
    derivative by autograd, the test environment at every epoch."""
    data = build_environments(digits, ENVIRONMENTS, [0], device)
    inputs = []
    for examples in (*_environments_of(data.train), data.measured["test"]):
        inputs.append((paint(data, examples)[0].flatten(1).contiguous(), examples.labels[0][:, None]))
    network = nn.Sequential(
        nn.Linear(inputs[0][0].shape[1], config.hidden), nn.ReLU(True), nn.Linear(config.hidden, config.hidden),
        nn.ReLU(True), nn.Linear(config.hidden, 1),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def risk_and_penalty(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(images)
        scale = torch.ones((), device=device, requires_grad=True)
        gradient = torch.autograd.grad(
            binary_cross_entropy_with_logits(logits * scale, labels), scale, create_graph=True
        )[0]
        return binary_cross_entropy_with_logits(logits, labels), gradient.square()

    def epoch() -> None:
        (risk1, penalty1), (risk2, penalty2), _ = [risk_and_penalty(*each) for each in inputs]
        decay = sum(parameter.norm().pow(2) for parameter in network.parameters())
        loss = (risk1 + risk2) / 2 + config.l2_weight * decay + config.penalty_weight * (penalty1 + penalty2) / 2
        optimizer.zero_grad()
        (loss / config.penalty_weight).backward()
        optimizer.step()

    return epoch


def _environments_of(train: Examples) -> Sequence[Examples]:
    return [
        Examples(train.rows[:, number], train.labels[:, number], train.colours[:, number])
        for number in range(train.rows.shape[1])
    ]
