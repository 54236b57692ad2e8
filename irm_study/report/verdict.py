"""The page's verdict on a study, and what a reader should hold against it.

A sentence about a configuration carries n and an interval and claims no more than they allow. What follows from a
figure stands beside the figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from irm_study import statistics
from irm_study.config import StudySpec
from irm_study.diagnosis import CRITERIA, STOPPING_RULES, evidence_used
from irm_study.report.style import MODE_NAMES
from irm_study.report.text import interval, p_text, percent, plural
from irm_study.results import StudyRecord, confirmed, confirmed_table, confirmed_tie, search_tie, undecided

DIGITS = {
    "embedded": "5,000 embedded digits, not full MNIST",
    "mnist": "full MNIST",
    "fashion-mnist": "Fashion-MNIST, not MNIST",
    "kmnist": "KMNIST, not MNIST",
}

AUTHORS_SPREAD = 0.1
"""By how much the flips of the authors' training environments, .2 and .1, differ."""
SMALL = 10
"""Fresh seeds below which the page says that there are few."""


def verdict(record: StudyRecord, best: dict[str, Any] | None) -> str:
    """One sentence on whether a stable configuration was found, no stronger than the interval allows."""
    if record.runs.empty:
        return "Nothing has been run yet."
    if best is None:
        return f"No trial is finished yet: {plural(len(record.runs), 'run')} so far, and nothing to conclude."
    name = f"trial {best['trial']}"
    if best["fresh_n"] == 0:
        if best["search_successes"] == 0:
            none = f"none of its {plural(best['search_n'], 'search seed')}"
            return f"Not confirmed: {name} {_leads(record)}; {none} reached the target zone."
        found = f"{best['search_successes']} of {plural(best['search_n'], 'search seed')}"
        return (
            f"Not confirmed: {name} {_leads(record)}, with {found} in the target zone, "
            "but those are the seeds that chose it."
        )
    fresh = plural(best["fresh_n"], "fresh seed")
    several = record.runs.loc[record.runs["stage"] == "confirm", "digest"].nunique()
    of = "" if several == 1 else f" for the best of {several}"
    span = f"95% interval{of} {interval(best['fresh_low'], best['fresh_high'])}"
    reached = f"{best['fresh_successes']} of {fresh} ({percent(best['fresh_rate'])}, {span})"
    subject = f"{name}, {_rank(record)},"
    if best["fresh_successes"] == 0:
        runs = record.runs[(record.runs["digest"] == best["digest"]) & (record.runs["stage"] == "confirm")]
        mode, count = next(iter(runs["failure_mode"].value_counts().items()))
        return (
            f"No working configuration found: {subject} reached the target zone on none of {fresh} ({span}); "
            f"{count} of them ended {MODE_NAMES[mode]}."
        )
    target = record.spec.confirm.target
    if best["fresh_low"] > target:
        return (
            f"Stable: {subject} reached the target zone on {reached}; the study asks for more than {percent(target)}."
        )
    if best["fresh_high"] < target:
        return f"Unstable: {subject} reached the target zone on only {reached}."
    return f"Stability not shown: {subject} reached the target zone on {reached}."


def _leads(record: StudyRecord) -> str:
    tie = undecided(record)
    return "leads the search" if tie is None else f"is one of {tie.unresolved} that the search cannot tell apart"


def _rank(record: StudyRecord) -> str:
    """What the shown configuration is among those tried."""
    tie = undecided(record)
    if tie is not None:
        return f"one of {tie.unresolved} configurations that are tied"
    tried = record.trials["digest"].nunique()
    return f"chosen among {plural(tried, 'configuration')}" if tried > 1 else "the only one tried"


