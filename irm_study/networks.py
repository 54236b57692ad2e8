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


def runs_in_memory(config: RunConfig, digits: Digits, spec: EnvironmentSpec, device: torch.device | str) -> int:
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
            for parts in zip(
                *(part.split(CHUNK, dim=1) for part in (flat.rows, flat.labels, flat.colours)), strict=True
            )
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


# An activation in place, and the gradient through it told from its output (gradient, output, out) → out.
# All map 0 to 0, which keeps padded units silent.
DERIVATIVES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "relu": (
        torch.relu_,
        lambda gradient, output, out: torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=out),
    ),
    "tanh": (
        torch.tanh_,
        lambda gradient, output, out: torch.ops.aten.tanh_backward.grad_input(gradient, output, grad_input=out),
    ),
}


@dataclass(frozen=True)
class Sorted:
    """Examples sorted by colour. blocks: (images (runs, rows, pixels + 1), channel) each, with a constant 1
    as last column. position: (runs, examples), where each example stands among the blocks' rows. shape: of
    the examples' labels."""

    blocks: list[tuple[Tensor, int]]
    position: Tensor
    shape: torch.Size


class SortedMlp:
    """The MLP on images of zero background, full batch.

    Every layer's input ends in a constant 1 and every weight in a row for it, the bias: biases and their
    gradients come with the products, not in passes of their own over the activations.
    """

    def __init__(self, config: RunConfig, environments: Environments):
        self.config, self.environments = config, environments
        self.lit = (environments.pixels > 0).any(dim=0).flatten().nonzero().squeeze(1)
        self.channels = 1 if environments.spec.channels == "grey" else 2
        self.hidden = -(-config.hidden // LANES) * LANES
        shapes = {"first": (self.channels * len(self.lit) + 1, self.hidden)}
        for number in range(2, config.layers + 1):
            shapes[f"middle{number}"] = (self.hidden + 1, self.hidden)
        self.layout = Layout(shapes | {"last": (self.hidden + 1, 1)})
        self.size = self.layout.size
        self.activate, self.differentiate = DERIVATIVES[config.activation]
        self.buffers: dict[tuple, Tensor] = {}

    def initial(self, seeds: Sequence[int]) -> Tensor:
        image = self.environments.image_shape
        lit = self.lit.cpu().numpy()

        def arranged(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            first = drawn["weight1"].reshape(image[0], -1, self.config.hidden)[: self.channels, lit]
            weights = [first.reshape(-1, self.config.hidden)]
            weights += [drawn[f"weight{number}"] for number in range(2, self.config.layers + 2)]
            return {
                name: _with_bias(weight, drawn[f"bias{number}"], shape)
                for number, ((name, shape), weight) in enumerate(
                    zip(self.layout.shapes.items(), weights, strict=True), start=1
                )
            }

        draws = [MODELS["mlp"].initial(self.config, image, stream(seed, "initialisation")) for seed in seeds]
        return self.layout.flatten([arranged(drawn) for drawn in draws], self.environments.pixels.device)

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
            for block in members.tensor_split(-(-longest // BLOCK), dim=1):
                blocks.append((pixels[rows.gather(1, block)], channel))
            start += longest
        return Sorted(blocks, position, examples.rows.shape)

    def logits(self, parameters: Tensor, inputs: Sorted) -> Tensor:
        weights = self._weights(parameters)
        logits = [self._block(weights, *block, scratch=0)[-1] for block in inputs.blocks]
        return torch.cat(logits, dim=1).gather(1, inputs.position).view(inputs.shape)

    def forward(self, parameters: Tensor, inputs: Sorted) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        weights = self._weights(parameters)
        outputs = [self._block(weights, *block, scratch=number) for number, block in enumerate(inputs.blocks, start=1)]
        logits = torch.cat([each[-1] for each in outputs], dim=1)

        def pullback(cotangent: Tensor) -> Tensor:
            sorted_cotangent = torch.zeros_like(logits).scatter_(1, inputs.position, cotangent.flatten(1))
            return self._pull_back(weights, inputs, outputs, sorted_cotangent)

        return logits.gather(1, inputs.position).view(inputs.shape), pullback

    def _weights(self, parameters: Tensor) -> dict[str, Tensor]:
        """The weights by name; `first` as (runs, channels, pixels + 1, hidden), the bias in each channel."""
        weights = self.layout.views(parameters)
        pixels, bias = weights["first"][:, :-1], weights["first"][:, -1:]
        pixels = pixels.unflatten(1, (self.channels, -1))
        bias = bias.unsqueeze(1).expand(-1, self.channels, -1, -1)
        return weights | {"first": torch.cat([pixels, bias], dim=2)}

    def _block(self, weights: dict[str, Tensor], images: Tensor, channel: int, scratch: int) -> list[Tensor]:
        """Outputs of every layer for one block, hidden ones (runs, rows, hidden + 1); last its logits (runs, rows)."""
        outputs = [images]
        for number in range(1, self.config.layers + 1):
            weight = weights["first"][:, channel] if number == 1 else weights[f"middle{number}"]
            output = self._hidden(images, (scratch, number))
            self.activate(torch.bmm(outputs[-1], weight, out=output[..., :-1]))
            outputs.append(output)
        return [*outputs, torch.bmm(outputs[-1], weights["last"]).squeeze(-1)]

    def _pull_back(
        self, weights: dict[str, Tensor], inputs: Sorted, outputs: list[list[Tensor]], cotangent: Tensor
    ) -> Tensor:
        gradient = torch.zeros(len(cotangent), self.size, device=cotangent.device)
        by_name = self.layout.views(gradient)
        first = torch.zeros_like(weights["first"])
        # The gradient at the top hidden layer is (cotangent · derivative) · last weight, the same weight in every
        # row. It is multiplied into the small matrices on either side, not into the activations.
        columns = weights["last"][:, :-1].mT
        names = ["first", *(f"middle{number}" for number in range(2, self.config.layers + 1))]
        down = {name: weights[name][:, :-1].mT for name in names[1:]}
        if len(names) > 1:
            down[names[-1]] = columns.mT * down[names[-1]]
        parts = cotangent.split([images.shape[1] for images, _ in inputs.blocks], dim=1)
        for (images, channel), layers, part in zip(inputs.blocks, outputs, parts, strict=True):
            part = part.unsqueeze(-1)
            by_name["last"].baddbmm_(layers[-2].mT, part)
            flowing = self._gradient(images, self.config.layers)
            self.differentiate(part.expand_as(flowing), layers[-2][..., :-1], flowing)
            for number in range(self.config.layers, 0, -1):
                into = first[:, channel] if number == 1 else by_name[f"middle{number}"]
                into.baddbmm_(layers[number - 1].mT, flowing)
                if number > 1:
                    below = torch.bmm(flowing, down[names[number - 1]], out=self._gradient(images, number - 1))
                    flowing = self.differentiate(below, layers[number - 1][..., :-1], below)
        if len(names) > 1:
            by_name[names[-1]] *= columns
        else:
            first *= columns.unsqueeze(1)
        by_name["first"][:, :-1] = first[:, :, :-1].flatten(1, 2)
        by_name["first"][:, -1:] = first[:, :, -1:].sum(1)
        return gradient

    def _hidden(self, images: Tensor, name: tuple[int, int]) -> Tensor:
        """The buffer of one layer's output for one block, a constant 1 in its last column."""
        key = (*name, *images.shape[:2])
        if key not in self.buffers:
            # Rows lie a multiple of the vector unit apart.
            wide = torch.ones(*images.shape[:2], self.hidden + LANES, device=images.device)
            self.buffers[key] = wide[..., : self.hidden + 1]
        return self.buffers[key]

    def _gradient(self, images: Tensor, number: int) -> Tensor:
        key = ("gradient", number, *images.shape[:2])
        if key not in self.buffers:
            self.buffers[key] = torch.empty(*images.shape[:2], self.hidden, device=images.device)
        return self.buffers[key]


def _with_bias(weight: np.ndarray, bias: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A weight padded to a shape, with the bias in its last row."""
    arranged = np.zeros(shape, dtype=np.float32)
    arranged[: weight.shape[0], : weight.shape[1]] = weight
    arranged[-1, : bias.shape[1]] = bias[0]
    return arranged
