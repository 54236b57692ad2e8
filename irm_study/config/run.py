"""One configuration and its environments: keys, defaults, and the rules that hold between keys.

Every table is one frozen model, and a key that is left out has the default given there. The study around a
configuration is in `study`, files are read and written in `toml`, and which keys of a configuration have an effect is
in `effect`. Names of things that come in kinds (ramps, penalties, models, …) are checked by `kinds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from irm_study.config.kinds import kind
from irm_study.config.precision import needs_fast_network
from irm_study.config.validation import Section, check_kind, shown

FROM_ANNEAL = ("penalty_weight", "anneal_epoch", "ramp", "ramp_epochs", "ramp_exponent", "reset_optimizer")
"""Hyperparameters that matter from the anneal epoch on: runs that differ in no others share the epochs before."""
DigitsName = Literal["embedded", "mnist", "fashion-mnist", "kmnist"]


Flip = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


LARGEST_WHOLE = 2**31 - 1
"""Of whole numbers without a limit of their own; samplers compute with them as double-precision numbers."""
NEEDED_KEYS: dict[str | None, str] = {
    "validation": "validation_flip",
    "heldout": "heldout_examples",
    "unseen": "unseen_examples",
}
"""What [environments] must set for a criterion or stopping rule, by what it sees."""
NEAREST_FLIP = 0.1
"""Between an environment that judges and the mean of the training ones: accuracy is extrapolated over the distance."""


Accuracy = Annotated[float, Field(gt=0.5, lt=1)]


class Target(Section):
    """What is called success: the accuracies that a run must reach, fractions. Left out: what follows from the label
    noise (`diagnosis.reference_levels`), .70 and .60 for the authors' environments."""

    train: Accuracy | None = None
    """Of every training environment."""
    test: Accuracy | None = None
    """Under the reversed colour."""
    min: Accuracy | None = None
    """In place of both: the lowest of them all, as the authors chose their hyperparameters by."""

    @model_validator(mode="after")
    def one_way(self) -> Target:
        if self.min is not None and (self.train is not None or self.test is not None):
            raise ValueError("takes min, or train and test; got both")
        return self


