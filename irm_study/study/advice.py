"""Advice that is tried: failing runs of finished studies, trained again on the same seeds with one thing changed.

Which change a failure mode advises is said in `irm_study.diagnosis`; what came of it is summed up in the report.
Changed runs are kept in folders of `train`, so that they go on as any others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from irm_study.config import EnvironmentSpec, RunConfig, StudySpec, TrainSpec, obeys_rules, run_digest
from irm_study.diagnosis import Change
from irm_study.errors import ConfigError
from irm_study.results import config_of, load_runs, refuse_studies, write_runs_csv
from irm_study.study.driver import RequestedRun
from irm_study.study.folder import results_folder
from irm_study.study.run import train_each
from irm_study.study.settings import Settings, Watcher

MEASURED = {
    "failure_mode": "mode",
    "train_accuracy_min": "train_accuracy",
    "test_accuracy": "test_accuracy",
    "score_zone_margin": "zone_margin",
    "shape_skill": "shape_skill",
    "colour_reliance": "colour_reliance",
}
"""Columns of the table of runs, and what they are called behind `before_` and `after_` in a table of pairs."""


class Source(NamedTuple):
    """A finished study, or a folder of `train`, and its runs, judged."""

    spec: StudySpec | TrainSpec
    runs: pd.DataFrame

    @property
    def folder_name(self) -> str:
        """Of its changed runs: its name, and a digest of what they are trained on, which no two folders share."""
        digest = run_digest(self.spec.digits, self.spec.environments, RunConfig())
        return f"{results_folder(self.spec.name).name}-{digest[1:9]}"


class Pair(NamedTuple):
    """A run that failed, and the one that is to be trained in its place."""

    source: int
    change: Change
    before: Mapping[str, Any]
    after: RequestedRun


def read_sources(folders: Iterable[Path]) -> list[Source]:
    """Raises ConfigError where a folder holds no runs."""
    sources = []
    for folder in folders:
        spec, runs = load_runs(folder)
        if runs.empty:
            raise ConfigError(f"{folder}: no finished runs")
        sources.append(Source(spec, runs))
    return sources


def tried_in(folders: Iterable[Path]) -> frozenset[str]:
    """Digests of the configurations that were changed in folders of an earlier `advice`.

    Raises ConfigError where there is no table of them.
    """
    digests: set[str] = set()
    for folder in folders:
        try:
            digests |= set(pd.read_csv(folder / "advice.csv", usecols=["digest"])["digest"].astype(str))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder}: holds no advice.csv of 'advice': {error}") from None
    return frozenset(digests)


def try_changes(
    sources: Sequence[Source],
    changes: Mapping[str, Sequence[Change]],
    count: int,
    known: frozenset[str],
    folder: Path,
    settings: Settings,
    watch: Callable[[str], AbstractContextManager[Watcher]],
) -> tuple[pd.DataFrame, int]:
    """Train failing runs again, changed, what is missing of it; write runs.csv, a row for each run before and after.

    changes: by failure mode, each tried by itself. count: runs of each mode and digits. known: digests of
    configurations that are left out. watch: makes a watcher for the source of that name. Returns a row for each pair
    (digits, study, failure_mode, key, factor, change, digest, after_digest, seed, and each of MEASURED before and
    after), and how many runs were trained. Raises ConfigError where no run failed in one of the modes, or the folder
    holds a study.
    """
    refuse_studies(folder)
    pairs = [
        pair
        for digits in dict.fromkeys(source.spec.digits for source in sources)
        for mode, several in changes.items()
        for change in several
        for pair in spread(_possible(sources, digits, mode, change, known), count)
    ]
    if not pairs:
        raise ConfigError(f"no run that failed can be changed so; modes that were asked for: {', '.join(changes)}")
    rows, tables, trained = [], [], 0
    for number, source in enumerate(sources):
        own = [pair for pair in pairs if pair.source == number]
        if not own:
            continue
        requested = {pair.after.key: pair.after for pair in own}
        spec = TrainSpec.model_construct(
            name=source.spec.name, digits=source.spec.digits, environments=source.spec.environments,
            target=source.spec.target, run=own[-1].after.config,
        )  # fmt: skip
        with watch(f"study {number + 1} of {len(sources)}, {source.spec.name}") as watcher:
            runs, count_here = train_each(
                spec, list(requested.values()), folder / source.folder_name, settings, watcher
            )
        trained += count_here
        after = {(row["digest"], row["seed"]): row for row in runs.to_dict("records")}
        rows += [_row(source, pair, after[pair.after.key]) for pair in own]
        kept = {(pair.before["digest"], pair.before["seed"]) for pair in own}
        tables += [_only(source.runs, kept), _only(runs, set(requested))]
    write_runs_csv(folder, pd.concat(tables, ignore_index=True))
    return pd.DataFrame(rows), trained


def spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """So many of them, over as many configurations as there are: of each one, then of each a second one, ….

    Configurations are taken in the order of their digests, which no hyperparameter decides.
    """
    seen: dict[str, int] = {}
    turns = []
    for pair in sorted(pairs, key=lambda pair: (pair.before["digest"], pair.before["seed"])):
        digest = pair.before["digest"]
        seen[digest] = seen.get(digest, -1) + 1
        turns.append((seen[digest], digest, pair))
    return [pair for _, _, pair in sorted(turns, key=lambda turn: turn[:2])[:count]]


def _possible(sources: Sequence[Source], digits: str, mode: str, change: Change, known: frozenset[str]) -> list[Pair]:
    """Every run that ended in the mode and that a change has an effect on; of one that two folders have, the first."""
    pairs: dict[tuple[str, int], Pair] = {}
    for number, source in enumerate(sources):
        if source.spec.digits == digits:
            for row in source.runs[(source.runs["failure_mode"] == mode) & ~source.runs["digest"].isin(known)].to_dict(
                "records"
            ):
                after = _changed(row, change, digits, source.spec.environments)
                if after is not None:
                    pairs.setdefault((row["digest"], row["seed"]), Pair(number, change, row, after))
    return list(pairs.values())


def _changed(row: Mapping[str, Any], change: Change, digits: str, environments: EnvironmentSpec) -> RequestedRun | None:
    """None where the changed value is not allowed, or has no effect."""
    try:
        config = change.of(config_of(row))
    except ValueError:
        return None
    digest = run_digest(digits, environments, config)
    if digest == row["digest"] or not obeys_rules(environments, config):
        return None
    return RequestedRun(0, config, digest, row["seed"])


def _row(source: Source, pair: Pair, after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "digits": source.spec.digits,
        "study": source.spec.name,
        "failure_mode": pair.before["failure_mode"],
        "key": pair.change.key,
        "factor": str(pair.change.factor),
        "change": pair.change.text,
        "digest": pair.before["digest"],
        "after_digest": pair.after.digest,
        "seed": pair.before["seed"],
        **{f"before_{name}": pair.before[column] for column, name in MEASURED.items()},
        **{f"after_{name}": after[column] for column, name in MEASURED.items()},
    }


def _only(runs: pd.DataFrame, keys: set[tuple[str, int]]) -> pd.DataFrame:
    """The runs of these digests and seeds."""
    return runs[[key in keys for key in zip(runs["digest"], runs["seed"], strict=True)]]
