"""Penalties: the invariance terms that are added to the risk, before they are weighted.

A penalty is a function of the training environments' logits and labels, both (runs, environments, examples), and
returns one number for each run, (runs,). torch differentiates it with respect to the logits alone, which costs little;
the network's own derivative follows from that gradient. To add a penalty, write one function and name it in
`PENALTIES`. torch is imported inside functions, so that names can be checked without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Penalty:
    """function: (logits, labels), both (runs, environments, examples) → (runs,).

    needs: what of the network the penalty is computed from; `logits`: its outputs alone.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    needs: Literal["logits"] = "logits"


def risks(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of each environment, in nats: (runs, environments)."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(-1)


def signed_gradients(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of each environment's risk with respect to a scale of 1 on its logits: (…, environments).

    With the logistic loss it is mean((sigmoid(z) - y) * z), so that a penalty on it needs no second derivative.
    """
    return ((logits.sigmoid() - labels) * logits).mean(-1)


def irmv1(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared gradient of each environment's risk with respect to a scale of 1 on its logits.

    logits, labels: (runs, environments, examples). Returns (runs,): the mean over environments.
    Source: Arjovsky et al. 2019, section 3.1 (IRMv1).
    """
    return signed_gradients(logits, labels).square().mean(-1)


def irmv1_split(logits: Tensor, labels: Tensor) -> Tensor:
    """Product of the gradients of even and of odd examples: unbiased in small batches.

    Returns (runs,): the mean over environments; may be negative. Source: Arjovsky et al. 2019,
    appendix D; used by reiinakano and DomainBed.
    """
    even = signed_gradients(logits[..., 0::2], labels[..., 0::2])
    odd = signed_gradients(logits[..., 1::2], labels[..., 1::2])
    return (even * odd).mean(-1)


def vrex(logits: Tensor, labels: Tensor) -> Tensor:
    """Population variance of the environments' risks (V-REx, Krueger et al. 2021, as in DomainBed)."""
    return risks(logits, labels).var(-1, correction=0)


def vrex_sample(logits: Tensor, labels: Tensor) -> Tensor:
    """Sample variance of the environments' risks: twice `vrex` for two environments."""
    return risks(logits, labels).var(-1, correction=1)


def vrex_difference(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared difference of the risks, summed over pairs of environments: four times `vrex` for two.

    This is what capybaralet/REx_code_release computes.
    """
    return vrex(logits, labels) * logits.shape[1] ** 2


PENALTIES: dict[str, Penalty] = {
    "irmv1": Penalty(irmv1),
    "irmv1_split": Penalty(irmv1_split),
    "vrex": Penalty(vrex),
    "vrex_sample": Penalty(vrex_sample),
    "vrex_difference": Penalty(vrex_difference),
}
