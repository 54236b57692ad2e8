"""The sections of the page, and its exhibits in order.

An exhibit is written, with its table and its sentence, in the file of its section; here files are put in order only.
"""

from __future__ import annotations

from irm_study.report import (
    failure_map,
    failure_onset,
    failure_regions,
    failures,
    ideal,
    profile,
    region,
    regret,
    search,
    skill_plane,
    stable,
    winner,
)
from irm_study.report.exhibit import Exhibit
from irm_study.results import StudyRecord

SECTIONS: dict[str, tuple[Exhibit[StudyRecord], ...]] = {
    "Which configurations are stable": (
        *stable.EXHIBITS,
        *profile.EXHIBITS,
        *winner.EXHIBITS,
        *region.EXHIBITS,
        *ideal.EXHIBITS,
    ),
    "How runs fail": (
        *failures.EXHIBITS,
        *skill_plane.EXHIBITS,
        *failure_map.EXHIBITS,
        *failure_regions.EXHIBITS,
        *failure_onset.EXHIBITS,
    ),
    "Whether to believe the search": (*search.EXHIBITS, *regret.EXHIBITS),
}

EXHIBITS: dict[str, Exhibit[StudyRecord]] = {
    exhibit.name: exhibit for exhibits in SECTIONS.values() for exhibit in exhibits
}
"""Name → exhibit, in page order; those that need runs on fresh seeds are left out of a page without such runs."""
