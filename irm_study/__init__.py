"""irm-study: hyperparameters of Invariant Risk Minimization on Colored MNIST, and how stable they are.

    from irm_study import RunConfig, train
    train(RunConfig(penalty_weight=1e4), seeds=10).runs

What is offered here is imported when it is asked for, so that the command line answers at once, and a study is read
back without torch or Optuna. Everything else is private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = [
    "RunConfig",
    "StudySpec",
    "compare",
    "confirm_study",
    "diagnose",
    "figures",
    "load_study",
    "plugin",
    "read_study",
    "run_study",
    "train",
]

if TYPE_CHECKING:
    from irm_study import figures, plugin
    from irm_study.api import compare, confirm_study, diagnose, read_study, run_study, train
    from irm_study.config import RunConfig, StudySpec
    from irm_study.results import load_study

FROM = {"RunConfig": "irm_study.config", "StudySpec": "irm_study.config", "load_study": "irm_study.results"}
"""Where a name is imported from, if it is not `irm_study.api`."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'irm_study' has no attribute {name!r}; it offers: {', '.join(__all__)}")
    if name in ("figures", "plugin"):
        return import_module(f"irm_study.{name}")
    return getattr(import_module(FROM.get(name, "irm_study.api")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
