"""Studies that were never run: records of every kind a page must cope with, made from a seed.

The numbers are plausible (a run that ends `erm_like` has a curve that stays at .85 in training and .11 in
test, a `collapsed` one falls to .50 at its anneal epoch), and the same call gives the same record.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irm_study.config import EnvironmentSpec, RegionSection, RunConfig, StudyRegion, StudySpec, run_digest, study_toml
from irm_study.config.study import ConfirmSection
from irm_study.diagnosis import (
    CRITERIA,
    EXPLANATIONS,
    FAILURE_MODES,
    PROBES,
    QUANTITIES,
    Curves,
    criteria_for,
    curve_columns,
    skill,
)
from irm_study.diagnosis import score as score_by_criterion
from irm_study.region import proof_points
from irm_study.results import Along, StudyRecord, choices, confirmed, draws, neighbours, table
from irm_study.statistics import Estimate, Interval

ENDS = {
    "invariant": (0.712, 0.665, 0.012, 0.02),
    "near_miss": (0.69, 0.65, 0.003, 0.01),
    "relapsed": (0.70, 0.56, 0.012, 0.02),
    "unsettled": (0.66, 0.52, 0.02, 0.02),
    "shape_lost": (0.60, 0.57, 0.012, 0.02),
    "shape_not_learnt": (0.64, 0.60, 0.012, 0.01),
    "leans_on_colour": (0.775, 0.43, 0.02, 0.06),
    "penalty_met": (0.76, 0.46, 0.02, 0.04),
    "memorised": (0.93, 0.22, 0.02, 0.03),
    "erm_like": (0.851, 0.112, 0.006, 0.012),
    "anti_colour": (0.60, 0.71, 0.02, 0.02),
    "collapsed": (0.50, 0.50, 0.004, 0.004),
    "diverged": (math.nan, math.nan, 0.0, 0.0),
}
"""Mode → train accuracy, test accuracy at the end, and their spreads over seeds."""

SEARCH = {
    "penalty_weight": {"low": 10.0, "high": 1e6, "log": True},
    "ramp": ["step", "linear", "exponential", "cosine"],
    "anneal_epoch": {"low": 5, "high": 120},
    "learning_rate": {"low": 5e-4, "high": 2e-2, "log": True},
}


def study_spec(name: str = "synthetic", **changes: Any) -> StudySpec:
    run = {"hidden": 64, "epochs": 201}
    data: dict[str, Any] = {"name": name, "run": run, "search": SEARCH, "confirm": {"top": 1}}
    return StudySpec.model_validate(data | changes)


def study_record(
    folder: Path,
    trials: int = 12,
    seeds: int = 4,
    confirm_top: int = 1,
    confirm_seeds: int = 8,
    only: str | None = None,
    spec: StudySpec | None = None,
    running: int = 0,
    importance: bool = True,
) -> StudyRecord:
    """A study of `trials` finished trials and `running` unfinished ones; `only`: every run ends in that mode."""
    spec = spec or study_spec()
    random = np.random.default_rng(20_26)
    rows, trial_rows = [], []
    for trial in range(trials + running):
        parameters = _draw(spec, random)
        finished = trial < trials
        done = seeds if finished else seeds // 2
        runs = [_run(spec, "search", trial, seed, parameters, only, random) for seed in range(done)]
        rows += runs
        value = float(np.mean([run["score"] for run in runs])) if finished else math.nan
        digest = run_digest(spec.digits, spec.environments, spec.configure(parameters))
        trial_rows.append(
            {"trial": trial, "digest": digest, "state": "complete" if finished else "running", "value": value}
            | parameters
        )
    best = sorted((row for row in trial_rows if row["state"] == "complete"), key=lambda row: -row["value"])
    for row in best[:confirm_top]:
        parameters = {key: row[key] for key in spec.search}
        for seed in range(1000, 1000 + confirm_seeds):
            rows.append(_run(spec, "confirm", row["trial"], seed, parameters, only, random))
    weights = random.dirichlet(np.ones(len(spec.search))) if spec.search else []
    return StudyRecord(
        folder=folder,
        spec=spec,
        runs=pd.DataFrame(rows),
        trials=pd.DataFrame(trial_rows, columns=None if trial_rows else ["trial", "digest", "state", "value"]),
        importance=importance_of(dict(zip(spec.search, weights, strict=True))) if importance and trials > 2 else {},
        provenance={
            "command": "irm-study run studies/synthetic.toml --jobs 2",
            "versions": {"irm-study": "0.1.0", "torch": "2.15.0", "optuna": "5.0.0"},
            "hardware": "2 cores",
            "started": "2026-11-20T10:00:00+00:00",
            "finished": "2026-11-20T10:03:20+00:00",
        },
    )


def stored(record: StudyRecord) -> Path:
    """Write what a study's folder holds, but for Optuna's storage; returns the folder."""
    record.folder.mkdir(parents=True, exist_ok=True)
    (record.folder / "study.toml").write_text(study_toml(record.spec))
    rows = record.runs.drop(columns="study").to_dict("records")
    table.write_part(record.folder, rows, record.spec.environments)
    return record.folder


def _draw(spec: StudySpec, random: np.random.Generator) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for key, entry in spec.search.items():
        if isinstance(entry, tuple):
            parameters[key] = entry[int(random.integers(len(entry)))]
        elif entry.log:
            parameters[key] = float(np.exp(random.uniform(math.log(entry.low), math.log(entry.high))))
        else:
            value = random.uniform(entry.low, entry.high)
            whole = isinstance(entry.low, int) and isinstance(entry.high, int)
            parameters[key] = int(value) if whole else float(value)
    return parameters


def _mode(run: RunConfig, random: np.random.Generator) -> str:
    """Weak penalties stay with colour, strong ones on a fast network collapse, the rest is mixed."""
    pull = math.log10(max(run.penalty_weight, 1)) + 0.5 * math.log10(run.learning_rate / 0.003)
    pull += random.normal(0, 0.25)
    if pull < 2.2:
        return str(random.choice(["erm_like", "memorised"], p=[0.8, 0.2]))
    if pull < 3.2:
        return str(random.choice(["leans_on_colour", "erm_like", "invariant"], p=[0.6, 0.2, 0.2]))
    if pull < 4.8:
        return str(random.choice(["invariant", "relapsed", "shape_not_learnt"], p=[0.65, 0.15, 0.2]))
    return str(random.choice(["collapsed", "anti_colour", "diverged", "invariant"], p=[0.7, 0.12, 0.08, 0.1]))


def _run(
    spec: StudySpec,
    stage: str,
    trial: int,
    seed: int,
    parameters: dict[str, Any],
    only: str | None,
    random: np.random.Generator,
) -> dict[str, Any]:
    run = spec.configure(parameters)
    mode = only or _mode(run, random)
    assert mode in FAILURE_MODES
    train_end, test_end, train_spread, test_spread = ENDS[mode]
    train = train_end + train_spread * random.standard_normal()
    test = test_end + test_spread * random.standard_normal()
    if mode == "invariant":
        train, test = max(train, 0.705), max(test, 0.605)
    curves = _curves(spec.environments, run, mode, train, test, random)
    told = skill(curves, spec.environments)
    last = dict(zip(curves.environments, curves.accuracy[-1], strict=True))
    trains = [last[name] for name in spec.environments.train_names]
    score = min(*trains, last["test"])
    since = run.epochs if mode == "diverged" else min(run.anneal_epoch + int(random.integers(0, 40)), run.epochs - 1)
    return {
        "study": spec.name,
        "stage": stage,
        "trial": trial,
        "seed": seed,
        "digest": run_digest(spec.digits, spec.environments, run),
        **run.model_dump(),
        "failure_mode": mode,
        "failure_mode_recoloured": "near_miss" if mode == "relapsed" else mode,
        "failure_mode_heldout": mode if spec.environments.heldout_examples is not None else "",
        "failure_mode_unseen": mode if spec.environments.unseen_examples is not None else "",
        "unseen_accuracy": last.get("unseen", math.nan),
        "failure_mode_validation": mode if spec.environments.validation_flip is not None else "",
        "failure_since": 0 if mode == "erm_like" else since,
        "evidence": f"train accuracy {np.mean(trains):.4g}; test accuracy {last['test']:.4g}",
        "explanation": EXPLANATIONS[mode],
        "score": float(score) if math.isfinite(score) else 0.0,
        "train_accuracy": float(np.mean(trains)),
        "train_accuracy_min": float(min(trains)) if np.isfinite(trains).all() else math.nan,
        "test_accuracy": float(last["test"]),
        "heldout_accuracy": float(last["heldout"]),
        "validation_accuracy": float(last.get("validation", math.nan)),
        "shape_skill": float(told.shape[-1]),
        "colour_reliance": float(told.colour[-1]),
        "memorisation": float(told.memorised[-1]),
        "skill_residual": float(told.residual[-1]),
        "train_nll": float(curves.nll[-1, 0]),
        **{probe: float(getattr(curves, probe)[-1]) for probe in PROBES},
        **{f"score_{name}": score_by(name, curves, spec.environments) for name in CRITERIA},
        "epochs_trained": run.epochs,
        "stopped": "",
        "shared_epochs": 0,
        "seconds": float(random.uniform(1.5, 2.5)),
        "device": "cpu",
        **curve_columns(curves),
    }


def _curves(
    environments: EnvironmentSpec, run: RunConfig, mode: str, train: float, test: float, random: np.random.Generator
) -> Curves:
    """Up to the anneal epoch towards ERM (.85 / .11), after it towards the run's end."""
    step = run.checkpoint_every or max(1, run.epochs // 50)
    epoch = np.unique(np.append(np.arange(0, run.epochs + 1, step), run.epochs))
    names = environments.names
    risen = 1 - np.exp(-epoch / 12)
    after = np.clip(1 - np.exp(-(epoch - run.anneal_epoch) / 15), 0, None)
    gap = np.array([(-0.02 if name == "train1" else 0.02) if name.startswith("train") else 0 for name in names])
    train, test = (value if math.isfinite(value) else 0.5 for value in (train, test))
    goal = np.array([test if name == "test" else 0.6 if name == "validation" else train for name in names])
    erm = np.array([0.11 if name == "test" else 0.5 if name == "validation" else 0.85 for name in names])
    start = np.full(len(names), 0.5)
    path = start + risen[:, None] * (erm + gap - start)
    accuracy = path + after[:, None] * (goal + gap * (mode == "erm_like") - path)
    accuracy += 0.004 * random.standard_normal(accuracy.shape)
    accuracy[-1] = goal + gap * (mode == "erm_like")
    accuracy = np.clip(accuracy, 0, 1)
    nll = 0.9 - 0.6 * accuracy
    if mode == "diverged":
        broken = epoch >= run.anneal_epoch + 5
        accuracy[broken], nll[broken] = math.nan, math.inf
        accuracy[-1], nll[-1] = math.nan, math.inf
    # Judged anew, a collapsed run is one of constant logits, and no other is.
    constant = (mode == "collapsed") & (epoch > run.anneal_epoch + 10)[:, None]
    spread, positive = (
        np.where(constant, 0.0, np.ones_like(accuracy)),
        np.where(constant, 1.0, np.full_like(accuracy, 0.5)),
    )
    gradient = np.zeros_like(accuracy) + np.array(
        [0.05 * (name == "train1") - 0.05 * (name == "train2") for name in names]
    )
    columns = {"accuracy": accuracy, "nll": nll, "spread": spread, "positive_share": positive, "gradient": gradient}
    assert columns.keys() == set(QUANTITIES)
    weight = np.where(epoch < run.anneal_epoch, run.initial_weight, run.penalty_weight)
    test, heldout = (accuracy[:, names.index(name)] for name in ("test", "heldout"))
    probes = {"grey_accuracy": heldout, "swapped_accuracy": test, "swap_share": np.abs(heldout - test)}
    counts = (25_000,) * len(names)
    return Curves(names, epoch, weight, **columns, **probes, examples=counts, seconds=2.0)


def score_by(criterion: str, curves: Curves, environments: EnvironmentSpec) -> float:
    return score_by_criterion(criterion, curves, environments) if criterion in criteria_for(environments) else math.nan


def _one_ramp(folder: Path) -> StudyRecord:
    spec = study_spec(search={key: value for key, value in SEARCH.items() if key != "ramp"})
    return study_record(folder, spec=spec)


def _hostile(folder: Path) -> StudyRecord:
    """Names and values that a page must print and not obey; ramps may be named so by a plugin."""
    ramps = ("</script><script>alert(1)</script>", "色$^2$", 'it\'s "quoted" & long ' * 3)
    spec = study_spec(name="<script>alert('x')</script> & \"Ünï\" 色付き $\\frac{1}{2}$")
    spec = spec.model_copy(update={"search": spec.search | {"ramp": ramps}})
    record = study_record(folder, spec=spec)
    record.runs["evidence"] = "</script><img src=x onerror=alert(2)> " + record.runs["evidence"]
    record.provenance["hardware"] = "<b>bold</b> \u2028 cores"
    return record


def _with_validation(folder: Path) -> StudyRecord:
    return study_record(
        folder,
        spec=study_spec(
            environments={"validation_flip": 0.5},
            study={"criterion": "validation_min"},
            digits="mnist",
        ),
    )


def _no_columns(folder: Path) -> StudyRecord:
    """Opened, and nothing run: the tables have no columns either."""
    record = study_record(folder, trials=0, confirm_top=0)
    return StudyRecord(folder, record.spec, pd.DataFrame(), pd.DataFrame(), {}, {})


def _proven(folder: Path) -> StudyRecord:
    """With the runs that the confirmation may ask for: other criteria's choices, neighbours, crossed draws; with a
    region, and ideals."""
    record = study_record(folder, trials=13)  # of which criteria choose different ones
    random = np.random.default_rng(7)
    winner = confirmed(record.runs, record.spec).iloc[0]
    row = record.runs[record.runs["digest"] == winner["digest"]].head(1).to_dict("records")[0]
    config = table.config_of(row)
    parameters = {key: row[key] for key in record.spec.search}
    rows, fresh = [], range(1000, 1008)
    for near in neighbours(record.spec, config):
        changed = parameters | {near.hyperparameter: getattr(near.config, near.hyperparameter)}
        rows += [_run(record.spec, "neighbour", winner["trial"], seed, changed, None, random) for seed in fresh]
    for choice in choices(record.trials, record.runs, record.spec).to_dict("records"):
        if choice["digest"] != winner["digest"]:
            chosen = record.trials[record.trials["trial"] == choice["trial"]].to_dict("records")[0]
            values = {key: chosen[key] for key in record.spec.search}
            rows += [_run(record.spec, "criterion", choice["trial"], seed, values, None, random) for seed in fresh]
    for seed, initial, changed in draws(record.spec.model_copy(update={"confirm": ConfirmSection(draws=4)}), config):
        spec = record.spec.model_copy(update={"run": record.spec.run.model_copy(update={"initial_seed": initial})})
        assert changed.initial_seed == initial
        rows.append(_run(spec, "draws", winner["trial"], seed, parameters, None, random))
    runs = pd.concat([record.runs, pd.DataFrame(rows)], ignore_index=True).drop_duplicates(["digest", "seed"])
    return _with_region(with_ideals(dataclasses.replace(record, runs=runs)))


def _with_region(record: StudyRecord) -> StudyRecord:
    """A box of half of every range and some of the ramps, and runs drawn from it."""
    box = {"penalty_weight": {"low": 1e3, "high": 3e5, "log": True}, "ramp": ["step", "cosine"],
           "learning_rate": {"low": 5e-4, "high": 3e-3, "log": True}, "anneal_epoch": {"low": 40, "high": 100}
           }  # fmt: skip
    found = RegionSection(rate=0.5, lowest=0.5, trial=3, attempt=2, first_seed=1_000_000, loss=0.5, base_loss=0.7,
                          p_value=0.001, configurations=30, runs=128, successes=50, share=0.07)  # fmt: skip
    region = StudyRegion(study_spec(name="synthetic-region", search=box), found)
    random, rows = np.random.default_rng(8), []
    for seed, config, _ in proof_points(record.spec, region, 20):
        parameters = {key: getattr(config, key) for key in record.spec.search}
        rows.append(_run(record.spec, "region", 3, seed, parameters, None, random))
    runs = pd.concat([record.runs, pd.DataFrame(rows)], ignore_index=True)
    return dataclasses.replace(record, runs=runs, region=region)


def _searching(**search: Any) -> Callable[[Path], StudyRecord]:
    return lambda folder: study_record(folder, trials=30, spec=study_spec(search=search))


def with_ideals(record: StudyRecord) -> StudyRecord:
    """The same study with ideals of its fresh seeds' draws, such as `irm-study ideal` computes."""
    fresh = record.runs[record.runs["stage"] == "confirm"]
    random = np.random.default_rng(11)
    ideals = fresh[["digest", "seed"]].assign(
        alpha=1.0, beta=0.1, shape_skill=0.72, colour_reliance=random.normal(0.02, 0.02, len(fresh)),
        train_accuracy=0.72, test_accuracy=random.normal(0.70, 0.01, len(fresh)),
    )  # fmt: skip
    return dataclasses.replace(record, ideals=ideals.reset_index(drop=True))


def long_names(folder: Path) -> StudyRecord:
    """Names of choices as a plugin may have them: long, alike at their beginnings."""
    ramps = tuple(f"a_ramp_with_a_very_long_name_indeed_{ending}" for ending in ("zeta", "alpha", "mid", "omega"))
    spec = study_spec()
    return study_record(folder, trials=30, spec=spec.model_copy(update={"search": spec.search | {"ramp": ramps}}))


def conditional(folder: Path, trials: int = 30) -> StudyRecord:
    """A step takes no epochs: its trials have no value of `ramp_epochs` and of `ramp_exponent`."""
    search = {"ramp": ["step", "power", "linear"], "ramp_epochs": {"low": 5, "high": 60},
              "ramp_exponent": [1.0, 2.0, 4.0], "penalty_weight": SEARCH["penalty_weight"]}  # fmt: skip
    record = study_record(folder, trials=trials, spec=study_spec(search=search))
    table = record.trials.copy()
    table["ramp_epochs"] = table["ramp_epochs"].where(table["ramp"] != "step")
    table["ramp_exponent"] = table["ramp_exponent"].where(table["ramp"] == "power")
    importance = importance_of({"ramp_epochs": 0.5, "penalty_weight": 0.3, "ramp_exponent": 0.15, "ramp": 0.05})
    return dataclasses.replace(record, trials=table, importance=importance)


def importance_of(shares: Mapping[str, float]) -> dict[str, Along]:
    """`StudyRecord.importance` with shares as given."""
    return {
        key: Along(Estimate(float(share), Interval(0.5 * float(share), 0.5 + 0.5 * float(share))), 0.5)
        for key, share in shares.items()
    }


def tied_record(folder: Path, only: str = "near_miss", **kind: Any) -> StudyRecord:
    """Judged by whether runs are in the zone, and none is: every objective value is 0, and `zone_margin` differs (but
    where all diverged)."""
    record = study_record(folder, spec=study_spec(study={"criterion": "oracle_success"}), only=only, **kind)
    assert (record.runs["score_oracle_success"] == 0).all()
    return dataclasses.replace(record, runs=record.runs.assign(score=0.0), trials=record.trials.assign(value=0.0))


KINDS: dict[str, Callable[[Path], StudyRecord]] = {
    "plain": study_record,
    "empty": _no_columns,
    "one trial, one seed": lambda folder: study_record(folder, trials=1, seeds=1, confirm_top=0),
    "one seed": lambda folder: study_record(folder, trials=10, seeds=1, confirm_seeds=1),
    "one ramp": _one_ramp,
    "all collapsed": lambda folder: study_record(folder, only="collapsed"),
    "all diverged": lambda folder: study_record(folder, only="diverged"),
    "unfinished": lambda folder: study_record(folder, trials=3, running=2, confirm_top=0),
    "nothing searched": lambda folder: study_record(folder, trials=1, spec=study_spec(search={}), confirm_top=1),
    "validation environment": _with_validation,
    "hostile names": _hostile,
    "proven": _proven,
    "choices over decades": _searching(
        penalty_weight=[1.0, 10.0, 100.0, 1e4, 1e6], anneal_epoch=[40, 5, 120], hidden=[512, 64, 8, 128, 16, 256, 32]
    ),
    "choices of every type": _searching(
        rescale=[True, False], batch_size=[128, 64], across=["sum", "mean"], ramp_exponent=[2.0, 2.00001, 1.0]
    ),
    "two keys": _searching(
        learning_rate={"low": 5e-4, "high": 2e-2, "log": True}, l2_weight={"low": 0.0, "high": 1e-2}
    ),
    "two grids": _searching(learning_rate=[1e-3, 1e-2], l2_weight=[0.0, 1e-2]),
    "one key": _searching(learning_rate={"low": 5e-4, "high": 2e-2, "log": True}),
    "whole numbers": _searching(anneal_epoch={"low": 5, "high": 20}, layers={"low": 1, "high": 3}),
    "long names": long_names,
    "conditional": conditional,
    "tied": tied_record,
    "all tied": lambda folder: tied_record(folder, only="diverged", confirm_top=0),
    "500 trials": lambda folder: study_record(folder, trials=500, confirm_top=3, confirm_seeds=20),
}
"""What a study can look like; each takes the folder that the page is written into."""
