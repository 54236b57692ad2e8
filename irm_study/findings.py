"""What the numbers say, in sentences: the verdict, its caveats, and for each picture what it shows and what follows.

A sentence about a configuration carries n and an interval and claims no more than they allow. The numbers come
from `tables`; how the sentences are set on a page is `report`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from irm_study import tables
from irm_study.config import StudySpec
from irm_study.criteria import eyes
from irm_study.drawing import MODE_NAMES, words
from irm_study.failures import EXPLANATIONS, landmarks
from irm_study.records import StudyRecord

DIGITS = {
    "embedded": "5,000 embedded digits, not full MNIST",
    "mnist": "full MNIST",
    "fashion-mnist": "Fashion-MNIST, not MNIST",
    "kmnist": "KMNIST, not MNIST",
}

SMALL = 10
"""Fresh seeds below which the page says that there are few."""


# The verdict


def verdict(record: StudyRecord, best: dict[str, Any] | None) -> str:
    """One sentence on whether a stable configuration was found, no stronger than the interval allows."""
    if record.runs.empty:
        return "Nothing has been run yet."
    if best is None:
        return f"No trial is finished yet: {counted(len(record.runs), 'run')} so far, and nothing to conclude."
    name = f"trial {best['trial']}"
    if best["fresh_n"] == 0:
        if best["search_successes"] == 0:
            none = f"none of its {counted(best['search_n'], 'search seed')}"
            return f"Not confirmed: {name} leads the search, yet {none} reached the target zone."
        found = f"{best['search_successes']} of {counted(best['search_n'], 'search seed')}"
        return (
            f"Not confirmed: {name} leads the search, with {found} in the target zone, "
            "but those are the seeds that chose it."
        )
    fresh = counted(best["fresh_n"], "fresh seed")
    span = f"95% interval {interval(best['fresh_low'], best['fresh_high'])}"
    reached = f"{best['fresh_successes']} of {fresh} ({percent(best['fresh_rate'])}, {span})"
    of = f"the best of {counted(record.trials['digest'].nunique(), 'configuration')}" if len(record.trials) > 1 else ""
    subject = f"{name}, {of}," if of else f"{name}, the only one tried,"
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


def caveats(record: StudyRecord, best: dict[str, Any] | None, table: pd.DataFrame) -> list[str]:
    """What a reader should hold against the verdict."""
    notes = []
    planned = record.spec.budget
    finished = int(record.trials["state"].isin(["complete", "pruned"]).sum()) if len(record.trials) else 0
    if finished < planned:
        notes.append(f"Unfinished: {finished} of {counted(planned, 'trial')} done.")
    if best is not None and 0 < best["fresh_n"] < SMALL:
        notes.append(f"n = {best['fresh_n']} is small: read the interval, not the rate.")
    if best is not None and best["fresh_n"] and best["fresh_low"] <= 0.5 <= best["fresh_high"]:
        notes.append("Whether it works more often than not is open.")
    if best is not None and best["fresh_n"] == 0:
        notes.append("The success rate on the search's own seeds is too high on average: they did the choosing.")
    if len(table) and table.loc[table["fresh_n"] > 0, "digest"].nunique() > 1:
        notes.append("The best of several confirmed configurations is shown, which flatters it a little.")
    return notes


def chosen_by(spec: StudySpec) -> str:
    """Whose eyes chose the best configuration, the stopping rule's included."""
    text = eyes(spec.study.criterion)
    stops = spec.search.get("stop", (spec.run.stop,))
    oracles = [stop for stop in stops if stop.startswith("oracle")]
    if oracles and not spec.study.criterion.startswith("oracle"):
        return f"oracle: the stopping rule {oracles[0]} looked at the test environment"
    return text


# The pictures

SECTIONS = ("Which configurations are stable", "How runs fail", "Whether to believe the search")


@dataclass(frozen=True)
class Picture:
    """A figure on the page: what it shows, and what to conclude from it."""

    name: str
    title: str
    section: str
    shows: str
    concludes: str
    data: tuple[Any, ...]
    """The tables that its function in FIGURES takes."""

    @property
    def narrow(self) -> bool:
        """Whether it is drawn for one column of a page of two."""
        return self.name in {
            "trade_off", "performance_profile", "search_vs_confirmation", "importance", "success_rates", "draws",
        }  # fmt: skip


