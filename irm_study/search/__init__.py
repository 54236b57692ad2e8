"""The search: Optuna's side, by ask and tell. Nothing else imports Optuna."""

from irm_study.search.outcomes import listed_trials
from irm_study.search.search import AskedTrial, FinishedTrial, Search, open_search
from irm_study.search.storage import StorageDamaged, StorageLost

__all__ = [
    "AskedTrial",
    "FinishedTrial",
    "Search",
    "StorageDamaged",
    "StorageLost",
    "listed_trials",
    "open_search",
]
