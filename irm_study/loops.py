"""The MLP's loops over blocks of examples: products and activations in buffers made once, derivatives written out.

Plain functions of tensors, which TorchScript runs as well. Threads that take blocks each would otherwise wait for one
another at every operation, because Python runs in one thread at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

ACTIVATIONS = ("relu", "tanh")
"""Those whose gradient follows from their output. All map 0 to 0, which keeps padded units silent."""


def activate(values: Tensor, activation: str) -> Tensor:
    """In place."""
    if activation == "relu":
        return torch.relu_(values)
    return torch.tanh_(values)


def differentiate(gradient: Tensor, output: Tensor, out: Tensor, activation: str) -> Tensor:
    """The gradient at an activation's input, from that at its output and the output; into `out`."""
    if activation == "relu":
        return torch.ops.aten.threshold_backward(gradient, output, 0, grad_input=out)
    return torch.ops.aten.tanh_backward(gradient, output, grad_input=out)


def forward(
    images: list[Tensor],
    inputs: list[Tensor],
    first: list[Tensor],
    hidden: list[list[Tensor]],
    biases: list[list[Tensor]],
    last: list[Tensor],
    last_bias: list[Tensor],
    outputs: list[list[Tensor]],
    logits: list[Tensor],
    activation: str,
) -> None:
    """Fill each block's `outputs` of its hidden layers, (runs, rows, hidden) each, and its `logits`, (runs, rows, 1).

    All lists have an entry for each block. images: (runs, rows, 1 + pixels), uint8: a quarter of what float32 takes to
    come from memory. inputs: the same shape in float32; overwritten. first: the first layer's weights for them,
    (runs, 1 + pixels, hidden). hidden: the other layers' weights, (runs, hidden, hidden); biases: (runs, 1, hidden).
    last: (runs, hidden, 1); last_bias: (runs, 1, 1).
    """
    for block in range(len(images)):
        shown = inputs[block].copy_(images[block])
        flowing = activate(torch.bmm(shown, first[block], out=outputs[block][0]), activation)
        for layer in range(len(hidden[block])):
            product = torch.baddbmm(biases[block][layer], flowing, hidden[block][layer], out=outputs[block][layer + 1])
            flowing = activate(product, activation)
        torch.baddbmm(last_bias[block], flowing, last[block], out=logits[block])


def backward(
    images: list[Tensor],
    inputs: list[Tensor],
    outputs: list[list[Tensor]],
    cotangents: list[Tensor],
    down: list[list[Tensor]],
    buffers: list[list[Tensor]],
    first: list[Tensor],
    hidden: list[list[Tensor]],
    biases: list[list[Tensor]],
    last: list[Tensor],
    activation: str,
) -> None:
    """Add each block's gradients to `first`, `hidden`, `biases` and `last`, shaped as what `forward` takes; with ReLU
    not to `last`, whose gradient follows from the others.

    cotangents: at the logits, (runs, rows, 1). down: of each layer but the first, the matrix that leads a gradient to
    the layer below, (runs, hidden, hidden). buffers: as outputs; overwritten.
    """
    for before in range(len(images)):
        block = len(images) - 1 - before  # backwards: what the forward pass left last is still in the cache
        layers, spare = outputs[block], buffers[block]
        top = len(layers) - 1
        if activation != "relu":
            # A matrix product with a single column takes twice the time of this.
            last[block].add_(torch.mul(layers[top], cotangents[block], out=spare[top]).sum([1]).unsqueeze(-1))
        flowing = differentiate(cotangents[block].expand_as(layers[top]), layers[top], spare[top], activation)
        for layer in range(top, 0, -1):
            hidden[block][layer - 1].baddbmm_(layers[layer - 1].mT, flowing)
            biases[block][layer - 1].add_(flowing.sum([1], keepdim=True))
            below = torch.bmm(flowing, down[block][layer - 1], out=spare[layer - 1])
            flowing = differentiate(below, layers[layer - 1], below, activation)
        first[block].baddbmm_(inputs[block].copy_(images[block]).mT, flowing)


@lru_cache
def scripted(function: Callable) -> Callable:
    """The same function as TorchScript runs it. torch calls that deprecated; where it is gone, Python runs it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.script(function)
    except (AttributeError, RuntimeError):
        return function