def caveats(record: StudyRecord, best: dict[str, Any] | None, table: pd.DataFrame) -> list[str]:
    """What a reader should hold against the verdict."""
    notes = []
    if record.finished < record.planned:
        notes.append(f"Unfinished: {record.finished} of {plural(record.planned, 'trial')} done.")
    if best is not None and 0 < best["fresh_n"] < SMALL:
        notes.append(f"n = {best['fresh_n']} is small: read the interval, not the rate.")
    if best is not None and best["fresh_n"] and best["fresh_low"] <= 0.5 <= best["fresh_high"]:
        notes.append("Whether it works more often than not is open.")
    if best is not None and best["fresh_n"] == 0:
        notes.append("The success rate on the search's own seeds is too high on average: they did the choosing.")
    for where, tie in (("Search", search_tie(record)), ("Fresh seeds", confirmed_tie(record))):
        if tie is not None:
            notes.append(f"{where}: {tie.text}.")
    if len(table) and table.loc[table["fresh_n"] > 0, "digest"].nunique() > 1:
        notes.append(
            "The best of several confirmed configurations is shown: its rate is flattered, its interval allows for it."
        )
    if easier := _easier_than_the_authors(record.spec):
        notes.append(easier)
    if toss := _coin_toss(record):
        notes.append(toss)
    if unseen := _on_unseen_digits(record):
        notes.append(unseen)
    criterion = record.spec.study.criterion
    if not CRITERIA[criterion].wants_zone:
        notes.append(
            f"The search maximised {criterion}, and success is the target zone: the two may prefer different runs "
            "(zone_margin wants what counts as success)."
        )
    return notes


def _easier_than_the_authors(spec: StudySpec) -> str | None:
    """That training environments differ more than the authors'; None where they don't. Source: Choe et al. 2020."""
    flips = spec.environments.train_flips
    spread = max(flips) - min(flips)
    if spread <= AUTHORS_SPREAD + 1e-9:
        return None
    return (
        f"Easier than the authors' environments: the training flips here are {spread:.2g} apart, theirs (0.2 and 0.1) "
        f"{AUTHORS_SPREAD:g}, and the more environments differ, the better IRM works. "
        "'irm-study run mnist' searches in theirs."
    )


def _on_unseen_digits(record: StudyRecord) -> str | None:
    """How the winner did on the digits' own test set; None where it was not measured there."""
    best = next(iter(confirmed_table(record)), None)
    if best is None or "unseen" not in best:
        return None
    unseen, several = best["unseen"], len(confirmed(record.runs, record.spec))
    of = f" for the best of {several}" if several > 1 else ""
    return (
        f"On the digits' own test set, by which nothing was chosen, trial {best['trial']} is in the target zone on "
        f"{unseen['successes']} of {plural(best['seeds'], 'fresh seed')} (95% interval{of} "
        f"{interval(unseen['low'], unseen['high'])}), with a mean accuracy of {percent(unseen['accuracy'])} against "
        f"{percent(best['test_accuracy'])} in the test environment."
    )


def _coin_toss(record: StudyRecord) -> str | None:
    """That chance alone could have put the first of the confirmed configurations before the second; None where the
    seeds that both have say otherwise, or nothing is to be told apart."""
    first_two = confirmed(record.runs, record.spec).head(2)
    fresh = record.runs[record.runs["stage"] == "confirm"] if len(record.runs) else record.runs
    if len(first_two) < 2 or undecided(record) is not None:
        return None
    scores = fresh.pivot_table(index="digest", columns="seed", values="score").reindex(first_two["digest"])
    values = scores.dropna(axis="columns").to_numpy(dtype=float)
    if values.shape[1] < 2:
        return None
    p_value = statistics.best_of_several(values, 1, np.random.default_rng(0))
    if p_value < statistics.SIGNIFICANT:
        return None
    first, second = first_two["trial"]
    return (
        f"Whether trial {first} is better than trial {second} is a coin toss ({p_text(p_value)} on {values.shape[1]} "
        "shared seeds): on another processor, where single runs end elsewhere, the other may come first."
    )


def chosen_by(spec: StudySpec) -> str:
    """The evidence that the choice of the best configuration used, the stopping rule's included."""
    text = evidence_used(spec.study.criterion)
    searched = spec.search.get("stop")
    stops = searched if isinstance(searched, tuple) else (spec.run.stop,)
    oracles = [stop for stop in stops if STOPPING_RULES[stop].sees == "test"]
    if oracles and not CRITERIA[spec.study.criterion].is_oracle:
        return f"oracle: the stopping rule {oracles[0]} looked at the test environment"
    return text
