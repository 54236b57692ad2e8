"""Networks ready to train: parameters of many runs as one flat tensor, logits, and the way back.

`network_for` chooses between two that compute the same. `AutogradNetwork` takes any model, paints
images as it needs them and lets torch differentiate. `SortedMlp` is the full-batch MLP at the
hardware's limit: examples sorted by colour so that the empty channel is never multiplied, pixels that
are empty in every image left out, widths padded to the vector unit, activations in buffers made once,
derivatives written out. Nothing here knows of losses, penalties or epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import psutil
import torch
from torch import Tensor

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.digits import Digits
from irm_study.environments import Environments, Examples, paint, stream
from irm_study.models import MODELS

CHUNK = 1000
"""Examples that AutogradNetwork takes at a time: their activations stay in the cache of a CPU core."""
BLOCK = 1280
"""Rows that SortedMlp takes at a time, likewise."""
LANES = 8


class Network(Protocol):
    """What training asks of a network. `parameters` and gradients are (runs, size), float32."""

    size: int

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Each run's first parameters: (runs, size)."""

    def inputs(self, examples: Examples) -> object:
        """Examples in the network's own form, for `logits` and `forward`."""

    def logits(self, parameters: Tensor, inputs: object) -> Tensor:
        """(runs, …, examples) as the examples were given."""

    def forward(self, parameters: Tensor, inputs: object) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The logits, and the pullback: gradient of a number with respect to the logits → with
        respect to the parameters. The pullback is called once, before the next `forward`."""


def network_for(config: RunConfig, environments: Environments) -> Network:
    sortable = (
        config.model == "mlp"
        and config.batch_size is None
        and config.activation in DERIVATIVES
        and not environments.spec.normalise
    )
    return (SortedMlp if sortable else AutogradNetwork)(config, environments)


def runs_in_memory(
    config: RunConfig, digits: Digits, spec: EnvironmentSpec, device: torch.device | str
) -> int:
    """How many runs train side by side in half of the memory that is free; one at least."""
    phases = digits.phases if spec.resolution == 14 else 1
    images, side = len(digits.images) * phases, spec.resolution
    batch = images if config.batch_size is None else config.batch_size * len(spec.train_flips)
    # Of each example: its image, twice (MLP) or as the convolutions keep it, and each hidden layer's output.
    maps = 100 * side * side if config.model == "convnet" else 2 * side * side
    floats = 2 * images * side * side + batch * (maps + (config.layers + 1) * config.hidden)
    if torch.device(device).type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    return max(1, int(free / 2 // (4 * floats)))


class AutogradNetwork:
    """Any model, differentiated by torch."""

    def __init__(self, config: RunConfig, environments: Environments):
        self.config, self.environments = config, environments
        self.model = MODELS[config.model]
        shapes = self.model.initial(config, environments.image_shape, np.random.default_rng(0))
        self.layout = Layout({name: value.shape for name, value in shapes.items()})
        self.size = self.layout.size

    def initial(self, seeds: Sequence[int]) -> Tensor:
        drawn = [
            self.model.initial(self.config, self.environments.image_shape, stream(seed, "initialisation"))
            for seed in seeds
        ]
        return self.layout.flatten(drawn, self.environments.pixels.device)

    def inputs(self, examples: Examples) -> Examples:
        return examples

    def logits(self, parameters: Tensor, inputs: Examples) -> Tensor:
        with torch.no_grad():
            return torch.cat(self._chunks(self.layout.views(parameters), inputs), dim=1).view(inputs.rows.shape)

    def forward(self, parameters: Tensor, inputs: Examples) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        leaves = {name: view.detach().requires_grad_() for name, view in self.layout.views(parameters).items()}
        chunks = self._chunks(leaves, inputs)

        def pullback(cotangent: Tensor) -> Tensor:
            parts = cotangent.flatten(1).split([chunk.shape[1] for chunk in chunks], dim=1)
            gradients = torch.autograd.grad(chunks, list(leaves.values()), parts)
            return torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

        return torch.cat([chunk.detach() for chunk in chunks], dim=1).view(inputs.rows.shape), pullback

    def _chunks(self, parameters: dict[str, Tensor], examples: Examples) -> list[Tensor]:
        flat = Examples(examples.rows.flatten(1), examples.labels.flatten(1), examples.colours.flatten(1))
        return [
            self.model.logits(self.config, parameters, paint(self.environments, Examples(*parts)))
            for parts in zip(*(part.split(CHUNK, dim=1) for part in (flat.rows, flat.labels, flat.colours)), strict=True)
        ]


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the flat tensor of a run."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """(runs, size) → each parameter as a view (runs, …)."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            views[name] = flat[:, start:stop].unflatten(1, shape)
            start = stop
        return views

    def flatten(self, runs: Sequence[dict[str, np.ndarray]], device: torch.device) -> Tensor:
        flat = [np.concatenate([run[name].reshape(-1) for name in self.shapes]) for run in runs]
        return torch.from_numpy(np.stack(flat)).to(device)


