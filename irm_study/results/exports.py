"""The files that scripts read: runs.csv, trials.csv, summary.json and best.toml. All are derived, and made again from
the table of runs whenever a study has gone on or its page is made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from irm_study.config import StudySpec, TrainSpec, is_whole, obeys_rules, train_toml
from irm_study.files import finite, plain, write_csv, write_text
from irm_study.region import proof_runs, proven
from irm_study.results.baselines import baseline_means
from irm_study.results.columns import is_curve
from irm_study.results.configurations import best_trials, confirmed_table, confirmed_tie, search_tie, undecided
from irm_study.results.ranking import Tie
from irm_study.results.record import StudyRecord
from irm_study.results.summaries import epochs_spent, mode_counts, over_seeds
from irm_study.results.table import config_of, renew_digests


def write_tables(record: StudyRecord) -> None:
    """runs.csv, trials.csv, summary.json, and best.toml where the study's best are confirmed.

    Parts of earlier versions get the digests that runs.csv has.
    """
    renew_digests(record.folder, record.spec)
    write_runs_csv(record.folder, record.runs)
    whole = [key for key in record.spec.search if is_whole(key) and key in record.trials]
    trials = record.trials.astype(dict.fromkeys(whole, "Int64"))  # which may be empty, and stay whole
    write_csv(record.folder / "trials.csv", trials)
    summarised = summary(record)
    write_text(record.folder / "summary.json", json.dumps(finite(summarised), indent=2) + "\n")
    _write_best(record, summarised["confirmed"])


def write_runs_csv(folder: Path, runs: pd.DataFrame) -> None:
    """runs: as `StudyRecord.runs`, or with more columns behind; curves are left out."""
    curves = [name for name in runs.columns if is_curve(name)]
    write_csv(folder / "runs.csv", runs.drop(columns=curves))


def summary(record: StudyRecord) -> dict[str, Any]:
    """The content of summary.json: what was searched, how many trials and runs, how they ended, the best in the search
    and the confirmed configurations, with the ties for the first place, the baselines, the region, epochs, importance,
    provenance."""
    search = record.runs[record.runs["stage"] == "search"]
    best = best_trials(record.trials, record.runs, record.spec, 1)
    return {
        "study": record.spec.name,
        "digits": record.spec.digits,
        "criterion": record.spec.study.criterion,
        "aggregate": record.spec.study.aggregate,
        "trials": record.finished,
        "runs": len(record.runs),
        "failure_modes": mode_counts(search),
        "best": None if best.empty else {
            "trial": int(best["trial"].iloc[0]),
            "parameters": _set_in(best.to_dict("records")[0], record.spec),
            "value": float(best["value"].iloc[0]),
            "tie": _tie(search_tie(record)),
        },
        "confirmed": confirmed_table(record),
        "confirmed_tie": _tie(confirmed_tie(record)),
        "baselines": baseline_means(record.baselines).to_dict("records"),
        "region": _region(record),
        "epochs": epochs_spent(record.runs),
        "importance": {
            key: {"share": each.share.value, **each.share.interval._asdict(), "p_value": each.p_value}
            for key, each in record.importance.items()
        },
        "provenance": record.provenance,
    }  # fmt: skip


def _region(record: StudyRecord) -> dict[str, Any] | None:
    """The region's box (by hyperparameter low and high, or choices), how it was found, and its proof, as `over_seeds`,
    with the interval of `proven`."""
    region = record.region
    if region is None:
        return None
    box = region.spec.model_dump(mode="json", exclude_none=True)["search"]
    runs = proof_runs(record.spec, region, record.runs)
    proof = over_seeds(runs) if len(runs) else None
    if proof is not None:
        _, (low, high) = proven(proof["successes"], len(runs), region.found.attempt)
        proof |= {"low": low, "high": high}
    return {"box": box, **region.found.model_dump(), "proof": proof}


def _write_best(record: StudyRecord, confirmed: Sequence[Mapping[str, Any]]) -> None:
    """best.toml: the confirmed winner, with the command that trains it; nothing while the confirmation is not whole.

    confirmed: as `confirmed_table`.
    """
    wanted = record.spec.confirm
    seeds_of = {row["digest"]: row["seeds"] for row in confirmed}
    due = best_trials(record.trials, record.runs, record.spec, wanted.top)["digest"]
    if not confirmed or any(seeds_of.get(digest, 0) < wanted.seeds for digest in due):
        return
    best = confirmed[0]
    own = record.runs[record.runs["digest"] == best["digest"]]
    spec = TrainSpec.model_construct(
        name=f"{record.spec.name[:190]}-best", digits=record.spec.digits, environments=record.spec.environments,
        run=config_of(own.iloc[0].to_dict()),
    )  # fmt: skip
    if not obeys_rules(spec.environments, spec.run):  # version 0.1 let such points pass, and `train` would refuse it
        return
    tie, of = undecided(record), "" if len(confirmed) == 1 else f" for the best of {len(confirmed)}"
    several = "" if tie is None else f"Other configurations are as good: {tie.text}.\n"
    fresh = own.loc[own["stage"] == "confirm", "seed"]
    # Fresh seeds leave out those that the search names; then no command can name them.
    in_a_row = fresh.max() - fresh.min() < len(fresh)
    seeds = f" --seeds {len(fresh)} --first-seed {fresh.min()}" if in_a_row else ""
    comment = (
        f"The winner of a study, confirmed on {best['seeds']} seeds that its search never saw: in the target zone in "
        f"{best['successes']} of them,\n95% interval of the rate{of}, "
        f"at any number of seeds: {best['low']:.3f} to {best['high']:.3f}.\n"
        f"{several}Train it{' anew on the same seeds' if in_a_row else ''} with: irm-study train "
        f"{shlex.quote(str(record.folder / 'best.toml'))}{seeds}"
    )
    write_text(record.folder / "best.toml", train_toml(spec, comment))


def _set_in(trial: dict[str, Any], spec: StudySpec) -> dict[str, Any]:
    """The hyperparameters of a trial, without those that have no effect."""
    values = {key: plain(trial[key]) for key in spec.search}
    return {key: int(value) if is_whole(key) else value for key, value in values.items() if value is not None}


def _tie(tie: Tie | None) -> dict[str, Any] | None:
    """A tie's fields, whether it is open, and `text`, the same as on the page and in the terminal."""
    return None if tie is None else asdict(tie) | {"open": tie.is_open, "text": tie.text}
