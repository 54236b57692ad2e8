"""Networks ready to train: what training asks of them, and the one that takes any model.

The parameters of several runs are one flat tensor, (runs, size). `network_for` chooses between two networks that
compute the same: `AutogradNetwork`, here, takes any model, paints images as it needs them and lets torch differentiate;
`SortedMlp` is fast and takes the full-batch MLP. Losses, penalties and epochs are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from irm_study.config import RunConfig
from irm_study.data import Environments, Examples, paint, stream
from irm_study.methods import MODELS
from irm_study.training import mlp_loops as loops
from irm_study.training.layout import Layout
from irm_study.training.sorted_mlp import SortedMlp

Inputs = TypeVar("Inputs")

CHUNK = {"cpu": 100, "cuda": 16_384}
"""Examples, of all runs together, that AutogradNetwork takes at a time: on a CPU their activations stay in its cache,
on a GPU they are enough to keep it busy."""


class Network(Protocol[Inputs]):
    """What training asks of a network. `parameters` and gradients are (runs, size), float32."""

    size: int

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """The first parameters of a run of each seed: (runs, size)."""

    def inputs(self, examples: Examples) -> Inputs:
        """Examples in the network's own form, for `logits` and `forward`."""

    def logits(self, parameters: Tensor, inputs: Inputs) -> Tensor:
        """(runs, …, examples), the shape of the examples."""

    def forward(self, parameters: Tensor, inputs: Inputs) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The logits and the pullback, a function: the gradient of a number with respect to the logits → that with
        respect to the parameters. It is called once, before the next `forward`."""

    def computing(self) -> AbstractContextManager[None]:
        """To be entered while computing with the network: torch's own threads then take no core that it needs."""


def network_for(config: RunConfig, environments: Environments) -> Network[Any]:
    """The fast network where its shortcuts are exact for the configuration, else the one that torch differentiates."""
    sortable = (
        config.model == "mlp"
        and config.batch_size is None
        and config.activation in loops.ACTIVATIONS
        and not environments.spec.normalise
    )
    return SortedMlp(config, environments) if sortable else AutogradNetwork(config, environments)


class AutogradNetwork:
    """Any model, differentiated by torch. A `Network` of Examples."""

    def __init__(self, config: RunConfig, environments: Environments):
        self.config, self.environments = config, environments
        self.model = MODELS[config.model]
        shapes = self.model.initial(config, environments.image_shape, np.random.default_rng(0))
        self.layout = Layout({name: value.shape for name, value in shapes.items()})
        self.size = self.layout.size

    def initial(self, seeds: Sequence[int]) -> Tensor:
        image = self.environments.image_shape
        drawn = [self.model.initial(self.config, image, stream(seed, "initialisation")) for seed in seeds]
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
            parts = torch.split(cotangent.flatten(1), [chunk.shape[1] for chunk in chunks], dim=1)
            gradients = torch.autograd.grad(chunks, list(leaves.values()), parts)
            return torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

        return torch.cat([chunk.detach() for chunk in chunks], dim=1).view(inputs.rows.shape), pullback

    def computing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _chunks(self, parameters: dict[str, Tensor], examples: Examples) -> list[Tensor]:
        """The logits of as many examples at a time as CHUNK says, (runs, examples of the chunk) each."""
        size = max(1, CHUNK.get(examples.rows.device.type, CHUNK["cuda"]) // len(examples.rows))
        flat = [part.flatten(1) for part in (examples.rows, examples.labels, examples.colours)]
        parts = [torch.split(part, size, dim=1) for part in flat]
        return [
            self.model.logits(self.config, parameters, paint(self.environments, Examples(*chunk)))
            for chunk in zip(*parts, strict=True)
        ]
