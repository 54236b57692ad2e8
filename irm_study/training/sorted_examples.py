"""Examples sorted for the fast network, so that it multiplies little of what is empty.

Examples are sorted by colour, because the channel of the other colour is empty; then by their rarest lit pixel, because
examples that are cut into blocks in that order leave out the pixels that are empty in a whole block. Images stay in
bytes: a quarter of what they take in float32. What is computed with the blocks is in `sorted_mlp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from irm_study.data import GREY, Environments, Examples

BLOCK_ROWS = {torch.float32: 960, torch.bfloat16: 2000}
"""By the products' precision: examples of a run in a block, at most, on a CPU; on a GPU a block has all examples of a
colour of all runs."""
COLUMNS = {torch.float32: 1, torch.bfloat16: 8}
"""By the products' precision: how many pixels more or less a block can have. For each shape that it meets the library
that multiplies bfloat16 makes a program of its own, so shapes are few."""


class Block(NamedTuple):
    """Examples of one colour, of one run on a CPU and of all runs on a GPU.

    images: (runs, rows, 1 + pixels), uint8 or bfloat16, which has every byte: a constant 1, then the first pixels of
    `SortedImages.lit`; the pixels after them are empty in all images of the block. channel: the one that holds the
    images, or GREY. runs, rows: where the block lies along the two axes of the logits of all blocks.
    """

    images: Tensor
    channel: int
    runs: slice
    rows: slice


@dataclass(frozen=True)
class SortedExamples:
    """blocks: they cover `rows` rows. position: (runs, examples), the row of each example. shape: that of the examples'
    labels."""

    blocks: list[Block]
    position: Tensor
    rows: int
    shape: torch.Size


class SortedImages:
    """The images of some environments with their pixels in the order in which blocks leave them out.

    threads: how many will take blocks each. dtype: the products'. lit: the pixels that are lit in some image, those lit
    in most images first. channels: in how many an image may lie: one in grey, else two.
    """

    def __init__(self, environments: Environments, threads: int, dtype: torch.dtype):
        pixels = environments.pixels.flatten(1)
        self.on_cpu = pixels.device.type == "cpu"
        self.threads, self.dtype = threads, dtype
        self.channels = 1 if environments.spec.channels == "grey" else 2
        often = (pixels > 0).sum(0)
        self.lit = torch.argsort(often, descending=True, stable=True)[: int((often > 0).sum())]
        # The first layer is the widest, and its bias comes with its product: the first column of the images is a
        # constant 1, for which the bias is the weight. In other layers such a column would break the alignment of the
        # rows.
        self.images = torch.cat([pixels.new_ones(len(pixels), 1), pixels[:, self.lit]], dim=1)
        columns = torch.arange(1, self.images.shape[1] + 1, dtype=torch.int16, device=pixels.device)
        # How many columns each image has, up to its rarest lit pixel.
        self.extent = ((self.images > 0) * columns).amax(1)

    def sort(self, examples: Examples) -> SortedExamples:
        """Examples in blocks, each of one colour and of images that need about as many pixels."""
        rows, colours = examples.rows.flatten(1), examples.colours.flatten(1)
        if self.channels == 1:
            colours = torch.zeros_like(colours)
        extent = self.extent[rows]
        blocks: list[Block] = []
        position = torch.empty_like(rows)
        start = 0
        for channel in (*range(self.channels), GREY):
            chosen = colours == channel
            longest = int(chosen.sum(1).max())
            if longest == 0:
                continue
            order = torch.argsort(torch.where(chosen, extent, extent + self.images.shape[1]), dim=1, stable=True)
            place = start + torch.arange(rows.shape[1], device=rows.device).expand_as(order)
            position = torch.where(chosen, torch.empty_like(order).scatter_(1, order, place), position)
            # Runs differ in how many examples have a colour: those with fewer get rows that nobody reads.
            for part in torch.tensor_split(order[:, :longest], self._parts(longest), dim=1):
                stop = start + part.shape[1]
                for runs in self._groups(len(rows)):
                    columns = COLUMNS[self.dtype]
                    width = -(-int(extent[runs].gather(1, part[runs]).max()) // columns) * columns
                    images = self.images[:, :width][rows[runs].gather(1, part[runs])]
                    if self.dtype == torch.bfloat16:  # converted once, at twice the memory of bytes
                        images = images.to(self.dtype)
                    blocks.append(Block(images, channel, runs, slice(start, stop)))
                start = stop
        return SortedExamples(blocks, position, start, examples.rows.shape)

    def _parts(self, rows: int) -> int:
        """Into how many blocks of nearly one size rows are cut: as many for each thread."""
        return self.threads * -(-rows // (BLOCK_ROWS[self.dtype] * self.threads)) if self.on_cpu else 1

    def _groups(self, runs: int) -> list[slice]:
        """Runs that are in a block together: on a CPU one run, so that the cache holds the rows of that one alone."""
        return [slice(run, run + 1) for run in range(runs)] if self.on_cpu else [slice(0, runs)]
