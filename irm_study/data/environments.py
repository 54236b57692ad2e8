"""Coloured environments: which digits each has, label noise, colour.

Every draw has a random stream of its own, derived from the run's seed and the draw's name, so that a change in one
changes no other, and a run has the same examples alone as beside others. Images are kept once, in grey; an example is
the row of an image, a label and a colour, and `paint` makes the coloured image of it. Where images come from is in
`digits`; how a network uses them is the business of `training`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irm_study.config import EnvironmentSpec
from irm_study.data.digits import Digits, load_unseen

CHANNELS = {"grey": 1, "two": 2, "rgb": 3}
MEAN, STANDARD_DEVIATION = 0.1307, 0.3081
WHITE = 255
"""The brightest pixel of an image, 1 to a network."""
GREY = -1
"""In place of a colour: half of the image in each coloured channel."""


@dataclass(frozen=True)
class Examples:
    """Examples of one or several environments for several runs; all tensors are (runs, …, examples).

    rows: int64, positions along the first axis of `Environments.pixels`. labels: float32, 0 or 1. colours: int64; 0 or
    1: the channel that holds the image; GREY: each of the two channels holds half of it.
    """

    rows: Tensor
    labels: Tensor
    colours: Tensor

    def take_runs(self, positions: Tensor) -> Examples:
        """The examples of some of the runs; positions: along the run axis."""
        return Examples(self.rows[positions], self.labels[positions], self.colours[positions])

    def take_environments(self, numbers: Sequence[int]) -> Examples:
        """The examples of some of the environments; numbers: along their axis, the second."""
        return Examples(self.rows[:, numbers], self.labels[:, numbers], self.colours[:, numbers])


@dataclass(frozen=True)
class Environments:
    """What runs that are side by side train on and are measured on.

    pixels: (images, height, width), uint8, the same for all runs. train: (runs, training environments, examples).
    measured: the environments on which runs are only measured, by name, (runs, examples) each.
    """

    spec: EnvironmentSpec
    pixels: Tensor
    train: Examples
    measured: dict[str, Examples]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a painted image."""
        return CHANNELS[self.spec.channels], self.pixels.shape[1], self.pixels.shape[2]

    @property
    def counts(self) -> tuple[int, ...]:
        """Examples of each environment, in the order of `spec.names`."""
        train = self.train.rows.shape[1:]
        return (*[train[1]] * train[0], *(examples.rows.shape[1] for examples in self.measured.values()))

    def take_runs(self, positions: Tensor) -> Environments:
        """The environments of some of the runs; positions: along the run axis."""
        measured = {name: examples.take_runs(positions) for name, examples in self.measured.items()}
        return Environments(self.spec, self.pixels, self.train.take_runs(positions), measured)


def build_environments(
    digits: Digits, spec: EnvironmentSpec, seeds: Sequence[int], device: torch.device | str = "cpu"
) -> Environments:
    """The environments of each seed, side by side along the run axis.

    Raises ValueError where the digits are too few for these environments.
    """
    phases = digits.phases if spec.resolution == 14 else 1
    images, labels = digits.images, digits.labels
    if spec.unseen_examples is not None:
        unseen_images, unseen_labels = load_unseen(digits)
        if spec.unseen_examples > len(unseen_labels):
            raise ValueError(
                f"environments.unseen_examples must be at most {len(unseen_labels)}, which is what {digits.name}'s own "
                f"test set has; got {spec.unseen_examples}"
            )
        images = np.concatenate([images, unseen_images[: spec.unseen_examples]])
        labels = np.concatenate([labels, unseen_labels[: spec.unseen_examples]])
    pixels = torch.tensor(subsample(images, spec.resolution, phases), device=device)
    draws = [_draw(digits, labels, spec, seed, phases) for seed in seeds]

    def gather(name: str) -> Examples:
        rows, labels, colours = (np.stack([draw[name][part] for draw in draws]) for part in range(3))
        return Examples(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(labels.astype(np.float32)).to(device),
            torch.from_numpy(colours.astype(np.int64)).to(device),
        )

    by_name = {name: gather(name) for name in spec.names}
    train = [by_name.pop(name) for name in spec.train_names]
    stacked = Examples(
        *(torch.stack([getattr(each, part) for each in train], dim=1) for part in ("rows", "labels", "colours"))
    )
    return Environments(spec, pixels, stacked, by_name)