class EnvironmentSpec(Section):
    """The joint distributions of image, label and colour that a study trains and tests on."""

    train_flips: tuple[Flip, ...] = (0.2, 0.1)
    """How often colour disagrees with the label, in each training environment: two of them at least."""
    test_flip: Flip = 0.9
    """The same in the test environment; 0.1 at least from the mean of `train_flips`."""
    validation_flip: Flip | None = None
    """The same in a fourth environment, cut from the training digits and not trained on; left out: there is none."""
    heldout_examples: int | None = Field(None, ge=2)
    """Examples of each training environment, with its flip, that are held out of training, to extrapolate from; left
    out: none."""
    unseen_examples: int | None = Field(None, ge=2)
    """Examples of the digits' own test set (MNIST's t10k files), with the test flip; nothing is chosen by them. Left
    out: none."""
    label_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.25
    """Share of the labels that are flipped; at 0.25 the shape alone gives 75%."""
    split: Literal["dealt", "blocks"] = "dealt"
    """`dealt`: training digits shuffled by the seed, then dealt in turn (the authors);
    `blocks`: contiguous blocks in file order (reiinakano)."""
    test_examples: int | None = Field(None, ge=2)
    """Examples of the test environment, the last ones in file order; left out: a sixth of MNIST (10,000) and a fifth of
    the embedded digits."""
    resolution: Literal[14, 28] = 14
    """Pixels along each side of an image; 14: every second one."""
    channels: Literal["grey", "two", "rgb"] = "two"
    """`two`: red and green; `rgb`: the same with an empty blue; `grey`: colour removed (the oracle)."""
    normalise: bool = False
    """Subtract MNIST's mean 0.1307 and divide by its standard deviation 0.3081 (not the empty blue's mean)."""
    _target: Target = PrivateAttr(default_factory=Target)

    @field_validator("train_flips", mode="before")
    @classmethod
    def two_at_least(cls, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not 2 <= len(value) <= 64:
            raise ValueError(f"needs a list of 2 to 64 flips, one for each training environment; got {shown(value)}")
        return tuple(value)

    @property
    def target(self) -> Target:
        """What is called success in these environments: a study's [target], which changes no example."""
        return self._target

    def with_target(self, target: Target) -> EnvironmentSpec:
        """The same environments, with another target."""
        copy = self.model_copy()
        copy._target = target
        return copy

    @property
    def mean_flip(self) -> float:
        """Of the training environments."""
        return sum(self.train_flips) / len(self.train_flips)

    @property
    def train_names(self) -> tuple[str, ...]:
        return tuple(f"train{number}" for number in range(1, len(self.train_flips) + 1))

    @property
    def names(self) -> tuple[str, ...]:
        """Every environment that is measured, in the order of the curves' last axis.

        `heldout` has the training environments' flips on the test environment's digits: what a
        network knows of the training distribution when it cannot have memorised the examples. `heldout1` … are held
        out of the training environments, one of each; `unseen` is of the digits' own test set.
        """
        validation = () if self.validation_flip is None else ("validation",)
        unseen = () if self.unseen_examples is None else ("unseen",)
        return (*self.train_names, "heldout", "test", *validation, *self.heldout_names, *unseen)

    @property
    def heldout_names(self) -> tuple[str, ...]:
        """The parts that are held out of the training environments, in their order; () where there are none."""
        if self.heldout_examples is None:
            return ()
        return tuple(f"heldout{number}" for number in range(1, len(self.train_flips) + 1))


class RunConfig(Section):
    """One configuration: everything that a run needs but its seed. Defaults are the authors' script's."""

    model: str = "mlp"
    """Kind of network."""
    hidden: int = Field(256, ge=1, le=8192)
    """Units of each hidden layer."""
    layers: int = Field(2, ge=1, le=16)
    """Hidden layers."""
    activation: str = "relu"
    """What follows each hidden layer."""
    penalty: str = "irmv1"
    """The invariance term before weighting."""
    penalty_weight: float = Field(10_000.0, ge=0, le=1e15)
    """Multiplier of the penalty when the ramp has ended."""
    initial_weight: float = Field(1.0, ge=0, le=1e15)
    """The penalty weight before the anneal epoch (the authors': 1, not 0)."""
    bottleneck_weight: float = Field(0.0, ge=0, le=1e15)
    """Multiplier of the features' variance, in every epoch, beside any penalty (IB-ERM, IB-IRM)."""
    anneal_epoch: int = Field(100, ge=0, le=LARGEST_WHOLE)
    """Epoch in which the penalty weight starts to rise."""
    ramp: str = "step"
    """Shape in which the penalty weight rises."""
    ramp_epochs: int = Field(50, ge=1)
    """Epochs that the penalty weight takes to rise; a step takes none."""
    ramp_exponent: float = Field(2.0, gt=0, le=64)
    """Exponent of the ramp `power`."""
    learning_rate: float = Field(0.001, gt=0)
    """Learning rate of Adam."""
    l2_weight: float = Field(0.001, ge=0)
    """Multiplier of the squared L2 norm of all parameters in the loss."""
    epochs: int = Field(501, ge=1, le=1_000_000)
    """Epochs that a run is trained for, unless it is stopped."""
    batch_size: int | None = Field(None, ge=2, le=LARGEST_WHOLE)
    """Examples of each environment in one step; left out: all of them (the authors)."""
    initial_seed: int | None = Field(None, ge=0, lt=2**32)
    """Seed of the first parameters; left out: the run's own. Set to tell the draw of data from that of parameters."""
    across: Literal["mean", "sum"] = "mean"
    """Whether risks and penalties of the environments are averaged (authors) or summed (reiinakano)."""
    rescale: bool = True
    """Divide the loss by the penalty weight where that is above 1, as the authors do."""
    reset_optimizer: bool = False
    """Whether Adam begins anew at the anneal epoch, its moving averages and its count of steps, as in DomainBed."""
    stop: str = "none"
    """When a run ends before its last epoch."""
    give_up: bool = True
    """End a run that has diverged, or that has collapsed for good."""
    checkpoint_every: int | None = Field(None, ge=1, le=LARGEST_WHOLE)
    """Epochs between measurements; left out: a fiftieth of `epochs`."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the factors of matrix products; parameters, their sums of gradients, and logits are float32 in either. `auto`
    is settled before anything is trained or stored: bfloat16 where the processor has it and it pays, else float32."""

    @property
    def checkpoint_interval(self) -> int:
        """Epochs between two measurements."""
        return self.checkpoint_every or max(1, self.epochs // 50)

    @property
    def ramp_length(self) -> int:
        """Epochs over which the penalty weight rises; 0 where it jumps, or stays what it was."""
        rises = self.penalty_weight != self.initial_weight and "ramp_epochs" in kind("ramp", self.ramp).uses
        return self.ramp_epochs if rises else 0

    @property
    def full_weight_epoch(self) -> int:
        """The epoch from which on the penalty weight is full."""
        return self.anneal_epoch + max(0, self.ramp_length - 1)

    @field_validator("model", "activation", "penalty", "ramp", "stop")
    @classmethod
    def known_kind(cls, value: str, info: ValidationInfo) -> str:
        return check_kind(info.field_name or "", value)


class TrainSpec(Section):
    """What `train` takes: one configuration and the environments that it trains on."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "train"
    digits: DigitsName = "embedded"
    environments: EnvironmentSpec = EnvironmentSpec()
    target: Target = Target()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def environments_know_the_target(self) -> TrainSpec:
        set_target(self)
        return self

    @model_validator(mode="after")
    def obeys_the_rules(self) -> TrainSpec:
        check_environments(self.environments)
        for rule in RULES:
            if wrong := rule.broken(self.environments, self.run):
                raise ValueError(f"run.{rule.keys[0]}: {wrong}")
        return self


def set_target(spec: Any) -> None:
    """Have a file's environments know its target; where it was made in Python without one, it takes theirs."""
    if "target" not in spec.model_fields_set:
        object.__setattr__(spec, "target", spec.environments.target)
    object.__setattr__(spec, "environments", spec.environments.with_target(spec.target))


def check_environments(environments: EnvironmentSpec) -> None:
    """Raise ValueError where an environment shows nothing that the training environments don't."""
    known = environments.mean_flip
    for name in ("test_flip", "validation_flip"):
        flip = getattr(environments, name)
        if flip is not None and abs(flip - known) < NEAREST_FLIP - 1e-9:
            raise ValueError(
                f"environments.{name}: must be {NEAREST_FLIP} at least from the training environments' mean flip, "
                f"{known:.4g}: where colours agree as often as in training nothing shows what follows them, and "
                f"accuracy there is measured in any case ('heldout'); got {flip}"
            )
    if environments.heldout_examples is not None and len(set(environments.train_flips)) == 1:
        raise ValueError(
            "environments.heldout_examples: accuracy is extrapolated over the training environments' flips, which must "
            f"differ; got train_flips = {list(environments.train_flips)}"
        )


@dataclass(frozen=True)
class Rule:
    """A rule between hyperparameters, or between one and the environments.

    keys: the hyperparameters that it reads; a message names the first. broken: what is wrong, or None. Over a range of
    a key it holds everywhere if it holds at both ends.
    """

    keys: tuple[str, ...]
    broken: Callable[[EnvironmentSpec, RunConfig], str | None]


def _anneals_too_late(environments: EnvironmentSpec, run: RunConfig) -> str | None:
    return f"must be in [0, epochs = {run.epochs}); got {run.anneal_epoch}" if run.anneal_epoch >= run.epochs else None


def _needs_other_images(environments: EnvironmentSpec, run: RunConfig) -> str | None:
    only = kind("model", run.model).resolution
    if only in (None, environments.resolution):
        return None
    return f"{run.model!r} needs environments.resolution = {only}; got {environments.resolution}"


def _needs_environment(environments: EnvironmentSpec, run: RunConfig) -> str | None:
    needed = NEEDED_KEYS.get(kind("stop", run.stop).sees)
    if needed is None or getattr(environments, needed) is not None:
        return None
    return f"{run.stop!r} needs environments.{needed}, which is not set"


RULES = (
    Rule(("anneal_epoch", "epochs"), _anneals_too_late),
    Rule(("model",), _needs_other_images),
    Rule(("stop",), _needs_environment),
    Rule(("precision", "model", "batch_size", "activation", "penalty", "bottleneck_weight"), needs_fast_network),
)


def obeys_rules(environments: EnvironmentSpec, run: RunConfig) -> bool:
    """Whether `train` takes a configuration, each value of which is allowed by itself."""
    return not any(rule.broken(environments, run) for rule in RULES)


def is_whole(key: str) -> bool:
    """Whether a hyperparameter takes whole numbers only."""
    return RunConfig.model_fields[key].annotation in (int, int | None)
