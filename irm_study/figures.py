"""The figures of a study's page, by their names: `figures.seed_stability(record)` returns a matplotlib Figure.

A record is what `run_study` and `load_study` return; a study's folder does as well. `dir(figures)` lists the names.
`figures.failure_map(record, x="learning_rate", y="l2_weight")` has other axes than the two most important ones.
What each figure shows, and its table, is `irm_study.report`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from irm_study.results import StudyRecord

    Drawing = Callable[..., Figure]


def __getattr__(name: str) -> Drawing:
    if name.startswith("_"):  # what Python and its tools look for in any module
        raise AttributeError(f"module 'irm_study.figures' has no attribute {name!r}")
    from irm_study.report import EXHIBITS

    if name not in EXHIBITS:
        raise AttributeError(f"no figure is called {name!r}; one of: {', '.join(EXHIBITS)}")
    exhibit = EXHIBITS[name]

    def draw(record: StudyRecord | str | Path, **options: Any) -> Figure:
        return exhibit.figure(_record(record), **options)

    draw.__name__ = draw.__qualname__ = name
    draw.__doc__ = f"The figure {name!r} of a study's page. record: of the study, or its folder."
    return draw


def __dir__() -> list[str]:
    from irm_study.report import EXHIBITS

    return list(EXHIBITS)


def _record(given: StudyRecord | str | Path) -> StudyRecord:
    from irm_study.api import folder_of
    from irm_study.results import StudyRecord, load_study

    return given if isinstance(given, StudyRecord) else load_study(folder_of(given))
