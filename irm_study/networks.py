"""Networks ready to train: parameters of many runs as one flat tensor, logits, and the way back.

`network_for` chooses between two that compute the same. `AutogradNetwork` takes any model, paints
images as it needs them and lets torch differentiate. `SortedMlp` is the full-batch MLP at the
hardware's limit: examples sorted by colour so that the empty channel is never multiplied, and by their
rarest lit pixel so that pixels which are empty in a whole block are left out; images in bytes until
a block needs them; widths padded to the vector unit, and the `loops` written out.
Nothing here knows of losses, penalties or epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor

from irm_study import loops
from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.digits import Digits
from irm_study.environments import GREY, WHITE, Environments, Examples, paint, stream
from irm_study.models import MODELS

CHUNK = {"cpu": 100, "cuda": 16_384}
"""Examples, of all runs together, that AutogradNetwork takes at a time: on a CPU their activations stay in its cache,
on a GPU they are enough to keep it busy."""
BLOCK = 960
"""Rows of a run that SortedMlp takes at a time on a CPU, likewise; on a GPU it takes all of all runs at once."""
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

    def threads(self) -> AbstractContextManager[None]:
        """To be held by whoever computes with it: what torch does by itself takes no core that the network needs."""


def network_for(config: RunConfig, environments: Environments) -> Network:
    """The fast network where its shortcuts are exact for the configuration, else torch's own derivatives."""
    sortable = (
        config.model == "mlp"
        and config.batch_size is None
        and config.activation in loops.ACTIVATIONS
        and not environments.spec.normalise
    )
    return (SortedMlp if sortable else AutogradNetwork)(config, environments)


