"""The parts of a method: penalties, ramps, models and activations, each a small function in a dictionary."""

from irm_study.methods.models import ACTIVATIONS, MODELS, Model
from irm_study.methods.penalties import PENALTIES, Penalty, risks, signed_gradients
from irm_study.methods.ramps import RAMPS, Ramp, penalty_weights

__all__ = [
    "ACTIVATIONS",
    "MODELS",
    "PENALTIES",
    "RAMPS",
    "Model",
    "Penalty",
    "Ramp",
    "penalty_weights",
    "risks",
    "signed_gradients",
]