# Derivatives of activations told from their output, in place on the incoming gradient. All map 0 to 0,
# which keeps padded units silent.
DERIVATIVES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (
        torch.relu_,
        lambda gradient, output: torch.ops.aten.threshold_backward.grad_input(
            gradient, output, 0, grad_input=gradient
        ),
    ),
    "tanh": (
        torch.tanh_,
        lambda gradient, output: torch.ops.aten.tanh_backward.grad_input(gradient, output, grad_input=gradient),
    ),
}


@dataclass(frozen=True)
class Sorted:
    """Examples sorted by colour. blocks: (images (runs, rows, pixels + 1), channel) each, with a
    constant 1 as last column, which carries the first bias. position: (runs, examples), where each
    example stands among the blocks' rows. shape: of the examples' labels."""

    blocks: list[tuple[Tensor, int]]
    position: Tensor
    shape: torch.Size


class SortedMlp:
    """The MLP on images of zero background, full batch."""

    def __init__(self, config: RunConfig, environments: Environments):
        self.config, self.environments = config, environments
        self.lit = (environments.pixels > 0).any(dim=0).flatten().nonzero().squeeze(1)
        self.channels = 1 if environments.spec.channels == "grey" else 2
        hidden = -(-config.hidden // LANES) * LANES
        shapes: dict[str, tuple[int, ...]] = {
            "weight1": (self.channels, len(self.lit), hidden),
            "bias1": (1, hidden),
        }
        for number in range(2, config.layers + 1):
            shapes |= {f"weight{number}": (hidden, hidden), f"bias{number}": (1, hidden)}
        last = config.layers + 1
        shapes |= {f"weight{last}": (hidden, 1), f"bias{last}": (1, 1)}
        self.layout = Layout(shapes)
        self.size = self.layout.size
        self.activate, self.differentiate = DERIVATIVES[config.activation]
        self.buffers: dict[tuple, Tensor] = {}

    def initial(self, seeds: Sequence[int]) -> Tensor:
        image = self.environments.image_shape
        device = self.environments.pixels.device
        lit = self.lit.cpu().numpy()

        def padded(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            first = drawn["weight1"].reshape(image[0], -1, self.config.hidden)
            drawn = drawn | {"weight1": first[: self.channels, lit]}
            return {name: _pad(drawn[name], shape) for name, shape in self.layout.shapes.items()}

        draws = [MODELS["mlp"].initial(self.config, image, stream(seed, "initialisation")) for seed in seeds]
        return self.layout.flatten([padded(drawn) for drawn in draws], device)

    def inputs(self, examples: Examples) -> Sorted:
        rows, colours = examples.rows.flatten(1), examples.colours.flatten(1)
        if self.channels == 1:
            colours = torch.zeros_like(colours)
        pixels = self.environments.pixels.flatten(1)[:, self.lit]
        pixels = torch.cat([pixels, pixels.new_ones(len(pixels), 1)], dim=1)
        blocks: list[tuple[Tensor, int]] = []
        position = torch.empty_like(rows)
        start = 0
        for channel in range(self.channels):
            mine = colours == channel
            longest = int(mine.sum(1).max())
            if longest == 0:
                continue
            # Runs differ in how many examples have a colour: shorter ones repeat a row that nobody reads.
            members = torch.argsort(~mine, dim=1, stable=True)[:, :longest]
            position[mine] = (start + mine.cumsum(1) - 1)[mine]
            count = -(-longest // BLOCK)
            for block in members.tensor_split(count, dim=1):
                blocks.append((pixels[rows.gather(1, block)], channel))
            start += longest
        return Sorted(blocks, position, examples.rows.shape)

    def logits(self, parameters: Tensor, inputs: Sorted) -> Tensor:
        weights = self._weights(parameters)
        logits = [self._block(weights, *block, scratch=0)[-1] for block in inputs.blocks]
        return torch.cat(logits, dim=1).gather(1, inputs.position).view(inputs.shape)

    def forward(self, parameters: Tensor, inputs: Sorted) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        weights = self._weights(parameters)
        layers = [
            self._block(weights, *block, scratch=number) for number, block in enumerate(inputs.blocks, start=1)
        ]
        logits = torch.cat([each[-1] for each in layers], dim=1)

        def pullback(cotangent: Tensor) -> Tensor:
            sorted_cotangent = torch.zeros_like(logits).scatter_(1, inputs.position, cotangent.flatten(1))
            return self._pull_back(weights, inputs, layers, sorted_cotangent)

        return logits.gather(1, inputs.position).view(inputs.shape), pullback

    def _weights(self, parameters: Tensor) -> dict[str, Tensor]:
        """The parameters by name, and `first`: each channel's weights with the bias as last row."""
        weights = self.layout.views(parameters)
        bias = weights["bias1"].unsqueeze(1).expand(-1, self.channels, -1, -1)
        return weights | {"first": torch.cat([weights["weight1"], bias], dim=2)}

    def _block(self, weights: dict[str, Tensor], images: Tensor, channel: int, scratch: int) -> list[Tensor]:
        """Outputs of every layer for one block, the last being its logits (runs, rows)."""
        runs, rows = images.shape[:2]
        shape = (runs, rows, weights["first"].shape[-1])
        outputs = [self._buffer((scratch, 1), shape)]
        self.activate(torch.bmm(images, weights["first"][:, channel], out=outputs[0]))
        for number in range(2, self.config.layers + 1):
            output = self._buffer((scratch, number), shape)
            torch.bmm(outputs[-1], weights[f"weight{number}"], out=output)
            outputs.append(self.activate(output.add_(weights[f"bias{number}"])))
        last = self.config.layers + 1
        outputs.append(torch.baddbmm(weights[f"bias{last}"], outputs[-1], weights[f"weight{last}"]).squeeze(-1))
        return outputs

    def _pull_back(
        self, weights: dict[str, Tensor], inputs: Sorted, layers: list[list[Tensor]], cotangent: Tensor
    ) -> Tensor:
        gradient = torch.zeros(len(cotangent), self.size, device=cotangent.device)
        by_name = self.layout.views(gradient)
        first = torch.zeros_like(weights["first"])
        last = self.config.layers + 1
        parts = cotangent.split([images.shape[1] for images, _ in inputs.blocks], dim=1)
        for (images, channel), outputs, part in zip(inputs.blocks, layers, parts, strict=True):
            part = part.unsqueeze(-1)
            hidden = outputs[-2]
            by_name[f"weight{last}"].baddbmm_(hidden.mT, part)
            flowing = self._buffer(("gradient", last), hidden.shape)
            torch.mul(part, weights[f"weight{last}"].mT, out=flowing)
            for number in range(self.config.layers, 0, -1):
                self.differentiate(flowing, outputs[number - 1])
                if number == 1:
                    first[:, channel].baddbmm_(images.mT, flowing)
                    break
                by_name[f"weight{number}"].baddbmm_(outputs[number - 2].mT, flowing)
                by_name[f"bias{number}"] += flowing.sum(1, keepdim=True)
                below = self._buffer(("gradient", number), hidden.shape)
                flowing = torch.bmm(flowing, weights[f"weight{number}"].mT, out=below)
        by_name[f"bias{last}"] += cotangent.sum(1)[:, None, None]
        by_name["weight1"].copy_(first[:, :, :-1])
        by_name["bias1"].copy_(first[:, :, -1:].sum(1))
        return gradient

    def _buffer(self, name: tuple, shape: Sequence[int]) -> Tensor:
        key = (*name, *shape)
        if key not in self.buffers:
            self.buffers[key] = torch.empty(tuple(shape), device=self.environments.pixels.device)
        return self.buffers[key]


def _pad(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(values, [(0, wanted - have) for have, wanted in zip(values.shape, shape, strict=True)])
