"""Networks ready to train: what training asks of them, and the one that takes any model.

The parameters of several runs are one flat tensor, (runs, size). `network_for` chooses between two networks that
compute the same: `AutogradNetwork`, here, takes any model, paints images as it needs them and lets torch differentiate;
`SortedMlp` is fast and takes the full-batch MLP. Losses, penalties and epochs are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from irm_study.config import RunConfig, takes_fast_network
from irm_study.data import Environments, Examples, paint, stream
from irm_study.methods import MODELS, last_layer, logits_of, needs_of, risks
from irm_study.training.layout import Layout
from irm_study.training.sorted_mlp import SortedMlp

Inputs = TypeVar("Inputs")
Outputs = Mapping[str, Tensor]
"""What an objective is computed from: `logits`, and what its penalty needs beside them (`methods.NEEDS`)."""
Pullback = Callable[[Outputs], Tensor]
"""The gradient of a number with respect to outputs → that with respect to the parameters."""

CHUNK = {"cpu": 100, "cuda": 16_384}
"""Examples, of all runs together, that AutogradNetwork takes at a time: on a CPU their activations stay in its cache,
on a GPU they are enough to keep it busy."""
FEATURES_CHUNK = 4
"""Times as many where more than logits is needed: more operations follow each product, and fewer of them win."""


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
    if takes_fast_network(environments.spec, config):
        return SortedMlp(config, environments)
    return AutogradNetwork(config, environments)


def outputs_of(network: Network[Inputs], parameters: Tensor, inputs: Inputs) -> tuple[Outputs, Pullback]:
    """What the objective of the network's configuration is computed from, and its pullback; called as `forward` is."""
    if isinstance(network, AutogradNetwork) and isinstance(inputs, Examples):
        return network.outputs(parameters, inputs, needs_of(network.config))
    logits, pullback = network.forward(parameters, inputs)
    return {"logits": logits}, lambda gradient: pullback(gradient["logits"])


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
            chunks = self._chunks(self.layout.views(parameters), inputs)
            return torch.cat([logits for logits, _ in chunks], dim=1).view(inputs.rows.shape)

    def forward(self, parameters: Tensor, inputs: Examples) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        outputs, pullback = self.outputs(parameters, inputs, ())
        return outputs["logits"], lambda cotangent: pullback({"logits": cotangent})

    def outputs(self, parameters: Tensor, inputs: Examples, needed: Collection[str]) -> tuple[Outputs, Pullback]:
        """The logits and what is needed beside them, by name, and their pullback; as `forward` is called.

        inputs: (runs, environments, examples). needed: of `methods.NEEDS`.
        """
        leaves = {name: view.detach().requires_grad_() for name, view in self.layout.views(parameters).items()}
        # No chunk has examples of two environments where each environment's risk is differentiated by itself.
        apart = [inputs.take_environments([number]) for number in range(inputs.rows.shape[1])]
        grouped = [self._chunks(leaves, each) for each in (apart if "gradients" in needed else [inputs])]
        chunks = [chunk for group in grouped for chunk in group]
        parts = {"logits": [logits for logits, _ in chunks]}
        if "features" in needed:
            parts["features"] = [features for _, features in chunks]
        if "last_weights" in needed:
            parts["last_weights"] = [last_layer(self.config, leaves)[0].squeeze(-1)]
        if "gradients" in needed:
            logits = [torch.cat([each for each, _ in group], dim=1) for group in grouped]
            parts["gradients"] = [_risk_gradients(logits, inputs.labels, list(leaves.values()))]
        shapes = {"logits": inputs.rows.shape, "features": (*inputs.rows.shape, -1)}
        whole = {name: torch.cat([part.detach() for part in each], dim=1) for name, each in parts.items()}
        outputs = {name: tensor.view(shapes.get(name, tensor.shape)) for name, tensor in whole.items()}

        def pullback(cotangents: Outputs) -> Tensor:
            given: list[Tensor] = []
            for name, each in parts.items():
                cotangent = cotangents[name].flatten(1, 2) if name in shapes else cotangents[name]
                given += torch.split(cotangent, [part.shape[1] for part in each], dim=1)
            every = [part for each in parts.values() for part in each]
            gradients = torch.autograd.grad(every, list(leaves.values()), given)
            return torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

        return outputs, pullback

    def computing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _chunks(self, parameters: dict[str, Tensor], examples: Examples) -> list[tuple[Tensor, Tensor]]:
        """Of as many examples at a time as CHUNK says: the logits, (runs, examples of the chunk), and the features,
        (runs, examples of the chunk, features)."""
        most = CHUNK.get(examples.rows.device.type, CHUNK["cuda"]) * (FEATURES_CHUNK if needs_of(self.config) else 1)
        size = max(1, most // len(examples.rows))
        flat = [part.flatten(1) for part in (examples.rows, examples.labels, examples.colours)]
        parts = [torch.split(part, size, dim=1) for part in flat]
        chunks = []
        for chunk in zip(*parts, strict=True):
            features = self.model.features(self.config, parameters, paint(self.environments, Examples(*chunk)))
            chunks.append((logits_of(self.config, parameters, features), features))
        return chunks


def _risk_gradients(logits: Sequence[Tensor], labels: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """Of each environment's risk with respect to all parameters, (runs, environments, parameters); differentiable.

    logits: of each environment, (runs, examples). labels: (runs, environments, examples). leaves: the parameters,
    (runs, …) each.
    """
    each = []
    for number, own in enumerate(logits):
        risk = risks(own, labels[:, number]).sum()
        gradients = torch.autograd.grad(risk, leaves, create_graph=True)
        each.append(torch.cat([gradient.flatten(1) for gradient in gradients], dim=1))
    return torch.stack(each, dim=1)
