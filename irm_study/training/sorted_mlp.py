"""The fast network: the full-batch MLP, near what the hardware can do.

It computes what `AutogradNetwork` computes for the same configuration, faster: examples are sorted so that little of
what is empty is multiplied (`sorted_examples`), widths are padded to the vector unit (`mlp_parameters`), threads take
blocks each and use their memory again (`workspace`), and derivatives are written out (`mlp_loops`). In bfloat16 the
factors of products are rounded: images (which lose nothing), activations, their gradients, and copies of the weights.
Losses, penalties and epochs are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from irm_study.config import RunConfig
from irm_study.data import Environments, Examples, stream
from irm_study.methods import MODELS
from irm_study.training import mlp_loops as loops
from irm_study.training.mlp_parameters import MlpParameters
from irm_study.training.sorted_examples import SortedExamples, SortedImages
from irm_study.training.workspace import BlockBuffers, Threads

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of products, by a configuration's precision. Parameters, gradients and logits are float32 in either."""


class SortedMlp:
    """The MLP on images of zero background, full batch. A `Network` of SortedExamples."""

    def __init__(self, config: RunConfig, environments: Environments):
        self.config, self.environments = config, environments
        device = environments.pixels.device
        self.dtype = DTYPES[config.precision]
        self.threads = Threads(device)
        self.images = SortedImages(environments, self.threads.count, self.dtype)
        self.arrangement = MlpParameters(config, self.images.lit, self.images.channels)
        self.layout, self.size = self.arrangement.layout, self.arrangement.layout.size
        self.buffers = BlockBuffers(config.layers, self.arrangement.hidden, self.dtype, device)
        self.run_forward, self.run_backward = loops.scripted(loops.forward), loops.scripted(loops.backward)

    def initial(self, seeds: Sequence[int]) -> Tensor:
        image = self.environments.image_shape
        drawn = [MODELS["mlp"].initial(self.config, image, stream(seed, "initialisation")) for seed in seeds]
        arranged = [self.arrangement.arrange(parameters, image[0]) for parameters in drawn]
        return self.layout.flatten(arranged, self.environments.pixels.device)

    def inputs(self, examples: Examples) -> SortedExamples:
        return self.images.sort(examples)

    def logits(self, parameters: Tensor, inputs: SortedExamples) -> Tensor:
        return self._forward(parameters, inputs, keep=False)

    def forward(self, parameters: Tensor, inputs: SortedExamples) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        logits = self._forward(parameters, inputs, keep=True)
        return logits, lambda cotangent: self._backward(parameters, inputs, cotangent)

    def computing(self) -> AbstractContextManager[None]:
        return self.threads.reserved()

    def _forward(self, parameters: Tensor, inputs: SortedExamples, keep: bool) -> Tensor:
        """Logits in the shape of the examples. keep: the outputs of each block's hidden layers stay in buffers of its
        own for `_backward`; otherwise the blocks of a thread share theirs."""
        exact, weights = self.layout.views(parameters), self.layout.views(parameters.to(self.dtype))
        first = {colour: each.to(self.dtype) for colour, each in self.arrangement.first_by_colour(parameters).items()}
        logits = parameters.new_empty(len(parameters), inputs.rows)

        def share(numbers: list[int], thread: int) -> None:
            blocks = [inputs.blocks[number] for number in numbers]
            names: list[tuple[str, int]] = [("kept", each) if keep else ("shared", thread) for each in numbers]
            images = [block.images for block in blocks]
            outputs = [
                self.buffers.hidden_layers(block.images, *name) for block, name in zip(blocks, names, strict=True)
            ]
            self.run_forward(
                images,
                self.buffers.converted(images, self.dtype, "inputs", thread),
                [first[block.channel][block.runs, : block.images.shape[2]] for block in blocks],
                [[weights[name][block.runs] for name in self.arrangement.weights] for block in blocks],
                [[weights[name][block.runs] for name in self.arrangement.biases] for block in blocks],
                [exact["last"][block.runs] for block in blocks],
                [exact["last bias"][block.runs] for block in blocks],
                outputs,
                self.buffers.converted([layers[-1] for layers in outputs], torch.float32, "wide", thread),
                [logits[block.runs, block.rows].unsqueeze(-1) for block in blocks],
                self.config.activation,
            )

        self.threads.run(share, len(inputs.blocks))
        return logits.gather(1, inputs.position).view(inputs.shape)

    def _backward(self, parameters: Tensor, inputs: SortedExamples, cotangent: Tensor) -> Tensor:
        """(runs, size) from the gradient at the logits."""
        weights = self.layout.views(parameters)
        by_row = cotangent.new_zeros(len(cotangent), inputs.rows).scatter_(1, inputs.position, cotangent.flatten(1))
        # The gradient at the top hidden layer is (cotangent · derivative) · last weight, the same weight in every row.
        # So the weight is multiplied into the small matrices before and after, and not into the activations.
        down = [weights[name].mT for name in self.arrangement.weights]
        if down:
            down[-1] = weights["last"] * down[-1]
        rounded = by_row.to(self.dtype), [matrix.to(self.dtype) for matrix in down]
        parts = self.threads.run(
            lambda numbers, thread: self._gradient_of_blocks(parameters, inputs, *rounded, numbers, thread),
            len(inputs.blocks),
        )
        flat = sum(parts[1:], start=parts[0])
        self._complete(self.layout.views(flat), weights, cotangent)
        return flat

    def _gradient_of_blocks(
        self,
        parameters: Tensor,
        inputs: SortedExamples,
        by_row: Tensor,
        down: list[Tensor],
        numbers: list[int],
        thread: int,
    ) -> Tensor:
        """What some of the blocks add to the gradient, before `_complete`: (runs, size). by_row: the cotangent."""
        blocks = [inputs.blocks[number] for number in numbers]
        images = [block.images for block in blocks]
        flat = torch.zeros_like(parameters)
        gradient, first = self.layout.views(flat), self.arrangement.new_first_gradient(parameters)
        self.run_backward(
            images,
            self.buffers.converted(images, self.dtype, "inputs", thread),
            [self.buffers.hidden_layers(inputs.blocks[number].images, "kept", number) for number in numbers],
            [by_row[block.runs, block.rows].unsqueeze(-1) for block in blocks],
            [[matrix[block.runs] for matrix in down] for block in blocks],
            [self.buffers.hidden_layers(block.images, "gradient", thread) for block in blocks],
            [first[block.runs, block.channel, : block.images.shape[2]] for block in blocks],
            [[gradient[name][block.runs] for name in self.arrangement.weights] for block in blocks],
            [[gradient[name][block.runs] for name in self.arrangement.biases] for block in blocks],
            [gradient["last"][block.runs] for block in blocks],
            self.config.activation,
        )
        self.arrangement.fill_first_gradient(gradient["first"], first)
        return flat

    def _complete(self, gradient: dict[str, Tensor], weights: dict[str, Tensor], cotangent: Tensor) -> None:
        """Of the last layer, and of the hidden layer below it, what the blocks left out; in place."""
        gradient["last bias"] += cotangent.flatten(1).sum(1)[:, None, None]
        arrangement = self.arrangement
        top = [arrangement.weights[-1], arrangement.biases[-1]] if arrangement.weights else ["first"]
        if self.config.activation == "relu":
            # ReLU's output is its input times its derivative, and its input is bias and weights times what is below.
            # Summed over examples, the last weight's gradient is therefore the sum of weight · gradient over those, and
            # no activation is read again.
            products = [(weights[name] * gradient[name]).sum(1) for name in top]
            gradient["last"] += sum(products[1:], start=products[0]).unsqueeze(-1)
        for name in top:
            gradient[name] *= weights["last"].mT
