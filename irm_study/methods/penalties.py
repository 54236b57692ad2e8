"""Penalties: the invariance terms that are added to the risk, before they are weighted.

A penalty is a function of the training environments' logits and labels, both (runs, environments, examples), and
returns one number for each run, (runs,). torch differentiates it with respect to the logits alone, which costs little;
the network's own derivative follows from that gradient. What a penalty needs beside them it declares, and is given as
further arguments, through which torch differentiates as well (`Penalty.needs`). To add a penalty, write one function
and name it in `PENALTIES`. torch is imported inside functions, so that names can be checked without it.

Where a source sums over environments there is a mean here; `across = "sum"` makes sums of them, and of the risks. A
method that replaces the risk is written as what it adds to the mean risk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from irm_study.config import RunConfig

if TYPE_CHECKING:
    from torch import Tensor


Need = Literal["logits", "features", "last_weights", "gradients"]
"""logits: (runs, environments, examples), which every penalty is given. features: the last hidden layer's outputs,
(runs, environments, examples, features). last_weights: of the layer after it, (runs, features). gradients: of each
environment's risk with respect to all parameters, (runs, environments, parameters).

Where logits are enough the fast network trains; all else takes several times as long, gradients above all."""


@dataclass(frozen=True)
class Penalty:
    """function: (logits, labels, …), both (runs, environments, examples), and what is needed beside them, in the order
    in which `needs` names it → (runs,). smooth: whether it has a gradient everywhere; a maximum has none at its kink.
    """

    function: Callable[..., Tensor]
    needs: Need | tuple[Need, ...] = "logits"
    smooth: bool = True

    @property
    def beside(self) -> tuple[Need, ...]:
        """What the function takes after logits and labels."""
        named = (self.needs,) if isinstance(self.needs, str) else self.needs
        return tuple(name for name in named if name != "logits")


def needs_of(config: RunConfig) -> tuple[Need, ...]:
    """What a configuration's objective is computed from beside logits and labels."""
    bottleneck: tuple[Need, ...] = ("features",) if config.bottleneck_weight else ()
    return tuple(dict.fromkeys((*PENALTIES[config.penalty].beside, *bottleneck)))


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


def irmv1_min_max(logits: Tensor, labels: Tensor) -> Tensor:
    """The environments' squared gradients p_e extrapolated to the worst mixture of them (mm-IRMv1).

    (1 − αE) max p_e + α Σ p_e over E environments with α = −0.1: for two of them 1.1 max − 0.1 min. It is what Krueger
    et al. 2021 do to risks, done to IRMv1's terms.
    """
    each = signed_gradients(logits, labels).square()
    count, alpha = each.shape[-1], -0.1
    return (1 - alpha * count) * each.amax(-1) + alpha * each.sum(-1)


def irmv1_variance(logits: Tensor, labels: Tensor) -> Tensor:
    """(1 − β) mean + β sample variance of the environments' squared gradients, β = 0.7 (v-IRMv1)."""
    each = signed_gradients(logits, labels).square()
    return 0.3 * each.mean(-1) + 0.7 * each.var(-1, correction=1)


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


def mm_rex(logits: Tensor, labels: Tensor) -> Tensor:
    """Highest minus lowest risk of the environments (MM-REx, Krueger et al. 2021).

    That is their code's |R1 − R2|; with more environments the paper's extrapolation takes all of them.
    """
    each = risks(logits, labels)
    return each.amax(-1) - each.amin(-1)


def group_dro(logits: Tensor, labels: Tensor) -> Tensor:
    """Highest minus mean risk: with a weight of 1 the loss is the highest risk (GroupDRO, Sagawa et al. 2020).

    This is its limit of a large step: DomainBed weighs risks by a distribution that moves with training.
    """
    each = risks(logits, labels)
    return each.amax(-1) - each.mean(-1)


def spectral_decoupling(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared logit (SD, Pezeshki et al. 2021), of all environments together."""
    return logits.square().mean((-2, -1))


def clove(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared kernel calibration error (MMCE) of each environment: the mean over them.

    Over all m² pairs of an environment's m examples, the mean of (c_i − r_i)(c_j − r_j) exp(−|r_i − r_j| / 0.4), where
    r is the confidence, max(p, 1 − p), and c whether the prediction is right. Sorted by r the kernel is a product of
    exponentials, so that m log m operations do. Source: Wald et al. 2021 (CLOvE); Kumar et al. 2018 (MMCE).
    """
    from torch import take_along_dim

    width, count = 0.4, logits.shape[-1]
    confidence, order = (logits.abs().sigmoid()).sort(-1)
    right = take_along_dim(((logits > 0) == (labels > 0.5)).to(logits), order, -1)
    error, grown = right - confidence, (confidence / width).exp()
    below = (error * grown).cumsum(-1) - error * grown
    return ((error.square() + 2 * error / grown * below).sum(-1) / count**2).mean(-1)


def fishr(logits: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """Mean over environments of the squared distance of its gradients' variance from the mean variance.

    The gradients are each example's, of the last layer's weights and bias: (sigmoid(z) − y) · (features, 1). Their
    variance over examples, biased, is a number for each parameter. features: (runs, environments, examples, features).
    Source: Rame et al. 2022 (Fishr), as in their Colored MNIST, which sums over environments; DomainBed's has a moving
    average.
    """
    from torch import cat

    slope = (logits.sigmoid() - labels).unsqueeze(-1)
    weights = (slope.square() * features.square()).mean(-2) - (slope * features).mean(-2).square()
    variances = cat([weights, slope.var(-2, correction=0)], dim=-1)
    return variances.var(1, correction=0).sum(-1)


def iga(logits: Tensor, labels: Tensor, gradients: Tensor) -> Tensor:
    """Mean over environments of the squared distance of its risk's gradient from the mean gradient.

    gradients: with respect to all parameters, (runs, environments, parameters). Source: Koyama & Yamaguchi 2020 (IGA);
    RFC's code sums over environments.
    """
    return gradients.var(1, correction=0).sum(-1)


def feature_variance(features: Tensor) -> Tensor:
    """Variance of each feature over an environment's examples: its mean over features and environments, (runs,).

    features: (runs, environments, examples, features). What `bottleneck_weight` multiplies, in every epoch: with no
    penalty IB-ERM, with IRMv1 IB-IRM. Source: Ahuja et al. 2021, by its code (the paper's text has the logits).
    """
    return features.var(-2, correction=1).mean((-2, -1))


PENALTIES: dict[str, Penalty] = {
    "irmv1": Penalty(irmv1),
    "irmv1_split": Penalty(irmv1_split),
    "irmv1_min_max": Penalty(irmv1_min_max, smooth=False),
    "irmv1_variance": Penalty(irmv1_variance),
    "vrex": Penalty(vrex),
    "vrex_sample": Penalty(vrex_sample),
    "vrex_difference": Penalty(vrex_difference),
    "mm_rex": Penalty(mm_rex, smooth=False),
    "group_dro": Penalty(group_dro, smooth=False),
    "spectral_decoupling": Penalty(spectral_decoupling),
    "clove": Penalty(clove, smooth=False),
    "fishr": Penalty(fishr, needs="features"),
    "iga": Penalty(iga, needs="gradients"),
}