def runs_in_memory(config: RunConfig, digits: Digits, spec: EnvironmentSpec, device: torch.device | str) -> int:
    """How many runs train side by side in half of the memory that is free; one at least."""
    phases = digits.phases if spec.resolution == 14 else 1
    images, side = len(digits.images) * phases, spec.resolution
    batch = images if config.batch_size is None else config.batch_size * len(spec.train_flips)
    # Of each example: its image, in training also as numbers (MLP) or as the convolutions keep it, and each hidden
    # layer's output.
    maps = 100 * side * side if config.model == "convnet" else 2 * side * side
    size = images * side * side + 4 * batch * (maps + (config.layers + 1) * config.hidden)
    if torch.device(device).type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    return max(1, int(free / 2 // size))


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

    def threads(self) -> AbstractContextManager[None]:
        return nullcontext()

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
        """Each run's parameters by name → (runs, size)."""
        flat = [np.concatenate([run[name].reshape(-1) for name in self.shapes]) for run in runs]
        return torch.from_numpy(np.stack(flat)).to(device)


class Block(NamedTuple):
    """Examples of one colour, of one run on a CPU or of all runs. images: (runs, rows, 1 + pixels), uint8, a constant 1
    and the first so many pixels; the others are empty in all of them. channel: which holds them, or GREY. runs, rows:
    where they stand along the axes of all logits."""

    images: Tensor
    channel: int
    runs: slice
    rows: slice


@dataclass(frozen=True)
class Sorted:
    """Examples sorted by colour. position: (runs, examples), where each example stands among the rows of `blocks`,
    which are `rows` in all. shape: of the examples' labels."""

    blocks: list[Block]
    position: Tensor
    rows: int
    shape: torch.Size


class SortedMlp:
    """The MLP on images of zero background, full batch."""

    def __init__(self, config: RunConfig, environments: Environments):
        self.config, self.environments = config, environments
        pixels = environments.pixels.flatten(1)
        often = (pixels > 0).sum(0)
        self.lit = torch.argsort(often, descending=True, stable=True)[: int((often > 0).sum())]
        """Pixels that are not empty in every image, those of most images first."""
        # The images' first column is a constant 1, the first weight's first row its bias: of the widest layer, the bias
        # comes with the product. Elsewhere such a column would throw the rows out of the vector unit's step.
        self.images = torch.cat([pixels.new_ones(len(pixels), 1), pixels[:, self.lit]], dim=1)
        columns = torch.arange(1, self.images.shape[1] + 1, dtype=torch.int16, device=pixels.device)
        self.extent = ((self.images > 0) * columns).amax(1)
        """Columns of each image up to its rarest lit pixel: images sorted by it leave the rest of their block out."""
        self.channels = 1 if environments.spec.channels == "grey" else 2
        self.hidden = -(-config.hidden // LANES) * LANES
        shapes = {"first": (1 + self.channels * len(self.lit), self.hidden)}
        for number in range(2, config.layers + 1):
            shapes |= {f"weight{number}": (self.hidden, self.hidden), f"bias{number}": (1, self.hidden)}
        self.layout = Layout(shapes | {"last": (self.hidden, 1), "last bias": (1, 1)})
        self.size = self.layout.size
        self.on_cpu = environments.pixels.device.type == "cpu"
        self.workers = torch.get_num_threads() if self.on_cpu else 1
        self.buffers: dict[tuple, Tensor] = {}
        self.upper = [f"weight{number}" for number in range(2, config.layers + 1)]
        self.biases = [f"bias{number}" for number in range(2, config.layers + 1)]
        self.run_forward, self.run_backward = loops.scripted(loops.forward), loops.scripted(loops.backward)

    def initial(self, seeds: Sequence[int]) -> Tensor:
        image = self.environments.image_shape
        lit = self.lit.cpu().numpy()

        def arranged(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            first = drawn["weight1"].reshape(image[0], -1, self.config.hidden)[: self.channels, lit]
            last = self.config.layers + 1
            named = drawn | {
                "first": np.concatenate([drawn["bias1"], first.reshape(-1, self.config.hidden)]),
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
        extent = self.extent[rows]
        blocks: list[Block] = []
        position = torch.empty_like(rows)
        start = 0
        for channel in (*range(self.channels), GREY):
            mine = colours == channel
            longest = int(mine.sum(1).max())
            if longest == 0:
                continue
            order = torch.argsort(torch.where(mine, extent, extent + self.images.shape[1]), dim=1, stable=True)
            place = start + torch.arange(rows.shape[1], device=rows.device).expand_as(order)
            position = torch.where(mine, torch.empty_like(order).scatter_(1, order, place), position)
            # Runs differ in how many examples have a colour: shorter ones add a row that nobody reads.
            for part in order[:, :longest].tensor_split(self._parts(longest), dim=1):
                stop = start + part.shape[1]
                for runs in self._groups(len(rows)):
                    width = int(extent[runs].gather(1, part[runs]).max())
                    images = self.images[:, :width][rows[runs].gather(1, part[runs])]
                    blocks.append(Block(images, channel, runs, slice(start, stop)))
                start = stop
        return Sorted(blocks, position, start, examples.rows.shape)

    def _parts(self, rows: int) -> int:
        """Into how many blocks of nearly one size: as many for each thread."""
        return self.workers * -(-rows // (BLOCK * self.workers)) if self.on_cpu else 1

    def _groups(self, runs: int) -> list[slice]:
        """Runs whose products are taken as one: on a CPU each run alone, which leaves its cache to that one's rows."""
        return [slice(run, run + 1) for run in range(runs)] if self.on_cpu else [slice(0, runs)]

    def logits(self, parameters: Tensor, inputs: Sorted) -> Tensor:
        return self._forward(parameters, inputs, keep=False)

    def forward(self, parameters: Tensor, inputs: Sorted) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        logits = self._forward(parameters, inputs, keep=True)
        return logits, lambda cotangent: self._backward(parameters, inputs, cotangent)

    @contextmanager
    def threads(self) -> Iterator[None]:
        if self.workers == 1:
            yield
            return
        # Between blocks there is little to do, and torch's own threads would go on spinning where ours compute.
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self.workers)

    def _each_thread(self, share: Callable[[list[int], int], T], inputs: Sorted) -> list[T]:
        """Each thread takes its share of the blocks, whole: it waits for the others once, not at every product."""
        shares: list[list[int]] = [[] for _ in range(self.workers)]
        for number in range(len(inputs.blocks)):
            # Dealt to and fro, as one block is a little wider than the one before.
            turn = number % (2 * self.workers)
            shares[min(turn, 2 * self.workers - 1 - turn)].append(number)
        run = _threads(self.workers).map if self.workers > 1 else map
        return list(run(share, shares, range(self.workers)))

    def _forward(self, parameters: Tensor, inputs: Sorted, keep: bool) -> Tensor:
        """Logits, as the examples were given. The outputs of each block's hidden layers stay in its buffers for the
        way back; without `keep`, a thread's blocks share theirs."""
        weights, first = self.layout.views(parameters), self._first_weights(parameters)
        logits = parameters.new_empty(len(parameters), inputs.rows)

        def share(mine: list[int], worker: int) -> None:
            blocks = [inputs.blocks[number] for number in mine]
            self.run_forward(
                [block.images for block in blocks],
                self._inputs(blocks, worker),
                [first[block.channel][block.runs, : block.images.shape[2]] for block in blocks],
                [[weights[name][block.runs] for name in self.upper] for block in blocks],
                [[weights[name][block.runs] for name in self.biases] for block in blocks],
                [weights["last"][block.runs] for block in blocks],
                [weights["last bias"][block.runs] for block in blocks],
                [
                    self._buffers(block.images, *(("kept", number) if keep else ("shared", worker)))
                    for number, block in zip(mine, blocks, strict=True)
                ],
                [logits[block.runs, block.rows].unsqueeze(-1) for block in blocks],
                self.config.activation,
            )

        self._each_thread(share, inputs)
        return logits.gather(1, inputs.position).view(inputs.shape)

    def _backward(self, parameters: Tensor, inputs: Sorted, cotangent: Tensor) -> Tensor:
        weights = self.layout.views(parameters)
        ordered = cotangent.new_zeros(len(cotangent), inputs.rows).scatter_(1, inputs.position, cotangent.flatten(1))
        # The gradient at the top hidden layer is (cotangent · derivative) · last weight, the same weight in every row.
        # It is multiplied into the small matrices on either side, not into the activations.
        down = [weights[name].mT for name in self.upper]
        if down:
            down[-1] = weights["last"] * down[-1]

        def share(mine: list[int], worker: int) -> Tensor:
            blocks = [inputs.blocks[number] for number in mine]
            flat = torch.zeros_like(parameters)
            gradient = self.layout.views(flat)
            first = flat.new_zeros(len(flat), self.channels, 1 + len(self.lit), self.hidden)
            self.run_backward(
                [block.images for block in blocks],
                self._inputs(blocks, worker),
                [self._buffers(block.images, "kept", number) for number, block in zip(mine, blocks, strict=True)],
                [ordered[block.runs, block.rows].unsqueeze(-1) for block in blocks],
                [[matrix[block.runs] for matrix in down] for block in blocks],
                [self._buffers(block.images, "gradient", worker) for block in blocks],
                [first[block.runs, block.channel, : block.images.shape[2]] for block in blocks],
                [[gradient[name][block.runs] for name in self.upper] for block in blocks],
                [[gradient[name][block.runs] for name in self.biases] for block in blocks],
                [gradient["last"][block.runs] for block in blocks],
                self.config.activation,
            )
            gradient["first"][:, :1] = first[:, :, :1].sum(1)
            gradient["first"][:, 1:] = first[:, :, 1:].flatten(1, 2) / WHITE
            return flat

        shares = self._each_thread(share, inputs)
        flat = sum(shares[1:], start=shares[0])
        gradient = self.layout.views(flat)
        gradient["last bias"] += cotangent.flatten(1).sum(1)[:, None, None]
        top = (self.upper[-1], self.biases[-1]) if down else ("first",)
        if self.config.activation == "relu":
            # ReLU's output is its input, bias and weights, times its derivative. Summed over examples, what the last
            # weight would be told is therefore weight · gradient, and no activation is read again.
            gradient["last"] += sum((weights[name] * gradient[name]).sum(1) for name in top).unsqueeze(-1)
        for name in top:
            gradient[name] *= weights["last"].mT
        return flat

    def _first_weights(self, parameters: Tensor) -> dict[int, Tensor]:
        """The first layer's weights for the bytes of images of each colour, the bias as first row:
        (runs, 1 + pixels, hidden)."""
        first = self.layout.views(parameters)["first"]
        bias, pixels = first[:, :1], first[:, 1:]
        each = pixels.unflatten(1, (self.channels, -1)) / WHITE
        colours = {channel: each[:, channel] for channel in range(self.channels)} | {GREY: each.mean(1)}
        return {colour: torch.cat([bias, part], dim=1) for colour, part in colours.items()}

    def _buffers(self, images: Tensor, *name: object) -> list[Tensor]:
        """For each hidden layer (runs, rows, hidden), made once for each block's shape."""
        shape = (*images.shape[:2], self.hidden)
        return [self._buffer(shape, *name, layer) for layer in range(self.config.layers)]

    def _inputs(self, blocks: list[Block], worker: int) -> list[Tensor]:
        """For each block's images, in the same memory."""
        sizes = [block.images.numel() for block in blocks]
        shared = self._buffer((max(sizes, default=0),), "inputs", worker)
        return [shared[:size].view(block.images.shape) for size, block in zip(sizes, blocks, strict=True)]

    def _buffer(self, shape: Sequence[int], *name: object) -> Tensor:
        key = (*name, *shape)
        if key not in self.buffers:
            self.buffers[key] = torch.empty(shape, device=self.environments.pixels.device)
        return self.buffers[key]


@lru_cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Threads in which torch's own operations have one thread each."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def _pad(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.pad(values, [(0, wanted - have) for have, wanted in zip(values.shape, shape, strict=True)])
