"""The page that compares configurations, and its exhibits."""

from irm_study.comparison.measures import MEASURES, outcomes, pairs, signed, summary
from irm_study.comparison.page import EXHIBITS, write_comparison
from irm_study.comparison.sides import SEEDS, load_sides

__all__ = ["EXHIBITS", "MEASURES", "SEEDS", "load_sides", "outcomes", "pairs", "signed", "summary", "write_comparison"]
