"""Networks ready to train: parameters of many runs as one flat tensor, logits, and the way back.

`network_for` chooses between two that compute the same. `AutogradNetwork` takes any model, paints
images as it needs them and lets torch differentiate. `SortedMlp` is the full-batch MLP at the
hardware's limit: examples sorted by colour so that the empty channel is never multiplied, pixels that
are empty in every image left out, widths padded to the vector unit, activations in buffers made once,
derivatives written out. Nothing here knows of losses, penalties or epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.digits import Digits
from irm_study.environments import GREY, Environments, Examples, paint, stream
from irm_study.models import MODELS

CHUNK = {"cpu": 100, "cuda": 16_384}
"""Examples, of all runs together, that AutogradNetwork takes at a time: on a CPU their activations stay in its cache,
on a GPU they are enough to keep it busy."""
BLOCK = 1280
"""Rows, of all runs together, that SortedMlp takes at a time on a CPU, likewise; on a GPU it takes all at once."""
LANES = 8
"""Single-precision numbers of a vector register: widths are padded to a multiple."""
T = TypeVar("T")


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
        size = max(1, CHUNK.get(examples.rows.device.type, CHUNK["cuda"]) // len(examples.rows))
        parts = [part.flatten(1).split(size, dim=1) for part in (examples.rows, examples.labels, examples.colours)]
        return [
            self.model.logits(self.config, parameters, paint(self.environments, Examples(*chunk)))
            for chunk in zip(*parts, strict=True)
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
    """The MLP on images of zero background, full batch."""

    def __init__(self, config: RunConfig, environments: Environments):
        self.config, self.environments = config, environments
        self.lit = (environments.pixels > 0).any(dim=0).flatten().nonzero().squeeze(1)
        self.channels = 1 if environments.spec.channels == "grey" else 2
        self.hidden = -(-config.hidden // LANES) * LANES
        # The images' last column is a constant 1, the first weight's last row its bias: of the widest layer, the bias
        # comes with the product. Elsewhere such a column would throw the rows out of the vector unit's step.
        shapes = {"first": (self.channels * len(self.lit) + 1, self.hidden)}
        for number in range(2, config.layers + 1):
            shapes |= {f"weight{number}": (self.hidden, self.hidden), f"bias{number}": (1, self.hidden)}
        self.layout = Layout(shapes | {"last": (self.hidden, 1), "last bias": (1, 1)})
        self.size = self.layout.size
        self.activate, self.differentiate = DERIVATIVES[config.activation]
        on_cpu = environments.pixels.device.type == "cpu"
        self.rows = max(LANES, BLOCK // len(environments.train.rows)) if on_cpu else environments.train.rows[0].numel()
        self.threads = torch.get_num_threads() if on_cpu else 1
        self.buffers: dict[tuple, Tensor] = {}

    def initial(self, seeds: Sequence[int]) -> Tensor:
        image = self.environments.image_shape
        lit = self.lit.cpu().numpy()

        def arranged(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            first = drawn["weight1"].reshape(image[0], -1, self.config.hidden)[: self.channels, lit]
            last = self.config.layers + 1
            named = drawn | {
                "first": np.concatenate([first.reshape(-1, self.config.hidden), drawn["bias1"]]),
                "last": drawn[f"weight{last}"],
                "last bias": drawn[f"bias{last}"],
            }
            return {name: _pad(named[name], shape) for name, shape in self.layout.shapes.items()}

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
        for channel in (*range(self.channels), GREY):
            mine = colours == channel
            longest = int(mine.sum(1).max())
            if longest == 0:
                continue
            # Runs differ in how many examples have a colour: shorter ones repeat a row that nobody reads.
            members = torch.argsort(~mine, dim=1, stable=True)[:, :longest]
            position[mine] = (start + mine.cumsum(1) - 1)[mine]
            for block in members.tensor_split(-(-longest // self.rows), dim=1):
                blocks.append((pixels[rows.gather(1, block)], channel))
            start += longest
        return Sorted(blocks, position, examples.rows.shape)

    def logits(self, parameters: Tensor, inputs: Sorted) -> Tensor:
        weights = self._weights(parameters)

        def share(thread: int) -> list[Tensor]:
            return [
                self._block(weights, *block, scratch=-1 - thread)[-1] for block in inputs.blocks[thread :: self.threads]
            ]

        shares = self._each_thread(share)
        logits = [shares[number % self.threads][number // self.threads] for number in range(len(inputs.blocks))]
        return torch.cat(logits, dim=1).gather(1, inputs.position).view(inputs.shape)

    def forward(self, parameters: Tensor, inputs: Sorted) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        weights = self._weights(parameters)
        outputs: list[list[Tensor]] = [[] for _ in inputs.blocks]

        def share(thread: int) -> None:
            for number in range(thread, len(inputs.blocks), self.threads):
                outputs[number] = self._block(weights, *inputs.blocks[number], scratch=number + 1)

        self._each_thread(share)
        logits = torch.cat([each[-1] for each in outputs], dim=1)

        def pullback(cotangent: Tensor) -> Tensor:
            sorted_cotangent = torch.zeros_like(logits).scatter_(1, inputs.position, cotangent.flatten(1))
            parts = sorted_cotangent.split([images.shape[1] for images, _ in inputs.blocks], dim=1)
            blocks = list(zip(inputs.blocks, outputs, parts, strict=True))
            shares = self._each_thread(lambda thread: self._pull_back(weights, blocks[thread :: self.threads], thread))
            return sum(shares[1:], start=shares[0])

        return logits.gather(1, inputs.position).view(inputs.shape), pullback

    def _each_thread(self, share: Callable[[int], T]) -> list[T]:
        """Each thread takes its share of the blocks, whole: it waits for the others once, not at every product."""
        return list(_threads(self.threads).map(share, range(self.threads)) if self.threads > 1 else [share(0)])

    def _weights(self, parameters: Tensor) -> dict[str, Tensor]:
        """The weights by name; `first` as (runs, channels, pixels + 1, hidden), the bias in each channel."""
        weights = self.layout.views(parameters)
        pixels, bias = weights["first"][:, :-1], weights["first"][:, -1:]
        pixels = pixels.unflatten(1, (self.channels, -1))
        bias = bias.unsqueeze(1).expand(-1, self.channels, -1, -1)
        return weights | {"first": torch.cat([pixels, bias], dim=2)}

    @staticmethod
    def _first(weights: dict[str, Tensor], channel: int) -> Tensor:
        """The first layer's weights for images of one colour: (runs, pixels + 1, hidden)."""
        return weights["first"].mean(1) if channel == GREY else weights["first"][:, channel]

    def _block(self, weights: dict[str, Tensor], images: Tensor, channel: int, scratch: int) -> list[Tensor]:
        """A block's images, outputs of its hidden layers (runs, rows, hidden), and logits (runs, rows)."""
        output = torch.bmm(images, self._first(weights, channel), out=self._buffer(images, scratch, 1))
        outputs = [images, self.activate(output)]
        for number in range(2, self.config.layers + 1):
            output = torch.bmm(outputs[-1], weights[f"weight{number}"], out=self._buffer(images, scratch, number))
            outputs.append(self.activate(output.add_(weights[f"bias{number}"])))
        return [*outputs, torch.baddbmm(weights["last bias"], outputs[-1], weights["last"]).squeeze(-1)]

    def _pull_back(
        self, weights: dict[str, Tensor], blocks: Sequence[tuple[tuple[Tensor, int], list[Tensor], Tensor]], thread: int
    ) -> Tensor:
        """The gradient from some blocks: each with its outputs and its logits' cotangent."""
        flat = torch.zeros(len(weights["last"]), self.size, device=weights["last"].device)
        gradient = self.layout.views(flat)
        first = torch.zeros_like(weights["first"])
        # The gradient at the top hidden layer is (cotangent · derivative) · last weight, the same weight in every
        # row. It is multiplied into the small matrices on either side, not into the activations.
        columns = weights["last"].mT
        top = self.config.layers
        down = {number: weights[f"weight{number}"].mT for number in range(2, top + 1)}
        if top > 1:
            down[top] = weights["last"] * down[top]
        # Backwards: what the forward pass left last is still in the cache.
        for (images, channel), layers, part in reversed(blocks):
            cotangent = part.unsqueeze(-1)
            gradient["last"].baddbmm_(layers[top].mT, cotangent)
            gradient["last bias"] += cotangent.sum(1, keepdim=True)
            flowing = self._buffer(images, "gradient", thread, top)
            self.differentiate(cotangent.expand_as(flowing), layers[top], flowing)
            for number in range(top, 1, -1):
                gradient[f"weight{number}"].baddbmm_(layers[number - 1].mT, flowing)
                gradient[f"bias{number}"] += flowing.sum(1, keepdim=True)
                below = torch.bmm(flowing, down[number], out=self._buffer(images, "gradient", thread, number - 1))
                flowing = self.differentiate(below, layers[number - 1], below)
            first[:, channel].baddbmm_(images.mT, flowing)
        if top > 1:
            gradient[f"weight{top}"] *= columns
            gradient[f"bias{top}"] *= columns
        else:
            first *= columns.unsqueeze(1)
        gradient["first"][:, :-1] = first[:, :, :-1].flatten(1, 2)
        gradient["first"][:, -1:] = first[:, :, -1:].sum(1)
        return flat

    def _buffer(self, images: Tensor, *name: object) -> Tensor:
        """(runs, rows, hidden), made once for each block and layer."""
        key = (*name, *images.shape[:2])
        if key not in self.buffers:
            self.buffers[key] = torch.empty(*images.shape[:2], self.hidden, device=images.device)
        return self.buffers[key]


@lru_cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Threads in which torch's own operations have one thread each."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def _pad(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(values, [(0, wanted - have) for have, wanted in zip(values.shape, shape, strict=True)])
