"""In which precision runs are trained here: what this machine's processor has, and what `auto` comes to.

Which configurations can be trained in which is a rule of `config`; how they are is in `training`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from irm_study.errors import ConfigError
from irm_study.execution.machine import processor

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""What a processor multiplies bfloat16 with, as torch and the kernel call it; the slower first."""


def bfloat16_instructions() -> tuple[str, ...]:
    """Those that this machine's processor has."""
    import torch

    # Where torch is too old to tell, bfloat16 is refused: it might be computed by something else, slowly.
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return tuple(name for name in BFLOAT16_INSTRUCTIONS if found.get(name))


def check_precisions(precisions: Iterable[str], device: str) -> None:
    """Raise ConfigError where a precision is not to be had on a device, but by a slow emulation."""
    if "bfloat16" not in precisions:
        return
    remedy = "'float32' runs everywhere, 'auto' takes what is there"
    if device != "cpu":
        raise ConfigError(f"run.precision: 'bfloat16' is for the device 'cpu'; got --device {device}; {remedy}")
    if not bfloat16_instructions():
        raise ConfigError(
            f"run.precision: 'bfloat16' needs a processor with {' or '.join(BFLOAT16_INSTRUCTIONS)}, and torch finds "
            f"neither on this one ({processor()}); {remedy}"
        )
