"""The slow, obvious trainer: one run, one plain loop, autograd's own second derivative, torch's own Adam.

It shares with the trainer under test the drawn examples and first parameters (each tested elsewhere),
and nothing of the arithmetic: images are painted here, example by example in order, the network is
torch.nn's, the penalty is differentiated through a dummy scale as the authors write it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as nll

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.data import Digits, build_environments, stream
from irm_study.diagnosis import PROBES, QUANTITIES
from irm_study.methods import MODELS
from irm_study.training.measurement import probed

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU}


def train_reference(
    config: RunConfig, seed: int, digits: Digits, spec: EnvironmentSpec, epochs_recorded: list[int]
) -> dict[str, np.ndarray]:
    """Each quantity as (epochs recorded, environments), each probe as (epochs recorded,); no penalty weights."""
    data = build_environments(digits, spec, [seed])
    images = {}
    for number, name in enumerate(spec.train_names):
        images[name] = paint(data, spec, *(getattr(data.train, part)[0, number] for part in ("rows", "colours")))
    for name, examples in data.measured.items():
        images[name] = paint(data, spec, examples.rows[0], examples.colours[0])
    labels = {name: data.train.labels[0, number] for number, name in enumerate(spec.train_names)}
    labels |= {name: examples.labels[0] for name, examples in data.measured.items()}

    network = build_network(config, data.image_shape, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    history: dict[str, list] = {name: [] for name in (*QUANTITIES, *PROBES)}
    for epoch in range(config.epochs + 1):
        if epoch in epochs_recorded:
            for name, values in measure(network, images, labels, spec.names).items():
                history[name].append(values)
            for name, value in probe(network, data, spec, config, last=epoch == config.epochs).items():
                history[name].append(value)
        if epoch == config.epochs:
            break
        if config.reset_optimizer and epoch == config.anneal_epoch:
            optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        for batch in batches(config, spec, seed, epoch, len(labels["train1"])):
            risks, penalties, variances = [], [], []
            for name in spec.train_names:
                features = network[:-1](images[name][batch[name]])
                logits = network[-1](features).squeeze(1)
                risk, penalty = risk_and_penalty(config, logits, labels[name][batch[name]])
                if config.penalty in OF_NETWORK:
                    penalty = OF_NETWORK[config.penalty](network, features, labels[name][batch[name]], risk)
                risks.append(risk)
                penalties.append(penalty)
                variances.append(sum(feature.var() for feature in features.T) / features.shape[1])
            risk, penalty = across(config, torch.stack(risks), penalties)
            risk = risk + config.bottleneck_weight * sum(variances) / (1 if config.across == "sum" else len(variances))
            weight = penalty_weight(config, epoch)
            loss = risk + config.l2_weight * sum(p.norm().pow(2) for p in network.parameters()) + weight * penalty
            if config.rescale and weight > 1.0:
                loss = loss / weight
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {name: np.asarray(values) for name, values in history.items()}


def penalty_weight(config: RunConfig, epoch: int) -> float:
    """Written out again for the ramps that the tests train with."""
    if epoch < config.anneal_epoch:
        return config.initial_weight
    progress = min(1.0, (epoch - config.anneal_epoch + 1) / config.ramp_epochs)
    span = config.penalty_weight - config.initial_weight
    return {
        "step": config.penalty_weight,
        "linear": config.initial_weight + span * progress,
        "power": config.initial_weight + span * progress**config.ramp_exponent,
    }[config.ramp]


def risk_and_penalty(config: RunConfig, logits: torch.Tensor, labels: torch.Tensor):
    scale = torch.tensor(1.0, requires_grad=True)
    losses = nll(logits * scale, labels, reduction="none")
    if config.penalty == "irmv1":
        gradient = torch.autograd.grad(losses.mean(), scale, create_graph=True)[0]
        return losses.mean(), gradient**2
    if config.penalty == "irmv1_split":
        even = torch.autograd.grad(losses[0::2].mean(), scale, create_graph=True)[0]
        odd = torch.autograd.grad(losses[1::2].mean(), scale, create_graph=True)[0]
        return losses.mean(), even * odd
    if config.penalty in ("irmv1_min_max", "irmv1_variance"):
        gradient = torch.autograd.grad(losses.mean(), scale, create_graph=True)[0]
        return losses.mean(), gradient**2
    if config.penalty == "spectral_decoupling":
        return losses.mean(), (logits**2).mean()
    if config.penalty == "clove":
        return losses.mean(), calibration_error(logits, labels)
    return losses.mean(), losses.mean()


def calibration_error(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """CLOvE's, over all pairs of examples."""
    probability = torch.sigmoid(logits)
    confidence = torch.maximum(probability, 1 - probability)
    error = ((probability > 0.5) == (labels == 1)).float() - confidence
    kernel = torch.exp(-(confidence[:, None] - confidence[None, :]).abs() / 0.4)
    return (error[:, None] * error[None, :] * kernel).sum() / len(logits) ** 2


def last_gradients_variance(network: nn.Module, features: torch.Tensor, labels: torch.Tensor, risk: torch.Tensor):
    """Fishr's: over examples, of the gradient of each one's loss with respect to the last layer."""
    last = network[-1]

    def loss(weight, bias, feature, label):
        return nll(nn.functional.linear(feature, weight, bias).squeeze(), label)

    of_each = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, None, 0, 0))
    gradients = torch.cat([each.flatten(1) for each in of_each(last.weight, last.bias, features, labels)], dim=1)
    return ((gradients - gradients.mean(0)) ** 2).mean(0)