def describe(record: StudyRecord) -> list[Picture]:
    """Every picture of the page with its tables, what it shows, and what follows from the numbers in it."""
    stable, fail, believe = SECTIONS
    zones = landmarks(record.spec.environments)
    ranking = tables.leading(record)
    zone = f"training ≥ {percent(zones.target_train)} and test ≥ {percent(zones.target_test)}"
    points = tables.seed_points(record, ranking)
    profile = tables.profile(record, ranking[:4])
    lines, bands = tables.curves(record)
    shares = tables.failure_shares(record)
    counts, runs = tables.modes_by_stage(record), tables.final_accuracies(record)
    marks, begun = tables.map_marks(record), tables.beginnings(record)
    progress, scores = tables.progress(record), tables.search_and_confirmation(record)
    weights, spent = tables.importance(record), tables.cost(record)
    criterion = record.spec.study.criterion
    return [
        Picture(
            "seed_stability", "Every seed of the leading configurations", stable,
            "Accuracy at the end of every run of the leading configurations, best first; "
            f"the shade is the target zone ({zone}), the numbers count runs inside it.",
            conclude_seeds(points), (points, tables.seed_summary(points), zones),
        ),
        Picture(
            "trade_off", "Training against test accuracy", stable,
            "Each mark is a run. Colour alone sits at the lower right, shape alone at the cross, a constant at 50/50.",
            conclude_zone(runs), (runs, zones),
        ),
        Picture(
            "performance_profile", "Performance profile", stable,
            "How many of a configuration's runs beat each test accuracy; the band is a 95% interval of the first, "
            "at one threshold at a time. A steep line is a stable configuration.",
            conclude_profile(profile, zones.target_test), (profile, zones),
        ),
        Picture(
            "mode_bar", "All runs by how they ended", fail,
            "Every run, by the first failure mode whose rule applies at its end.",
            conclude_modes(counts), (counts,),
        ),
        Picture(
            "curves", "Training curves of every seed", fail,
            "Training accuracy (solid) and test accuracy (dashed), a panel for each mode in which runs ended"
            + (f"; {tables.LINES} single runs and the quantiles of all where there are more." if len(bands) else "."),
            conclude_curves(lines, begun), (lines, bands),
        ),
        Picture(
            "failure_map", "Failure map", fail,
            "Where in (penalty weight, anneal epoch) runs end how. Each cluster is a trial, each mark one of its "
            "seeds: a cluster of one colour is a configuration whose outcome the seed does not change.",
            conclude_map(marks), (marks,),
        ),
        Picture(
            "failure_shares", "Failure modes along each hyperparameter", fail,
            "Share of the search's runs in each mode, numbers cut at their quantiles, with 95% Wilson intervals. "
            "Seeds of a trial are not independent and the sampler favours good regions, so true intervals are wider.",
            conclude_shares(shares), (shares,),
        ),
        Picture(
            "when_failures_begin", "When failures begin", fail,
            "For every run, since when it has been in the mode in which it ended.",
            conclude_beginnings(begun), (begun,),
        ),
        Picture(
            "search_progress", "Progress of the search", believe,
            f"The objective value ({criterion}, {record.spec.study.aggregate} over seeds) of each trial, "
            "marked by the mode most of its runs ended in.",
            conclude_progress(progress), (progress, criterion),
        ),
        Picture(
            "search_vs_confirmation", "Search score against confirmation", believe,
            "The mean score on the seeds that chose a configuration, and on seeds that the search never saw, "
            "with 95% bootstrap intervals.",
            conclude_confirmation(scores), (scores, criterion),
        ),
        Picture(
            "importance", "Importance of the hyperparameters", believe,
            "How much of the objective's variation over the trials goes with each searched hyperparameter.",
            conclude_importance(weights, record), (weights,),
        ),
        Picture(
            "cost", "Cost", believe,
            "Runs and computing time, by how the runs ended.",
            conclude_cost(spent, tables.savings(record)), (spent,),
        ),
    ]  # fmt: skip


