"""What the fast network works with: threads that take blocks each, and memory that is used again in every epoch.

What is computed in them is in `sorted_mlp` and `mlp_loops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Threads:
    """As many threads as torch has on a CPU, and one on a GPU."""

    def __init__(self, device: torch.device):
        self.count = torch.get_num_threads() if device.type == "cpu" else 1

    def run(self, work: Callable[[list[int], int], T], blocks: int) -> list[T]:
        """work(numbers of the thread's blocks, number of the thread), in each thread.

        A thread has its blocks from the beginning: threads wait for each other once, and not at every product.
        """
        shares: list[list[int]] = [[] for _ in range(self.count)]
        for block in range(blocks):
            # Dealt to the threads in turn, there and back, because each block is a little wider than the one before.
            turn = block % (2 * self.count)
            shares[min(turn, 2 * self.count - 1 - turn)].append(block)
        over = _pool(self.count).map if self.count > 1 else map
        return list(over(work, shares, range(self.count)))

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """While it is entered torch computes with one thread: its own would spin between operations, on cores that
        these threads need."""
        if self.count == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self.count)


class BlockBuffers:
    """Memory for computing with blocks of examples, allocated once for each name and shape. dtype: the products'."""

    def __init__(self, layers: int, hidden: int, dtype: torch.dtype, device: torch.device):
        self.layers, self.hidden, self.dtype, self.device = layers, hidden, dtype, device
        self.buffers: dict[tuple[str | int, ...], Tensor] = {}

    def hidden_layers(self, images: Tensor, *name: str | int) -> list[Tensor]:
        """For a block's images, one for each hidden layer: (runs, rows, hidden). Blocks of one name and shape share."""
        shape = (*images.shape[:2], self.hidden)
        return [self._buffer(shape, self.dtype, *name, layer) for layer in range(self.layers)]

    def converted(self, tensors: Sequence[Tensor], dtype: torch.dtype, *name: str | int) -> list[Tensor]:
        """For each tensor one of its shape to convert it to; itself where it has the dtype. Those of one name share
        memory."""
        sizes = [each.numel() for each in tensors if each.dtype != dtype]
        if not sizes:
            return list(tensors)
        shared = self._buffer((max(sizes),), dtype, *name)
        return [each if each.dtype == dtype else shared[: each.numel()].view(each.shape) for each in tensors]

    def _buffer(self, shape: tuple[int, ...], dtype: torch.dtype, *name: str | int) -> Tensor:
        key = (*name, *shape)
        if key not in self.buffers:
            self.buffers[key] = torch.empty(shape, dtype=dtype, device=self.device)
        return self.buffers[key]


@lru_cache
def _pool(count: int) -> ThreadPoolExecutor:
    """Threads in which torch's own operations have one thread each."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