def paint(environments: Environments, examples: Examples) -> Tensor:
    """Coloured images (runs, examples, channels, height, width), float32 in [0, 1] unless normalised.

    A coloured image lies in the channel of its colour, and the other channels are zero; without colour there is one
    channel, which is grey.
    """
    spec = environments.spec
    channels = CHANNELS[spec.channels]
    grey = environments.pixels[examples.rows].unsqueeze(-3) / WHITE
    if spec.channels == "grey":
        images = grey
    else:
        channel = torch.arange(channels, device=grey.device).view(channels, 1, 1)
        colours = examples.colours[..., None, None, None]
        images = grey * ((colours == channel) + 0.5 * ((colours == GREY) & (channel < 2)))
    if spec.normalise:
        mean = torch.tensor([MEAN, MEAN, 0.0][:channels], device=grey.device).view(channels, 1, 1)
        images = (images - mean) / STANDARD_DEVIATION
    return images


def subsample(images: np.ndarray, resolution: int, phases: int) -> np.ndarray:
    """(digits, 28, 28) uint8 → (digits · phases, resolution, resolution) uint8.

    The four phases of stride 2 are four distinct images of a digit. They are in a row: image i shows digit i // phases.
    """
    if resolution == 14:
        offsets = [(0, 0), (0, 1), (1, 0), (1, 1)][:phases]
        images = np.stack([images[:, row::2, column::2] for row, column in offsets], axis=1)
        images = images.reshape(-1, 14, 14)
    return images


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of one draw, named for what it draws, of the run with this seed."""
    purpose = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, purpose])


def _draw(
    digits: Digits, classes: np.ndarray, spec: EnvironmentSpec, seed: int, phases: int
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, labels and colours of every environment of one seed, by the environment's name. classes: of all digits,
    those of their own test set last."""
    drawn = {}
    flips = dict(zip(spec.train_names, spec.train_flips, strict=True)) | {"test": spec.test_flip}
    flips["unseen"] = spec.test_flip
    flips |= dict(zip(spec.heldout_names, spec.train_flips, strict=False))
    if spec.validation_flip is not None:
        flips["validation"] = spec.validation_flip
    for name, members in _split(digits, spec, seed, phases).items():
        rows = (members[:, None] * phases + np.arange(phases)).reshape(-1)
        # Held-out examples have the training environments' flips in turn.
        flip = np.resize(np.asarray(spec.train_flips), len(rows)) if name == "heldout" else flips[name]
        labels = classes[rows // phases] < 5
        labels = labels ^ (stream(seed, f"label noise, {name}").random(len(rows)) < spec.label_noise)
        colours = labels ^ (stream(seed, f"colour, {name}").random(len(rows)) < flip)
        drawn[name] = rows, labels, colours
    return drawn


def _split(digits: Digits, spec: EnvironmentSpec, seed: int, phases: int) -> dict[str, np.ndarray]:
    """The digits of each environment; all images of a digit stay together."""
    count = len(digits.images)
    test_count = digits.test_digits if spec.test_examples is None else -(-spec.test_examples // phases)
    train_count = count - test_count
    parts = len(spec.train_flips)
    if train_count < 2 * (parts + 1):
        raise ValueError(
            f"environments.test_examples must leave digits to train on; got {spec.test_examples} "
            f"of {count * phases} images of {digits.name}"
        )
    train, test = np.arange(train_count), np.arange(train_count, count)
    split = {"heldout": test, "test": test}
    if spec.unseen_examples is not None:
        split["unseen"] = np.arange(count, count + spec.unseen_examples)
    if spec.split == "dealt":
        train = stream(seed, "split").permutation(train)
    if spec.validation_flip is not None:
        validation_count = min(test_count, train_count // (parts + 1))
        train, split["validation"] = train[:-validation_count], train[-validation_count:]
    if spec.heldout_examples is not None:
        count = -(-spec.heldout_examples // phases)
        if len(train) < (count + 2) * parts:
            raise ValueError(
                f"environments.heldout_examples must leave digits to train on; got {spec.heldout_examples} of each of "
                f"{parts} training environments, which have {len(train) * phases} images of {digits.name} together"
            )
        for name in spec.heldout_names:
            train, split[name] = train[:-count], train[-count:]
    each = len(train) // parts
    for index, name in enumerate(spec.train_names):
        dealt = train[index::parts][:each] if spec.split == "dealt" else train[index * each : (index + 1) * each]
        split[name] = dealt
    return split
