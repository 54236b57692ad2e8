"""irm-study: hyperparameters of Invariant Risk Minimization on Colored MNIST, and how stable they are.

In a notebook: `from irm_study import load_study, figures`. What is imported here is imported when it is
asked for, so that the command line answers at once.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["describe", "figures", "load_study"]


def __getattr__(name: str) -> Any:
    import importlib

    if name == "load_study":
        return importlib.import_module("irm_study.study").load_study
    if name == "describe":
        return importlib.import_module("irm_study.findings").describe
    if name == "figures":
        return importlib.import_module("irm_study.figures")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
