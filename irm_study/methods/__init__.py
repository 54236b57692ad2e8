"""The parts of a method: penalties, ramps, models and activations, each a small function in a dictionary."""

from irm_study.methods.models import ACTIVATIONS, MODELS, Model, last_layer, logits_of
from irm_study.methods.penalties import (
    PENALTIES,
    Need,
    Penalty,
    feature_variance,
    needs_of,
    risks,
    signed_gradients,
)
from irm_study.methods.ramps import RAMPS, Ramp, penalty_weights

__all__ = [
    "ACTIVATIONS",
    "MODELS",
    "PENALTIES",
    "RAMPS",
    "Model",
    "Need",
    "Penalty",
    "Ramp",
    "feature_variance",
    "last_layer",
    "logits_of",
    "needs_of",
    "penalty_weights",
    "risks",
    "signed_gradients",
]
