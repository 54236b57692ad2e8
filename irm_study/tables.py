"""A study's record as tidy tables: every number that a picture or the page shows, with its interval.

One function per table, each from a `StudyRecord` to a pandas table. Accuracies are fractions, times
seconds. Intervals are 95%: Wilson's for shares, the bootstrap's for interquartile means and means (`statistics`).
What a table says in words is `report`'s, how it is drawn is `figures`'.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

from irm_study import statistics
from irm_study.curves import curves_from_row
from irm_study.failures import MODES, collapse_began, collapses
from irm_study.records import (
    StudyRecord,
    best_trials,
    centre_of,
    config_of,
    confirmed_table,
    counted,
    epochs_spent,
    mode_counts,
)
from irm_study.stopping import first_collapse

LEADING = 6
"""How many configurations the pictures of leading configurations show."""

LINES = 16
"""Curves of one mode drawn one by one; with more runs, quantile bands carry the picture."""

BINS = 4


# Configurations


def configurations(record: StudyRecord) -> pd.DataFrame:
    """A row per trial: trial, digest, state, value, each searched hyperparameter, modes (mode → runs), and for the
    runs of the search (`search_`) and on fresh seeds (`fresh_`): n, successes, rate, low, high (Wilson),
    score (mean), and of the test accuracy, each with its bootstrap interval (`_low`, `_high`): test (IQM), mean,
    worst (the mean of the worst tenth).

    Trials of the same configuration share its runs. A run that diverged has no accuracy and counts as 0.
    """
    runs = runs_of(record)
    by_digest = dict(tuple(runs.groupby("digest"))) if len(runs) else {}
    rows = []
    for trial in trials_of(record).to_dict("records"):
        own = by_digest.get(trial["digest"], runs.iloc[:0])
        row = {key: trial[key] for key in ("trial", "digest", "state", "value", *record.spec.search) if key in trial}
        row["modes"] = mode_counts(own)
        for prefix, stage in (("search", "search"), ("fresh", "confirm")):
            row |= {f"{prefix}_{key}": value for key, value in _outcome(own[own["stage"] == stage]).items()}
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["trial", "digest", "state", "value", *record.spec.search])


def leading(record: StudyRecord, top: int = LEADING) -> list[int]:
    """Trials, best first: the confirmed ones by the objective on fresh seeds, then the rest by their value.

    Fresh seeds are judged by the study's own criterion, so that no other eyes choose.
    """
    if record.runs.empty or record.trials.empty:
        return []
    confirmed = [row["trial"] for row in confirmed_table(record)]
    digests = record.trials.set_index("trial")["digest"]
    taken = set(digests.reindex(confirmed))
    rest = [row.trial for row in best_trials(record.trials, top + len(taken)).itertuples() if row.digest not in taken]
    return [int(trial) for trial in (*confirmed, *rest)][:top]


def modes_by_stage(record: StudyRecord) -> pd.DataFrame:
    """stage (search | confirm), failure_mode, runs, share, low, high: a row for each mode that occurs in the stage."""
    rows = []
    for stage, runs in runs_of(record).groupby("stage", sort=False):
        for mode, count in mode_counts(runs).items():
            rows.append({"stage": stage, "failure_mode": mode, "runs": count, **share_of(count, len(runs))})
    return pd.DataFrame(rows, columns=["stage", "failure_mode", "runs", "share", "low", "high"])


def runs_of(record: StudyRecord) -> pd.DataFrame:
    """The record's runs, of search and confirmation; the columns are there even when there are no rows."""
    return record.runs[record.runs["stage"].isin(["search", "confirm"])] if len(record.runs) else _no_runs(record)


def trials_of(record: StudyRecord) -> pd.DataFrame:
    """`StudyRecord.trials` in order; the columns are there even when there are no rows."""
    if len(record.trials):
        return record.trials.sort_values("trial")
    return pd.DataFrame(columns=["trial", "digest", "state", "value", *record.spec.search])


# The tables of the pictures


def seed_points(record: StudyRecord, trials: list[int]) -> pd.DataFrame:
    """Every seed of some configurations: configuration, stage, seed, failure_mode, environment, accuracy.

    environment: `train` (the lowest of the training environments) or `test`.
    """
    runs = _ranked(record, trials)
    long = runs.melt(
        ["configuration", "rank", "stage", "seed", "failure_mode"],
        ["train_accuracy_min", "test_accuracy"],
        "environment",
        "accuracy",
    )
    long["environment"] = long["environment"].map({"train_accuracy_min": "train", "test_accuracy": "test"})
    return long.sort_values(["rank", "stage", "seed"], ignore_index=True)


