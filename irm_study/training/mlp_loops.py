"""The fast network's loops over blocks of examples: products, activations and their derivatives, written out.

Plain functions of tensors, so that TorchScript can run them as well: Python runs in one thread at a time, and threads
that take blocks each would wait for one another at every operation. Where the tensors come from is in `sorted_mlp`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


def activate(values: Tensor, activation: str) -> Tensor:
    """The activation of `values`, in place: one of FAST_ACTIVATIONS."""
    if activation == "relu":
        return torch.relu_(values)
    return torch.tanh_(values)


def differentiate(gradient: Tensor, output: Tensor, out: Tensor, activation: str) -> Tensor:
    """The gradient at an activation's input, given the gradient at its output and the output; written to `out`."""
    if activation == "relu":
        torch.ops.aten.threshold_backward(gradient, output, 0, grad_input=out)
    else:
        torch.ops.aten.tanh_backward(gradient, output, grad_input=out)
    return out


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the product of two matrices, each of several runs, to a float32 total; in place.

    A product in bfloat16 sums in float32 and is rounded once, when it is done; the sum of products is not rounded.
    """
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total.add_(torch.bmm(left, right))


def forward(
    images: list[Tensor],
    inputs: list[Tensor],
    first: list[Tensor],
    hidden: list[list[Tensor]],
    biases: list[list[Tensor]],
    last: list[Tensor],
    last_bias: list[Tensor],
    outputs: list[list[Tensor]],
    wide: list[Tensor],
    logits: list[Tensor],
    activation: str,
) -> None:
    """Fill each block's `outputs` of its hidden layers, (runs, rows, hidden) each, and its `logits`, (runs, rows, 1).

    All lists have an entry for each block; numbers are of the products' precision, but for wide, last, last_bias and
    logits, which are float32. images: (runs, rows, 1 + pixels). inputs: what they are copied to, in the products'
    precision; the images themselves where they have it. first: the first layer's weights for the block's pixels, (runs,
    1 + pixels, hidden). hidden: the other layers' weights, (runs, hidden, hidden); biases: (runs, 1, hidden). wide:
    what the last of `outputs` is copied to; itself where it is float32. last: (runs, hidden, 1); last_bias: (runs, 1,
    1).
    """
    for block in range(len(images)):
        shown = inputs[block].copy_(images[block])
        flowing = activate(torch.bmm(shown, first[block], out=outputs[block][0]), activation)
        for layer in range(len(hidden[block])):
            product = torch.baddbmm(biases[block][layer], flowing, hidden[block][layer], out=outputs[block][layer + 1])
            flowing = activate(product, activation)
        torch.baddbmm(last_bias[block], wide[block].copy_(flowing), last[block], out=logits[block])


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
    """Add each block's gradients to `first`, `hidden`, `biases` and `last`, which have the shapes that `forward` takes,
    and are float32.

    With ReLU nothing is added to `last`, whose gradient follows from the others. outputs: as `forward` filled them.
    cotangents: the gradients at the logits, (runs, rows, 1). down: for each hidden layer but the first, the matrix that
    a gradient is multiplied with to reach the layer below, (runs, hidden, hidden). buffers: shaped as outputs;
    overwritten.
    """
    for before in range(len(images)):
        block = len(images) - 1 - before  # backwards: the cache still holds what the forward pass wrote last
        layers, spare = outputs[block], buffers[block]
        top = len(layers) - 1
        if activation != "relu":
            # A matrix product with a single column takes twice as long.
            moved = torch.mul(layers[top], cotangents[block], out=spare[top])
            last[block].add_(moved.sum([1], dtype=torch.float32).unsqueeze(-1))
        flowing = differentiate(cotangents[block].expand_as(layers[top]), layers[top], spare[top], activation)
        for layer in range(top, 0, -1):
            add_product(hidden[block][layer - 1], layers[layer - 1].mT, flowing)
            biases[block][layer - 1].add_(flowing.sum([1], keepdim=True))
            below = torch.bmm(flowing, down[block][layer - 1], out=spare[layer - 1])
            flowing = differentiate(below, layers[layer - 1], below, activation)
        add_product(first[block], inputs[block].copy_(images[block]).mT, flowing)


@lru_cache
def scripted(function: Callable[..., None]) -> Callable[..., None]:
    """The function compiled by TorchScript. torch calls that deprecated; where it is gone, Python runs the function."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled: Callable[..., None] = torch.jit.script(function)
            return compiled
    except (AttributeError, RuntimeError):
        return function


def compiled_loops() -> bool:
    """Whether the loops run compiled, and not by Python."""
    return scripted(forward) is not forward