def all_gradients(network: nn.Module, features: torch.Tensor, labels: torch.Tensor, risk: torch.Tensor):
    """IGA's: of the environment's risk with respect to every parameter."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(risk, list(network.parameters()), create_graph=True)])


OF_NETWORK = {"fishr": last_gradients_variance, "iga": all_gradients}
"""What a penalty compares between environments that is not a function of logits."""


def across(config: RunConfig, risks: torch.Tensor, penalties: list[torch.Tensor]):
    times = len(risks) if config.across == "sum" else 1
    return times * risks.mean(), times * ACROSS[config.penalty](risks, torch.stack(penalties))


def squares(risks: torch.Tensor) -> torch.Tensor:
    return sum((risk - risks.mean()) ** 2 for risk in risks)


def distances(vectors: torch.Tensor) -> torch.Tensor:
    return sum(((vector - sum(vectors) / len(vectors)) ** 2).sum() for vector in vectors) / len(vectors)


ACROSS = {
    "irmv1": lambda risks, each: each.mean(),
    "irmv1_split": lambda risks, each: each.mean(),
    "vrex": lambda risks, each: squares(risks) / len(risks),
    "vrex_sample": lambda risks, each: squares(risks) / (len(risks) - 1),
    "vrex_difference": lambda risks, each: sum((a - b) ** 2 for i, a in enumerate(risks) for b in risks[:i]),
    "irmv1_min_max": lambda risks, each: (1 + 0.1 * len(each)) * max(each) - 0.1 * sum(each),
    "irmv1_variance": lambda risks, each: 0.3 * each.mean() + 0.7 * squares(each) / (len(each) - 1),
    "mm_rex": lambda risks, each: max(risks) - min(risks),
    "group_dro": lambda risks, each: max(risks) - risks.mean(),
    "spectral_decoupling": lambda risks, each: each.mean(),
    "clove": lambda risks, each: each.mean(),
    "fishr": lambda risks, each: distances(each),
    "iga": lambda risks, each: distances(each),
}
"""Every penalty once more, plainly: from the environments' risks and what `risk_and_penalty` gives for each of them."""


def paint(data, spec: EnvironmentSpec, rows: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    grey = data.pixels[rows] / 255
    channels = {"grey": 1, "two": 2, "rgb": 3}[spec.channels]
    images = torch.zeros(len(rows), channels, *grey.shape[1:])
    for example, colour in enumerate(colours.tolist()):
        images[example, 0 if channels == 1 else colour] = grey[example]
    if spec.normalise:
        for channel in range(channels):
            images[:, channel] = (images[:, channel] - (0.0 if channel == 2 else 0.1307)) / 0.3081
    return images


def batches(config: RunConfig, spec: EnvironmentSpec, seed: int, epoch: int, count: int):
    if config.batch_size is None:
        yield dict.fromkeys(spec.train_names, slice(None))
        return
    orders = {
        name: torch.from_numpy(stream(seed, f"batches, {epoch}, {number}").permutation(count))
        for number, name in enumerate(spec.train_names)
    }
    size = min(config.batch_size, count)
    for start in range(0, count - size + 1, size):
        yield {name: order[start : start + size] for name, order in orders.items()}


def build_network(config: RunConfig, image: tuple[int, int, int], seed: int) -> nn.Module:
    drawn = MODELS[config.model].initial(config, image, stream(seed, "initialisation"))
    activation = ACTIVATIONS[config.activation]
    layers: list[nn.Module] = []
    for number in (1, 2) if config.model == "convnet" else ():
        kernel = drawn[f"kernel{number}"]
        convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 5)
        _set(convolution, kernel, drawn[f"offset{number}"])
        layers += [convolution, activation(), nn.MaxPool2d(2)]
    layers.append(nn.Flatten())
    for number in range(1, config.layers + 2):
        weight = drawn[f"weight{number}"]
        linear = nn.Linear(*weight.shape)
        _set(linear, weight.T, drawn[f"bias{number}"][0])
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1])


def measure(network: nn.Module, images: dict, labels: dict, names: tuple[str, ...]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {name: [] for name in ("nll", "accuracy", "gradient", "spread", "positive_share")}
    for name in names:
        scale = torch.tensor(1.0, requires_grad=True)
        logits = network(images[name]).squeeze(1)
        risk = nll(logits * scale, labels[name])
        values["nll"].append(risk.item())
        values["accuracy"].append(((logits > 0) == (labels[name] == 1)).double().mean().item())
        values["gradient"].append(torch.autograd.grad(risk, scale)[0].item())
        values["spread"].append(logits.std().item())
        values["positive_share"].append((logits > 0).double().mean().item())
    return values


def probe(network: nn.Module, data, spec: EnvironmentSpec, config: RunConfig, last: bool) -> dict[str, float]:
    """What becomes of the answers when training images are recoloured: of some, at the last epoch of all."""
    found = {"grey_accuracy": [], "swapped_accuracy": [], "swap_share": []}
    for number in range(len(spec.train_names)):
        count = data.train.rows.shape[2]
        at = np.arange(count) if last else probed(config, count)
        rows, labels, colours = (getattr(data.train, part)[0, number, at] for part in ("rows", "labels", "colours"))
        seen, other = paint(data, spec, rows, colours), paint(data, spec, rows, 1 - colours)
        as_is, swapped, grey = (network(images).squeeze(1) > 0 for images in (seen, other, (seen + other) / 2))
        found["grey_accuracy"] += (grey == (labels == 1)).tolist()
        found["swapped_accuracy"] += (swapped == (labels == 1)).tolist()
        found["swap_share"] += (swapped != as_is).tolist()
    return {name: float(np.mean(values)) for name, values in found.items()}


def _set(layer: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        layer.bias.copy_(torch.from_numpy(bias))