def seed_summary(points: pd.DataFrame) -> pd.DataFrame:
    """Of `seed_points`: configuration, rank, stage, environment, n, successes (in the target zone), iqm, low, high.

    Accuracies that are not finite count as 0.
    """
    rows = []
    for (rank, name, stage, environment), group in points.groupby(
        ["rank", "configuration", "stage", "environment"], sort=True
    ):
        centre, low, high = centre_of(group["accuracy"], statistics.iqm)
        rows.append(
            {"configuration": name, "rank": rank, "stage": stage, "environment": environment, "n": len(group),
             "successes": int((group["failure_mode"] == "invariant").sum()), "iqm": centre, "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(
        rows, columns=["configuration", "rank", "stage", "environment", "n", "successes", "iqm", "low", "high"]
    )


def final_accuracies(record: StudyRecord) -> pd.DataFrame:
    """Every run: trial, stage, seed, failure_mode, train (lowest of the training environments), test."""
    runs = runs_of(record).rename(columns={"train_accuracy_min": "train", "test_accuracy": "test"})
    return runs[["trial", "stage", "seed", "failure_mode", "train", "test"]].reset_index(drop=True)


def curves(record: StudyRecord) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy over epochs of every run, as single lines and as quantile bands of each mode.

    lines: run, failure_mode, environment (train: mean over training environments, or test), epoch, accuracy,
    of at most LINES runs a mode, evenly taken. bands (of modes with more runs): failure_mode, environment,
    epoch, low, median, high (quantiles .1, .5, .9), where at least half of the mode's runs were measured.
    Both have `since_anneal`, epochs after the run's anneal epoch, which is the axis on which runs of
    different anneal epochs agree; `anneal_epoch` is the run's (lines only) and `n` the runs of the mode.
    """
    runs = runs_of(record)
    lines, bands = [], []
    shared = runs["anneal_epoch"].nunique() <= 1
    for mode, group in runs.groupby("failure_mode"):
        measured = [accuracy_curves(run) for run in group.to_dict("records")]
        chosen = np.unique(np.linspace(0, len(measured) - 1, min(LINES, len(measured))).round().astype(int))
        for index in chosen:
            run = measured[index]
            for environment in ("train", "test"):
                line = pd.DataFrame({"epoch": run["epoch"], "accuracy": run[environment]})
                line["since_anneal"] = run["epoch"] - run["anneal_epoch"]
                lines.append(
                    line.assign(
                        run=index,
                        failure_mode=mode,
                        environment=environment,
                        anneal_epoch=run["anneal_epoch"],
                        n=len(measured),
                    )
                )
        if len(measured) > LINES:
            for environment in ("train", "test"):
                bands.append(quantile_band(measured, environment, shared).assign(failure_mode=mode, n=len(measured)))
    columns = ["failure_mode", "environment", "epoch", "since_anneal", "n"]
    return (
        pd.concat(lines, ignore_index=True) if lines else pd.DataFrame(columns=[*columns, "run", "accuracy"]),
        pd.concat(bands, ignore_index=True) if bands else pd.DataFrame(columns=[*columns, "low", "median", "high"]),
    )


def map_marks(record: StudyRecord) -> pd.DataFrame:
    """Every run of the search: trial, penalty_weight, anneal_epoch (epochs), ramp, failure_mode, place, n.

    place: 0, 1, … among the trial's n runs, those of one mode beside each other.
    """
    runs = runs_of(record)
    runs = runs[runs["stage"] == "search"][["trial", "penalty_weight", "anneal_epoch", "ramp", "failure_mode"]]
    runs = runs.sort_values(["trial", "failure_mode"], ignore_index=True)
    runs["place"] = runs.groupby("trial").cumcount()
    runs["n"] = runs.groupby("trial")["place"].transform("size")
    return runs


def failure_shares(record: StudyRecord) -> pd.DataFrame:
    """Share of each mode along each searched hyperparameter, over the runs of the search.

    hyperparameter, bin (0, 1, …), label, low_edge, high_edge (texts), n, failure_mode, runs, share, low, high.
    Numbers are cut at their quantiles into BINS bins, choices and numbers of few values stay as they are (their
    edges are "").
    """
    runs = runs_of(record)
    runs = runs[runs["stage"] == "search"]
    present = [mode for mode in MODES if (runs["failure_mode"] == mode).any()]
    rows = []
    for key in record.spec.search:
        if key not in runs or runs.empty:
            continue
        bins, labels = _bins(runs[key])
        for index, (label, low_edge, high_edge) in enumerate(labels):
            modes = runs.loc[bins == index, "failure_mode"]
            for mode in present:
                count = int((modes == mode).sum())
                rows.append(
                    {"hyperparameter": key, "bin": index, "label": label, "low_edge": low_edge,
                     "high_edge": high_edge, "n": len(modes), "failure_mode": mode, "runs": count,
                     **share_of(count, len(modes))}
                )  # fmt: skip
    columns = ["hyperparameter", "bin", "label", "low_edge", "high_edge", "n", "failure_mode", "runs"]
    return pd.DataFrame(rows, columns=[*columns, "share", "low", "high"])


def importance(record: StudyRecord) -> pd.DataFrame:
    """hyperparameter, importance (share of the objective's variation), the largest first."""
    rows = sorted(record.importance.items(), key=lambda item: (-item[1], item[0]))
    return pd.DataFrame(rows, columns=["hyperparameter", "importance"])


def beginnings(record: StudyRecord) -> pd.DataFrame:
    """Every run: trial, stage, seed, failure_mode, since (epoch), since_anneal (epochs after the anneal epoch)."""
    runs = runs_of(record)
    table = runs[["trial", "stage", "seed", "failure_mode"]].assign(since=runs["failure_since"])
    return table.assign(since_anneal=runs["failure_since"] - runs["anneal_epoch"]).reset_index(drop=True)


def progress(record: StudyRecord) -> pd.DataFrame:
    """Every trial in order: trial, state, value, best (so far, of the complete ones), failure_mode (the commonest)."""
    trials, runs = trials_of(record), runs_of(record)
    table = trials[["trial", "digest", "state", "value"]].astype({"value": float}).reset_index(drop=True)
    table["best"] = table["value"].where(table["state"] == "complete").cummax().ffill()
    common = runs[runs["stage"] == "search"].groupby("digest")["failure_mode"].agg(_commonest)
    table["failure_mode"] = table["digest"].map(common)
    return table.drop(columns="digest")


def search_and_confirmation(record: StudyRecord) -> pd.DataFrame:
    """Each confirmed configuration, best first: configuration, and for `search` and `fresh` seeds the mean score
    with its bootstrap interval and n: search, search_low, search_high, search_n, fresh, …"""
    runs = _ranked(record, leading(record, top=1_000_000))
    rows = []
    for (_, name), group in runs.groupby(["rank", "configuration"]):
        if not (group["stage"] == "confirm").any():
            continue
        row: dict[str, Any] = {"configuration": name}
        for prefix, stage in (("search", "search"), ("fresh", "confirm")):
            scores = group.loc[group["stage"] == stage, "score"]
            row[prefix], row[f"{prefix}_low"], row[f"{prefix}_high"] = centre_of(scores, np.mean)
            row[f"{prefix}_n"] = len(scores)
        rows.append(row)
    names = [f"{prefix}{end}" for prefix in ("search", "fresh") for end in ("", "_low", "_high", "_n")]
    return pd.DataFrame(rows, columns=["configuration", *names])


def profile(record: StudyRecord, trials: list[int]) -> pd.DataFrame:
    """Share of runs whose test accuracy is above a threshold: configuration, rank, n, threshold, share, low, high.

    Of fresh seeds where a configuration has them, of its search seeds where not (stage says which).
    """
    runs = _ranked(record, trials)
    thresholds = np.linspace(0, 1, 101)
    tables = []
    for (rank, name), group in runs.groupby(["rank", "configuration"]):
        stage = "confirm" if (group["stage"] == "confirm").any() else "search"
        accuracy = counted(group.loc[group["stage"] == stage, "test_accuracy"])
        shares = statistics.performance_profile(accuracy, thresholds)._asdict() | {"threshold": thresholds}
        tables.append(pd.DataFrame(shares).assign(configuration=name, rank=rank, stage=stage, n=len(accuracy)))
    columns = ["configuration", "rank", "stage", "n", "threshold", "share", "low", "high"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def recoveries(record: StudyRecord) -> pd.DataFrame:
    """Whether runs recover from a collapse: by what collapsed, when it began, and the penalty weight.

    A row for each kind of collapse and each decade of the penalty weight; columns collapsed ("constant":
    the logits themselves, for which a run is given up; "one class": they differ, and one class is predicted
    all the same), began, weight_from, weight_below, runs (that were so for
    `stopping.COLLAPSED_CHECKPOINTS` checkpoints in a row at the full weight), recovered (at their last
    checkpoint no longer collapsed), share, low, high. Only of runs that are not given up: of others it
    cannot be told.
    """
    rows = []
    for run in runs_of(record).to_dict("records"):
        if run["give_up"]:
            continue
        curves, config = curves_from_row(run), config_of(run)
        constant = first_collapse(curves, config, constant=True)
        found = first_collapse(curves, config, constant=False) if constant is None else constant
        if found is not None:
            began = collapse_began(int(curves.epoch[found]), found, config)
            decade = math.floor(math.log10(max(config.penalty_weight, 1.0)))
            recovered = not collapses(curves)[0][-1]
            rows.append(("one class" if constant is None else "constant", began, decade, recovered))
    counted = pd.DataFrame(rows, columns=["collapsed", "began", "decade", "recovered"])
    return pd.DataFrame(
        [
            {
                "collapsed": kind,
                "began": began,
                "weight_from": 10.0**decade,
                "weight_below": 10.0 ** (decade + 1),
                "runs": len(group),
                "recovered": int(group["recovered"].sum()),
                **share_of(int(group["recovered"].sum()), len(group)),
            }
            for (kind, began, decade), group in counted.groupby(["collapsed", "began", "decade"], sort=True)
        ]
    )


def savings(record: StudyRecord) -> dict[str, float]:
    """Shares that were not trained: of all runs' epochs those that several runs share (shared) and those after runs
    were stopped or given up (stopped), and of the search's runs those that racing spared (spared)."""
    runs, spec = record.runs, record.spec
    if runs.empty:
        return {"shared": 0.0, "stopped": 0.0, "spared": 0.0}
    epochs = epochs_spent(runs)
    search = runs[runs["stage"] == "search"].groupby("digest").size()
    pruned = record.trials.loc[record.trials["state"] == "pruned", "digest"] if len(record.trials) else []
    spared = sum(max(0, len(spec.study.seed_list) - int(search.get(digest, 0))) for digest in pruned)
    planned = sum(epochs.values())
    return {
        "shared": epochs["shared"] / planned,
        "stopped": epochs["stopped"] / planned,
        "spared": spared / (spared + int(search.sum())) if len(search) else 0.0,
    }


def cost(record: StudyRecord) -> pd.DataFrame:
    """stage, failure_mode, runs, seconds: what was trained, whatever for, and how it ended."""
    runs = record.runs if len(record.runs) else _no_runs(record)
    table = runs.groupby(["stage", "failure_mode"]).agg(runs=("seed", "size"), seconds=("seconds", "sum"))
    return table.reset_index()


# Their parts


def _no_runs(record: StudyRecord) -> pd.DataFrame:
    columns = ["study", "stage", "trial", "seed", "digest", *type(record.spec.run).model_fields, "failure_mode",
               "failure_since", "evidence", "explanation", "score", "train_accuracy", "train_accuracy_min",
               "test_accuracy", "heldout_accuracy", "validation_accuracy", "train_nll", "epochs_trained", "stopped",
               "seconds", "device", "curve_epoch"]  # fmt: skip
    return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})


def _ranked(record: StudyRecord, trials: list[int]) -> pd.DataFrame:
    """The runs of some trials' configurations, with `rank` (place in the list) and `configuration` (its name)."""
    digests = trials_of(record).set_index("trial")["digest"].loc[trials]
    rank = {digest: place for place, digest in enumerate(digests)}
    runs = runs_of(record)
    runs = runs[runs["digest"].isin(list(rank))]
    ranks = [rank[digest] for digest in runs["digest"]]
    return runs.assign(rank=ranks, configuration=[f"trial {trials[place]}" for place in ranks])


def _outcome(runs: pd.DataFrame) -> dict[str, Any]:
    successes, n = int((runs["failure_mode"] == "invariant").sum()), len(runs)
    share = share_of(successes, n)
    told = {
        "n": n, "successes": successes, "rate": share["share"], "low": share["low"], "high": share["high"],
        "score": float(runs["score"].mean()) if n else math.nan,
    }  # fmt: skip
    for name, statistic in (("test", statistics.iqm), ("mean", np.mean), ("worst", statistics.worst_decile)):
        ends = (name, f"{name}_low", f"{name}_high")
        told |= dict(zip(ends, centre_of(runs["test_accuracy"], statistic), strict=True))
    return told


@functools.cache
def _wilson(count: int, n: int) -> tuple[float, float, float]:
    rate, (low, high) = statistics.success_rate(count, n)
    return float(rate), low, high


def share_of(count: int, n: int) -> dict[str, float]:
    """share (a fraction; NaN of none), low, high (Wilson)."""
    return dict(zip(("share", "low", "high"), _wilson(count, n), strict=True))


def _commonest(modes: pd.Series) -> str:
    counts = modes.value_counts()
    return min(counts.index, key=lambda mode: (-counts[mode], MODES.index(mode)))


def accuracy_curves(run: dict[str, Any]) -> dict[str, Any]:
    """Of a row of the table of runs: epoch, train (mean over training environments) and test, each (checkpoints,), NaN
    where a number is not finite; anneal_epoch.
    """
    names = [
        key
        for key, value in run.items()
        if key.startswith("curve_accuracy_train") and isinstance(value, list | tuple | np.ndarray)
    ]
    train = np.mean([np.asarray(run[name], dtype=float) for name in names], axis=0)
    test = np.asarray(run["curve_accuracy_test"], dtype=float)
    return {
        "epoch": np.asarray(run["curve_epoch"], dtype=float),
        "anneal_epoch": float(run["anneal_epoch"]),
        "train": np.where(np.isfinite(train), train, np.nan),
        "test": np.where(np.isfinite(test), test, np.nan),
    }


def quantile_band(measured: list[dict[str, Any]], environment: str, shared: bool) -> pd.DataFrame:
    """Quantiles .1, .5 and .9 of some runs' `accuracy_curves`: environment, epoch, since_anneal, low, median, high.

    shared: whether the runs have one anneal epoch; else `epoch` too counts from it.
    """
    shifts = [0.0 if shared else run["anneal_epoch"] for run in measured]
    axes = [run["epoch"] - shift for run, shift in zip(measured, shifts, strict=True)]
    grid = np.linspace(min(axis[0] for axis in axes), max(axis[-1] for axis in axes), 81)
    stacked = np.array(
        [
            np.interp(grid, axis, run[environment], left=np.nan, right=np.nan)
            for axis, run in zip(axes, measured, strict=True)
        ]
    )
    count = np.isfinite(stacked).sum(axis=0)
    # Runs that have just begun would pull the quantiles down: the band begins where nearly all have.
    begun = np.arange(len(grid)) >= np.argmax(count >= 0.9 * count.max())
    enough = begun & (count >= len(measured) / 2)
    low, median, high = (
        np.nanquantile(stacked[:, enough], [0.1, 0.5, 0.9], axis=0) if enough.any() else np.empty((3, 0))
    )
    anneal = measured[0]["anneal_epoch"] if shared else 0.0
    epoch = grid[enough]
    return pd.DataFrame(
        {"environment": environment, "epoch": epoch, "since_anneal": epoch - anneal if shared else epoch,
         "low": low, "median": median, "high": high}
    )  # fmt: skip


def _bins(values: pd.Series) -> tuple[np.ndarray, list[tuple[str, str, str]]]:
    """The bin of each value (-1 where there is none), and of each bin the label and the edges."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    distinct = sorted(values.dropna().unique(), key=None if numeric else str)
    if not numeric or len(distinct) <= BINS:
        index = {value: place for place, value in enumerate(distinct)}
        labels = [(short(value), "", "") for value in distinct]
        return np.array([index.get(value, -1) for value in values]), labels
    # Quantiles of the distinct values: every trial counts once, however many seeds it has.
    edges = np.unique(np.quantile(np.array(distinct, dtype=float), np.linspace(0, 1, BINS + 1)))
    bins = np.clip(np.searchsorted(edges, values.to_numpy(dtype=float), side="right") - 1, 0, len(edges) - 2)
    texts = [short(edge) for edge in edges]
    return bins, [(f"{low}–{high}", low, high) for low, high in itertools.pairwise(texts)]


def short(value: Any) -> str:
    """A hyperparameter's value in a few characters: 3 digits of a number, the whole of a word."""
    if isinstance(value, bool | np.bool_ | str) or value is None:
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if number != 0 and not 1e-3 <= abs(number) < 1e5:
        mantissa, exponent = f"{number:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    rounded = float(f"{number:.3g}")
    return f"{rounded:.0f}" if abs(rounded) >= 100 else f"{rounded:g}"