def conclude_seeds(points: pd.DataFrame) -> str:
    if points.empty:
        return "No configuration is finished."
    first = points[(points["rank"] == 0) & (points["environment"] == "test")]
    finite = first["accuracy"][np.isfinite(first["accuracy"].astype(float))]
    name = first["configuration"].iloc[0]
    if len(first) < 2:
        return f"{name.capitalize()} has one run: its spread over seeds is not known."
    if finite.empty:
        return f"No run of {name} ended with a finite accuracy."
    span = f"{percent(finite.min())} to {percent(finite.max())}"
    inside = int((first["failure_mode"] == "invariant").sum())
    both = ", search and fresh," if first["stage"].nunique() > 1 else ""
    close = finite.max() - finite.min() <= 0.1 and len(finite) == len(first)
    return (
        f"The seeds of {name} alone span {span} in test accuracy; {inside} of its {len(first)} runs{both} end in the "
        f"zone. {'They agree within ten points.' if close else 'One run says little.'}"
    )


def conclude_zone(runs: pd.DataFrame) -> str:
    if runs.empty:
        return "No runs."
    inside = int((runs["failure_mode"] == "invariant").sum())
    return f"{inside} of {counted(len(runs), 'run')} ended in the target zone."


def conclude_profile(profile: pd.DataFrame, threshold: float) -> str:
    if profile.empty:
        return "No configuration is finished."
    own = profile[profile["rank"] == 0]
    row = own.iloc[int((own["threshold"] - threshold).abs().argmin())]
    seeds = counted(int(row["n"]), f"{'fresh' if row['stage'] == 'confirm' else 'search'} seed")
    return (
        f"{percent(row['share'])} of {row['configuration']}'s runs ({seeds}) exceed {percent(threshold)} in test; "
        f"95% interval {interval(row['low'], row['high'])}."
    )


def conclude_modes(counts: pd.DataFrame) -> str:
    search = counts[counts["stage"] == "search"]
    if search.empty:
        return "No runs of the search."
    failed = search[search["failure_mode"] != "invariant"].sort_values("runs", ascending=False, kind="stable")
    total = int(search["runs"].sum())
    if failed.empty:
        return f"All {total} runs of the search ended in the target zone."
    row = failed.iloc[0]
    return (
        f"The commonest failure in the search is {MODE_NAMES[row['failure_mode']]}: {row['runs']} of "
        f"{counted(total, 'run')} ({percent(row['share'])}, 95% interval {interval(row['low'], row['high'])}). "
        f"{EXPLANATIONS[row['failure_mode']]}"
    )


def conclude_curves(lines: pd.DataFrame, begun: pd.DataFrame) -> str:
    if lines.empty:
        return "No runs."
    modes = begun["failure_mode"].nunique()
    if modes == 1:
        return f"All runs ended {MODE_NAMES[begun['failure_mode'].iloc[0]]}."
    epochs = lines["anneal_epoch"].nunique()
    aligned = "The axis counts from each run's anneal epoch. " if epochs > 1 else ""
    return f"{aligned}{modes} different endings; compare where the panels part from each other."


def conclude_map(marks: pd.DataFrame) -> str:
    if marks.empty:
        return "No runs of the search."
    medians = marks.groupby("failure_mode")["penalty_weight"].median()
    shown = [mode for mode in ("erm_like", "invariant", "collapsed") if mode in medians]
    mixed = int((marks.groupby("trial")["failure_mode"].nunique() > 1).sum())
    trials = marks["trial"].nunique()
    text = f"In {mixed} of {counted(trials, 'trial')} the seed alone changed how a run ended."
    if len(shown) > 1 and marks["penalty_weight"].nunique() > 1:
        each = ", ".join(f"{MODE_NAMES[mode]} {tables.short(medians[mode])}" for mode in shown)
        text += f" Median penalty weight of runs that ended {each}."
    return text


