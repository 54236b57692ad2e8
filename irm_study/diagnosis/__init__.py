"""What a run's curves mean: how it failed, how it is scored, whether it should stop."""

from irm_study.diagnosis.advice import ADVICE, EXPLANATIONS, MEASURES, Advice, Change, collapse_began, measure_of
from irm_study.diagnosis.criteria import AGGREGATES, CRITERIA, Criterion, criteria_for, evidence_used, score
from irm_study.diagnosis.curves import PROBES, QUANTITIES, Curves, curve_columns, curves_from_row
from irm_study.diagnosis.evidence import EVIDENCE_SOURCES, available_sources
from irm_study.diagnosis.history import collapses
from irm_study.diagnosis.levels import ReferenceLevels, reference_levels
from irm_study.diagnosis.modes import FAILURE_MODES, MODES, Diagnosis, diagnose
from irm_study.diagnosis.skills import Skill, skill
from irm_study.diagnosis.stopping import STOPPING_RULES, StoppingRule, first_collapse, reason_to_stop
from irm_study.diagnosis.zone import in_zone, zone_margin

__all__ = [
    "ADVICE",
    "AGGREGATES",
    "CRITERIA",
    "EVIDENCE_SOURCES",
    "EXPLANATIONS",
    "FAILURE_MODES",
    "MEASURES",
    "MODES",
    "PROBES",
    "QUANTITIES",
    "STOPPING_RULES",
    "Advice",
    "Change",
    "Criterion",
    "Curves",
    "Diagnosis",
    "ReferenceLevels",
    "Skill",
    "StoppingRule",
    "available_sources",
    "collapse_began",
    "collapses",
    "criteria_for",
    "curve_columns",
    "curves_from_row",
    "diagnose",
    "evidence_used",
    "first_collapse",
    "in_zone",
    "measure_of",
    "reason_to_stop",
    "reference_levels",
    "score",
    "skill",
    "zone_margin",
]
