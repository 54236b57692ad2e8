"""What a search has come to: its trials as the storage has them."""

from __future__ import annotations

from irm_study.results import ListedTrial
from irm_study.search.search import Search
from irm_study.search.trials import STATES


def listed_trials(search: Search) -> list[ListedTrial]:
    """Every trial as the storage has it, for `results.trials_table`."""
    return [
        ListedTrial(
            trial.user_attrs["trial"],
            trial.user_attrs["digest"],
            "pruned" if trial.number in search.known.pruned else STATES[trial.state],
        )
        for trial in search.known.all()
    ]
