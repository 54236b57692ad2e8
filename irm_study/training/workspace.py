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
    """Memory for computing with blocks of examples, float32, allocated once for each name and shape."""

    def __init__(self, layers: int, hidden: int, device: torch.device):
        self.layers, self.hidden, self.device = layers, hidden, device
        self.buffers: dict[tuple[str | int, ...], Tensor] = {}

    def hidden_layers(self, images: Tensor, *name: str | int) -> list[Tensor]:
        """For a block's images, one for each hidden layer: (runs, rows, hidden). Blocks of one name and shape share."""
        shape = (*images.shape[:2], self.hidden)
        return [self._buffer(shape, *name, layer) for layer in range(self.layers)]

    def inputs(self, images: Sequence[Tensor], thread: int) -> list[Tensor]:
        """For each block's images a tensor of their shape; all of a thread's lie in the same memory."""
        sizes = [each.numel() for each in images]
        shared = self._buffer((max(sizes, default=0),), "inputs", thread)
        return [shared[:size].view(each.shape) for size, each in zip(sizes, images, strict=True)]

    def _buffer(self, shape: tuple[int, ...], *name: str | int) -> Tensor:
        key = (*name, *shape)
        if key not in self.buffers:
            self.buffers[key] = torch.empty(shape, device=self.device)
        return self.buffers[key]


@lru_cache
def _pool(count: int) -> ThreadPoolExecutor:
    """Threads in which torch's own operations have one thread each."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
