"""In which precision a configuration can be trained.

Which precisions a processor has is in `execution`: what is said here holds everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irm_study.config.kinds import kind

if TYPE_CHECKING:
    from irm_study.config.run import EnvironmentSpec, RunConfig

FAST_ACTIVATIONS = ("relu", "tanh")
"""Those of the fast network: their derivative follows from their output, and they map 0 to 0, which keeps padded units
at 0."""


def takes_fast_network(environments: EnvironmentSpec, run: RunConfig) -> bool:
    """Whether the network that is fast computes what the configuration asks for: the MLP on full batches of images with
    an empty background, whose activation has a derivative that follows from its output, under a penalty of logits."""
    plain = run.model == "mlp" and run.batch_size is None and not environments.normalise
    of_logits = not kind("penalty", run.penalty).beside and not run.bottleneck_weight
    return plain and run.activation in FAST_ACTIVATIONS and of_logits


def needs_fast_network(environments: EnvironmentSpec, run: RunConfig) -> str | None:
    """The rule that bfloat16 is a precision of the fast network alone: what breaks it, or None."""
    if run.precision != "bfloat16" or takes_fast_network(environments, run):
        return None
    keys = ("model", "batch_size", "activation", "penalty", "bottleneck_weight")
    got = ", ".join(f"{key} = {getattr(run, key)!r}" for key in keys)
    return (
        f"'bfloat16' needs model = 'mlp' on full batches, with an activation of {', '.join(FAST_ACTIVATIONS)}, a "
        "penalty of logits alone, no bottleneck_weight, and environments.normalise = false; "
        f"got {got}, normalise = {str(environments.normalise).lower()}"
    )