def conclude_shares(shares: pd.DataFrame) -> str:
    own = shares[shares["failure_mode"] == "invariant"]
    spans = own.groupby("hyperparameter")["share"].agg(lambda share: share.max() - share.min())
    if spans.empty or spans.max() == 0:
        return "No bin has more invariant runs than another." if len(shares) else "Nothing to compare."
    name = spans.idxmax()
    rows = own[own["hyperparameter"] == name]
    worst, best = rows.loc[rows["share"].idxmin()], rows.loc[rows["share"].idxmax()]
    apart = worst["high"] < best["low"]
    return (
        f"Invariant runs vary most along {words(name)}: {percent(worst['share'])} at {worst['label']}, "
        f"{percent(best['share'])} at {best['label']}; "
        + ("the intervals do not overlap." if apart else "the intervals overlap, so this may be chance.")
    )


def conclude_beginnings(begun: pd.DataFrame) -> str:
    failed = begun[begun["failure_mode"] != "invariant"]
    if failed.empty:
        return "No run failed." if len(begun) else "No runs."
    before = int((failed["since_anneal"] < 0).sum())
    later = failed.loc[failed["since_anneal"] >= 0, "since_anneal"]
    text = f"{before} of {counted(len(failed), 'failed run')} were in their final mode before the anneal epoch"
    if later.empty:
        return f"{text}."
    return f"{text}; the others entered it {later.median():.0f} epochs after it in the median."


def conclude_progress(progress: pd.DataFrame) -> str:
    complete = progress[(progress["state"] == "complete") & progress["value"].notna()]
    if complete.empty:
        return "No trial is finished."
    row = complete.loc[complete["value"].idxmax()]
    after = int((complete["trial"] > row["trial"]).sum())
    return (
        f"The best value, {row['value']:.3f}, came with trial {row['trial']}; "
        f"{counted(after, 'later trial')} did not better it."
    )


def conclude_confirmation(scores: pd.DataFrame) -> str:
    if scores.empty:
        return "Nothing has been confirmed: what the search's own seeds promise is not tested."
    row = scores.iloc[0]
    if not math.isfinite(row["search"]):
        return f"{row['configuration'].capitalize()} scored {row['fresh']:.3f} on {row['fresh_n']} fresh seeds."
    change = row["fresh"] - row["search"]
    moved = "fell" if change < 0 else "rose" if change > 0 else "stayed, going"
    note = " Some fall is expected, because the search picked the luckiest." if change < 0 else ""
    return (
        f"The mean score of {row['configuration']} {moved} from {row['search']:.3f} (n = {row['search_n']}) to "
        f"{row['fresh']:.3f} on fresh seeds (n = {row['fresh_n']}).{note}"
    )


def conclude_importance(weights: pd.DataFrame, record: StudyRecord) -> str:
    if weights.empty:
        return "Too few finished trials, or nothing searched: importance cannot be told."
    complete = int((record.trials["state"] == "complete").sum())
    first = weights.iloc[0]
    few = " With so few, the order may be chance." if complete < 50 else ""
    return (
        f"{words(first['hyperparameter']).capitalize()} comes first with {percent(first['importance'])}, "
        f"from {counted(complete, 'trial')}.{few}"
    )


def conclude_cost(spent: pd.DataFrame, saved: dict[str, float]) -> str:
    if spent.empty:
        return "No runs."
    seconds = spent["seconds"].sum()
    lost = spent.loc[spent["failure_mode"] != "invariant", "seconds"].sum()
    share = f"; {percent(lost / seconds)} of the time went into runs that ended outside the zone" if seconds else ""
    return f"{counted(int(spent['runs'].sum()), 'run')}, {duration(seconds)} of computing{share}. {_saved(saved)}"


def _saved(saved: dict[str, float]) -> str:
    ways = {
        "stopped": "of the epochs by ending runs early",
        "shared": "of the epochs by training once what runs share",
        "spared": "of the search's runs by racing",
    }
    told = [f"{percent(saved[key])} {way}" for key, way in ways.items() if saved[key] > 0]
    return f"Saved: {', '.join(told)}." if told else "Nothing was saved by racing or by ending runs early."


# Words


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def interval(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{percent(high)}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
